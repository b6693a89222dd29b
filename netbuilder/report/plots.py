"""Plots: panels of curves above one another, with one axis along. Nothing is left out silently.

A value outside of its panel is marked at the edge, and a value that is not finite by a cross at the bottom.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from netbuilder.report.axes import Axis, axis_of
from netbuilder.report.canvas import Canvas, Point, fitting, text_width
from netbuilder.report.terminal import short

__all__ = ["COLOURS", "DASHES", "Curve", "Frame", "Panel", "Plot", "legend", "moving_mean", "plotted"]

# Told apart by the colour-blind. Source: Okabe and Ito, Color Universal Design.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
DASHES: tuple[tuple[float, ...], ...] = ((), (6, 3), (2, 2), (8, 3, 2, 3))
_GREY, _GRID, _INK = "#666666", "#e6e6e6", "#222222"
_WIDTH, _PANEL, _GAP = 960, 190, 14
_LEFT, _RIGHT = 76, 24
_LINE = 18  # the height of a line of text
_SMALL = 11
_SAMPLE = 24  # the length of a line in a legend
_NAMED = 3  # so many outliers have their values beside them
_APART = 70


class Curve(NamedTuple):
    """A line through points, interrupted by values that are not finite.

    `mark` is the shape at each point: o, s, d or "" for none; `steps` holds a value until the next point.
    A curve that is `derived` from another, such as its mean, has no say in the limits and no marked outliers.
    `accent` is the colour of such marks, if not that of the curve.
    """

    name: str
    points: Sequence[Point]
    colour: str
    width: float = 1.5
    dash: tuple[float, ...] = ()
    mark: str = ""
    steps: bool = False
    derived: bool = False
    accent: str = ""


class Panel(NamedTuple):
    """Curves over one axis; `robust` limits leave outliers outside. The legend is that of all, or its own."""

    label: str
    curves: Sequence[Curve]
    log: bool = False
    robust: bool = True
    legend: Sequence[Curve] | None = None


class Plot(NamedTuple):
    """Panels above one another over `along`; `second` is the name of another unit of it, and its factor.

    `runs` are the names at the top and their curves' look.
    """

    title: str
    along: str
    panels: Sequence[Panel]
    second: tuple[str, float] | None = None
    runs: Sequence[Curve] = ()


class Frame(NamedTuple):
    """The rectangle of a panel, and the axes that it spans."""

    left: float
    top: float
    right: float
    bottom: float
    x: Axis
    y: Axis

    def at(self, point: Point) -> Point:
        """The pixel of a point."""
        return self.inside((self.x.part(point[0]), self.y.part(point[1])))

    def inside(self, part: Point) -> Point:
        """The pixel of a place in the frame, from (0, 0) at the lower left to (1, 1)."""
        width, height = self.right - self.left, self.bottom - self.top
        return self.left + part[0] * width, self.bottom - part[1] * height

    def grid(self, canvas: Canvas, *, texts_along: bool) -> None:
        """Draw the lines of the ticks, and their texts: those of the lower axis only if asked for."""
        for value, text in self.x.ticks(9):
            x = crisp(self.at((value, self.y.low))[0])
            canvas.line([(x, self.top), (x, self.bottom)], _GRID)
            if texts_along:
                canvas.text((x, self.bottom + 13), text, size=12, anchor="middle")
        for value, text in self.y.ticks():
            y = crisp(self.at((self.x.low, value))[1])
            canvas.line([(self.left, y), (self.right, y)], _GRID)
            canvas.text((self.left - 7, y), text, size=12, anchor="right")

    def border(self, canvas: Canvas) -> None:
        """Draw the border, over what leads to it."""
        left, top, right, bottom = map(crisp, (self.left, self.top, self.right, self.bottom))
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        canvas.line([*corners, corners[0]], "#888888")


def crisp(place: float) -> float:
    """The nearest place at which a line of one pixel covers one row of them, not two by half."""
    return math.floor(place) + 0.5


def moving_mean(values: Sequence[float], width: int) -> list[float]:
    """The mean of the `width` values around each one, of one more if that is even, and of fewer at the ends.

    The window is symmetric, so the mean does not lag. Values that are not finite part the curve.
    """
    found = [math.nan] * len(values)
    begin = 0
    for end in range(len(values) + 1):
        if end < len(values) and math.isfinite(values[end]):
            continue
        sums = [0.0]
        for value in values[begin:end]:
            sums.append(sums[-1] + value)
        for i in range(end - begin):
            half = min(width // 2, i, end - begin - 1 - i)
            found[begin + i] = (sums[i + half + 1] - sums[i - half]) / (2 * half + 1)
        begin = end + 1
    return found


def plotted(plot: Plot) -> Canvas:
    """The plot as a drawing."""
    room = _WIDTH - _LEFT - _RIGHT
    labels = [fitting(panel.label, 13, room / 3) for panel in plot.panels]
    heads = [
        _flow(panel.curves if panel.legend is None else panel.legend, room, 24 + text_width(label, 13))
        for label, panel in zip(labels, plot.panels, strict=True)
    ]
    runs = _flow(plot.runs, room, 0)
    top = 18 + _LINE * (bool(plot.title) + (max(line for *_, line in runs) + 1 if runs else 0))
    heights = [_LINE * (max((line for *_, line in head), default=0) + 1) + _PANEL + _GAP for head in heads]
    canvas = Canvas(_WIDTH, top + sum(heights) + (84 if plot.second else 36))
    if plot.title:
        canvas.text((_LEFT, 16), fitting(plot.title, 14, room), size=14)
    _entries(canvas, runs, 16 + _LINE * bool(plot.title))
    along = [x for panel in plot.panels for curve in panel.curves for x, _ in curve.points]
    x_axis = _along(along)
    for i, (panel, label, head, height) in enumerate(zip(plot.panels, labels, heads, heights, strict=True)):
        middle = top + _LINE / 2
        canvas.text((_LEFT, middle), label, size=13)
        _entries(canvas, head, middle)
        curves = [[y for _, y in curve.points] for curve in panel.curves if not curve.derived]
        y_axis = axis_of(curves, log=panel.log, robust=panel.robust)
        bottom = top + height - _GAP
        frame = Frame(_LEFT, bottom - _PANEL, _WIDTH - _RIGHT, bottom, x_axis, y_axis)
        frame.grid(canvas, texts_along=i == len(plot.panels) - 1)
        _draw_curves(canvas, frame, panel.curves)
        top += height
    canvas.text(
        (_WIDTH - _RIGHT, top + 18), fitting(plot.along, 12, room), size=12, colour=_GREY, anchor="right"
    )
    if plot.second:
        _second(canvas, top + 38, x_axis, *plot.second)
    return canvas


def _along(values: Sequence[float]) -> Axis:
    """The lower axis: from the first value to the last, without a margin."""
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    return Axis(low, high if high > low else low + 1)


def _second(canvas: Canvas, y: float, axis: Axis, name: str, factor: float) -> None:
    """Draw the lower axis once more, in another unit."""
    other = Axis(axis.low * factor, axis.high * factor)
    canvas.line([(_LEFT, y), (_WIDTH - _RIGHT, y)], "#888888")
    for value, text in other.ticks(9):
        x = _LEFT + other.part(value) * (_WIDTH - _LEFT - _RIGHT)
        canvas.line([(x, y), (x, y + 4)], "#888888")
        canvas.text((x, y + 14), text, size=12, anchor="middle")
    canvas.text((_WIDTH - _RIGHT, y + 32), name, size=12, colour=_GREY, anchor="right")


# ---- legends ---------------------------------------------------------------------------------------------

_Entry = tuple[Curve, str, float, int]  # a curve, its shown name, where it begins, and the line that it is on


def _flow(curves: Sequence[Curve], room: float, start: float) -> list[_Entry]:
    """The entries of a legend, on as many lines as they need."""
    found: list[_Entry] = []
    x, line = start, 0
    for curve in (curve for curve in curves if curve.name):
        text = fitting(curve.name, 12, room - start - _SAMPLE - 6)
        width = _SAMPLE + 6 + text_width(text, 12) + 18
        if x + width > room + 18 and x > start:
            x, line = start, line + 1
        found.append((curve, text, x, line))
        x += width
    return found


def _entries(canvas: Canvas, entries: Sequence[_Entry], y: float) -> None:
    for curve, text, x, line in entries:
        at = y + line * _LINE
        legend(canvas, curve, (_LEFT + x, at))
        canvas.text((_LEFT + x + _SAMPLE + 6, at), text, size=12)


def legend(canvas: Canvas, curve: Curve, at: Point) -> None:
    """Draw the sample of a curve, to the right of a point."""
    canvas.line([at, (at[0] + _SAMPLE, at[1])], curve.colour, max(2.0, curve.width), curve.dash)
    if curve.mark:
        _mark(canvas, (at[0] + _SAMPLE / 2, at[1]), curve.mark, curve.colour)


def _mark(canvas: Canvas, at: Point, kind: str, colour: str, size: float = 3.0) -> None:
    x, y = at
    if kind == "o":
        canvas.circle(at, size, colour)
    elif kind == "s":
        canvas.box(x - size, y - size, x + size, y + size, colour)
    else:
        more = size * 1.4
        canvas.polygon([(x, y - more), (x + more, y), (x, y + more), (x - more, y)], colour)


# ---- curves ----------------------------------------------------------------------------------------------


def _draw_curves(canvas: Canvas, frame: Frame, curves: Sequence[Curve]) -> None:
    for curve in curves:
        for piece in _pieces(curve.points):
            parts = [(frame.x.part(x), frame.y.part(y)) for x, y in _stepped(piece, curve.steps)]
            for clipped in _clipped(_thinned(parts, round(frame.right - frame.left))):
                canvas.line([frame.inside(part) for part in clipped], curve.colour, curve.width, curve.dash)
            kind = curve.mark or ("o" if len(piece) == 1 else "")
            for point in piece if kind else ():
                if frame.y.holds(point[1]):
                    _mark(canvas, frame.at(point), kind, curve.colour)
    frame.border(canvas)
    own = [curve for curve in curves if not curve.derived]
    _draw_outside(canvas, frame, own)
    _draw_gaps(canvas, frame, own)


def _pieces(points: Sequence[Point]) -> Iterator[list[Point]]:
    """The pieces of a curve between points that are not finite."""
    piece: list[Point] = []
    for point in points:
        if math.isfinite(point[0]) and math.isfinite(point[1]):
            piece.append(point)
        elif piece:
            yield piece
            piece = []
    if piece:
        yield piece


def _stepped(points: list[Point], steps: bool) -> list[Point]:
    """The corners of a curve that holds each value until the next point."""
    if not steps:
        return points
    corners = points[:1]
    for (_, before), (x, y) in itertools.pairwise(points):
        corners += [(x, before)] if y == before else [(x, before), (x, y)]
    return corners


def _thinned(parts: list[Point], columns: int) -> list[Point]:
    """The first, least, largest and last point of each column of pixels: all that one can see of many."""
    if len(parts) <= 4 * columns:
        return parts
    found: list[Point] = []
    begin = 0
    for end in range(1, len(parts) + 1):
        if end == len(parts) or int(parts[end][0] * columns) != int(parts[begin][0] * columns):
            order = range(begin, end)
            kept = {
                begin,
                end - 1,
                min(order, key=lambda i: parts[i][1]),
                max(order, key=lambda i: parts[i][1]),
            }
            found += [parts[i] for i in sorted(kept)]
            begin = end
    return found


def _clipped(parts: Sequence[Point]) -> Iterator[list[Point]]:
    """The pieces of a line that are between 0 and 1, cut where it leaves them."""
    piece: list[Point] = []
    for begin, end in itertools.pairwise(parts):
        (x0, y0), (x1, y1) = begin, end
        if max(y0, y1) < 0 or min(y0, y1) > 1:
            continue
        ends = [begin, end]
        for i, (x, y) in enumerate((begin, end)):
            edge = min(1.0, max(0.0, y))
            if edge != y:
                x = x0 + (x1 - x0) * (edge - y0) / (y1 - y0)
            ends[i] = (x, edge)
        if piece and piece[-1] != ends[0]:
            yield piece
            piece = []
        piece += ends if not piece else ends[1:]
    if piece:
        yield piece


def _draw_outside(canvas: Canvas, frame: Frame, curves: Sequence[Curve]) -> None:
    """Mark what is above or below the panel: a triangle at the edge, and how far it goes."""
    for above in (True, False):
        groups = [group for curve in curves for group in _outside(curve, frame.y, above)]
        if not groups:
            continue
        edge, way = (frame.top, 1) if above else (frame.bottom, -1)
        places = []
        for curve, (x, _), _ in groups:
            at, _ = frame.at((x, frame.y.low))
            places.append(at)
            triangle = [(at, edge + way), (at - 4.5, edge + 8 * way), (at + 4.5, edge + 8 * way)]
            canvas.polygon(triangle, curve.accent or curve.colour)
        ordered = sorted(places)
        apart = all(b - a >= _APART for a, b in itertools.pairwise(ordered))
        if len(groups) <= _NAMED and apart:
            for at, (_, (_, y), count) in zip(places, groups, strict=True):
                text = short_value(y) + (f" ({count} points)" if count > 1 else "")
                right = at + 9 + text_width(text, _SMALL) < frame.right
                place = (at + 8 if right else at - 8, edge + 8 * way)
                canvas.text(place, text, size=_SMALL, colour=_INK, anchor="left" if right else "right")
            continue
        total = sum(count for _, _, count in groups)
        most = (max if above else min)(y for _, (_, y), _ in groups)
        text = f"{total:,} points {'above' if above else 'below'}, to {short_value(most)}"
        place = (frame.right - 8, edge + 18 * way)
        canvas.text(place, text, size=_SMALL, colour=_INK, anchor="right")


def _outside(curve: Curve, axis: Axis, above: bool) -> Iterator[tuple[Curve, Point, int]]:
    """Points in a row that are outside: the furthest of them, and their number."""
    group: list[Point] = []
    for point in (*curve.points, (math.nan, math.nan)):
        finite = math.isfinite(point[0]) and math.isfinite(point[1])
        if finite and (point[1] > axis.high if above else point[1] < axis.low):
            group.append(point)
        elif group:
            yield curve, (max if above else min)(group, key=lambda p: p[1]), len(group)
            group = []


def short_value(value: float) -> str:
    """A value with three digits."""
    return short(value) if 1e4 <= abs(value) < 1e15 else f"{value:.3g}"


def _draw_gaps(canvas: Canvas, frame: Frame, curves: Sequence[Curve]) -> None:
    """Mark the values that are not finite, by a cross at the first of each row of them."""
    count, first = 0, math.inf
    for curve in curves:
        before = False
        for x, y in curve.points:
            gap = math.isfinite(x) and not math.isfinite(y)
            count += gap
            if gap and not before:
                first = min(first, x)
                at, _ = frame.at((x, frame.y.low))
                low = frame.bottom - 3
                colour = curve.accent or curve.colour
                canvas.line([(at - 4, low - 8), (at + 4, low)], colour, 2)
                canvas.line([(at - 4, low), (at + 4, low - 8)], colour, 2)
            before = gap
    if count:
        text = f"{count:,} {'value is' if count == 1 else 'values are'} not finite, from {first:,.6g} on"
        canvas.text((frame.left + 8, frame.bottom - 20), text, size=_SMALL, colour=_INK)
