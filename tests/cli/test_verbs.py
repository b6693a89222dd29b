"""The modules of netbuilder.cli: one a verb, and what verbs share in modules that are no verb."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

from netbuilder.cli.main import VERBS

ROOT = Path(__file__).parents[2]
VERB_MODULES = {f"netbuilder.cli.{verb.module}" for verb in VERBS.values()}


def _imports(text: str) -> set[str]:
    """The modules that the text of a module imports, and each name that it imports as if it were one."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_the_imports_of_a_text() -> None:
    text = (
        "import a.b\n"
        "def f():\n"
        "    from netbuilder.cli import count, fit as g\n"
        "    from netbuilder.cli.diff import x\n"
    )
    assert _imports(text) == {
        "a.b", "netbuilder.cli", "netbuilder.cli.count", "netbuilder.cli.fit", "netbuilder.cli.diff",
        "netbuilder.cli.diff.x",
    }  # fmt: skip


@pytest.mark.parametrize(
    "path", sorted((ROOT / "netbuilder").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_no_module_imports_a_verb(path: Path) -> None:
    found = _imports(path.read_text(encoding="utf-8")) & VERB_MODULES
    assert not found, f"move what {path.name} takes from {', '.join(found)} to a module that is no verb"


@pytest.mark.parametrize("name", sorted(VERB_MODULES))
def test_a_verb_shows_its_parser_and_no_more(name: str) -> None:
    public = {"add_parser"} | ({"script_parser"} if name == "netbuilder.cli.build" else set())
    assert set(importlib.import_module(name).__all__) == public
