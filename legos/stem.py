"""Stems: the first layers of a net."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from legos.base import Lego
from legos.conv import ConvBNReLULego
from netbuilder.net import Blob, Net

__all__ = ["ImageNetStemLego"]


@dataclass(frozen=True, kw_only=True)
class ImageNetStemLego(Lego):
    """7x7 convolution of stride 2 and 3x3 maximum of stride 2: (n, 3, 224, 224) -> (n, num_output, 56, 56).

    The pooling `poolX` has no pad: Caffe rounds up, so 112 becomes 56. (torchvision pads and rounds down:
    the same size, with windows shifted by one pixel.) Source: He et al. 2015, table 1, and their prototxt.
    """

    num_output: int = 64

    def build(self, net: Net, *bottoms: Blob) -> Any:
        unit = ConvBNReLULego(name=self.name, num_output=self.num_output, kernel=7, stride=2)
        x = unit.attach(net, bottoms)
        return net.add("Pooling", x, name=f"pool{self.name}", pool="MAX", kernel_size=3, stride=2)
