"""Datum messages, Caffe's records of images: packed as Caffe's tools pack them, and read without a copy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from netbuilder.schema import message

__all__ = ["BadDatum", "Datum", "pack_encoded", "pack_planes", "read"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class BadDatum(Exception):
    """A record that is no Datum, or one that contradicts itself; the text says how."""


class Datum(NamedTuple):
    """One record; `data` is the planes (c, h, w), or the file of an image where `encoded`.

    `floats` is the number of float values, which stand in the place of `data` in a few databases.
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


def read(record: memoryview) -> Datum:
    """Read a record; only its ends are touched, the data is a view. Raises BadDatum."""
    found: dict[str, int] = {}
    data, floats = memoryview(b""), 0
    names = {1: "channels", 2: "height", 3: "width", 5: "label", 7: "encoded"}
    for number, kind, value in _fields(record):
        if kind == _VARINT and number in names:
            assert isinstance(value, int)
            # An int32 is sent as 64 bits, a negative one as its complement.
            found[names[number]] = (value & 0xFFFFFFFF) - ((value & 0x80000000) << 1)
        elif number == 4 and kind == _BYTES:
            assert isinstance(value, memoryview)
            data = value
        elif number == 6:
            floats += len(value) // 4 if isinstance(value, memoryview) else 1
        elif number <= 7:
            raise BadDatum("it is no Datum")
    encoded = bool(found.pop("encoded", 0))
    datum = Datum(data=data, floats=floats, encoded=encoded, **found)
    values = len(data) or floats
    shape = (datum.channels, datum.height, datum.width)
    if not encoded and (min(shape) < 1 or shape[0] * shape[1] * shape[2] != values):
        raise BadDatum(f"it says {'x'.join(map(str, shape))} and has {values} values")
    if encoded and not data:
        raise BadDatum("it is said to be encoded, and is empty")
    return datum


def _fields(record: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """(number, wire type, value) of every field of a message."""
    at, end = 0, len(record)
    while at < end:
        tag, at = _varint(record, at)
        number, kind = tag >> 3, tag & 7
        value: int | memoryview
        if kind == _VARINT:
            value, at = _varint(record, at)
        elif kind in (_BYTES, _FIXED32, _FIXED64):
            size = {_FIXED32: 4, _FIXED64: 8}.get(kind, 0)
            if kind == _BYTES:
                size, at = _varint(record, at)
            if at + size > end:
                raise BadDatum("it is cut short")
            value, at = record[at : at + size], at + size
        else:
            raise BadDatum("it is no Datum")
        if not number:
            raise BadDatum("it is no Datum")
        yield number, kind, value


def _varint(record: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(record):
            raise BadDatum("it is cut short")
        byte = record[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise BadDatum("it is no Datum")
