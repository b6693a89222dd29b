"""Where the boxes of a net stand: Graphviz lays out the inside of each group by itself.

The page opens a group in place: it stretches the layout around the group, and needs no Graphviz. So the time
grows with the number of groups, and not with the square of the number of layers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from netbuilder.draw.structure import Group, Node, Unit, groups, units
from netbuilder.errors import ConfigError
from netbuilder.layers import RULES
from netbuilder.layers.traits import Unknown
from netbuilder.net import Blob, Layer
from netbuilder.report.table import kernel_text

__all__ = [
    "Edge",
    "Inside",
    "chip",
    "graphviz",
    "inside_of",
    "quiet",
    "second_line",
    "shortened",
    "sizes_only",
]

_PIXELS = 72  # Graphviz gives inches
_LETTER = 7.3  # the width of a bold letter in the page's 12 pixel type
_SMALL = 5.9
_LONGEST = 34  # letters of a name in a box


@dataclass
class Edge:
    """A line between two boxes of a group, by their numbers; `points` are those of a Bezier curve.

    A `shape` of "" is of a blob that is read for its size alone: such a line is faint, and moves no box.
    """

    tail: int
    head: int
    blob: str
    shape: str
    points: list[tuple[float, float]] = field(default_factory=list)


@dataclass
class Inside:
    """The inside of a group: boxes are (x, y, width, height) of the children, then of the ports.

    A port is a blob that comes from outside or goes there. x and y are a box's centre, y grows downwards.
    """

    size: tuple[float, float]
    boxes: list[tuple[float, float, float, float]]
    ports: list[str]
    edges: list[Edge]


def graphviz() -> Any:
    """The module pygraphviz; raises ConfigError if it is missing."""
    try:
        import pygraphviz
    except ImportError as error:
        raise ConfigError(
            f"nets are laid out by Graphviz, and pygraphviz cannot be imported ({error})",
            hint="pip install 'pygraphviz>=2', which brings Graphviz along; --tree needs neither",
        ) from None
    return pygraphviz


def inside_of(root: Group) -> dict[Group, Inside]:
    """The layout of each group of a tree. Raises ConfigError without Graphviz."""
    graphviz()
    lines = _lines(root)
    return {group: _laid_out(group, *lines[group]) for group in groups(root)}


def _shape(blob: Blob) -> str:
    return "?" if blob.shape is None else "×".join(map(str, blob.shape)) or "scalar"


@contextmanager
def quiet() -> Iterator[None]:
    """Without what Graphviz and its fonts write to stderr: warnings that concern no net."""
    sys.stderr.flush()
    kept = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


# ---- lines -----------------------------------------------------------------------------------------------


def _lines(root: Group) -> dict[Group, tuple[list[str], set[int], list[Edge]]]:
    """The ports of each group, those that go out, and its lines."""
    path_of, unit_of = _paths(root)
    found: dict[Group, tuple[dict[tuple[str, bool], int], list[Edge]]] = {g: ({}, []) for g in groups(root)}
    seen: set[tuple[Group, int, int, str]] = set()

    def add(group: Group, tail: int | None, head: int | None, blob: Blob, shape: str) -> None:
        ports, edges = found[group]
        if tail is None:
            tail = ports.setdefault((blob.name, False), len(group.children) + len(ports))
        if head is None:
            head = ports.setdefault((blob.name, True), len(group.children) + len(ports))
        if (group, tail, head, shape) not in seen:
            seen.add((group, tail, head, shape))
            edges.append(Edge(tail, head, blob.name, shape))

    for unit in units(root):
        for layer, i, blob in ((x, i, blob) for x in unit.layers for i, blob in enumerate(x.bottoms)):
            shape = "" if i in sizes_only(layer) else _shape(blob)
            source = unit_of[blob.layer]
            if source is unit:
                continue
            here, there = path_of[unit], path_of[source]
            same = 0
            while here[same] == there[same]:
                same += 1
            add(here[same][0], there[same][1], here[same][1], blob, shape)
            for group, child in there[same + 1 :]:
                add(group, child, None, blob, shape)
            for group, child in here[same + 1 :]:
                add(group, None, child, blob, shape)
    return {
        group: ([name for name, _ in ports], {n for (_, out), n in ports.items() if out}, edges)
        for group, (ports, edges) in found.items()
    }


def sizes_only(layer: Layer) -> tuple[int, ...]:
    """The bottoms of which a layer reads the shape alone, as PriorBox does of the image."""
    rule = RULES.get(layer.type)
    found = rule.traits.sizes_only if rule else ()
    return () if isinstance(found, Unknown) else found


def _paths(root: Group) -> tuple[dict[Unit, list[tuple[Group, int]]], dict[Layer, Unit]]:
    """The way to each unit: the groups around it, and which child of each holds it."""
    paths: dict[Unit, list[tuple[Group, int]]] = {}
    waiting: list[tuple[Node, list[tuple[Group, int]]]] = [(root, [])]
    while waiting:
        node, path = waiting.pop()
        if isinstance(node, Unit):
            paths[node] = path
        else:
            waiting += ((child, [*path, (node, i)]) for i, child in enumerate(node.children))
    return paths, {layer: unit for unit in paths for layer in unit.layers}


# ---- boxes -----------------------------------------------------------------------------------------------


def shortened(name: str, longest: int = _LONGEST) -> str:
    """A name cut in its middle, where it is too long."""
    if len(name) <= longest:
        return name
    end = longest * 3 // 5
    return f"{name[: longest - end - 1]}…{name[-end:]}"


def chip(layer: Layer) -> str:
    """How a box calls a layer that works in place."""
    return shortened(layer.type, 12)


def second_line(node: Node) -> str:
    """What a box says under the name."""
    if isinstance(node, Group):
        count = len(node.layers)
        return f"{node.kind + ', ' if node.kind else ''}{count} layers"
    layer = node.layers[0]
    words = [_outputs(layer), kernel_text(layer)]
    return f"{shortened(layer.type, 24)} {', '.join(filter(None, words))}".rstrip()


def _outputs(layer: Layer) -> str:
    """The number of channels that a layer with weights makes."""
    if not layer.params or layer.params[0].role != "weight" or not layer.tops:
        return ""
    shape = layer.tops[0].shape
    return str(shape[1]) if shape and len(shape) > 1 else ""


def _size(node: Node) -> tuple[int, int]:
    texts = [len(shortened(node.name)) * _LETTER, len(second_line(node)) * _SMALL + 44]
    if isinstance(node, Unit) and len(node.layers) > 1:
        texts.append(sum(len(chip(layer)) * _SMALL + 12 for layer in node.layers[1:]))
        return int(max(80, *texts)) + 18, 56
    return int(max(80, *texts)) + 18, 40


def _laid_out(group: Group, ports: list[str], going: set[int], edges: list[Edge]) -> Inside:
    sizes = [_size(child) for child in group.children]
    sizes += [(int(len(shortened(name)) * _SMALL) + 12, 16) for name in ports]
    # All lines leave a box below its middle and arrive above it, where they still are when the box grows.
    text = ["edge [tailport=s, headport=n];"]
    text += ['graph [nodesep=0.28, ranksep=0.42, margin=0]; node [shape=box, fixedsize=true, label=""];']
    text += (f"n{i} [width={w / _PIXELS:.3f}, height={h / _PIXELS:.3f}];" for i, (w, h) in enumerate(sizes))
    for rank, wanted in (("source", False), ("sink", True)):
        names = [f"n{i};" for i in range(len(group.children), len(sizes)) if (i in going) is wanted]
        text.append(f"{{ rank={rank}; {' '.join(names)} }}" if names else "")
    faint: dict[tuple[int, int], bool] = {}
    for edge in edges:
        faint[edge.tail, edge.head] = not edge.shape and faint.get((edge.tail, edge.head), True)
    text += (f"n{tail} -> n{head}{' [weight=0]' * light};" for (tail, head), light in faint.items())
    size, places, curves = _dot("digraph { " + " ".join(text) + " }")
    boxes = [(*places[i], float(w), float(h)) for i, (w, h) in enumerate(sizes)]
    for edge in edges:
        edge.points = curves[edge.tail, edge.head]
    return Inside(size, boxes, ports, edges)


_Place = tuple[float, float]


@cache
def _dot(text: str) -> tuple[_Place, dict[int, _Place], dict[tuple[int, int], list[_Place]]]:
    """The size of a graph, the centres of its nodes and the curves of its edges, laid out by dot.

    Blocks that look alike have the same text, and are laid out once.
    """
    pygraphviz = graphviz()
    with quiet():
        plain = pygraphviz.AGraph(string=text).draw(format="plain", prog="dot").decode()
    size, places, curves = (0.0, 0.0), {}, {}
    for words in (line.split(" ") for line in plain.splitlines()):
        if words[0] == "graph":
            size = (float(words[2]) * _PIXELS, float(words[3]) * _PIXELS)
        elif words[0] == "node":
            places[int(words[1][1:])] = _place(words[2], words[3], size[1])
        elif words[0] == "edge":
            numbers = words[4 : 4 + 2 * int(words[3])]
            curves[int(words[1][1:]), int(words[2][1:])] = [
                _place(x, y, size[1]) for x, y in zip(numbers[::2], numbers[1::2], strict=True)
            ]
    return size, places, curves


def _place(x: str, y: str, height: float) -> _Place:
    return round(float(x) * _PIXELS, 1), round(height - float(y) * _PIXELS, 1)
