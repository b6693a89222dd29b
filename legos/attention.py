"""Attention units: they weight channels by features of the whole image. `ATTENTIONS` lists them by name.

An attention after the main branch is a lego with one bottom; one that replaces the spatial unit is a wrapper
(see `legos.unit`). Both kinds take `name` and these two keywords, which networks pass to every attention:

* `gate`, one of `GATES`: the lego that multiplies channels by their weights. A deploy net uses "concat",
  because MNN cannot run a Scale with two bottoms.
* `bias`: whether the inner layers have biases. The official weights of some nets have none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import NamedTuple

from legos.base import Lego, SequenceLego
from legos.conv import ConvBNReLULego
from legos.unit import Unit
from netbuilder.errors import ConfigError
from netbuilder.net import Blob, Net

__all__ = [
    "ATTENTIONS",
    "GATES",
    "Attention",
    "ConcatGateLego",
    "SELego",
    "SKLego",
    "ScaleGateLego",
    "selective_kernel",
]


class ScaleGateLego(Lego):
    """Each channel of bottom 0 times its factor in bottom 1: (n, c, h, w), (n, c) -> (n, c, h, w).

    It is a Scale `X` with two bottoms. Caffe aligns them from axis 0, so a shape (n, c, 1, 1) would not fit;
    the Reshape `X_gate` removes the last two axes.
    """

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        x, gate = bottoms
        if len(gate.known_shape) > 2:
            gate = net.add("Reshape", gate, name=f"{self.name}_gate", shape={"dim": [0, -1]})
        return net.add("Scale", x, gate, name=self.name, axis=0, param=None)


class ConcatGateLego(Lego):
    """The same result without Scale, for consumers that lack a Scale with two bottoms (MNN).

    Two Concats, `X_row` and `X_image`, repeat the gate over the image, and `X` is an Eltwise product. Every
    Caffe, OpenCV and MNN can read that. The net then has a fixed image size, and the copies cost time, so
    this form suits deploy nets.
    """

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        x, gate = bottoms
        height, width = x.known_shape[2:]
        gate = net.add("Reshape", gate, name=f"{self.name}_gate", shape={"dim": [0, -1, 1, 1]})
        # Build a row first, so that the second Concat copies whole rows rather than single numbers.
        gate = net.add("Concat", *[gate] * width, name=f"{self.name}_row", axis=3)
        gate = net.add("Concat", *[gate] * height, name=f"{self.name}_image", axis=2)
        return net.add("Eltwise", x, gate, name=self.name, operation="PROD")


# By the names used on the command line and in configs.
GATES: dict[str, type[Lego]] = {"scale": ScaleGateLego, "concat": ConcatGateLego}


@dataclass(frozen=True, kw_only=True)
class SELego(Lego):
    """Squeeze and excitation: channels times a gate in 0..1 from their means, (n, c, h, w) -> the same.

    `X_se_pool` averages the image; `X_se_fc1` (c / reduction), ReLU, `X_se_fc2` (c) and a sigmoid compute the
    gate, and `X_se` multiplies. The gate has the shape (n, c), since it comes from InnerProduct. Weights of
    the usual 1x1 convolutions fit, reshaped.
    Raises ConfigError if the reduction leaves no channel. Source: Hu et al. 2017, section 3.
    """

    reduction: int = 16
    bias: bool = True
    gate: type[Lego] = ScaleGateLego

    def __post_init__(self) -> None:
        if self.reduction < 1:
            raise self._refuse(f"reduction must be at least 1, got {self.reduction}", "reduction")

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        (x,) = bottoms
        channels = x.known_shape[1]
        if channels < self.reduction:
            raise self._refuse(
                f"{channels} channels cannot be reduced by {self.reduction}",
                "reduction",
                hint=f"use a reduction of at most {channels}",
            )
        gate = net.add("Pooling", x, name=f"{self.name}_se_pool", pool="AVE", global_pooling=True)
        gate = self._inner_product(net, gate, "fc1", channels // self.reduction)
        gate = net.add("ReLU", gate, name=f"{self.name}_se_relu", in_place=True)
        gate = self._inner_product(net, gate, "fc2", channels)
        gate = net.add("Sigmoid", gate, name=f"{self.name}_se_sigmoid", in_place=True)
        return self.gate(name=f"{self.name}_se").attach(net, [x, gate])

    def _inner_product(self, net: Net, x: Blob, suffix: str, num_output: int) -> Blob:
        filler = net.default("Convolution", "weight_filler", {"type": "msra"})
        return net.add(
            "InnerProduct", x, name=f"{self.name}_se_{suffix}", num_output=num_output, bias_term=self.bias,
            weight_filler=filler, bias_filler={"type": "constant", "value": 0} if self.bias else None,
            param=[{"lr_mult": 1, "decay_mult": 1}] * (2 if self.bias else 1),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SKLego(Lego):
    """Selection between the two halves of a blob's channels: (n, 2c, h, w) -> (n, c, h, w).

    Each channel is the mean of its two versions, by weights that depend on the image and sum to 1.
    `X_sk_split`, `X_sk_sum` and `X_sk_pool` average both halves over the image, unit `X_sk_fc1` (max(c /
    reduction, least) channels) and `conv_X_sk_fc2` (2c) make two numbers for each channel; `X_sk_softmax`
    over the pair gives the weights, `X_sk_weigh` multiplies, `X_sk_parts` and `X_sk` add up. Train with two
    or more images per batch: with one, the BatchNorm in `X_sk_fc1` has a variance of 0. Raises ConfigError
    for an odd number of channels. Source: Li et al. 2019 (arXiv 1903.06586), in the form of Assembled-CNN:
    both halves from one 3x3 convolution.
    """

    reduction: int = 2
    least: int = 32
    bias: bool = False
    gate: type[Lego] = ScaleGateLego

    def __post_init__(self) -> None:
        for key in ("reduction", "least"):
            if getattr(self, key) < 1:
                raise self._refuse(f"{key} must be at least 1, got {getattr(self, key)}", key)

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        (x,) = bottoms
        both, name = x.known_shape[1], f"{self.name}_sk"
        channels = both // 2
        if both % 2:
            raise self._refuse(
                f"needs an even number of channels, half for each way, got {both}", "num_output"
            )
        inner = max(channels // self.reduction, self.least)
        total = net.add(
            "Eltwise", *self._halves(net, x, f"{name}_split"), name=f"{name}_sum", operation="SUM"
        )
        z = net.add("Pooling", total, name=f"{name}_pool", pool="AVE", global_pooling=True)
        z = ConvBNReLULego(name=f"{name}_fc1", num_output=inner).attach(net, z)
        z = net.add(
            "Convolution", z, name=f"conv_{name}_fc2", num_output=both, kernel_size=1, bias_term=self.bias,
            bias_filler={"type": "constant", "value": 0} if self.bias else None,
            param=[{"lr_mult": 1, "decay_mult": 1}] * (2 if self.bias else 1),
        )  # fmt: skip
        z = net.add("Reshape", z, name=f"{name}_pairs", shape={"dim": [0, 2, channels, 1]})
        z = net.add("Softmax", z, name=f"{name}_softmax", axis=1)
        x = self.gate(name=f"{name}_weigh").attach(net, [x, z])
        return net.add("Eltwise", *self._halves(net, x, f"{name}_parts"), name=name, operation="SUM")

    def _halves(self, net: Net, x: Blob, name: str) -> tuple[Blob, ...]:
        # slice_point is written because MNN cannot run a Slice without it.
        point = [x.known_shape[1] // 2]
        tops = [f"{name}_0", f"{name}_1"]
        return net.add_many("Slice", x, name=name, tops=tops, axis=1, slice_point=point)


def selective_kernel(
    *,
    unit: Unit,
    name: str,
    num_output: int,
    stride: int = 1,
    group: int = 1,
    reduction: int = 2,
    least: int = 32,
    bias: bool = False,
    gate: type[Lego] = ScaleGateLego,
) -> Lego:
    """A spatial unit that runs another one at twice the width, and merges the two halves by `SKLego`."""
    wide = unit(name=name, num_output=2 * num_output, stride=stride, group=group)
    select = SKLego(name=name, reduction=reduction, least=least, bias=bias, gate=gate)
    return SequenceLego(name=name, parts=(wide, select))


class _Makers(NamedTuple):
    around: Callable[..., Lego] | None = None
    behind: Callable[..., Lego] | None = None


class Attention(_Makers):
    """The two places of an attention in a block: `around` the spatial unit, `behind` the main branch.

    Each is None, or a class or function that makes a lego and takes the keywords `gate` and `bias`, besides
    `name` and, for a wrapper, those of a spatial unit. Raises ConfigError if it lacks one of the two.
    """

    __slots__ = ()

    def __new__(
        cls, around: Callable[..., Lego] | None = None, behind: Callable[..., Lego] | None = None
    ) -> Attention:
        for make in (around, behind):
            if make is not None:
                _check_keywords(make)
        return super().__new__(cls, around, behind)


# The keywords that networks pass to every attention, and their meaning.
_KEYWORDS = {
    "gate": "gate: type[Lego], the lego of GATES that multiplies channels by their weights",
    "bias": "bias: bool, whether its inner layers have biases",
}


def _check_keywords(make: Callable[..., Lego]) -> None:
    missing = [keyword for keyword in _KEYWORDS if keyword not in signature(make).parameters]
    if missing:
        raise ConfigError(
            f"{getattr(make, '__name__', make)} is not an attention: it lacks the "
            f"keyword{'s' if len(missing) > 1 else ''} {' and '.join(missing)}",
            key="attention",
            hint="add " + "; ".join(_KEYWORDS[keyword] for keyword in missing),
        )


# By the names used on the command line and in configs.
ATTENTIONS: dict[str, Attention] = {
    "none": Attention(),
    "se": Attention(behind=SELego),
    "sk": Attention(around=selective_kernel),
    "sk_se": Attention(around=selective_kernel, behind=SELego),
}
