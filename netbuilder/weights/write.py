"""Write Caffe's binary files: weights by layer name (.caffemodel) and single arrays (.binaryproto).

Both are written atomically. An existing file is replaced only with `force`: a binary file has no header that
shows whether netbuilder made it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from netbuilder.errors import FileError
from netbuilder.schema import BlobProto, NetParameter

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["write_blob", "write_model"]


def write_model(
    path: str | Path, params: Mapping[str, Sequence[npt.ArrayLike]], *, force: bool = False
) -> None:
    """Write the parameters of some or all layers as a .caffemodel.

    Caffe copies them into the layers of the same name (`caffe train --weights`), where the shapes must be
    equal, and leaves the other layers unchanged. Raises FileError.
    """
    model = NetParameter()
    for name, arrays in params.items():
        layer = model.layer.add(name=name)
        for array in arrays:
            _fill(layer.blobs.add(), array)
    _write(Path(path), model.SerializeToString(), force)


def write_blob(path: str | Path, array: npt.ArrayLike, *, force: bool = False) -> None:
    """Write an array as a .binaryproto: a mean image, the matrix of InfogainLoss. Raises FileError."""
    blob = BlobProto()
    _fill(blob, array)
    _write(Path(path), blob.SerializeToString(), force)


def _fill(blob: BlobProto, array: npt.ArrayLike) -> None:
    import numpy as np

    values = np.asarray(array, np.float32)
    blob.shape.dim.extend(values.shape)
    blob.data.extend(values.ravel().tolist())


def _write(path: Path, data: bytes, force: bool) -> None:
    if path.exists() and not force:
        raise FileError(
            f"cannot write '{path}': it exists already", hint="give another name, or use force=True"
        )
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        if partial.parent.is_dir():
            partial.unlink(missing_ok=True)
        reason = (error.strerror or str(error)).lower()
        raise FileError(f"cannot write '{path}': {reason}", hint="choose another place") from None
