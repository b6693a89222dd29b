"""Stems: the first layers of a net, and `STEM_ENTRIES`, the first convolutions by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from legos.base import Lego, SequenceLego
from legos.conv import ConvBNReLULego
from netbuilder.net import Blob, Net

__all__ = ["STEM_ENTRIES", "ImageNetStemLego", "seven_by_seven", "three_of_three_by_three"]


def seven_by_seven(*, name: str, num_output: int) -> Lego:
    """Unit `X`, 7x7 of stride 2: (n, c, h, w) -> (n, num_output, h/2, w/2)."""
    return ConvBNReLULego(name=name, num_output=num_output, kernel=7, stride=2)


def three_of_three_by_three(*, name: str, num_output: int) -> Lego:
    """Units `Xa` (stride 2), `Xb` and `Xc`, 3x3; the first two have half the width.

    Source: ResNet-D (He et al. 2018, arXiv 1812.01187, figure 2b).
    """
    units = (("a", num_output // 2, 2), ("b", num_output // 2, 1), ("c", num_output, 1))
    return SequenceLego(
        name=name,
        parts=tuple(
            ConvBNReLULego(name=f"{name}{letter}", num_output=width, kernel=3, stride=stride)
            for letter, width, stride in units
        ),
    )


# By the names used on the command line and in configs.
STEM_ENTRIES: dict[str, Callable[..., Lego]] = {"7x7": seven_by_seven, "deep": three_of_three_by_three}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ImageNetStemLego(Lego):
    """7x7 convolution of stride 2 and 3x3 maximum of stride 2: (n, 3, 224, 224) -> (n, num_output, 56, 56).

    `entry` makes the convolution, or what replaces it. The pooling `poolX` has no pad: Caffe rounds up, so
    112 becomes 56. torchvision pads and rounds down, which gives the same size with windows shifted by one
    pixel: `padded`, see `PaddedMaxPoolLego`. Source: He et al. 2015, table 1, and their prototxt.
    """

    num_output: int = 64
    entry: Callable[..., Lego] = seven_by_seven
    padded: bool = False

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        x = self.entry(name=self.name, num_output=self.num_output).attach(net, bottoms)
        if self.padded:
            from legos.pooling import PaddedMaxPoolLego  # few nets need it

            return PaddedMaxPoolLego(name=f"pool{self.name}").attach(net, x)
        return net.add("Pooling", x, name=f"pool{self.name}", pool="MAX", kernel_size=3, stride=2)
