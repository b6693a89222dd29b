"""Protobuf's wire format: the one walker for models, snapshots and records of images.

A walk reads tags and lengths only; the content of a field is skipped, so a walk over a mapped file touches
few of its pages. The schema is not needed: the caller knows the field numbers.

The source of this module is also sent to the Python that has Caffe (3.7 or newer), ahead of other sources
and in one namespace with them. So it imports the standard library only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterator

    Buffer = bytes | memoryview | mmap.mmap
    # One field: its number, its wire type, and the offsets of its content and of the byte after it.
    Field = tuple[int, int, int, int]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_WIDTHS = {FIXED64: 8, FIXED32: 4}


class WireError(Exception):
    """Bytes that are not a message in wire format; `at` is the offset of the field or number at fault."""

    def __init__(self, at: int) -> None:
        super().__init__(f"this is not a protobuf message (byte {at})")
        self.at = at


class NotAField(WireError):
    """A tag that no protobuf message contains."""


class EndlessNumber(WireError):
    """A varint of more than ten bytes."""


class CutShort(WireError):
    """A field that ends after the bytes that hold it.

    `number` is the field's, 0 if not even its tag is whole. `needed` is the length that a length-delimited
    field claims and `found` the number of bytes left for it; `needed` is -1 for other fields.
    """

    def __init__(self, at: int, number: int = 0, needed: int = -1, found: int = 0) -> None:
        super().__init__(at)
        self.number, self.needed, self.found = number, needed, found


def varint(data: Buffer, at: int, end: int) -> tuple[int, int]:
    """The unsigned number of 64 bits at an offset, and the offset after it. Raises WireError."""
    begin, value = at, 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise CutShort(begin)
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise EndlessNumber(begin)


def signed(value: int, bits: int) -> int:
    """The int32 or int64 that a varint stands for: a negative one is sent as its complement in 64 bits."""
    value &= (1 << bits) - 1
    return value - (value >> (bits - 1) << bits)


def packed(value: int) -> bytes:
    """A number that is not negative, as a varint."""
    low = []
    while value > 127:
        low.append(value & 127 | 128)
        value >>= 7
    return bytes([*low, value])


def field(data: Buffer, at: int, end: int) -> Field:
    """The field at an offset of a message that ends at `end`. Raises WireError unless it is whole."""
    tag, content = varint(data, at, end)
    number, wire = tag >> 3, tag & 7
    if not 0 < number < 1 << 29:
        raise NotAField(at)
    if wire == VARINT:
        _, stop = varint(data, content, end)
        return number, wire, content, stop
    if wire == BYTES:
        length, content = varint(data, content, end)
        if length > end - content:
            raise CutShort(at, number, length, end - content)
        return number, wire, content, content + length
    if wire not in _WIDTHS:
        raise NotAField(at)
    if _WIDTHS[wire] > end - content:
        raise CutShort(at, number)
    return number, wire, content, content + _WIDTHS[wire]


def fields(data: Buffer, at: int = 0, end: int | None = None) -> Iterator[Field]:
    """The fields of a message, in order; the message is all of the data unless told otherwise."""
    end = len(data) if end is None else end
    while at < end:
        found = field(data, at, end)
        yield found
        at = found[3]
