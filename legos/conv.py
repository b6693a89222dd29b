"""Convolution units: convolution, and BatchNorm, Scale and ReLU in place after it.

Classes that add no fields have no decorator: each would cost a millisecond at every start.
"""

from __future__ import annotations

from dataclasses import dataclass

from legos.base import Lego, Pair, as_pair, window_fields
from netbuilder.net import Blob, Net

__all__ = ["ConvBNLego", "ConvBNReLULego", "ConvLego"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ConvLego(Lego):
    """Convolution `conv_X` alone: (n, c, h, w) -> (n, num_output, h/s, w/s).

    `kernel` and `stride` are one number or (h, w); kernels are odd, so that the pad keeps the size at stride
    1. It has no bias unless the net's defaults say otherwise, since a BatchNorm follows or precedes it. With
    `fan_in_uniform` the weights start uniform within 1/sqrt(fan-in), as in PyTorch; Caffe's fillers lack this
    rule, so the bound is written as a number. Raises ConfigError for an even kernel.
    """

    num_output: int
    kernel: Pair = 1
    stride: Pair = 1
    group: int = 1
    fan_in_uniform: bool = False

    def __post_init__(self) -> None:
        if any(k % 2 == 0 for k in as_pair(self.kernel)):
            raise self._refuse(
                f"kernel must be odd, so that padding keeps the size, got {self.kernel}", "kernel"
            )

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        kh, kw = as_pair(self.kernel)
        (x,) = bottoms
        fields: dict[str, object] = {**window_fields((kh, kw), self.stride, (kh // 2, kw // 2))}
        if self.group != 1:
            fields["group"] = self.group
        if self.fan_in_uniform:
            bound = (x.known_shape[1] // self.group * kh * kw) ** -0.5
            fields["weight_filler"] = {"type": "uniform", "min": -bound, "max": bound}
        return net.add(
            "Convolution",
            x,
            name=f"conv_{self.name}",
            num_output=self.num_output,
            bias_term=net.default("Convolution", "bias_term", False),
            convolution_param=fields,
        )


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ConvBNLego(ConvLego):
    """Convolution `conv_X`, BatchNorm `bn_X` and Scale `scale_X`. `gamma` is Scale's initial factor."""

    gamma: float = 1

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        x = super().build(net, *bottoms)
        x = net.add("BatchNorm", x, name=f"bn_{self.name}", in_place=True)
        # Caffe's default is 1; a filler is written only for another value.
        own = {} if self.gamma == 1 else {"filler": {"type": "constant", "value": self.gamma}}
        return net.add("Scale", x, name=f"scale_{self.name}", in_place=True, scale_param=own, bias_term=True)


class ConvBNReLULego(ConvBNLego):
    """`ConvBNLego` followed by the ReLU `relu_X`."""

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        x = super().build(net, *bottoms)
        return net.add("ReLU", x, name=f"relu_{self.name}", in_place=True)
