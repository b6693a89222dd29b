"""The table of codes and the rules in docs/caffeonspark.md match the code."""

from __future__ import annotations

from pathlib import Path

from netbuilder.caffeonspark import CODES

PAGE = Path(__file__).parents[2] / "docs" / "caffeonspark.md"


def test_the_page_lists_exactly_the_codes_of_the_program() -> None:
    page = PAGE.read_text(encoding="utf-8")
    head = "| code | severity | rule | reported by | what it is |\n|---|---|---|---|---|\n"
    table = page.partition(head)[2].partition("\n\n")[0]
    rows = [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in table.splitlines()]
    assert rows == [(f"`{code}`", c.severity, str(c.rule), c.told, c.title) for code, c in CODES.items()]


def test_the_page_has_every_rule() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [n for n in range(1, 15) if f"\n{n}. **" not in page] == []
    assert "\n15. " not in page
