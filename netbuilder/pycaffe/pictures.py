"""A picture of a graph without Graphviz: nodes in rows by their distance from the inputs, drawn by Pillow."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netbuilder.pycaffe.draw import Graph

__all__ = ["FORMATS", "picture"]

FORMATS = ("png", "gif", "bmp", "jpg", "jpeg", "pdf")
_GAP, _MARGIN, _PADDING = 24, 12, 6  # pixels
_HORIZONTAL = ("LR", "RL")


def picture(graph: Graph, format: str) -> bytes:
    """The graph in one of FORMATS. Raises ImportError without Pillow."""
    from PIL import Image, ImageDraw

    ruler = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    sizes = {}
    for name, attributes in graph.nodes.items():
        left, top, right, bottom = ruler.multiline_textbbox((0, 0), attributes["label"])
        sizes[name] = (int(right - left) + 2 * _PADDING, int(bottom - top) + 2 * _PADDING)
    boxes, whole = _boxes(_rows(graph), sizes, graph.rankdir)
    image = Image.new("RGB", whole, "white")
    draw = ImageDraw.Draw(image)
    for tail, head, label in graph.edges:
        _edge(draw, boxes[tail], boxes[head], label)
    for name, (left, top, right, bottom) in boxes.items():
        attributes = graph.nodes[name]
        draw.rectangle((left, top, right, bottom), fill=attributes["fillcolor"], outline="black")
        draw.multiline_text((left + _PADDING, top + _PADDING), attributes["label"], fill="black")
    stream = io.BytesIO()
    image.save(stream, {"jpg": "jpeg"}.get(format, format))
    return stream.getvalue()


def _rows(graph: Graph) -> list[list[str]]:
    """The nodes by the length of the longest way to them. A layer in place is beside its blob."""
    rank = dict.fromkeys(graph.nodes, 0)
    there = {(tail, head) for tail, head, _ in graph.edges}
    for tail, head, _ in graph.edges:  # in the order of the layers
        step = 0 if (head, tail) in there else 1
        rank[head] = max(rank[head], rank[tail] + step)
    rows: list[list[str]] = [[] for _ in range(max(rank.values(), default=0) + 1)]
    for name, number in rank.items():
        rows[number].append(name)
    return rows


def _boxes(
    rows: Sequence[Sequence[str]], sizes: dict[str, tuple[int, int]], rankdir: str
) -> tuple[dict[str, tuple[int, int, int, int]], tuple[int, int]]:
    """The place of each node, and the size of the picture."""
    along = 0 if rankdir in _HORIZONTAL else 1  # the axis in which the rows follow one another
    ordered = rows[::-1] if rankdir in ("RL", "BT") else rows
    boxes, at, widest = {}, _MARGIN, 0
    for row in ordered:
        across, thickest = _MARGIN, 0
        for name in row:
            size = sizes[name]
            corner = (at, across) if along == 0 else (across, at)
            boxes[name] = (*corner, corner[0] + size[0], corner[1] + size[1])
            across += size[1 - along] + _GAP
            thickest = max(thickest, size[along])
        at += thickest + _GAP if row else 0
        widest = max(widest, across)
    whole = at - _GAP + _MARGIN, widest - _GAP + _MARGIN
    return boxes, (max(1, whole[along]), max(1, whole[1 - along]))


def _edge(draw: Any, tail: tuple[int, int, int, int], head: tuple[int, int, int, int], label: str) -> None:
    """A line between the middles of two boxes, which are drawn over it, with a dot at the head's side."""
    (x0, y0), (x1, y1) = (((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box in (tail, head))
    draw.line((x0, y0, x1, y1), fill="black")
    x, y = _rim(x0, y0, head)
    draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill="black")
    if label:
        draw.text(((x0 + x1) / 2, (y0 + y1) / 2), label, fill="black")


def _rim(x0: float, y0: float, box: tuple[int, int, int, int]) -> tuple[float, float]:
    """Where the line from a point to the middle of a box meets the rim of the box."""
    x1, y1 = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    dx, dy = x0 - x1, y0 - y1
    if not dx and not dy:
        return x1, y1
    part = min(
        (box[2] - box[0]) / 2 / abs(dx) if dx else float("inf"),
        (box[3] - box[1]) / 2 / abs(dy) if dy else float("inf"),
    )
    return x1 + dx * min(1.0, part), y1 + dy * min(1.0, part)
