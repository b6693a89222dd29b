"""`legos` exports what its modules offer, and importing one name imports only the module that defines it."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

import legos

# Helpers that one lego module offers to the others, not to users.
INTERNAL = {
    "base": {"Pair", "as_pair", "window_fields"},
    "edges": {"with_copies"},
}
MODULES = sorted(info.name for info in iter_modules(legos.__path__))


def typed_exports() -> set[str]:
    """The names that `legos/__init__.py` imports for type checkers, as `module.name`."""
    tree = ast.parse(Path(legos.__file__).read_text(encoding="utf-8"))
    return {
        f"{node.module.removeprefix('legos.')}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("legos.")
        for alias in node.names
    }


def modules_after(code: str) -> set[str]:
    """The modules of legos that a fresh interpreter has imported after running this code."""
    code += "\nimport sys\nprint(*(m for m in sys.modules if m.startswith('legos.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", MODULES)
def test_legos_exports_every_public_name_of_a_module(module: str) -> None:
    public = set(import_module(f"legos.{module}").__all__) - INTERNAL.get(module, set())
    listed = set(legos._MODULES.get(module, ()))
    forgotten, dangling = sorted(public - listed), sorted(listed - public)
    assert not forgotten, f"legos/__init__.py: add {', '.join(forgotten)} to _MODULES[{module!r}]"
    assert not dangling, f"legos/__init__.py: legos.{module} does not define {', '.join(dangling)}"


def test_the_three_lists_of_exports_agree() -> None:
    table = {f"{module}.{name}" for module, names in legos._MODULES.items() for name in names}
    missing = sorted(table ^ typed_exports())
    assert not missing, f"legos/__init__.py: {', '.join(missing)} is in one of the imports and _MODULES only"
    names = {name.partition(".")[2] for name in table}
    missing = sorted(names ^ set(legos.__all__))
    assert not missing, f"legos/__init__.py: {', '.join(missing)} is in one of __all__ and _MODULES only"
    assert len(names) == len(table) == len(legos.__all__), "two modules of legos define the same name"


@pytest.mark.parametrize("name", legos.__all__)
def test_an_exported_name_is_the_one_its_module_defines(name: str) -> None:
    module = next(module for module, names in legos._MODULES.items() if name in names)
    assert getattr(legos, name) is getattr(import_module(f"legos.{module}"), name)


def test_importing_one_name_imports_only_its_module_and_what_that_needs() -> None:
    assert modules_after("import legos") == set()
    assert modules_after("from legos import WhiteningLego") == {"legos.base", "legos.whitening"}
    assert modules_after("from legos import ConvLego") == {"legos.base", "legos.conv"}


def test_an_unknown_name_is_an_attribute_error_and_imports_nothing() -> None:
    with pytest.raises(AttributeError, match="module 'legos' has no attribute 'NoSuchLego'"):
        legos.NoSuchLego  # noqa: B018
    assert modules_after("import legos\nhasattr(legos, 'NoSuchLego')") == set()
