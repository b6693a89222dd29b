"""BatchNorm and Scale as separate units, for nets that do not normalise right after a convolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from legos.base import Lego
from netbuilder.net import Blob, Net

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    _Array = npt.NDArray[np.floating]

__all__ = ["BNLego", "BNReLULego", "GhostBNLego"]


@dataclass(frozen=True, kw_only=True)
class BNLego(Lego):
    """BatchNorm `bn_X` and Scale `scale_X`, both in place by default.

    Do not use in-place layers on a bottom that another layer reads, or on the top of a maximum pooling: in
    the backward pass, cuDNN's pooling searches its top for the maxima, which would be overwritten
    (layer_factory.cpp).
    """

    in_place: bool = True

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        x = net.add("BatchNorm", *bottoms, name=f"bn_{self.name}", in_place=self.in_place)
        return net.add("Scale", x, name=f"scale_{self.name}", in_place=True, bias_term=True)


class BNReLULego(Lego):
    """BatchNorm `bn_X`, Scale `scale_X` and ReLU `relu_X`, which precede a convolution (pre-activation).

    BatchNorm is not in place: a shortcut may read the bottom too, and after an in-place ReLU it would
    overwrite the values that the ReLU needs for its gradient.
    Source: He et al. 2016 (arXiv 1603.05027), figure 4e.
    """

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        x = net.add("BatchNorm", *bottoms, name=f"bn_{self.name}")
        x = net.add("Scale", x, name=f"scale_{self.name}", in_place=True, bias_term=True)
        return net.add("ReLU", x, name=f"relu_{self.name}", in_place=True)


@dataclass(frozen=True, kw_only=True)
class GhostBNLego(Lego):
    """A separate BatchNorm for each of `splits` parts of the batch, and one Scale: (n, c, h, w) -> the same.

    Part s consists of the images i with i % splits == s. `split_X` reshapes the blob to (n/splits, splits *
    c, h, w), so that the BatchNorm `ghost_X` treats each part's channels as separate channels; `join_X`
    restores the shape, and `scale_X` is common to all parts. The batch must be a multiple of `splits`.

    A TEST net has a plain BatchNorm `bn_X`, whose statistics are the means over the parts. Their shape
    differs, and Caffe aborts if layers of the same name have different shapes of params. So no layer of the
    TRAIN net has that name, and `merged_statistics` computes them. Source: Hoffer et al. 2017 (arXiv
    1705.08741); Page's cifar10-fast, GhostBatchNorm. Raises ConfigError if the batch does not divide.
    """

    splits: int

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        (x,) = bottoms
        if net.phase == "TEST":
            return BNLego(name=self.name).build(net, x)
        batch, channels, height, width = x.known_shape
        if batch % self.splits:
            raise self._refuse(f"a batch of {batch} cannot be cut into {self.splits} equal parts", "splits")
        dims = [-1, self.splits * channels, height, width]
        x = net.add("Reshape", x, name=f"split_{self.name}", shape={"dim": dims})
        # Not in place: the Reshape shares the memory of its bottom, which another layer may read.
        x = net.add("BatchNorm", x, name=f"ghost_{self.name}")
        x = net.add("Reshape", x, name=f"join_{self.name}", shape={"dim": [-1, channels, height, width]})
        return net.add("Scale", x, name=f"scale_{self.name}", in_place=True, bias_term=True)

    @staticmethod
    def merged_statistics(ghost: list[_Array], splits: int) -> list[_Array]:
        """The params of the test net's `bn_X` (NumPy arrays), from the three of the train net's `ghost_X`."""
        mean, variance, factor = ghost
        return [mean.reshape(splits, -1).mean(0), variance.reshape(splits, -1).mean(0), factor]
