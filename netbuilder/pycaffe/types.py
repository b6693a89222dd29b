"""`layer_type_list`: the layer types that a net may have."""

from __future__ import annotations

from netbuilder.engines.torch.operators import OPERATORS
from netbuilder.pycaffe.blob import StringVec

__all__ = ["layer_type_list"]


def layer_type_list() -> StringVec:
    """The types that are computed, those of Caffe's forks too, sorted."""
    return StringVec(sorted({*OPERATORS.covered, "Python"}))
