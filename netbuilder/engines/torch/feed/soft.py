"""Losses against two labels (mixup) or smoothed ones, where the net has a plain SoftmaxWithLoss."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from netbuilder.engines.torch.feed.extras import Mix
from netbuilder.engines.torch.operators.loss import normalizer
from netbuilder.engines.torch.passes.fusion import Fusion
from netbuilder.errors import EngineError

if TYPE_CHECKING:
    from netbuilder.engines.torch.network import NetModule
    from netbuilder.engines.torch.operators.data import Source

__all__ = ["SoftLoss", "softened"]


class SoftLoss(Fusion):
    """The loss of `share` of the label and 1 - share of the other one of `mix`, smoothed over the classes.

    Of smoothing e, the loss is (1 - e) of that plus e of the mean over all classes taken as the label.
    Source: Szegedy 2016; Zhang 2018.
    """

    def __init__(self, loss: Any, smoothing: float) -> None:
        super().__init__(loss)
        # Not a child: the parameters and names of the net stay what they are.
        object.__setattr__(self, "loss", loss)
        self.loss: Any
        self.smoothing = smoothing
        self.mix: Mix | None = None
        self.name, self.proto = loss.name, loss.proto

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:  # type: ignore[override]
        """The loss, a scalar."""
        loss: Tensor = self.loss(scores, labels)
        if self.mix is not None and len(self.mix.other) == len(labels):
            loss = self.mix.share * loss + (1 - self.mix.share) * self.loss(
                scores, self.mix.other.view_as(labels)
            )
        if self.smoothing:
            loss = (1 - self.smoothing) * loss + self.smoothing * self._of_all_classes(scores)
        return loss

    def _of_all_classes(self, scores: Tensor) -> Tensor:
        """The mean loss over all classes, normalised as the loss is: it does not depend on the labels."""
        axis = self.loss.proto.softmax_param.axis % scores.dim()
        outer, inner = math.prod(scores.shape[:axis]), math.prod(scores.shape[axis + 1 :])
        divisor = normalizer(
            self.loss.mode, outer, inner, None, self.loss.proto.loss_param.pre_fixed_normalizer
        )
        return -torch.log_softmax(scores.float(), axis).mean(axis).sum() / divisor


def softened(net: NetModule, source: Source, smoothing: float) -> list[SoftLoss]:
    """Let the losses that read the label of a data layer be soft ones.

    Raises EngineError if one of them cannot be, or if there is none. Layers without gradients (Accuracy)
    read the first label.
    """
    label = source.proto.top[1] if len(source.proto.top) > 1 else ""
    found = []
    for i, step in enumerate(net._steps):
        operator: Any = step.operator
        if label not in operator.proto.bottom or not any(step.weights):
            continue
        if isinstance(operator, SoftLoss):
            operator = operator.loss
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
        soft = SoftLoss(operator, smoothing)
        net.replace(i, soft)
        found.append(soft)
    if not found:
        raise EngineError(
            f"mixup and label smoothing need a loss that reads the label of '{source.name}': there is none"
        )
    return found
