"""Real Caffe: a judge that loads and runs nets (`judge`), and an engine that trains them (`engine`)."""

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
