"""Convolutions take their images with the channels as the innermost axis in memory, and pass them on so."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from netbuilder.engines.torch.operator import Operator
from netbuilder.engines.torch.operators.convolution import Convolution, Deconvolution
from netbuilder.engines.torch.passes.fusion import leading
from netbuilder.engines.torch.steps import Plan

__all__ = ["channels_last", "lay_out"]


def channels_last(plan: Plan) -> None:
    """Mark the convolutions and Deconvolutions of images. All other layers keep the layout that they get."""
    for i, step in enumerate(plan.steps):
        if step is not None and _slides(leading(step.operator)):
            plan.replace(i, channels_last=True)


def lay_out(operators: Iterable[Operator]) -> None:
    """Store the weights of these layers in the same way, except those that are also seen in another shape."""
    operators = tuple(operators)
    viewed = {id(owner.blob(j)) for operator in operators for owner, j in operator.views()}
    for operator in operators:
        weight = operator.blob(0) if _slides(operator) else None
        if isinstance(weight, nn.Parameter) and id(weight) not in viewed:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)


def _slides(operator: Operator) -> bool:
    return isinstance(operator, (Convolution, Deconvolution)) and operator.blob(0).dim() == 4
