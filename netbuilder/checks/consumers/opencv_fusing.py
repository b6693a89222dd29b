"""Layers that OpenCV merges with their only reader, and what it then computes otherwise than Caffe."""

from __future__ import annotations

from netbuilder.checks.consumers.base import CONVOLUTIONS, types
from netbuilder.checks.consumers.conditions import covered, nearly_one, shape, window
from netbuilder.checks.graph import Graph
from netbuilder.layers import elements
from netbuilder.net import Layer

__all__ = ["fused_groups", "fused_mvn", "fused_rows", "fused_scale", "fused_silence", "fused_statistics"]

# What it multiplies into the filters of a convolution, and what it skips on the way there.
_FUSED = types("BatchNorm", "Dropout", "Scale")


def fused_rows(layer: Layer, graph: Graph) -> bool:
    """Whether the only reader is per channel and becomes part of this layer, of other channels."""
    readers, known = graph.readers.get(layer.tops[0], []), layer.tops[0].shape
    if known is None or len(readers) != 1 or readers[0].type not in ("BatchNorm", "PReLU"):
        return False
    return len(known) > 2 if layer.type == "InnerProduct" else len(known) < 4 and known[1:2] != (1,)


def fused_groups(layer: Layer, graph: Graph) -> bool:
    """Whether a factor per channel is multiplied into the wrong filters of a Deconvolution in groups.

    OpenCV takes each input to reach each output, which is the same for one filter of a point per group.
    """
    p, found = layer.proto.convolution_param, window(layer)
    point = found is not None and set(found[0].kernel) == {1}
    if p.group == 1 or (point and p.num_output == p.group):
        return False
    while layer.tops and len(readers := graph.readers.get(layer.tops[0], [])) == 1:
        (layer,) = readers
        if layer.type not in _FUSED or len(layer.bottoms) != 1:
            return False
        if layer.type == "BatchNorm" or (layer.type == "Scale" and elements(covered(layer) or (2,)) != 1):
            return True
    return False


def fused_statistics(layer: Layer, graph: Graph) -> bool:
    """Whether a BatchNorm before takes the factor for one per channel, since it has as many numbers."""
    known, factor = shape(layer), covered(layer)
    if known is None or factor is None or not known[1:] or elements(factor) != known[1] or known[1] == 1:
        return False
    while layer.type in ("BatchNorm", "Scale") and len(graph.readers[layer.bottoms[0]]) == 1:
        layer = layer.bottoms[0].layer
        if layer.type == "BatchNorm":
            return True
    return False


def fused_silence(layer: Layer, graph: Graph) -> bool:
    """Whether a Silence of several bottoms is all that reads it, and becomes part of it."""
    readers = graph.readers.get(layer.tops[0], []) if len(layer.tops) == 1 else []
    return len(readers) == 1 and readers[0].type == "Silence" and len(readers[0].bottoms) > 1


def fused_scale(layer: Layer, graph: Graph) -> bool:
    """Whether the factor is multiplied into the filters of a convolution before it."""
    while layer.type in _FUSED and len(layer.bottoms) == 1 and len(graph.readers[layer.bottoms[0]]) == 1:
        layer = layer.bottoms[0].layer
    return layer.type in CONVOLUTIONS


def fused_mvn(layer: Layer, graph: Graph) -> bool:
    """Whether it makes one layer of an MVN and its only reader, and fails to."""
    readers = graph.readers.get(layer.tops[0], [])
    if len(readers) != 1:
        return False
    (reader,) = readers
    known = shape(layer)
    if reader.type == "Power":
        return nearly_one(reader.proto.power_param.power) and (known is None or known[1:2] != (1,))
    return reader.type == "BatchNorm" and not layer.proto.mvn_param.normalize_variance
