"""BatchNorm and Scale as units of their own, for nets that do not normalise right after a convolution."""

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

    In place is for a bottom that nobody else reads, and not for that of a maximum pooling: cuDNN, where Caffe
    leaves that to it, looks for the maxima again in the values that would be gone (layer_factory.cpp).
    """

    in_place: bool = True

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        x = net.add("BatchNorm", *bottoms, name=f"bn_{self.name}", in_place=self.in_place)
        return net.add("Scale", x, name=f"scale_{self.name}", in_place=True, bias_term=True)


class BNReLULego(Lego):
    """BatchNorm `bn_X`, Scale `scale_X` and ReLU `relu_X`, which go before a convolution in pre-activation.

    BatchNorm is not in place: a shortcut may read the bottom too, and after another in-place ReLU it would
    write over the values that this one needs for its gradient.
    Source: He et al. 2016 (arXiv 1603.05027), figure 4e.
    """

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        x = net.add("BatchNorm", *bottoms, name=f"bn_{self.name}")
        x = net.add("Scale", x, name=f"scale_{self.name}", in_place=True, bias_term=True)
        return net.add("ReLU", x, name=f"relu_{self.name}", in_place=True)


@dataclass(frozen=True, kw_only=True)
class GhostBNLego(Lego):
    """BatchNorm over `splits` parts of the batch, each by itself, and one Scale: (n, c, h, w) -> the same.

    Part s is made of the images i with i % splits == s. `split_X` makes (n/splits, splits * c, h, w) of the
    blob, so that `ghost_X`, a BatchNorm, sees each part's channels as channels of its own; `join_X` makes
    the old shape again, and `scale_X` is shared by all parts. The batch must be a multiple of `splits`.

    In a TEST net it is a plain BatchNorm `bn_X`, whose statistics are the means of those of the parts. They
    have another shape, and Caffe aborts over a layer of one name whose params differ: so no layer of the
    TRAIN net has that name, and `merged_statistics` makes them.
    Source: Hoffer et al. 2017 (arXiv 1705.08741); Page's cifar10-fast, GhostBatchNorm.
    Raises ConfigError if the batch does not divide.
    """

    splits: int

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        (x,) = bottoms
        if net.phase == "TEST":
            return BNLego(name=self.name).build(net, x)
        batch, channels, height, width = x.known_shape
        if batch % self.splits:
            raise self._refuse(f"a batch of {batch} has no {self.splits} equal parts", "splits")
        dims = [-1, self.splits * channels, height, width]
        x = net.add("Reshape", x, name=f"split_{self.name}", shape={"dim": dims})
        # Not in place: a Reshape shares the memory of its bottom, which another layer may read.
        x = net.add("BatchNorm", x, name=f"ghost_{self.name}")
        x = net.add("Reshape", x, name=f"join_{self.name}", shape={"dim": [-1, channels, height, width]})
        return net.add("Scale", x, name=f"scale_{self.name}", in_place=True, bias_term=True)

    @staticmethod
    def merged_statistics(ghost: list[_Array], splits: int) -> list[_Array]:
        """The params of the test net's `bn_X` (NumPy arrays) from the three of the train net's `ghost_X`."""
        mean, variance, factor = ghost
        return [mean.reshape(splits, -1).mean(0), variance.reshape(splits, -1).mean(0), factor]
