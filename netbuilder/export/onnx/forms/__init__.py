"""The ONNX forms by layer type: each is covered, or refused with the reason.

A form is a function in the module of its family, which has the name of the family's module in
`netbuilder.layers`; `others` has families without any. See docs/onnx.md.
"""

from __future__ import annotations

from netbuilder.export.onnx.forms import (
    activation,
    combine,
    converted,
    convolution,
    data,
    detection,
    forks,
    linear,
    loss,
    normalization,
    others,
    pooling,
    recurrent,
    reshape,
)
from netbuilder.export.onnx.graph import Form
from netbuilder.layers import Coverage

__all__ = ["FAMILIES", "FORMS"]

FAMILIES = (
    activation,
    combine,
    converted,
    convolution,
    data,
    detection,
    forks,
    linear,
    loss,
    normalization,
    others,
    pooling,
    recurrent,
    reshape,
)

FORMS: Coverage[Form] = Coverage.of_families("netbuilder.export.onnx.forms.FORMS", FAMILIES)
