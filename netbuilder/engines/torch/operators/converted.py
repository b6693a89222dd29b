"""Layers that converters of other formats write; forks have them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from netbuilder.engines.torch.operator import Operator
from netbuilder.engines.torch.operators.reshape import Reshape

__all__ = ["COVERED", "REFUSED"]


class HardSwish(Operator):
    """x * min(1, max(0, x/6 + 1/2))."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return x * (x / 6 + 0.5).clamp(0, 1)


class SELU(Operator):
    """lambda * x, below 0 lambda * alpha * (exp(x) - 1)."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        p = self.message
        scale: float = getattr(p, "lambda")
        return scale * torch.where(x > 0, x, p.alpha * torch.expm1(x.clamp(max=0)))


class Transpose(Operator):
    """The axes in another order."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return x.permute(*self.proto.transpose_param.dim)


class Pad(Operator):
    """A border of constant values; `paddings` before and after each axis."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        p = self.proto.pad_param
        widths = [w for i in reversed(range(x.dim())) for w in p.paddings[2 * i : 2 * i + 2]]
        return functional.pad(x, widths, value=p.constant_values)


class Mul(Operator):
    """The product of two blobs, or of a blob and a parameter, whose axes of size 1 are repeated."""

    def forward(self, x: Tensor, *other: Tensor) -> Tensor:  # type: ignore[override]
        return x * (other[0] if other else self.blob(0))


COVERED: dict[str, type[Operator]] = {
    "HardSwish": HardSwish,
    "SELU": SELU,
    "SeLU": SELU,
    "Squeeze": Reshape,
    "Transpose": Transpose,
    "Pad": Pad,
    "Mul": Mul,
}
_ROUNDING = "where its fork samples the image could not be checked"
REFUSED: dict[str, str] = {
    "ResizeNearestNeighbor": _ROUNDING,
    "ResizeBilinear": _ROUNDING,
    "DepthToSpace": "the order in which its fork takes the channels could not be checked",
}
