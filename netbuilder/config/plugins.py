"""The module that a config names: Python of the user's own, which registers networks, legos or branches.

Loading a config therefore runs that code; a config with a `module` is to be trusted like a program.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from netbuilder.config.items import Item, refusal
from netbuilder.errors import ConfigError

__all__ = ["load_module", "module_path"]


def module_path(name: str, config: Path) -> Path | None:
    """The file of a module that is named as one (my_nets.py), relative to the config; else None."""
    return config.parent / name if name.endswith(".py") else None


def load_module(item: Item, config: Path) -> ModuleType:
    """Import the module that the config at this path names, once; raises ConfigError if that fails."""
    name = item.value
    if not isinstance(name, str) or not name:
        raise refusal(
            f"module must be a file or the name of a module, got {item.shown}", item.place, "module"
        )
    path = module_path(name, config)
    try:
        return importlib.import_module(name) if path is None else _from_file(path)
    except ConfigError as error:
        raise refusal(
            f"cannot load module '{name}': {error.text}", item.place, "module", error.hint
        ) from error
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}"
        hint = ""
        if isinstance(error, FileNotFoundError) and path is not None and not path.exists():
            reason, hint = f"there is no file '{path}'", "the path is relative to the config"
        elif isinstance(error, ModuleNotFoundError) and path is None:
            hint = "give a file as in module: my_nets.py, or install the module"
        elif path is not None:
            line = _line(error, path)
            reason += f" ({path}:{line})" if line else ""
        raise refusal(f"cannot load module '{name}': {reason}", item.place, "module", hint) from error


def _from_file(path: Path) -> ModuleType:
    """The module of a file, under a name of its own: two folders may each have a nets.py."""
    path = path.resolve()
    for module in list(sys.modules.values()):
        if getattr(module, "__netbuilder_file__", None) == path:
            return module
    name = f"netbuilder_module_{path.stem}"
    while name in sys.modules:
        name += "_"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec  # the suffix is .py
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    module.__netbuilder_file__ = path  # type: ignore[attr-defined]
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _line(error: BaseException, path: Path) -> int:
    """The line of this file at which the error arose, or 0."""
    if isinstance(error, SyntaxError):
        return error.lineno or 0
    line, trace = 0, error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename) == path.resolve():
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
