"""What a verb knows of the person who watches: whether stdout is a terminal, its width, and its colours."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from netbuilder.cli.options import Options
from netbuilder.report.formats import Cell, Column, Table, render

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["add_color", "add_exact", "columns_text", "fitted_lines", "in_color", "table_text", "width"]


def width() -> int | None:
    """How many columns the terminal has that stdout is; None if it is a pipe or a file."""
    if not sys.stdout.isatty():
        return None
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (ValueError, OSError):
        return 80


def add_exact(parser: Options) -> None:
    """Add --exact."""
    parser.add_argument(
        "--exact", action="store_true", help="all digits on a terminal, too, in place of 25.6 M and 3.86 G"
    )


def add_color(parser: Options) -> None:
    """Add --color."""
    parser.add_argument(
        "--color", choices=("auto", "always", "never"), default="auto",
        help="default: auto, which is on a terminal unless NO_COLOR is set",
    )  # fmt: skip


def in_color(args: argparse.Namespace) -> bool:
    """Whether to colour what goes to stdout."""
    if args.color != "auto":
        return bool(args.color == "always")
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return not plain and sys.stdout.isatty()


def columns_text(
    head: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    right: Sequence[int] = (),
    wrap: Sequence[int] = (),
    rank: Mapping[int, int] | None = None,
    exact: bool = False,
) -> str:
    """Like `report.format_table`, fitted to the terminal if there is one; those in `wrap` are sentences.

    Columns with a `rank` go first where the terminal is too narrow, the highest before the others.
    """
    ranks = rank or {}
    columns = tuple(
        Column(text, text, i in right, rank=ranks.get(i, 0), wrap=i in wrap) for i, text in enumerate(head)
    )
    return table_text(Table(columns, tuple(tuple(row) for row in rows)), exact=exact)


def table_text(table: Table, *, exact: bool = False, keep: Sequence[str] = ()) -> str:
    """The table, fitted to the terminal if there is one."""
    columns = width()
    if columns is None:
        return render(table, "table")
    from netbuilder.report.terminal import fitted

    return fitted(table, columns, exact=exact, keep=keep)


def fitted_lines(text: str) -> list[str]:
    """A sentence on as many lines as the terminal needs, one if there is none."""
    columns = width()
    if columns is None:
        return [text]
    from netbuilder.report.terminal import wrapped

    return wrapped(text, columns, "  ")
