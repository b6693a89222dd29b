"""The mean image of a database, as compute_image_mean writes it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from netbuilder.data import datum, images
from netbuilder.errors import FileError
from netbuilder.schema import message
from netbuilder.storage.lmdb_file import DamagedDatabase, open_database

__all__ = ["mean_image"]


def mean_image(
    place: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> tuple[bytes, list[float]]:
    """The mean of all images as a binaryproto, and the mean of each channel.

    The sum is exact. compute_image_mean adds in single precision, which is equal until a sum reaches 2^24
    (some 66,000 white images); beyond that only this one is correct.
    Source: compute_image_mean.cpp, which writes the four legacy sizes rather than a `shape`.
    """
    import numpy as np

    reader = open_database(place)
    total, shape, first = None, (0, 0, 0), b""
    try:
        for count, (key, value) in enumerate(reader, 1):
            record = datum.read(value)
            if record.encoded:
                with io.BytesIO(record.data) as file:
                    pixels = images.decode(file, gray=None)
                found, planes = images.planes(pixels)
                values = np.frombuffer(planes, np.uint8)
            else:
                found = (record.channels, record.height, record.width)
                values = np.frombuffer(record.data, np.uint8)
            if total is None:
                shape, first, total = found, key, np.zeros(values.size, np.int64)
            if found != shape or record.floats:
                raise FileError(
                    f"no mean: record {key.decode(errors='replace')!r} of '{place}' is {_size(found)}, "
                    f"and {first.decode(errors='replace')!r} is {_size(shape)}"
                    if found != shape
                    else f"no mean: record {key.decode(errors='replace')!r} of '{place}' has float values",
                    hint="images need one size: --resize-height, --resize-width" if found != shape else "",
                )
            total += values
            progress(count, len(reader))
    except (DamagedDatabase, datum.BadDatum, images.Unreadable) as error:
        raise FileError(f"cannot read '{place}': {error}") from None
    if total is None:
        raise FileError(f"no mean: '{place}' has no records")
    mean = (total / len(reader)).astype(np.float32)
    c, h, w = shape
    blob = message("BlobProto")(num=1, channels=c, height=h, width=w, data=mean.tolist())
    packed: bytes = blob.SerializeToString()
    return packed, [float(m) for m in mean.reshape(c, -1).mean(axis=1, dtype=np.float64)]


def _size(shape: tuple[int, int, int]) -> str:
    return "x".join(map(str, shape))
