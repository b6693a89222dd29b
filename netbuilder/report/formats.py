"""A table as text: for the terminal, as CSV, Markdown or LaTeX. Nothing here knows what it holds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from netbuilder.errors import printable

__all__ = [
    "TEXT_FORMATS", "AtLeast", "Bytes", "Cell", "Column", "Table", "cell_text", "format_table", "known",
    "number", "render",
]  # fmt: skip

TEXT_FORMATS = ("table", "csv", "markdown", "latex")


class AtLeast(NamedTuple):
    """A sum of which a part is not known."""

    value: int | float


class Bytes(NamedTuple):
    """An amount of memory; with `least`, a part is not known."""

    value: int
    least: bool = False


Cell = str | int | float | AtLeast | Bytes | None


class Column(NamedTuple):
    """A column; `key` is its head in CSV. Where `number`, cells are right-aligned, and None is not known.

    On a terminal that is too narrow, columns with a `rank` go, the highest first, and sentences `wrap`.
    """

    key: str
    head: str
    number: bool = False
    rank: int = 0
    wrap: bool = False


class Table(NamedTuple):
    """Rows of cells, and a last one that sums them up, if there is one. None is what is not known."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    last: tuple[Cell, ...] | None = None

    def without(self, *keys: str) -> Table:
        """The table without the columns of these keys."""
        kept = [i for i, c in enumerate(self.columns) if c.key not in keys]
        return Table(
            tuple(self.columns[i] for i in kept),
            tuple(tuple(row[i] for i in kept) for row in self.rows),
            self.last and tuple(self.last[i] for i in kept),
        )


def render(table: Table, form: str) -> str:
    """The table in one of TEXT_FORMATS, without a last newline.

    CSV has plain numbers under one head and no last row; what is not known is empty there, and a "?"
    elsewhere. A number that is at least that has ">=" before it, but in CSV.
    """
    if form == "csv":
        return _csv(table)
    heads = tuple(printable(c.head) for c in table.columns)
    rows = [
        tuple(cell_text(cell, c.number) for cell, c in zip(row, table.columns, strict=True))
        for row in (*table.rows, *((table.last,) if table.last else ()))
    ]
    right = tuple(i for i, c in enumerate(table.columns) if c.number)
    if form == "markdown":
        return _markdown(heads, rows, right)
    if form == "latex":
        return _latex(heads, rows, right, ruled=table.last is not None)
    return format_table(heads, rows, right=right)


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Columns separated by two spaces under a rule; those in `right` are aligned to the right."""
    head, *rows = ([printable(cell) for cell in row] for row in (head, *rows))
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = []
    for row in (head, ["-" * w for w in widths], *rows):
        cells = (
            c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def known(cell: Cell) -> int | float | None:
    """What is known of a number."""
    if isinstance(cell, AtLeast | Bytes):
        return cell.value
    return None if isinstance(cell, str) else cell


def number(n: int | float) -> str:
    """Thousands apart; a fraction, which an operation count per image may be, to one place."""
    return f"{n:,}" if isinstance(n, int) else f"{n:,.1f}"


# What a cell of a spreadsheet begins with that is computed.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def cell_text(cell: Cell, is_number: bool) -> str:
    """A cell in full."""
    if cell is None:
        return "?" if is_number else ""
    if isinstance(cell, Bytes):
        return f"{'>= ' * cell.least}{_memory(cell.value)}"
    if isinstance(cell, AtLeast):
        return f">= {number(cell.value)}"
    return printable(cell) if isinstance(cell, str) else number(cell)


def _memory(n: int) -> str:
    return f"{n / 2**20:,.1f} MiB" if n >= 2**20 / 10 else f"{n / 2**10:,.1f} KiB"


def _plain(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if len(text) > 1 and text[0] in _FORMULA else text


def _csv(table: Table) -> str:
    lines = [_csv_line([_plain(c.key) for c in table.columns])]
    for row in table.rows:
        lines.append(_csv_line([_plain(cell) if isinstance(cell, str) else known(cell) for cell in row]))
    return "\n".join(lines)


def _csv_line(cells: Iterable[object]) -> str:
    """A line of CSV. The writer quotes carriage returns only if line ends have one, so it is cut off here."""
    import csv
    import io

    out = io.StringIO()
    csv.writer(out).writerow(cells)
    return out.getvalue().removesuffix("\r\n")


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int]) -> str:
    # GitHub's; an underscore within a word stands for itself.
    marks = re.compile(r"[\\`*\[\]<>|~&]|(?<![^\W_])_|_(?![^\W_])")
    rule = ["---:" if i in right else "---" for i in range(len(head))]
    escaped = ([marks.sub(r"\\\g<0>", cell) for cell in row] for row in rows)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *escaped))


_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}


def _latex(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int], *, ruled: bool) -> str:
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{tabular}{" + "".join("r" if i in right else "l" for i in range(len(head))) + "}",
        "\\toprule",
    ]
    for i, row in enumerate((head, *rows)):
        if i == 1 or (ruled and i == len(rows)):
            lines.append("\\midrule")
        lines.append(" & ".join("".join(_LATEX.get(c, c) for c in cell) for cell in row) + " \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"])
