"""The first and last layers of train, test and deploy nets: data, loss, probabilities.

Classes that add no fields have no decorator: each would cost a millisecond at every start.
"""

from __future__ import annotations

from dataclasses import dataclass

from legos.base import Lego
from netbuilder.net import Blob, Net

__all__ = ["InputLego", "LossLego", "MemoryDataLego", "ProbabilityLego"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MemoryDataLego(Lego):
    """MemoryData for images and labels: -> (n, c, h, w), (n,). A placeholder for the user's own source."""

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


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class InputLego(Lego):
    """Input for images -> (n, c, h, w): the first layer of a deploy net."""

    shape: tuple[int, int, int, int]

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        return net.add("Input", name=self.name, shape={"dim": list(self.shape)})


class LossLego(Lego):
    """SoftmaxWithLoss `X` of scores and labels; a TEST net also has `accuracy` -> ()."""

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        loss = net.add("SoftmaxWithLoss", *bottoms, name=self.name)
        if net.phase == "TEST":
            net.add("Accuracy", *bottoms, name="accuracy")
        return loss


class ProbabilityLego(Lego):
    """Softmax `X` over the classes: the last layer of a deploy net."""

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        return net.add("Softmax", *bottoms, name=self.name)
