"""Tables for a person at a terminal: short numbers, and no line wider than the terminal.

Nothing here is for programs: pipes and files get `formats.render`, whose output does not depend on a width.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from netbuilder.errors import printable
from netbuilder.report.formats import AtLeast, Bytes, Cell, Column, Table, cell_text, number

__all__ = ["compared", "fitted", "middle", "short", "wrapped"]

_SHORTEST = 8  # characters of a name that is cut
_COMFORT = 24  # columns go before names become shorter than this
_MOST_LINES = 5  # of a head
_UNITS = ((10**15, "P"), (10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))
_BINARY = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B"))
# Rows of a comparison of which a ratio says nothing.
_NO_RATIO = ("batch", "layers not counted")


def short(n: int | float) -> str:
    """Three digits and a unit: `3.86 G`, `25.6 M`, `94.1 k`; below ten thousand the number itself."""
    if abs(n) < 10**4:
        return number(n) if isinstance(n, int) else f"{n:,.0f}" if abs(n) >= 100 else f"{n:.3g}"
    return _scaled(n, _UNITS)


def fitted(
    table: Table, width: int, *, exact: bool = False, keep: Sequence[str] = (), notes: bool = True
) -> str:
    """The table within a width: in short numbers unless `exact`, without the columns that matter least.

    Columns with a rank go first, the highest before the others, but those of the keys in `keep`; then the
    longest names are shortened in the middle. A column of sentences is wrapped.
    """
    rows = [*table.rows, *((table.last,) if table.last else ())]
    texts = [[_text(cell, c.number, exact) for cell, c in zip(row, table.columns, strict=True)]
             for row in rows]  # fmt: skip
    kept = list(range(len(table.columns)))
    full = [max(map(columns_of, (c.head, *(t[i] for t in texts)))) for i, c in enumerate(table.columns)]
    limits = full.copy()
    names = [i for i, c in enumerate(table.columns) if not c.number]

    def excess() -> int:
        return sum(limits[i] for i in kept) + 2 * (len(kept) - 1) - width

    dropped = []
    for i in sorted(kept, key=lambda i: -full[i]):  # heads on several lines
        if excess() > 0:
            least = max(map(columns_of, (*_parts(table.columns[i].head), *(t[i] for t in texts))))
            limits[i] = max(least, limits[i] - excess())
    _cut(limits, [i for i in names if not table.columns[i].wrap], excess, _COMFORT)
    while excess() > 0:
        ranked = [i for i in kept if table.columns[i].rank and table.columns[i].key not in keep]
        if not ranked:
            break
        last = max(ranked, key=lambda i: table.columns[i].rank)
        kept.remove(last)
        dropped.append(table.columns[last].head)
    for i in kept:  # what is left over goes back to the names
        limits[i] = min(full[i], limits[i] + max(0, -excess()))
    _cut(limits, [i for i in kept if table.columns[i].wrap], excess, _COMFORT)
    _cut(limits, [i for i in kept if i in names], excess, _SHORTEST)
    lines = _laid_out(table, texts, kept, limits)
    if dropped and notes:
        left = ", ".join(reversed(dropped))
        lines += wrapped(f"not shown at this width: {left} (--json has all)", width)
    return "\n".join(lines)


def compared(table: Table, width: int, *, exact: bool = False) -> str:
    """A column of figures per net, each with its ratio to the first net's; a row per net if they are many."""
    cells = [[str(row[0]) for row in table.rows]]
    for i in range(1, len(table.columns)):
        figures = [_text(row[i], True, exact) for row in table.rows]
        ratios = [_ratio(row[i], row[1]) if i > 1 and row[0] not in _NO_RATIO else "" for row in table.rows]
        wide = max(map(len, ratios))
        column = [f"{f} {r:>{wide}}" if wide else f for f, r in zip(figures, ratios, strict=True)]
        cells.append(column)
    texts = [[column[j] for column in cells] for j in range(len(table.rows))]
    limits = [max(columns_of(t[i]) for t in texts) for i in range(len(table.columns))]
    room = width - sum(limits) - 2 * (len(limits) - 1)
    heads = [printable(c.head) for c in table.columns[1:]]
    if room >= 0:
        for i, head in enumerate(heads, 1):  # what is left over goes to heads that need it
            more = min(max(0, columns_of(head) - limits[i]), room // (len(limits) - i))
            limits[i], room = limits[i] + more, room - more
        if all(len(_pieces(h, n)) <= _MOST_LINES for h, n in zip(heads, limits[1:], strict=True)):
            return "\n".join(_laid_out(table, texts, list(range(len(limits))), limits))
    return fitted(_turned(table), width, exact=exact)


def _turned(table: Table) -> Table:
    """A row for each net; the figures that matter least have the highest rank."""
    order = ("learnable params", "MACs", "activations", "peak at test", "weights", "layers", "training")
    captions = [str(row[0]) for row in table.rows]
    rank = {caption: order.index(caption) if caption in order else len(order) for caption in captions}
    figures = tuple(Column(c, c, True, rank=rank[c] and rank[c] - 1) for c in captions)
    rows = tuple((c.head, *(row[i] for row in table.rows)) for i, c in enumerate(table.columns[1:], 1))
    return Table((Column("net", "net"), *figures), rows)


def _ratio(cell: Cell, first: Cell) -> str:
    values = [c.value if isinstance(c, Bytes) and not c.least else c for c in (cell, first)]
    value, base = values
    if not isinstance(value, int | float) or not isinstance(base, int | float) or not base:
        return ""
    ratio = value / base
    return f"{ratio:.2g}x" if ratio < 0.1 else f"{ratio:.2f}x" if ratio < 10 else f"{ratio:,.0f}x"


def _text(cell: Cell, is_number: bool, exact: bool) -> str:
    if exact or cell is None or isinstance(cell, str):
        return cell_text(cell, is_number)
    if isinstance(cell, Bytes):
        return f"{'>= ' * cell.least}{_scaled(cell.value, _BINARY) or '0 B'}"
    return f">= {short(cell.value)}" if isinstance(cell, AtLeast) else short(cell)


def _scaled(n: int | float, units: Sequence[tuple[int, str]]) -> str:
    """A number in the largest of the units that it reaches, to three digits; "" if it reaches none."""
    for size, unit in units:
        # What would be rounded to 1000 of a unit is 1 of the next.
        if abs(n) >= size * (0.9995 if size > 1 else 1):
            value = n / size
            digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
            return f"{value:.{digits}f} {unit}" if size > 1 else f"{n} {unit}"
    return ""


# ---- layout ----------------------------------------------------------------------------------------------


def columns_of(text: str) -> int:
    """How many columns of a terminal a text takes; Chinese and the like take two each."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def middle(text: str, width: int) -> str:
    """A name of at most this many columns, without its middle if it is longer: `conv_st…ranch2a`."""
    if columns_of(text) <= width:
        return text
    tail = (width - 1) // 2
    head = width - 1 - tail
    start, end = text, text
    while columns_of(start) > head:
        start = start[:-1]
    while columns_of(end) > tail:
        end = end[1:]
    return f"{start}…{end}"


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """The lines of a sentence; all but the first are indented by `indent`."""
    words = text.lstrip(" ")
    lines = [" " * (len(text) - len(words))]
    for word in words.split(" "):
        line = f"{lines[-1]} {word}" if lines[-1].strip() else lines[-1] + word
        if columns_of(line) <= width or not lines[-1].strip():
            lines[-1] = line
        else:
            lines.append(indent + word)
    return lines


def _pieces(head: str, width: int) -> list[str]:
    """A name on several lines, broken after a mark if it has one: `bl_resnext_`, `101_32x4d`."""
    if columns_of(head) <= width:
        return [head]
    lines = [""]
    for part in _parts(head):
        while part:
            if columns_of(lines[-1] + part) <= width:
                lines[-1] += part
                break
            if not lines[-1]:  # longer than a line
                lines[-1], part = part[:width], part[width:]
            lines.append("")
    return [line.rstrip(" ") for line in lines if line]


def _parts(head: str) -> list[str]:
    """The words of a head, or the parts of a name, each with the mark that ends it."""
    return [part for part in re.findall(r"[^ ]* ?" if " " in head else r"[^-_/.]*[-_/.]?", head) if part]


def _cut(limits: list[int], columns: Sequence[int], excess: Callable[[], int], least: int) -> None:
    """Narrow the widest of these columns until the table fits, none below `least`."""
    while (over := excess()) > 0:
        widest = max(columns, key=lambda i: limits[i], default=None)
        if widest is None or limits[widest] <= least:
            return
        others = max((limits[i] for i in columns if i != widest), default=least)
        limits[widest] = max(least, min(limits[widest] - 1, max(limits[widest] - over, others - 1)))


def _laid_out(
    table: Table, texts: Sequence[Sequence[str]], kept: Sequence[int], limits: Sequence[int]
) -> list[str]:
    """Heads, a rule and the rows, in these columns of these widths."""
    heads = {i: _pieces(printable(table.columns[i].head), limits[i]) for i in kept}
    tall = max(map(len, heads.values()))
    lines = []
    for n in range(tall):
        row = {
            i: parts[n - tall + len(parts)] if n >= tall - len(parts) else "" for i, parts in heads.items()
        }
        lines.append(_line(table, row, kept, limits))
    lines.append("  ".join("-" * limits[i] for i in kept))
    for text in texts:
        cells = {i: [middle(text[i], limits[i])] for i in kept}
        for i in kept:
            if table.columns[i].wrap:
                cells[i] = [middle(line, limits[i]) for line in wrapped(text[i], limits[i])]
        for n in range(max(map(len, cells.values()))):
            row = {i: parts[n] if n < len(parts) else "" for i, parts in cells.items()}
            lines.append(_line(table, row, kept, limits))
    return lines


def _line(table: Table, cells: dict[int, str], kept: Sequence[int], limits: Sequence[int]) -> str:
    parts = []
    for i in kept:
        blank = " " * (limits[i] - columns_of(cells[i]))
        parts.append(blank + cells[i] if table.columns[i].number else cells[i] + blank)
    return "  ".join(parts).rstrip()
