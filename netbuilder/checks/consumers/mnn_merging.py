"""What MNN's converter makes no layer of, and which layers it makes one of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netbuilder.checks.consumers.base import types
from netbuilder.checks.consumers.conditions import some_top_unread
from netbuilder.checks.graph import Graph
from netbuilder.layers import RULES, is_source
from netbuilder.net import Blob, Layer
from netbuilder.schema import LayerParameter

if TYPE_CHECKING:
    from google.protobuf.message import Message

__all__ = ["MERGED", "computes_nothing", "is_merged", "is_read", "skipped"]

# Layers of which its converter makes nothing.
_NOTHING = types("Dropout", "Split")


def skipped(layer: Layer) -> bool:
    if layer.type == "Crop":
        return not layer.proto.crop_param.offset
    if layer.type == "Slice":
        return len(layer.tops) == 1
    return layer.type in _NOTHING or (layer.type == "Concat" and len(layer.bottoms) == 1)


def computes_nothing(layer: Layer, graph: Graph) -> bool:
    """Whether an input reaches an output of the net past layers of which the converter makes nothing."""
    if not skipped(layer) or not some_top_unread(layer, graph):
        return False
    while not is_source(layer.proto):
        if not skipped(layer) or not layer.bottoms:
            return False
        layer = layer.bottoms[0].layer
    return True


def is_read(layer: Layer, graph: Graph) -> bool:
    """Whether an unread top of a skipped layer is the same blob as one that a layer reads."""
    if not skipped(layer) or not some_top_unread(layer, graph):
        return False
    while skipped(layer):
        if not layer.bottoms:
            return False
        blob = layer.bottoms[0]
        layer = blob.layer
    same = [blob]
    for blob in same:  # grows
        for reader in graph.readers.get(blob, ()):
            if not skipped(reader):
                return True
            same += reader.tops
    return False


# Layers of which its converter makes one, if they are equal and read the same blob.
MERGED = types(
    "AbsVal", "BNLL", "Exp", "Flatten", "Log", "MVN", "Power", "ReLU", "Reduction", "Reshape", "Sigmoid",
    "TanH",
)  # fmt: skip


def _written_out(message: Message) -> tuple[str, ...]:
    """The fields of a message with their defaults, to compare it with another."""
    return tuple(str(getattr(message, field.name)) for field in message.DESCRIPTOR.fields)


def _expression(blob: Blob) -> object:
    """What its converter takes for the same blob: itself, or the layer that computes it and of what."""
    layer = blob.layer
    while skipped(layer):
        blob = layer.bottoms[0]
        layer = blob.layer
    if layer.type not in MERGED:
        return blob
    fields = [_written_out(getattr(layer.proto, name)) for name in RULES[layer.type].params]
    return layer.type, tuple(fields), _expression(layer.bottoms[0])


def _flattened(layer: Layer) -> object:
    """What it makes of the bottom of an InnerProduct."""
    flatten = LayerParameter()
    flatten.flatten_param.axis = layer.proto.inner_product_param.axis
    return "Flatten", (_written_out(flatten.flatten_param),), _expression(layer.bottoms[0])


def is_merged(layer: Layer, graph: Graph) -> bool:
    """Whether a layer whose top is an output of the net is merged with another."""
    if layer.type not in MERGED or not some_top_unread(layer, graph):
        return False
    (top,) = layer.tops
    own, twins = _expression(top), []
    for other in graph.layers:
        if other.type == "InnerProduct" and layer.type == "Flatten" and _flattened(other) == own:
            return True
        if other.type == layer.type and _expression(other.tops[0]) == own:
            twins.append(other)
    return bool(twins) and (twins[0] is not layer or any(t.tops[0] in graph.readers for t in twins))
