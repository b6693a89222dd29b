"""The content of a database, as figures and as a picture of its first images."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netbuilder.data import datum, images
from netbuilder.data.output import about
from netbuilder.data.stored import LevelDatabase
from netbuilder.errors import FileError
from netbuilder.report.formats import Column, Table
from netbuilder.storage.lmdb_file import DamagedDatabase, open_database

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Contents", "as_data", "contents", "rows", "sheet"]

_CELL = 64  # least pixels of the longer side of a sample
_NAMES = 110  # pixels for the names
_LABELS = 50  # rows of a sheet
_SIZES = 8  # most shapes to list


@dataclass
class Contents:
    """Figures of a database; `shapes` counts (c, h, w), `samples` has the first records of each label."""

    place: Path
    records: int = 0
    encoded: int = 0
    first_key: bytes = b""
    last_key: bytes = b""
    size: int = 0  # of the file, in bytes
    shapes: Counter[tuple[int, int, int]] = field(default_factory=Counter)
    labels: Counter[int] = field(default_factory=Counter)
    examples: dict[int, bytes] = field(default_factory=dict)
    samples: dict[int, list[npt.NDArray[np.uint8]]] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    channels: str = ""

    def name(self, label: int) -> str:
        """The name of a class, or "" if it is not known."""
        return self.classes[label] if 0 <= label < len(self.classes) else ""


def contents(place: Path, samples: int = 0) -> Contents:
    """Read every record; keep `samples` images of each label. Raises FileError for a bad record."""
    found = Contents(place)
    is_leveldb = (place / "CURRENT").is_file() and not (place / "data.mdb").is_file()
    reader = LevelDatabase(place) if is_leveldb else open_database(place)
    found.size = reader.size
    for folder in (place.absolute(), place.absolute().parent):
        if known := about(folder):
            found.classes = tuple(map(str, known.get("classes", ())))
            found.channels = str(known.get("channels", ""))
            break
    key = b""
    try:
        for key, value in reader:
            record = datum.read(value)
            found.first_key = found.first_key or key
            found.records += 1
            found.encoded += record.encoded
            found.shapes[_shape(record)] += 1
            found.labels[record.label] += 1
            found.examples.setdefault(record.label, key)
            kept = found.samples.setdefault(record.label, []) if samples else []
            if samples and len(kept) < samples and not record.floats:
                kept.append(_pixels(record))
        found.last_key = key
    except DamagedDatabase as error:
        raise FileError(f"'{place}' is damaged: {error}") from None
    except (datum.BadDatum, images.Unreadable) as error:
        raise FileError(f"record {_text(key)!r} of '{place}' is bad: {error}") from None
    return found


def _shape(record: datum.Datum) -> tuple[int, int, int]:
    if not record.encoded:
        return record.channels, record.height, record.width
    with io.BytesIO(record.data) as file:
        try:
            with images.pillow().open(file) as image:
                return len(image.getbands()), image.height, image.width
        except OSError:
            raise images.Unreadable("its data is not an image that Pillow can read") from None


def _pixels(record: datum.Datum) -> npt.NDArray[np.uint8]:
    """(h, w) or (h, w, c), in the order of the channels as stored."""
    import numpy as np

    if record.encoded:
        with io.BytesIO(record.data) as file:
            return images.decode(file, gray=None)
    planes = np.frombuffer(record.data, np.uint8).reshape(record.channels, record.height, record.width)
    return np.array(planes[0] if len(planes) == 1 else planes.transpose(1, 2, 0))


# ---- as text ---------------------------------------------------------------------------------------------


def summary(found: Contents) -> list[str]:
    """Lines with the figures of the whole database."""
    order = ", ".join(found.channels) if found.channels in ("BGR", "RGB") else ""
    several = len(found.shapes) > 1
    shapes = ", ".join(
        _size(s) + (f" ({n:,})" if several else "") for s, n in found.shapes.most_common(_SIZES)
    )
    more = f" and {len(found.shapes) - _SIZES} other sizes" if len(found.shapes) > _SIZES else ""
    kinds = {0: "pixels", found.records: "encoded images"}
    return [
        f"{found.place}: {found.records:,} records, {found.size / 2**20:,.1f} MiB",
        f"shape:  {shapes or 'none'}{more}" + (f", channels in the order {order}" if order else ""),
        f"data:   {kinds.get(found.encoded, f'{found.encoded:,} encoded images, the others pixels')}",
        f"keys:   {_text(found.first_key)} ... {_text(found.last_key)}",
    ]


def rows(found: Contents) -> Table:
    """The number of records and a key for each label."""
    columns = [Column("label", "label", True), Column("name", "name"), Column("records", "records", True)]
    table = Table(
        (*columns, Column("key", "first key")),
        tuple((k, found.name(k), n, _text(found.examples[k])) for k, n in sorted(found.labels.items())),
        ("total", "", found.records, ""),
    )
    return table if found.classes else table.without("name")


def as_data(found: Contents) -> dict[str, Any]:
    """The figures as JSON data."""
    return {
        "version": 1,
        "database": str(found.place),
        "records": found.records,
        "bytes": found.size,
        "encoded": found.encoded,
        "channels": found.channels or None,
        "first_key": _text(found.first_key),
        "last_key": _text(found.last_key),
        "shapes": [{"shape": list(s), "records": n} for s, n in found.shapes.most_common()],
        "labels": [
            {"label": k, "name": found.name(k) or None, "records": n, "first_key": _text(found.examples[k])}
            for k, n in sorted(found.labels.items())
        ],
    }


def _size(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape))


def _text(key: bytes) -> str:
    return key.decode(errors="replace")


# ---- as a picture ----------------------------------------------------------------------------------------


def sheet(found: Contents, *, rgb: bool = False) -> bytes:
    """A PNG with a row for each label (the first 50): its number, its name and its samples.

    Three channels are blue, green, red, unless netbuilder.json or `rgb` says otherwise.
    """
    from PIL import ImageDraw

    if not any(found.samples.values()):
        raise FileError(f"'{found.place}' has no images to draw")
    library = images.pillow()
    shown = sorted(found.samples.items())[:_LABELS]
    largest = max(max(p.shape[:2]) for _, pictures in shown for p in pictures)
    cell = max(_CELL, min(largest, 2 * _CELL))
    many = max(len(pictures) for _, pictures in shown)
    made = library.new("RGB", (_NAMES + many * (cell + 2), len(shown) * (cell + 2)), "white")
    draw = ImageDraw.Draw(made)
    for row, (label, pictures) in enumerate(shown):
        top = row * (cell + 2) + 1
        draw.text((4, top + cell // 2 - 6), f"{label} {found.name(label)}"[:18], fill="black")
        for column, pixels in enumerate(pictures):
            if pixels.ndim == 3 and pixels.shape[2] != 3:
                pixels = pixels[:, :, 0]
            if pixels.ndim == 3 and not (rgb or found.channels == "RGB"):
                pixels = pixels[:, :, ::-1].copy()
            picture = library.fromarray(pixels)
            scale = cell / max(picture.size)
            size = tuple(max(1, round(side * scale)) for side in picture.size)
            # Enlarge small images without interpolation, so that their pixels stay visible.
            how = library.NEAREST if scale > 1 else library.BILINEAR
            made.paste(picture.resize(size, how), (_NAMES + column * (cell + 2), top))
    held = io.BytesIO()
    made.save(held, "PNG")
    return held.getvalue()
