"""Anti-aliased downsampling: a binomial blur of stride 2, and `BLURS`, its variants by name.

Source: Zhang 2019 (arXiv 1904.11486); Assembled-CNN, which pads by reflection. A binomial filter of size k is
k - 1 successive averages of 2x2 pixels, the last with stride 2, so it needs no weights.
"""

from __future__ import annotations

from dataclasses import dataclass

from legos.base import Lego
from legos.edges import with_copies
from netbuilder.net import Blob, Net

__all__ = ["BLURS", "BlurLego", "DepthwiseBlurLego", "ReflectBlurLego", "ZeroBlurLego"]


@dataclass(frozen=True, kw_only=True)
class BlurLego(Lego):
    """Binomial blur ([1 2 1] for size 3) of stride 2: (n, c, h, w) -> (n, c, ceil(h/2), ceil(w/2)).

    It is padded by (size - 1) // 2 pixels at each end. Layers: `blur1_X`, `blur2_X`, ..., and the padding's.
    The subclasses differ in the padding and in the layers. Raises ConfigError for a
    size outside 2..7, and for odd images with a filter of even size.
    """

    size: int = 3

    def __post_init__(self) -> None:
        if not 2 <= self.size <= 7:
            raise self._refuse(f"size must be 2 to 7, got {self.size}", "size")

    @property
    def pad(self) -> int:
        """Pixels of padding at each end."""
        return (self.size - 1) // 2

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        (x,) = bottoms
        height, width = x.known_shape[2:]
        if self.size % 2 == 0 and (height % 2 or width % 2):
            raise self._refuse(
                f"a filter of size {self.size} needs an even height and width, got {height}x{width}: "
                "for an odd image it gives one row or column less than the shortcut",
                "size",
                hint="use size 3, 5 or 7, or another input_size",
            )
        return self._blur(net, x)

    def _blur(self, net: Net, x: Blob) -> Blob:
        raise NotImplementedError

    def _average(self, net: Net, x: Blob, step: int, **fields: object) -> Blob:
        """One average of 2x2 pixels."""
        name = f"blur{step}_{self.name}"
        return net.add("Pooling", x, name=name, pool="AVE", kernel_size=2, pooling_param=fields)


class ReflectBlurLego(BlurLego):
    """Padded by reflection without repeating the edge, as in the official code.

    Copies of rows and columns go before the image; after it go only as many as a window reaches: none for
    even images and size 3, so that the net fits any even image size. Raises ConfigError for an image that is
    too small to mirror.
    """

    def _blur(self, net: Net, x: Blob) -> Blob:
        sizes = x.known_shape[2:]
        if min(sizes) <= self.pad:
            raise self._refuse(
                f"reflection of {self.pad} pixels needs a larger image, got {sizes[0]}x{sizes[1]}",
                "input_size",
                hint="use a larger input_size, or zero padding",
            )
        before = [range(self.pad, 0, -1)] * 2
        # The windows cover 2 * (ceil(size / 2) - 1) + self.size pixels.
        needed = [2 * (-(-n // 2) - 1) + self.size - self.pad - n for n in sizes]
        after = [range(n - 2, n - 2 - k, -1) for n, k in zip(sizes, needed, strict=True)]
        x = with_copies(net, x, self.name, before, after)
        for step in range(1, self.size - 1):
            x = self._average(net, x, step, stride=1)
        return self._average(net, x, self.size - 1, stride=2)


class ZeroBlurLego(BlurLego):
    """Padded with zeros: cheaper and for any image size, but official weights were trained with reflection.

    Caffe's pooling rounds up, so for even images it may give one row and column too many. A dialect with
    round_mode avoids this; in others `crop_X` removes them. It takes the size from `size_X`, a maximum whose
    values are not used.
    """

    def _blur(self, net: Net, x: Blob) -> Blob:
        image, floor = x, net.dialect.has_field("Pooling", "pooling_param.round_mode")
        for step in range(1, self.size - 1):
            x = self._average(net, x, step, stride=1, **({"pad": 1} if step <= self.pad else {}))
        x = self._average(net, x, self.size - 1, stride=2, **({"round_mode": "FLOOR"} if floor else {}))
        if x.known_shape[2:] == tuple(-(-n // 2) for n in image.known_shape[2:]):
            return x
        size = net.add("Pooling", image, name=f"size_{self.name}", pool="MAX", kernel_size=2, stride=2)
        return net.add("Crop", x, size, name=f"crop_{self.name}", axis=2, offset=0)


class DepthwiseBlurLego(BlurLego):
    """Padded with zeros, by frozen depthwise convolutions whose four weights are 1/4."""

    def _blur(self, net: Net, x: Blob) -> Blob:
        channels = x.known_shape[1]
        for step in range(1, self.size):
            x = net.add(
                "Convolution", x, name=f"blur{step}_{self.name}",
                num_output=channels, group=channels, bias_term=False, bias_filler=None,
                kernel_size=2, pad=self.pad if step == 1 else 0, stride=2 if step == self.size - 1 else 1,
                weight_filler={"type": "constant", "value": 0.25}, param=[{"lr_mult": 0, "decay_mult": 0}],
            )  # fmt: skip
        return x


# By the names used on the command line and in configs.
BLURS: dict[str, type[BlurLego]] = {
    "reflect": ReflectBlurLego,
    "zero": ZeroBlurLego,
    "depthwise": DepthwiseBlurLego,
}
