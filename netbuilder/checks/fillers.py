"""Checks of fillers: unknown ones, those that abort after the net is built, those that give no numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from netbuilder.checks.finding import Finding, found
from netbuilder.checks.graph import Graph
from netbuilder.errors import did_you_mean
from netbuilder.layers import RULES
from netbuilder.layers.fillers import FILLERS, not_finite, undrawable
from netbuilder.net import Layer
from netbuilder.schema.dialects import ANY, DIALECTS
from netbuilder.schema.fields import has_field, is_repeated

if TYPE_CHECKING:
    from netbuilder.schema import FillerParameter

__all__ = ["CHECKS"]


def _data_fillers(graph: Graph) -> Iterator[Finding]:
    """DummyData draws in each forward pass, not when the net is built. Source: dummy_data_layer.cpp."""
    for layer in graph.layers:
        fillers = layer.proto.dummy_data_param.data_filler if layer.type == "DummyData" else ()
        for i, top in enumerate(layer.tops if fillers else ()):
            filler = fillers[i if len(fillers) > 1 else 0]
            if filler.type == "constant" or top.shape is None:
                continue
            reason = "the top is empty" if 0 in top.shape else undrawable(filler, top.shape)
            if reason:
                yield found(
                    "data-filler", layer, f"the data_filler of '{top.name}' cannot draw: {reason}",
                    "give it a range that it can draw from, and the top a size",
                )  # fmt: skip


def _unknown(graph: Graph) -> Iterator[Finding]:
    """Types that no Caffe of the file has; those of a data_filler are refused when the layer is read."""
    for layer in graph.layers:
        for name, filler in _fillers(layer):
            type = filler.type
            if type in FILLERS or name == "data_filler" or any(type in d.fillers for d in graph.dialects):
                continue
            owners = [d.name for d in DIALECTS.values() if d is not ANY and type in d.fillers]
            yield found(
                "field", layer, f"{name}: unknown filler type '{type}'",
                f"it is in {', '.join(owners)}" if owners else did_you_mean(type, FILLERS),
            )  # fmt: skip


def _finite(graph: Graph) -> Iterator[Finding]:
    for layer in graph.layers:
        for name, filler in _fillers(layer):
            value = not_finite(filler) if layer.params or not layer.bottoms else ""
            if value:
                yield found(
                    "filler-not-finite", layer,
                    f"{name} has {value}: the blob starts with values that are not numbers",
                    "give it a finite number",
                )  # fmt: skip


def _fillers(layer: Layer) -> Iterator[tuple[str, FillerParameter]]:
    """The fillers that a layer has in the file and uses, by the name of their field."""
    rule = RULES.get(layer.type)
    if rule is None or layer.proto.blobs:
        return
    for message in rule.params:
        p = getattr(layer.proto, message)
        for field, value in p.ListFields():
            if field.message_type is None or field.message_type.name != "FillerParameter":
                continue
            if field.name == "bias_filler" and has_field(p, "bias_term") and not p.bias_term:
                continue
            for filler in value if is_repeated(field) else [value]:
                yield field.name, filler


CHECKS: tuple[Callable[[Graph], Iterator[Finding]], ...] = (_data_fillers, _unknown, _finite)
