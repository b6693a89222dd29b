"""How the verbs that report findings print and sum them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from netbuilder.checks.finding import Finding

__all__ = ["alike", "also", "summary", "totals"]

SEVERITIES = ("error", "warning", "info")
_NAMED = 3  # layers with the same finding that are named


def alike(findings: Iterable[Finding], key: Callable[[Finding], object]) -> list[list[Finding]]:
    """The findings with those of the same key together, in the order of the first of each."""
    found: dict[object, list[Finding]] = {}
    for finding in findings:
        found.setdefault(key(finding), []).append(finding)
    return list(found.values())


def also(others: Sequence[Finding]) -> list[str]:
    """The line that names the other layers with the same finding; none if there are none."""
    if not others:
        return []
    named = ", ".join(f"{f.layer} (line {f.line})" for f in others[:_NAMED])
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    return [f"  also: {named}{more}"]


def totals(findings: Sequence[Finding]) -> dict[str, int]:
    """The number of findings of each severity."""
    return {s: sum(f.severity == s for f in findings) for s in SEVERITIES}


def summary(findings: Sequence[Finding]) -> str:
    """The numbers of findings in one line."""
    numbers = totals(findings)
    return f"{len(findings)} findings, {numbers['error']} errors, {numbers['warning']} warnings"
