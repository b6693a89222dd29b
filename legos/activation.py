"""Activations as separate units."""

from __future__ import annotations

from dataclasses import dataclass

from legos.base import Lego
from netbuilder.net import Blob, Net

__all__ = ["CELULego", "ReLULego"]


@dataclass(frozen=True, kw_only=True)
class ReLULego(Lego):
    """The ReLU `relu_X`, in place."""

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        return net.add("ReLU", *bottoms, name=f"relu_{self.name}", in_place=True)


@dataclass(frozen=True, kw_only=True)
class CELULego(Lego):
    """CELU, max(x, 0) + min(0, alpha * (exp(x / alpha) - 1)): smooth at 0 for any alpha.

    It is alpha * ELU(x / alpha): Power `shrink_X`, ELU `elu_X` in place, Power `celu_X`. Caffe's ELU differs:
    with an alpha other than 1 it has a kink at 0. Raises ConfigError unless alpha is above 0. Source: Barron
    2017 (arXiv 1704.07483).
    """

    alpha: float = 1

    def __post_init__(self) -> None:
        if not self.alpha > 0:
            raise self._refuse(f"alpha must be above 0, got {self.alpha:g}", "alpha")

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        # Power must not be in place: Caffe would then lose the incoming gradient.
        x = net.add("Power", *bottoms, name=f"shrink_{self.name}", scale=1 / self.alpha)
        x = net.add("ELU", x, name=f"elu_{self.name}", in_place=True)
        return net.add("Power", x, name=f"celu_{self.name}", scale=self.alpha)
