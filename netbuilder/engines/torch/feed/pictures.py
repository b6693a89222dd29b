"""The batches of one data layer that reads images: Data and ImageData."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from netbuilder.data.framing import DRAWS, Frame
from netbuilder.data.order import Order, draws
from netbuilder.data.packed import load
from netbuilder.data.stored import BadRecord, Database, Pictures
from netbuilder.engines.torch.feed.held import Held
from netbuilder.engines.torch.feed.readers import Reader, Result
from netbuilder.engines.torch.transform import Centring, framing_of
from netbuilder.errors import EngineError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from netbuilder.engines.torch.operators.data import Source

    Numbers = npt.NDArray[np.int64]
    Draws = npt.NDArray[np.float64]

__all__ = ["PictureStream", "Place"]

_AUGMENT = 2


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where and by whom a set is read; `hold` is the most bytes to hold on the device."""

    device: torch.device
    seed: int
    rank: int = 0
    ranks: int = 1
    workers: int = 0
    hold: int = 0


class _Begun(NamedTuple):
    numbers: Numbers
    epochs: Numbers
    draws: Draws
    wanted: list[int]  # those that are read
    read: Callable[[], Result]


class PictureStream:
    """Images and labels of one source, pass by pass. What is drawn depends on the seed and the pass alone."""

    def __init__(self, layer: Source, source: Pictures, batch: int, place: Place, order: Order) -> None:
        self.layer, self.source, self.batch, self.place, self._order = layer, source, batch, place, order
        self.records: int | None = len(source)
        self._key = zlib.crc32(layer.name.encode())
        self._framing = framing_of(layer)
        self._centring = Centring(layer, place.device)
        self._reader = Reader(source, place.workers)
        self._held = self._hold()

    def _hold(self) -> Held | None:
        """Room for the set on the device if it is small."""
        try:
            planes, _ = self.source.read(self.source.task(0))
        except BadRecord as error:
            raise self._bad(0, str(error)) from None
        if planes.nbytes * len(self.source) > self.place.hold:
            return None
        if isinstance(self.source, Database) and self.source.pixels:
            try:
                found = load(self.source)
            except BadRecord as error:
                raise self.layer.error(f"'{self.source.name}': {error}") from None
            return None if found is None else Held.of(*found, self.place.device)
        return Held(
            len(self.source), planes.shape, torch.from_numpy(planes[:0].copy()).dtype, self.place.device
        )

    @property
    def waits(self) -> bool:
        """Whether a pass has to wait for files."""
        return self._held is None or not self.source.pixels

    def begin(self, number: int) -> _Begun:
        """Begin to read the records of a pass."""
        numbers, epochs = self._order.take(number * self.batch, self.batch)
        drawn = draws(self.place.seed, _AUGMENT, self._key, self.place.rank, number).random(
            (self.batch, DRAWS)
        )
        if self._held is not None:
            wanted = self._held.missing(numbers)
            return _Begun(numbers, epochs, drawn, wanted, self._reader.begin(wanted, None, None))
        wanted = numbers.tolist()
        return _Begun(numbers, epochs, drawn, wanted, self._reader.begin(wanted, self._framing, drawn))

    def finish(self, begun: _Begun) -> dict[str, Tensor]:
        """The tops of the pass, once its records are read."""
        found = begun.read()
        if found.trouble:
            at, text = found.trouble
            raise self._bad(begun.wanted[at], text)
        if self._held is not None and not self._held.put(begun.wanted, found.planes, found.labels):
            self._held = None  # the images are of several sizes
            again = self._reader.begin(begun.numbers.tolist(), self._framing, begun.draws)
            return self.finish(begun._replace(wanted=begun.numbers.tolist(), read=again))
        if self._held is not None:
            size = self._held.planes.shape[1:]
            self._centring.check(*size)
            try:
                frame = self._framing(size[1], size[2], begun.draws)
            except ValueError as error:
                raise self.layer.error(str(error), hint="give a smaller crop_size") from None
            pixels, labels = self._held.take(begun.numbers, frame)
        else:
            pixels, labels, frame = self._joined(begun, found)
        data = self._centring(pixels, frame)
        target = torch.from_numpy(labels.astype("float32")).to(self.place.device)
        return dict(zip(self.layer.proto.top, (data, target), strict=False))

    def _joined(self, begun: _Begun, found: Result) -> tuple[Tensor, Numbers, Frame]:
        """The images of a pass that were read cut."""
        import numpy as np

        first = found.planes[0].shape
        for number, planes, size in zip(begun.numbers, found.planes, found.sizes, strict=True):
            if planes.shape != first:
                here, there = ("x".join(map(str, shape)) for shape in (planes.shape, first))
                raise self.layer.error(
                    f"{self.source.called(int(number))} is {here}, and the first of its batch {there}",
                    hint="give crop_size or batch_size 1, or resize the images (ImageData: new_height)",
                )
            self._centring.check(planes.shape[0], *size)
        pixels = torch.from_numpy(np.stack(found.planes))
        if self.place.device.type == "cuda":
            pixels = pixels.pin_memory()
        frame = Frame(np.empty((0, 0), np.int64), np.empty((0, 0), np.int64))
        if self._centring.image is not None:
            frame = self._framing(*found.sizes[0], begun.draws)
        return pixels.to(self.place.device, non_blocking=True), np.array(found.labels, np.int64), frame

    def _bad(self, number: int, text: str) -> EngineError:
        return self.layer.error(f"{self.source.called(number)}: {text}")

    def close(self) -> None:
        """End the processes."""
        self._reader.close()
