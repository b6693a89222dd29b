"""The safetensors format, read and written without its package.

A file is the length of its header (8 bytes, little endian), the header (JSON: type, shape and place of each
tensor), and the numbers. Source: huggingface/safetensors, README, "Format".
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netbuilder.errors import FileError
from netbuilder.layers import Shape, elements
from netbuilder.storage.files import reason, replacing
from netbuilder.weights.tensors import Tensor

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

__all__ = ["read_safetensors", "write_safetensors"]

_MAX_HEADER = 100_000_000  # as in its package
# By the names of the format: ours, NumPy's, and the bytes of a number. NumPy lacks bfloat16, which is the
# upper half of float32.
_KINDS = {
    "F64": ("float64", "<f8", 8), "F32": ("float32", "<f4", 4), "F16": ("float16", "<f2", 2),
    "BF16": ("bfloat16", "<u2", 2), "I64": ("int64", "<i8", 8), "I32": ("int32", "<i4", 4),
    "I16": ("int16", "<i2", 2), "I8": ("int8", "i1", 1), "U64": ("uint64", "<u8", 8),
    "U32": ("uint32", "<u4", 4), "U16": ("uint16", "<u2", 2), "U8": ("uint8", "u1", 1),
    "BOOL": ("bool", "u1", 1),
}  # fmt: skip
_PLACES = "data_offsets"


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, in the order of their places. Raises FileError."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            length = int.from_bytes(file.read(8), "little")
            if length > min(_MAX_HEADER, size - 8):
                raise FileError(f"'{path}' is cut short or damaged: its header would have {length} bytes")
            header = json.loads(file.read(length))
    except (OSError, ValueError, RecursionError) as error:
        why = reason(error) if isinstance(error, OSError) else "its header is not JSON"
        raise FileError(f"'{path}' is cut short or damaged: {why}") from None
    if not isinstance(header, dict):
        raise FileError(f"'{path}' is damaged: its header is not a JSON object")
    header.pop("__metadata__", None)
    tensors = [_tensor(path, name, entry, 8 + length, size) for name, entry in header.items()]
    return {tensor.name: tensor for _, tensor in sorted(tensors, key=lambda x: x[0])}


def _tensor(path: Path, name: str, entry: Any, start: int, size: int) -> tuple[int, Tensor]:
    try:
        kind, shape = entry["dtype"], tuple(entry["shape"])
        begin, end = entry[_PLACES]
        ints = all(type(n) is int and n >= 0 for n in (*shape, begin, end))
    except (KeyError, TypeError, ValueError):
        ints = False
    if not ints:
        raise FileError(f"'{path}' is damaged: the header does not say what tensor '{name}' is")
    if kind not in _KINDS:
        return begin, Tensor(name, shape, str(kind).lower(), lambda: _unknown(path, name, kind))
    ours, code, width = _KINDS[kind]
    if end - begin != width * elements(shape) or start + end > size:
        raise FileError(f"'{path}' is cut short or damaged: tensor '{name}' is not whole")
    return begin, Tensor(name, shape, ours, lambda: _read(path, start + begin, shape, ours, code))


def _unknown(path: Path, name: str, kind: str) -> Array:
    raise FileError(f"'{path}' has tensor '{name}' in numbers of type {kind}, which is not read")


def _read(path: Path, at: int, shape: Shape, kind: str, code: str) -> Array:
    import numpy as np

    if not elements(shape):
        return np.zeros(shape, np.float32)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        numbers = np.frombuffer(data, code, elements(shape), at)
        if kind == "bfloat16":
            values = (numbers.astype("<u4") << 16).view("<f4")
        else:
            values = numbers.astype(np.float32)
        del numbers  # it holds on to the map
    return values.reshape(shape)


def write_safetensors(path: Path, shapes: Sequence[tuple[str, Shape]], arrays: Iterable[Array]) -> None:
    """Write float32 tensors, whose arrays come in the order of their names and shapes. Raises FileError."""
    import numpy as np

    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, shape in shapes:
        end = at + 4 * elements(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), _PLACES: [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as partial, partial.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays:
            file.write(np.ascontiguousarray(array, "<f4").data)
