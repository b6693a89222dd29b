"""What a verb knows of the terminal: whether stdout is one, how wide it is, and whether it shows colours.

Colours are few: heads and totals are bold, rules are dim, and a difference has the usual colours of a diff.
Pipes and files get none, unless --color says always. The escape codes below are all this needs; a library
would slow the start of every command.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from netbuilder.errors import printable
from netbuilder.report.formats import Cell, Column, Table, render

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TextIO

__all__ = [
    "add_color",
    "add_exact",
    "columns_text",
    "command_lines",
    "error_text",
    "fitted_lines",
    "in_color",
    "painted",
    "painted_table",
    "say",
    "say_error",
    "table_text",
    "width",
]

_NOTE = "not shown at this width"
_EXAMPLE = "  hint:    for example netbuilder "
_HANG = " " * 11
_CODES = {"bold": "1", "dim": "2", "error": "1;31", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def width(stream: TextIO | None = None) -> int | None:
    """How many columns the terminal has that stdout or another stream is; None if it is a pipe or a file."""
    stream = stream or sys.stdout
    if not stream.isatty():
        return None
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (ValueError, OSError):
        return 80


def add_exact(parser: argparse._ActionsContainer) -> None:
    """Add --exact."""
    parser.add_argument(
        "--exact", action="store_true", help="all digits on a terminal, too, in place of 25.6 M and 3.86 G"
    )


def add_color(parser: argparse._ActionsContainer) -> None:
    """Add --color."""
    parser.add_argument(
        "--color", choices=("auto", "always", "never"), default="auto",
        help="default: auto, which is on a terminal unless NO_COLOR is set",
    )  # fmt: skip


def in_color(args: argparse.Namespace | None = None, stream: TextIO | None = None) -> bool:
    """Whether to colour what goes to stdout or another stream; without --color, if that is a terminal."""
    chosen = getattr(args, "color", "auto")
    if chosen != "auto":
        return bool(chosen == "always")
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return not plain and (stream or sys.stdout).isatty()


def painted(text: str, color: str) -> str:
    """The text in a colour of `_CODES`."""
    return f"\x1b[{_CODES[color]}m{text}\x1b[0m" if text else text


def painted_table(text: str, args: argparse.Namespace | None = None, *, last: bool = False) -> str:
    """A table whose heads are bold and whose rule is dim, if there are colours; `last` is a row of sums."""
    if not in_color(args):
        return text
    lines = text.split("\n")
    rule = next((i for i, line in enumerate(lines) if set(line) <= set("- ") and line.strip()), 0)
    lines[: rule + 1] = [*(painted(line, "bold") for line in lines[:rule]), painted(lines[rule], "dim")]
    note = lines[-1].startswith(_NOTE)
    if note:
        lines[-1] = painted(lines[-1], "dim")
    if last:
        lines[-1 - note] = painted(lines[-1 - note], "bold")
    return "\n".join(lines)


def columns_text(
    head: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    right: Sequence[int] = (),
    wrap: Sequence[int] = (),
    rank: Mapping[int, int] | None = None,
    exact: bool = False,
    args: argparse.Namespace | None = None,
) -> str:
    """Like `report.format_table`, fitted to the terminal if there is one; those in `wrap` are sentences.

    Columns with a `rank` go first where the terminal is too narrow, the highest before the others.
    """
    ranks = rank or {}
    columns = tuple(
        Column(text, text, i in right, rank=ranks.get(i, 0), wrap=i in wrap) for i, text in enumerate(head)
    )
    return table_text(Table(columns, tuple(tuple(row) for row in rows)), exact=exact, args=args)


def table_text(
    table: Table,
    *,
    exact: bool = False,
    keep: Sequence[str] = (),
    args: argparse.Namespace | None = None,
) -> str:
    """The table, fitted to the terminal if there is one, and in its colours; `args` may have --color."""
    columns = width()
    if columns is None:
        text = render(table, "table")
    else:
        from netbuilder.report.terminal import fitted

        text = fitted(table, columns, exact=exact, keep=keep)
    return painted_table(text, args, last=table.last is not None)


def fitted_lines(text: str, indent: str = "  ", stream: TextIO | None = None) -> list[str]:
    """A sentence on as many lines as the terminal needs, one if there is none."""
    columns = width(stream)
    if columns is None:
        return [text]
    from netbuilder.report.terminal import wrapped

    return wrapped(text, columns, indent)


def command_lines(text: str, stream: TextIO | None = None) -> list[str]:
    """A command on as many lines as the terminal needs, with backslashes, so that it can be pasted."""
    columns = width(stream)
    if columns is None:
        return [text]
    from netbuilder.report.terminal import wrapped

    *parts, last = wrapped(text, columns - 2, _HANG)
    return [*(f"{part} \\" for part in parts), last]


def say(text: str) -> None:
    """Print a note to stderr, on as many lines as its terminal needs."""
    for line in fitted_lines(printable(text), stream=sys.stderr):
        print(line, file=sys.stderr)


def say_error(file: str, error: Exception | str) -> None:
    """Print to stderr what is wrong with one of several files."""
    print(error_text(error, printable(file)), file=sys.stderr)


def error_text(error: Exception | str, name: str = "") -> str:
    """An error for stderr, of its type or of this name. On a terminal it fits; the name is in colour."""
    columns, name = width(sys.stderr), name or type(error).__name__
    text = f"{name}: {error}"
    if columns is None:
        return text
    from netbuilder.report.terminal import wrapped

    lines: list[str] = []
    for line in text.split("\n"):
        lines += (
            command_lines(line, sys.stderr) if line.startswith(_EXAMPLE) else wrapped(line, columns, _HANG)
        )
    shown = "\n".join(lines)
    return painted(name, "error") + shown.removeprefix(name) if in_color(stream=sys.stderr) else shown
