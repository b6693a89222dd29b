"""The house: which room may import which, what stays thin, and what the plain command must not import."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the ground up. A room may import the rooms before it, never one after it: docs/design.md shows them.
ROOMS = (
    "netbuilder._version",
    "netbuilder.errors",
    "netbuilder.records",
    "netbuilder.findings",
    "netbuilder._moved",
    "netbuilder.storage",
    "netbuilder.schema",
    "netbuilder.layers",
    "netbuilder.graph",
    "netbuilder.net",
    "legos",
    "netbuilder.weights",
    "netbuilder.prototxt",
    "netbuilder.measure",
    "netbuilder.transforms",
    "netbuilder.checks",
    "netbuilder.report",
    "netbuilder.draw",
    "netbuilder",
    "netbuilder.solvers",
    "netbuilder.data",
    "netbuilder.training",
    "netbuilder.engines",
    "netbuilder.pycaffe",
    "netbuilder.export",
    "netbuilder.caffeonspark",
    "netbuilder.spark",
    "netbuilder.networks",
    "netbuilder.config",
    "netbuilder.designing",
    "netbuilder.cli",
    "netbuilder.__main__",
    "app",
)
LONGEST = 500  # lines of a file


def _room(module: str) -> str:
    inside = (room for room in ROOMS if module == room or module.startswith(room + "."))
    return max(inside, key=len)


def _files() -> list[Path]:
    return sorted(p for top in ("netbuilder", "legos", "app") for p in (ROOT / top).rglob("*.py"))


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def _modules() -> frozenset[str]:
    return frozenset(map(_module, _files()))


@cache
def _imports(path: Path) -> frozenset[str]:
    """The modules of ours that a file imports, anywhere in it but for type checkers only."""
    found: set[str] = set()
    nodes: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            nodes += node.orelse
            continue
        nodes += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module
            # `from package import module` means the module.
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & _modules()
            found |= submodules
            if len(submodules) < len(node.names):
                found.add(node.module)
    return frozenset(m for m in found if m.partition(".")[0] in ("netbuilder", "legos", "app"))


@pytest.mark.parametrize("path", _files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_import_climbs(path: Path) -> None:
    module = _module(path)
    floor = ROOMS.index(_room(module))
    climbing = {m for m in _imports(path) if ROOMS.index(_room(m)) > floor}
    assert not climbing, f"{module} must not import {climbing}"


def test_no_circle_of_imports() -> None:
    graph = {_module(path): _imports(path) & _modules() for path in _files()}
    done: set[str] = set()

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"a circle: {' -> '.join([*path[path.index(module) :], module])}"
        if module not in done:
            for imported in sorted(graph[module]):
                walk(imported, (*path, module))
            done.add(module)

    for module in graph:
        walk(module, ())


@pytest.mark.parametrize("path", _files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_is_longer_than_one_can_keep_in_mind(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST, f"{path.relative_to(ROOT)} has {lines} lines: split it"


def test_a_plain_build_imports_nothing_heavy() -> None:
    code = (
        "import sys, netbuilder.cli.build, netbuilder.cli.count\n"
        "print([m for m in ('numpy', 'torch', 'rich', 'yaml', 'netbuilder.engines') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "[]\n"


def test_the_public_api_is_what_it_says() -> None:
    import netbuilder

    assert netbuilder.__all__ == ["Blob", "Layer", "Net", "__version__", "checks", "counts", "prototxt"]
    assert all(hasattr(netbuilder, name) for name in netbuilder.__all__)
