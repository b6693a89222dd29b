"""Scaling a net to a budget: the value of one option with which it lands just under.

A whole number is searched for by halving, over the values that the config takes; a list of numbers (blocks
per stage) is scaled as a whole in the same way. Then the neighbours are counted too, since what a figure does
from one value to the next need not be all monotone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from netbuilder.config import Loaded
from netbuilder.designing.axes import shown
from netbuilder.designing.counting import Counter, check_whole, whole_figures
from netbuilder.designing.expressions import Number
from netbuilder.designing.plan import all_options
from netbuilder.errors import ConfigError, NetBuilderError, did_you_mean
from netbuilder.networks import NetConfig, options

__all__ = ["Fit", "fit", "varied"]

# The options that make a net wider or deeper, the usual ones first.
USUAL = ("num_output_stage1", "width", "blocks", "N", "depth")

GAP = 256  # values that a config may refuse in a row
TIMES = 64  # how much larger than it is a value may become
AROUND = 4  # neighbours to each side
LISTS = 3**6  # neighbours of a list


@dataclass(frozen=True)
class Fit:
    """What was found: the option, its values and the figures before and after, and how many were tried.

    `above` is the next larger value with its figures, if that does not fit: of a list, with one more in one
    place, the one that is nearest to the budget.
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
    """The option to vary: this one, or the usual one. Raises ConfigError if it is not there, or no number."""
    fields = {field.name: field for field in options(type(config))}
    able = [key for key in fields if _is_number(getattr(config, key)) or _is_list(getattr(config, key))]
    if name is None:
        usual = next((key for key in USUAL if key in able), None)
        if usual is None:
            raise ConfigError(
                "this network has no option that usually makes it wider or deeper", key="vary",
                hint=f"choose one by --vary: {', '.join(able)}",
            )  # fmt: skip
        return usual
    if name not in fields:
        raise ConfigError(
            f"unknown option '{name}' to vary", key="vary",
            hint=did_you_mean(name, able) or f"those that are numbers are {', '.join(able)}",
        )  # fmt: skip
    if name not in able:
        raise ConfigError(
            f"{name} cannot be varied: it is {shown(getattr(config, name))}, not a number or a list of "
            "numbers",
            key="vary", hint=f"those that are numbers are {', '.join(able)}",
        )  # fmt: skip
    return name


def fit(loaded: Loaded, limits: Mapping[str, Number], name: str, phase: str) -> Fit:
    """The value of an option with which the net comes nearest to the limits and stays within all of them.

    Raises ConfigError if no value fits, or if every one does.
    """
    search = _Search(loaded, limits, name, phase)
    with loaded.located():
        before = whole_figures(loaded.entry, loaded.config, phase)
    low = search.first(range(1, GAP + 1))
    if low is None:
        raise ConfigError(f"none of the {GAP} least values of {name} is one that the config takes", key=name)
    if not search.fits(search.value(low)):
        least = search.value(low)
        figures = search.figures(least)
        assert figures
        over = next(key for key, limit in limits.items() if figures[key] > limit)
        raise ConfigError(
            f"the budget is too small: with {name} {shown(least)}, the least, {over} is {figures[over]:,}, "
            f"and the limit is {limits[over]:,}",
            key=name, hint="give more, or vary another option (--vary)",
        )  # fmt: skip
    best = search.refined(search.halved(low))
    figures = search.figures(best)
    config = search.config(best)
    assert figures
    check_whole(loaded.entry, config, phase, figures, f"{name} {shown(best)}")
    above = search.above(best)
    return Fit(name, search.reference, best, config, before, figures, above, search.tried)


class _Search:
    """The nets that an option makes; each is counted once. A list is scaled by steps, a number is one."""

    def __init__(self, loaded: Loaded, limits: Mapping[str, Number], name: str, phase: str) -> None:
        self._loaded = loaded
        self._limits = limits
        self._name = name
        self._options = all_options(loaded.config)
        self._counter = Counter(loaded.entry, phase)
        self._known: dict[Any, dict[str, Number] | None] = {}
        self.reference = self._options[name]
        reference = self.reference
        self._most = TIMES * (4 * max(reference) if isinstance(reference, tuple) else max(1, reference))

    @property
    def tried(self) -> int:
        """How many nets were counted."""
        return sum(figures is not None for figures in self._known.values())

    def value(self, step: int) -> Any:
        """The value at a step; of a list, each number is scaled and rounded, and at least 1."""
        if not isinstance(self.reference, tuple):
            return step
        whole = 4 * max(self.reference)
        return tuple(max(1, (2 * n * step + whole) // (2 * whole)) for n in self.reference)

    def config(self, value: object) -> NetConfig:
        """The config with this value; raises ConfigError if it does not take it."""
        changed: NetConfig = type(self._loaded.config)(**{**self._options, self._name: value})
        return changed

    def figures(self, value: object) -> dict[str, Number] | None:
        """The figures with this value; None if the config does not take it."""
        if value not in self._known:
            try:
                self._known[value] = self._counter.figures(self.config(value))
            except NetBuilderError:
                self._known[value] = None
        return self._known[value]

    def fits(self, value: object) -> bool:
        """Whether the config takes the value, and the net is within all limits."""
        figures = self.figures(value)
        return figures is not None and all(figures[key] <= limit for key, limit in self._limits.items())

    def first(self, steps: Iterable[int]) -> int | None:
        """The first of some steps whose value the config takes."""
        return next((step for step in steps if self.figures(self.value(step)) is not None), None)

    def halved(self, low: int) -> int:
        """A step that fits, from `low` on, before a step that does not; raises ConfigError if all fit."""
        high = low
        while self.fits(self.value(high)):
            low = high
            following = self.first(range(2 * high, 2 * high + GAP))
            if following is None or following > self._most:
                raise ConfigError(
                    f"{self._name} up to {shown(self.value(low))} stays within the budget", key=self._name,
                    hint="give a smaller budget, or vary another option (--vary)",
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
        """Of the value of a step and those around it the one that uses most of the budget."""
        around = [value for value in self._around(step) if self.fits(value)]
        return max(around, key=self._use)  # the first of equals

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
        """A value and its neighbours: each number of a list one less, as it is, one more."""
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
