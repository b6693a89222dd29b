"""The tables of layers in docs/pytorch.md are what OPERATORS has."""

from __future__ import annotations

import re
from pathlib import Path

from netbuilder.engines.torch.operators import FAMILIES, OPERATORS
from netbuilder.engines.torch.passes import DEFAULT, PASSES

PAGE = Path(__file__).parents[3] / "docs" / "pytorch.md"
TABLES = re.compile(r"(<!-- layers: [^\n]*-->\n).*?(<!-- end of layers -->)", re.DOTALL)


def tables() -> str:
    lines = ["| family | computed |", "|---|---|"]
    for family in FAMILIES:
        types = ", ".join(sorted(family.COVERED))
        lines += [f"| {family.__name__.rpartition('.')[2]} | {types} |"] if types else []
    lines += ["", "| refused | because |", "|---|---|"]
    reasons: dict[str, list[str]] = {}
    for type, reason in sorted(OPERATORS.refused.items()):
        reasons.setdefault(reason, []).append(type)
    lines += [f"| {', '.join(types)} | {reason} |" for reason, types in reasons.items()]
    return "\n".join(lines)


def test_the_tables_are_what_is_computed_and_refused(update_goldens: bool) -> None:
    text = PAGE.read_text(encoding="utf-8")
    wanted = TABLES.sub(lambda found: f"{found[1]}{tables()}\n{found[2]}", text)
    if update_goldens:
        PAGE.write_text(wanted, encoding="utf-8")
    assert text == wanted or update_goldens
    assert TABLES.search(text)


def test_the_page_names_every_pass_and_every_layer_of_float32() -> None:
    text = PAGE.read_text(encoding="utf-8")
    passes, _, precision = text.partition("## Passes")[2].partition("## Lower precision")
    rows = re.findall(r"^\| `(\w+)` \|.*\| (yes|no) \|$", passes, re.MULTILINE)
    assert rows == [(name, "yes" if name in DEFAULT else "no") for name in PASSES]
    section = precision.partition("\n## ")[0]
    precise = {name for name in OPERATORS.covered if OPERATORS[name].precise and "Loss" not in name}
    assert set(re.findall(r"\w+", section)) >= precise
