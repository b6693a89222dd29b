"""The stream of a data layer: which source it reads, in which order."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from netbuilder.data.order import Order, draws
from netbuilder.data.stored import Database, ImageList, LevelDatabase, Pictures
from netbuilder.engines.torch.feed.frames import framed, is_framed
from netbuilder.engines.torch.feed.pictures import PictureStream, Place
from netbuilder.engines.torch.feed.rows import DummyStream, HDF5Stream, MemoryStream
from netbuilder.engines.torch.files import find

if TYPE_CHECKING:
    from netbuilder.engines.torch.operators.data import Source

__all__ = ["Stream", "stream_of"]


class Stream(Protocol):
    """The batches of one data layer. Passes are begun in order, and finished in order."""

    layer: Source
    place: Place
    batch: int

    @property
    def records(self) -> int | None:
        """The records of its set, None if it has none."""

    @property
    def waits(self) -> bool:
        """Whether a pass has to wait for files."""

    def begin(self, number: int) -> Any:
        """Begin to read what a pass needs; returns what `finish` takes."""

    def finish(self, begun: Any) -> dict[str, Tensor]:
        """The tops of a pass by name, on the device."""

    def close(self) -> None:
        """End processes, and let go of files."""


_LMDB = 1
_SKIP = 4


def stream_of(operator: Any, place: Place, memory: Mapping[str, Any] = MappingProxyType({})) -> Stream | None:
    """The stream of a data layer; None for one that takes its data from the caller, and for all others."""
    kind = operator.proto.type
    if kind == "Data":
        shuffle = operator.trains and place.extras.shuffle
        return _pictures(operator, _database(operator), operator.proto.data_param.batch_size, place, shuffle)
    if kind == "ImageData":
        p = operator.proto.image_data_param
        return _pictures(operator, _list(operator), p.batch_size, place, p.shuffle, p.rand_skip)
    if kind == "HDF5Data":
        return HDF5Stream(operator, place)
    if kind == "DummyData":
        return DummyStream(operator, operator.shapes, place)
    if kind == "MemoryData" and set(operator.proto.top) <= set(memory):
        return MemoryStream(operator, place, memory)
    if is_framed(operator.proto):
        layer, source, batch = framed(operator)
        shuffle = layer.trains and place.extras.shuffle
        return _pictures(layer, source, batch, place, shuffle)
    return None


def _pictures(
    layer: Source, source: Pictures, batch: int, place: Place, shuffle: bool = False, rand_skip: int = 0
) -> PictureStream:
    skip = int(draws(place.seed, _SKIP).integers(rand_skip)) if rand_skip else 0
    if skip >= len(source):
        raise layer.error(f"rand_skip {rand_skip} skips more than the {len(source)} images")
    order = Order(
        [len(source)], seed=place.seed, shuffle=shuffle, rank=place.rank, ranks=place.ranks, skip=skip
    )
    return PictureStream(layer, source, batch, place, order)


def _database(layer: Source) -> Pictures:
    p, t = layer.proto.data_param, layer.proto.transform_param
    place = find(p.source, layer, "its database")
    if t.force_color and t.force_gray:
        raise layer.error("force_color and force_gray are both set: choose one")
    gray = False if t.force_color else True if t.force_gray else None
    if p.backend != _LMDB and (place / "data.mdb").exists():
        raise layer.error(
            f"'{p.source}' is an LMDB, and backend is LEVELDB, the default", hint="write backend: LMDB"
        )
    kind = Database if p.backend == _LMDB else LevelDatabase
    source = kind(place, p.source, gray=gray)
    if not len(source):
        raise layer.error(f"the database '{p.source}' has no records")
    return source


def _list(layer: Source) -> ImageList:
    p = layer.proto.image_data_param
    source = ImageList(
        find(p.source, layer, "its list"), p.source, root=p.root_folder, folder=layer.folder,
        gray=not p.is_color, size=(p.new_height, p.new_width) if p.new_height and p.new_width else None,
    )  # fmt: skip
    if not len(source):
        raise layer.error(f"its list '{p.source}' is empty")
    return source
