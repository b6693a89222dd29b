"""The directions of imports, and what the plain command must not import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Lower numbers may not import higher ones: an arrow only ever points down.
LEVELS = [
    ("netbuilder.errors", 0),
    ("netbuilder._version", 0),
    ("netbuilder.findings", 1),
    ("netbuilder._moved", 0),
    ("netbuilder.storage", 1),
    ("netbuilder.schema", 1),
    ("netbuilder.layers", 2),
    ("netbuilder.weights", 2),
    ("netbuilder.net", 3),
    ("netbuilder.prototxt", 4),
    ("netbuilder.measure", 4),
    ("netbuilder.transforms", 4),
    ("netbuilder.checks", 4),
    ("netbuilder.report", 5),
    ("netbuilder.solvers", 5),
    ("netbuilder.data", 5),
    ("netbuilder.training", 6),
    ("netbuilder.engines", 6),
    ("netbuilder.caffeonspark", 6),
    ("legos", 4),
    ("netbuilder.networks", 7),
    ("netbuilder.config", 7),
    ("netbuilder.designing", 8),
    ("netbuilder.cli", 9),
    ("netbuilder.__main__", 9),
    ("netbuilder", 7),
    ("app", 9),
]


def _level(module: str) -> int:
    return next(level for name, level in LEVELS if module == name or module.startswith(name + "."))


def _modules() -> list[Path]:
    return sorted(p for top in ("netbuilder", "legos", "app") for p in (ROOT / top).rglob("*.py"))


def _is_module(path: Path) -> bool:
    return path.is_dir() or path.with_suffix(".py").exists()


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module
            # `from package import module` means the module.
            submodules = {f"{node.module}.{a.name}" for a in node.names}
            on_disk = {m for m in submodules if _is_module(ROOT / m.replace(".", "/"))}
            found |= on_disk or {node.module}
    return {m for m in found if m.partition(".")[0] in ("netbuilder", "legos", "app")}


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_import_climbs(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    climbing = {m for m in _imports(path) if _level(m) > _level(module)}
    assert not climbing, f"{module} must not import {climbing}"


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
