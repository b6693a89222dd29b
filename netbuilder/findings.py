"""`Finding`, one result of a check of a net, a solver or a job, and `Code`, its kind.

Each part that checks has a table of its own codes; `find` takes the severity of a finding from that table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from netbuilder.errors import printable
from netbuilder.records import Record

__all__ = ["SEVERITIES", "Code", "Finding", "dashed", "find"]

SEVERITIES = ("error", "warning", "info")


@dataclass(frozen=True, eq=False, repr=False)
class Code(Record):
    """A kind of finding: its severity ("error", "warning" or "info"), and its meaning in one sentence."""

    severity: str
    title: str

    def __iter__(self) -> Iterator[str]:
        """Unpack as severity and title."""
        yield from (self.severity, self.title)


@dataclass(frozen=True, eq=False, repr=False)
class Finding(Record):
    """One result of a check. `severity` is "error", "warning" or "info"; `fix` says what to do.

    `layer` is "" if the finding concerns a whole file. `line` and `column` count from 1, 0 is unknown; `file`
    is where they are. `target` names the affected consumer, "" for Caffe itself. `phases` lists
    the phases in which it was found, if several were checked. `field` is the path of the field it is about,
    for example "lrn_param.k", or "" if there is none.
    """

    severity: str
    code: str
    layer: str
    text: str
    fix: str = ""
    line: int = 0
    column: int = 0
    file: str = ""
    target: str = ""
    phases: tuple[str, ...] = ()
    field: str = ""

    def __str__(self) -> str:
        about = f"{self.layer}: {self.text}" if self.layer else self.text
        line = f"{self.severity}: {printable(about)} [{self.code}]"
        return f"{line}\n  fix: {printable(self.fix)}" if self.fix else line

    def as_data(self) -> dict[str, object]:
        """The finding as in JSON output: all but `field`, which serves `check --fix`."""
        data = {name: value for name, value in vars(self).items() if name != "field"}
        return data | {"phases": list(self.phases)}


def find(
    table: Mapping[str, Code],
    code: str,
    text: str,
    fix: str = "",
    *,
    file: str = "",
    line: int = 0,
    column: int = 0,
    layer: str = "",
    phases: Sequence[str] = (),
    field: str = "",
) -> Finding:
    """A finding of a code in a table, with the severity of the code."""
    severity = table[code].severity
    return Finding(
        severity, code, layer, text, fix, line, column, file, phases=tuple(phases), field=field
    )  # fmt: skip


def dashed(titles: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Codes and titles, from the keyword arguments of a table: `unknown_type` is the code "unknown-type"."""
    for name, title in titles.items():
        yield name.replace("_", "-"), title
