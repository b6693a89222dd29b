"""Residual blocks: a main branch, a shortcut beside it, and their merge."""

from __future__ import annotations

from dataclasses import dataclass

from legos.base import Lego
from legos.conv import ConvBNLego, ConvLego
from netbuilder.net import Blob, Net

__all__ = ["ProjectionLego", "ShortcutLego"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ProjectionLego(Lego):
    """The projection shortcut `X_proj_shortcut`: 1x1 convolution with the block's stride, BatchNorm, Scale.

    (n, c, h, w) -> (n, num_output, h/stride, w/stride). Without `normalize` it is the convolution alone, as
    in pre-activation blocks, where BatchNorm precedes it.
    Source: He et al. 2015, section 3.3, option B; He et al. 2016 (their resnet-1k-layers).
    """

    num_output: int
    stride: int = 1
    normalize: bool = True

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        form = ConvBNLego if self.normalize else ConvLego
        unit = form(name=f"{self.name}_proj_shortcut", num_output=self.num_output, stride=self.stride)
        return unit.attach(net, bottoms)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ShortcutLego(Lego):
    """A residual block from any main branch, shortcut (None is the identity) and merge.

    The layers of the shortcut come first in the file, and so does its blob among the merge's bottoms.
    """

    main: Lego
    merge: Lego
    shortcut: Lego | None = None

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        (x,) = bottoms
        skip = self.shortcut.attach(net, x) if self.shortcut else x
        return self.merge.attach(net, [skip, self.main.attach(net, x)])
