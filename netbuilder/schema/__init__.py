"""The Caffe schema: message classes that read and write the same bytes as Caffe's own.

`message(name)` returns any class; the most used ones are exported by name:

    >>> layer = LayerParameter(name="relu_1", type="ReLU")
    >>> message("LayerParameter") is LayerParameter
    True
"""

from __future__ import annotations

from netbuilder.schema.descriptors import message
from netbuilder.schema.messages import (
    BlobProto,
    BlobShape,
    FillerParameter,
    LayerParameter,
    NetParameter,
    ParamSpec,
    SolverParameter,
)

__all__ = [
    "BlobProto",
    "BlobShape",
    "FillerParameter",
    "LayerParameter",
    "NetParameter",
    "ParamSpec",
    "SolverParameter",
    "message",
]
