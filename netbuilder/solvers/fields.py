"""The fields of a solver that options and recipes set, and the file of extras that no solver can hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from netbuilder.errors import FieldError

__all__ = ["SCALED", "extras_path", "set_field"]

SCALED = ("SGD", "Nesterov")  # their rates grow with the batch; the others divide the gradient by its size


def set_field(solver: Any, name: str, value: Any) -> None:
    """Set a field of a solver, or leave it out if the value is None. Raises FieldError."""
    from netbuilder.schema.fields import assign

    try:
        solver.ClearField(name) if name in solver.DESCRIPTOR.fields_by_name else None
        if value is None:
            return
        assign(solver, name, value)
    except FieldError as error:
        raise FieldError(f"solver: {error.text}", hint=error.hint) from None


def extras_path(solver: str) -> Path:
    """The file with the extras of a solver file, beside it."""
    return Path(solver).with_suffix(".extras.yaml")
