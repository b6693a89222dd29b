"""The readers of each blob, and the layers whose gradient Caffe computes: found once for all checks."""

from __future__ import annotations

from netbuilder.layers import RULES
from netbuilder.net import REFUSED, Blob, Layer, Net
from netbuilder.schema.dialects import Dialect

__all__ = ["Graph", "has_loss"]


class Graph:
    """A net with what the checks need to know about it.

    `layers` are those that Caffe would build. `readers` has the layers that read each version of a blob.
    `trained`: the net is for TRAIN and has a loss. `backward` then has the layers whose gradient Caffe
    computes, `learnt` those that depend on a learnt parameter. Source: net.cpp, Init.
    `dialects` are the Caffes that the net is meant for.
    """

    def __init__(self, net: Net, dialects: tuple[Dialect, ...] = ()) -> None:
        self.net = net
        self.dialects = dialects
        self.layers = [layer for layer in net if layer.unknown != REFUSED]
        self.readers: dict[Blob, list[Layer]] = {}
        for layer in net.layers:
            for blob in layer.bottoms:
                self.readers.setdefault(blob, []).append(layer)
        self.trained = net.phase == "TRAIN" and any(has_loss(layer) for layer in net.layers)
        self.learnt: set[Layer] = set()
        self.backward: set[Layer] = set()
        if self.trained:
            self._trace()

    def _trace(self) -> None:
        for layer in self.net.layers:
            if any(_asks_gradient(layer, i) for i in range(len(layer.params))) or any(
                b.layer in self.learnt for b in layer.bottoms
            ):
                self.learnt.add(layer)
        for layer in reversed(self.net.layers):
            reaches = has_loss(layer) or any(
                r in self.backward for top in layer.tops for r in self.readers.get(top, ())
            )
            if reaches and layer in self.learnt:
                self.backward.add(layer)


def has_loss(layer: Layer) -> bool:
    """Whether one of its tops counts in the loss. Layers of forks are recognised by their names."""
    weights = layer.proto.loss_weight
    if weights:
        return any(weights)
    rule = RULES.get(layer.type)
    return rule.auto_top if rule else layer.type.endswith("Loss")


def _asks_gradient(layer: Layer, i: int) -> bool:
    """Whether parameter i has a learning rate. Statistics never have one: Caffe itself sets it to 0."""
    specs = layer.proto.param
    return layer.params[i].role != "statistic" and not (i < len(specs) and specs[i].lr_mult == 0)
