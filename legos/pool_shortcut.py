"""Shortcuts that pool before they project, in a separate module, which plain nets do not import."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from legos.base import Lego
from legos.conv import ConvBNLego
from legos.resample import AverageDownLego
from netbuilder.net import Blob, Net

__all__ = ["PoolProjectionLego"]


@dataclass(frozen=True, kw_only=True)
class PoolProjectionLego(Lego):
    """A shortcut in two parts: an average if the stride is 2, then a 1x1 unit if the channels change.

    (n, c, h, w) -> (n, num_output, h/stride, w/stride). The 1x1 unit `X_proj_shortcut` has stride 1 unless
    no `downsample` halves the image before it. With `projects` it is always present; `keep`
    then precedes it at stride 1; `after` makes the lego after it, given its name. Without any part this is
    the identity. Raises ConfigError for a stride other than 1 and 2.
    Source: the official Big-Little code (3x3 average); ResNet-D (2x2); Assembled-CNN (both, always
    projecting).
    """

    num_output: int
    stride: int = 1
    downsample: Callable[..., Lego] | None = AverageDownLego
    keep: Callable[..., Lego] | None = None
    projects: bool = False
    after: Callable[..., Lego] | None = None

    def __post_init__(self) -> None:
        if self.stride not in (1, 2):
            raise self._refuse(f"stride must be 1 or 2, got {self.stride}", "stride")

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        (x,) = bottoms
        stride, pool = self.stride, self.downsample if self.stride == 2 else self.keep
        if pool:
            x, stride = pool(name=self.name).attach(net, x), 1
        if stride == 1 and x.known_shape[1] == self.num_output and not self.projects:
            return x
        name = f"{self.name}_proj_shortcut"
        x = ConvBNLego(name=name, num_output=self.num_output, stride=stride).attach(net, x)
        return self.after(name=name).attach(net, x) if self.after else x
