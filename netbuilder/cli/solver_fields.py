"""`--set FIELD=VALUE`: other values for the fields of a solver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from netbuilder.cli.options import Options
from netbuilder.errors import ConfigError, FieldError, did_you_mean

__all__ = ["add_set", "solver_fields"]


def add_set(parser: Options) -> None:
    """Add --set."""
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE",
        help="another value for a field of the solver, as in --set snapshot_prefix=runs/a; commas separate "
        "several, as in test_iter=10,20; without a value the field is left out; may be repeated",
    )  # fmt: skip


def solver_fields(texts: Sequence[str]) -> dict[str, Any]:
    """The values of --set by field; None for a field to leave out. Raises ConfigError, FieldError."""
    return dict(map(_field, texts))


def _field(text: str) -> tuple[str, Any]:
    """A FIELD=VALUE: a number where it is one, a list where there are commas, None for "", else text."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigError(f"--set takes FIELD=VALUE, got '{text}'", hint="as in --set display=20")
    if not value:
        _word(name, value)
        return name, None
    words = [_word(name, w) for w in value.split(",")]
    return name, words if len(words) > 1 or _repeated(name) else words[0]


def _repeated(name: str) -> bool:
    from netbuilder.schema import SolverParameter
    from netbuilder.schema.fields import is_repeated

    field = SolverParameter.DESCRIPTOR.fields_by_name.get(name)
    return field is not None and is_repeated(field)


def _word(name: str, word: str) -> Any:
    from netbuilder.schema import SolverParameter

    field = SolverParameter.DESCRIPTOR.fields_by_name.get(name)
    if field is None:
        known = [f.name for f in SolverParameter.DESCRIPTOR.fields]
        raise FieldError(f"no field '{name}' in SolverParameter", hint=did_you_mean(name, known))
    if field.type == field.TYPE_BOOL and word in ("true", "false"):
        return word == "true"
    if field.type in (field.TYPE_STRING, field.TYPE_ENUM):
        return word
    try:
        return float(word) if field.type == field.TYPE_FLOAT else int(word)
    except ValueError:
        return word  # refused where it is set, with what it should be
