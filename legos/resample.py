"""Down- and upsampling with fixed filters, exactly as in their references.

Fixed filters are frozen (lr_mult 0) Convolutions and Deconvolutions; counts list them apart and never as
learnable. The classes add no fields and so have no decorator: each would cost a millisecond at every
start.
"""

from __future__ import annotations

from legos.base import Lego
from legos.edges import with_copies
from legos.pooling import crop_to_half, window_of_three
from netbuilder.net import Blob, Net

__all__ = [
    "AVERAGES",
    "DOWNSAMPLINGS",
    "UPSAMPLINGS",
    "AverageDownLego",
    "BilinearUpLego",
    "CropAverageDownLego",
    "DepthwiseAverageDownLego",
    "EdgeAverageLego",
    "FloorAverageDownLego",
    "NearestUpLego",
    "RoundedUpAverageDownLego",
    "SquareAverageDownLego",
    "UpLego",
]

_FROZEN = [{"lr_mult": 0, "decay_mult": 0}]


class AverageDownLego(Lego):
    """Average of 3x3 pixels, stride 2, pad 1, rounded down: (n, c, h, w) -> (n, c, ceil(h/2), ceil(w/2)).

    The divisor is 9 everywhere: padding counts as zeros. That is PyTorch's AvgPool2d(3, 2, 1). Caffe's
    pooling rounds up, so for even sizes it gives one row and column too many. The subclasses compute the same
    numbers exactly, in three ways; this class uses the one that fits the net's dialect.
    """

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        known = net.dialect.has_field("Pooling", "pooling_param.round_mode")
        form = FloorAverageDownLego if known else CropAverageDownLego
        return form(name=self.name).build(net, *bottoms)


class FloorAverageDownLego(AverageDownLego):
    """With round_mode FLOOR: one layer `pool_X`, for Caffe since March 2018 only."""

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        return net.add(
            "Pooling", *bottoms, name=f"pool_{self.name}",
            pool="AVE", round_mode="FLOOR", pooling_param=window_of_three(),
        )  # fmt: skip


class CropAverageDownLego(AverageDownLego):
    """Removes the surplus row and column: `pool_X`, and for even sizes `size_X` and `crop_X`.

    No helper parameters, any batch and image size, any Caffe from 1.0 on: see `crop_to_half`.
    """

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        (x,) = bottoms
        pooled = net.add(
            "Pooling", x, name=f"pool_{self.name}", pool="AVE", pooling_param=window_of_three()
        )  # fmt: skip
        return crop_to_half(net, x, pooled, self.name)


class DepthwiseAverageDownLego(AverageDownLego):
    """A frozen depthwise convolution `down_X` with nine weights of 1/9; equal up to rounding (1e-6)."""

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        (x,) = bottoms
        channels = x.known_shape[1]
        return net.add(
            "Convolution", x, name=f"down_{self.name}",
            num_output=channels, group=channels, kernel_size=3, stride=2, pad=1, bias_term=False,
            bias_filler=None, weight_filler={"type": "constant", "value": 1 / 9}, param=_FROZEN,
        )  # fmt: skip


class SquareAverageDownLego(Lego):
    """Average `pool_X` of each square of 2x2 pixels: (n, c, h, w) -> (n, c, h/2, w/2), for even h and w only.

    Raises ConfigError for odd ones: Caffe excludes the missing row from the mean, but the references differ.
    Source: ResNet-D (He et al. 2018, arXiv 1812.01187).
    """

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        height, width = bottoms[0].known_shape[2:]
        if height % 2 or width % 2:
            raise self._refuse(
                f"needs an even height and width, got {height}x{width}: beyond an odd edge the official "
                "code counts zeros, but Caffe counts nothing",
                "input_size",
                hint="use an input_size that is a multiple of 32",
            )
        return net.add("Pooling", *bottoms, name=f"pool_{self.name}", pool="AVE", kernel_size=2, stride=2)


class RoundedUpAverageDownLego(Lego):
    """Average `pool_X` of each square of 2x2 pixels: (n, c, h, w) -> (n, c, ceil(h/2), ceil(w/2)).

    At the edge of odd sizes it is the mean of the pixels inside the image. That is PyTorch's
    AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False), in the shortcuts of timm's ResNet-D.
    """

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        return net.add("Pooling", *bottoms, name=f"pool_{self.name}", pool="AVE", kernel_size=2, stride=2)


class EdgeAverageLego(Lego):
    """Average `pool_X` of 2x2 pixels at stride 1, over pixels inside the image: (n, c, h, w) -> the same.

    Pixel (i, j) is the mean of (i, j) to (i + 1, j + 1), with fewer at the last row and column. Copies of
    those give the same mean, so they pad the image (see `legos.edges`); this fixes the image size. Source:
    Assembled-CNN's ResNet-D, which pools with TensorFlow's SAME even at stride 1.
    """

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        (x,) = bottoms
        after = [(n - 1,) for n in x.known_shape[2:]]
        x = with_copies(net, x, self.name, ((), ()), after)
        return net.add("Pooling", x, name=f"pool_{self.name}", pool="AVE", kernel_size=2, stride=1)


class UpLego(Lego):
    """Upsampling of bottom 0 to the size of bottom 1, by an integer factor, then cropped if too large.

    The factor is the smallest with which height and width reach those of bottom 1. Equal sizes add
    no layer. Layers: `up_X`, and `crop_X` where the factor overshoots (odd sizes).
    """

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        x, reference = bottoms
        size, wanted = x.known_shape[2:], reference.known_shape[2:]
        factor = max(-(-w // s) for s, w in zip(size, wanted, strict=True))
        if factor > 1:
            channels = x.known_shape[1]
            x = net.add(
                "Deconvolution", x, name=f"up_{self.name}",
                num_output=channels, group=channels, bias_term=False, param=_FROZEN,
                convolution_param=self._filter(factor),
            )  # fmt: skip
        if x.known_shape[2:] != wanted:
            x = net.add("Crop", x, reference, name=f"crop_{self.name}", axis=2, offset=0)
        return x

    def _filter(self, factor: int) -> dict[str, object]:
        raise NotImplementedError


class NearestUpLego(UpLego):
    """Nearest neighbour: each pixel becomes a square of its value, then the last rows are cut off.

    At factor 2 this equals PyTorch's interpolate to the size, also for odd sizes. At larger factors this
    holds only if the size is a multiple: pixel i takes the value of i // factor.
    """

    def _filter(self, factor: int) -> dict[str, object]:
        return {
            "kernel_size": factor,
            "stride": factor,
            "pad": 0,
            "weight_filler": {"type": "constant", "value": 1},
        }


class BilinearUpLego(UpLego):
    """Bilinear. The outermost ring is too small (by 3/4, corners 9/16, at factor 2): Caffe pads with zeros.

    The interior equals PyTorch's interpolate(align_corners=False). The kernel sizes, 4, 5, 8, 9, ..., are
    those for which the bilinear fillers of all Caffes agree.
    """

    def _filter(self, factor: int) -> dict[str, object]:
        return {
            "kernel_size": 2 * factor - factor % 2,
            "stride": factor,
            "pad": factor // 2,
            "weight_filler": {"type": "bilinear"},
        }


# By the names used on the command line and in configs.
DOWNSAMPLINGS: dict[str, type[AverageDownLego]] = {
    "auto": AverageDownLego,
    "crop": CropAverageDownLego,
    "depthwise": DepthwiseAverageDownLego,
    "floor": FloorAverageDownLego,
}
# Averages by the size of their window; "none" is a shortcut that does not average.
AVERAGES: dict[str, type[Lego] | None] = {
    "none": None,
    "2x2": SquareAverageDownLego,
    "3x3": AverageDownLego,
}
UPSAMPLINGS: dict[str, type[UpLego]] = {"nearest": NearestUpLego, "bilinear": BilinearUpLego}
