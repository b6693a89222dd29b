"""What a net could do besides computing: write files outside its folder, and run code that it names."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from netbuilder.checks.finding import Finding, found
from netbuilder.checks.graph import Graph
from netbuilder.layers import RULES
from netbuilder.layers.traits import known
from netbuilder.net import Layer
from netbuilder.storage.files import is_outside

__all__ = ["CHECKS", "code_of", "written", "written_outside"]


def written(layer: Layer) -> list[str]:
    """The files that a layer writes."""
    rule = RULES.get(layer.type)
    writes = known(rule.traits.writes, None) if rule else None
    return [name for name in (writes(layer.proto) if writes else ()) if name]


def written_outside(layer: Layer, file: str) -> list[str]:
    """The files outside the folder of its net, `file`, that a layer writes."""
    return [name for name in written(layer) if is_outside(name, file)]


def code_of(layer: Layer) -> str:
    """The code that a layer names and runs, "" if none."""
    rule = RULES.get(layer.type)
    code = known(rule.traits.code, None) if rule else None
    return code(layer.proto) if code else ""


def _writes(graph: Graph) -> Iterator[Finding]:
    for layer in graph.net:
        for name in written_outside(layer, layer.origin.file):
            yield found(
                "writes-outside", layer, f"it writes '{name}', outside the folder of the net",
                "give a name in this folder; `train`, `test`, `time` and `run` refuse others without --trust",
            )  # fmt: skip


def _code(graph: Graph) -> Iterator[Finding]:
    for layer in graph.net:
        if code := code_of(layer):
            yield found(
                "runs-code", layer, f"running it imports {code} and runs it, with all rights of the user",
                "read that code first; `train`, `test`, `time` and `run` refuse it without --trust",
            )  # fmt: skip


CHECKS: tuple[Callable[[Graph], Iterator[Finding]], ...] = (_writes, _code)
