"""Datum messages, Caffe's records of images: packed as Caffe's tools pack them, and read without a copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from netbuilder.schema import message
from netbuilder.storage.wire import BYTES, VARINT, CutShort, WireError, fields, signed, varint

__all__ = ["BadDatum", "Datum", "Labels", "pack_encoded", "pack_planes", "pack_values", "read"]

_NAMES = {1: "channels", 2: "height", 3: "width", 5: "label", 7: "encoded"}
_DATA, _LABEL = 4, 5
_LABEL_TAG = _LABEL << 3


class BadDatum(Exception):
    """A record that is not a Datum, or one that contradicts itself; the text says how."""


class Datum(NamedTuple):
    """One record; `data` is the planes (c, h, w), or the image file if `encoded`.

    `floats` is the number of float values, which a few databases have instead of `data`.
    """

    channels: int = 0
    height: int = 0
    width: int = 0
    data: memoryview = memoryview(b"")
    label: int = 0
    floats: int = 0
    encoded: bool = False


def pack_planes(
    shape: tuple[int, int, int], planes: bytes, label: int, *, encoded_field: bool = True
) -> bytes:
    """The record of an image of `shape` (c, h, w), one byte for each value.

    convert_imageset writes the field `encoded`, which is false; the tools for CIFAR and MNIST leave it out.
    Source: io.cpp, CVMatToDatum; convert_cifar_data.cpp.
    """
    channels, height, width = shape
    datum = message("Datum")(channels=channels, height=height, width=width, data=planes, label=label)
    if encoded_field:
        datum.encoded = False
    packed: bytes = datum.SerializeToString()
    return packed


def pack_encoded(file: bytes, label: int) -> bytes:
    """The record of an image that stays in its file format. Source: io.cpp, ReadFileToDatum."""
    packed: bytes = message("Datum")(data=file, label=label, encoded=True).SerializeToString()
    return packed


def pack_values(values: Sequence[float]) -> bytes:
    """The record of several labels: a Datum of float values, one channel each."""
    datum = message("Datum")(channels=len(values), height=1, width=1, float_data=values)
    packed: bytes = datum.SerializeToString()
    return packed


class Labels:
    """Reads the labels of records, most of them directly: where the label of an earlier record was."""

    def __init__(self) -> None:
        self._head = self._tail = b""  # before the data, and after the label
        self._size = self._at = -1  # of the record, and of the label in it

    def __call__(self, record: memoryview) -> int:
        """The label, 0 without one. Raises WireError."""
        at = self._at
        if (
            len(record) == self._size
            and record[: len(self._head)] == self._head
            and record[at - 1] == _LABEL_TAG
            and record[at] < 128
            and record[at + 1 :] == self._tail
        ):
            return record[at]
        places = [(number, at, end) for number, _, at, end in fields(record)]
        found = [(at, end) for number, at, end in places if number == _LABEL]
        data = [(at, end) for number, at, end in places if number == _DATA]
        if not found:
            return 0
        at, end = found[-1]
        if len(found) == len(data) == 1 and data[0][1] == at - 1 and end == at + 1:
            self._head, self._tail = bytes(record[: data[0][0]]), bytes(record[end:])
            self._size, self._at = len(record), at
        return signed(varint(record, at, end)[0], 32)


def read(record: memoryview) -> Datum:
    """Read a record without a copy: `data` is a view. Raises BadDatum."""
    found: dict[str, int] = {}
    data, floats = memoryview(b""), 0
    try:
        for number, wire, at, end in fields(record):
            if wire == VARINT and number in _NAMES:
                found[_NAMES[number]] = signed(varint(record, at, end)[0], 32)
            elif number == 4 and wire == BYTES:
                data = record[at:end]
            elif number == 6:
                floats += 1 if wire == VARINT else (end - at) // 4
            elif number <= 7:
                raise BadDatum("it is not a Datum")
    except WireError as error:
        what = "it is cut short" if isinstance(error, CutShort) else "it is not a Datum"
        raise BadDatum(what) from None
    encoded = bool(found.pop("encoded", 0))
    datum = Datum(data=data, floats=floats, encoded=encoded, **found)
    values = len(data) or floats
    shape = (datum.channels, datum.height, datum.width)
    if not encoded and (min(shape) < 1 or shape[0] * shape[1] * shape[2] != values):
        raise BadDatum(f"it states {'x'.join(map(str, shape))} but has {values} values")
    if encoded and not data:
        raise BadDatum("it claims to be encoded but is empty")
    return datum
