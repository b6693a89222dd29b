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
from netbuilder.measure.counts import FLOAT_BYTES, count
from netbuilder.measure.diff import diff
from netbuilder.measure.geometry import receptive_fields
from netbuilder.measure.memory import LayerMemory, memory, with_bytes
from netbuilder.net import Layer, Net
from netbuilder.prototxt.text_write import format_layer
from netbuilder.report.data import as_data
from netbuilder.report.table import kernel_text

__all__ = ["Drawn", "page", "page_data"]

_HERE = Path(__file__).parent
_TABLES = ("layers", "units", "blocks")


class Drawn(NamedTuple):
    """What one pane shows: the nets of a file or config by phase, and measured times by phase and layer.

    Memory is that of `width` bytes per number.
    """

    title: str
    nets: Mapping[str, Net]
    times: Mapping[str, Mapping[str, tuple[float, float]]] = {}
    width: int = FLOAT_BYTES


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
        "DATA": _for_script(_packed(page_data(drawn))),  # the last: it may hold the word of another part
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
            {
                "title": one.title,
                "phases": {p: _net(net, one.times.get(p), one.width) for p, net in one.nets.items()},
            }
            for one in drawn
        ],
    }
    if len(drawn) == 2:
        data["differences"] = _differences(*drawn)
    return data


def _packed(data: dict[str, Any]) -> dict[str, Any]:
    """The same with each value of a table stored once: the phases of a net share most of theirs.

    A table has the numbers of its values, by column; -1 where a row lacks one. `page.js` undoes it.
    """
    numbers: dict[str, int] = {}
    values: list[object] = []

    def number(value: object) -> int:
        text = json.dumps(value)
        if text not in numbers:
            numbers[text] = len(values)
            values.append(value)
        return numbers[text]

    def packed(rows: list[dict[str, Any]]) -> dict[str, list[int]]:
        keys = dict.fromkeys(key for row in rows for key in row)
        return {key: [number(row[key]) if key in row else -1 for row in rows] for key in keys}

    for net in data["nets"]:
        for phase in net["phases"].values():
            phase.update({name: packed(phase[name]) for name in _TABLES})
    return {**data, "values": values}


def _for_script(data: object) -> str:
    """JSON that ends no script element and begins no comment in it."""
    text = json.dumps(data, separators=(",", ":"))  # in ASCII, so U+2028 is escaped too
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _net(net: Net, times: Mapping[str, tuple[float, float]] | None, width: int) -> dict[str, Any]:
    root = structure(net)
    all_groups = list(groups(root))
    all_units = list(units(root))
    number = {layer: i for i, layer in enumerate(net)}
    # A unit is its number, a group the negative of its.
    refs = {unit: i for i, unit in enumerate(all_units)} | {g: -i for i, g in enumerate(all_groups)}
    used = memory(net, width)
    data = as_data(
        net, with_bytes(count(net), width), fields=receptive_fields(net),
        blocks=[Block(g.name, g.layers) for g in all_groups], memory=used,
    )  # fmt: skip
    data["bytes"] = width
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
            "memory": _most(used[number[layer]] for layer in group.layers),
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


def _most(rows: Iterable[LayerMemory]) -> dict[str, int | None]:
    """The memory of a block: what the layer that needs most of it works on, and most that is alive."""
    rows = tuple(rows)
    working = [row.working for row in rows if row.working is not None]
    return {"working_bytes": max(working, default=None), "alive_bytes": max(row.alive for row in rows)}


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
