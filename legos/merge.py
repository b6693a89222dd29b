"""Merges: several blobs into one."""

from __future__ import annotations

from dataclasses import dataclass

from legos.base import Lego
from netbuilder.net import Blob, Net

__all__ = ["EltwiseBNReLULego", "EltwiseReLULego"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class EltwiseReLULego(Lego):
    """The element-wise sum `eltwise_X` of equal-shaped blobs, then the ReLU `relu_X` unless `relu` is False.

    `operation` is SUM, PROD or MAX.
    """

    operation: str = "SUM"
    relu: bool = True

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        x = net.add("Eltwise", *bottoms, name=f"eltwise_{self.name}", operation=self.operation)
        x = self._after(net, x)
        return net.add("ReLU", x, name=f"relu_{self.name}", in_place=True) if self.relu else x

    def _after(self, net: Net, x: Blob) -> Blob:
        return x


class EltwiseBNReLULego(EltwiseReLULego):
    """An `EltwiseReLULego` with BatchNorm `bn_X` and Scale `scale_X` between sum and ReLU.

    Source: torch-residual-networks (gcr), the variants with BatchNorm after the addition.
    """

    def _after(self, net: Net, x: Blob) -> Blob:
        x = net.add("BatchNorm", x, name=f"bn_{self.name}", in_place=True)
        return net.add("Scale", x, name=f"scale_{self.name}", in_place=True, bias_term=True)
