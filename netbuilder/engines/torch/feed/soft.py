"""Losses against two labels (mixup), smoothed ones, or a teacher, where the net has a SoftmaxWithLoss."""

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

    Of smoothing e, the loss is (1 - e) of that plus e of the mean over all classes taken as the label. With
    the scores of a teacher, the cross-entropy with its softmax, both at the temperature, is added, `part`
    times temperature^2. Source: Szegedy 2016; Zhang 2018; Hinton 2015.
    """

    def __init__(self, loss: Any, smoothing: float) -> None:
        super().__init__(loss)
        # Not a child: the parameters and names of the net stay what they are.
        object.__setattr__(self, "loss", loss)
        self.loss: Any
        self.smoothing = smoothing
        self.mix: Mix | None = None
        self.taught: Tensor | None = None  # the scores of a teacher
        self.temperature = self.part = 1.0
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
        if self.taught is not None and len(self.taught) == len(scores):
            loss = loss + self.part * self._of_teacher(scores, self.taught.view_as(scores))
        return loss

    def _of_teacher(self, scores: Tensor, taught: Tensor) -> Tensor:
        """Temperature^2 times the cross-entropy with the teacher."""
        axis, heat = self.loss.proto.softmax_param.axis % scores.dim(), self.temperature
        targets = torch.softmax(taught / heat, axis)
        logs = torch.log_softmax(scores.float() / heat, axis)
        return -(targets * logs).sum() * heat**2 / self._divisor(scores, axis)

    def _of_all_classes(self, scores: Tensor) -> Tensor:
        """The mean loss over all classes, normalised as the loss is: it does not depend on the labels."""
        axis = self.loss.proto.softmax_param.axis % scores.dim()
        return -torch.log_softmax(scores.float(), axis).mean(axis).sum() / self._divisor(scores, axis)

    def _divisor(self, scores: Tensor, axis: int) -> Tensor | float:
        outer, inner = math.prod(scores.shape[:axis]), math.prod(scores.shape[axis + 1 :])
        return normalizer(self.loss.mode, outer, inner, None, self.loss.proto.loss_param.pre_fixed_normalizer)


def softened(net: NetModule, source: Source, smoothing: float | None) -> list[SoftLoss]:
    """Let the losses that read the label of a data layer be soft ones; None leaves a smoothing as it is.

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
            if smoothing is None:
                found.append(operator)
                continue
            operator = operator.loss
        if operator.proto.type != "SoftmaxWithLoss" or len(operator.proto.bottom) != 2:
            raise EngineError(
                f"mixup, label smoothing and a teacher need a SoftmaxWithLoss, and {operator.proto.type} "
                f"'{operator.name}' reads the label '{label}' of '{source.name}'",
                hint="leave them out of the recipe, or change the loss",
            )
        if operator.proto.loss_param.HasField("ignore_label"):
            raise EngineError(
                "mixup, label smoothing and a teacher cannot ignore labels as SoftmaxWithLoss "
                f"'{operator.name}' does",
                hint="leave them out of the recipe, or ignore_label out of the net",
            )
        soft = SoftLoss(operator, smoothing or 0.0)
        net.replace(i, soft)
        found.append(soft)
    if not found:
        raise EngineError(
            f"mixup, label smoothing and a teacher need a loss that reads the label of '{source.name}': "
            "there is none"
        )
    return found
