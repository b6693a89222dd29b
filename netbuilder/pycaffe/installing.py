"""`install`: let `import caffe` mean netbuilder.pycaffe in this process."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from netbuilder.errors import EngineError

__all__ = ["install", "real_caffe"]

_OURS = "netbuilder.pycaffe"


def install(*, shadow: bool = False) -> None:
    """Let `import caffe`, and that of its modules, give netbuilder.pycaffe from now on.

    A real Caffe that could be imported, or was, is replaced with `shadow` only. Raises EngineError.
    """
    there = sys.modules.get("caffe")
    if there is sys.modules[_OURS]:
        return
    real = str(getattr(there, "__file__", "the module caffe")) if there is not None else real_caffe()
    if real and not shadow:
        raise EngineError(
            f"a real Caffe is installed, {real}: it is not replaced unless you ask for it",
            hint="install(shadow=True), or --shadow of `python -m netbuilder.pycaffe`",
        )
    for name in [name for name in sys.modules if name == "caffe" or name.startswith("caffe.")]:
        del sys.modules[name]
    sys.meta_path.insert(0, _Finder())


def real_caffe() -> str:
    """Where the Caffe is that `import caffe` would give; "" if there is none, or the registry's empty one."""
    try:
        spec = importlib.util.find_spec("caffe")
    except (ImportError, ValueError):
        return ""
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        if any(Path(folder).glob("_caffe*")) or (Path(folder) / "pycaffe.py").exists():
            return str(folder)
    return ""


class _Finder(importlib.abc.MetaPathFinder):
    """Finds `caffe` and its modules: they are those of netbuilder.pycaffe."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of a module, None for others than Caffe's."""
        if name != "caffe" and not name.startswith("caffe."):
            return None
        ours = _OURS + name[len("caffe") :]
        if importlib.util.find_spec(ours) is None:
            return None
        return importlib.machinery.ModuleSpec(name, _Loader(ours), is_package=True)


class _Loader(importlib.abc.Loader):
    """Gives the module of ours, under Caffe's name."""

    def __init__(self, ours: str) -> None:
        self._ours = ours

    def create_module(self, spec: Any) -> ModuleType:
        """The module itself."""
        module = importlib.import_module(self._ours)
        self._kept = module.__spec__, module.__loader__, module.__package__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Its code has run; it keeps its own name."""
        module.__spec__, module.__loader__, module.__package__ = self._kept
        module.__name__ = self._ours
