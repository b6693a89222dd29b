"""Layers that converters of other formats write; forks have them."""

from __future__ import annotations

from netbuilder.export.onnx.forms.reshape import reshape
from netbuilder.export.onnx.graph import At, Form

__all__ = ["COVERED", "REFUSED"]


def hard_swish(at: At) -> str:
    """x * min(1, max(0, x/6 + 1/2))."""
    return at.op("Mul", at.x, at.op("HardSigmoid", at.x, alpha=1 / 6, beta=0.5))


def selu(at: At) -> str:
    """lambda * x, below 0 lambda * alpha * (exp(x) - 1)."""
    return at.op("Selu", at.x, alpha=at.p.alpha, gamma=getattr(at.p, "lambda"))


def transpose(at: At) -> str:
    return at.op("Transpose", at.x, perm=list(at.p.dim))


def pad(at: At) -> str:
    """A border of constant values."""
    widths = list(at.p.paddings)
    return at.op("Pad", at.x, at.ints(widths[::2] + widths[1::2]), at.number(at.p.constant_values))


def mul(at: At) -> str:
    """The product of two blobs, or of a blob and a parameter, whose axes of size 1 are repeated."""
    return at.op("Mul", at.x, at.bottoms[1] if len(at.bottoms) > 1 else at.weight(0))


_ROUNDING = "where its fork samples the image could not be checked"
COVERED: dict[str, Form] = {
    "HardSwish": Form(hard_swish),
    "SELU": Form(selu),
    "SeLU": Form(selu),
    "Squeeze": Form(reshape, copies=True),
    "Transpose": Form(transpose, copies=True),
    "Pad": Form(pad, copies=True),
    "Mul": Form(mul),
}
REFUSED: dict[str, str] = {
    "ResizeNearestNeighbor": _ROUNDING,
    "ResizeBilinear": _ROUNDING,
    "DepthToSpace": "the order in which its fork takes the channels could not be checked",
}
