"""Pooling between layers; pooling of the whole image is in `legos.head`."""

from __future__ import annotations

from dataclasses import dataclass

from legos.base import Lego
from netbuilder.net import Blob, Net

__all__ = ["HalvingMaxPoolLego", "OverlappingMaxPoolLego", "PaddedMaxPoolLego"]


@dataclass(frozen=True, kw_only=True)
class HalvingMaxPoolLego(Lego):
    """Maximum `pool_X` of each 2x2 square: (n, c, h, w) -> (n, c, h/2, w/2), for even h and w only.

    Raises ConfigError for odd ones: Caffe rounds up, but the references round down.
    """

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        height, width = bottoms[0].known_shape[2:]
        if height % 2 or width % 2:
            raise self._refuse(
                f"needs an even height and width, got {height}x{width}: "
                "Caffe would round up, but the reference rounds down",
                "input_size",
            )
        return net.add("Pooling", *bottoms, name=f"pool_{self.name}", pool="MAX", kernel_size=2, stride=2)


class OverlappingMaxPoolLego(Lego):
    """Maximum `pool_X` of 3x3 pixels, stride 2: (n, c, h, w) -> (n, c, (h-1)/2, (w-1)/2), for odd h and w.

    31, 15, 7 and 3 follow each other without rounding. Raises ConfigError for even sizes, which Caffe would
    round up.
    """

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        height, width = bottoms[0].known_shape[2:]
        if min(height, width) < 3 or not height % 2 or not width % 2:
            raise self._refuse(
                f"needs an odd height and width of at least 3, got {height}x{width}", "input_size"
            )
        return net.add("Pooling", *bottoms, name=f"pool_{self.name}", pool="MAX", kernel_size=3, stride=2)


class PaddedMaxPoolLego(Lego):
    """Maximum `X` of 3x3 pixels, stride 2, pad 1, rounded down: (n, c, h, w) -> (n, c, ceil(h/2), ceil(w/2)).

    That is PyTorch's MaxPool2d(3, 2, 1), of torchvision's and timm's ResNets. Caffe's pooling rounds up, so
    for even sizes it gives one row and column more: a Caffe that knows `round_mode` rounds down, for any
    other `crop_to_half` removes them. Exact, also at the border: a maximum never takes the padding.
    """

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        (x,) = bottoms
        if net.dialect.has_field("Pooling", "pooling_param.round_mode"):
            return net.add(
                "Pooling", x, name=self.name, pool="MAX", round_mode="FLOOR", pooling_param=window_of_three()
            )
        pooled = net.add("Pooling", x, name=self.name, pool="MAX", pooling_param=window_of_three())
        return crop_to_half(net, x, pooled, self.name.removeprefix("pool").removeprefix("_"))


def window_of_three() -> dict[str, object]:
    """The fields of a 3x3 window with stride 2 and pad 1."""
    return {"kernel_size": 3, "stride": 2, "pad": 1}


def crop_to_half(net: Net, x: Blob, pooled: Blob, name: str) -> Blob:
    """`pooled` without the row and column by which it exceeds half of the size of `x`, rounded up.

    For even sizes, layers `size_X` and `crop_X`: `size_X` is a 2x2 maximum with stride 2 whose values are not
    used, since Crop takes its size from a second bottom. No helper parameters, any batch and image size, any
    Caffe from 1.0 on.
    """
    height, width = x.known_shape[2:]
    if pooled.known_shape[2:] == ((height + 1) // 2, (width + 1) // 2):
        return pooled
    size = net.add("Pooling", x, name=f"size_{name}", pool="MAX", kernel_size=2, stride=2)
    return net.add("Crop", pooled, size, name=f"crop_{name}", axis=2, offset=0)
