"""Scaling a net to a budget: find the value of one option that brings the net just under it.

An integer is found by bisection over the values that the config accepts; a list of integers (blocks per
stage) is scaled as a whole in the same way. Then the neighbours are counted too, because figures are not
always monotone from one value to the next.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from netbuilder.config import Loaded
from netbuilder.designing.axes import shown
from netbuilder.designing.counting import Counter, check_whole, whole_figures
from netbuilder.designing.expressions import OF_TRAINING, Number
from netbuilder.designing.plan import all_options
from netbuilder.errors import ConfigError, NetBuilderError, did_you_mean
from netbuilder.measure.counts import FLOAT_BYTES
from netbuilder.networks import NetConfig, options

__all__ = ["Fit", "fit", "varied"]

# The options that make a net wider or deeper, the usual ones first.
USUAL = ("num_output_stage1", "width", "blocks", "N", "depth")

GAP = 256  # consecutive values that a config may refuse
TIMES = 64  # largest factor by which a value may grow
AROUND = 4  # neighbours on each side
LISTS = 3**6  # most neighbours of a list


@dataclass(frozen=True)
class Fit:
    """The result: the option, its value and the figures before and after, and the number of nets counted.

    `above` is the next larger value with its figures, if that does not fit. For a list, this is the one
    nearest to the budget among those with one more in one place.
    """

    option: str
    before: Any
    value: Any
    config: NetConfig
    figures_before: dict[str, Number]
    figures: dict[str, Number]
    above: tuple[Any, dict[str, Number]] | None
    tried: int


def varied(config: NetConfig, name: str | None) -> str:
    """The option to vary: `name`, or the usual one. Raises ConfigError if it is missing or not a number."""
    fields = {field.name: field for field in options(type(config))}
    able = [key for key in fields if _is_number(getattr(config, key)) or _is_list(getattr(config, key))]
    if name is None:
        usual = next((key for key in USUAL if key in able), None)
        if usual is None:
            raise ConfigError(
                "this network has no usual option for its width or depth", key="vary",
                hint=f"choose one with --vary: {', '.join(able)}",
            )  # fmt: skip
        return usual
    if name not in fields:
        raise ConfigError(
            f"unknown option '{name}' to vary", key="vary",
            hint=did_you_mean(name, able) or f"numeric options are {', '.join(able)}",
        )  # fmt: skip
    if name not in able:
        raise ConfigError(
            f"{name} cannot be varied: it is {shown(getattr(config, name))}, not a number or a list of "
            "numbers",
            key="vary", hint=f"numeric options are {', '.join(able)}",
        )  # fmt: skip
    return name


def fit(
    loaded: Loaded,
    limits: Mapping[str, Number],
    name: str,
    phase: str,
    width: int = FLOAT_BYTES,
    batch: int = 1,
) -> Fit:
    """Find the value of an option that brings the net as near to the limits as possible, within all of them.

    Memory is that of so many bytes per number, except for a training, whose batch is `batch`.
    Raises ConfigError if no value fits, or if all of them do.
    """
    more = [key for key in limits if key in OF_TRAINING]
    counter = Counter(loaded.entry, phase, width, more, batch)
    search = _Search(loaded, limits, name, counter)
    with loaded.located():
        before = whole_figures(loaded.entry, loaded.config, phase, width)
        before |= counter.of_training(loaded.config)
    low = search.first(range(1, GAP + 1))
    if low is None:
        raise ConfigError(f"the config accepts none of the {GAP} smallest values of {name}", key=name)
    if not search.fits(search.value(low)):
        least = search.value(low)
        figures = search.figures(least)
        assert figures
        over = next(key for key, limit in limits.items() if figures[key] > limit)
        raise ConfigError(
            f"the budget is too small: with the smallest {name}, {shown(least)}, {over} is "
            f"{figures[over]:,}, "
            f"but the limit is {limits[over]:,}",
            key=name, hint="raise the budget, or vary another option (--vary)",
        )  # fmt: skip
    best = search.refined(search.halved(low))
    figures = search.figures(best)
    config = search.config(best)
    assert figures
    check_whole(loaded.entry, config, phase, figures, f"{name} {shown(best)}", width)
    above = search.above(best)
    return Fit(name, search.reference, best, config, before, figures, above, search.tried)


class _Search:
    """The nets of an option's values, each counted once. A step is a number, or a scale of a list."""

    def __init__(self, loaded: Loaded, limits: Mapping[str, Number], name: str, counter: Counter) -> None:
        self._loaded = loaded
        self._limits = limits
        self._name = name
        self._options = all_options(loaded.config)
        self._counter = counter
        self._known: dict[Any, dict[str, Number] | None] = {}
        self.reference = self._options[name]
        reference = self.reference
        self._most = TIMES * (4 * max(reference) if isinstance(reference, tuple) else max(1, reference))

    @property
    def tried(self) -> int:
        """The number of nets counted so far."""
        return sum(figures is not None for figures in self._known.values())

    def value(self, step: int) -> Any:
        """The value at a step; for a list, each number is scaled, rounded, and at least 1."""
        if not isinstance(self.reference, tuple):
            return step
        whole = 4 * max(self.reference)
        return tuple(max(1, (2 * n * step + whole) // (2 * whole)) for n in self.reference)

    def config(self, value: object) -> NetConfig:
        """The config with this value; raises ConfigError if the config refuses it."""
        changed: NetConfig = type(self._loaded.config)(**{**self._options, self._name: value})
        return changed

    def figures(self, value: object) -> dict[str, Number] | None:
        """The figures with this value; None if the config refuses it."""
        if value not in self._known:
            try:
                self._known[value] = self._counter.figures(self.config(value))
            except NetBuilderError:
                self._known[value] = None
        return self._known[value]

    def fits(self, value: object) -> bool:
        """Whether the config accepts the value and the net is within all limits."""
        figures = self.figures(value)
        return figures is not None and all(figures[key] <= limit for key, limit in self._limits.items())

    def first(self, steps: Iterable[int]) -> int | None:
        """The first of these steps with a value that the config accepts."""
        return next((step for step in steps if self.figures(self.value(step)) is not None), None)

    def halved(self, low: int) -> int:
        """The largest step from `low` on that fits, by bisection; raises ConfigError if all fit."""
        high = low
        while self.fits(self.value(high)):
            low = high
            following = self.first(range(2 * high, 2 * high + GAP))
            if following is None or following > self._most:
                raise ConfigError(
                    f"{self._name} up to {shown(self.value(low))} stays within the budget", key=self._name,
                    hint="lower the budget, or vary another option (--vary)",
                )  # fmt: skip
            high = following
        while True:
            middle = (low + high) // 2
            step = self.first((*range(middle, low, -1), *range(middle + 1, high)))
            if step is None:
                return low
            if self.fits(self.value(step)):
                low = step
            else:
                high = step

    def refined(self, step: int) -> Any:
        """The value at or around a step that uses most of the budget."""
        around = [value for value in self._around(step) if self.fits(value)]
        return max(around, key=self._use)  # the first among equals

    def above(self, value: Any) -> tuple[Any, dict[str, Number]] | None:
        """The nearest larger value that does not fit, with its figures."""
        if isinstance(value, tuple):
            larger: list[Any] = [(*value[:i], n + 1, *value[i + 1 :]) for i, n in enumerate(value)]
        else:
            step = self.first(range(value + 1, value + GAP))
            larger = [] if step is None else [step]
        over = [v for v in larger if self.figures(v) is not None and not self.fits(v)]
        if not over:
            return None
        nearest = min(over, key=self._use)
        return nearest, self._known[nearest] or {}

    def _around(self, step: int) -> list[Any]:
        """A value and its neighbours; for a list, with each number reduced by one, kept, or raised by one."""
        value = self.value(step)
        if isinstance(value, tuple):
            places = [[n, n + 1, n - 1] if n > 1 else [n, n + 1] for n in value]
            return list(itertools.islice(itertools.product(*places), LISTS))
        found = [step]
        for way in (1, -1):
            at = step
            for _ in range(AROUND):
                end = at + way * GAP
                following = self.first(range(at + way, max(end, 0) if way < 0 else end, way))
                if following is None:
                    break
                at = following
                found.append(at)
        return found

    def _use(self, value: object) -> float:
        figures = self.figures(value)
        assert figures
        return max(figures[key] / limit for key, limit in self._limits.items())


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_list(value: object) -> bool:
    return isinstance(value, tuple) and bool(value) and all(map(_is_number, value))
