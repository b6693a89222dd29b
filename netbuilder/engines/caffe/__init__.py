"""Real Caffe: a judge that loads and runs nets (`judge`), and an engine that trains them (`engine`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netbuilder.engines.caffe.judge import (
        INSTALL_COMMAND,
        VARIABLE,
        Caffe,
        CaffeRefused,
        Install,
        LoadedLayer,
        LoadedNet,
        RunResult,
        default_root,
        find,
        missing,
    )

__all__ = [
    "INSTALL_COMMAND",
    "VARIABLE",
    "Caffe",
    "CaffeRefused",
    "Install",
    "LoadedLayer",
    "LoadedNet",
    "RunResult",
    "default_root",
    "find",
    "missing",
]


def __getattr__(name: str) -> Any:
    """The names of `judge`, which a training does not need."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.judge"), name)
