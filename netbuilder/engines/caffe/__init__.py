"""Real Caffe: a judge of nets, and an engine that trains; see `judge` for the first."""

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
