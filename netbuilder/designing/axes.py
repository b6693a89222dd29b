"""Axes of a sweep: the values of each option, and the candidates that all axes together give.

An axis is a list of values and ranges: [64, 96..256 step 8]. If the option is itself a list, each alternative
is a list whose places hold a value, a range, or a list of both: [[3, 4, 6, 3], [2..4, 2..6, [4, 6, 12..24
step 4], 3]]. The candidates are never stored: the number of a candidate determines its options.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any, NamedTuple

from netbuilder.config.items import Item, refusal
from netbuilder.config.values import convert, field_types
from netbuilder.errors import ConfigError, did_you_mean
from netbuilder.networks import Network, options

__all__ = ["Axis", "Space", "plain", "read_axes", "shown"]

_RANGE = re.compile(r"\s*(-?[\d.]+?)\s*\.\.\s*(-?[\d.]+)\s*(?:step\s+(-?[\d.]+)\s*)?")
_NUMBER = re.compile(r"-?(\d+(\.\d+)?|\.\d+)")
LONGEST = 1_000_000  # values in a range


class Places(NamedTuple):
    """One alternative of an axis: the choices for each place of a list, or for a single value."""

    choices: tuple[tuple[Any, ...], ...]
    is_list: bool

    @property
    def size(self) -> int:
        """The number of values of this alternative."""
        return math.prod(map(len, self.choices))

    def value(self, index: int) -> Any:
        """The value with this number; the last place varies fastest."""
        values = []
        for choices in reversed(self.choices):
            index, i = divmod(index, len(choices))
            values.append(choices[i])
        return tuple(reversed(values)) if self.is_list else values[0]


@dataclass(frozen=True)
class Axis:
    """An option and its alternatives."""

    name: str
    alternatives: tuple[Places, ...]

    @cached_property
    def size(self) -> int:
        """The number of values of the option."""
        return sum(places.size for places in self.alternatives)

    def value(self, index: int) -> Any:
        """The value with this number."""
        for places in self.alternatives:
            if index < places.size:
                return places.value(index)
            index -= places.size
        raise IndexError(index)


@dataclass(frozen=True)
class Space:
    """All candidates, by number; the last axis varies fastest."""

    axes: tuple[Axis, ...]

    @cached_property
    def size(self) -> int:
        """The number of candidates."""
        return math.prod(axis.size for axis in self.axes)

    def candidate(self, index: int) -> dict[str, Any]:
        """The options of a candidate."""
        values = {}
        for axis in reversed(self.axes):
            index, i = divmod(index, axis.size)
            values[axis.name] = axis.value(i)
        return {axis.name: values[axis.name] for axis in self.axes}


def read_axes(item: Item | None, entry: Network) -> Space:
    """The space that the key `axes` of a sweep describes; raises ConfigError with the line."""
    if item is None:
        raise ConfigError(
            "axes is missing; it lists the options to vary and their values", key="axes",
            hint="for example axes: {num_output_stage1: [64..256 step 8]}",
        )  # fmt: skip
    if not isinstance(item.value, dict) or not item.value:
        got = item.shown if item.value else "none"
        raise refusal(f"axes must map options to lists of values, got {got}", item.place, "axes")
    fields = {field.name: field for field in options(entry.config)}
    types = field_types(entry.config)
    axes = []
    for name, values in item.value.items():
        if name not in fields:
            raise refusal(
                f"unknown axis '{name}': network {entry.name} has no such option", values.place,
                f"axes.{name}", did_you_mean(name, fields) or f"its options are {', '.join(fields)}",
            )  # fmt: skip
        axes.append(_axis(name, values, types[name], fields[name]))
    return Space(tuple(axes))


def _axis(name: str, item: Item, type: Any, field: Any) -> Axis:
    key = f"axes.{name}"
    if not isinstance(item.value, list):
        raise refusal(
            f"axis {name} must be a list of values and ranges, got {item.shown}", item.place, key,
            f"write it in brackets: [{item.text}]" if item.text else "for example [64, 96..256 step 8]",
        )  # fmt: skip
    if not item.value:
        raise refusal(f"axis {name} is empty", item.place, key, "give it values, or remove it")
    if not field.metadata.get("many"):
        values = _unlike(convert(one, type, field) for each in item.value for one in _expanded(each, key))
        return Axis(name, (Places((values,), is_list=False),))
    alternatives = []
    for number, each in enumerate(item.value):
        if isinstance(each.value, list) and each.value:
            places = [_choices(one, f"{key}[{number}][{i}]") for i, one in enumerate(each.value)]
            alternatives.append(_lists(each, places, type, field))
        else:  # null, or a value that the option refuses with its own message
            alternatives.append(Places(((convert(each, type, field),),), is_list=False))
    return Axis(name, tuple(alternatives))


def _lists(item: Item, places: list[list[Item]], type: Any, field: Any) -> Places:
    """All lists that take one of the choices in each place."""
    first = [choices[0] for choices in places]

    def converted(i: int, one: Item) -> Any:
        return convert(item._replace(value=[*first[:i], one, *first[i + 1 :]]), type, field)[i]

    choices = (_unlike(converted(i, one) for one in choices) for i, choices in enumerate(places))
    return Places(tuple(choices), is_list=True)


def _choices(item: Item, key: str) -> list[Item]:
    """The choices for one place of a list."""
    if not isinstance(item.value, list):
        return _expanded(item, key)
    if not item.value:
        raise refusal("this list of choices is empty", item.place, key, "give it values")
    return [one for each in item.value for one in _expanded(each, key)]


def _expanded(item: Item, key: str) -> list[Item]:
    """The values of a range, or a single value."""
    if not isinstance(item.value, str) or ".." not in item.value:
        return [item]
    match = _RANGE.fullmatch(item.value)
    words = [word for word in match.groups() if word is not None] if match else []
    if not words or not all(_NUMBER.fullmatch(word) for word in words):
        raise refusal(f"'{item.value}' is not a range", item.place, key, "for example 64..256 step 8")
    low, high, *rest = map(Decimal, words)
    whole = all(number == number.to_integral_value() for number in (low, high, *rest))
    if not rest and not whole:
        raise refusal(
            f"range {item.value} needs a step", item.place, key, f"for example {low}..{high} step 0.1"
        )
    step = rest[0] if rest else Decimal(1)
    if step <= 0:
        raise refusal(f"range {item.value} must have a step above 0", item.place, key)
    if high < low:
        raise refusal(
            f"range {item.value} is empty: its end is below its start", item.place, key,
            f"write {high}..{low}" + (f" step {step}" if rest else ""),
        )  # fmt: skip
    count = int((high - low) / step) + 1
    if count > LONGEST:
        raise refusal(
            f"range {item.value} has {count:,} values; at most {LONGEST:,} are allowed", item.place, key
        )
    numbers = (low + i * step for i in range(count))
    return [item._replace(value=int(n) if whole else float(n), text=str(n)) for n in numbers]


def _unlike(values: Any) -> tuple[Any, ...]:
    """The values in order, without repeats: ranges may overlap."""
    return tuple(dict.fromkeys(values))


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Options as JSON data."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def shown(value: object) -> str:
    """A value of an option in a table or a picture."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)
