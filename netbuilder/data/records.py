"""The records of a data layer's source: how many there are, and their first labels.

Read as Caffe reads them: an LMDB's entries, every line of an image list, the rows of the listed HDF5 files.
A source that is missing, damaged or of another kind has no known number, and no labels.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from netbuilder.data import datum
from netbuilder.errors import FileError
from netbuilder.layers import source_of
from netbuilder.layers.traits import Form
from netbuilder.schema import LayerParameter
from netbuilder.storage.lmdb_file import DamagedDatabase, Reader, open_database
from netbuilder.storage.wire import WireError

__all__ = ["first_labels", "looks_sorted", "number_of_records"]

_LMDB = 1
_FIRST, _MORE = 10_000, 20  # labels to read
_SECONDS = 2.0
_UNLIKELY = math.log(1e-6)
_ENOUGH = 40  # runs in a random order, of which a quarter is more than five standard deviations away


def number_of_records(layer: LayerParameter, folder: Path | None = None) -> int | None:
    """How many records a data layer's source has; None if it is not at hand, or not counted.

    A source is looked for in the current directory, then in `folder`, the prototxt's.
    """
    reader = _COUNTS.get(_form(layer))
    place = _place(layer, folder)
    if reader is None or place is None:
        return None
    try:
        return reader(layer, place) or None
    except (DamagedDatabase, FileError, OSError, RuntimeError, ImportError, KeyError, ValueError):
        return None


def first_labels(layer: LayerParameter, folder: Path | None = None) -> list[int]:
    """The labels of the first records, in order; [] if the layer gives none, or they are not at hand.

    If the first 10,000 are equal, those from the first other label on follow.
    """
    place = _place(layer, folder)
    reader = _LABELS.get(_form(layer))
    if reader is None or place is None or len(layer.top) < 2:
        return []
    found: list[int] = []
    end = time.monotonic() + _SECONDS
    try:
        labels = reader(layer, place)
        found += itertools.islice(labels, _FIRST)
        if len(set(found)) == 1:
            same = found[0]
            later = itertools.dropwhile(lambda label: label == same and time.monotonic() < end, labels)
            found += itertools.islice(later, _MORE)
    except (DamagedDatabase, FileError, WireError, OSError, RuntimeError, ImportError, KeyError, ValueError):
        return []
    return found


def looks_sorted(labels: Sequence[int]) -> bool:
    """Whether labels come in such long runs as a shuffled order has with a chance below one in a million.

    Equal labels throughout are not sorted.
    """
    counts, n = Counter(labels), len(labels)
    if len(counts) < 2:
        return False
    runs = sum(1 for _ in itertools.groupby(labels))
    if runs == len(counts):  # each label in one run: k! of n! / (c1! c2! ...) orders
        orders = math.lgamma(n + 1) - sum(math.lgamma(c + 1) for c in counts.values())
        return math.lgamma(len(counts) + 1) - orders < _UNLIKELY
    expected = 1 + (n - 1) * (1 - sum((c / n) ** 2 for c in counts.values()))
    return expected > _ENOUGH and 4 * runs < expected


def _form(layer: LayerParameter) -> Form | None:
    source = source_of(layer.type)
    return source.form if source else None


def _place(layer: LayerParameter, folder: Path | None) -> Path | None:
    source = source_of(layer.type)
    name = source.file_of(layer) if source else ""
    if not name or "\0" in name:
        return None
    places = [Path(name), *([folder / name] if folder else [])]
    return next((place for place in places if place.exists()), None)


# -- databases -------------------------------------------------------------------------------------------


def _count_database(layer: LayerParameter, place: Path) -> int:
    return len(_database(layer, place))


def _database(layer: LayerParameter, place: Path) -> Reader:
    if layer.data_param.backend != _LMDB:
        raise DamagedDatabase("it is a LevelDB")
    return open_database(place)


def _labels_of_database(layer: LayerParameter, place: Path) -> Iterator[int]:
    label = datum.Labels()
    for _, value in _database(layer, place):
        found = label(value)
        value.release()
        yield found


# -- lists -----------------------------------------------------------------------------------------------


def _count_lines(layer: LayerParameter, place: Path) -> int:
    """Caffe takes every line, an empty one too. Source: image_data_layer.cpp, DataLayerSetUp."""
    with place.open("rb") as file:
        return sum(1 for _ in file)


def _labels_of_list(layer: LayerParameter, place: Path) -> Iterator[int]:
    with place.open("rb") as file:
        for line in file:
            word = line.rpartition(b" ")[2].strip()
            yield int(word) if word.lstrip(b"+-").isdigit() else 0


def _labels_of_hdf5(layer: LayerParameter, place: Path) -> Iterator[int]:
    import h5py

    for path in _hdf5_files(place):
        with h5py.File(path, "r") as file:
            labels = file[layer.top[1]]
            if labels.size == labels.shape[0]:  # a number a record
                yield from (int(label) for label in labels[:].reshape(-1))


def _hdf5_files(place: Path) -> Iterator[Path]:
    for name in place.read_text(encoding="utf-8", errors="surrogateescape").split():
        yield Path(name) if Path(name).exists() else place.parent / name


def _count_rows(layer: LayerParameter, place: Path) -> int:
    """The rows of all HDF5 files in the list. Source: hdf5_data_layer.cpp, Next."""
    import h5py

    rows = 0
    for path in _hdf5_files(place):
        with h5py.File(path, "r") as file:
            rows += int(file[layer.top[0]].shape[0])
    return rows


_COUNTS: dict[Form | None, Callable[[LayerParameter, Path], int]] = {
    Form.DATABASE: _count_database,
    Form.IMAGE_LIST: _count_lines,
    Form.HDF5_LIST: _count_rows,
}
_LABELS: dict[Form | None, Callable[[LayerParameter, Path], Iterator[int]]] = {
    Form.DATABASE: _labels_of_database,
    Form.IMAGE_LIST: _labels_of_list,
    Form.HDF5_LIST: _labels_of_hdf5,
}
