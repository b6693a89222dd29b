"""How far two results are apart, and how far float32's rounding moves those of a net."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from netbuilder.engines.torch.network import NetModule

__all__ = ["Array", "difference", "moved", "shake"]

Array = np.ndarray[Any, Any]

ROUNDING = 2.0**-24  # half a unit in the last place of float32, relative


def difference(ours: Array, theirs: Array) -> float:
    """The smaller of the largest element-wise relative error and the error on the scale of the tensor."""
    if ours.shape != theirs.shape:
        return float("inf")
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if same.all():
        return 0.0
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.where(same, 0, np.abs(a - b))
        relative = np.where(same, 0, error / np.maximum(np.abs(b), 1e-30))
    if not np.isfinite(error).all():
        return float("inf")
    finite = np.abs(b[np.isfinite(b)])
    return float(min(relative.max(), error.max() / max(finite.max() if finite.size else 0.0, 1e-30)))


# Copies, whose elements must stay equal.
COPIES = {
    "Split", "Concat", "Slice", "Crop", "Reshape", "Flatten", "Tile", "BatchReindex", "Filter", "Silence",
    "Input", "Parameter", "DummyData", "ArgMax", "Accuracy", "Threshold", "Dropout", "ReLU",
}  # fmt: skip

# Types whose intermediate values, which they round too, move their tops and gradients more than rounding the
# tops does, as that of a saturated tanh.
STEPWISE = {"LSTM", "LSTMUnit", "RNN"}
_aten = torch.ops.aten
ARITHMETIC = {
    _aten.add, _aten.addmm, _aten.mm, _aten.mul, _aten.sigmoid, _aten.sub, _aten.tanh,
}  # fmt: skip


def moved(t: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
    """Numbers moved by as much as float32 rounds."""
    return t * (1 + ROUNDING * torch.randn(t.shape, generator=noise, dtype=t.dtype))


def shake(m: NetModule, noise: torch.Generator) -> None:
    """Let a module move its parameters, the results of its layers, and their gradients."""

    def move(operator: Any, bottoms: Any, tops: Any) -> Any:
        if operator.proto.type in COPIES:
            return tops
        several = isinstance(tops, tuple)
        new = [moved(t, noise) for t in (tops if several else (tops,))]
        if operator.proto.type in INNER:
            new[0] = INNER[operator.proto.type](operator, bottoms[0], new[0], noise)
        for t in new:
            if t.requires_grad:
                t.register_hook(lambda grad: moved(grad, noise))
        return tuple(new) if several else new[0]

    with torch.no_grad():
        for blob in m.parameters():
            blob.copy_(moved(blob, noise))
    for operator in m.operators().values():
        if operator.proto.type in STEPWISE:
            operator.forward = _stepwise(operator.forward, noise)  # type: ignore[method-assign]
        operator.register_forward_hook(move)


class _Rounded(TorchDispatchMode):
    """Moves the result of each product, sum and so on, in the forward pass."""

    def __init__(self, noise: torch.Generator) -> None:
        super().__init__()
        self.noise = noise

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        return moved(result, self.noise) if func.overloadpacket in ARITHMETIC else result


def _stepwise(forward: Callable[..., Any], noise: torch.Generator) -> Callable[..., Any]:
    def run(*bottoms: torch.Tensor) -> Any:
        with _Rounded(noise):
            return forward(*bottoms)

    return run


def _normalised(operator: Any, x: torch.Tensor, top: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
    """BatchNorm or MVN whose means are rounded, which moves all values alike.

    So is each term of their gradient, (dy - mean(dy) - y * mean(dy * y)) / deviation; they may cancel out.
    """
    proto = operator.proto
    if proto.type == "BatchNorm":
        if operator.stored:
            return top
        axes, eps, divides = [0, *range(2, x.dim())], operator.eps, True
    else:
        p = proto.mvn_param
        axes, eps, divides = [1, 2, 3] if p.across_channels else [2, 3], p.eps**2, p.normalize_variance
    x = x.reshape(top.shape)
    still = x.detach()
    mean = still.mean(axes, keepdim=True)
    deviation = (
        (still.var(axes, correction=0, keepdim=True) + eps).sqrt() if divides else torch.ones_like(mean)
    )
    shift = (moved(mean, noise) - mean) / deviation
    # 0, but with the gradient of what is lost.
    zero, y, ones = (x - still) / deviation, top.detach(), torch.ones_like(still)
    lost = (moved(ones, noise) - 1) * (zero + zero.mean(axes, keepdim=True))
    lost = lost + (moved(y, noise) - y) * (zero * y).mean(axes, keepdim=True)
    # The gradient reads the y that the rounded mean has shifted.
    lost = lost + shift * (zero * y).mean(axes, keepdim=True) + y * (zero * shift).mean(axes, keepdim=True)
    return top + shift + lost


def _running_sum(operator: Any, x: torch.Tensor, top: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
    """LRN whose sums over the channels of a window are rounded at the size of the largest before them.

    Caffe moves the window across the channels by adding a value and subtracting another: squares, and in the
    gradient dx = dy * scale^-beta - 2 * alpha * beta / size * x * sum(dy * y / scale), the terms of that sum.
    Source: lrn_layer.cpp, CrossChannelForward_cpu and CrossChannelBackward_cpu.
    """
    p = operator.proto.lrn_param
    if p.norm_region != 0:
        return top
    still, share = x.detach(), p.alpha / p.local_size
    sums = _window_sums(still**2, p.local_size)
    scale = p.k + share * sums
    y = top.detach()

    def lost(dy: torch.Tensor) -> torch.Tensor:
        largest = _largest(_window_sums(dy * y / scale, p.local_size))
        return -2 * share * p.beta * still * (moved(largest, noise) - largest)

    error = moved(largest := _largest(sums), noise) - largest
    return top * (1 - p.beta * share * error / scale) + _Lost.apply(x, lost)


def _window_sums(x: torch.Tensor, size: int) -> torch.Tensor:
    """The sums over windows of so many channels around each."""
    padded = torch.nn.functional.pad(x, (0, 0, 0, 0, size // 2, size // 2))
    return padded.unfold(1, size, 1).sum(-1)


def _largest(sums: torch.Tensor) -> torch.Tensor:
    """The largest so far, channel by channel."""
    return sums.abs().cummax(1).values


class _Lost(torch.autograd.Function):
    """0, with this gradient to its bottom, which rounding loses."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, lost: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        ctx.lost = lost
        return torch.zeros_like(x)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.lost(gradient), None


def _one_by_one(operator: Any, x: torch.Tensor, top: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
    """Sums that Caffe adds up value by value, each of which is rounded."""
    still = top.detach()
    return top + (moved(still, noise) - still) * (x.numel() / max(1, top.numel())) ** 0.5


INNER = {
    "BatchNorm": _normalised,
    "MVN": _normalised,
    "LRN": _running_sum,
    "InfogainLoss": _one_by_one,
    "Reduction": _one_by_one,
    "SigmoidCrossEntropyLoss": _one_by_one,
    "SoftmaxWithLoss": _one_by_one,
}
