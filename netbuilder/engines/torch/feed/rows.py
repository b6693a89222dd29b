"""The batches of HDF5Data, of MemoryData, and of DummyData: rows of blobs, which nothing transforms."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from netbuilder.data.order import Order, draws
from netbuilder.engines.torch.feed.pictures import Place
from netbuilder.engines.torch.files import find
from netbuilder.engines.torch.fillers import draw
from netbuilder.errors import FileError

if TYPE_CHECKING:
    from netbuilder.engines.torch.operators.data import Source

__all__ = ["DummyStream", "HDF5Stream", "MemoryStream", "h5py"]

_FILL = 3


class HDF5Stream:
    """Rows of the datasets named like the tops, across all files of a list; files and rows may be shuffled.

    Files are held on the device as far as they fit; others are read when their turn comes.
    Source: hdf5_data_layer.cpp, LoadHDF5FileData, Forward_cpu and Next.
    """

    waits = False

    def __init__(self, layer: Source, place: Place) -> None:
        p = layer.proto.hdf5_data_param
        self.layer, self.place, self.batch = layer, place, p.batch_size
        names = find(p.source, layer, "its list").read_text(errors="surrogateescape").split()
        if not names:
            raise layer.error(f"its list '{p.source}' names no file")
        self._files = [(name, find(name, layer, "a file of its list")) for name in names]
        shapes = [self._shapes(name, path) for name, path in self._files]
        for name, found in zip(names, shapes, strict=True):
            if [s[1:] for s in found] != [s[1:] for s in shapes[0]]:
                raise layer.error(f"the rows of '{name}' have another shape than those of '{names[0]}'")
        rows = [found[0][0] for found in shapes]
        self._starts = [0, *accumulate(rows)]
        self._bytes = [4 * sum(int(torch.Size(s).numel()) for s in found) for found in shapes]
        self._loaded: dict[int, list[Tensor]] = {}
        self.records: int | None = sum(rows)
        shuffle = bool(p.shuffle)
        self._order = Order(rows, seed=place.seed, shuffle=shuffle, rank=place.rank, ranks=place.ranks)

    def begin(self, number: int) -> int:
        """Nothing is read ahead."""
        return number

    def finish(self, number: int) -> dict[str, Tensor]:
        """The tops of a pass."""
        import numpy as np

        numbers, _ = self._order.take(number * self.batch, self.batch)
        files = np.searchsorted(self._starts, numbers, side="right") - 1
        parts: list[list[Tensor]] = []
        order = []
        for file in dict.fromkeys(files.tolist()):
            places = np.flatnonzero(files == file)
            rows = torch.from_numpy(numbers[places] - self._starts[file]).to(self.place.device)
            parts.append([values[rows] for values in self._load(file)])
            order.append(places)
        back = torch.from_numpy(np.argsort(np.concatenate(order))).to(self.place.device)
        blobs = [torch.cat(columns)[back] for columns in zip(*parts, strict=True)]
        return dict(zip(self.layer.proto.top, blobs, strict=True))

    def _load(self, file: int) -> list[Tensor]:
        if file not in self._loaded:
            name, path = self._files[file]
            while (
                self._loaded
                and self._bytes[file] + sum(self._bytes[i] for i in self._loaded) > self.place.hold
            ):
                del self._loaded[next(iter(self._loaded))]
            with self._opened(name, path) as opened:
                self._loaded[file] = [
                    torch.as_tensor(opened[top][()]).float().to(self.place.device)
                    for top in self.layer.proto.top
                ]
        return self._loaded[file]

    def _opened(self, name: str, path: Path) -> Any:
        try:
            return h5py().File(path, "r")
        except OSError:
            raise self.layer.error(f"'{name}' is not an HDF5 file, or damaged") from None

    def _shapes(self, name: str, path: Path) -> list[tuple[int, ...]]:
        tops = list(self.layer.proto.top)
        with self._opened(name, path) as file:
            try:
                shapes = [tuple(file[top].shape) for top in tops]
            except (KeyError, AttributeError):
                raise self.layer.error(f"'{name}' lacks a dataset for each of {tops}") from None
        lengths = {shape[0] if shape else 0 for shape in shapes}
        if len(lengths) != 1 or 0 in lengths:
            raise self.layer.error(
                f"the datasets of '{name}' must have equally many rows, got {sorted(lengths)}"
            )
        return shapes

    def close(self) -> None:
        """Let go of the files."""
        self._loaded.clear()


class MemoryStream:
    """Rows that the caller gives, in order, whole batches only. Source: memory_data_layer.cpp, Reset."""

    waits = False

    def __init__(self, layer: Source, place: Place, rows: Mapping[str, Any]) -> None:
        self.layer, self.place, self.batch = layer, place, layer.proto.memory_data_param.batch_size
        self._rows = {top: torch.as_tensor(rows[top]).float().to(place.device) for top in layer.proto.top}
        lengths = {len(values) for values in self._rows.values()}
        if len(lengths) != 1 or next(iter(lengths)) % self.batch or 0 in lengths:
            raise layer.error(
                f"it was given {sorted(lengths)} rows, and reads {self.batch} a pass",
                hint="give each of its tops equally many rows, a multiple of batch_size",
            )
        (rows_given,) = lengths
        self.records: int | None = rows_given
        self._order = Order([rows_given], rank=place.rank, ranks=place.ranks)

    def begin(self, number: int) -> int:
        """Nothing is read ahead."""
        return number

    def finish(self, number: int) -> dict[str, Tensor]:
        """The tops of a pass."""
        numbers = torch.from_numpy(self._order.take(number * self.batch, self.batch)[0]).to(self.place.device)
        return {top: values[numbers] for top, values in self._rows.items()}

    def close(self) -> None:
        """Nothing is open."""


class DummyStream:
    """Blobs of fillers: constants are always the same, others are drawn for each pass, on each rank its own.

    Source: dummy_data_layer.cpp.
    """

    waits = False
    records: int | None = None

    def __init__(self, layer: Source, shapes: Sequence[tuple[int, ...]], place: Place) -> None:
        from netbuilder.schema import FillerParameter

        fillers: list[Any] = list(layer.proto.dummy_data_param.data_filler)
        fillers = fillers or [FillerParameter(type="constant")]
        fillers *= len(shapes) if len(fillers) == 1 else 1
        self.layer, self.place, self.batch = layer, place, shapes[0][0] if shapes[0] else 1
        self._blobs = list(zip(layer.proto.top, shapes, fillers, strict=True))
        self._key = zlib.crc32(layer.name.encode())
        self._constant = {
            top: draw(shape, filler, torch.default_generator).to(place.device)
            for top, shape, filler in self._blobs
            if filler.type == "constant"
        }

    def begin(self, number: int) -> int:
        """Nothing is read ahead."""
        return number

    def finish(self, number: int) -> dict[str, Tensor]:
        """The tops of a pass."""
        generator = torch.Generator()
        rng = draws(self.place.seed, _FILL, self._key, self.place.rank, number)
        generator.manual_seed(int(rng.integers(1 << 62)))
        return {
            top: self._constant[top]
            if top in self._constant
            else draw(shape, filler, generator).to(self.place.device)
            for top, shape, filler in self._blobs
        }

    def close(self) -> None:
        """Nothing is open."""


def h5py() -> Any:
    """The package."""
    try:
        import h5py as package
    except ImportError:
        raise FileError("HDF5 needs h5py", hint="pip install 'caffe-netbuilder[data]'") from None
    return package
