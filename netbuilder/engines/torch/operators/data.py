"""Sources and sinks of data. A pass gives their tops by name; what it does not give is made or read here.

Random numbers are PyTorch's: `torch.manual_seed` fixes crops, mirroring, the order of shuffled lists and what
DummyData draws. A source reads in order and goes on with the next pass; `.to(device)` moves what it returns.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from netbuilder.data import images
from netbuilder.engines.torch.files import find
from netbuilder.engines.torch.fillers import draw
from netbuilder.engines.torch.operator import Operator, Tops
from netbuilder.engines.torch.operators.images import Transform
from netbuilder.errors import EngineError, FileError
from netbuilder.net import Layer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from netbuilder.storage.lmdb_file import Reader

    Array = npt.NDArray[np.uint8] | npt.NDArray[np.float32]

__all__ = ["COVERED", "REFUSED", "Input", "Source"]

_LMDB = 1


class Source(Operator):
    """A layer without bottoms; its tops go to the device of the module."""

    place: Tensor

    def __init__(self, layer: Layer, phase: str) -> None:
        super().__init__(layer, phase)
        self.register_buffer("place", torch.empty(0), persistent=False)

    def error(self, what: str, hint: str = "") -> EngineError:
        """An error that names the layer."""
        return EngineError(f"{self.proto.type} '{self.name}': {what}", hint=hint)


class Input(Source):
    """Blobs that the caller gives."""

    why = ""

    def forward(self) -> Tops:  # type: ignore[override]
        name = self.proto.top[0]
        raise EngineError(
            f"no value for '{name}' of {self.proto.type} '{self.name}'"
            + (f": {self.why}" if self.why else ""),
            hint=f"give it by name: m({name}=...)" if name.isidentifier() else "give it by name",
        )


class Window(Input):
    """Windows that the caller gives."""

    why = "the PyTorch engine does not draw windows, which Caffe chooses at random in both phases"


class DummyData(Source):
    """Blobs of fillers: constants are always the same, others are drawn for each pass."""

    def __init__(self, layer: Layer, phase: str) -> None:
        super().__init__(layer, phase)
        self.shapes = [top.known_shape for top in layer.tops]

    def forward(self) -> Tops:  # type: ignore[override]
        from netbuilder.schema import FillerParameter

        fillers = list(self.proto.dummy_data_param.data_filler) or [FillerParameter(type="constant")]
        fillers *= len(self.shapes) if len(fillers) == 1 else 1
        drawn = (draw(s, f, torch.default_generator) for s, f in zip(self.shapes, fillers, strict=True))
        return tuple(blob.to(self.place.device) for blob in drawn)


class Parameter(Operator):
    """A learnt blob as a top."""

    def forward(self) -> Tops:  # type: ignore[override]
        return self.blob(0)


class _Images(Source):
    """Batches of transformed images and their labels."""

    def __init__(self, layer: Layer, phase: str) -> None:
        super().__init__(layer, phase)
        self.transform = Transform(self)

    def batch(self) -> Iterator[tuple[Array, int]]:
        """The images (c, h, w) and labels of the next batch."""
        raise NotImplementedError

    def forward(self) -> Tops:  # type: ignore[override]
        planes, labels = zip(*self.batch(), strict=True)
        try:
            data = self.transform(planes)
        except ValueError as error:
            raise self.error(str(error)) from None
        tops = data, torch.tensor(labels, dtype=torch.float32)
        return tuple(top.to(self.place.device) for top in tops[: len(self.proto.top)])


class Data(_Images):
    """The records of an LMDB in the order of their keys, again from the first after the last.

    Source: data_layer.cpp, load_batch; data_transformer.cpp, Transform of a Datum.
    """

    def __init__(self, layer: Layer, phase: str) -> None:
        super().__init__(layer, phase)
        self.position = 0
        self._records: Iterator[tuple[bytes, memoryview]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Open files stay here; a copy goes on from the same record."""
        return {**super().__getstate__(), "_records": None}

    def _open(self) -> Reader:
        from netbuilder.storage.lmdb_file import open_database

        p = self.proto.data_param
        place = find(p.source, self, "its database")
        if p.backend != _LMDB:
            raise self.error(
                f"'{p.source}' is read as a LevelDB, the default, which the PyTorch engine cannot read",
                hint="write backend: LMDB for an LMDB, or give the tops by name",
            )
        reader = open_database(place)
        if not len(reader):
            raise self.error(f"the database '{p.source}' has no records")
        return reader

    def _next(self) -> memoryview:
        while True:
            if self._records is None:
                reader = self._open()
                self._records = islice(iter(reader), self.position % len(reader), None)
            for _, value in self._records:
                self.position += 1
                return value
            self._records, self.position = None, 0

    def batch(self) -> Iterator[tuple[Array, int]]:
        from google.protobuf.message import DecodeError

        from netbuilder.schema import message
        from netbuilder.storage.lmdb_file import DamagedDatabase

        parse, source = message("Datum").FromString, self.proto.data_param.source
        for _ in range(self.proto.data_param.batch_size):
            try:
                found = parse(self._next())
                yield self._planes(found), found.label
            except (DamagedDatabase, DecodeError, ValueError, images.Unreadable) as error:
                raise self.error(f"record {self.position - 1} of '{source}': {error}") from None

    def _planes(self, found: Any) -> Array:
        import io

        import numpy as np

        if found.encoded:
            t = self.proto.transform_param
            if t.force_color and t.force_gray:
                raise self.error("force_color and force_gray are both set: choose one")
            gray = False if t.force_color else True if t.force_gray else None
            return _channels_first(images.decode(io.BytesIO(found.data), gray=gray))
        data = found.data
        values = np.frombuffer(data, np.uint8) if data else np.array(found.float_data, np.float32)
        return values.reshape(found.channels, found.height, found.width)


class ImageData(_Images):
    """The images of a list, in order or shuffled at the start of each round.

    Source: image_data_layer.cpp, DataLayerSetUp and load_batch.
    """

    def __init__(self, layer: Layer, phase: str) -> None:
        super().__init__(layer, phase)
        self.position = 0
        self._lines: list[tuple[str, int]] = []

    def _read(self) -> list[tuple[str, int]]:
        p = self.proto.image_data_param
        text = find(p.source, self, "its list").read_text(errors="surrogateescape")
        lines = []
        for line in text.removesuffix("\n").split("\n"):
            name, _, label = line.rpartition(" ")
            lines.append((name, _leading_integer(label)) if name else (line, 0))
        if not text:
            raise self.error(f"its list '{p.source}' is empty")
        if p.rand_skip and not self.position:
            self.position = int(torch.randint(p.rand_skip, ()))
            if self.position >= len(lines):
                raise self.error(f"rand_skip {p.rand_skip} skips more than the {len(lines)} images")
        return lines

    def batch(self) -> Iterator[tuple[Array, int]]:
        p = self.proto.image_data_param
        if not self._lines:
            self._lines = self._read()
            self._shuffle()
        for _ in range(p.batch_size):
            name, label = self._lines[self.position]
            yield self._image(p.root_folder + name), label
            self.position += 1
            if self.position >= len(self._lines):
                self.position = 0
                self._shuffle()

    def _shuffle(self) -> None:
        if self.proto.image_data_param.shuffle:
            self._lines = [self._lines[i] for i in torch.randperm(len(self._lines)).tolist()]

    def _image(self, name: str) -> Array:
        p = self.proto.image_data_param
        with find(name, self, "an image of its list").open("rb") as file:
            try:
                pixels = images.decode(file, gray=not p.is_color)
            except images.Unreadable as error:
                raise self.error(f"image '{name}': {error}") from None
        if p.new_height and p.new_width:
            pixels = images.resize(pixels, p.new_height, p.new_width)
        return _channels_first(pixels)


class HDF5Data(Source):
    """Rows of the datasets named like the tops, across all files of a list; rows and files may be shuffled.

    Source: hdf5_data_layer.cpp, LoadHDF5FileData, Forward_cpu and Next.
    """

    def __init__(self, layer: Layer, phase: str) -> None:
        super().__init__(layer, phase)
        self._files: list[str] = []
        self._file = self._row = 0
        self._order: list[int] = []  # of the files
        self._rows: list[int] = []
        self._sets: list[Tensor] = []

    def forward(self) -> Tops:  # type: ignore[override]
        p = self.proto.hdf5_data_param
        if not self._files:
            self._files = find(p.source, self, "its list").read_text(errors="surrogateescape").split()
            if not self._files:
                raise self.error(f"its list '{p.source}' names no file")
            self._order = self._permutation(len(self._files))
            self._load()
        taken: list[list[Tensor]] = [[] for _ in self._sets]
        for _ in range(p.batch_size):
            for rows, values in zip(taken, self._sets, strict=True):
                rows.append(values[self._rows[self._row]])
            self._advance()
        return tuple(torch.stack(rows).to(self.place.device) for rows in taken)

    def _advance(self) -> None:
        self._row += 1
        if self._row < len(self._rows):
            return
        self._row = 0
        if len(self._files) > 1:
            self._file += 1
            if self._file == len(self._files):
                self._file = 0
                self._order = self._permutation(len(self._files))
            self._load()
        else:
            self._rows = self._permutation(len(self._rows))

    def _permutation(self, n: int) -> list[int]:
        return torch.randperm(n).tolist() if self.proto.hdf5_data_param.shuffle else list(range(n))

    def _load(self) -> None:
        name = self._files[self._order[self._file]]
        h5py = _h5py()
        path = find(name, self, "a file of its list")
        try:
            with h5py.File(path, "r") as file:
                self._sets = [torch.as_tensor(file[top][()]).float() for top in self.proto.top]
        except KeyError:
            raise self.error(f"'{name}' lacks a dataset for each of {list(self.proto.top)}") from None
        except OSError:
            raise self.error(f"'{name}' is not an HDF5 file, or damaged") from None
        lengths = {len(values) for values in self._sets}
        if len(lengths) != 1 or 0 in lengths:
            raise self.error(f"the datasets of '{name}' must have equally many rows, got {sorted(lengths)}")
        self._rows = self._permutation(lengths.pop())


class HDF5Output(Operator):
    """Writes its bottoms as the datasets data and label, with four axes, at each pass anew."""

    def forward(self, data: Tensor, label: Tensor) -> Tops:  # type: ignore[override]
        name = self.proto.hdf5_output_param.file_name
        with _h5py().File(name, "w") as file:
            for key, blob in (("data", data), ("label", label)):
                values = blob.detach().float().cpu()
                file[key] = values.reshape(tuple(values.shape) + (1,) * (4 - values.dim())).numpy()
        return ()


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise FileError("HDF5 needs h5py", hint="pip install 'caffe-netbuilder[data]'") from None
    return h5py


def _channels_first(pixels: images.Image) -> images.Image:
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _leading_integer(text: str) -> int:
    """As atoi reads a label: 0 without digits."""
    import re

    found = re.match(r"\s*[+-]?\d+", text)
    return int(found[0]) if found else 0


COVERED: dict[str, type[Operator]] = {
    "Input": Input,
    "MemoryData": Input,
    "WindowData": Window,
    "DummyData": DummyData,
    "Parameter": Parameter,
    "Data": Data,
    "ImageData": ImageData,
    "HDF5Data": HDF5Data,
    "HDF5Output": HDF5Output,
}
REFUSED: dict[str, str] = {
    "Python": "its class is written for pycaffe, and works on Caffe's blobs",
}
