"""The Caffe schema: message classes that read and write the same bytes as Caffe's own.

`message(name)` gives any class; those that netbuilder speaks of most are here by name:

    >>> layer = LayerParameter(name="relu_1", type="ReLU")
    >>> message("LayerParameter") is LayerParameter
    True
"""

from __future__ import annotations

from typing import Any

from netbuilder.schema.descriptors import message

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

# Any: the classes are made at run time, and a type checker cannot know their fields.
BlobProto: Any = message("BlobProto")
BlobShape: Any = message("BlobShape")
FillerParameter: Any = message("FillerParameter")
LayerParameter: Any = message("LayerParameter")
NetParameter: Any = message("NetParameter")
ParamSpec: Any = message("ParamSpec")
SolverParameter: Any = message("SolverParameter")
