"""All images of a database in one array: records of one layout are read by fixed offsets.

Protobuf writes the fields of a Datum in the order of their numbers, so that records of equal size that begin
alike have their pixels and labels at the same places; that they do begin alike is checked. Any other record
is walked field by field.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from netbuilder.data.datum import BadDatum
from netbuilder.data.datum import read as read_datum
from netbuilder.data.stored import BadRecord, Database
from netbuilder.storage.wire import VARINT, fields

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Numbers = npt.NDArray[np.int64]

__all__ = ["load"]

_DATA, _LABEL = 4, 5
_PART = 4096  # records at a time
_LONGEST = 9  # bytes of a label that is not negative


class _Layout(NamedTuple):
    """Where a record has its pixels, and its label (an empty span if it is 0 and left out)."""

    data: tuple[int, int]
    label: tuple[int, int]


def load(database: Database) -> tuple[Bytes, Numbers] | None:
    """The images (n, c, h, w) and labels (n,); None unless all are pixels of one size. Raises BadRecord."""
    import numpy as np

    whole = np.frombuffer(database.buffer(), np.uint8)
    places = database.places()
    shape = _shape(database, 0)
    if shape is None:
        return None
    images = np.empty((len(places), *shape), np.uint8)
    rows = images.reshape(len(places), -1)
    labels = np.zeros(len(places), np.int64)
    for size in np.unique(places[:, 1]):
        same = np.flatnonzero(places[:, 1] == size)
        first = int(places[same[0], 0])
        record = database.buffer()[first : first + int(size)]
        layout = _layout(record) if _shape(database, int(same[0])) == shape else None
        for at in range(0, len(same), _PART):
            part = same[at : at + _PART]
            alike = np.zeros(len(part), bool)
            if layout is not None:
                alike = _read_alike(whole, places[part, 0], record, layout, rows, labels, part)
            for i in part[~alike]:
                planes, label = database.read((int(places[i, 0]), int(size)))
                if planes.shape != shape or planes.dtype != np.uint8:
                    return None
                images[i], labels[i] = planes, label
    return images, labels


def _shape(database: Database, number: int) -> tuple[int, int, int] | None:
    """The shape of a record of pixels, None for another record."""
    at, size = database.task(number)
    try:
        found = read_datum(database.buffer()[at : at + size])
    except BadDatum as error:
        raise BadRecord(str(error)) from None
    if found.encoded or found.floats:
        return None
    return found.channels, found.height, found.width


def _layout(record: memoryview) -> _Layout | None:
    data, label, tag = (0, 0), (0, 0), 0
    for number, wire, at, end in fields(record):
        if number <= tag:
            return None  # out of order, or twice
        tag = number
        if number == _DATA:
            data = at, end
        elif number == _LABEL and wire == VARINT:
            if end - at > _LONGEST:
                return None
            label = at, end
    return _Layout(data, label)


def _read_alike(
    whole: Bytes,
    starts: Numbers,
    record: memoryview,
    layout: _Layout,
    rows: Bytes,
    labels: Numbers,
    part: Numbers,
) -> npt.NDArray[np.bool_]:
    """Read those of these records that have the layout of the first; True for each of them."""
    import numpy as np

    (begin, end), (label, past) = layout
    fixed = np.array([i for i in (*range(begin), *range(end, len(record))) if not label <= i < past])
    found = whole[starts[:, None] + fixed]
    alike: npt.NDArray[np.bool_] = (found == np.frombuffer(record, np.uint8)[fixed]).all(1)
    if past > label:
        numbers = whole[starts[:, None] + np.arange(label, past)].astype(np.int64)
        more = numbers >= 128  # all bytes of a varint but the last
        alike &= more[:, :-1].all(1) & ~more[:, -1]
        labels[part[alike]] = ((numbers & 127) << (7 * np.arange(past - label)))[alike].sum(1)
    for i, at in zip(part[alike].tolist(), starts[alike].tolist(), strict=True):
        rows[i] = whole[at + begin : at + end]
    return alike
