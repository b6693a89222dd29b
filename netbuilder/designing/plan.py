"""A sweep file: a config with axes, constraints and objectives.

The keys of a sweep file besides those below are a config (see `netbuilder.config`); its net is the reference.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from netbuilder._version import __version__
from netbuilder.config import Loaded, find_config, load_found
from netbuilder.config.items import Item, refusal
from netbuilder.designing.axes import Space, plain, read_axes
from netbuilder.designing.expressions import OF_TRAINING, Constraint, Objective, constraint, objective
from netbuilder.errors import ConfigError, did_you_mean
from netbuilder.measure.counts import FIGURES, FLOAT_BYTES
from netbuilder.networks import PHASES, NetConfig
from netbuilder.networks.registry import flat_fields

__all__ = ["KEYS", "Sweep", "all_options", "read_sweep"]

# The keys of a sweep file that are not those of a config.
KEYS = {
    "axes": "options of the network, each with its values",
    "constraints": "conditions on a candidate, for example macs <= 1.5G",
    "objectives": "what to minimise or maximise, for example minimise macs",
    "phase": "the net to count: train (the default), test or deploy",
    "batch": "the batch of caffe_training_bytes and torch_training_bytes (default: 1)",
    "bytes": "bytes per number, for the memory: 1, 2 or 4 (the default)",
    "limit": "the size of a sample of the candidates, which is always the same; all if missing",
}

T = TypeVar("T")


@dataclass(frozen=True)
class Sweep:
    """The checked content of a sweep file."""

    loaded: Loaded
    space: Space
    constraints: tuple[Constraint, ...]
    objectives: tuple[Objective, ...]
    phase: str
    limit: int | None
    width: int
    batch: int

    @cached_property
    def figures(self) -> tuple[str, ...]:
        """The figures of a candidate: all, and of a training those that are named."""
        named = {name for o in self.objectives for name in o.expression.figures}
        named |= {name for c in self.constraints for side in c.sides for name in side.figures}
        return (*FIGURES, *(name for name in OF_TRAINING if name in named))

    @cached_property
    def numbers(self) -> Sequence[int]:
        """The numbers of the candidates to count, ascending."""
        size = self.space.size
        if self.limit is None or self.limit >= size:
            return range(size)
        chosen: set[int] = set()
        dice = random.Random(0)
        while len(chosen) < self.limit:
            chosen.add(dice.randrange(size))
        return sorted(chosen)

    def config(self, number: int) -> NetConfig:
        """The config of a candidate; raises ConfigError if its options do not go together."""
        made: NetConfig = type(self.loaded.config)(**{**self._reference, **self.space.candidate(number)})
        return made

    @cached_property
    def _reference(self) -> dict[str, Any]:
        return all_options(self.loaded.config)

    @cached_property
    def drawn(self) -> tuple[Objective, Objective]:
        """The axes of a picture: the first two objectives, or the only one and another figure."""
        if len(self.objectives) > 1:
            return self.objectives[0], self.objectives[1]
        along = self.objectives[0]
        named = {figure for c in self.constraints for side in c.sides for figure in side.figures}
        others = [f for f in ("learnable_params", "macs", *FIGURES) if f not in along.expression.figures]
        return along, objective(f"minimise {next((f for f in others if f in named), others[0])}")

    @cached_property
    def digest(self) -> str:
        """The identity of a sweep: everything that its result depends on."""
        config = self.loaded.config
        data = [
            __version__,
            self.loaded.entry.name,
            repr(config),
            [line for line in self.loaded.origin.splitlines() if line.startswith("module:")],
            repr(self.space),
            [c.text for c in self.constraints],
            [o.text for o in self.objectives],
            self.phase,
            self.limit,
            self.width,
            self.batch,
        ]
        return hashlib.sha256(json.dumps(data).encode()).hexdigest()[:16]

    def as_data(self) -> dict[str, Any]:
        """The sweep as JSON data."""
        return {
            "network": self.loaded.entry.name,
            "reference": plain(self._reference),
            "axes": {axis.name: axis.size for axis in self.space.axes},
            "constraints": [c.text for c in self.constraints],
            "objectives": [o.text for o in self.objectives],
            "phase": self.phase,
            "bytes": self.width,
            **({"batch": self.batch} if self.figures != FIGURES else {}),
            "space": self.space.size,
        }


def all_options(config: NetConfig) -> dict[str, Any]:
    """All options of a config, including those of its groups."""
    return {field.name: getattr(config, field.name) for field in flat_fields(type(config))}


def read_sweep(
    target: str, sets: Sequence[str] = (), folders: Sequence[str] = (), limit: int | None = None
) -> Sweep:
    """Read a sweep file, with KEY=VALUE settings over its config; `limit` overrides the file's own.

    Raises FileError if a file cannot be read, and ConfigError, which names file, line and dotted key.
    """
    loaded = load_found(find_config(target, folders), target, sets, folders, apart=tuple(KEYS))
    items = loaded.items
    return Sweep(
        loaded,
        read_axes(items.get("axes"), loaded.entry),
        tuple(_each(items.get("constraints"), "constraints", constraint)),
        tuple(_each(items.get("objectives"), "objectives", objective)) or _usual(items.get("objectives")),
        _phase(items.get("phase")),
        limit if limit is not None else _whole(items.get("limit"), "limit"),
        _width(items.get("bytes")),
        _whole(items.get("batch"), "batch") or 1,
    )


def _each(item: Item | None, key: str, read: Callable[[str], T]) -> list[T]:
    """The parsed texts of a list; a single text needs no list."""
    if item is None:
        return []
    entries = item.value if isinstance(item.value, list) else [item]
    found = []
    for i, entry in enumerate(entries):
        place = f"{key}[{i}]" if isinstance(item.value, list) else key
        if not isinstance(entry.value, str):
            raise refusal(f"{key} must be a list of texts, got {entry.shown}", entry.place, place)
        try:
            found.append(read(entry.value))
        except ConfigError as error:
            raise refusal(error.text, entry.place, place, error.hint) from None
    return found


def _usual(item: Item | None) -> tuple[Objective, ...]:
    if item is not None:
        raise refusal("objectives is empty", item.place, "objectives", "for example [minimise macs]")
    return objective("minimise macs"), objective("maximise learnable_params")


def _phase(item: Item | None) -> str:
    if item is None:
        return "train"
    if item.value not in PHASES:
        hint = did_you_mean(str(item.value), PHASES)
        raise refusal(
            f"phase must be one of {', '.join(PHASES)}, got {item.shown}", item.place, "phase", hint
        )
    return str(item.value)


def _width(item: Item | None) -> int:
    if item is None:
        return FLOAT_BYTES
    if item.value not in (1, 2, 4) or isinstance(item.value, bool):
        raise refusal(f"bytes must be 1, 2 or 4, got {item.shown}", item.place, "bytes")
    return int(item.value)


def _whole(item: Item | None, key: str) -> int | None:
    if item is None or item.value is None:
        return None
    if not isinstance(item.value, int) or isinstance(item.value, bool) or item.value < 1:
        raise refusal(f"{key} must be an integer of at least 1, got {item.shown}", item.place, key)
    return item.value
