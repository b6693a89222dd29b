"""The shortcut without parameters (option A), and `SHORTCUTS`, which maps A and B to classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from legos.base import Lego, window_fields
from legos.shortcut import ProjectionLego
from netbuilder.net import Blob, Net

__all__ = ["PREACTIVATION_SHORTCUTS", "SHORTCUTS", "PaddingShortcutLego"]


@dataclass(frozen=True, kw_only=True)
class PaddingShortcutLego(Lego):
    """Takes every `stride`-th pixel, and appends zero channels; no parameters.

    (n, c, h, w) -> (n, num_output, ceil(h/stride), ceil(w/stride)), pixel (i, j) being that of
    (stride * i, stride * j). Exact forward and backward for any size and batch, in every Caffe that has Crop.

    A strided pooling of one pixel would suffice, but Caffe rounds up: 32 pixels become 17, the last one from
    outside the image (NaN or -FLT_MAX). So `crop_X` first removes the surplus rows and columns. It takes the
    size from `size_X`, a maximum whose values are not used. If the last window fits (odd sizes at stride 2),
    `pool_X` alone suffices. `zeros_X` (Power with scale 0) makes the zeros and `concat_X` appends them; X is
    the name plus "_pad_shortcut".

    Raises ConfigError unless num_output is a multiple of the channels: zeros are appended as copies of the
    whole blob. Source: He et al. 2015, section 3.3, option A; torch-residual-networks (gcr), where the zeros
    are last.
    """

    num_output: int
    stride: int = 1

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        (x,) = bottoms
        channels = x.known_shape[1]
        copies, rest = divmod(self.num_output, channels)
        if rest or not copies:
            raise self._refuse(
                f"num_output must be a multiple of the {channels} input channels, "
                f"since zeros are added as whole copies, got {self.num_output}",
                "num_output",
                hint=f"give {max(1, round(self.num_output / channels)) * channels}, or take a projection",
            )
        name = f"{self.name}_pad_shortcut"
        if self.stride > 1:
            x = self._every(net, x, name)
        if copies == 1:
            return x
        zeros = net.add("Power", x, name=f"zeros_{name}", scale=0)
        return net.add("Concat", x, *[zeros] * (copies - 1), name=f"concat_{name}")

    def _every(self, net: Net, x: Blob, name: str) -> Blob:
        height, width = ((n - 1) % self.stride + 1 for n in x.known_shape[2:])
        if (height, width) != (1, 1):
            window = {k: v for k, v in window_fields((height, width), 1, 0).items() if "pad" not in k}
            size = net.add("Pooling", x, name=f"size_{name}", pool="MAX", pooling_param=window)
            x = net.add("Crop", x, size, name=f"crop_{name}", axis=2, offset=0)
        return net.add("Pooling", x, name=f"pool_{name}", pool="AVE", kernel_size=1, stride=self.stride)


# By the names in the paper. Each value takes name, num_output and stride.
SHORTCUTS: dict[str, Callable[..., Lego]] = {"A": PaddingShortcutLego, "B": ProjectionLego}
# For pre-activation blocks: no BatchNorm after the projection, since one precedes it.
PREACTIVATION_SHORTCUTS: dict[str, Callable[..., Lego]] = {
    "A": PaddingShortcutLego,
    "B": partial(ProjectionLego, normalize=False),
}
