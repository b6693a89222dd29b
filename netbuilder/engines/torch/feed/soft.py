"""Losses against two labels (mixup) or smoothed ones, where the net has a plain SoftmaxWithLoss."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from netbuilder.engines.torch.feed.extras import Mix
from netbuilder.engines.torch.operators.loss import normalizer
from netbuilder.errors import EngineError

if TYPE_CHECKING:
    from netbuilder.engines.torch.network import NetModule
    from netbuilder.engines.torch.operators.data import Source

__all__ = ["SoftLoss", "softened"]


class SoftLoss:
    """The loss of `share` of the label and 1 - share of the other one of `mix`, smoothed over the classes.

    Of smoothing e, the loss is (1 - e) of that plus e of the mean over all classes taken as the label.
    It is a hook on the net's own loss, which changes what that returns. Source: Szegedy 2016; Zhang 2018.
    """

    def __init__(self, smoothing: float) -> None:
        self.smoothing = smoothing
        self.mix: Mix | None = None

    def __call__(self, operator: Any, bottoms: tuple[Tensor, ...], loss: Tensor) -> Tensor:
        """The soft loss, a scalar."""
        scores, labels = bottoms
        if self.mix is not None:
            other: Tensor = operator.forward(scores, self.mix.other.view_as(labels))
            loss = self.mix.share * loss + (1 - self.mix.share) * other
        if self.smoothing:
            loss = (1 - self.smoothing) * loss + self.smoothing * _of_all_classes(operator, scores)
        return loss


def _of_all_classes(operator: Any, scores: Tensor) -> Tensor:
    """The mean loss over all classes, normalised as the loss is: it does not depend on the labels."""
    p = operator.proto
    axis = p.softmax_param.axis % scores.dim()
    outer, inner = math.prod(scores.shape[:axis]), math.prod(scores.shape[axis + 1 :])
    divisor = normalizer(operator.mode, outer, inner, None, p.loss_param.pre_fixed_normalizer)
    return -torch.log_softmax(scores.float(), axis).mean(axis).sum() / divisor


def softened(net: NetModule, source: Source, smoothing: float) -> list[SoftLoss]:
    """Let the losses that read the label of a data layer be soft ones.

    Raises EngineError if one of them cannot be, or if there is none. Layers without gradients (Accuracy)
    read the first label.
    """
    label = source.proto.top[1] if len(source.proto.top) > 1 else ""
    found: list[SoftLoss] = []
    for step in net._steps:
        operator: Any = step.operator
        if label not in operator.proto.bottom or not any(step.weights):
            continue
        if operator.proto.type != "SoftmaxWithLoss" or len(operator.proto.bottom) != 2:
            raise EngineError(
                f"mixup and label smoothing need a SoftmaxWithLoss, and {operator.proto.type} "
                f"'{operator.name}' reads the label '{label}' of '{source.name}'",
                hint="leave them out of the recipe, or change the loss",
            )
        if operator.proto.loss_param.HasField("ignore_label"):
            raise EngineError(
                f"mixup and label smoothing cannot ignore labels as SoftmaxWithLoss '{operator.name}' does",
                hint="leave them out of the recipe, or ignore_label out of the net",
            )
        soft = SoftLoss(smoothing)
        for hook in [h for h, made in operator._forward_hooks.items() if isinstance(made, SoftLoss)]:
            del operator._forward_hooks[hook]  # of an earlier feed
        operator.register_forward_hook(soft)
        found.append(soft)
    if not found:
        raise EngineError(
            f"mixup and label smoothing need a loss that reads the label of '{source.name}': there is none"
        )
    return found
