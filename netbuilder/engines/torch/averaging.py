"""`Average`: the moving average of a net's parameters and statistics (EMA); `Lookahead`: slow weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from netbuilder.engines.torch.solver import learnables

if TYPE_CHECKING:
    from netbuilder.engines.torch.network import NetModule

__all__ = ["Average", "Lookahead"]


class Average:
    """average = d * average + (1 - d) * weights after each update; d is min(decay, (1 + t) / (10 + t)).

    The rising d keeps the first weights, which were drawn, from lasting. BatchNorm's sums and their count are
    averaged alike, so that their quotient stays a mean.
    """

    def __init__(self, net: NetModule, decay: float) -> None:
        self._decay = decay
        self._updates = 0
        self._blobs = [p.blob.detach() for p in learnables(net)]
        self._values = [blob.clone() for blob in self._blobs]

    @classmethod
    def of(cls, net: NetModule, decay: float | None) -> Average | None:
        """The average with this decay, None without one."""
        return None if decay is None else cls(net, decay)

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after an update."""
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        torch._foreach_lerp_(self._values, self._blobs, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """While it lasts, the net has the average for its weights."""
        own = [blob.clone() for blob in self._blobs]
        _copy(self._blobs, self._values)
        try:
            yield
        finally:
            _copy(self._blobs, own)

    def state(self) -> dict[str, object]:
        """What a resumed run needs."""
        return {"updates": self._updates, "values": [value.cpu() for value in self._values]}

    def load(self, state: dict[str, object]) -> None:
        """Take over what `state` gave."""
        self._updates = int(state["updates"])  # type: ignore[call-overload]
        _copy(self._values, state["values"])  # type: ignore[arg-type]


class Lookahead:
    """After every so many updates, slow = slow + share * (weights - slow), and weights = slow.

    The momenta, the statistics of BatchNorm, and frozen weights stay as they are. Source: Zhang 2019 (arXiv
    1907.08610).
    """

    def __init__(self, net: NetModule, every: int, share: float) -> None:
        self._every, self._share = every, share
        self._blobs: list[Tensor] = [p.blob for p in learnables(net) if isinstance(p.blob, nn.Parameter)]
        self._slow = [blob.detach().clone() for blob in self._blobs]

    @torch.no_grad()
    def update(self, done: int) -> None:
        """Take in the weights after so many updates."""
        if done % self._every == 0:
            learning = [pair for pair in zip(self._slow, self._blobs, strict=True) if pair[1].requires_grad]
            slow, blobs = [slow for slow, _ in learning], [blob for _, blob in learning]
            torch._foreach_lerp_(slow, blobs, self._share)
            _copy(blobs, slow)

    def state(self) -> list[Tensor]:
        """What a resumed run needs."""
        return [value.cpu() for value in self._slow]

    def load(self, state: Sequence[Tensor]) -> None:
        """Take over what `state` gave."""
        _copy(self._slow, state)


@torch.no_grad()
def _copy(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)
