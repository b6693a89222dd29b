"""PyTorch's files: no code of theirs runs, and what is damaged is refused with what is wrong."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from netbuilder.errors import FileError
from netbuilder.weights.checkpoint import read_checkpoint
from tests.weights.checkpoints import chain, saved, state_of


class Code:
    """An object that runs a command where it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("where", ["beside", "alone"])
def test_code_in_a_pickle_is_refused_and_does_not_run(
    zipped: bool, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    value = Code() if where == "alone" else {"state_dict": {"a": torch.ones(2)}, "x": Code()}
    torch.save(value, "x.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        FileError, match=r"'x.pth' holds Python objects.*, which may run code: they are not read"
    ):
        read_checkpoint("x.pth")
    Path("x.pt").write_bytes(pickle.dumps(value))
    with pytest.raises(FileError, match=r"holds Python objects|cut short or damaged"):
        read_checkpoint("x.pt")
    assert not Path("ran").exists()


def test_a_whole_model_is_refused_with_how_to_save_its_tensors(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "x.pth")
    with pytest.raises(FileError, match="may run code") as error:
        read_checkpoint(tmp_path / "x.pth")
    assert "torch.save(model.state_dict(), FILE)" in error.value.hint


def test_a_torchscript_program_is_refused_with_how_to_take_its_tensors(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "x.pt"))
    with pytest.raises(FileError, match="TorchScript program") as error:
        read_checkpoint(tmp_path / "x.pt")
    assert "torch.jit.load" in error.value.hint


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_cut_short_anywhere_is_refused(zipped: bool, tmp_path: Path) -> None:
    state = {"a.weight": torch.ones(30, 20), "b.bias": torch.ones(9)}
    path = tmp_path / "x.pth"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for length in [1, 2, 5, 100, *range(200, len(whole) - 1, 301)]:
        path.write_bytes(whole[:length])
        with pytest.raises(FileError, match=r"cut short or damaged|is not a checkpoint"):
            read_checkpoint(path)


def test_files_without_tensors_by_name_are_refused(tmp_path: Path) -> None:
    for value in (torch.ones(3), [torch.ones(3)], {"epoch": 3}, {"optimizer": {"m": torch.ones(2)}}):
        torch.save(value, tmp_path / "x.pth")
        with pytest.raises(FileError, match="has no dictionary of tensors in it"):
            read_checkpoint(tmp_path / "x.pth")


def test_several_dictionaries_are_refused_and_chosen_by_key(tmp_path: Path) -> None:
    torch.save({"student": {"a": torch.ones(2)}, "teacher": {"a": torch.zeros(2)}}, tmp_path / "x.pth")
    with pytest.raises(FileError, match="has 2 dictionaries of tensors: 'student', 'teacher'"):
        read_checkpoint(tmp_path / "x.pth")
    with pytest.raises(FileError, match="has no dictionary of tensors 'teachr'"):
        read_checkpoint(tmp_path / "x.pth", key="teachr")
    assert read_checkpoint(tmp_path / "x.pth", key="teacher").tensors["a"].read().sum() == 0


@pytest.mark.parametrize(
    "tensor", [torch.ones(2).to_sparse(), torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.quint8)]
)
def test_tensors_that_are_not_plain_are_refused(tensor: torch.Tensor, tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2), "b": tensor}, tmp_path / "x.pth")
    with pytest.raises(FileError, match=r"tensor 'b' in a form that is not read|holds Python objects"):
        read_checkpoint(tmp_path / "x.pth").tensors["b"].read()


def test_tensors_that_are_views_are_read_as_they_are_seen(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    torch.save({"a": base.T, "b": base[1], "c": base[:, ::2]}, tmp_path / "x.pth")
    found = read_checkpoint(tmp_path / "x.pth").tensors
    for name, value in (("a", base.T), ("b", base[1]), ("c", base[:, ::2])):
        assert np.array_equal(found[name].read(), value.numpy())


BIG = """
import resource, sys
from netbuilder import prototxt
from netbuilder.weights.checkpoint import read_checkpoint
from netbuilder.weights.importing import write_imported
from netbuilder.weights.matching import match
net = prototxt.read("big.prototxt", "TEST")
if "torch" in sys.argv[1:]: import torch
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write_imported(net, match(net, read_checkpoint(sys.argv[2])), "big.caffemodel", force=True)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.parametrize("suffix", ["pth", "safetensors", "npz"])
def test_memory_stays_below_one_and_a_half_of_the_file(suffix: str, tmp_path: Path) -> None:
    """With 80 MB in ten layers: of the file, which is mapped, and of the largest layers."""
    layers = "".join(
        f'layer {{ name: "f{i}" type: "InnerProduct" bottom: "{f"f{i - 1}" if i else "data"}" top: "f{i}" '
        "inner_product_param { num_output: 1414 bias_term: false } }\n"
        for i in range(10)
    )
    head = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 1414 } } }\n'
    (tmp_path / "big.prototxt").write_text(head + layers)
    state = {f"f{i}.weight": torch.ones(1414, 1414) for i in range(10)}
    path = tmp_path / f"big.{suffix}"
    if suffix == "pth":
        torch.save(state, path)
    elif suffix == "npz":
        saved(path, {key: value.numpy() for key, value in state.items()})
    else:
        pytest.importorskip("safetensors.torch").save_file(state, path)
    ran = subprocess.run(
        [sys.executable, "-c", BIG, "torch" if suffix == "pth" else "", path.name],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert float(ran.stdout) < 1.5 * 80
    assert (tmp_path / "big.caffemodel").stat().st_size > 79e6


def test_a_legacy_file_is_imported_as_the_new_one(tmp_path: Path) -> None:
    state = {key: torch.from_numpy(value) for key, value in state_of(chain()).items()}
    torch.save(state, tmp_path / "new.pth")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    new, old = (read_checkpoint(tmp_path / f"{name}.pth").tensors for name in ("new", "old"))
    assert list(new) == list(old)
    assert all(np.array_equal(new[name].read(), old[name].read()) for name in new)
