"""The tables of layers in docs/onnx.md are what FORMS has."""

from __future__ import annotations

import re
from pathlib import Path

from netbuilder.export.onnx.forms import FAMILIES, FORMS

PAGE = Path(__file__).parents[3] / "docs" / "onnx.md"
TABLES = re.compile(r"(<!-- layers: [^\n]*-->\n).*?(<!-- end of layers -->)", re.DOTALL)


def tables() -> str:
    lines = ["| family | exported |", "|---|---|"]
    for family in FAMILIES:
        types = ", ".join(sorted(family.COVERED))
        lines += [f"| {family.__name__.rpartition('.')[2]} | {types} |"] if types else []
    lines += ["", "| refused | because |", "|---|---|"]
    reasons: dict[str, list[str]] = {}
    for type, reason in sorted(FORMS.refused.items()):
        reasons.setdefault(reason, []).append(type)
    lines += [f"| {', '.join(types)} | {reason} |" for reason, types in reasons.items()]
    return "\n".join(lines)


def test_the_tables_are_what_is_exported_and_refused(update_goldens: bool) -> None:
    text = PAGE.read_text(encoding="utf-8")
    wanted = TABLES.sub(lambda found: f"{found[1]}{tables()}\n{found[2]}", text)
    if update_goldens:
        PAGE.write_text(wanted, encoding="utf-8")
    assert text == wanted or update_goldens
    assert TABLES.search(text)
