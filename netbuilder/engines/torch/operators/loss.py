"""Losses and metrics, with Caffe's own gradients. Source: Forward_cpu and Backward_cpu in each .cpp file."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from netbuilder.engines.torch.files import find
from netbuilder.engines.torch.operator import Operator, Tops, canonical
from netbuilder.errors import EngineError
from netbuilder.net import Layer

__all__ = ["COVERED", "REFUSED", "normalization_of", "normalizer", "softmax_loss"]

FULL, VALID, BATCH_SIZE, NONE, PRE_FIXED = 0, 1, 2, 3, 20000
_SMALLEST = torch.finfo(torch.float32).tiny  # FLT_MIN
_LOG_THRESHOLD = 1e-20
_L2 = 2


# ---- what the losses share -------------------------------------------------------------------------------


def normalization_of(layer: Operator, default: int = VALID) -> int:
    """The mode of normalization; the legacy `normalize` counts where `normalization` is not given."""
    p = layer.proto.loss_param
    if p.label_smoothing:
        raise EngineError(
            f"the PyTorch engine does not compute label_smoothing, a field of forks, in '{layer.name}'",
            hint="an InfogainLoss with the smoothed matrix computes the same in every Caffe",
        )
    if p.HasField("normalization"):
        return int(p.normalization)
    if p.HasField("normalize"):
        return VALID if p.normalize else BATCH_SIZE
    return default


def normalizer(mode: int, outer: int, inner: int, valid: Tensor | None, fixed: float = 1) -> Tensor | float:
    """What a loss is divided by, at least 1; `valid` counts the labels that are not ignored, None: all."""
    if mode == VALID and valid is not None:
        return valid.clamp(min=1)
    counts = {FULL: outer * inner, VALID: outer * inner, BATCH_SIZE: outer, NONE: 1, PRE_FIXED: fixed}
    return max(1.0, float(counts[mode]))


def _wide(x: Tensor) -> Tensor:
    """Half precision is too coarse for exponentials and sums."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _ignored(layer: Operator) -> int | None:
    p = layer.proto.loss_param
    return int(p.ignore_label) if p.HasField("ignore_label") else None


def _indices(labels: Tensor, scores: Tensor, axis: int, ignored: int | None) -> tuple[Tensor, Tensor | None]:
    """Labels as indices along `axis` of the scores, with size 1 there, and which of them count."""
    shape = list(scores.shape)
    shape[axis] = 1
    indices = labels.detach().reshape(shape).long()  # cuts, as Caffe's cast does
    if ignored is None:
        return indices, None
    counts = indices != ignored
    return torch.where(counts, indices, 0), counts


def _outer_inner(x: Tensor, axis: int) -> tuple[int, int]:
    outer = 1
    for size in x.shape[:axis]:
        outer *= size
    return outer, x.numel() // max(1, outer * x.shape[axis])


# ---- SoftmaxWithLoss and InfogainLoss --------------------------------------------------------------------


class _SoftmaxLoss(torch.autograd.Function):
    """The probability is limited below in the value, but not in the gradient.

    Source: softmax_loss_layer.cpp.
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor, indices: Tensor, counts: Any, divisor: Any, axis: int) -> Any:
        p = torch.softmax(scores, axis)
        losses = -p.gather(axis, indices).clamp(min=_SMALLEST).log()
        ctx.save_for_backward(p, indices, counts, divisor if isinstance(divisor, Tensor) else None)
        ctx.divisor, ctx.axis = divisor if not isinstance(divisor, Tensor) else None, axis
        if counts is not None:
            losses = torch.where(counts, losses, 0)
        return losses.sum() / divisor

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        p, indices, counts, divisor = ctx.saved_tensors
        scale = grads[0] / (ctx.divisor if divisor is None else divisor)
        result = p * (scale if counts is None else counts * scale)
        change = (-scale).expand(indices.shape) if counts is None else counts * -scale
        return result.scatter_add(ctx.axis, indices, change.to(p.dtype)), None, None, None, None


def softmax_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """The sum of the losses of scores (n, classes) and n labels."""
    loss: Tensor = _SoftmaxLoss.apply(scores, labels[:, None], None, 1.0, 1)  # type: ignore[no-untyped-call]
    return loss


class SoftmaxWithLoss(Operator):
    """Mean negative log-likelihood of the labels under the softmax of the scores."""

    precise = True

    def __init__(self, layer: Layer, phase: str) -> None:
        super().__init__(layer, phase)
        self.mode = normalization_of(self)

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:  # type: ignore[override]
        scores = _wide(scores)
        axis = canonical(self.proto.softmax_param.axis, scores.shape)
        indices, counts = _indices(labels, scores, axis, _ignored(self))
        divisor = normalizer(
            self.mode,
            *_outer_inner(scores, axis),
            None if counts is None else counts.sum(),
            self.proto.loss_param.pre_fixed_normalizer,
        )
        loss: Tensor = _SoftmaxLoss.apply(scores, indices, counts, divisor, axis)  # type: ignore[no-untyped-call]
        return loss


class _InfogainLoss(torch.autograd.Function):
    """The value limits the probabilities below, the gradient does not. Source: infogain_loss_layer.cpp."""

    @staticmethod
    def forward(ctx: Any, p: Tensor, rows: Tensor, scale: Tensor, axis: int) -> Any:
        ctx.save_for_backward(p, rows, scale)
        ctx.axis = axis
        return -(torch.where(scale != 0, rows * p.clamp(min=_LOG_THRESHOLD).log(), 0) * scale).sum()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        p, rows, scale = ctx.saved_tensors
        return (p * rows.sum(ctx.axis, keepdim=True) - rows) * (scale * grads[0]), None, None, None


class _Straight(torch.autograd.Function):
    """The softmax forward; backward its top's gradient as it is, which is already that of the scores."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, axis: int) -> Any:
        return torch.softmax(scores, axis)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0], None


class InfogainLoss(Operator):
    """Softmax loss against a matrix of label weights: bottom 2, or a file."""

    precise = True

    matrix: Tensor

    def __init__(self, layer: Layer, phase: str) -> None:
        super().__init__(layer, phase)
        self.mode = normalization_of(self)
        if len(self.proto.bottom) < 3:
            self.register_buffer("matrix", self._read(), persistent=False)

    def _read(self) -> Tensor:
        from google.protobuf.message import DecodeError

        from netbuilder.schema import message

        source = self.proto.infogain_loss_param.source
        try:
            blob = message("BlobProto").FromString(find(source, self, "its matrix").read_bytes())
        except DecodeError:
            raise EngineError(
                f"InfogainLoss '{self.name}': '{source}' is not a BlobProto", hint="Caffe's .binaryproto"
            ) from None
        return torch.tensor(list(blob.double_data or blob.data), dtype=torch.float32)

    def forward(self, scores: Tensor, labels: Tensor, *matrix: Tensor) -> Tops:  # type: ignore[override]
        scores = _wide(scores)
        axis = canonical(self.proto.infogain_loss_param.axis, scores.shape)
        classes = scores.shape[axis]
        weights = (matrix[0].detach() if matrix else self.matrix).reshape(classes, classes).to(scores.dtype)
        indices, counts = _indices(labels, scores, axis, _ignored(self))
        divisor = normalizer(
            self.mode,
            *_outer_inner(scores, axis),
            None if counts is None else counts.sum(),
            self.proto.loss_param.pre_fixed_normalizer,
        )
        rows = weights[indices.squeeze(axis)].movedim(-1, axis)
        scale = torch.ones_like(indices, dtype=scores.dtype) if counts is None else counts.to(scores.dtype)
        # The inner Softmax is along the loss's own axis, whatever softmax_param says.
        p: Tensor = _Straight.apply(scores, axis)  # type: ignore[no-untyped-call]
        loss: Tensor = _InfogainLoss.apply(p, rows, scale / divisor, axis)  # type: ignore[no-untyped-call]
        # A loss weight of the probabilities adds to the loss, but has no gradient.
        return (loss, p.detach()) if len(self.proto.top) > 1 else loss


# ---- the other losses ------------------------------------------------------------------------------------


class _CrossEntropy(torch.autograd.Function):
    """Sums of the cross entropies, and Caffe's gradient of them, sigmoid(x) - target.

    Source: sigmoid_cross_entropy_loss_layer.cpp.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, target: Tensor, counts: Any, divisor: Any) -> Any:
        ctx.save_for_backward(x, target, counts)
        ctx.divisor = divisor
        positive = (x >= 0).to(x.dtype)
        losses = torch.log(1 + torch.exp(x - 2 * x * positive)) - x * (target - positive)
        if counts is not None:
            losses = torch.where(counts, losses, 0)
        return losses.sum() / divisor

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, target, counts = ctx.saved_tensors
        result = torch.sigmoid(x) - target
        if counts is not None:
            result = torch.where(counts, result, 0)
        return result * (grads[0] / ctx.divisor), None, None, None


class SigmoidCrossEntropyLoss(Operator):
    """Cross entropy of the sigmoid of bottom 0 against the targets of bottom 1."""

    precise = True

    def __init__(self, layer: Layer, phase: str) -> None:
        super().__init__(layer, phase)
        self.mode = normalization_of(self, BATCH_SIZE)

    def forward(self, x: Tensor, target: Tensor) -> Tensor:  # type: ignore[override]
        x = _wide(x)
        target = target.detach().reshape(x.shape).to(x.dtype)
        ignored = _ignored(self)
        counts = None if ignored is None else target.long() != ignored
        divisor = normalizer(
            self.mode,
            x.shape[0],
            x[:1].numel(),
            None if counts is None else counts.sum(),
            self.proto.loss_param.pre_fixed_normalizer,
        )
        loss: Tensor = _CrossEntropy.apply(x, target, counts, divisor)  # type: ignore[no-untyped-call]
        return loss


class EuclideanLoss(Operator):
    """Half the mean squared distance of two bottoms."""

    precise = True

    def forward(self, a: Tensor, b: Tensor) -> Tensor:  # type: ignore[override]
        a = _wide(a)
        return (a - b.reshape(a.shape)).square().sum() / a.shape[0] / 2


class HingeLoss(Operator):
    """One-against-all hinge loss of scores and labels, of which the first n count."""

    precise = True

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:  # type: ignore[override]
        n = scores.shape[0]
        rows = _wide(scores).reshape(n, -1)
        own = functional.one_hot(labels.detach().flatten()[:n].long(), rows.shape[1]).bool()
        margins = functional.relu(1 + torch.where(own, -rows, rows))
        return (margins.square() if self.proto.hinge_loss_param.norm == _L2 else margins).sum() / n


class _LogLoss(torch.autograd.Function):
    """Its gradient is -1/p also below the limit. Source: multinomial_logistic_loss_layer.cpp."""

    @staticmethod
    def forward(ctx: Any, picked: Tensor) -> Any:
        ctx.save_for_backward(picked)
        return -picked.clamp(min=_LOG_THRESHOLD).log().sum() / picked.shape[0]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (picked,) = ctx.saved_tensors
        return -grads[0] / picked.shape[0] / picked.clamp(min=_LOG_THRESHOLD)


class MultinomialLogisticLoss(Operator):
    """Mean negative logarithm of the labels' probabilities."""

    precise = True

    def forward(self, p: Tensor, labels: Tensor) -> Tensor:  # type: ignore[override]
        rows = _wide(p).reshape(p.shape[0], -1)
        picked = rows.gather(1, labels.detach().reshape(-1, 1).long())
        loss: Tensor = _LogLoss.apply(picked)  # type: ignore[no-untyped-call]
        return loss


class _Contrast(torch.autograd.Function):
    """Its gradient divides by the distance + 1e-4. Source: contrastive_loss_layer.cpp."""

    @staticmethod
    def forward(ctx: Any, difference: Tensor, similar: Tensor, margin: float, legacy: bool) -> Any:
        squares = difference.square().sum(1)
        ctx.save_for_backward(difference, similar, squares)
        ctx.margin, ctx.legacy = margin, legacy
        if legacy:
            apart = (margin - squares).clamp(min=0)
        else:
            apart = (margin - squares.sqrt()).clamp(min=0).square()
        return torch.where(similar, squares, apart).sum() / len(difference) / 2

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        difference, similar, squares = ctx.saved_tensors
        alpha = grads[0] / len(difference)
        if ctx.legacy:
            missing = ctx.margin - squares
            beta = (-alpha).expand(squares.shape)
        else:
            distance = squares.sqrt()
            missing = ctx.margin - distance
            beta = -alpha * missing / (distance + 1e-4)
        factor = torch.where(similar, alpha, torch.where(missing > 0, beta, 0))
        return difference * factor[:, None], None, None, None


class ContrastiveLoss(Operator):
    """Distance of similar pairs, margin minus distance of the others."""

    precise = True

    def forward(self, a: Tensor, b: Tensor, similar: Tensor) -> Tensor:  # type: ignore[override]
        p = self.proto.contrastive_loss_param
        n = a.shape[0]
        difference = _wide(a).reshape(n, -1) - _wide(b).reshape(n, -1)
        alike = similar.detach().flatten()[:n].long() != 0  # Caffe allows more of them than pairs
        loss: Tensor = _Contrast.apply(difference, alike, p.margin, p.legacy_version)  # type: ignore[no-untyped-call]
        return loss


class Accuracy(Operator):
    """The fraction of labels among the top_k scores, and that of each class; equal scores count against.

    Of scores that are not finite it is nan: every comparison with nan is false, and in Caffe a match.
    Source: accuracy_layer.cpp, Forward_cpu.
    """

    precise = True

    def forward(self, scores: Tensor, labels: Tensor) -> Tops:  # type: ignore[override]
        p = self.proto.accuracy_param
        scores = scores.detach()
        axis = canonical(p.axis, scores.shape)
        ignored = int(p.ignore_label) if p.HasField("ignore_label") else None
        indices, counts = _indices(labels, scores, axis, ignored)
        better = (scores >= scores.gather(axis, indices)).sum(axis, keepdim=True) - 1
        right = better < p.top_k
        if counts is None:
            counts = torch.ones_like(right)
        right = right & counts
        kind = torch.promote_types(scores.dtype, torch.float32)
        fraction = right.sum().to(kind) / counts.sum().clamp(min=1)
        fraction = torch.where(scores.isfinite().all(), fraction, torch.nan)
        if len(self.proto.top) < 2:
            return fraction
        empty = torch.zeros(scores.shape[axis], dtype=kind, device=scores.device)
        of_class = empty.index_add(0, indices.flatten(), right.flatten().to(kind))
        in_class = empty.index_add(0, indices.flatten(), counts.flatten().to(kind))
        return fraction, of_class / in_class.clamp(min=1)


COVERED: dict[str, type[Operator]] = {
    "SoftmaxWithLoss": SoftmaxWithLoss,
    "SigmoidCrossEntropyLoss": SigmoidCrossEntropyLoss,
    "EuclideanLoss": EuclideanLoss,
    "HingeLoss": HingeLoss,
    "MultinomialLogisticLoss": MultinomialLogisticLoss,
    "ContrastiveLoss": ContrastiveLoss,
    "InfogainLoss": InfogainLoss,
    "Accuracy": Accuracy,
}
REFUSED: dict[str, str] = {}
