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

OPERATORS: Coverage[type[Operator]] = Coverage.of_families(
    "netbuilder.engines.torch.operators.OPERATORS", FAMILIES
)
