"""The former paths of public modules, which go on working: importing one gives the module at its new place.

`from netbuilder.counts import count` warns with DeprecationWarning and means `netbuilder.measure.counts`.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # every start of the command imports this module
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["MOVED", "Finder"]

MOVED = {
    "netbuilder.blocks": "netbuilder.measure.blocks",
    "netbuilder.counts": "netbuilder.measure.counts",
    "netbuilder.dialects": "netbuilder.schema.dialects",
    "netbuilder.diff": "netbuilder.measure.diff",
    "netbuilder.examine": "netbuilder.checks.examine",
    "netbuilder.fields": "netbuilder.schema.fields",
    "netbuilder.files": "netbuilder.storage.files",
    "netbuilder.fixes": "netbuilder.checks.fixes",
    "netbuilder.geometry": "netbuilder.measure.geometry",
    "netbuilder.proto": "netbuilder.schema",
    "netbuilder.rebatch": "netbuilder.transforms.rebatch",
    "netbuilder.targets": "netbuilder.checks.consumers",
}


class Finder:
    """Finds a moved module; the last of `sys.meta_path`, so it is asked only where nothing else is found."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a moved module, or None for any other name."""
        if name not in MOVED:
            return None
        import warnings
        from importlib.machinery import ModuleSpec

        warnings.warn(f"{name} is now {MOVED[name]}", DeprecationWarning, stacklevel=2)
        return ModuleSpec(name, _Loader(MOVED[name]))  # type: ignore[arg-type]  # a loader by its methods


class _Loader:
    """Loads a module by its new name; the module keeps the spec that it has there."""

    def __init__(self, name: str) -> None:
        self._module = importlib.import_module(name)
        self._spec = self._module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


def install() -> None:
    """Let imports of the former paths work."""
    if not any(finder is Finder for finder in sys.meta_path):
        sys.meta_path.append(Finder)
