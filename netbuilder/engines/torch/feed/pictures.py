"""The batches of one data layer that reads images: Data and ImageData."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from netbuilder.data.framing import Frame
from netbuilder.data.images import pillow
from netbuilder.data.order import Order, draws
from netbuilder.data.packed import load
from netbuilder.data.policies import Change, applied
from netbuilder.data.readers import Cutting, Reader, Result
from netbuilder.data.stored import BadRecord, Database, Pictures
from netbuilder.engines.torch.feed.extras import Extras, Mix, cut_out, recoloured
from netbuilder.engines.torch.feed.held import Held
from netbuilder.engines.torch.feed.labels import Scores
from netbuilder.engines.torch.transform import Centring, framing_of
from netbuilder.errors import EngineError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from netbuilder.engines.torch.operators.data import Source

    Numbers = npt.NDArray[np.int64]

__all__ = ["PictureStream", "Place"]

_AUGMENT, _SIDES = 2, 5  # what is drawn


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where and by whom a set is read; `hold` is the most bytes to hold on the device."""

    device: torch.device
    seed: int
    rank: int = 0
    ranks: int = 1
    workers: int = 0
    hold: int = 0
    extras: Extras = field(default_factory=Extras)


class _Begun(NamedTuple):
    numbers: Numbers
    cutting: Cutting
    rng: np.random.Generator  # for what is drawn later
    wanted: list[int]  # those that are read
    read: Callable[[], Result]


class PictureStream:
    """Images and labels of one source, pass by pass. What is drawn depends on the seed and the pass alone."""

    def __init__(self, layer: Source, source: Pictures, batch: int, place: Place, order: Order) -> None:
        self.layer, self.source, self.batch, self.place, self._order = layer, source, batch, place, order
        self.records: int | None = len(source)
        self._key = zlib.crc32(layer.name.encode())
        self.extras = extras = place.extras if layer.trains else Extras()
        self.scores: list[Scores] = []  # who reads the labels
        self.mixes: deque[Mix] = deque()  # of the passes that were finished
        self._framing = framing_of(
            layer, move=extras.move, area=extras.resized_crop, shape=extras.resized_shape
        )
        if extras.alternate_mirror:
            if not layer.proto.transform_param.mirror:
                raise layer.error("alternate_mirror needs transform_param { mirror: true }")
            self._sides = draws(place.seed, _SIDES).integers(2, size=len(source))
        self._policy = extras.policy
        if self._policy is not None:
            pillow()  # before a record is read, perhaps by another process
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
            if found is not None:
                return Held.of(*found, self.place.device)
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
        rng = draws(self.place.seed, _AUGMENT, self._key, self.place.rank, number)
        cutting = Cutting(self._framing, rng.random((self.batch, self._framing.draws)))
        if self.extras.alternate_mirror:
            cutting = cutting._replace(mirrored=(self._sides[numbers] + epochs) % 2 == 1)
        if self._policy is not None:
            changes = self._policy.draw(self.batch, rng)
            cutting = cutting._replace(changes=changes, rgb=self.extras.rgb)
        wanted = numbers.tolist()
        if self._held is not None:
            wanted = self._held.missing(numbers)
            return _Begun(numbers, cutting, rng, wanted, self._reader.begin(wanted, None))
        return _Begun(numbers, cutting, rng, wanted, self._reader.begin(wanted, cutting))

    def finish(self, begun: _Begun) -> dict[str, Tensor]:
        """The tops of the pass, once its records are read."""
        found = begun.read()
        if found.trouble:
            at, text = found.trouble
            raise self._bad(begun.wanted[at], text)
        if self._held is not None and not self._held.put(begun.wanted, found.planes, found.labels):
            self._held = None  # the images are of several sizes
            again = self._reader.begin(begun.numbers.tolist(), begun.cutting)
            return self.finish(begun._replace(wanted=begun.numbers.tolist(), read=again))
        if self._held is not None:
            size = self._held.planes.shape[1:]
            self._centring.check(*size)
            try:
                frame = begun.cutting.frame(size[1], size[2])
            except ValueError as error:
                raise self.layer.error(str(error), hint="give a smaller crop_size") from None
            pixels, labels = self._held.take(begun.numbers, frame)
            if begun.cutting.changes is not None:
                pixels = self._by_policy(pixels, begun.cutting.changes)
        else:
            pixels, labels, frame = self._joined(begun, found)
        for scores in self.scores:
            if (bad := scores.wrong(labels)) is not None:
                raise self._without_score(int(begun.numbers[bad]), int(labels[bad]), scores)
        data = self._changed(pixels, frame, begun.rng)
        target = torch.from_numpy(labels.astype("float32")).to(self.place.device)
        if self.extras.mixup:
            data = self._mixed(data, target, begun.rng)
        return dict(zip(self.layer.proto.top, (data, target), strict=False))

    def _by_policy(self, pixels: Tensor, changes: Sequence[Sequence[Change]]) -> Tensor:
        """Held images as a policy changes them, which the CPU does."""
        try:
            images = [
                torch.from_numpy(applied(planes, done, rgb=self.extras.rgb))
                for planes, done in zip(pixels.cpu().numpy(), changes, strict=True)
            ]
        except ValueError as error:
            raise self.layer.error(str(error)) from None
        return torch.stack(images).to(pixels.device)

    def _changed(self, pixels: Tensor, frame: Frame, rng: np.random.Generator) -> Tensor:
        """The images as the net gets them: other colours, centred, a square cut out."""
        extras = self.extras
        data = pixels.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
        if extras.recolours:
            if data.shape[1] != 3:
                raise self.layer.error(f"colours change only in images of 3 channels, not of {data.shape[1]}")
            data = recoloured(data, extras, rng)
        data = self._centring(data, frame)
        return cut_out(data, extras.cutout, extras.cutout_over_border, rng) if extras.cutout else data

    def _mixed(self, data: Tensor, target: Tensor, rng: np.random.Generator) -> Tensor:
        """Each image with another one of the batch, by one share. Source: Zhang 2018."""
        share = torch.tensor(float(rng.beta(self.extras.mixup, self.extras.mixup)), device=data.device)
        other = torch.from_numpy(rng.permutation(len(data))).to(data.device)
        self.mixes.append(Mix(target[other], share))
        return torch.lerp(data[other], data, share)

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
            frame = begun.cutting.frame(*found.sizes[0])
        return pixels.to(self.place.device, non_blocking=True), np.array(found.labels, np.int64), frame

    def _without_score(self, number: int, label: int, scores: Scores) -> EngineError:
        return self.layer.error(
            f"the label of {self.source.called(number)} is {label}, and {scores.reader} takes 0 to "
            f"{scores.classes - 1}",
            hint="fix the labels, which count from 0, or give the net as many outputs as there are classes",
        )

    def _bad(self, number: int, text: str) -> EngineError:
        return self.layer.error(f"{self.source.called(number)}: {text}")

    def close(self) -> None:
        """End the processes."""
        self._reader.close()
