"""Memory layer by layer, as an embedded engine plans it: what each works on, and what is alive then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import NamedTuple

from netbuilder.measure.counts import FLOAT_BYTES, Counts, alive_elements, shares_memory
from netbuilder.net import Blob, Layer, Net

__all__ = ["LayerMemory", "figures_with_bytes", "memory", "with_bytes"]

Number = int | float

_SCALED = ("activation_bytes", "peak_bytes", "weight_bytes", "working_bytes")


class LayerMemory(NamedTuple):
    """The bytes of a layer, for the whole batch; None is what is not known.

    `inputs` are its bottoms, each once, `outputs` the tops that have memory of their own, `weights` all its
    parameters, those of other layers that it shares included. `alive` are the blobs that a forward pass
    holds while the layer runs, if it frees each after its last reader; the largest is the net's `peak_bytes`.
    """

    layer: Layer
    inputs: int | None
    outputs: int | None
    weights: int | None
    alive: int

    @property
    def working(self) -> int | None:
        """Inputs, outputs and weights: what has to be at hand to run the layer."""
        parts = (self.inputs, self.outputs, self.weights)
        return None if None in parts else sum(part for part in parts if part is not None)


def memory(net: Net, width: int = FLOAT_BYTES) -> tuple[LayerMemory, ...]:
    """The memory of each layer, at so many bytes per number."""
    rows = []
    for layer, alive in zip(net.layers, alive_elements(net), strict=True):
        own = [top for i, top in enumerate(layer.tops) if not shares_memory(layer, i)]
        weights = None if layer.unknown else width * sum(prod(p.shape) for p in layer.params)
        inputs = _bytes(dict.fromkeys(layer.bottoms), width)
        rows.append(LayerMemory(layer, inputs, _bytes(own, width), weights, width * alive))
    return tuple(rows)


def with_bytes(counts: Counts, width: int) -> Counts:
    """The counts at so many bytes per number; training and Caffe's own figure remain those of floats."""
    scaled = [name for name in _SCALED if name in Counts._fields]
    return counts._replace(**{name: getattr(counts, name) // FLOAT_BYTES * width for name in scaled})


def figures_with_bytes(figures: Mapping[str, Number], width: int) -> dict[str, Number]:
    """The figures of a net (`counts.FIGURES`) at so many bytes per number, in the same way."""
    return {
        name: value // FLOAT_BYTES * width if name in _SCALED else value for name, value in figures.items()
    }


def _bytes(blobs: Iterable[Blob], width: int) -> int | None:
    shapes = [blob.shape for blob in blobs]
    return None if None in shapes else width * sum(prod(s) for s in shapes if s is not None)
