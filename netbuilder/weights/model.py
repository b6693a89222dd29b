"""Trained models (`.caffemodel`): their layers and the shapes of their blobs, without the values.

The file is memory-mapped and the values are skipped, so memory and time depend on the number of layers, not
on the size of the file. All formats are read: `layer`, `layers` (V1) and `layers { layer }` (V0), packed and
single values, `shape` and the older num, channels, height, width; and, with h5py, HDF5.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from netbuilder.errors import FileError, PrototxtError, shape_text
from netbuilder.layers import Shape, elements
from netbuilder.schema.old_types import type_of_v0, type_of_v1
from netbuilder.storage.files import reason
from netbuilder.storage.wire import (
    BYTES,
    FIXED32,
    FIXED64,
    VARINT,
    CutShort,
    NotAField,
    WireError,
    field,
    signed,
    varint,
)

__all__ = ["Model", "ModelLayer", "is_binary", "joined", "model_files", "read_blob", "read_model"]

_MAX_NAME = 2**16
_MAX_AXES = 32
_CHUNK = 2**14  # of single numbers
_MAX_FIELDS = 2**22  # the largest models have some ten thousand

# The fields to read, by number: in the net, in a layer of each format, in a blob; with their names in error
# texts.
_NAME, _TYPE, _BLOB, _LAYER = "a layer's name", "a layer's type", "a blob", "a layer"
_NET_NAME, _NET_V1, _NET_LAYER = 1, 2, 100
_NET = {_NET_NAME: "the net's name", _NET_V1: _LAYER, _NET_LAYER: _LAYER}
_CURRENT = {1: _NAME, 2: _TYPE, 7: _BLOB}
_V1 = {4: _NAME, 5: _TYPE, 6: _BLOB, 1: _LAYER}
_V0 = {1: _NAME, 2: _TYPE, 50: _BLOB}
# The numbers of a BlobProto: their size in bytes.
_DATA = {5: 4, 8: 8}
_DIFF = {6: 4, 9: 8}
_SIZES = dict.fromkeys((1, 2, 3, 4), "a blob's size")
_BLOB_FIELDS = {**_SIZES, 7: "a blob's shape", **dict.fromkeys((*_DATA, *_DIFF), "a blob's numbers")}


class ModelLayer(NamedTuple):
    """A layer of a model: its blobs' shapes, in order. `type` is "" where the file does not say.

    `legacy` are the indices of the blobs whose shape is given as num, channels, height and width, to which
    Caffe compares other shapes. In HDF5, `numbers` are the blobs' own: Caffe stores a shared blob only once.
    """

    name: str
    type: str
    blobs: tuple[Shape, ...]
    legacy: frozenset[int] = frozenset()
    numbers: tuple[int, ...] | None = None

    @property
    def params(self) -> int:
        """How many numbers are stored for it."""
        return sum(elements(shape) for shape in self.blobs)


class Model(NamedTuple):
    """The content of a .caffemodel, including layers without blobs."""

    name: str
    layers: tuple[ModelLayer, ...]

    @property
    def stored_params(self) -> int:
        """How many numbers are stored; those that layers share are stored with each of them."""
        return sum(layer.params for layer in self.layers)


def is_binary(path: str | Path) -> bool:
    """Whether the first bytes of a file are not text. Raises FileError if it cannot be read.

    Anything but a regular file counts as text: a pipe, for one, cannot be read twice.
    """
    try:
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as file:
            start = file.read(1024)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise FileError(f"cannot read {str(path)!r}: {reason(error)}") from None
    return any(byte < 32 and byte not in b"\t\n\r\f\v" for byte in start)


def model_files(text: str) -> list[str]:
    """The files of `a.caffemodel,b.caffemodel`, which Caffe loads in turn; a file's name may have a comma."""
    if os.path.isfile(text):
        return [text]
    return [word.strip() for word in text.split(",")]


def joined(models: Sequence[Model]) -> Model:
    """Several models as Caffe loads them, one after the other."""
    return Model(models[0].name, tuple(layer for model in models for layer in model.layers))


def read_model(path: str | Path) -> Model:
    """Read the structure of a .caffemodel.

    Raises FileError if it cannot be read, and PrototxtError, with the byte at fault, if it is cut short or
    not a model.
    """
    try:
        with open(path, "rb") as file:
            if file.read(4) == b"\x89HDF" and (model := _read_hdf5(path)):
                return model
            if not os.fstat(file.fileno()).st_size:
                return _Scan(b"", str(path)).model()
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Scan(data, str(path)).model()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise FileError(f"cannot read {str(path)!r}: {reason(error)}") from None


def read_blob(path: str | Path) -> Shape:
    """The shape of the single blob that a .binaryproto holds, such as a mean image. Raises as read_model."""
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Scan(data, str(path)).blob(0, len(data), "")[0]
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name, or an empty file
        raise FileError(f"cannot read {str(path)!r}: {reason(error)}") from None


def _read_hdf5(path: str | Path) -> Model | None:
    """The layers in the group `data`, None without one. Source: net.cpp, CopyTrainedLayersFromHDF5."""
    try:
        import h5py
    except ImportError:
        raise FileError(
            f"'{path}' is an HDF5 file, which h5py reads",
            hint="pip install 'caffe-netbuilder[data]', or save it with snapshot_format: BINARYPROTO",
        ) from None
    layers = []
    try:
        with h5py.File(path, "r") as file:
            for name, group in file["data"].items():
                blobs = {key: tuple(blob.shape) for key, blob in group.items()}
                numbers = [int(key) if key.isdigit() else -1 for key in blobs]
                order = sorted(zip(numbers, blobs.values(), strict=True))
                layers.append(
                    ModelLayer(
                        name, "", tuple(shape for _, shape in order), numbers=tuple(n for n, _ in order)
                    )
                )
    except (OSError, KeyError, AttributeError, TypeError, ValueError, RuntimeError):  # a damaged file: any
        return None
    return Model("", tuple(layers))


class _Field(NamedTuple):
    """A field: its number and name, its wire type, and three offsets."""

    number: int
    what: str
    wire: int
    start: int
    content: int
    end: int


def _layer(name: str, type: str, blobs: Sequence[tuple[Shape, bool]]) -> ModelLayer:
    legacy = frozenset(i for i, (_, is_legacy) in enumerate(blobs) if is_legacy)
    return ModelLayer(name, type, tuple(shape for shape, _ in blobs), legacy)


class _Scan:
    """The messages of one file; each is the range of bytes from `at` to `end`."""

    def __init__(self, data: bytes | mmap.mmap, path: str) -> None:
        self.data = data
        self.path = path
        self.size = len(data)
        self.count = 0  # of fields

    # -- the messages

    def model(self) -> Model:
        if not self.size:
            self.fail("is empty", 0)
        if self.data[:4] == b"\x89HDF":
            hint = "its model is the .caffemodel.h5 beside it" if ".solverstate" in self.path else ""
            self.fail("is an HDF5 file without the group 'data' of a .caffemodel.h5", 0, hint)
        name, layers = "", []
        for f in self.fields(0, self.size, _NET):
            if f.number == _NET_NAME:
                name = self.text(f)
            elif f.number == _NET_LAYER:
                layers.append(self.layer(*self.message(f), _CURRENT))
            elif f.number == _NET_V1:
                layers.append(self.v1_layer(*self.message(f)))
        if not layers:
            self.fail("holds no layers: it is not a .caffemodel", self.size)
        return Model(name, tuple(layers))

    def layer(self, at: int, end: int, names: Mapping[int, str]) -> ModelLayer:
        """A layer of today's format or of V0, which differ only in the numbers of their fields."""
        name = type = ""
        blobs: list[tuple[Shape, bool]] = []
        for f in self.fields(at, end, names):
            if f.what == _NAME:
                name = self.text(f)
            elif f.what == _TYPE:
                type = self.text(f)
            elif f.what == _BLOB:
                blobs.append(self.blob(*self.message(f), name))
        return _layer(name, type, blobs)

    def v1_layer(self, at: int, end: int) -> ModelLayer:
        name = type = ""
        blobs: list[tuple[Shape, bool]] = []
        v0 = None
        for f in self.fields(at, end, _V1):
            if f.what == _NAME:
                name = self.text(f)
            elif f.what == _TYPE:
                type = type_of_v1(self.number(f))
            elif f.what == _BLOB:
                blobs.append(self.blob(*self.message(f), name))
            elif f.what == _LAYER:
                v0 = self.layer(*self.message(f), _V0)
        if v0 is not None:
            return v0._replace(type=type_of_v0(v0.type))
        return _layer(name, type, blobs)

    def blob(self, at: int, end: int, layer: str) -> tuple[Shape, bool]:
        """The shape of a blob, checked against how many numbers it holds, and whether it is a legacy one.

        Source: blob.cpp, FromProto.
        """
        begin = at
        legacy = [0, 0, 0, 0]
        is_legacy = False
        dims: list[int] = []
        counts = {4: 0, 8: 0}
        while at < end:
            f = self.field(at, end, _BLOB_FIELDS)
            at = f.end
            if f.number in _SIZES:
                legacy[f.number - 1] = self.number(f)
                is_legacy = True
            elif f.number == 7:
                dims += self.shape(*self.message(f))
            elif f.number in _DATA:
                count, at = self.numbers(f, end, _DATA[f.number])
                counts[_DATA[f.number]] += count
            elif f.number in _DIFF:
                _, at = self.numbers(f, end, _DIFF[f.number])
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
        return shape, is_legacy

    def shape(self, at: int, end: int) -> list[int]:
        dims: list[int] = []
        for f in self.fields(at, end, {1: "a shape"}):
            if f.number != 1:
                continue
            if f.wire == VARINT:
                dims.append(self.number(f))
            else:
                content, stop = self.message(f)
                while content < stop and len(dims) <= _MAX_AXES:
                    value, content = self.varint(content, stop)
                    dims.append(value)
            if len(dims) > _MAX_AXES:
                self.fail(f"holds a blob of more than {_MAX_AXES} axes", f.start)
        return dims

    def numbers(self, f: _Field, end: int, width: int) -> tuple[int, int]:
        """How many numbers begin with this field, packed or one by one, and the offset after them."""
        if f.wire == BYTES:
            count, rest = divmod(f.end - f.content, width)
            if rest:
                self.fail(f"holds {f.end - f.content} bytes of numbers of {width} bytes", f.start)
            return count, f.end
        self.expect(f, FIXED32 if width == 4 else FIXED64)
        if f.content - f.start != 1:
            return 1, f.end
        # One number with its tag of one byte; most likely, thousands of the same kind follow.
        tag, step, count, at = self.data[f.start : f.content], 1 + width, 1, f.end
        while True:
            tags = self.data[at : min(at + _CHUNK * step, end - width) : step]
            run = len(tags) - len(tags.lstrip(tag))
            count, at = count + run, at + run * step
            if run < len(tags) or not tags:
                return count, at

    # -- the wire format

    def fields(self, at: int, end: int, names: Mapping[int, str]) -> Iterator[_Field]:
        """The fields of a message, in order; `names` has their names."""
        while at < end:
            f = self.field(at, end, names)
            yield f
            at = f.end

    def field(self, at: int, end: int, names: Mapping[int, str]) -> _Field:
        self.count += 1
        if self.count > _MAX_FIELDS:
            self.fail(f"is not a .caffemodel: it has more than {_MAX_FIELDS} fields", at)
        try:
            number, wire, content, stop = field(self.data, at, end)
        except WireError as error:
            self.refuse(error, end, names)
        return _Field(number, names.get(number, "a field"), wire, at, content, stop)

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """The signed number at an offset, and the offset after it."""
        try:
            value, at = varint(self.data, at, end)
        except WireError as error:
            self.refuse(error, end, {})
        return signed(value, 64), at

    def number(self, f: _Field) -> int:
        self.expect(f, VARINT)
        return self.varint(f.content, f.end)[0]

    def message(self, f: _Field) -> tuple[int, int]:
        """Where the content of a length-delimited field begins and ends."""
        self.expect(f, BYTES)
        return f.content, f.end

    def text(self, f: _Field) -> str:
        at, end = self.message(f)
        if end - at > _MAX_NAME:
            self.fail(f"is not a .caffemodel: {f.what} would have {end - at} bytes", f.start)
        return self.data[at:end].decode(errors="replace")

    # -- errors

    def expect(self, f: _Field, wire: int) -> None:
        if f.wire != wire:
            self.fail(f"is not a .caffemodel: {f.what} should stand here, and something else does", f.start)

    def refuse(self, error: WireError, end: int, names: Mapping[int, str]) -> NoReturn:
        """Report a fault of the wire format in a message that ends at `end`."""
        if isinstance(error, NotAField):
            self.fail("is not a .caffemodel: what stands here is not a field of a protobuf message", error.at)
        if not isinstance(error, CutShort):
            self.fail("is not a .caffemodel: a number here has no end", error.at)
        what = names.get(error.number, "a field")
        if end != self.size:
            self.fail(f"is damaged: {what} is longer than what holds it", error.at)
        needs = f": it needs {error.needed} bytes, and there are {error.found}" if error.needed >= 0 else ""
        self.fail(f"is cut short or damaged in {what}{needs}", error.at)

    def fail(self, text: str, at: int, hint: str = "") -> NoReturn:
        start = self.data[:256]
        if not hint and start.strip() and all(b >= 32 or b in b"\t\n\r" for b in start):
            hint = "it looks like text: give a .caffemodel, or read it as a .prototxt"
        raise PrototxtError(f"'{self.path}' {text} (byte {at})", path=self.path, hint=hint)
