"""Prototxt files read and written, binary models read; the readers are imported on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netbuilder.prototxt.writer import dumps, write

if TYPE_CHECKING:
    from netbuilder.prototxt.reader import parse, read
    from netbuilder.weights.model import Model, ModelLayer, read_model

__all__ = ["Model", "ModelLayer", "dumps", "parse", "read", "read_model", "write"]

_BINARY = ("Model", "ModelLayer", "read_model")


def __getattr__(name: str) -> Any:
    # A build writes nets and must not wait for the readers.
    if name not in __all__:
        raise AttributeError(f"module 'netbuilder.prototxt' has no attribute {name!r}")
    from netbuilder.prototxt import reader
    from netbuilder.weights import model as binary

    return getattr(binary if name in _BINARY else reader, name)
