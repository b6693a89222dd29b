"""The picture of a front: labels apart and inside, and a reference that squeezes nothing."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace
from typing import Any

import pytest

from netbuilder.designing.drawing import front_picture
from netbuilder.designing.expressions import objective
from netbuilder.report.canvas import Canvas, text_width

SVG = "{http://www.w3.org/2000/svg}"
BLUE, GREY = "#0072b2", "#b8b8b8"
Point = tuple[float, float]


def outcome(front: list[Point], reference: Point, cloud: list[Point] = [], objectives: int = 2) -> Any:  # noqa: B006
    """An outcome with these values of macs and learnable_params, as far as a picture needs one."""
    drawn = objective("minimise macs"), objective("maximise learnable_params")

    def figures(point: Point) -> dict[str, float]:
        return {"macs": point[0], "learnable_params": point[1]}

    loaded = SimpleNamespace(entry=SimpleNamespace(name="resnet"), config=SimpleNamespace(title="ref"))
    sweep = SimpleNamespace(drawn=drawn, objectives=drawn[:objectives], constraints=(), loaded=loaded)
    return SimpleNamespace(
        sweep=sweep,
        front=[SimpleNamespace(figures=figures(point), config=point) for point in front],
        accuracy=lambda config: SimpleNamespace(top1=76.13) if config == (3e9, 9.5e6) else None,
        reference=figures(reference),
        tally=SimpleNamespace(cloud=cloud, kept=5, counted=9),
    )


def nodes(canvas: Canvas, kind: str) -> list[dict[str, str]]:
    found = ElementTree.fromstring(canvas.svg()).iter(f"{SVG}{kind}")
    return [{**node.attrib, "text": node.text or ""} for node in found]


def circles(canvas: Canvas, colour: str) -> list[Point]:
    """The points of a colour in the picture, without that of the legend."""
    return [(float(c["cx"]), float(c["cy"])) for c in nodes(canvas, "circle") if c["fill"] == colour][1:]


def frame(canvas: Canvas) -> tuple[float, float, float, float]:
    (border,) = [line["points"] for line in nodes(canvas, "polyline") if line["stroke"] == "#888888"]
    xs, ys = zip(*((float(n) for n in pair.split(",")) for pair in border.split()), strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def labels(canvas: Canvas) -> list[tuple[float, float, float, float]]:
    """The boxes of the labels, which are the only texts of their size."""
    found = []
    for text in nodes(canvas, "text"):
        if text["font-size"] == "11":
            assert text["text-anchor"] == "start"
            x, y = float(text["x"]), float(text["y"])
            found.append((x, y - 9, x + text_width(text["text"], 11), y + 2))
    return found


FRONTS: dict[str, list[Point]] = {
    "even": [(1e6 * i, 1e5 * i) for i in range(1, 30)],
    "dense": [(1e6 + i, 1e5 + i) for i in range(200)],
    "one": [(5e6, 3e5)],
    "two at an end": [(1e6, 1e5), (1.001e6, 1.01e5), (9e6, 9e5)],
    "flat": [(1e6, 7.0), (2e6, 7.0)],
}


@pytest.mark.parametrize("front", FRONTS.values(), ids=FRONTS)
@pytest.mark.parametrize("far", [1.0, 1e6, -1e6])
def test_labels_do_not_overlap_and_stay_inside(front: list[Point], far: float) -> None:
    canvas = front_picture(outcome(front, (front[0][0] * far, front[-1][1] * far)))
    left, top, right, bottom = frame(canvas)
    boxes = labels(canvas)
    assert boxes
    assert all(left < b[0] and b[2] < right and top < b[1] and b[3] < bottom for b in boxes)
    for a, b in itertools.combinations(boxes, 2):
        assert a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]
    for x, y in circles(canvas, BLUE):  # no net is under a label
        assert not any(a < x < c and b < y < d for a, b, c, d in boxes)


def test_labels_are_values_and_those_of_all_nets_if_there_is_room() -> None:
    canvas = front_picture(outcome([(1.5e9, 4e6), (3e9, 9.5e6)], (2e9, 5e6)))
    texts = {text["text"] for text in nodes(canvas, "text")}
    assert {"1.50 G, 4.00 M", "3.00 G, 9.50 M, top-1 76.13 %"} <= texts  # the second has a published one
    assert not {"1", "2"} & texts  # ranks
    named = front_picture(outcome([(1.5e9, 4e6)], (2e9, 5e6)), lambda chosen: "top-1 76.1 %")
    assert "top-1 76.1 %" in {text["text"] for text in nodes(named, "text")}


@pytest.mark.parametrize(
    ("reference", "edge"),
    [
        ((1e12, 5e5), "right"),
        ((1.0, 5e5), "left"),
        ((5e6, 1e12), "top"),
        ((5e6, 1.0), "bottom"),
        ((1e12, 1e12), "corner"),
    ],
)
def test_a_far_reference_squeezes_nothing_and_is_at_the_edge_with_its_values(
    reference: Point, edge: str
) -> None:
    front = [(5e6 + 1e5 * i, 5e5 + 1e4 * i) for i in range(5)]
    canvas = front_picture(outcome(front, reference))
    near = front_picture(outcome(front, front[2]))
    assert circles(canvas, BLUE) == circles(near, BLUE)
    left, top, right, bottom = frame(canvas)
    red = [shape["points"] for shape in nodes(canvas, "polygon") if shape["fill"] == "#d55e00"][1:]
    points = [tuple(map(float, pair.split(","))) for shape in red for pair in shape.split()]
    assert len(red) == 2  # the star and the head of its arrow
    assert all(left < x < right and top < y < bottom for x, y in points)
    nearest = {
        "left": min(x for x, _ in points) - left,
        "right": right - max(x for x, _ in points),
        "top": min(y for _, y in points) - top,
        "bottom": bottom - max(y for _, y in points),
    }
    for side in ("right", "top") if edge == "corner" else (edge,):
        assert nearest[side] < 8
    text = ", ".join(
        "1.00 T" if n == 1e12 else "1" if n == 1 else "5.00 M" if n == 5e6 else "500 k" for n in reference
    )
    assert text in {node["text"] for node in nodes(canvas, "text")}


def test_the_front_fills_half_of_each_axis_whatever_the_others_are() -> None:
    front = [(5e6 + 1e5 * i, 5e5 + 1e4 * i) for i in range(5)]
    cloud = [(5e6 * 2.0**i, 5e5 * 2.0**-i) for i in range(12)]
    canvas = front_picture(outcome(front, (9e6, 1e5), cloud))
    left, top, right, bottom = frame(canvas)
    blue = circles(canvas, BLUE)
    assert max(x for x, _ in blue) - min(x for x, _ in blue) > 0.44 * (right - left)
    assert max(y for _, y in blue) - min(y for _, y in blue) > 0.44 * (bottom - top)
    assert all(left <= x <= right and top <= y <= bottom for x, y in circles(canvas, GREY))


def test_only_two_objectives_are_joined_by_steps() -> None:
    front = [(1e6, 1e5), (2e6, 3e5), (4e6, 4e5)]

    def steps(objectives: int) -> list[str]:
        canvas = front_picture(outcome(front, front[0], objectives=objectives))
        return [line["points"] for line in nodes(canvas, "polyline") if line["stroke"] == BLUE]

    (line,) = steps(2)
    corners = [tuple(map(float, pair.split(","))) for pair in line.split()]
    for (x0, y0), (x1, y1) in itertools.pairwise(corners):
        assert x0 == x1 or y0 == y1
    assert corners[1][1] == corners[0][1]  # the least macs hold their params until the next net
    assert not steps(1)
