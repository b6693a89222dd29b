"""Whitening of small patches by a frozen convolution whose weights are computed from images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from legos.base import Lego
from netbuilder.net import Blob, Net

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["SignedWhiteningLego", "WhiteningLego", "whitening_filter"]


@dataclass(frozen=True, kw_only=True)
class WhiteningLego(Lego):
    """The frozen convolution `whiten_X` over patches: (n, c, h, w) -> (n, c * kernel^2, h, w).

    `whitening_filter` computes its weights, which must be loaded into the net (`caffe train --weights`);
    until then they are random. Raises ConfigError for an even `kernel`. Source: Page's cifar10-fast, "bag of
    tricks".
    """

    kernel: int = 3

    def __post_init__(self) -> None:
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise self._refuse(
                f"kernel must be odd, so that padding keeps the size, got {self.kernel}", "kernel"
            )

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        (x,) = bottoms
        return net.add(
            "Convolution",
            x,
            name=f"whiten_{self.name}",
            num_output=x.known_shape[1] * self.kernel**2,
            kernel_size=self.kernel,
            stride=1,
            pad=self.kernel // 2,
            bias_term=False,
            bias_filler=None,
            param=[{"lr_mult": 0, "decay_mult": 0}],
        )


@dataclass(frozen=True, kw_only=True)
class SignedWhiteningLego(Lego):
    """`whiten_X` without padding, each filter also negated: (n, c, h, w) -> (n, 2 * c * k^2, h - k + 1, ...).

    The weights are frozen, and the bias learns, so that a ReLU after it loses nothing of the image. They are
    `whitening_filter(images, kernel)`, and its negative after it. Source: Jordan 2024 (arXiv 2404.00498).
    """

    kernel: int = 2
    bias_lr_mult: float = 1
    bias_decay_mult: float = 1

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        (x,) = bottoms
        bias = {"lr_mult": self.bias_lr_mult, "decay_mult": self.bias_decay_mult}
        return net.add(
            "Convolution",
            x,
            name=f"whiten_{self.name}",
            num_output=2 * x.known_shape[1] * self.kernel**2,
            kernel_size=self.kernel,
            bias_term=True,
            param=[{"lr_mult": 0, "decay_mult": 0}, bias],
        )


def whitening_filter(
    images: npt.ArrayLike, kernel: int = 3, epsilon: float = 0.01
) -> npt.NDArray[np.float32]:
    """Weights (c * kernel^2, c, kernel, kernel) for `WhiteningLego` from images (n, c, h, w).

    Row i is eigenvector i of the uncentred second moment of all patches inside the images, the largest
    eigenvalue first, over sqrt(eigenvalue + epsilon). The sign of a row is arbitrary. Give the images as the
    net sees them: normalised, without borders. Directions with an eigenvalue not far above epsilon stay
    small on purpose.
    """
    import numpy as np

    pixels = np.asarray(images)
    channels = pixels.shape[1]
    size = channels * kernel**2
    moment, patches = np.zeros((size, size)), 0
    for start in range(0, len(pixels), 500):  # all patches of all images together would exhaust the memory
        batch = pixels[start : start + 500].astype(np.float64)
        windows = np.lib.stride_tricks.sliding_window_view(batch, (kernel, kernel), (2, 3))
        rows = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, size)
        moment += rows.T @ rows
        patches += len(rows)
    values, vectors = np.linalg.eigh(moment / patches)
    scaled = vectors / np.sqrt(values + epsilon)
    weights: npt.NDArray[np.float32] = scaled.T[::-1].astype(np.float32)
    return weights.reshape(size, channels, kernel, kernel)
