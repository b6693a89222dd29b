"""Checkpoints of other frameworks: their tensors by name, read one at a time.

`read_checkpoint` reads PyTorch's files (`netbuilder.weights.pickles`), safetensors, and NumPy's .npz, which
also carries TensorFlow's variables. No code of a file is run. Shapes are known at once; the numbers are read
when they are asked for, so that memory holds one tensor at a time.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from netbuilder.errors import FileError
from netbuilder.layers import Shape
from netbuilder.storage.files import reason
from netbuilder.weights.tensors import Checkpoint, Tensor

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

__all__ = ["is_checkpoint", "read_checkpoint"]

# An array of an .npz may be this large, or this many times its compressed size: zeros shrink to a thousandth,
# and a small file must not fill the memory.
_LARGE, _RATIO = 2**28, 100
_HEADER = 2**16  # bytes of an array's header
_ZIP, _HDF5 = b"PK\x03\x04", b"\x89HDF"


def read_checkpoint(path: str | Path, *, key: str | None = None) -> Checkpoint:
    """The tensors of a .pth, .pt, .safetensors or .npz file, told apart by their first bytes.

    `key` names the dictionary inside a PyTorch file that has several: `state_dict`, or `a.b` for one in
    another. Raises FileError for a file that is damaged, holds code, or is of another kind.
    """
    file = Path(path)
    if not file.exists() and (index := Path(f"{path}.index")).exists():
        raise FileError(
            f"'{path}' is a checkpoint of TensorFlow ({index.name} and its data)",
            hint="save its variables from TensorFlow: r = tf.train.load_checkpoint(PATH); numpy.savez(FILE, "
            "**{n: r.get_tensor(n) for n in r.get_variable_to_shape_map()})",
        )
    start = _start(file)
    if start.startswith(_ZIP) and _is_npz(file):
        found = Checkpoint(str(path), _of_npz(file))
    elif start.startswith(_ZIP) or start[:1] == b"\x80" or _is_tar(start):
        from netbuilder.weights.pickles import read_pickle

        return read_pickle(file, key)
    elif start[8:9] == b"{":
        from netbuilder.weights.safetensors import read_safetensors

        found = Checkpoint(str(path), read_safetensors(file))
    else:
        raise FileError(
            f"'{path}' is not a checkpoint: it is neither PyTorch's (.pth, .pt), nor .safetensors or .npz",
            hint=_other(file, start),
        )
    if key is not None:
        raise FileError(f"'{path}' has no dictionaries inside, so there is no '{key}' to choose")
    return found


def is_checkpoint(path: str | Path) -> bool:
    """Whether a file is a checkpoint of another framework, by its first bytes or else its name."""
    start = _start(Path(path))
    named = Path(path).suffix in (".pth", ".pt", ".safetensors", ".npz")
    return named or start.startswith(_ZIP) or start[:2] == b"\x80\x02" or _is_tar(start)


def _start(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            start = opened.read(512)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise FileError(f"cannot read '{file}': {reason(error)}") from None
    if not start:
        raise FileError(f"'{file}' is empty")
    return start


def _other(file: Path, start: bytes) -> str:
    """What a file probably is that is no checkpoint."""
    if start.startswith(_HDF5):
        return "it is HDF5: if Keras wrote it, save its variables as .npz"
    if file.suffix == ".caffemodel":
        return "a .caffemodel needs no import; `netbuilder weights export` writes a checkpoint of it"
    if all(byte >= 32 or byte in b"\t\n\r" for byte in start[:128]):
        return "it is text: perhaps the pointer that Git LFS leaves in place of a large file"
    return "it may be cut short or damaged"


def _is_tar(start: bytes) -> bool:
    return start[257:262] == b"ustar"


# What zipfile raises for a damaged archive: also of a kind of compression or a password that it lacks.
_BROKEN = (
    zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error,
    zlib.error,
)  # fmt: skip

# ---- .npz ------------------------------------------------------------------------------------------------


def _is_npz(file: Path) -> bool:
    """Whether a zip holds arrays; a damaged one counts by its name."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except _BROKEN:
        return file.suffix == ".npz"
    return bool(names) and all(name.endswith(".npy") for name in names)


def _of_npz(file: Path) -> dict[str, Tensor]:
    try:
        archive = zipfile.ZipFile(file)  # open while its tensors live: its directory is long
        entries = archive.namelist()
        if twice := [name for name, n in Counter(entries).items() if n > 1][:1]:
            raise FileError(f"'{file}' has two arrays called '{twice[0]}'")
        return {tensor.name: tensor for tensor in _arrays(file, archive, entries)}
    except _BROKEN as error:
        raise _damaged(file, error) from None


def _arrays(file: Path, archive: zipfile.ZipFile, entries: list[str]) -> Iterator[Tensor]:
    for entry in entries:
        name = entry.removesuffix(".npy")
        info = archive.getinfo(entry)
        if info.file_size > max(_LARGE, _RATIO * info.compress_size):
            raise FileError(
                f"'{file}' holds '{name}' of {info.file_size >> 20} MiB in {info.compress_size >> 10} KiB: "
                "that is no model's array",
                hint="numpy.savez, without compression, writes arrays that are read whatever is in them",
            )
        with archive.open(entry) as member:
            shape, kind = _npy_header(file, io.BytesIO(member.read(_HEADER)), name)
        yield Tensor(name, shape, kind, partial(_read_npy, file, archive, entry))


def _npy_header(file: Path, member: IO[bytes], name: str) -> tuple[Shape, str]:
    from numpy.lib import format as npy

    try:
        version = npy.read_magic(member)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(member)
    except Exception as error:  # NumPy parses the header as Python, and raises errors of many kinds
        raise FileError(f"'{file}' is damaged: '{name}' is not an array ({error})") from None
    if dtype.hasobject:
        raise FileError(
            f"'{file}' holds Python objects ('{name}'), which may run code: they are not read",
            hint="save arrays of numbers alone",
        )
    return tuple(int(n) for n in shape), dtype.name


def _read_npy(file: Path, archive: zipfile.ZipFile, entry: str) -> Array:
    import numpy as np
    from numpy.lib import format as npy

    try:
        with archive.open(entry) as member:
            return np.asarray(npy.read_array(member, allow_pickle=False), np.float32)
    except (*_BROKEN, MemoryError, OverflowError) as error:
        raise _damaged(file, error) from None


def _damaged(file: Path, error: Exception) -> FileError:
    return FileError(f"'{file}' is cut short or damaged: {str(error).lower() or 'it ends too early'}")
