"""A net's test set, each record once and in order, prepared as its data layers or a paper's protocol say.

The records are those of the Data, ImageData and HDF5Data layers in TEST. Mirroring, shuffling and rand_skip
are left out. Source: data_transformer.cpp, Transform; hdf5_data_layer.cpp.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from netbuilder.data import images
from netbuilder.data.preprocess import read_mean
from netbuilder.data.stored import BadRecord, Database, ImageList, LevelDatabase, Pictures
from netbuilder.errors import ConfigError, FileError, shape_text
from netbuilder.layers import is_source
from netbuilder.net import Layer, Net

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

__all__ = ["Protocol", "Records", "TestSet", "short_side"]

_LMDB = 1


class Protocol(NamedTuple):
    """What is done to each image in place of what the data layer does.

    `resize` is the new length of the short side, or a size (h, w); `crop` is the size of the middle to take.
    """

    resize: int | tuple[int, int] | None = None
    crop: tuple[int, int] | None = None


def short_side(height: int, width: int, length: int) -> tuple[int, int]:
    """The size of an image whose short side gets this length; the other side is rounded."""
    short = min(height, width)
    return round(height * length / short), round(width * length / short)


class Records(NamedTuple):
    """The records of one data layer: how many, and their tops by number; `called` names one in an error."""

    size: int
    read: Callable[[int], dict[str, Array]]
    called: Callable[[int], str]


class TestSet:
    """The records of all data layers of a net. Raises ConfigError and FileError for what cannot be read."""

    __test__ = False  # for pytest, which collects classes of this name

    def __init__(self, net: Net, protocol: Protocol, where: str) -> None:
        layers = [layer for layer in net if is_source(layer.proto)]
        if not layers:
            raise ConfigError(f"{where} has no data layer", hint="give the net that is tested, with its data")
        self._sets = [_records(layer, protocol, where) for layer in layers]
        counts = {found.size for found in self._sets}
        if len(counts) > 1:
            raise ConfigError(
                f"the data layers of {where} have {' and '.join(map(str, sorted(counts)))} records",
                hint="each record needs its partners: make the sets of one length",
            )
        self.count = counts.pop()
        if not self.count:
            raise FileError(f"the test set of {where} is empty")

    def read(self, number: int) -> dict[str, Array]:
        """The tops of one record, without the axis of the batch."""
        tops: dict[str, Array] = {}
        for found in self._sets:
            try:
                tops |= found.read(number)
            except BadRecord as error:
                raise FileError(f"{found.called(number)}: {error}") from None
        return tops

    def called(self, number: int) -> str:
        """How an error names a record."""
        return self._sets[0].called(number)

    def batches(self, size: int, count: int) -> Iterator[dict[str, Array]]:
        """The tops of the first `count` records; the last batch is filled up with its last record."""
        import numpy as np

        for first in range(0, count, size):
            rows = [self.read(number) for number in range(first, min(first + size, count))]
            rows += [rows[-1]] * (size - len(rows))
            try:
                yield {name: np.stack([row[name] for row in rows]) for name in rows[0]}
            except ValueError:
                shapes = {shape_text(next(iter(row.values())).shape): i for i, row in enumerate(rows)}
                raise ConfigError(
                    f"{self.called(first + max(shapes.values()))} has another shape than its batch: "
                    f"{', '.join(shapes)}", key="crop", hint="--resize 256 --crop 224 gives all one size",
                ) from None  # fmt: skip


def _records(layer: Layer, protocol: Protocol, where: str) -> Records:
    kind = layer.proto.type
    if kind == "Data":
        return _pictures(layer, _database(layer, where), protocol)
    if kind == "ImageData":
        p = layer.proto.image_data_param
        size = (p.new_height, p.new_width) if p.new_height and p.new_width and not protocol.resize else None
        place, folder = Path(p.source), Path(where).parent
        images_of = ImageList(place, root=p.root_folder, folder=folder, gray=not p.is_color, size=size)
        return _pictures(layer, images_of, protocol)
    if kind == "HDF5Data" and protocol == Protocol():
        return _rows(layer)
    if kind == "HDF5Data":
        raise ConfigError(
            f"layer '{layer.name}' reads HDF5, which stores no images to resize or crop", key="resize"
        )
    raise ConfigError(
        f"the test set of {kind} '{layer.name}' in {where} cannot be told",
        hint="scores are counted over Data, ImageData and HDF5Data layers; `netbuilder test` without --top, "
        "--per-class and the like gives the net's own outputs",
    )


def _database(layer: Layer, where: str) -> Pictures:
    p, t = layer.proto.data_param, layer.proto.transform_param
    gray = False if t.force_color else True if t.force_gray else None
    kind = Database if p.backend == _LMDB else LevelDatabase
    return kind(Path(p.source), p.source, gray=gray)


def _pictures(layer: Layer, source: Pictures, protocol: Protocol) -> Records:
    import numpy as np

    transform = _Transform(layer, protocol)
    names = list(layer.proto.top)

    def read(number: int) -> dict[str, Array]:
        planes, label = source.read(source.task(number))
        tops = {names[0]: transform(planes, lambda: source.called(number))}
        return tops | ({names[1]: np.float32(label)} if len(names) > 1 else {})

    return Records(len(source), read, source.called)


class _Transform:
    """Resizes, takes the middle, subtracts the mean and scales, one image at a time."""

    def __init__(self, layer: Layer, protocol: Protocol) -> None:
        import numpy as np

        t = layer.proto.transform_param
        self._resize = protocol.resize
        self._crop = protocol.crop or ((t.crop_size, t.crop_size) if t.crop_size else None)
        self._scale = np.float32(t.scale)
        self._mean: Any = None
        if t.HasField("mean_file"):
            self._mean = read_mean(t.mean_file)
        elif t.mean_value:
            self._mean = np.array(list(t.mean_value), np.float32).reshape(-1, 1, 1)

    def __call__(self, planes: Any, called: Callable[[], str]) -> Array:
        """An image (c, h, w) as the net takes it."""
        import numpy as np

        planes = self._resized(planes, called)
        whole = planes.shape
        crop = self._crop or whole[1:]
        if crop[0] > whole[1] or crop[1] > whole[2]:
            raise ConfigError(
                f"a crop of {crop[0]}x{crop[1]} is larger than {called()}, which is {whole[1]}x{whole[2]}",
                key="crop", hint="give a larger --resize, or a smaller --crop",
            )  # fmt: skip
        values = np.array(_middle(planes, crop), np.float32)
        mean = self._mean
        if mean is not None:
            if mean.shape == whole:
                mean = _middle(mean, crop)
            elif mean.shape not in ((1, 1, 1), (whole[0], 1, 1), values.shape):
                raise ConfigError(
                    f"the mean has shape {shape_text(mean.shape)}, and {called()} {shape_text(whole)}, "
                    f"{shape_text(values.shape)} after the crop", key="resize",
                    hint="a mean image fits one size: keep it, or give the layer one mean_value a channel",
                )  # fmt: skip
            values -= mean
        values *= self._scale
        return values

    def _resized(self, planes: Any, called: Callable[[], str]) -> Any:
        if self._resize is None:
            return planes
        if str(planes.dtype) != "uint8" or planes.shape[0] not in (1, 3):
            raise ConfigError(
                f"{called()} is no image of 8 bits in 1 or 3 channels: it cannot be resized", key="resize",
                hint="leave --resize out",
            )  # fmt: skip
        height, width = planes.shape[1:]
        size = self._resize if isinstance(self._resize, tuple) else short_side(height, width, self._resize)
        pixels = images.resize(planes.transpose(1, 2, 0), *size)
        return pixels.transpose(2, 0, 1)


def _middle(planes: Any, crop: tuple[int, int]) -> Any:
    top, left = ((whole - part) // 2 for whole, part in zip(planes.shape[1:], crop, strict=True))
    return planes[:, top : top + crop[0], left : left + crop[1]]


def _rows(layer: Layer) -> Records:
    """The rows of the datasets that are called as the tops, over the files of the list."""
    try:
        import h5py
    except ImportError:
        raise ConfigError(
            "reading HDF5 needs the package h5py, which is not installed",
            hint="pip install 'caffe-netbuilder[data]'",
        ) from None
    import numpy as np

    source = layer.proto.hdf5_data_param.source
    names, tops = Path(source).read_text(errors="surrogateescape").split(), list(layer.proto.top)
    places: list[tuple[str, int]] = []
    for name in names:
        try:
            with h5py.File(name, "r") as file:
                places += [(name, row) for row in range(len(file[tops[0]]))]
        except (OSError, KeyError):
            raise FileError(f"'{name}' is no HDF5 file with a dataset '{tops[0]}'") from None
    held: dict[str, dict[str, Any]] = {}

    def read(number: int) -> dict[str, Array]:
        name, row = places[number]
        if name not in held:
            held.clear()
            with h5py.File(name, "r") as file:
                held[name] = {top: np.asarray(file[top][()], np.float32) for top in tops}
        return {top: values[row] for top, values in held[name].items()}

    return Records(len(places), read, lambda number: "row {1} of '{0}'".format(*places[number]))
