"""DropBlock: regularisation that drops squares of an image. It uses stock layers, in train nets only."""

from __future__ import annotations

from dataclasses import dataclass

from legos.base import Lego
from netbuilder.net import Blob, Net

__all__ = ["DropBlockLego"]


@dataclass(frozen=True, kw_only=True)
class DropBlockLego(Lego):
    """Set squares of pixels at random places to 0, and scale the rest up to compensate.

    (n, c, h, w) -> the same. Each channel has its own places; a TEST net gets no layer. Each pass draws one
    new mask for the whole batch, as the official code does. A place is the seed of a square with probability
    gamma = scale * (1 - keep_prob) * h * w / size^2 / places, where places = (h - size + 1) * (w - size + 1)
    is the number of places at which a whole square fits.

    Layers: `X_drop_noise` (DummyData) is compared with gamma by `X_drop_seeds` (Threshold); `X_drop_squares`
    (MAX pooling) grows the seeds; `X_drop_mask` is 1 minus the squares; `X_drop_mean` and `X_drop_factor` are
    the mask's mean over all channels and its inverse; `X_drop_scaled`, `X_drop_fit` and `X_drop` multiply.
    With `driven`, the Bias `X_drop_gamma` holds gamma - 1 as a frozen parameter, which a driver can change
    during training.

    The net has a fixed image size. Threshold has no backward pass, so the net cannot run with
    force_backward. Raises ConfigError for a keep_prob outside 0..1, or an image smaller than a square.
    Source: Ghiasi et al. 2018 (arXiv 1810.12890); Assembled-CNN, blocks.dropblock.
    """

    keep_prob: float
    scale: float = 1
    size: int = 7
    driven: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.keep_prob <= 1:
            raise self._refuse(
                f"keep_prob must be above 0 and at most 1, got {self.keep_prob:g}", "keep_prob"
            )

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        (x,) = bottoms
        if net.phase == "TEST":
            return x
        name, size = f"{self.name}_drop", self.size
        channels, height, width = x.known_shape[1:]
        rows, columns = height - size + 1, width - size + 1
        if min(rows, columns) < 1:
            raise self._refuse(
                f"a square of {size}x{size} pixels does not fit into {height}x{width}",
                "input_size",
                hint="use a larger input_size, or remove DropBlock",
            )
        gamma = self.scale * (1 - self.keep_prob) * height * width / size**2 / (rows * columns)
        mask = net.add(
            "DummyData", name=f"{name}_noise", shape=[{"dim": [1, channels, rows, columns]}],
            data_filler=[{"type": "uniform", "min": 0, "max": 1}],
        )  # fmt: skip
        threshold = 1 - gamma
        if self.driven:
            mask = net.add(
                "Bias", mask, name=f"{name}_gamma", axis=0, num_axes=0,
                filler={"type": "constant", "value": gamma - 1}, param=[{"lr_mult": 0, "decay_mult": 0}],
            )  # fmt: skip
            threshold = 0
        mask = net.add("Threshold", mask, name=f"{name}_seeds", threshold=threshold)
        mask = net.add(
            "Pooling", mask, name=f"{name}_squares", pool="MAX", kernel_size=size, stride=1, pad=size - 1
        )
        mask = net.add("Power", mask, name=f"{name}_mask", scale=-1, shift=1)
        mean = net.add("Reduction", mask, name=f"{name}_mean", operation="MEAN", axis=0)
        # The shift avoids a division by 0 for a mask of zeros.
        factor = net.add("Power", mean, name=f"{name}_factor", power=-1, shift=1e-8)
        mask = net.add("Scale", mask, factor, name=f"{name}_scaled", axis=0, param=None)
        mask = net.add("Reshape", mask, name=f"{name}_fit", shape={"dim": [channels, height, width]})
        return net.add("Scale", x, mask, name=name, axis=1, param=None)
