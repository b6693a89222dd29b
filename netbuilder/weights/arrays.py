"""The arrays of a trained model, one layer after the other, read from the mapped file.

`read_model` checks the structure first; then each blob's numbers are copied once, from the file into an
array, so that memory holds one layer at a time. Needs NumPy, and h5py for HDF5.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from netbuilder.storage.wire import BYTES, fields
from netbuilder.weights.model import Model, ModelLayer, read_model
from netbuilder.weights.tensors import Checkpoint, Tensor

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

__all__ = ["LayerArrays", "model_tensors", "numbers", "read_arrays"]


# Numbers of fields: a net's layers of V1 and of today, V0's layer inside V1's, the blobs of each format, and
# the numbers of a blob.
_V1, _CURRENT, _V0 = 2, 100, 1
_BLOB = {_V1: 6, _CURRENT: 7, _V0: 50}
_FLOATS, _DOUBLES = 5, 8


class LayerArrays(NamedTuple):
    """A layer of a model with its arrays, in the order of `layer.blobs`."""

    layer: ModelLayer
    arrays: tuple[Array, ...]


def read_arrays(path: str | Path) -> Iterator[LayerArrays]:
    """The layers of a .caffemodel or an HDF5 model with their arrays, of which a layer may have none.

    Raises FileError and PrototxtError as read_model does, before the first layer.
    """
    model = read_model(path)
    if any(layer.numbers is not None for layer in model.layers):
        return _of_hdf5(path, model)
    return _of_binary(path, model)


def _of_binary(path: str | Path, model: Model) -> Iterator[LayerArrays]:
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        places = ((number, at, end) for number, _, at, end in fields(data) if number in (_V1, _CURRENT))
        for layer, (number, at, end) in zip(model.layers, places, strict=True):
            blobs = _blobs(data, at, end, number)
            arrays = tuple(
                numbers(data, *place).reshape(shape) for place, shape in zip(blobs, layer.blobs, strict=True)
            )
            yield LayerArrays(layer, arrays)


def _blobs(data: mmap.mmap, begin: int, end: int, format: int) -> list[tuple[int, int]]:
    """Where the blobs of a layer lie, in a layer of today's format, of V1, or of V0 inside V1."""
    found, inner = [], None
    for number, wire, at, stop in fields(data, begin, end):
        if wire == BYTES and number == _BLOB[format]:
            found.append((at, stop))
        elif wire == BYTES and format == _V1 and number == _V0:
            inner = at, stop
    return found if inner is None else _blobs(data, *inner, _V0)


def numbers(data: mmap.mmap, begin: int, end: int) -> Array:
    """The numbers of a BlobProto; doubles come before floats, as in Caffe. Source: blob.cpp, FromProto."""
    import numpy as np

    parts: dict[int, list[Array]] = {_FLOATS: [], _DOUBLES: []}
    for number, _, at, stop in fields(data, begin, end):
        if number in parts:
            kind = "<f4" if number == _FLOATS else "<f8"
            parts[number].append(np.frombuffer(data[at:stop], kind).astype(np.float32))
    chosen = parts[_DOUBLES] or parts[_FLOATS]
    return chosen[0] if len(chosen) == 1 else np.concatenate([np.empty(0, np.float32), *chosen])


def model_tensors(path: str | Path) -> Checkpoint:
    """The blobs of a model as tensors that are read on their own: `<layer>.<number>`.

    Of layers with one name the last counts, as in Caffe. Raises FileError and PrototxtError as read_model.
    """
    model = read_model(path)
    tensors: dict[str, Tensor] = {}
    if any(layer.numbers is not None for layer in model.layers):
        for layer in model.layers:
            for number, shape in zip(layer.numbers or (), layer.blobs, strict=True):
                name = f"{layer.name}.{number}"
                read = partial(_hdf5_numbers, path, layer.name, str(number))
                tensors[name] = Tensor(name, shape, "float32", read)
        return Checkpoint(str(path), tensors)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        places = [(number, at, end) for number, _, at, end in fields(data) if number in (_V1, _CURRENT)]
        for layer, (number, at, end) in zip(model.layers, places, strict=True):
            for i, (blob, shape) in enumerate(zip(_blobs(data, at, end, number), layer.blobs, strict=True)):
                name = f"{layer.name}.{i}"
                tensors[name] = Tensor(name, shape, "float32", partial(_read_numbers, path, blob, shape))
    return Checkpoint(str(path), tensors)


def _read_numbers(path: str | Path, place: tuple[int, int], shape: tuple[int, ...]) -> Array:
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return numbers(data, *place).reshape(shape)


def _hdf5_numbers(path: str | Path, layer: str, number: str) -> Array:
    import h5py
    import numpy as np

    with h5py.File(path, "r") as file:
        return np.asarray(file["data"][layer][number], np.float32)


def _of_hdf5(path: str | Path, model: Model) -> Iterator[LayerArrays]:
    import h5py
    import numpy as np

    with h5py.File(path, "r") as file:
        for layer in model.layers:
            group = file["data"][layer.name]
            arrays = tuple(np.asarray(group[str(i)], np.float32) for i in layer.numbers or ())
            yield LayerArrays(layer, arrays)
