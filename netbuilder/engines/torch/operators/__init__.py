"""The operators by layer type: each computed, or refused with the reason.

An operator is a subclass of `Operator` in the module of its family, which has the name of the family's module
in `netbuilder.layers`; see docs/add-an-operator.md.
"""

from __future__ import annotations

from netbuilder.engines.torch.operator import Operator
from netbuilder.engines.torch.operators import (
    activation,
    combine,
    converted,
    convolution,
    data,
    detection,
    faces,
    forks,
    linear,
    loss,
    normalization,
    ohem,
    pooling,
    recurrent,
    reshape,
    segmentation,
    volumes,
    yolo,
)
from netbuilder.layers import Coverage

__all__ = ["OPERATORS"]

FAMILIES = (
    activation,
    combine,
    converted,
    convolution,
    data,
    detection,
    faces,
    forks,
    linear,
    loss,
    normalization,
    ohem,
    pooling,
    recurrent,
    reshape,
    segmentation,
    volumes,
    yolo,
)

_COVERED: dict[str, type[Operator]] = {}
_REFUSED: dict[str, str] = {}
for family in FAMILIES:
    _COVERED.update(family.COVERED)
    _REFUSED.update(family.REFUSED)

OPERATORS: Coverage[type[Operator]] = Coverage(
    "netbuilder.engines.torch.operators.OPERATORS", _COVERED, _REFUSED
)
