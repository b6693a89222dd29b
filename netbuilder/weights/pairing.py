"""Units and modules paired without a map: by shapes and names that leave no choice, or by their order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from netbuilder.errors import ConfigError, shape_text
from netbuilder.weights.arrange import LAYOUTS, arrangement
from netbuilder.weights.tensors import Tensor
from netbuilder.weights.units import STATISTICS, Unit

__all__ = ["by_order", "by_shape"]

Table = Mapping[str, Mapping[str, Tensor]]


def by_shape(units: Sequence[Unit], table: Table, path: str) -> list[str]:
    """The module of each unit where its shapes, or its name among those of its shapes, leave one.

    Raises ConfigError, with what cannot be told apart.
    """
    found: dict[str, str] = {}
    for layout in LAYOUTS:
        found = _told_apart(units, table, layout)
        if len(found) == len(units):
            return [found[unit.name] for unit in units]
    open_units = [unit for unit in units if unit.name not in found]
    first = open_units[0]
    free = [m for m in table if m not in found.values()]
    fitting = [m for m in free if any(_fits(first, table[m], layout) for layout in LAYOUTS)]
    shape = shape_text(first.slots[0].shape)
    many = ", ".join(f"'{m}'" for m in fitting[:4]) + (", ..." if len(fitting) > 4 else "")
    what = f"{len(fitting)} modules fit it: {many}" if fitting else "no module fits it"
    raise ConfigError(
        f"no naming map fits '{path}', and shapes do not tell {len(open_units)} of {len(units)} layers: "
        f"'{first.name}' takes {shape}, and {what}",
        key="map",
        hint="write a map (--map FILE.yaml, docs/weights.md), or for a plain chain use --map order",
    )


def by_order(units: Sequence[Unit], table: Table, path: str) -> list[str]:
    """The modules in the order of the checkpoint, for the units in that of the net. Raises ConfigError."""
    modules = [name for name, tensors in table.items() if "" not in tensors]
    for unit, module in zip(units, modules, strict=False):
        if not any(_fits(unit, table[module], layout) for layout in LAYOUTS):
            ours = shape_text(unit.slots[0].shape)
            theirs = " ".join(shape_text(t.shape) for t in table[module].values())
            raise ConfigError(
                f"'{path}' does not have the net's order: layer '{unit.name}' takes {ours}, and its turn is "
                f"that of '{module}', {theirs}",
                key="map",
                hint="write a map: --map FILE.yaml, docs/weights.md",
            )
    if len(units) != len(modules):
        raise ConfigError(
            f"the net has {len(units)} layers and BatchNorms with weights, '{path}' has {len(modules)}",
            key="map",
            hint="--skip LAYER and --ignore PATTERN leave some out",
        )
    return modules


def _told_apart(units: Sequence[Unit], table: Table, layout: str) -> dict[str, str]:
    """The modules of the units for which one is left, found repeatedly until none is added."""
    fitting = {u.name: [m for m, tensors in table.items() if _fits(u, tensors, layout)] for u in units}
    found: dict[str, str] = {}
    while True:
        added = _one_round(fitting, found)
        if not added:
            return found
        found |= added
        taken = set(found.values())
        fitting = {
            name: [module for module in left if module not in taken]
            for name, left in fitting.items()
            if name not in found
        }


def _one_round(fitting: Mapping[str, Sequence[str]], found: Mapping[str, str]) -> dict[str, str]:
    added: dict[str, str] = {}
    for name, modules in fitting.items():
        same = [m for m in modules if _bare(m) == _bare(name)]
        only = same if len(same) == 1 else modules
        rivals = [n for n, left in fitting.items() if n != name and only[0] in left] if len(only) == 1 else []
        if len(only) == 1 and (same or not rivals) and only[0] not in added.values():
            added[name] = only[0]
    return added


def _fits(unit: Unit, tensors: Mapping[str, Tensor], layout: str) -> bool:
    if unit.is_norm != (STATISTICS[0] in tensors):
        return False
    roles = {slot.role for slot in unit.slots}
    if not unit.is_norm and roles != set(tensors):
        return False
    return roles <= set(tensors) and all(
        arrangement(tensors[slot.role].shape, slot, layout) for slot in unit.slots
    )


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
