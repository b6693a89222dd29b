"""Trained models (`.caffemodel`): which layers they hold and the shapes of their blobs, without the numbers.

The file is walked in protobuf's wire format, and the numbers are passed over by seeking: memory and time
depend on the number of layers, not on the size of the file. All formats are read: `layer`, `layers` (V1) and
`layers { layer }` (V0), packed and single numbers, `shape` and the older num, channels, height, width.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, NoReturn

from netbuilder.errors import FileError, PrototxtError, shape_text
from netbuilder.layers import Shape, elements
from netbuilder.prototxt.upgrade import type_of_v0, type_of_v1
from netbuilder.storage.files import reason

__all__ = ["Model", "ModelLayer", "is_binary", "read_model"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_NAME = 2**16
_MAX_AXES = 32
_CHUNK = 2**16
_MAX_FIELDS = 2**22  # some twenty seconds; the largest models have some ten thousand

# The fields that are read, by the field's number: in the net, in each of the layer formats.
_NET_NAME, _NET_V1, _NET_LAYER = 1, 2, 100
_LAYER_FIELDS = {"name": 1, "type": 2, "blobs": 7}
_V1_FIELDS = {"name": 4, "type": 5, "blobs": 6, "layer": 1}
_V0_FIELDS = {"name": 1, "type": 2, "blobs": 50}
# The numbers of a BlobProto: their size in bytes.
_DATA = {5: 4, 8: 8}
_DIFF = {6: 4, 9: 8}


class ModelLayer(NamedTuple):
    """A layer of a model: its blobs' shapes, in order. `type` is "" where the file does not say."""

    name: str
    type: str
    blobs: tuple[Shape, ...]

    @property
    def params(self) -> int:
        """How many numbers are stored for it."""
        return sum(elements(shape) for shape in self.blobs)


class Model(NamedTuple):
    """What a .caffemodel holds; layers without blobs are there too."""

    name: str
    layers: tuple[ModelLayer, ...]

    @property
    def stored_params(self) -> int:
        """How many numbers are stored; those that layers share are stored with each of them."""
        return sum(layer.params for layer in self.layers)


def is_binary(path: str | Path) -> bool:
    """Whether a file is no text, told by its first bytes. Raises FileError if it cannot be read.

    What is no file, such as a pipe, cannot be read twice and is taken for text.
    """
    try:
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as file:
            start = file.read(1024)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise FileError(f"cannot read {str(path)!r}: {reason(error)}") from None
    return any(byte < 32 and byte not in b"\t\n\r\f\v" for byte in start)


def read_model(path: str | Path) -> Model:
    """Read the structure of a .caffemodel.

    Raises FileError if it cannot be read, and PrototxtError, with the byte at fault, if it is cut short or no
    model.
    """
    try:
        with open(path, "rb") as file:
            return _Scan(file, str(path)).model()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise FileError(f"cannot read {str(path)!r}: {reason(error)}") from None


class _Scan:
    """One pass over a file; `at` is the offset of the next byte."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        self.file = file
        self.path = path
        self.at = 0
        self.count = 0  # of fields
        self.size = os.fstat(file.fileno()).st_size

    # -- the messages

    def model(self) -> Model:
        start = self.file.read(8)
        self.file.seek(0)
        if not start:
            self.fail("is empty", 0)
        if start.startswith(b"\x89HDF"):
            self.fail(
                "is an HDF5 file, not a binary .caffemodel", 0, "save it with snapshot_format: BINARYPROTO"
            )
        name, layers = "", []
        for field, wire, at in self.fields(self.size):
            if field == _NET_NAME:
                name = self.text(wire, at, "the net's name")
            elif field == _NET_LAYER:
                layers.append(self.layer(self.length(wire, at, "a layer", self.size)))
            elif field == _NET_V1:
                layers.append(self.v1_layer(self.length(wire, at, "a layer", self.size)))
            else:
                self.pass_over(wire, at, self.size)
        if not layers:
            self.fail("holds no layers: it is no .caffemodel", self.size)
        return Model(name, tuple(layers))

    def layer(self, end: int, fields: dict[str, int] = _LAYER_FIELDS) -> ModelLayer:
        name = type = ""
        blobs = []
        for field, wire, at in self.fields(end):
            if field == fields["name"]:
                name = self.text(wire, at, "a layer's name", end)
            elif field == fields["type"]:
                type = self.text(wire, at, "a layer's type", end)
            elif field == fields["blobs"]:
                blobs.append(self.blob(self.length(wire, at, "a blob", end), name))
            else:
                self.pass_over(wire, at, end)
        return ModelLayer(name, type, tuple(blobs))

    def v1_layer(self, end: int) -> ModelLayer:
        name = type = ""
        blobs = []
        v0 = None
        for field, wire, at in self.fields(end):
            if field == _V1_FIELDS["name"]:
                name = self.text(wire, at, "a layer's name", end)
            elif field == _V1_FIELDS["type"]:
                self.expect(wire, _VARINT, at, "a layer's type")
                type = type_of_v1(self.varint(end))
            elif field == _V1_FIELDS["blobs"]:
                blobs.append(self.blob(self.length(wire, at, "a blob", end), name))
            elif field == _V1_FIELDS["layer"]:
                v0 = self.layer(self.length(wire, at, "a layer", end), _V0_FIELDS)
            else:
                self.pass_over(wire, at, end)
        if v0 is not None:
            return ModelLayer(v0.name, type_of_v0(v0.type), v0.blobs)
        return ModelLayer(name, type, tuple(blobs))

    def blob(self, end: int, layer: str) -> Shape:
        """The shape of a blob, checked against how many numbers it holds. Source: blob.cpp, FromProto."""
        begin = self.at
        legacy = [0, 0, 0, 0]
        is_legacy = False
        dims: list[int] = []
        counts = {4: 0, 8: 0}
        for field, wire, at in self.fields(end):
            if field in (1, 2, 3, 4):
                self.expect(wire, _VARINT, at, "a blob's size")
                legacy[field - 1] = self.varint(end)
                is_legacy = True
            elif field == 7:
                dims += self.shape(self.length(wire, at, "a blob's shape", end))
            elif field in _DATA:
                counts[_DATA[field]] += self.numbers(wire, at, end, _DATA[field])
            elif field in _DIFF:
                self.numbers(wire, at, end, _DIFF[field])
            else:
                self.pass_over(wire, at, end)
        shape = tuple(legacy) if is_legacy else tuple(dims)
        if any(n < 0 or n > 2**31 for n in shape):
            self.fail(f"holds a blob of layer '{layer}' with an impossible size, {shape_text(shape)}", begin)
        stored = counts[8] or counts[4]  # doubles come before floats in Caffe, too
        if stored != elements(shape):
            self.fail(
                f"holds {stored} numbers for a blob {shape_text(shape)} of layer '{layer}', which takes "
                f"{elements(shape)}",
                begin,
            )
        return shape

    def shape(self, end: int) -> list[int]:
        dims: list[int] = []
        for field, wire, at in self.fields(end):
            if field != 1:
                self.pass_over(wire, at, end)
            elif wire == _VARINT:
                dims.append(self.varint(end))
            else:
                stop = self.length(wire, at, "a shape", end)
                while self.at < stop and len(dims) <= _MAX_AXES:
                    dims.append(self.varint(stop))
            if len(dims) > _MAX_AXES:
                self.fail(f"holds a blob of more than {_MAX_AXES} axes", at)
        return dims

    def numbers(self, wire: int, at: int, end: int, width: int) -> int:
        """Pass over the numbers of one field and say how many they are."""
        if wire == _BYTES:
            stop = self.length(wire, at, "a blob's numbers", end)
            count, rest = divmod(stop - self.at, width)
            if rest:
                self.fail(f"holds {stop - self.at} bytes of numbers of {width} bytes", at)
            self.seek(stop)
            return count
        self.expect(wire, _FIXED32 if width == 4 else _FIXED64, at, "a blob's numbers")
        # One number, with its tag; then, most likely, thousands of the same kind.
        tag_size = self.at - at
        self.file.seek(at)
        tag = self.file.read(tag_size)
        self.seek(self.at)
        self.take(width, end)
        count, step = 1, tag_size + width
        if tag_size != 1:
            return count
        while True:
            chunk = self.file.read(min(_CHUNK, (end - self.at) // step) * step)
            tags = chunk[::step]
            run = len(tags) - len(tags.lstrip(tag))
            count += run
            self.seek(self.at + run * step)
            if run < len(tags) or not tags:
                return count

    # -- the wire format

    def fields(self, end: int) -> Iterator[tuple[int, int, int]]:
        """Number, wire type and offset of each field up to `end`; whoever asks takes its value."""
        while self.at < end:
            at = self.at
            self.count += 1
            if self.count > _MAX_FIELDS:
                self.fail(f"is no .caffemodel: it has more than {_MAX_FIELDS} fields", at)
            tag = self.varint(end, "a field")
            field, wire = tag >> 3, tag & 7
            if not 0 < field < 2**29 or wire not in (_VARINT, _FIXED64, _BYTES, _FIXED32):
                self.fail("is no .caffemodel: what stands here is no field of a protobuf message", at)
            yield field, wire, at

    def pass_over(self, wire: int, at: int, end: int) -> None:
        if wire == _VARINT:
            self.varint(end)
        elif wire == _BYTES:
            self.seek(self.length(wire, at, "a field", end))
        else:
            self.take(8 if wire == _FIXED64 else 4, end)

    def varint(self, end: int, what: str = "a number") -> int:
        begin, value = self.at, 0
        for i in range(10):
            byte = self.file.read(1) if self.at < end else b""
            if not byte:
                self.cut_short(what, begin)
            self.at += 1
            value |= (byte[0] & 127) << (7 * i)
            if byte[0] < 128:
                value &= 2**64 - 1
                return value - 2**64 if value >= 2**63 else value
        self.fail("is no .caffemodel: a number here has no end", begin)

    def length(self, wire: int, at: int, what: str, end: int) -> int:
        """Where a length-delimited value ends; it begins at the next byte."""
        self.expect(wire, _BYTES, at, what)
        length = self.varint(end, what)
        if not 0 <= length <= end - self.at:
            if end == self.size:
                self.cut_short(what, at, f": it needs {length} bytes, and there are {end - self.at}")
            self.fail(f"is damaged: {what} is longer than what holds it", at)
        return self.at + length

    def text(self, wire: int, at: int, what: str, end: int | None = None) -> str:
        stop = self.length(wire, at, what, self.size if end is None else end)
        if stop - self.at > _MAX_NAME:
            self.fail(f"is no .caffemodel: {what} would have {stop - self.at} bytes", at)
        return self.take(stop - self.at, stop).decode(errors="replace")

    def take(self, count: int, end: int) -> bytes:
        got = self.file.read(count) if count <= end - self.at else b""
        if len(got) < count:
            self.cut_short("a number", self.at)
        self.at += count
        return got

    def seek(self, at: int) -> None:
        self.file.seek(at)
        self.at = at

    # -- errors

    def expect(self, wire: int, wanted: int, at: int, what: str) -> None:
        if wire != wanted:
            self.fail(f"is no .caffemodel: {what} should stand here, and something else does", at)

    def cut_short(self, what: str, at: int, more: str = "") -> NoReturn:
        self.fail(f"is cut short or damaged in {what}{more}", at)

    def fail(self, text: str, at: int, hint: str = "") -> NoReturn:
        self.file.seek(0)
        start = self.file.read(256)
        if not hint and start.strip() and all(b >= 32 or b in b"\t\n\r" for b in start):
            hint = "it looks like text: give a .caffemodel, or read it as a .prototxt"
        raise PrototxtError(f"'{self.path}' {text} (byte {at})", path=self.path, hint=hint)
