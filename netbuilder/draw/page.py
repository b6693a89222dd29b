"""The page of one net or two: everything that it shows as data, inside one HTML file that needs no network.

Names of a file reach the page as JSON and are shown as text, never as markup. The page's content security
policy allows its own script and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from netbuilder._version import __version__
from netbuilder.draw.layout import Inside, chip, inside_of, second_line, shortened
from netbuilder.draw.structure import Unit, groups, structure, units
from netbuilder.measure.blocks import Block
from netbuilder.measure.counts import count
from netbuilder.measure.diff import diff
from netbuilder.measure.geometry import receptive_fields
from netbuilder.net import Layer, Net
from netbuilder.prototxt.text_write import format_layer
from netbuilder.report.data import as_data
from netbuilder.report.table import kernel_text

__all__ = ["Drawn", "page", "page_data"]

_HERE = Path(__file__).parent


class Drawn(NamedTuple):
    """What one pane shows: the nets of a file or config by phase, and measured times by phase and layer."""

    title: str
    nets: Mapping[str, Net]
    times: Mapping[str, Mapping[str, tuple[float, float]]] = {}


def page(drawn: Sequence[Drawn]) -> str:
    """The HTML text for one net, or for two side by side."""
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    # The hash is of what stands between the tags, so nothing may be added there.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = (_HERE / "page.html").read_text(encoding="utf-8")
    parts = {
        "HASH": digest,
        "STYLE": (_HERE / "page.css").read_text(encoding="utf-8"),
        "SCRIPT": script,
        "DATA": _for_script(page_data(drawn)),  # the last: it may hold the word of another part
    }
    for name, part in parts.items():
        before, _, after = text.partition(f"@{name}@")
        text = before + part + after
    return text


def page_data(drawn: Sequence[Drawn]) -> dict[str, Any]:
    """What the page shows."""
    data: dict[str, Any] = {
        "version": __version__,
        "nets": [
            {"title": one.title, "phases": {p: _net(net, one.times.get(p)) for p, net in one.nets.items()}}
            for one in drawn
        ],
    }
    if len(drawn) == 2:
        data["differences"] = _differences(*drawn)
    return data


def _for_script(data: object) -> str:
    """JSON that ends no script element and begins no comment in it."""
    text = json.dumps(data, separators=(",", ":"))  # in ASCII, so U+2028 is escaped too
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _net(net: Net, times: Mapping[str, tuple[float, float]] | None) -> dict[str, Any]:
    root = structure(net)
    all_groups = list(groups(root))
    all_units = list(units(root))
    number = {layer: i for i, layer in enumerate(net)}
    # A unit is its number, a group the negative of its.
    refs = {unit: i for i, unit in enumerate(all_units)} | {g: -i for i, g in enumerate(all_groups)}
    counted = count(net)
    data = as_data(
        net, counted, fields=receptive_fields(net), blocks=[Block(g.name, g.layers) for g in all_groups]
    )
    for row, layer in zip(data["layers"], net, strict=True):
        row |= {"words": kernel_text(layer), "prototxt": format_layer(layer.proto), **_where(layer)}
        if times is not None:
            row["forward_ms"], row["backward_ms"] = times.get(layer.name, (None, None))
    places = inside_of(root)
    for row, group in zip(data["blocks"], all_groups, strict=True):
        row["layers"] = len(group.layers)
        row |= {
            "kind": group.kind,
            "label": shortened(group.name),
            "under": second_line(group),
            "children": [refs[child] for child in group.children],
            "inside": _inside(places[group]),
        }
        if times is not None:
            row["forward_ms"], row["backward_ms"] = _time_of(group.layers, times)
    data["units"] = [_unit(unit, number) for unit in all_units]
    return data


def _unit(unit: Unit, number: Mapping[Layer, int]) -> dict[str, Any]:
    return {
        "layers": [number[layer] for layer in unit.layers],
        "label": shortened(unit.name),
        "under": second_line(unit),
        "chips": [chip(layer) for layer in unit.layers[1:]],
    }


def _where(layer: Layer) -> dict[str, Any]:
    """The line of a file; for a net built in Python also whose line it is, and the legos around it."""
    origin = layer.origin
    if not origin.scope:
        return {"line": origin.line} if origin.line else {}
    return {"from": f"{Path(origin.file).name}:{origin.line}", "scope": "/".join(origin.scope)}


def _time_of(
    layers: Iterable[Layer], times: Mapping[str, tuple[float, float]]
) -> tuple[float | None, float | None]:
    known = [times[layer.name] for layer in layers if layer.name in times]
    return (sum(f for f, _ in known), sum(b for _, b in known)) if known else (None, None)


def _inside(inside: Inside) -> dict[str, Any]:
    return {
        "size": inside.size,
        "boxes": inside.boxes,
        "ports": [shortened(name) for name in inside.ports],
        "edges": [
            [edge.tail, edge.head, edge.shape, [n for point in edge.points for n in point]]
            for edge in inside.edges
        ],
    }


def _differences(first: Drawn, second: Drawn) -> dict[str, Any]:
    """By phase, how the layers of each net differ: their names with a word for it."""
    found = {}
    for phase in (phase for phase in first.nets if phase in second.nets):
        d = diff(first.nets[phase], second.nets[phase])
        changed = {c.layer: "changed" for c in d.changed}
        found[phase] = {
            "marks": [
                {**changed, **dict.fromkeys(d.removed, "removed"), **{a: "renamed" for a, _ in d.renamed}},
                {**changed, **dict.fromkeys(d.added, "added"), **{b: "renamed" for _, b in d.renamed}},
            ],
            "renamed": [list(pair) for pair in d.renamed],
            "changes": {
                c.layer: {name: getattr(c, name) for name in ("fields", "bottoms") if getattr(c, name)}
                for c in d.changed
            },
            "same": d.same,
            "weights_fit": d.weights_fit,
        }
    return found
