"""Heads: from the last stage's blob to the class scores.

Classes that add no fields have no decorator: each would cost a millisecond at every start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from legos.base import Lego, window_fields
from legos.conv import ConvBNReLULego
from netbuilder.net import Blob, Net

__all__ = [
    "ClassifierLego",
    "ConcatPoolLego",
    "FCStageLego",
    "GlobalPoolLego",
    "MaxPoolLego",
]

_BIAS_TWICE_AS_FAST = [{"lr_mult": 1, "decay_mult": 1}, {"lr_mult": 2, "decay_mult": 0}]


class GlobalPoolLego(Lego):
    """Average `X` over the whole image: (n, c, h, w) -> (n, c, 1, 1).

    The kernel size is written because every consumer reads that form.
    """

    pool: ClassVar[str] = "AVE"

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        (x,) = bottoms
        height, width = x.known_shape[2:]
        fields = window_fields((height, width), 1, 0)
        # A pad of 0 is omitted: for Pooling, unlike Convolution, every consumer treats both forms alike.
        fields = {k: v for k, v in fields.items() if not k.startswith("pad")}
        return net.add("Pooling", x, name=self.name, pool=self.pool, pooling_param=fields)


class MaxPoolLego(GlobalPoolLego):
    """Maximum `X` over the whole image."""

    pool: ClassVar[str] = "MAX"


class ConcatPoolLego(Lego):
    """Maximum `X_max` and average `X_ave` over the whole image, concatenated in `X`.

    (n, c, h, w) -> (n, 2c, 1, 1). Source: Page's cifar10-fast, the head of the DAWNBench baseline.
    """

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        parts = (MaxPoolLego(name=f"{self.name}_max"), GlobalPoolLego(name=f"{self.name}_ave"))
        return net.add("Concat", *(part.attach(net, bottoms) for part in parts), name=self.name)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ClassifierLego(Lego):
    """Pooling over the image `pool`, then the inner product `X`: (n, c, h, w) -> (n, num_output).

    The bias, if any, learns at twice the rate without decay, as in pynetbuilder and He's
    prototxts, unless the net's defaults say otherwise.
    """

    num_output: int
    pooling: type[Lego] = GlobalPoolLego
    bias: bool = True

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        x = self.pooling(name="pool").attach(net, bottoms)
        param = net.default("InnerProduct", "param", _BIAS_TWICE_AS_FAST)
        filler = net.default("InnerProduct", "bias_filler", {"type": "constant", "value": 0})
        own: dict[str, object] = {"num_output": self.num_output, "bias_filler": filler}
        if not self.bias:
            param = param[:1]
            own |= {"bias_term": False, "bias_filler": None}
        return net.add("InnerProduct", x, name=self.name, inner_product_param=own, param=param)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FCStageLego(Lego):
    """Three 1x1 units as the classifier, pooling after the first: (n, c, h, w) -> (n, num_output, 1, 1).

    `X_2048`, `pool`, `X_4096` with dropout, `X_<num_output>`. The class scores also pass through BatchNorm,
    Scale and ReLU, so none is negative (kept because published weights were trained this way).
    Source: pynetbuilder, --fc_layers.
    """

    num_output: int
    dropout_ratio: float = 0.2

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        x = self._unit(2048).attach(net, bottoms)
        x = GlobalPoolLego(name="pool").attach(net, x)
        x = self._unit(4096).attach(net, x)
        name = f"drop_{self.name}_4096"
        x = net.add("Dropout", x, name=name, in_place=True, dropout_ratio=self.dropout_ratio)
        return self._unit(self.num_output).attach(net, x)

    def _unit(self, num_output: int) -> ConvBNReLULego:
        return ConvBNReLULego(name=f"{self.name}_{num_output}", num_output=num_output)
