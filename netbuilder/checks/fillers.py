"""Checks of fillers: those that abort after the net is built, and those that give no numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from netbuilder.checks.finding import Finding, found
from netbuilder.checks.graph import Graph
from netbuilder.layers import RULES
from netbuilder.layers.fillers import FILLERS, not_finite, undrawable
from netbuilder.net import Layer
from netbuilder.schema.fields import is_repeated

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


def _finite(graph: Graph) -> Iterator[Finding]:
    for layer in graph.layers:
        for name, filler in _fillers(layer):
            if value := not_finite(filler):
                yield found(
                    "filler-not-finite", layer,
                    f"{name} has {value}: the blob starts with values that are not numbers",
                    "give it a finite number",
                )  # fmt: skip


def _fillers(layer: Layer) -> Iterator[tuple[str, FillerParameter]]:
    """The fillers that a layer has in the file, by the name of their field."""
    rule = RULES.get(layer.type)
    if rule is None or not (layer.params or not layer.bottoms) or layer.proto.blobs:
        return
    for message in rule.params:
        for field, value in getattr(layer.proto, message).ListFields():
            if field.message_type is not None and field.message_type.name == "FillerParameter":
                for filler in value if is_repeated(field) else [value]:
                    if filler.type in FILLERS:
                        yield field.name, filler


CHECKS: tuple[Callable[[Graph], Iterator[Finding]], ...] = (_data_fillers, _finite)
