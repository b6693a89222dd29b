"""Findings as text, as all verbs print them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from netbuilder.errors import counted, printable
from netbuilder.findings import SEVERITIES, Finding

if TYPE_CHECKING:
    from netbuilder.report.excerpts import Excerpts

__all__ = ["also", "finding_lines", "totals", "summary"]

_NAMED = 3  # layers with the same finding that are named


def finding_lines(
    findings: Iterable[Finding], *, file: str = "", phases: int = 0, excerpts: Excerpts | None = None
) -> list[str]:
    """The lines of some findings: one of several layers or consumers is printed once, with their names.

    `file` is the file of a finding that has a line but no file. `phases` is how many phases were checked; a
    finding in fewer of them names its phase. `excerpts` adds what a person sees besides.
    """
    alike: dict[object, list[Finding]] = {}
    for f in _for_consumers(findings):
        alike.setdefault((f.severity, f.code, f.text, f.fix, f.file, f.phases if phases else ()), []).append(
            f
        )
    lines = []
    for first, *others in alike.values():
        text = str(first)
        if not first.target and 0 < len(first.phases) < phases:
            text = text.replace(f" [{first.code}]", f" [{first.code}, {first.phases[0]} only]")
        place = _place(first, file)
        text = f"{place}: {text}" if place else text
        lines += excerpts.told(text, first, also(others)) if excerpts else [text, *also(others)]
    return lines


def _for_consumers(findings: Iterable[Finding]) -> list[Finding]:
    """The findings, those that say the same of several consumers joined: `opencv, mnn: k is taken for 1`."""
    joined: dict[object, list[Finding]] = {}
    for f in findings:
        what = f.text.removeprefix(f"{f.target}: ")
        key = (f.severity, f.code, f.layer, what, f.fix, f.file, f.line, f.column, f.phases, bool(f.target))
        joined.setdefault(key, []).append(f)
    found = []
    for first, *others in joined.values():
        targets = dict.fromkeys(f.target for f in (first, *others))
        if len(targets) > 1 and first.text.startswith(f"{first.target}: "):
            names = ", ".join(targets)
            first = replace(first, text=names + first.text.removeprefix(first.target))
            others = []
        found += [first, *others]
    return found


def _place(finding: Finding, file: str) -> str:
    """The file and line; the column only if the file cannot be parsed."""
    parts: list[object] = [finding.file or (file if finding.line else ""), finding.line]
    if finding.code == "syntax":
        parts.append(finding.column)
    return printable(":".join(str(part) for part in parts if part))


def also(others: list[Finding]) -> list[str]:
    """The line that names other layers with the same finding, if there are any."""
    if not others:
        return []
    named = ", ".join(f"{f.layer} (line {f.line})" for f in others[:_NAMED])
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    return [printable(f"  also: {named}{more}")]


def totals(findings: Iterable[Finding]) -> dict[str, int]:
    """How many findings each severity has."""
    severities = [f.severity for f in findings]
    return {severity: severities.count(severity) for severity in SEVERITIES}


def summary(findings: Iterable[Finding]) -> str:
    """The number of findings, errors and warnings in one line: `1 finding, 1 error, 0 warnings`."""
    numbers = totals(findings)
    parts = [counted(sum(numbers.values()), "finding")]
    return ", ".join(parts + [counted(numbers[severity], severity) for severity in ("error", "warning")])
