"""The curves of a training as a picture, drawn by Pillow: importing matplotlib takes longer than a start.

One panel for the losses, one for the other outputs of the tests, if there are any, and one for the rate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from netbuilder.errors import printable
from netbuilder.storage.files import replacing

if TYPE_CHECKING:
    from netbuilder.training.events import Tested
    from netbuilder.training.record import Row

__all__ = ["draw", "ticks"]

_WIDTH, _HEIGHT = 800, 700
_LEFT, _RIGHT, _TOP, _BOTTOM, _GAP = 80, 20, 34, 44, 16
_SIZE = 12  # of the text
_LONGEST = 80  # characters of a name
_COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#17becf")

Point = tuple[float, float]


class Curve(NamedTuple):
    """A line through points, of which those that are not finite interrupt it; tests have marks."""

    name: str
    points: list[Point]
    marked: bool = False


class _Frame(NamedTuple):
    """Where a panel is, and which values it spans."""

    top: int
    bottom: int
    xs: Point
    ys: Point

    def at(self, point: Point) -> Point:
        (x0, x1), (y0, y1) = self.xs, self.ys
        x = _LEFT + (point[0] - x0) / (x1 - x0) * (_WIDTH - _LEFT - _RIGHT)
        return x, self.bottom - (point[1] - y0) / (y1 - y0) * (self.bottom - self.top)


def draw(train: list[Row], tests: list[Tested], path: str, title: str) -> bool:
    """Draw loss, rate and the outputs of the tests over the iterations; False if Pillow is missing or old."""
    try:
        from PIL import Image, ImageDraw, ImageFont

        font = ImageFont.load_default(_SIZE)
    except (ImportError, TypeError, OSError):
        return False
    names = sorted({name for test in tests for name, values in test.outputs.items() if len(values) == 1})
    curves = {
        name: Curve(
            f"test {name}",
            [(float(t.iteration), t.outputs[name][0]) for t in tests if name in t.outputs],
            marked=True,
        )
        for name in names
    }
    losses = [curve for name, curve in curves.items() if "loss" in name.lower()]
    others = [curve for name, curve in curves.items() if "loss" not in name.lower()]
    panels = [("loss", [Curve("train", [(float(r.iteration), r.loss) for r in train]), *losses])]
    panels += [("test", others)] if others else []
    panels.append(("learning rate", [Curve("", [(float(r.iteration), r.rate) for r in train])]))
    image = Image.new("RGB", (_WIDTH, _HEIGHT), "white")
    canvas = ImageDraw.Draw(image)
    canvas.font = font
    xs = _span([x for _, some in panels for curve in some for x, _ in curve.points], 0.0)
    height = (_HEIGHT - _TOP - _BOTTOM - _GAP * (len(panels) - 1)) // len(panels)
    for i, (label, some) in enumerate(panels):
        top = _TOP + i * (height + _GAP)
        ys = _span([y for curve in some for _, y in curve.points], 0.05)
        _panel(canvas, _Frame(top, top + height, xs, ys), label, some, last=i == len(panels) - 1)
    canvas.text((_WIDTH / 2, _TOP / 2), _shown(title), fill="black", anchor="mm")
    canvas.text((_WIDTH / 2, _HEIGHT - 12), "iteration", fill="black", anchor="mm")
    with replacing(Path(path)) as partial:
        image.save(partial, format="png")
    return True


def _shown(name: str) -> str:
    """A name as one line of text that fits in the picture."""
    text = printable(name)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _span(values: Sequence[float], margin: float) -> Point:
    """The smallest and the largest of the finite values, and a part of their distance around them."""
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    around = (high - low) * margin or (0.0 if high > low else abs(high) * 0.1 or 1.0)
    return low - around, high + around


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from `low` to `high`, at most so many: multiples of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if (high - low) / (power * factor) < most)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _panel(canvas: Any, frame: _Frame, label: str, curves: Sequence[Curve], *, last: bool) -> None:
    for x in ticks(*frame.xs):
        at = frame.at((x, frame.ys[0]))
        canvas.line([at, (at[0], frame.top)], fill="#e8e8e8")
        if last:
            canvas.text((at[0], at[1] + 12), f"{x:g}", fill="black", anchor="mm")
    for y in ticks(*frame.ys):
        at = frame.at((frame.xs[0], y))
        canvas.line([at, (_WIDTH - _RIGHT, at[1])], fill="#e8e8e8")
        canvas.text((at[0] - 6, at[1]), f"{y:.4g}", fill="black", anchor="rm")
    for curve, colour in zip(curves, _COLOURS * len(curves), strict=False):
        for line in _lines(frame, curve):
            canvas.line(line, fill=colour, width=1)
            for x, y in line if curve.marked or len(line) == 1 else ():
                canvas.ellipse([x - 2, y - 2, x + 2, y + 2], fill=colour)
    canvas.rectangle([_LEFT, frame.top, _WIDTH - _RIGHT, frame.bottom], outline="black")
    canvas.text((_LEFT + 8, frame.top + 12), label, fill="black", anchor="lm")
    named = [
        (curve.name, colour)
        for curve, colour in zip(curves, _COLOURS * len(curves), strict=False)
        if curve.name
    ]
    for i, (name, colour) in enumerate(named):
        canvas.text((_WIDTH - _RIGHT - 8, frame.top + 12 + 15 * i), _shown(name), fill=colour, anchor="rm")


def _lines(frame: _Frame, curve: Curve) -> Iterator[list[Point]]:
    """The pieces of a curve between points that are not finite."""
    line: list[Point] = []
    for point in curve.points:
        if math.isfinite(point[1]):
            line.append(frame.at(point))
        elif line:
            yield line
            line = []
    if line:
        yield line
