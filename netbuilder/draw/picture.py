"""A net as SVG, PNG or PDF, for a paper or a README: Graphviz draws the boxes, open blocks as frames."""

from __future__ import annotations

from collections.abc import Iterator

from netbuilder.draw.layout import chip, graphviz, quiet, second_line, shortened, sizes_only
from netbuilder.draw.structure import Group, Node, Unit, structure, units
from netbuilder.errors import ConfigError
from netbuilder.measure.counts import Counts, LayerCounts, count
from netbuilder.net import Layer, Net

__all__ = ["picture"]

_GLANCE = 40  # boxes
_MOST = 600  # boxes that Graphviz lays out in a minute
_STYLE = """
graph [fontname="Helvetica", fontsize=11, labeljust=l, nodesep=0.2, ranksep=0.3, color="#c3cad2"];
node [fontname="Helvetica", fontsize=10, shape=box, style="rounded,filled", color="#7d8792"];
edge [fontname="Helvetica", fontsize=8, color="#7d8792", fontcolor="#57606a", arrowsize=0.6];
"""
_FAINT = 'weight=0, style=dashed, color="#d0d7de"'  # of a blob that is read for its size alone


def picture(net: Net, kind: str, depth: int | None = None) -> bytes:
    """The net with `depth` levels of blocks open, by default as many as can be read at a glance."""
    root = structure(net)
    if depth is None:
        depth = 0
        while _boxes(root, depth) < _boxes(root, depth + 1) <= _GLANCE:
            depth += 1
    elif (boxes := _boxes(root, depth)) > _MOST:
        raise ConfigError(
            f"a picture of {net.name} at depth {depth} has {boxes:,} boxes, more than the {_MOST} that "
            "can be laid out",
            hint="give a smaller --depth, or draw a page (.html), which opens block by block",
        )
    text = "digraph {\n" + _STYLE + "\n".join(_lines(net, root, depth)) + "\n}\n"
    with quiet():
        made: bytes = graphviz().AGraph(string=text).draw(format=kind, prog="dot")
    return made


def _boxes(node: Node, depth: int) -> int:
    if isinstance(node, Unit) or depth < 0:
        return 1
    return sum(_boxes(child, depth - 1) for child in node.children)


def _lines(net: Net, root: Group, depth: int) -> Iterator[str]:
    counted = count(net)
    by_layer = {row.layer: row for row in counted.layers}
    box_of: dict[Layer, int] = {}
    numbers = iter(range(len(net) * 2))

    def lines(node: Node, level: int) -> Iterator[str]:
        number = next(numbers)
        if isinstance(node, Unit) or level < 0:
            rows = [by_layer[layer] for unit in units(node) for layer in unit.layers]
            box_of.update((row.layer, number) for row in rows)
            yield f"n{number} [{_box(node, rows, counted)}];"
            return
        yield f"subgraph cluster_{number} {{ label={_quoted(shortened(node.name))};"
        for child in node.children:
            yield from lines(child, level - 1)
        yield "}"

    for child in root.children:
        yield from lines(child, depth - 1)
    seen = set()
    for layer in net:
        for i, blob in enumerate(layer.bottoms):
            line = (box_of[blob.layer], box_of[layer])
            if line[0] != line[1] and line not in seen:
                seen.add(line)
                if i in sizes_only(layer):
                    yield f"n{line[0]} -> n{line[1]} [{_FAINT}];"
                    continue
                shape = "?" if blob.shape is None else "×".join(map(str, blob.shape))
                yield f"n{line[0]} -> n{line[1]} [label={_quoted(' ' + shape)}];"


def _box(node: Node, rows: list[LayerCounts], counted: Counts) -> str:
    words = [shortened(node.name), second_line(node)]
    if isinstance(node, Unit) and len(node.layers) > 1:
        words.append(" + ".join(chip(layer) for layer in node.layers[1:]))
    part = sum(row.macs for row in rows) / counted.macs if counted.macs else 0
    if part >= 0.0005:
        words.append(f"{part:.1%} of MACs")
    width = ", penwidth=2" if isinstance(node, Group) else ""
    return f"label={_quoted(chr(10).join(words))}, fillcolor={_quoted(_colour(part))}{width}"


def _colour(part: float) -> str:
    """From white to blue, as on the page."""
    depth = 0.75 * part**0.5
    return "#" + "".join(f"{round(255 - depth * (255 - x)):02x}" for x in (20, 110, 200))


def _quoted(text: str) -> str:
    """A string of Graphviz, in which nothing has a meaning but the ends of lines."""
    plain = "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;").replace("\n", "\\n")
    return f'"{escaped}"'
