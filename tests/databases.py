"""Small LMDBs for tests that read or train from one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from netbuilder.schema import message

__all__ = ["Images", "noise", "write_lmdb"]

Images = np.ndarray[Any, Any]


def noise(count: int, channels: int, height: int, width: int) -> Images:
    """Random images, uint8 (n, c, h, w), always the same."""
    return np.random.default_rng(0).integers(0, 256, (count, channels, height, width), dtype=np.uint8)


def write_lmdb(place: str | Path, images: Iterable[Images], labels: Iterable[int]) -> None:
    """Write uint8 images (c, h, w) and their labels as Datum records, keys 00000, 00001, ..."""
    import lmdb

    datum = message("Datum")
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    with lmdb.open(str(place), map_size=1 << 24) as env, env.begin(write=True) as records:
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            c, h, w = image.shape
            record = datum(channels=c, height=h, width=w, data=image.tobytes(), label=label)
            records.put(b"%05d" % i, record.SerializeToString())
