"""Element-wise layers, PReLU and Softmax. Source: Forward_cpu and Backward_cpu in each layer's .cpp file."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from netbuilder.engines.torch.operator import Operator, canonical

__all__ = ["COVERED", "REFUSED"]


class ReLU(Operator):
    """max(x, 0) + negative_slope * min(x, 0); at 0 the gradient is the slope."""

    @property
    def slope(self) -> float:
        """The factor of values below 0."""
        return self.proto.relu_param.negative_slope

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return functional.leaky_relu(x, self.slope) if self.slope else functional.relu(x)


class ReLU6(Operator):
    """min(max(x, 0), 6), a layer of forks."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return functional.relu6(x)


class ELU(Operator):
    """x, or alpha * (exp(x) - 1) below 0."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        alpha = self.proto.elu_param.alpha
        # With functional.elu the gradient at 0 would be 1; Caffe's is alpha there.
        below = alpha * torch.expm1(x.clamp(max=0))
        return torch.where(x > 0, x, below)


class Sigmoid(Operator):
    """The logistic function."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return torch.sigmoid(x)


class TanH(Operator):
    """The hyperbolic tangent."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return torch.tanh(x)


class Swish(Operator):
    """x * sigmoid(beta * x)."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        beta = self.proto.swish_param.beta
        return functional.silu(x) if beta == 1 else x * torch.sigmoid(beta * x)


class Clip(Operator):
    """The values limited to min and max; the gradient is 1 on the closed interval."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        p = self.proto.clip_param
        if p.min > p.max:  # Caffe limits by min last, PyTorch by max
            return x.clamp(max=p.max).clamp(min=p.min)
        return x.clamp(p.min, p.max)


class Threshold(Operator):
    """1 above the threshold, else 0; it has no gradient."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return (x > self.proto.threshold_param.threshold).to(x.dtype)


class _StableSoftplus(torch.autograd.Function):
    """BNLL's own gradient: the sigmoid, with x limited to 50. Source: bnll_layer.cpp."""

    @staticmethod
    def forward(ctx, x):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        return x.clamp(min=0) + torch.log1p(torch.exp(-x.abs()))

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        (x,) = ctx.saved_tensors
        e = torch.exp(x.clamp(max=50))
        return grad * e / (e + 1)


class BNLL(Operator):
    """log(1 + exp(x))."""

    precise = True

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        result: Tensor = _StableSoftplus.apply(x)  # type: ignore[no-untyped-call]
        return result


class Power(Operator):
    """(shift + scale * x) ^ power."""

    precise = True

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        p = self.proto.power_param
        if p.power * p.scale == 0:  # a constant, without a gradient
            return torch.full_like(x, 1.0 if p.power == 0 else p.shift**p.power) + x.detach() * 0
        y = x * p.scale if p.scale != 1 else x
        y = y + p.shift if p.shift != 0 else y
        if p.power == 1:
            return y if y is not x else x.clone()
        return y.square() if p.power == 2 else y.pow(p.power)


class Exp(Operator):
    """base ^ (shift + scale * x); base -1 means e."""

    precise = True

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        p = self.proto.exp_param
        log_base = 1.0 if p.base == -1 else math.log(p.base)
        inner = log_base * p.scale
        outer = 1.0 if p.shift == 0 else math.exp(p.shift) if p.base == -1 else p.base**p.shift
        y = torch.exp(x * inner if inner != 1 else x)
        return y * outer if outer != 1 else y


class Log(Operator):
    """The logarithm of shift + scale * x; base -1 means e."""

    precise = True

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        p = self.proto.log_param
        y = x * p.scale if p.scale != 1 else x
        y = torch.log(y + p.shift if p.shift != 0 else y)
        return y if p.base == -1 else y / math.log(p.base)


class AbsVal(Operator):
    """The absolute value; its gradient at 0 is 0."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return x.abs()


class Dropout(Operator):
    """In TRAIN each value is dropped with a probability, and the others grow; in TEST a copy.

    The mask is drawn by PyTorch.
    """

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return functional.dropout(x, self.message.dropout_ratio, training=True) if self.trains else x


class SpatialDropout(Operator):
    """Dropout of whole channels, a layer of intel/caffe."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return torch.feature_dropout(x, self.message.dropout_ratio, True) if self.trains else x


class PReLU(Operator):
    """ReLU with a learnt slope for negative values, one per channel (axis 1) or one in all."""

    def initial(self, i: int) -> float:
        """0.25, as in prelu_layer.cpp."""
        return 0.25

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return functional.prelu(x, self.blob(0).view(-1))


class Softmax(Operator):
    """Exponentials normalised to sum 1 along an axis."""

    insists = True
    precise = True

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return torch.softmax(x, canonical(self.proto.softmax_param.axis, x.shape))


COVERED: dict[str, type[Operator]] = {
    "ReLU": ReLU,
    "ReLU6": ReLU6,
    "ELU": ELU,
    "Sigmoid": Sigmoid,
    "TanH": TanH,
    "Swish": Swish,
    "Clip": Clip,
    "Threshold": Threshold,
    "BNLL": BNLL,
    "Power": Power,
    "Exp": Exp,
    "Log": Log,
    "AbsVal": AbsVal,
    "Dropout": Dropout,
    "SpatialDropout": SpatialDropout,
    "PReLU": PReLU,
    "Softmax": Softmax,
}
REFUSED: dict[str, str] = {}
