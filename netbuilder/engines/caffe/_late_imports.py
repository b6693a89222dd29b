"""Import Caffe without what only `caffe.io` uses: SciPy and scikit-image take a second of processor time.

pkg_resources, another eighth of one, only tells protobuf where it is, which that finds without.

Each worker in Caffe's Python (3.7 or newer) receives this source before its own, so it imports only the
standard library.
"""

from __future__ import annotations

import importlib
import sys
import types
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

WITHOUT = "pkg_resources"
LATE = ("skimage", "skimage.io", "skimage.transform", "scipy", "scipy.ndimage")


class Late(types.ModuleType):
    """Stands in for a module; each function of it imports the module when it is called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*args: Any, **options: Any) -> Any:
            return getattr(importlib.import_module(self.__name__), name)(*args, **options)

        return call


@contextmanager
def late_imports() -> Iterator[None]:
    """While it lasts, these modules are stood in for, unless they are there already."""
    made: dict[str, Any] = {name: Late(name) for name in LATE if name not in sys.modules}
    for name, module in made.items():
        parent, _, child = name.rpartition(".")
        module.__path__ = []
        if parent in made:
            setattr(made[parent], child, module)
    if WITHOUT not in sys.modules:
        made[WITHOUT] = None  # an import of it raises ImportError
    sys.modules.update(made)
    try:
        yield
    finally:
        for name, module in made.items():
            if name in sys.modules and sys.modules[name] is module:
                del sys.modules[name]
