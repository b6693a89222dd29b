"""`Feed`: the batches of all data layers of a net, on the device, pass by pass."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from netbuilder.engines.torch.feed.ahead import Ahead
from netbuilder.engines.torch.feed.extras import Extras, Mix
from netbuilder.engines.torch.feed.labels import scores_of
from netbuilder.engines.torch.feed.memory import limit
from netbuilder.engines.torch.feed.pictures import PictureStream, Place
from netbuilder.engines.torch.feed.streams import Stream, stream_of
from netbuilder.errors import EngineError

if TYPE_CHECKING:
    from netbuilder.engines.torch.feed.soft import SoftLoss
    from netbuilder.engines.torch.network import NetModule

__all__ = ["Batch", "Deal", "Feed"]

_AHEAD = 3  # passes that are read before they are asked for, where reading takes time


class Batch(dict[str, Tensor]):
    """The tops of all data layers by blob name, float32, on the device.

    With mixup, `mix` has the second labels and the share of the first; the losses of the net know it.
    """

    mix: Mix | None = None


class Deal(NamedTuple):
    """Which passes a rank makes of rounds of so many: those with number % ranks == rank in each round."""

    round: int
    rank: int = 0
    ranks: int = 1

    @property
    def share(self) -> int:
        """The passes of this rank in a round."""
        return len(range(self.rank, self.round, self.ranks))

    def numbers(self, first: int) -> Iterator[int]:
        """The numbers of its passes from a pass on."""
        begun = first - first % self.round
        for start in count(begun, self.round):
            yield from (n for n in range(start + self.rank, start + self.round, self.ranks) if n >= first)


class Feed:
    """The data of one net, in its phase: `net(**next(feed))` is a pass.

    In TEST records are read in order and transformed as in Caffe; in TRAIN crops, mirroring and shuffles have
    Caffe's distributions. What is drawn depends on `seed`, the rank and the number of the pass alone, so that
    a state is that number, and a feed resumes bit by bit. The records are dealt to the ranks one by one:
    see `netbuilder.data.order`.

    Sets of up to `hold` bytes (a quarter of the free memory of the device) are held there, uint8, and cut
    there in batches. Larger ones are read ahead, by `workers` processes or, with 0, by a thread.

    `extras` is what Caffe's transform lacks, in TRAIN; a net in TEST refuses it. With mixup or label
    smoothing the losses of the net are changed in place: a pass is that of the batch given last.

    `memory` gives the rows of MemoryData by blob name. Tops of Input layers stay with the caller. `deal`
    leaves out the passes of a test that other ranks make; `passes` counts all of them.
    """

    def __init__(
        self,
        net: NetModule,
        *,
        device: torch.device | str = "cpu",
        seed: int | None = None,
        rank: int = 0,
        ranks: int = 1,
        workers: int = 0,
        hold: int | None = None,
        memory: Mapping[str, Any] | None = None,
        extras: Extras | None = None,
        deal: Deal | None = None,
    ) -> None:
        device = torch.device(device)
        if not 0 <= rank < ranks:
            raise EngineError(f"rank {rank} is not one of {ranks} ranks, which count from 0")
        self.seed = int(torch.randint(1 << 62, ()) if seed is None else seed) % (1 << 63)
        self._place = Place(
            device=device, seed=self.seed, rank=rank, ranks=ranks, workers=workers,
            hold=limit(device) if hold is None else hold, extras=extras or Extras(),
        )  # fmt: skip
        self.passes = 0  # that were given, or left to others
        self._deal = deal or Deal(1)
        self._streams = list(self._made(net, memory or {}))
        self._ahead: Ahead[Batch] | None = None
        self._soft: list[SoftLoss] = []
        if extras is not None and extras != Extras():
            self._apply(net, extras)

    def _apply(self, net: NetModule, extras: Extras) -> None:
        """Let the losses of the net take soft labels. Raises EngineError for a net without random images."""
        streams = [s for s in self._streams if isinstance(s, PictureStream) and s.layer.trains]
        if not streams:
            raise EngineError(
                "extras change the images of Data and ImageData layers in TRAIN: the net has none",
                hint="leave them out",
            )
        if extras.mixup or extras.label_smoothing:
            if len(streams) > 1:
                raise EngineError("mixup and label smoothing need images and labels of one data layer")
            from netbuilder.engines.torch.feed.soft import softened

            self._soft = softened(net, streams[0].layer, extras.label_smoothing)

    def _made(self, net: NetModule, memory: Mapping[str, Any]) -> Iterator[Stream]:
        for operator in net.operators().values():
            stream = stream_of(operator, self._place, memory)
            if isinstance(stream, PictureStream) and len(stream.layer.proto.top) > 1:
                stream.scores = scores_of(net, stream.layer.proto.top[1])
            if stream is not None:
                yield stream

    @property
    def records(self) -> int | None:
        """The records of the set that is read, None if none is."""
        counts = (stream.records for stream in self._streams)
        return next((count for count in counts if count is not None), None)

    @property
    def batch(self) -> int:
        """The records of a pass on this rank."""
        return next((stream.batch for stream in self._streams), 0)

    def __iter__(self) -> Feed:
        return self

    def __next__(self) -> Batch:
        """The batch of the next pass; there is always one."""
        if self._ahead is None:
            waits = any(stream.waits for stream in self._streams)
            self._ahead = Ahead(self._batches(self.passes, _AHEAD if waits else 0), _AHEAD if waits else 0)
        batch = next(self._ahead)
        for loss in self._soft:
            loss.mix = batch.mix
        self.passes = next(self._deal.numbers(self.passes)) + 1
        return batch

    def _batches(self, number: int, ahead: int) -> Iterator[Batch]:
        begun: deque[list[Any]] = deque()
        numbers = self._deal.numbers(number)
        while True:
            while len(begun) <= ahead:
                number = next(numbers)
                begun.append([stream.begin(number) for stream in self._streams])
            batch = Batch()
            for stream, pending in zip(self._streams, begun.popleft(), strict=True):
                batch.update(stream.finish(pending))
                if isinstance(stream, PictureStream) and stream.mixes:
                    batch.mix = stream.mixes.popleft()
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """What a feed of the same net needs to go on after the batches that were given."""
        return {"passes": self.passes, "seed": self.seed, "ranks": self._place.ranks}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state. Raises EngineError if it is of another number of ranks, or of another seed."""
        if state["ranks"] != self._place.ranks:
            raise EngineError(
                f"the state is of {state['ranks']} ranks, and this feed is one of {self._place.ranks}",
                hint="resume with as many processes as before, or begin the data anew",
            )
        if state["seed"] != self.seed:
            raise EngineError(
                f"the state has the seed {state['seed']}, and this feed {self.seed}",
                hint="make the feed with the seed of the state",
            )
        self._restart(int(state["passes"]))

    def rewind(self) -> None:
        """Go back to the first record."""
        self._restart(0)

    def _restart(self, passes: int) -> None:
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None
        self.passes = passes

    def close(self) -> None:
        """End the thread and the processes; the feed cannot be used any more."""
        self._restart(self.passes)
        for stream in self._streams:
            stream.close()

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
