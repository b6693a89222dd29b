"""Merges: several blobs into one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from legos.base import Lego
from netbuilder.net import Blob, Net

__all__ = ["EltwiseReLULego"]


@dataclass(frozen=True, kw_only=True)
class EltwiseReLULego(Lego):
    """The element-wise sum `eltwise_X` of equal-shaped blobs, then the ReLU `relu_X` unless `relu` is False.

    `operation` is SUM, PROD or MAX.
    """

    operation: str = "SUM"
    relu: bool = True

    def build(self, net: Net, *bottoms: Blob) -> Any:
        x = net.add("Eltwise", *bottoms, name=f"eltwise_{self.name}", operation=self.operation)
        return net.add("ReLU", x, name=f"relu_{self.name}", in_place=True) if self.relu else x
