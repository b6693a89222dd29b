"""Solver states pass between real Caffe and the PyTorch solver, in both of Caffe's formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from netbuilder import prototxt
from netbuilder.engines.torch import module
from netbuilder.engines.torch.network import NetModule
from netbuilder.engines.torch.solver import Solver
from netbuilder.engines.torch.solver_state import load_state, save_state
from netbuilder.errors import EngineError, FileError, NetBuilderError
from netbuilder.schema import message
from tests.engines.torch.caffe_solver import CaffeSolver, Trained
from tests.engines.torch.solver_combinations import solver_of

# Statistics, a frozen blob, and a blob shared by two layers.
NET = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 16 dim: 3 dim: 8 dim: 8 } } }
layer { name: "t" type: "Input" top: "t" input_param { shape { dim: 16 } } }
layer { name: "conv1" type: "Convolution" bottom: "x" top: "a" param { lr_mult: 1 }
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 bias_term: false weight_filler { type: "msra" } } }
layer { name: "bn1" type: "BatchNorm" bottom: "a" top: "a" }
layer { name: "scale1" type: "Scale" bottom: "a" top: "a" param { lr_mult: 1 } param { lr_mult: 0 }
  scale_param { bias_term: true } }
layer { name: "relu1" type: "ReLU" bottom: "a" top: "a" }
layer { name: "conv2" type: "Convolution" bottom: "a" top: "b" param { name: "w" } param { lr_mult: 2 decay_mult: 0 }
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "conv3" type: "Convolution" bottom: "b" top: "c" param { name: "w" }
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 bias_term: false } }
layer { name: "sum" type: "Eltwise" bottom: "a" bottom: "c" top: "d" }
layer { name: "fc" type: "InnerProduct" bottom: "d" top: "y"
  inner_product_param { num_output: 5 weight_filler { type: "msra" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "y" bottom: "t" top: "loss" }
"""  # noqa: E501
TYPES = {
    "SGD": "momentum: 0.9",
    "Nesterov": "momentum: 0.9",
    "AdaGrad": "",
    "RMSProp": "",
    "AdaDelta": "momentum: 0.95 delta: 1e-6",
    "Adam": "momentum: 0.9",
}
STEPS = 6


def solver_text(kind: str = "Nesterov", more: str = "") -> str:
    return (
        f'net: "net.prototxt" type: "{kind}" {TYPES[kind]} base_lr: 0.001 weight_decay: 0.001 max_iter: 100 '
        f'lr_policy: "multistep" gamma: 0.5 stepvalue: 2 stepvalue: 9 snapshot_prefix: "s" {more}'
    )


HDF5 = "snapshot_format: HDF5"


def feeds(count: int, seed: int) -> list[dict[str, np.ndarray[Any, Any]]]:
    rng = np.random.default_rng(seed)
    return [
        {
            "x": rng.normal(0, 1, (16, 3, 8, 8)).astype(np.float32),
            "t": rng.integers(0, 5, 16).astype(np.float32),
        }
        for _ in range(count)
    ]


def trained(caffe: CaffeSolver, text: str) -> Trained:
    """Some steps of real Caffe."""
    return caffe.train(NET, text, feeds(STEPS, 0))


def built(text: str) -> tuple[NetModule, Solver]:
    net = module(prototxt.parse(NET, "TRAIN"), seed=1)
    return net, Solver(net, solver_of(text))


def state_of(files: dict[str, bytes], folder: Path) -> Path:
    """Write a snapshot of Caffe; return the path of its state."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (state,) = (folder / name for name in files if ".solverstate" in name)
    return state


@pytest.mark.parametrize("kind", TYPES)
def test_a_state_of_caffe_is_saved_again_byte_by_byte(
    caffe_solver: CaffeSolver, kind: str, tmp_path: Path
) -> None:
    state = state_of(trained(caffe_solver, solver_text(kind)).files, tmp_path)
    _, solver = built(solver_text(kind))
    learned = load_state(state, solver)
    assert (learned, solver.iteration, solver.current_step) == (f"s_iter_{STEPS}.caffemodel", STEPS, 1)
    assert any(history.abs().max() > 0 for history in solver.history)
    save_state(tmp_path / "again.solverstate", solver, learned)
    assert (tmp_path / "again.solverstate").read_bytes() == state.read_bytes()


@pytest.mark.parametrize("more", ["", HDF5], ids=["binary", "hdf5"])
@pytest.mark.parametrize("kind", TYPES)
def test_caffe_goes_on_from_a_state_saved_here_bit_by_bit(
    caffe_solver: CaffeSolver, kind: str, more: str, tmp_path: Path
) -> None:
    text = solver_text(kind, more)
    files = trained(caffe_solver, text).files
    state = state_of(files, tmp_path)
    own = caffe_solver.train(NET, text, feeds(4, 1), state=state.name, files=files)
    _, solver = built(text)
    learned = load_state(state, solver)
    save_state(state, solver, learned, hdf5=bool(more))
    files = {**files, state.name: state.read_bytes()}
    ours = caffe_solver.train(NET, text, feeds(4, 1), state=state.name, files=files)
    assert ours.iteration == STEPS + 4
    for name, arrays in own.params.items():
        assert [a.tobytes() for a in arrays] == [a.tobytes() for a in ours.params[name]]
    for name, content in own.files.items():
        if name.endswith("solverstate"):
            assert ours.files[name] == content


@pytest.mark.parametrize("kind", TYPES)
def test_a_state_of_caffe_is_continued_as_caffe_does(
    caffe_solver: CaffeSolver, kind: str, tmp_path: Path
) -> None:
    text = solver_text(kind)
    files = trained(caffe_solver, text).files
    state = state_of(files, tmp_path)
    theirs = caffe_solver.train(NET, text, feeds(20, 2), state=state.name, files=files)
    net, solver = built(text)
    net.load_caffemodel(tmp_path / load_state(state, solver))
    for feed in feeds(20, 2):
        solver.zero_grad()
        net(**{name: torch.from_numpy(array) for name, array in feed.items()}).loss.backward()
        solver.step()
    assert solver.iteration == theirs.iteration
    for name in ("conv1", "conv2"):
        reached, expected = net.params[name][0].detach().numpy(), theirs.params[name][0]
        assert np.abs(reached - expected).max() / np.abs(expected).max() < 1e-4


def state_message(data: bytes) -> Any:
    return message("SolverState").FromString(data)


def saved(folder: Path, *, hdf5: bool = False) -> tuple[Path, Solver]:
    """A state of ours after a step, and its solver."""
    net, solver = built(solver_text())
    for feed in feeds(1, 3):
        net(**{name: torch.from_numpy(array) for name, array in feed.items()}).loss.backward()
        solver.step()
    path = folder / ("s.solverstate.h5" if hdf5 else "s.solverstate")
    save_state(path, solver, "s.caffemodel", hdf5=hdf5)
    return path, solver


@pytest.mark.parametrize("hdf5", [False, True], ids=["binary", "hdf5"])
def test_a_state_cut_anywhere_is_refused_and_changes_nothing(tmp_path: Path, hdf5: bool) -> None:
    path, solver = saved(tmp_path, hdf5=hdf5)
    whole = path.read_bytes()
    before = [history.clone() for history in solver.history]
    for size in range(0, len(whole), 1 if len(whole) < 500 else len(whole) // 200):
        path.write_bytes(whole[:size])
        with pytest.raises((FileError, EngineError)) as raised:
            load_state(path, solver)
        assert str(path) in raised.value.text
        assert raised.value.hint
    assert all(torch.equal(a, b) for a, b in zip(before, solver.history, strict=True))
    assert solver.iteration == 1


def test_a_state_cut_before_its_last_field_is_refused(tmp_path: Path) -> None:
    path, solver = saved(tmp_path)
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(FileError, match="cut short: its end is missing"):
        load_state(path, solver)


def test_the_state_of_another_type_says_which(tmp_path: Path) -> None:
    path, solver = saved(tmp_path)
    _, adam = built(solver_text("Adam"))
    with pytest.raises(EngineError) as raised:
        load_state(path, adam)
    assert str(raised.value) == (
        f"'{path}' is not a state of this training: it has 10 history blobs, and Adam has 20 for 10 "
        "parameter blobs\n  hint:    it looks like a state of SGD, Nesterov, AdaGrad or RMSProp: give the "
        "solver that type, or start from its model only"
    )
    save_state(path, adam, "")
    with pytest.raises(EngineError, match=r"20 history blobs.*\n.*a state of AdaDelta or Adam"):
        load_state(path, solver)


def test_the_state_of_another_net_is_refused_by_the_blob_that_differs(tmp_path: Path) -> None:
    path, _ = saved(tmp_path)
    other = module(prototxt.parse(NET.replace("num_output: 5", "num_output: 6"), "TRAIN"))
    solver = Solver(other, solver_of(solver_text()))
    with pytest.raises(
        EngineError, match=r"history 8 is \(5,512\), and parameter 0 of layer 'fc' is \(6,512\)"
    ):
        load_state(path, solver)
    shallow = NET[: NET.index('layer { name: "conv2"')] + NET[NET.index('layer { name: "fc"') :].replace(
        '"d"', '"a"'
    )
    solver = Solver(module(prototxt.parse(shallow, "TRAIN")), solver_of(solver_text()))
    with pytest.raises(EngineError, match="it has 10 history blobs, and Nesterov has 8 for 8"):
        load_state(path, solver)


@pytest.mark.parametrize("content", [b"", b"text\n", b'net: "x"\n'], ids=["empty", "text", "prototxt"])
def test_another_file_is_not_a_state(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "s.solverstate"
    path.write_bytes(content)
    with pytest.raises(FileError, match="solverstate"):
        load_state(path, built(solver_text())[1])


def test_a_model_is_not_a_state(tmp_path: Path) -> None:
    net, solver = built(solver_text())
    net.save_caffemodel(tmp_path / "s.caffemodel")
    with pytest.raises(FileError, match="is not a solver state"):
        load_state(tmp_path / "s.caffemodel", solver)
    with h5py.File(tmp_path / "s.caffemodel.h5", "w") as file:
        file.create_group("data")
    with pytest.raises(FileError, match="is not a solver state"):
        load_state(tmp_path / "s.caffemodel.h5", solver)


def test_a_missing_state_is_reported(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        load_state(tmp_path / "s.solverstate", built(solver_text())[1])


def test_a_state_that_cannot_be_written_leaves_the_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, solver = saved(tmp_path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for hdf5 in (False, True):
        monkeypatch.setattr("netbuilder.storage.files.os.fsync", full)
        with pytest.raises(FileError, match="no space left on device"):
            save_state(path, solver, "", hdf5=hdf5)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_shapes_of_four_axes_and_doubles_are_those_of_an_old_caffe(tmp_path: Path) -> None:
    path, solver = saved(tmp_path)
    state = state_message(path.read_bytes())
    for blob in state.history:
        dims = [1] * (4 - len(blob.shape.dim)) + list(blob.shape.dim)
        blob.num, blob.channels, blob.height, blob.width = dims
        blob.double_data.extend(blob.data)
        blob.ClearField("shape")
        blob.ClearField("data")
    path.write_bytes(state.SerializeToString())
    _, other = built(solver_text())
    assert load_state(path, other) == "s.caffemodel"
    assert all(torch.equal(a, b) for a, b in zip(solver.history, other.history, strict=True))


def test_the_numbers_of_a_history_must_fill_its_shape(tmp_path: Path) -> None:
    path, solver = saved(tmp_path)
    state = state_message(path.read_bytes())
    del state.history[3].data[-1]
    path.write_bytes(state.SerializeToString())
    with pytest.raises(NetBuilderError, match="history 3 lacks numbers of its shape"):
        load_state(path, solver)
