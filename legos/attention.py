"""Attention units: they scale a blob by what they see in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from legos.base import Lego
from netbuilder.net import Blob, Net

__all__ = ["SE_GATES", "ConcatSELego", "SELego"]


@dataclass(frozen=True, kw_only=True)
class SELego(Lego):
    """Squeeze and excitation: channels times a gate in 0..1 made from their means, (n, c, h, w) -> the same.

    `X_se_pool` averages the image, `X_se_fc1` (c / reduction), ReLU, `X_se_fc2` (c) and a sigmoid make the
    gate (n, c), and `X_se`, a Scale with two bottoms, multiplies. The gate comes from InnerProduct, since
    Caffe's Scale does not broadcast a (n, c, 1, 1). Weights of the usual 1x1 convolutions fit, reshaped.
    Raises ConfigError if the reduction leaves no channel. Source: Hu et al. 2017, section 3.
    """

    reduction: int = 16
    bias: bool = True

    def __post_init__(self) -> None:
        if self.reduction < 1:
            raise self._refuse(f"reduction must be at least 1, got {self.reduction}", "reduction")

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
        return self._multiply(net, x, gate)

    def _multiply(self, net: Net, x: Blob, gate: Blob) -> Blob:
        return net.add("Scale", x, gate, name=f"{self.name}_se", axis=0)  # type: ignore[no-any-return]

    def _inner_product(self, net: Net, x: Blob, suffix: str, num_output: int) -> Blob:
        filler = net.default("Convolution", "weight_filler", {"type": "msra"})
        return net.add(  # type: ignore[no-any-return]
            "InnerProduct", x, name=f"{self.name}_se_{suffix}", num_output=num_output, bias_term=self.bias,
            weight_filler=filler, bias_filler={"type": "constant", "value": 0} if self.bias else None,
            param=[{"lr_mult": 1, "decay_mult": 1}] * (2 if self.bias else 1),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ConcatSELego(SELego):
    """The same numbers and parameters without Scale: for consumers that know no Scale of two bottoms (MNN).

    The gate is spread over the image by concatenation with itself, `X_se_row` and `X_se_image`, and `X_se`
    is an Eltwise product. Every Caffe, OpenCV and MNN read that. The size of the image is written into the
    net, and the copies cost time, so this form suits deploy nets.
    """

    def _multiply(self, net: Net, x: Blob, gate: Blob) -> Blob:
        height, width = x.known_shape[2:]
        gate = net.add("Reshape", gate, name=f"{self.name}_se_gate", shape={"dim": [0, -1, 1, 1]})
        # The row first: then the second Concat copies whole rows, not single numbers.
        gate = net.add("Concat", *[gate] * width, name=f"{self.name}_se_row", axis=3)
        gate = net.add("Concat", *[gate] * height, name=f"{self.name}_se_image", axis=2)
        return net.add("Eltwise", x, gate, name=f"{self.name}_se", operation="PROD")  # type: ignore[no-any-return]


# The names by which the command line and configs call the two.
SE_GATES: dict[str, type[SELego]] = {"scale": SELego, "concat": ConcatSELego}
