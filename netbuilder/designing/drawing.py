"""The front of a sweep as a picture: its nets with their values, the other candidates, and the reference.

The front fills at least half of each axis. What is further away than that leaves room for is marked at the
edge, with its values if it is the reference.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from netbuilder.designing.expressions import Number
from netbuilder.designing.outcome import Chosen, Outcome
from netbuilder.networks import NetConfig
from netbuilder.report.axes import Axis
from netbuilder.report.canvas import Canvas, Point, fitting, text_width
from netbuilder.report.plots import COLOURS, Frame, short_value

__all__ = ["front_picture"]

Labels = Callable[[Chosen], str]

_WIDTH, _HEIGHT = 960, 660
_LEFT, _RIGHT, _BOTTOM = 84, 24, 60
_ROOM = 0.5  # of the front's length: how far an axis goes on, on either side, for what is beside the front
_MARGIN = 0.06
_FRONT, _REFERENCE, _OTHERS = COLOURS[0], COLOURS[1], "#b8b8b8"
_SIZE = 11  # of a label
_HEIGHT_OF = 13


class _Box(NamedTuple):
    """A rectangle that is taken."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: _Box) -> bool:
        """Whether two rectangles have a point in common."""
        apart = self.right < other.left or other.right < self.left
        return not (apart or self.bottom < other.top or other.bottom < self.top)


def front_picture(found: Outcome, labels: Labels | None = None) -> Canvas:
    """The picture; equal outcomes give equal bytes.

    `labels` gives the text beside a net of the front, by default its values on the axes and the accuracy that
    was published for it.
    """
    points = [_point(found, chosen.figures) for chosen in found.front]
    reference = _point(found, found.reference)
    cloud = [(float(x), float(y)) for x, y in found.tally.cloud]
    canvas = Canvas(_WIDTH, _HEIGHT)
    top = _head(canvas, found, reference, bool(cloud))
    x, y = (
        _axis([p[i] for p in points], [p[i] for p in (*cloud, reference)]) for i in (0, 1)
    )  # fmt: skip
    frame = Frame(_LEFT, top, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM, x, y)
    frame.grid(canvas, texts_along=True)
    for point in cloud:
        if _holds(frame, point):
            canvas.circle(frame.at(point), 2, _OTHERS)
    taken = _draw_front(canvas, frame, points, steps=len(found.sweep.objectives) == 2)
    _draw_reference(canvas, frame, reference, taken)
    texts = [
        labels(chosen) if labels else _values(point) + _published(found, chosen.config)
        for chosen, point in zip(found.front, points, strict=True)
    ]
    _label(canvas, frame, points, texts, taken)
    along, up = found.sweep.drawn
    canvas.text((frame.right, _HEIGHT - 22), fitting(along.name, 12, 600), size=12, anchor="right")
    side = (16, (frame.top + frame.bottom) / 2)
    canvas.text(side, fitting(up.name, 12, 400), size=12, anchor="middle", upright=True)
    return canvas


def _point(found: Outcome, figures: Mapping[str, Number]) -> Point:
    """A net's values on the two axes."""
    along, up = found.sweep.drawn
    return float(along.expression.value(figures)), float(up.expression.value(figures))


def _head(canvas: Canvas, found: Outcome, reference: Point, has_cloud: bool) -> float:
    """Write the title and the legend; returns where the picture begins."""
    room = _WIDTH - _LEFT - _RIGHT
    kept = f"{found.tally.kept:,} of {found.tally.counted:,} candidates"
    canvas.text((_LEFT, 18), fitting(f"{found.sweep.loaded.entry.name}: {kept}", 14, room), size=14)
    limits = ", ".join(constraint.text for constraint in found.sweep.constraints)
    canvas.text((_LEFT, 38), fitting(limits, 12, room), size=12, colour="#555555")
    at, y = float(_LEFT) + 6, 60.0 if limits else 42.0
    others = "others that satisfy the constraints" if limits else "others"
    entries = [(_FRONT, 4.0, "front"), *([(_OTHERS, 2.0, others)] if has_cloud else [])]
    for colour, radius, text in entries:
        canvas.circle((at, y), radius, colour)
        canvas.text((at + 10, y), text)
        at += 34 + text_width(text, 12)
    canvas.polygon(_star((at, y), 7), _REFERENCE)
    name, values = fitting(found.sweep.loaded.config.title, 12, room - at - 120), _values(reference)
    values += _published(found, found.sweep.loaded.config)
    canvas.text((at + 12, y), name)
    canvas.text((at + 20 + text_width(name, 12), y), values, colour="#555555")
    return y + 16


def _axis(front: Sequence[float], others: Sequence[float]) -> Axis:
    """The axis of the front, and of the others that are near it: they have a part of its length at most."""
    low, high = min(front), max(front)
    reach = (high - low) * _ROOM or math.inf  # of a single value: all that there is
    near = [value for value in others if low - reach <= value <= high + reach]
    low, high = min((low, *near)), max((high, *near))
    around = (high - low) * _MARGIN or abs(high) * 0.1 or 1.0
    return Axis(low - around, high + around)


def _holds(frame: Frame, point: Point) -> bool:
    return frame.x.holds(point[0]) and frame.y.holds(point[1])


def _values(point: Point) -> str:
    return ", ".join(map(short_value, point))


def _published(found: Outcome, config: NetConfig) -> str:
    accuracy = found.accuracy(config)
    return f", top-1 {accuracy.top1:.2f} %" if accuracy else ""


def _around(at: Point, size: float) -> _Box:
    return _Box(at[0] - size, at[1] - size, at[0] + size, at[1] + size)


def _star(at: Point, radius: float) -> list[Point]:
    """A star of five rays."""
    angles = (math.pi * (i / 5 - 0.5) for i in range(10))
    return [
        (at[0] + math.cos(angle) * r, at[1] + math.sin(angle) * r)
        for angle, r in zip(angles, (radius, radius * 0.4) * 5, strict=True)
    ]


def _draw_front(canvas: Canvas, frame: Frame, points: Sequence[Point], *, steps: bool) -> list[_Box]:
    """Draw the nets of the front, joined in steps if asked for; returns the rectangles that they take."""
    corners: list[Point] = []
    if steps:
        between = [corner for a, b in itertools.pairwise(points) for corner in (a, (b[0], a[1]))]
        corners = [frame.at(point) for point in (*between, points[-1])]
        canvas.line(corners, _FRONT, 1)
    frame.border(canvas)
    for point in points:
        canvas.circle(frame.at(point), 4, _FRONT, "#ffffff")
    return [
        *(_around(frame.at(point), 4) for point in points),
        *(
            _Box(min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]), max(a[1], b[1]))
            for a, b in itertools.pairwise(corners)
        ),
    ]


def _draw_reference(canvas: Canvas, frame: Frame, point: Point, taken: list[_Box]) -> None:
    """Draw the reference; one that is outside stands at the edge, with an arrow to it and its values."""
    if _holds(frame, point):
        at = frame.at(point)
        canvas.polygon(_star(at, 9), _REFERENCE, "#ffffff")
        taken.append(_around(at, 9))
        return
    part = frame.x.part(point[0]), frame.y.part(point[1])
    inner = min(1.0, max(0.0, part[0])), min(1.0, max(0.0, part[1]))
    x, y = frame.inside(inner)
    away = (part[0] > 1) - (part[0] < 0), (part[1] < 0) - (part[1] > 1)  # in pixels, y grows downwards
    length = math.hypot(*away)
    dx, dy = away[0] / length, away[1] / length
    tip = x - 4 * dx, y - 4 * dy
    tail = tip[0] - 22 * dx, tip[1] - 22 * dy
    canvas.line([tail, tip], _REFERENCE, 2)
    corner = [(tip[0] - 9 * dx - 5 * s * dy, tip[1] - 9 * dy + 5 * s * dx) for s in (1, -1)]
    canvas.polygon([tip, *corner], _REFERENCE)
    star = tail[0] - 8 * dx, tail[1] - 8 * dy
    canvas.polygon(_star(star, 9), _REFERENCE, "#ffffff")
    taken.append(_around(star, 10))
    _write(canvas, frame, star, _values(point), taken, _REFERENCE)


# ---- labels ----------------------------------------------------------------------------------------------


def _label(
    canvas: Canvas, frame: Frame, points: Sequence[Point], texts: Sequence[str], taken: list[_Box]
) -> None:
    """Write the labels that have room, the ends and the middle of the front first: none is over another."""
    for i in _spread(len(points)):
        _write(canvas, frame, frame.at(points[i]), texts[i], taken)


def _write(
    canvas: Canvas, frame: Frame, at: Point, text: str, taken: list[_Box], colour: str = "#222222"
) -> None:
    """Write a label beside a place, if there is room for it."""
    text = fitting(text, _SIZE, 260)
    width = text_width(text, _SIZE)
    for left, middle in _places(at, width):
        box = _Box(left - 2, middle - _HEIGHT_OF / 2, left + width + 2, middle + _HEIGHT_OF / 2)
        inside = frame.left < box.left and box.right < frame.right
        inside = inside and frame.top < box.top and box.bottom < frame.bottom
        if inside and not any(box.meets(other) for other in taken):
            canvas.text((left, middle), text, size=_SIZE, colour=colour)
            taken.append(box)
            return


def _places(at: Point, width: float) -> Iterator[Point]:
    """Where a label may stand: the left end and the middle of its height."""
    x, y = at
    for up in (0, 12, -12, 24, -24):
        yield x + 9, y - up
        yield x - 9 - width, y - up
    for up in (18, -18, 30, -30):
        yield x - width / 2, y - up


def _spread(count: int) -> list[int]:
    """The numbers below `count`: the ends, then the middles between those before."""
    found = dict.fromkeys((0, count - 1))
    step = count - 1
    while step > 1:
        step = -(-step // 2)
        found.update(dict.fromkeys(range(0, count, step)))
    return [*found, *(i for i in range(count) if i not in found)]
