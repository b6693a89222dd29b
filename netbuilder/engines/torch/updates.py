"""What each type of Caffe's solvers does with a list of parameters: `UPDATES`, by type.

Source: sgd_solver.cpp, nesterov_solver.cpp, adagrad_solver.cpp, rmsprop_solver.cpp, adadelta_solver.cpp,
adam_solver.cpp, ComputeUpdateValue. Unlike PyTorch's optimizers, Caffe's keep the learning rate inside the
momentum, so that old velocity keeps its size after the rate has changed.

Each comes twice: with `torch._foreach_*` for all tensors, and with PyTorch's fused kernel where one computes
the same, for dense tensors of one device whose elements lie in the same order.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from netbuilder.solvers.policies import float32

__all__ = ["UPDATES", "Batch", "Update"]

Scale = float | Tensor  # a Tensor of one element where reading it would wait for the GPU


class Batch(NamedTuple):
    """Parameters with the same multipliers, their gradients, which are used up, and their histories."""

    weights: list[Tensor]
    grads: list[Tensor]
    histories: tuple[list[Tensor], ...]


class Update:
    """One type of solver. `number` is how many histories a parameter has, `fused` whether it may use kernels.

    `apply` multiplies the gradients by `scale`, adds the decay, and updates histories and weights.
    """

    number = 1

    def __init__(self, solver: Any, *, fused: bool = True) -> None:
        self.momentum: float = solver.momentum
        self.delta: float = solver.delta
        self.l1 = solver.regularization_type == "L1"
        self.fused = fused

    def apply(self, batch: Batch, rate: float, decay: float, scale: Scale, iteration: int) -> None:
        """Update the weights at the rate of their multiplier."""
        if self.fused and self.has_kernel() and _same_layout(batch):
            if self.l1 and decay:
                _prepare(batch, decay, scale, self.l1)
                decay, scale = 0.0, 1.0
            self.by_kernel(batch, rate, decay, scale, iteration)
        else:
            _prepare(batch, decay, scale, self.l1)
            self.by_lists(batch, rate, iteration)

    def values(self, batch: Batch, rate: float, decay: float, scale: Scale, iteration: int) -> None:
        """Turn the gradients into what `apply` subtracts from the weights, which stay as they are."""
        _prepare(batch, decay, scale, self.l1)
        changes = [torch.zeros_like(weight) for weight in batch.weights]
        self.by_lists(batch._replace(weights=changes), rate, iteration)
        for grad, change in zip(batch.grads, changes, strict=True):
            torch.neg(change, out=grad)

    def has_kernel(self) -> bool:
        """Whether this PyTorch has a fused kernel that computes the update."""
        return False

    def by_kernel(self, batch: Batch, rate: float, decay: float, scale: Scale, iteration: int) -> None:
        """Update with the fused kernel, which also scales the gradients and adds an L2 decay."""
        raise NotImplementedError

    def by_lists(self, batch: Batch, rate: float, iteration: int) -> None:
        """Update from gradients that are scaled and regularised."""
        raise NotImplementedError


class SGD(Update):
    """h = momentum * h + rate * g, w -= h."""

    nesterov = False

    def has_kernel(self) -> bool:
        return hasattr(torch, "_fused_sgd_") and bool(self.momentum)  # it keeps no history without

    def by_kernel(self, batch: Batch, rate: float, decay: float, scale: Scale, iteration: int) -> None:
        # A rate of 1, gradients times the rate, and a decay times the rate keep the rate in the momentum.
        torch._fused_sgd_(
            batch.weights,
            batch.grads,
            batch.histories[0],
            weight_decay=rate * decay,
            momentum=self.momentum,
            lr=1.0,
            dampening=0.0,
            nesterov=self.nesterov,
            maximize=False,
            is_first_step=False,
            grad_scale=_divisor(scale, rate, batch.weights[0]),
            found_inf=None,
        )

    def by_lists(self, batch: Batch, rate: float, iteration: int) -> None:
        (h,) = batch.histories
        torch._foreach_mul_(h, self.momentum)
        torch._foreach_add_(h, batch.grads, alpha=rate)
        torch._foreach_sub_(batch.weights, h)


class Nesterov(SGD):
    """h' = momentum * h + rate * g, w -= (1 + momentum) * h' - momentum * h.

    That is rate * g + momentum * h', which needs no copy of the old history.
    """

    nesterov = True

    def by_lists(self, batch: Batch, rate: float, iteration: int) -> None:
        (h,) = batch.histories
        torch._foreach_mul_(h, self.momentum)
        torch._foreach_add_(h, batch.grads, alpha=rate)
        torch._foreach_add_(batch.weights, h, alpha=-self.momentum)
        torch._foreach_add_(batch.weights, batch.grads, alpha=-rate)


class AdaGrad(Update):
    """h += g^2, w -= rate * g / (sqrt(h) + delta)."""

    def by_lists(self, batch: Batch, rate: float, iteration: int) -> None:
        (h,) = batch.histories
        torch._foreach_addcmul_(h, batch.grads, batch.grads, 1.0)
        _step(batch.weights, batch.grads, h, self.delta, rate)


class RMSProp(Update):
    """h = rms_decay * h + (1 - rms_decay) * g^2, w -= rate * g / (sqrt(h) + delta)."""

    def __init__(self, solver: Any, *, fused: bool = True) -> None:
        super().__init__(solver, fused=fused)
        self.decay: float = solver.rms_decay

    def by_lists(self, batch: Batch, rate: float, iteration: int) -> None:
        (h,) = batch.histories
        _average(h, batch.grads, batch.grads, self.decay)
        _step(batch.weights, batch.grads, h, self.delta, rate)


class AdaDelta(Update):
    """w -= rate * u, u = g * sqrt((average of u^2 + delta) / (average of g^2 + delta)).

    The momentum is what the averages keep; that of u^2 is the one before this update.
    """

    number = 2

    def by_lists(self, batch: Batch, rate: float, iteration: int) -> None:
        squares, updates = batch.histories
        _average(squares, batch.grads, batch.grads, self.momentum)
        ratio = list(torch._foreach_add(updates, self.delta))
        torch._foreach_div_(ratio, torch._foreach_add(squares, self.delta))
        torch._foreach_sqrt_(ratio)
        torch._foreach_mul_(ratio, batch.grads)
        _average(updates, ratio, ratio, self.momentum)
        torch._foreach_add_(batch.weights, ratio, alpha=-rate)


class Adam(Update):
    """w -= rate * sqrt(1 - momentum2^t) / (1 - momentum^t) * m / (sqrt(v) + delta), t from 1.

    m is the average of g, v that of g^2. `delta` is added to the uncorrected root of v; PyTorch's `eps`, to
    the corrected one.
    """

    number = 2

    def __init__(self, solver: Any, *, fused: bool = True) -> None:
        super().__init__(solver, fused=fused)
        self.momentum2: float = solver.momentum2

    def has_kernel(self) -> bool:
        return hasattr(torch, "_fused_adam_")

    def by_kernel(self, batch: Batch, rate: float, decay: float, scale: Scale, iteration: int) -> None:
        t = iteration + 1
        m, v = batch.histories
        steps = [torch.full((), float(t), device=batch.weights[0].device)] * len(batch.weights)
        torch._fused_adam_(
            batch.weights,
            batch.grads,
            m,
            v,
            [],
            steps,
            lr=rate,
            beta1=self.momentum,
            beta2=self.momentum2,
            weight_decay=decay,
            eps=self.delta / math.sqrt(1 - self.momentum2**t),
            amsgrad=False,
            maximize=False,
            grad_scale=_divisor(scale, 1.0, batch.weights[0]),
            found_inf=None,
        )

    def by_lists(self, batch: Batch, rate: float, iteration: int) -> None:
        m, v = batch.histories
        t = iteration + 1
        correction = math.sqrt(1 - self.momentum2**t) / (1 - self.momentum**t)
        torch._foreach_mul_(m, self.momentum)
        torch._foreach_add_(m, batch.grads, alpha=float32(1 - self.momentum))
        _average(v, batch.grads, batch.grads, self.momentum2)
        _step(batch.weights, m, v, self.delta, float32(rate * float32(correction)))


UPDATES: dict[str, type[Update]] = {
    kind.__name__: kind for kind in (SGD, Nesterov, AdaGrad, RMSProp, AdaDelta, Adam)
}


def _prepare(batch: Batch, decay: float, scale: Scale, l1: bool) -> None:
    """Scale the gradients and add the decay. Source: sgd_solver.cpp, Normalize and Regularize."""
    if isinstance(scale, Tensor) or scale != 1:
        torch._foreach_mul_(batch.grads, scale)
    if decay:
        toward = torch._foreach_sign(batch.weights) if l1 else batch.weights
        torch._foreach_add_(batch.grads, toward, alpha=decay)


def _average(history: list[Tensor], a: list[Tensor], b: list[Tensor], keep: float) -> None:
    """history = keep * history + (1 - keep) * a * b."""
    torch._foreach_mul_(history, keep)
    torch._foreach_addcmul_(history, a, b, float32(1 - keep))


def _step(
    weights: list[Tensor], along: list[Tensor], squares: list[Tensor], delta: float, rate: float
) -> None:
    """weights -= rate * along / (sqrt(squares) + delta)."""
    root = list(torch._foreach_sqrt(squares))
    torch._foreach_add_(root, delta)
    torch._foreach_addcdiv_(weights, along, root, -rate)


def _divisor(scale: Scale, rate: float, like: Tensor) -> Tensor | None:
    """What a kernel divides gradients by to multiply them by scale * rate."""
    if isinstance(scale, Tensor):
        return 1 / (scale * rate)
    factor = scale * rate
    if factor == 1:
        return None
    return torch.full((), 1 / factor if factor else math.inf, dtype=torch.float32, device=like.device)


def _same_layout(batch: Batch) -> bool:
    """Whether a kernel, which walks through the memory, meets the same element in each tensor."""
    weights, others = batch.weights, (batch.grads, *batch.histories)
    device, kind = weights[0].device, weights[0].dtype
    if device.type not in ("cpu", "cuda") or kind not in (torch.float32, torch.float64):
        return False
    if any(weight.dtype is not kind or weight.device != device for weight in weights):
        return False
    strides = [weight.stride() for weight in weights]
    return all(
        strides == [t.stride() for t in tensors]
        # They may differ where a size is 1, which CUDA's kernels do not take.
        or (device.type == "cpu" and all(map(_aligned, weights, tensors)))
        for tensors in others
    )


def _aligned(a: Tensor, b: Tensor) -> bool:
    return a.stride() == b.stride() or (a.is_contiguous() and b.is_contiguous())
