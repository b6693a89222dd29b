"""The axes of a plot: their limits, which no single outlier determines, and round numbers along them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

__all__ = ["Axis", "axis_of", "bulk", "ticks"]

_UNITS = ((10**15, "P"), (10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))
_MARGIN = 0.05
_TAIL = 0.01  # of a curve on a logarithmic axis: how many of its least values may be outside
_MOST = 1e250  # sums of larger values overflow
_FAR = 1e6  # how far outside of a plot a point may be, in its heights: more overflows
_DROPPED = 0.03  # the part of a curve that may be outliers, at either end of its values
_BEYOND, _FEW = 2.0, 60  # how far from the others an outlier is, in their range: of n points, 60 / n at least


class Axis(NamedTuple):
    """The values from `low` to `high`, linear or logarithmic."""

    low: float
    high: float
    log: bool = False

    def part(self, value: float) -> float:
        """Where a value is, from 0 at `low` to 1 at `high`; outside of these if it is."""
        low, high = self.low, self.high
        if self.log:
            value = math.log10(value) if value > 0 else -math.inf
            low, high = math.log10(low), math.log10(high)
        return max(-_FAR, min(_FAR, (value - low) / (high - low)))

    def holds(self, value: float) -> bool:
        """Whether a value is on the axis."""
        return self.low <= value <= self.high

    def ticks(self, most: int = 6) -> list[tuple[float, str]]:
        """Round values along the axis and their texts, about so many at most."""
        if self.log:
            found = _powers(self.low, self.high, most)
            if len(found) > 1:
                return [(value, f"{value:.4g}") for value in found]
        found = ticks(self.low, self.high, most)
        step = found[1] - found[0] if len(found) > 1 else self.high - self.low
        largest = max(abs(self.low), abs(self.high))
        return [(value, _text(value, step, largest)) for value in found]


def axis_of(curves: Iterable[Sequence[float]], *, log: bool = False, robust: bool = True) -> Axis:
    """The axis of these curves, each of which is seen; `robust` leaves the outliers of a curve outside.

    A logarithmic one has positive values only, and is linear if there are none.
    """
    found, spans = [], []
    for curve in curves:
        finite = (max(-_MOST, min(_MOST, value)) for value in curve if math.isfinite(value))
        values = [math.log10(max(v, 1 / _MOST)) if log else v for v in finite if v > 0 or not log]
        if values and robust:
            spans.append(bulk(values))
        elif values:
            spans.append((sorted(values)[int(len(values) * _TAIL) if log else 0], max(values)))
        found += values
    if not spans:
        return Axis(0.0, 1.0)
    low, high = min(low for low, _ in spans), max(high for _, high in spans)
    if robust:  # outliers for which there is room; beside a constant there is nothing else to see
        reach = high - low or math.inf
        near = [value for value in found if low - reach <= value <= high + reach]
        low, high = min(near), max(near)
    around = (high - low) * _MARGIN or (0.3 if log else abs(high) * 0.1 or 1.0)
    low, high = low - around, high + around
    return Axis(10**low, 10**high, log=True) if log else Axis(low, high)


def bulk(values: Sequence[float]) -> tuple[float, float]:
    """The least and the largest value that is no outlier.

    An outlier is among the outermost 3 % of the values, one at least, and lies further from the others than
    twice their range, or more if there are few.
    """
    kept = sorted(values)
    dropped = max(1, int(len(kept) * _DROPPED))
    factor = max(_BEYOND, _FEW / len(kept))
    if len(kept) > 2:
        inner = kept[:-dropped]
        reach = inner[-1] + (inner[-1] - inner[0]) * factor
        kept = [value for value in kept if value <= reach]
    if len(kept) > 2:
        inner = kept[dropped:] or kept[-1:]
        reach = inner[0] - (inner[-1] - inner[0]) * factor
        kept = [value for value in kept if value >= reach]
    return kept[0], kept[-1]


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from `low` to `high`, at most so many: multiples of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if (high - low) / (power * factor) < most)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _powers(low: float, high: float, most: int) -> list[float]:
    """Powers of ten, with 2 and 5 times them between if there is room."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [f * 10.0**p for p in range(first, last + 1) for f in factors if low <= f * 10.0**p <= high]
        if len(found) <= most:
            return found
    return found[:: -(-len(found) // most)]


def _text(value: float, step: float, largest: float) -> str:
    """A tick with as many digits as tell it from its neighbours, all in the unit of the largest."""
    if abs(value) < step / 1000:
        return "0"
    if step < 1e-4:
        return f"{value:.{max(1, math.floor(math.log10(largest / step)) + 2)}g}"
    size, unit = next(((size, unit) for size, unit in _UNITS if largest >= max(size, 10**4)), (1, ""))
    digits = max(0, -math.floor(math.log10(step / size) + 1e-9))
    return f"{value / size:,.{digits}f}{unit}"
