"""Write Caffe's binary files: weights by layer name (.caffemodel) and single arrays (.binaryproto).

Both are written atomically, one array at a time: memory holds no second copy of a model. An existing file is
replaced only with `force`: a binary file has no header that shows whether netbuilder made it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netbuilder.errors import FileError
from netbuilder.storage.files import replacing
from netbuilder.storage.wire import BYTES, packed

if TYPE_CHECKING:
    import numpy.typing as npt

    # A layer: its name and its arrays.
    Stored = tuple[str, Sequence[npt.ArrayLike]]

__all__ = ["LIMIT", "blob_parts", "head", "write_blob", "write_layers", "write_model", "write_parts"]

# Numbers of fields in caffe.proto: of NetParameter, LayerParameter, BlobProto and BlobShape.
_LAYER, _NAME, _BLOBS, _DATA, _SHAPE, _DIM = 100, 1, 7, 5, 7, 1
LIMIT = 2**31 - 1  # of a message, in Caffe and in protobuf


def write_model(
    path: str | Path,
    params: Mapping[str, Sequence[npt.ArrayLike]] | Iterable[Stored],
    *,
    force: bool = False,
) -> None:
    """Write the parameters of some or all layers as a .caffemodel, float32.

    Caffe copies them into the layers of the same name (`caffe train --weights`), where the shapes must be
    equal, and leaves the other layers unchanged. `params` maps names to arrays, or yields such pairs.
    Raises FileError, also for a model of 2 GiB or more, which Caffe cannot read.
    """
    pairs = params.items() if isinstance(params, Mapping) else params
    _write(Path(path), (part for name, arrays in pairs for part in _layer(name, arrays)), force)


def write_layers(
    path: str | Path,
    name: str,
    layers: Iterable[tuple[bytes, Sequence[npt.ArrayLike]]],
    *,
    force: bool = False,
) -> None:
    """Write a whole net as a .caffemodel: its name, and each LayerParameter (serialized) with its arrays.

    Raises FileError, as `write_model` does.
    """
    parts = (part for layer, arrays in layers for part in _layer_with(layer, arrays))
    _write(Path(path), itertools.chain([_field(_NAME, name.encode())], parts), force)


def write_blob(path: str | Path, array: npt.ArrayLike, *, force: bool = False) -> None:
    """Write an array as a .binaryproto: a mean image, the matrix of InfogainLoss. Raises FileError."""
    _write(Path(path), iter(blob_parts(array)), force)


def _layer(name: str, arrays: Sequence[npt.ArrayLike]) -> list[bytes]:
    """A layer of a NetParameter, in parts that follow one another."""
    return _layer_with(_field(_NAME, name.encode()), arrays)


def _layer_with(fields: bytes, arrays: Sequence[npt.ArrayLike]) -> list[bytes]:
    """A layer that has these fields, serialized, and then the arrays."""
    parts: list[bytes] = [fields]
    for array in arrays:
        blob = blob_parts(array)
        parts += [head(_BLOBS, sum(map(len, blob))), *blob]
    return [head(_LAYER, sum(map(len, parts))), *parts]


def blob_parts(array: npt.ArrayLike) -> list[bytes]:
    """A BlobProto, in parts: its numbers and its shape, byte by byte as Caffe writes them."""
    import numpy as np

    values = np.asarray(array, "<f4", order="C")
    dims = b"".join(packed(n) for n in values.shape)
    bytes_of: Any = values.reshape(-1).view("u1").data  # without a copy; it is written as bytes are
    numbers = [head(_DATA, values.nbytes), bytes_of] if values.size else []
    return [*numbers, _field(_SHAPE, _field(_DIM, dims)) if dims else b""]


def head(number: int, length: int) -> bytes:
    """The tag and the length of a length-delimited field."""
    return packed(number << 3 | BYTES) + packed(length)


def _field(number: int, content: bytes) -> bytes:
    return head(number, len(content)) + content


def _write(path: Path, parts: Iterator[bytes], force: bool) -> None:
    if path.exists() and not force:
        raise FileError(
            f"cannot write '{path}': it exists already", hint="give another name, or use force=True"
        )
    write_parts(path, parts)


def write_parts(path: Path, parts: Iterable[bytes]) -> None:
    """Write a message from its parts, in place of any other file. Raises FileError, also above 2 GiB."""
    with replacing(path) as partial:
        with open(partial, "wb") as file:
            for part in parts:
                file.write(part)
            size = file.tell()
        if size > LIMIT:
            raise FileError(
                f"cannot write '{path}': it would have {size} bytes, and Caffe reads up to {LIMIT}"
            )
