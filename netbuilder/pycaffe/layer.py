"""`Layer`: the base class of layers written in Python, and how a net makes and calls them."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from netbuilder.pycaffe.blob import Blob, BlobVec

if TYPE_CHECKING:
    from netbuilder.schema import LayerParameter

__all__ = ["Layer", "made"]


class Layer:
    """A layer: `type` and `blobs`. Those written in Python derive from it.

    They have `setup`, `reshape` and `forward`, each with the lists of the bottoms and of the tops, and
    `backward(top, propagate_down, bottom)`; `param_str` and `phase` are set before `setup`, which may make
    parameters by `self.blobs.add_blob(...)`.
    """

    param_str: str = ""
    phase: int = 0

    def __init__(self, param: LayerParameter | None = None) -> None:
        """`param` is the layer's message."""

    @property
    def type(self) -> str:
        """The type in the prototxt."""
        return str(self.__dict__.get("_type", "Python"))

    @property
    def blobs(self) -> BlobVec:
        """The parameter blobs."""
        found: BlobVec = self.__dict__.setdefault("_blobs", BlobVec())
        return found

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Called once, when the net is made."""

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Called before each pass: give the tops their shapes."""

    @classmethod
    def of(cls, type: str, blobs: BlobVec) -> Layer:
        """A layer that is not written in Python."""
        layer = cls()
        layer.__dict__.update(_type=type, _blobs=blobs)
        return layer


def made(layer: LayerParameter, phase: int) -> Any:
    """The object of a Python layer, before its `setup`. Raises what importing its module raises."""
    p = layer.python_param
    module = importlib.import_module(p.module)
    found = getattr(module, p.layer)(layer)
    found.param_str = p.param_str
    found.phase = phase
    return found
