"""Heads: from the last stage's blob to the class scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from legos.base import Lego, window_fields
from legos.conv import ConvBNReLULego
from netbuilder.net import Blob, Net

__all__ = ["ClassifierLego", "FCStageLego"]

_BIAS_TWICE_AS_FAST = [{"lr_mult": 1, "decay_mult": 1}, {"lr_mult": 2, "decay_mult": 0}]


def _average_over_image(net: Net, x: Blob, name: str) -> Blob:
    """AVE pooling whose kernel is the whole image, written out: every consumer knows that form."""
    height, width = x.known_shape[2:]
    fields = window_fields((height, width), 1, 0)
    # A pad of 0 need not be written: Pooling, unlike Convolution, is read alike with and without.
    fields = {k: v for k, v in fields.items() if not k.startswith("pad")}
    return net.add("Pooling", x, name=name, pool="AVE", **fields)  # type: ignore[no-any-return]


@dataclass(frozen=True, kw_only=True)
class ClassifierLego(Lego):
    """Average over the image `pool`, then the inner product `X`: (n, c, h, w) -> (n, num_output).

    The bias learns at twice the rate and is not decayed, as in pynetbuilder and He's prototxts, unless the
    net's defaults say otherwise.
    """

    num_output: int

    def build(self, net: Net, *bottoms: Blob) -> Any:
        x = _average_over_image(net, bottoms[0], "pool")
        return net.add(
            "InnerProduct",
            x,
            name=self.name,
            num_output=self.num_output,
            bias_filler=net.default("InnerProduct", "bias_filler", {"type": "constant", "value": 0}),
            param=net.default("InnerProduct", "param", _BIAS_TWICE_AS_FAST),
        )


@dataclass(frozen=True, kw_only=True)
class FCStageLego(Lego):
    """Three 1x1 units instead of a classifier, pooled after the first: (n, c, h, w) -> (n, num_output, 1, 1).

    `X_2048`, `pool`, `X_4096` with dropout, `X_<num_output>`. The class scores, too, pass through BatchNorm,
    Scale and ReLU, so none is negative (kept: published weights were trained so).
    Source: pynetbuilder, --fc_layers.
    """

    num_output: int
    dropout_ratio: float = 0.2

    def build(self, net: Net, *bottoms: Blob) -> Any:
        x = self._unit(2048).attach(net, bottoms)
        x = _average_over_image(net, x, "pool")
        x = self._unit(4096).attach(net, x)
        name = f"drop_{self.name}_4096"
        x = net.add("Dropout", x, name=name, in_place=True, dropout_ratio=self.dropout_ratio)
        return self._unit(self.num_output).attach(net, x)

    def _unit(self, num_output: int) -> ConvBNReLULego:
        return ConvBNReLULego(name=f"{self.name}_{num_output}", num_output=num_output)
