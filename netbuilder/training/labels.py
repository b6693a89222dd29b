"""Labels without a score, found before Caffe trains on them.

The losses that read class labels do not check them, nor does Accuracy: given one out of range, a release
build of Caffe reads (and in the backward pass writes) outside its arrays, which crashes it or silently trains
on garbage. A label such as 0.6 is cut to 0. So the labels that can be read quickly, of images or of pixels,
are compared with the number of classes.

Sources: softmax_loss_layer.cpp, accuracy_layer.cpp and infogain_loss_layer.cpp (DCHECKs, which release builds
leave out); multinomial_logistic_loss_layer.cpp and hinge_loss_layer.cpp (no checks); image_data_layer.cpp.
"""

from __future__ import annotations

import io
import math
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from netbuilder.data import datum, images
from netbuilder.data.datum import BadDatum
from netbuilder.data.images import Unreadable
from netbuilder.data.output import ABOUT, about
from netbuilder.data.windows import read_windows
from netbuilder.errors import FileError
from netbuilder.layers import RULES, Coverage, has_files
from netbuilder.layers.traits import Shares
from netbuilder.net import Blob, Layer, Net
from netbuilder.schema import message
from netbuilder.storage.files import is_file_name
from netbuilder.storage.lmdb_file import DamagedDatabase, open_database
from netbuilder.storage.wire import WireError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["READERS", "check_labels"]

RECORDS = 20_000  # to read of a database, spread over all of it
SECONDS = 5.0  # limit for one source
_LMDB = 1
_CHUNK = 1_000_000
# atoi, applied to the text after the last space of a line, and the rest, which it drops.
_NUMBER = re.compile(rb"[ \t\n\v\f\r]*([-+]?\d+)?(.*)", re.DOTALL)


class _Scores(NamedTuple):
    """The labels that a loss or metric accepts: 0 to `classes` - 1, and one that it ignores."""

    layer: Layer
    classes: int
    ignored: int | None

    def has(self, label: int) -> bool:
        return 0 <= label < self.classes or label == self.ignored


class _Found(NamedTuple):
    """A label and its place, such as "record '00000001' of 'db'"; `written` if it is not what is written."""

    label: int
    place: str
    written: str = ""


def check_labels(net: Net, path: str) -> None:
    """Raise FileError for a label that is cut, or that a layer of this net which reads it has no score for.

    Labels and label maps from Data (LMDB), ImageData, HDF5Data and WindowData layers are checked, also
    through layers that only reshape or copy them. A source that cannot be read is skipped, because Caffe
    reports it. The classes of a database that netbuilder made are known; of any other, 20,000 records are
    read, for at most 5 seconds.
    """
    users: dict[tuple[str, str], tuple[Blob, list[_Scores]]] = {}
    for layer in net:
        if (scores := _scores(layer)) is not None:
            blob = _origin(layer.bottoms[1])
            users.setdefault((blob.layer.name, blob.name), (blob, []))[1].append(scores)
        for blob in layer.bottoms:  # of a list every label is cut, whoever reads it
            if blob.layer.type == "ImageData" and blob.layer.tops[1:2] == (blob,):
                users.setdefault((blob.layer.name, blob.name), (blob, []))
    for blob, wanted in users.values():
        reader = READERS.get(blob.layer.type)
        if reader is None:
            continue
        try:
            for found in reader(blob.layer, blob.name):
                if found.written:
                    raise _cut(found, blob.layer, path)
                for scores in wanted:
                    if not scores.has(found.label):
                        raise _error(found, scores, blob.layer, path)
        except (DamagedDatabase, BadDatum, Unreadable, WireError, OSError, RuntimeError, ImportError):
            pass


def _origin(blob: Blob) -> Blob:
    """The blob whose values this one has: that before a Reshape, Flatten or Split, or a Concat of one."""
    while (rule := RULES.get(blob.layer.type)) is not None and len(blob.layer.bottoms) > 0:
        alone = len(blob.layer.bottoms) == len(blob.layer.tops) == 1
        if rule.traits.shares is not Shares.ALWAYS and not (alone and rule.traits.shares is Shares.ALONE):
            break
        blob = blob.layer.bottoms[0]
    return blob


def _scores(layer: Layer) -> _Scores | None:
    rule = RULES.get(layer.type)
    if rule is None or not callable(rule.traits.scores) or len(layer.bottoms) < 2:
        return None
    shape = layer.bottoms[0].shape
    axis, ignored = rule.traits.scores(layer.proto)
    if shape is None or not -len(shape) <= axis < len(shape):
        return None
    return _Scores(layer, shape[axis], ignored)


def _error(found: _Found, scores: _Scores, data: Layer, path: str) -> FileError:
    name, classes = scores.layer.bottoms[0].name, scores.classes
    hint = f"give '{name}' {found.label + 1} outputs or more, or fix the labels: they count from 0"
    if found.label < 0:
        hint = f"fix the labels, or leave such records out: ignore_label: {found.label}"
    return FileError(
        f"label {found.label} of {found.place} is out of range: {scores.layer.type} '{scores.layer.name}' "
        f"takes 0 to {classes - 1}, for the {classes} classes of '{name}'",
        where=f"{path}, layer '{data.name}'; Caffe does not check it, and would read past its scores",
        hint=hint,
    )


def _cut(found: _Found, data: Layer, path: str) -> FileError:
    return FileError(
        f"label {found.written} of {found.place} is read as {found.label}",
        where=f"{path}, layer '{data.name}'; Caffe cuts it to a whole number",
        hint="give classes as whole numbers from 0; other targets need HDF5Data, and a loss for them",
    )


# -- where labels are ------------------------------------------------------------------------------------


def _of_database(layer: Layer, top: str) -> Iterator[_Found]:
    p = layer.proto.data_param
    place = Path(p.source)
    if p.backend != _LMDB:
        return
    pixels = layer.proto.top[1:2] != [top]
    for folder in (place.absolute(), place.absolute().parent):
        if not pixels and (classes := _classes(folder)):
            yield _Found(classes - 1, f"'{p.source}', by its {ABOUT},")
            return
    try:
        reader = open_database(place)
    except FileError:
        return
    step, end = -(-len(reader) // RECORDS), time.monotonic() + SECONDS
    label = datum.Labels()
    for i, (key, value) in enumerate(reader.every(step)):
        where = f"record '{key.decode(errors='replace')}' of '{p.source}'"
        if pixels:
            yield from _of_pixels(layer, _pixels(value, layer), where)
        else:
            found = label(value)
            value.release()
            yield _Found(found, where)
        if (pixels or not i % 64) and time.monotonic() > end:
            return


def _pixels(record: memoryview, layer: Layer) -> npt.NDArray[np.generic]:
    """The values of a record (channels, height, width), decoded. Raises BadDatum, Unreadable."""
    import numpy as np

    image = datum.read(record)
    if image.encoded:
        transform = layer.proto.transform_param
        gray = True if transform.force_gray else False if transform.force_color else None
        with io.BytesIO(image.data) as file:
            return _decoded(file, gray)
    if image.floats:
        values = np.array(message("Datum").FromString(bytes(record)).float_data, np.float32)
    else:
        values = np.frombuffer(image.data, np.uint8)
    return values.reshape(image.channels, image.height, image.width)


def _decoded(file: IO[bytes], gray: bool | None) -> npt.NDArray[np.generic]:
    import numpy as np

    shape, planes = images.planes(images.decode(file, gray=gray))
    return np.frombuffer(planes, np.uint8).reshape(shape)


def _of_pixels(layer: Layer, pixels: npt.NDArray[np.generic], place: str) -> Iterator[_Found]:
    """The labels in a label map, transformed. Source: data_transformer.cpp, Transform."""
    import numpy as np

    t = layer.proto.transform_param
    if t.HasField("mean_file"):
        return
    means = np.array(list(t.mean_value) or [0], np.float32)
    if len(means) not in (1, len(pixels)):
        return
    for plane, mean in zip(pixels, np.resize(means, len(pixels)), strict=True):
        for pixel in np.unique(plane):
            value = (np.float32(pixel) - mean) * np.float32(t.scale)
            yield _found(
                float(value), f"a pixel of {place}", f" ({pixel} in the file)" if value != pixel else ""
            )


def _found(value: float, place: str, note: str = "") -> _Found:
    """A label that is stored as a floating-point number."""
    label = int(value) if math.isfinite(value) else -1
    return _Found(label, place, "" if label == value else f"{value:g}{note}")


def _classes(folder: Path) -> int:
    """The number of classes of a database that netbuilder made, 0 if unknown."""
    classes = (about(folder) or {}).get("classes")
    return len(classes) if isinstance(classes, list) else 0


def _of_list(layer: Layer, top: str) -> Iterator[_Found]:
    """Every line; of images that are label maps, as many as the time allows.

    Source: image_data_layer.cpp, DataLayerSetUp.
    """
    p = layer.proto.image_data_param
    if layer.proto.top[1:2] != [top]:
        yield from _of_maps(layer)
        return
    with open(p.source, "rb") as file:
        for i, line in enumerate(file, 1):
            name, _, word = line.removesuffix(b"\n").rpartition(b" ")
            m = _NUMBER.match(word)
            if m and line.strip():
                label, rest = int(m[1] or 0), m[2].strip()
                written = (m[1] or b"") + rest if rest else b""
                if written and not is_file_name(name.decode(errors="replace").rstrip()):
                    written = b"that is no number"  # perhaps no list, and none of our business
                yield _Found(label, f"line {i} of '{p.source}'", written.decode(errors="replace"))


def _of_maps(layer: Layer) -> Iterator[_Found]:
    p = layer.proto.image_data_param
    if p.new_height:
        return  # resized values lie between those of the file
    end = time.monotonic() + SECONDS
    with open(p.source, "rb") as lines:
        for line in lines:
            name = os.fsdecode(line.removesuffix(b"\n").rpartition(b" ")[0])
            with open(p.root_folder + name, "rb") as file:
                yield from _of_pixels(layer, _decoded(file, not p.is_color), f"'{p.root_folder}{name}'")
            if time.monotonic() > end:
                return


def _of_hdf5(layer: Layer, top: str) -> Iterator[_Found]:
    """Every distinct value."""
    import h5py
    import numpy as np

    source = layer.proto.hdf5_data_param.source
    end = time.monotonic() + SECONDS
    for name in Path(source).read_text(encoding="utf-8", errors="surrogateescape").split():
        with h5py.File(name, "r") as file:
            numbers = file.get(top)
            if not isinstance(numbers, h5py.Dataset) or not numbers.ndim:
                return
            rows = max(1, _CHUNK // max(1, numbers.size // max(1, numbers.shape[0])))
            for begin in range(0, numbers.shape[0], rows):
                part = np.asarray(numbers[begin : begin + rows]).reshape(-1, numbers.size // numbers.shape[0])
                for value in np.unique(part):
                    row = begin + int((part == value).any(1).argmax())
                    yield _found(float(value), f"row {row} of dataset '{top}' of '{name}'")
                if time.monotonic() > end:
                    return


def _of_windows(layer: Layer, top: str) -> Iterator[_Found]:
    """Every foreground window; all others are class 0. Source: window_data_layer.cpp, DataLayerSetUp."""
    p = layer.proto.window_data_param
    for image in read_windows(Path(p.source)):
        for window in image.windows:
            if window.overlap >= p.fg_threshold:
                yield _Found(window.label, f"line {window.line} of '{p.source}'")


READERS: Coverage[Callable[[Layer, str], Iterator[_Found]]] = Coverage(
    "netbuilder.training.labels.READERS",
    {
        "Data": _of_database,
        "ImageData": _of_list,
        "HDF5Data": _of_hdf5,
        "WindowData": _of_windows,
    },
    {
        "AnnotatedData": "its labels belong to boxes",
        "BoxData": "its labels belong to boxes",
        "DenseImageData": "its labels are images",
        "ImageSegData": "its labels are images",
        "VideoData": "frames have no labels",
    },
    has_files,
)
