"""The pooled shortcut; a module of its own, so that plain residual blocks need not import resampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from legos.base import Lego
from legos.conv import ConvBNLego
from legos.resample import AverageDownLego
from netbuilder.net import Blob, Net

__all__ = ["PoolProjectionLego"]


@dataclass(frozen=True, kw_only=True)
class PoolProjectionLego(Lego):
    """A shortcut in two parts: 3x3 average if the stride is 2, then a 1x1 unit if the channels change.

    (n, c, h, w) -> (n, num_output, h/stride, w/stride). The 1x1 unit `X_proj_shortcut` has stride 1. With
    neither part it is the identity. Raises ConfigError for a stride other than 1 and 2.
    Source: the official Big-Little code; ResNet-D is alike, with a 2x2 average.
    """

    num_output: int
    stride: int = 1
    downsample: type[AverageDownLego] = AverageDownLego

    def __post_init__(self) -> None:
        if self.stride not in (1, 2):
            raise self._refuse(f"stride must be 1 or 2, got {self.stride}", "stride")

    def build(self, net: Net, *bottoms: Blob) -> Any:
        (x,) = bottoms
        if self.stride == 2:
            x = self.downsample(name=self.name).attach(net, x)
        if x.known_shape[1] != self.num_output:
            unit = ConvBNLego(name=f"{self.name}_proj_shortcut", num_output=self.num_output)
            x = unit.attach(net, x)
        return x
