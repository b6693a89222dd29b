"""Solvers: what a solver file may say, the learning rates it means, and recipes that become such files."""

from netbuilder.solvers.checks import CODES, check, check_file, read_solver, require
from netbuilder.solvers.policies import STOCK, Schedule, schedule_of
from netbuilder.solvers.recipe import Plan, Recipe, plan, set_field
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
