"""Attention units: they scale a blob by what they see in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from legos.base import Lego
from netbuilder.net import Blob, Net

__all__ = ["SELego"]


@dataclass(frozen=True, kw_only=True)
class SELego(Lego):
    """Squeeze and excitation: channels times a gate in 0..1 made from their means, (n, c, h, w) -> the same.

    `X_se_pool` averages the image, `X_se_fc1` (c / reduction), ReLU, `X_se_fc2` (c) and a sigmoid make the
    gate (n, c), and `X_se` multiplies. The gate comes from InnerProduct, as (n, c): Caffe's Scale does not
    broadcast a (n, c, 1, 1). Weights of the usual 1x1 convolutions fit after reshaping.
    Raises ConfigError if the reduction leaves no channel. Source: Hu et al. 2017, section 3.
    """

    reduction: int = 16
    bias: bool = True

    def build(self, net: Net, *bottoms: Blob) -> Any:
        (x,) = bottoms
        channels = x.known_shape[1]
        if channels < self.reduction:
            raise self._refuse(
                f"{channels} channels cannot be reduced by {self.reduction}",
                "reduction",
                hint=f"give a reduction of at most {channels}",
            )
        gate = net.add("Pooling", x, name=f"{self.name}_se_pool", pool="AVE", global_pooling=True)
        gate = self._inner_product(net, gate, "fc1", channels // self.reduction)
        gate = net.add("ReLU", gate, name=f"{self.name}_se_relu", in_place=True)
        gate = self._inner_product(net, gate, "fc2", channels)
        gate = net.add("Sigmoid", gate, name=f"{self.name}_se_sigmoid", in_place=True)
        return net.add("Scale", x, gate, name=f"{self.name}_se", axis=0)

    def _inner_product(self, net: Net, x: Blob, suffix: str, num_output: int) -> Blob:
        filler = net.default("Convolution", "weight_filler", {"type": "msra"})
        return net.add(  # type: ignore[no-any-return]
            "InnerProduct", x, name=f"{self.name}_se_{suffix}", num_output=num_output, bias_term=self.bias,
            weight_filler=filler, bias_filler={"type": "constant", "value": 0} if self.bias else None,
            param=[{"lr_mult": 1, "decay_mult": 1}] * (2 if self.bias else 1),
        )  # fmt: skip
