"""Where the data comes in, and where the scores go out: the ends of train, test and deploy nets.

Classes without fields of their own have no decorator: each costs a millisecond at every start.
"""

from __future__ import annotations

from dataclasses import dataclass

from legos.base import Lego
from netbuilder.net import Blob, Net

__all__ = ["InputLego", "LossLego", "MemoryDataLego", "ProbabilityLego"]


@dataclass(frozen=True, kw_only=True)
class MemoryDataLego(Lego):
    """MemoryData giving images and labels: -> (n, c, h, w), (n,). To be replaced by the user's own source."""

    shape: tuple[int, int, int, int]

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        n, c, h, w = self.shape
        return net.add(
            "MemoryData",
            name=self.name,
            tops=[self.name, "label"],
            batch_size=n,
            channels=c,
            height=h,
            width=w,
        )


@dataclass(frozen=True, kw_only=True)
class InputLego(Lego):
    """Input giving images -> (n, c, h, w): the bottom end of a deploy net."""

    shape: tuple[int, int, int, int]

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        return net.add("Input", name=self.name, shape={"dim": list(self.shape)})


class LossLego(Lego):
    """SoftmaxWithLoss `X` of scores and labels; in a TEST net `accuracy` as well -> ()."""

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        loss = net.add("SoftmaxWithLoss", *bottoms, name=self.name)
        if net.phase == "TEST":
            net.add("Accuracy", *bottoms, name="accuracy")
        return loss


class ProbabilityLego(Lego):
    """Softmax `X` over the classes: the top end of a deploy net."""

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        return net.add("Softmax", *bottoms, name=self.name)
