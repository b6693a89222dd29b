"""Labels without a score, found before Caffe trains on them.

SoftmaxWithLoss and Accuracy do not check labels: given one out of range, a release build of Caffe reads (and
in the backward pass writes) outside its arrays, which crashes it or silently trains on garbage. So the
labels that can be read quickly are compared with the number of classes.

Sources: softmax_loss_layer.cpp, Forward_cpu; accuracy_layer.cpp (DCHECKs, which release builds leave out).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from netbuilder.errors import FileError
from netbuilder.layers import RULES, Coverage, has_files
from netbuilder.net import Blob, Layer, Net
from netbuilder.storage.lmdb_file import DamagedDatabase, open_database
from netbuilder.storage.wire import WireError, fields, signed, varint

__all__ = ["READERS", "check_labels"]

RECORDS = 20_000  # to read of a database, spread over all of it
SECONDS = 5.0  # limit for one source
_ABOUT = "netbuilder.json"
_LMDB = 1
_LABEL = 5  # of a Datum
_CHUNK = 1_000_000
# atoi, applied to the text after the last space of a line.
_NUMBER = re.compile(rb"[ \t\n\v\f\r]*([-+]?\d+)")


class _Scores(NamedTuple):
    """The labels that a loss or metric accepts: 0 to `classes` - 1, and one that it ignores."""

    layer: Layer
    classes: int
    ignored: int | None

    def has(self, label: int) -> bool:
        return 0 <= label < self.classes or label == self.ignored


class _Found(NamedTuple):
    """A label and its place, such as "record '00000001' of 'db'"."""

    label: int
    place: str


def check_labels(net: Net, path: str) -> None:
    """Raise FileError for a label that a SoftmaxWithLoss or Accuracy of this net has no score for.

    Only labels from Data (LMDB), ImageData and HDF5Data layers are checked. A source that cannot be read is
    skipped, because Caffe reports it. The classes of a database that netbuilder made are known; of any other,
    20,000 records are read, for at most 5 seconds.
    """
    users: dict[tuple[str, str], tuple[Blob, list[_Scores]]] = {}
    for layer in net:
        if (scores := _scores(layer)) is not None:
            blob = layer.bottoms[1]
            users.setdefault((blob.layer.name, blob.name), (blob, []))[1].append(scores)
    for blob, wanted in users.values():
        reader = READERS.get(blob.layer.type)
        if reader is None:
            continue
        try:
            for found in reader(blob.layer, blob.name):
                for scores in wanted:
                    if not scores.has(found.label):
                        raise _error(found, scores, blob.layer, path)
        except (DamagedDatabase, WireError, OSError, RuntimeError, ImportError):
            pass


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


# -- where labels are ------------------------------------------------------------------------------------


def _of_database(layer: Layer, top: str) -> Iterator[_Found]:
    p = layer.proto.data_param
    place = Path(p.source)
    if p.backend != _LMDB or layer.proto.top[1:2] != [top]:
        return
    for folder in (place.absolute(), place.absolute().parent):
        if classes := _classes(folder):
            yield _Found(classes - 1, f"'{p.source}', by its {_ABOUT},")
            return
    try:
        reader = open_database(place)
    except FileError:
        return
    step, end = -(-len(reader) // RECORDS), time.monotonic() + SECONDS
    for i, (key, value) in enumerate(reader):
        if i % step:
            continue
        label = _label(value)
        value.release()
        yield _Found(label, f"record '{key.decode(errors='replace')}' of '{p.source}'")
        if not i % 64 and time.monotonic() > end:
            return


def _classes(folder: Path) -> int:
    """The number of classes of a database that netbuilder made, 0 if unknown."""
    try:
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        return len(about["classes"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _label(record: memoryview) -> int:
    label = 0
    for number, _, at, end in fields(record):
        if number == _LABEL:
            label = signed(varint(record, at, end)[0], 32)
    return label


def _of_list(layer: Layer, top: str) -> Iterator[_Found]:
    """Every line. Source: image_data_layer.cpp, DataLayerSetUp."""
    source = layer.proto.image_data_param.source
    if layer.proto.top[1:2] != [top]:
        return
    with open(source, "rb") as file:
        for i, line in enumerate(file, 1):
            m = _NUMBER.match(line.removesuffix(b"\n").rpartition(b" ")[2])
            if line.strip():
                yield _Found(int(m[1]) if m else 0, f"line {i} of '{source}'")


def _of_hdf5(layer: Layer, top: str) -> Iterator[_Found]:
    """Every distinct value, truncated to an integer, as Caffe casts it."""
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
                part = numbers[begin : begin + rows]
                labels = part.astype("int64").reshape(len(part), -1)
                for label in np.unique(labels):
                    row = begin + int((labels == label).any(1).argmax())
                    yield _Found(int(label), f"row {row} of dataset '{top}' of '{name}'")
                if time.monotonic() > end:
                    return


READERS: Coverage[Callable[[Layer, str], Iterator[_Found]]] = Coverage(
    "netbuilder.training.labels.READERS",
    {
        "Data": _of_database,
        "ImageData": _of_list,
        "HDF5Data": _of_hdf5,
    },
    {
        "AnnotatedData": "its labels belong to boxes",
        "BoxData": "its labels belong to boxes",
        "DenseImageData": "its labels are images",
        "ImageSegData": "its labels are images",
        "VideoData": "frames have no labels",
        "WindowData": "its labels depend on how much windows overlap with objects",
    },
    has_files,
)
