"""Training by real Caffe: what is recorded, stopped, killed, resumed and refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from netbuilder.cli.main import main
from netbuilder.engines.caffe import Caffe
from netbuilder.engines.caffe.engine import CaffeEngine
from netbuilder.engines.caffe.install import Install
from netbuilder.errors import EngineError
from netbuilder.schema import message
from netbuilder.training.plan import parse_devices
from netbuilder.training.snapshots import latest
from tests.engines.case import (
    NET,
    ROOT,
    SOLVER,
    logged_losses,
    prepare,
    refusal,
    rows,
    start,
    state_of,
    wait_for,
    wait_for_end,
    wait_for_snapshot,
    worker_of,
)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the worker in /proc")
def test_killed_and_resumed_it_ends_with_the_same_bytes(
    folder: Path, real_caffe: Caffe, capsys: pytest.CaptureFixture[str]
) -> None:
    # Undisturbed.
    assert main(["train", "solver.prototxt", "--no-draw"]) == 0
    capsys.readouterr()
    # Twice killed: once the worker, once netbuilder, each by SIGKILL after a snapshot.
    (folder / "other.prototxt").write_text(SOLVER.replace("out/x", "killed/x"))
    process = start("other.prototxt", "--no-draw")
    wait_for(folder / "killed/x_iter_60.solverstate", process)
    os.kill(worker_of(process), signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "EngineError: Caffe was killed (SIGKILL), by hand or by the kernel for its memory" in err
    assert json.loads((folder / "killed/x_run.json").read_text())["end"] == "failed"
    process = start("other.prototxt", "--no-draw", "--resume", "latest")
    wait_for_snapshot(folder / "killed/x", 120, process)
    worker = worker_of(process)
    process.kill()
    process.communicate(timeout=60)
    wait_for_end(worker)
    # It may have gone on, to the end even; what it then told was not written down.
    for later in (180, 200):
        (folder / f"killed/x_iter_{later}.solverstate").unlink(missing_ok=True)
    # And a state that was not renamed is not taken: it does not have its name.
    (folder / "killed/x_iter_900.solverstate").write_bytes(b"")
    assert main(["train", "other.prototxt", "--no-draw", "--resume", "latest"]) == 0
    for name in ("x_iter_200.caffemodel",):
        assert (folder / "killed" / name).read_bytes() == (folder / "out" / name).read_bytes()
    for name in ("x_train.csv", "x_test.csv"):
        assert rows(folder / "killed" / name) == rows(folder / "out" / name)
    # The history of the solver too; only the name of the model differs.
    ours, other = (state_of(folder / place / "x_iter_200.solverstate") for place in ("killed", "out"))
    assert ours.history == other.history
    assert (ours.iter, ours.learned_net) == (200, "killed/x_iter_200.caffemodel")


def test_ctrl_c_gives_a_snapshot_and_130(folder: Path, real_caffe: Caffe) -> None:
    (folder / "long.prototxt").write_text(SOLVER.replace("max_iter: 200", "max_iter: 100000"))
    process = start("long.prototxt", "--no-draw", "--json")
    wait_for(folder / "out/x_iter_60.solverstate", process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    data = json.loads(out)
    assert data["end"] == "stopped"
    assert data["snapshots"][-1] == f"out/x_iter_{data['iteration']}.solverstate"
    assert "stopping after this iteration; once more ends at once" in err
    assert not list((folder / "out").glob(".*"))


def test_sigterm_ends_a_setup_that_hangs(folder: Path, real_caffe: Caffe) -> None:
    (folder / "hangs.py").write_text(
        "import time\nimport caffe\n\n\nclass Hangs(caffe.Layer):\n"
        "    def setup(self, bottom, top):\n        open('hangs.now', 'w').close()\n"
        "        time.sleep(3600)\n"
    )
    layer = 'layer { name: "h" type: "Python" top: "h" python_param { module: "hangs" layer: "Hangs" } }\n'
    (folder / "hangs.prototxt").write_text((folder / "net.prototxt").read_text() + layer)
    (folder / "hangs_solver.prototxt").write_text(SOLVER.replace("net.prototxt", "hangs.prototxt"))
    process = start("hangs_solver.prototxt", "--no-draw", "--trust")
    wait_for(folder / "hangs.now", process)
    worker = worker_of(process)
    begin = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - begin < 20  # 3 s, and a machine that is busy
    assert process.returncode == 130, err
    wait_for_end(worker)
    assert not list((folder / "out").glob(".*"))


def test_hdf5_snapshots_are_resumed_from(folder: Path, real_caffe: Caffe) -> None:
    import h5py

    text = SOLVER.replace("max_iter: 200", "max_iter: 30 snapshot_format: HDF5").replace("60", "25")
    (folder / "solver.prototxt").write_text(text)
    assert main(["train", "solver.prototxt", "--no-draw"]) == 0
    model = folder / "out/x_iter_30.caffemodel.h5"
    with h5py.File(model) as file:
        undisturbed = file["data/conv/0"][...]
    model.unlink()
    assert main(["train", "solver.prototxt", "--no-draw", "--resume", "latest"]) == 0
    with h5py.File(model) as file:
        assert np.array_equal(file["data/conv/0"][...], undisturbed)


def test_the_record_is_what_caffe_said_and_a_test_is_its_mean(
    folder: Path, real_caffe: Caffe, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.01 lr_policy: "step" gamma: 0.5 stepsize: 10 max_iter: 20\n'
        'display: 5 average_loss: 4 test_iter: 5 test_interval: 20 random_seed: 1 snapshot_prefix: "out/x"'
    )
    assert main(["train", "solver.prototxt", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [(row["iteration"], row["lr"]) for row in data["train"]] == [
        (0, 0.01), (5, 0.01), (10, 0.005), (15, 0.005), (19, 0.005),
    ]  # fmt: skip
    # The log has the iterations that the solver displays; with display: 1, all of them.
    assert list(logged_losses(folder / "out/x_caffe.log")) == [0, 5, 10, 15, 19]
    text = (folder / "solver.prototxt").read_text()
    (folder / "all.prototxt").write_text(text.replace("display: 5", "display: 1").replace("out/x", "all/x"))
    assert main(["train", "all.prototxt", "--no-draw"]) == 0
    capsys.readouterr()
    losses = logged_losses(folder / "all/x_caffe.log")
    assert len(losses) == 20
    # The mean of the last average_loss losses.
    assert data["train"][1]["loss"] == pytest.approx(sum(losses[i] for i in range(2, 6)) / 4)
    assert (folder / "out/x_curves.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((folder / "out/x_run.json").read_text()) == data
    # What `netbuilder test` says of the snapshot: 50 images in 5 passes, as the last test in training.
    model = "out/x_iter_20.caffemodel"
    words = ["test", "--engine", "caffe", "net.prototxt", "--weights", model, "--images", "50", "--json"]
    assert main(words) == 0
    tested = json.loads(capsys.readouterr().out)
    assert tested["outputs"] == data["tests"][-1]["outputs"]
    # The first pass, as a Caffe of its own computes it from the same weights and records.
    assert main([*words[:6], "--iterations", "1", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)["outputs"]
    trained = message("NetParameter")()
    trained.ParseFromString((folder / model).read_bytes())
    params = {
        layer.name: [np.array(b.data, np.float32).reshape(tuple(b.shape.dim)) for b in layer.blobs]
        for layer in trained.layer
        if layer.blobs
    }
    files = {"db/data.mdb": (folder / "db/data.mdb").read_bytes()}
    expected = real_caffe.run(NET, phase="TEST", files=files, params=params).outputs
    assert first == {name: [pytest.approx(float(value))] for name, value in expected.items()}


def test_a_loss_of_nan_ends_the_training(
    folder: Path, real_caffe: Caffe, capsys: pytest.CaptureFixture[str]
) -> None:
    # Softmax would hide it: Caffe takes the logarithm of no less than 1e-38.
    (folder / "net.prototxt").write_text(
        """layer { name: "x" type: "DummyData" top: "x" top: "t" dummy_data_param {
  shape { dim: 2 dim: 3 } shape { dim: 2 dim: 2 } data_filler { type: "constant" value: 1 } } }
layer { name: "y" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 2 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
"""
    )
    (folder / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 1e30 lr_policy: "fixed" max_iter: 8 display: 1 snapshot_prefix: "out/x"'
    )
    assert main(["train", "solver.prototxt"]) == 1
    captured = capsys.readouterr()
    assert captured.err.count(": nothing is learnt any more\n") == 1
    assert "warning: random_seed is not set: no two runs are alike, not even a resumed one\n" in captured.err
    assert captured.out.endswith("last loss inf\n")  # the first that is not finite

    def refuse(word: str) -> float:
        raise AssertionError(f"{word} is no JSON")

    record = json.loads((folder / "out/x_run.json").read_text(), parse_constant=refuse)
    assert record["train"][-1]["loss"] is None


def test_times_stand_beside_counts(
    folder: Path, real_caffe: Caffe, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["time", "--engine", "caffe", "net.prototxt", "--iterations", "3", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    macs = {layer["name"]: layer["macs"] for layer in data["layers"]}
    # conv: 8 x 6 x 6 outputs of 3 x 3 x 3; fc: 5 of 288
    assert macs == {"data": 0, "conv": 7776, "bn": 0, "relu": 0, "drop": 0, "fc": 1440, "loss": 0}
    assert all(layer["forward_ms"] > 0 for layer in data["layers"])
    assert data["totals"]["backward_ms"] == pytest.approx(sum(x["backward_ms"] for x in data["layers"]))


def test_on_a_gpu_pycaffe_does_not_time_and_one_gpu_tests(
    folder: Path, real_caffe: Caffe, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal(["time", "--engine", "caffe", "net.prototxt", "--gpu", "0"], capsys) == (
        "pycaffe does not wait for the GPU after each layer: its times would mean nothing\n"
        "hint:    name the caffe binary by NETBUILDER_CAFFE, which waits; or leave --gpu out\n"
    )
    (folder / "m").touch()
    assert refusal(
        ["test", "--engine", "caffe", "net.prototxt", "--weights", "m", "--gpu", "0,1"], capsys
    ) == ("at most one GPU can be used, got --gpu 0,1\nhint:    as in --gpu 0\n")


def test_all_gpus_of_a_machine_without_one_are_none(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no nvidia-smi
    with pytest.raises(EngineError, match="there is no GPU here: nvidia-smi lists none"):
        prepare("solver.prototxt", Install(("none",), "nobody"), devices=parse_devices("all"))
    assert not (folder / "out").exists()


# -- what is refused -----------------------------------------------------------------------------------------


def test_a_gpu_without_cuda_is_reported(
    folder: Path, real_caffe: Caffe, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal(["train", "solver.prototxt", "--gpu", "0"], capsys).startswith(
        "this Caffe is built for CPUs only, and a GPU was asked for\n"
    )
    assert not list((folder / "out").glob("*.solverstate"))


def test_weights_that_do_not_fit_are_reported(
    folder: Path, real_caffe: Caffe, capsys: pytest.CaptureFixture[str]
) -> None:
    model = message("NetParameter")()
    layer = model.layer.add(name="fc", type="InnerProduct")
    for shape in ((5, 100), (5,)):
        blob = layer.blobs.add()
        blob.shape.dim.extend(shape)
        blob.data.extend([0.0] * int(np.prod(shape)))
    (folder / "other.caffemodel").write_bytes(model.SerializeToString())
    assert refusal(["train", "solver.prototxt", "--weights", "other.caffemodel"], capsys).startswith(
        "the weights do not fit: "
        "param 0 of layer 'fc' is 5 100 (500) in the file and 5 288 (1440) in the net\n"
    )


def test_a_broken_database_is_reported(
    folder: Path, real_caffe: Caffe, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "db" / "data.mdb").write_bytes(b"no database" * 1000)
    assert refusal(["train", "solver.prototxt"], capsys).startswith("a database of the net cannot be read: ")


def test_a_snapshot_that_is_cut_short_is_not_resumed_from(
    folder: Path, real_caffe: Caffe, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "solver.prototxt").write_text(SOLVER.replace("max_iter: 200", "max_iter: 21"))
    assert main(["train", "solver.prototxt", "--no-draw"]) == 0
    model = folder / "out/x_iter_21.caffemodel"
    model.write_bytes(model.read_bytes()[:-10])
    capsys.readouterr()
    told = refusal(["train", "solver.prototxt", "--resume", "latest"], capsys)
    assert (
        "'out/x_iter_21.solverstate': 'out/x_iter_21.caffemodel' is cut short or damaged in a layer" in told
    )


@pytest.mark.parametrize(
    ("solver", "words", "error"),
    [
        (
            SOLVER.replace("net.prototxt", "nett.prototxt"), [],
            "the solver names a net that does not exist: 'nett.prototxt'\nwhere:   solver.prototxt:1:1\n"
            "hint:    looked for it in 'FOLDER'; Caffe looks in the current directory\n",
        ),
        (
            SOLVER, ["--resume", "latest"],
            "there is no snapshot to resume from: out/x_iter_*.solverstate\nhint:    leave --resume out\n",
        ),
        (SOLVER, ["--weights", "a.caffemodel"], "there is no weights file 'a.caffemodel'\n"),
        (
            SOLVER, ["--gpu", "one"],
            "--gpu takes numbers or all, got 'one'\nhint:    as in --gpu 0,1\n",
        ),
        (
            SOLVER.replace("max_iter: 200", "max_iter: -1"), [],
            "max_iter must be at least 0, got -1\nwhere:   solver.prototxt:4\n"
            "hint:    it is the number of iterations; 0 only tests\n",
        ),
        (
            SOLVER.replace("max_iter: 200", ""), [],
            "max_iter is not set: Caffe trains no iteration\nwhere:   solver.prototxt:1\n"
            "hint:    it is the number of iterations; 0 only tests\n",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_reported_before_caffe_starts(
    solver: str, words: list[str], error: str, folder: Path, real_caffe: Caffe,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (folder / "solver.prototxt").write_text(solver)
    assert refusal(["train", "solver.prototxt", *words], capsys) == error.replace("FOLDER", str(folder))
    assert not (folder / "out").exists()


def test_a_missing_database_is_reported_with_its_layer(
    folder: Path, real_caffe: Caffe, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "db").rename(folder / "away")
    assert refusal(["train", "solver.prototxt"], capsys) == (
        "layer 'data' reads 'db', which is not there\nwhere:   net.prototxt\n"
        "hint:    netbuilder data makes databases; names are relative to the current directory\n"
    )


def test_shapes_that_do_not_fit_are_reported_as_on_reading(
    folder: Path, real_caffe: Caffe, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "net.prototxt").write_text(NET.replace("kernel_size: 3", "kernel_size: 30"))
    assert "kernel" in refusal(["train", "solver.prototxt"], capsys)


def test_an_earlier_training_is_not_overwritten(
    folder: Path, real_caffe: Caffe, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "out").mkdir()
    for ending in ("caffemodel", "solverstate"):
        (folder / f"out/x_iter_500.{ending}").touch()
    assert refusal(["train", "solver.prototxt"], capsys) == (
        "there are snapshots of an earlier training: out/x_iter_500.solverstate is the latest of 1\n"
        "hint:    --resume latest continues it; --force removes them and starts again; "
        "or give the solver another snapshot_prefix\n"
    )
    assert latest("out/x", CaffeEngine.snapshots) == Path("out/x_iter_500.solverstate")


def test_a_missing_caffe_is_reported(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NETBUILDER_CAFFE", sys.executable)
    assert "has no usable Caffe" in refusal(["train", "solver.prototxt"], capsys)


def test_a_full_disk_is_reported_and_leaves_no_snapshot(folder: Path, real_caffe: Caffe) -> None:
    # A limit on the size of files stands for the disk: the model of 1.2 MB does not fit, the log does.
    (folder / "net.prototxt").write_text(NET.replace("num_output: 5", "num_output: 1000"))
    (folder / "solver.prototxt").write_text(SOLVER.replace("snapshot: 60", "snapshot: 3"))
    command = [sys.executable, "-m", "netbuilder.cli.main", "train", "solver.prototxt", "--no-draw"]
    limited = ["bash", "-c", 'ulimit -f 500; exec "$@"', "-", *command]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(limited, env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert (
        "EngineError: Caffe cannot write a snapshot: the disk is full, or the file may not grow so large\n"
        in done.stderr
    )
    assert [path.name for path in (folder / "out").iterdir() if "_iter_" in path.name] == []
    assert not list((folder / "out").glob(".*"))
