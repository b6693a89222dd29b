"""Convolutions take their images with the channels as the innermost axis in memory, and pass them on so."""

from __future__ import annotations

from torch import nn

from netbuilder.engines.torch.operators.convolution import Convolution, Deconvolution
from netbuilder.engines.torch.passes.fusion import leading
from netbuilder.engines.torch.steps import Plan

__all__ = ["channels_last"]


def channels_last(plan: Plan) -> None:
    """Mark the convolutions and Deconvolutions of images. All other layers keep the layout that they get."""
    for i, step in enumerate(plan.steps):
        if step is not None and _slides(step.operator):
            plan.replace(i, channels_last=True)


def _slides(operator: nn.Module) -> bool:
    first = leading(operator)
    return isinstance(first, (Convolution, Deconvolution)) and first.blob(0).dim() == 4
