"""Import Caffe without the modules that a training does not use; each is imported when it is first used.

SciPy and scikit-image, which only `caffe.io` uses, take a second of processor time; the modules of Caffe's
package that are only Python, and their protobuf, a twentieth; pkg_resources, which only tells protobuf where
it is, an eighth.

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
OF_CAFFE = (
    "caffe.classifier", "caffe.detector", "caffe.io", "caffe.net_spec", "caffe.proto",
    "caffe.proto.caffe_pb2",
)  # fmt: skip


class Late(types.ModuleType):
    """Stands in for a module; each function of it imports the module when it is called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*args: Any, **options: Any) -> Any:
            return getattr(importlib.import_module(self.__name__), name)(*args, **options)

        return call


class Later(types.ModuleType):
    """Stands in for a module of Caffe's package while that is imported; its names are stood in for too."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Name(self.__name__, name)


class Name:
    """Stands in for an object of a module of Caffe's package, by its name there."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def real(self) -> Any:
        with late_imports():
            return getattr(importlib.import_module(self.module), self.name)


@contextmanager
def late_imports() -> Iterator[None]:
    """While it lasts, these modules are stood in for, unless they are there already."""
    kinds: dict[str, type[types.ModuleType]] = dict.fromkeys(LATE, Late)
    if "caffe" not in sys.modules:
        kinds.update((name, Later) for name in OF_CAFFE)
    made: dict[str, Any] = {name: kind(name) for name, kind in kinds.items() if name not in sys.modules}
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
        if "caffe" in sys.modules and "caffe.io" in made:
            come_when_asked_for(sys.modules["caffe"])


def come_when_asked_for(package: types.ModuleType) -> None:
    """Give Caffe's package its stand-ins' originals when they are looked up, and its modules at once."""
    late: dict[str, Any] = {}
    for name, value in list(vars(package).items()):
        if isinstance(value, (Later, Name)):
            late[name] = value
            delattr(package, name)
    for own in [module for name, module in sys.modules.items() if name.startswith("caffe.")]:
        for name, value in list(vars(own).items()):
            if isinstance(value, Name):
                setattr(own, name, value.real())
            elif isinstance(value, Later):
                setattr(own, name, importlib.import_module(value.__name__))

    def look_up(name: str) -> Any:
        if name not in late:
            raise AttributeError(f"module '{package.__name__}' has no attribute '{name}'")
        value = late[name]
        if isinstance(value, Name):
            found = value.real()
        else:
            with late_imports():
                found = importlib.import_module(value.__name__)
        setattr(package, name, found)
        return found

    vars(package)["__getattr__"] = look_up
