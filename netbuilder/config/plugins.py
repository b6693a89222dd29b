"""The module that a config names: the user's Python code, which registers networks, legos or branches.

Loading a config therefore runs that code. Treat a config with a `module` like a program.
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
    """The file of a module named by its file (my_nets.py), relative to the config; else None."""
    return config.parent / name if name.endswith(".py") else None


def load_module(item: Item, config: Path) -> ModuleType:
    """Import once the module that the config at this path names; raises ConfigError if that fails."""
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
            reason, hint = f"file '{path}' does not exist", "the path is relative to the config"
        elif isinstance(error, ModuleNotFoundError) and path is None:
            hint = "name a file, for example module: my_nets.py, or install the module"
        elif path is not None:
            line = _line(error, path)
            reason += f" ({path}:{line})" if line else ""
        raise refusal(f"cannot load module '{name}': {reason}", item.place, "module", hint) from error


def _from_file(path: Path) -> ModuleType:
    """Import a module file under a unique name: two folders may each have a nets.py."""
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
    sys.modules[name] = module  # dataclasses look up their module there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _line(error: BaseException, path: Path) -> int:
    """The line of this file that raised the error, or 0."""
    if isinstance(error, SyntaxError):
        return error.lineno or 0
    line, trace = 0, error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename) == path.resolve():
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
