"""Solvers: what a solver file may say, the learning rates it means, and recipes that become such files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netbuilder.solvers.checks import CODES, check, check_file, read_solver, require
from netbuilder.solvers.fields import set_field
from netbuilder.solvers.policies import STOCK, Schedule, schedule_of

if TYPE_CHECKING:
    from netbuilder.solvers.recipe import Plan, Recipe, plan
    from netbuilder.solvers.stock import Stock, approximations

__all__ = [
    "CODES",
    "STOCK",
    "Plan",
    "Recipe",
    "Schedule",
    "Stock",
    "approximations",
    "check",
    "check_file",
    "plan",
    "read_solver",
    "require",
    "schedule_of",
    "set_field",
]

# Imported when first used: a training needs neither.
_LATER = {
    "recipe": ("Plan", "Recipe", "plan"),
    "stock": ("Stock", "approximations"),
}


def __getattr__(name: str) -> object:
    import importlib

    for module, names in _LATER.items():
        if name in names:
            return getattr(importlib.import_module(f"netbuilder.solvers.{module}"), name)
    raise AttributeError(f"module 'netbuilder.solvers' has no attribute {name!r}")
