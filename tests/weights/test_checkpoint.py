"""Checkpoints are read whole and exactly, or refused with what is wrong."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netbuilder.errors import FileError
from netbuilder.weights.checkpoint import read_checkpoint
from netbuilder.weights.safetensors import write_safetensors


def tensors() -> dict[str, Any]:
    draw = np.random.default_rng(1)
    return {
        "b.weight": draw.standard_normal((4, 3, 2)).astype(np.float32),
        "a": draw.standard_normal(7),
        "half": draw.standard_normal((2, 2)).astype(np.float16),
        "count": np.array(3),
        "empty": np.zeros((0, 2), np.float32),
    }


def test_an_archive_of_few_bytes_fills_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "zeros.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as member:
        np.lib.format.write_array_header_1_0(
            member, {"descr": "<f4", "fortran_order": False, "shape": (2**20, 80)}
        )
        for _ in range(80):
            member.write(bytes(2**22))
    assert path.stat().st_size < 2**20
    with pytest.raises(FileError, match="no model's array"):
        read_checkpoint(path)


@pytest.mark.parametrize("shape", [(2**40,), (2**62, 2**62), (2**31, 2**31)])
def test_a_shape_without_numbers_is_damage(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "large.npz"
    with zipfile.ZipFile(path, "w") as archive, archive.open("a.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "<f4", "fortran_order": False, "shape": shape})
    with pytest.raises(FileError, match="damaged"):
        read_checkpoint(path).tensors["a"].read()


def test_a_tensor_that_repeats_its_numbers_fills_no_memory(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "repeated.pth"
    torch.save({"a": torch.zeros(1).expand(2**14, 2**14), "b": torch.zeros(1).expand(4, 4)}, path)
    found = read_checkpoint(path).tensors
    assert found["b"].read().shape == (4, 4)
    with pytest.raises(FileError, match="repeats"):
        found["a"].read()


def safetensors_file(path: Path, state: dict[str, Any]) -> None:
    """Written by their specification, not by our code."""
    kinds = {"float32": "F32", "float64": "F64", "float16": "F16", "int64": "I64"}
    header, blob = {}, b""
    for name, array in state.items():
        end = len(blob) + array.nbytes
        header[name] = {
            "dtype": kinds[array.dtype.name],
            "shape": array.shape,
            "data_offsets": [len(blob), end],
        }
        blob += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + blob)


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_the_tensors_of_a_file_are_read(suffix: str, tmp_path: Path) -> None:
    path, state = tmp_path / f"x.{suffix}", tensors()
    np.savez(path, **state) if suffix == "npz" else safetensors_file(path, state)
    found = read_checkpoint(path).tensors
    assert list(found) == list(state)
    for name, array in state.items():
        assert (found[name].shape, found[name].kind) == (array.shape, array.dtype.name)
        assert np.array_equal(found[name].read(), array.astype(np.float32))
        assert found[name].read().dtype == np.float32
    assert [name for name in found if not found[name].is_real] == ["count"]


def test_a_compressed_npz_is_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", **tensors())
    assert np.array_equal(
        read_checkpoint(tmp_path / "x.npz").tensors["a"].read(), tensors()["a"].astype("f4")
    )


def test_bfloat16_is_the_upper_half_of_single_precision(tmp_path: Path) -> None:
    values = np.array([1.5, -2.25, 3e38], np.float32)
    upper = (values.view("<u4") >> 16).astype("<u2")
    header = json.dumps({"x": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + upper.tobytes())
    found = read_checkpoint(tmp_path / "x.safetensors").tensors["x"]
    assert found.kind == "bfloat16"
    assert np.array_equal(found.read(), (upper.astype("<u4") << 16).view("<f4"))


def test_safetensors_are_written_as_their_package_reads_them(tmp_path: Path) -> None:
    package = pytest.importorskip("safetensors.numpy")
    state = {
        "b": np.ones((2, 2), np.float32),
        "a": np.full(1, 5, np.float32),
        "none": np.zeros((0, 3), np.float32),
    }
    shapes = [(name, array.shape) for name, array in state.items()]
    write_safetensors(tmp_path / "x.safetensors", shapes, state.values())
    loaded = package.load_file(tmp_path / "x.safetensors")
    assert sorted(loaded) == sorted(state)
    assert all(np.array_equal(loaded[name], array) for name, array in state.items())


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_a_file_cut_short_anywhere_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{suffix}"
    np.savez(path, **tensors()) if suffix == "npz" else safetensors_file(path, tensors())
    whole = path.read_bytes()
    for length in [0, 1, 7, 8, 9, *range(20, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(FileError, match=r"is empty|cut short or damaged|is damaged|is not a checkpoint"):
            read_checkpoint(path)


def test_a_flipped_byte_in_an_npz_is_found_when_its_array_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, x=np.arange(100, dtype=np.float32))
    data = bytearray(path.read_bytes())
    data[300] ^= 1
    path.write_bytes(data)
    with pytest.raises(FileError, match="cut short or damaged: bad crc-32"):
        read_checkpoint(path).tensors["x"].read()


class Code:
    """An object that runs a command where it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)


def test_an_npz_with_objects_is_refused_and_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("x.npz", fine=np.ones(2), x=np.array([Code()], dtype=object))
    with pytest.raises(FileError, match=r"'x.npz' holds Python objects \('x'\), which may run code"):
        read_checkpoint("x.npz")
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n" * 4, "pointer that Git LFS leaves"),
        (b"\x89HDF\r\n\x1a\n" + bytes(200), "it is HDF5"),
        (bytes(200), "cut short or damaged"),
    ],
)
def test_another_kind_of_file_is_named(content: bytes, hint: str, tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(FileError, match="neither PyTorch's") as error:
        read_checkpoint(tmp_path / "x.pth")
    assert hint in error.value.hint


def test_a_checkpoint_of_tensorflow_says_how_to_save_it(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt.index").write_bytes(b"x")
    with pytest.raises(FileError, match="is a checkpoint of TensorFlow") as error:
        read_checkpoint(tmp_path / "model.ckpt")
    assert "numpy.savez" in error.value.hint


def test_missing_files_and_keys_are_reported(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot read"):
        read_checkpoint(tmp_path / "none.npz")
    np.savez(tmp_path / "x.npz", a=np.ones(1))
    with pytest.raises(FileError, match="there is no 'model' to choose"):
        read_checkpoint(tmp_path / "x.npz", key="model")


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}, "is not whole"),
        ({"dtype": "F32", "shape": [2], "data_offsets": [0, 80]}, "is not whole"),
        ({"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}, "does not say what"),
        ({"dtype": "F32"}, "does not say what"),
        ([], "does not say what"),
    ],
)
def test_a_wrong_header_of_safetensors_is_refused(entry: Any, text: str, tmp_path: Path) -> None:
    header = json.dumps({"x": entry}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(FileError, match=text):
        read_checkpoint(tmp_path / "x.safetensors")


def test_a_zip_of_something_else_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("a.npy", b"not an array")
    with pytest.raises(FileError, match="'a' is not an array"):
        read_checkpoint(tmp_path / "x.npz")
