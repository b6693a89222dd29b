"""Element-wise layers, PReLU and Softmax."""

from __future__ import annotations

import math

from netbuilder.export.onnx.graph import At, Form
from netbuilder.layers import canonical_axis

__all__ = ["COVERED", "REFUSED"]


def relu(at: At) -> str:
    slope = at.p.negative_slope
    return at.op("LeakyRelu", at.x, alpha=slope) if slope else at.op("Relu", at.x)


def relu6(at: At) -> str:
    return at.op("Clip", at.x, at.number(0), at.number(6))


def elu(at: At) -> str:
    return at.op("Elu", at.x, alpha=at.p.alpha)


def sigmoid(at: At) -> str:
    return at.op("Sigmoid", at.x)


def tanh(at: At) -> str:
    return at.op("Tanh", at.x)


def swish(at: At) -> str:
    inner = at.x.name if at.p.beta == 1 else at.op("Mul", at.x, at.number(at.p.beta))
    return at.op("Mul", at.x, at.op("Sigmoid", inner))


def clip(at: At) -> str:
    low, high = at.number(at.p.min), at.number(at.p.max)
    if at.p.min > at.p.max:  # Caffe limits by min last
        return at.op("Max", at.op("Min", at.x, high), low)
    return at.op("Clip", at.x, low, high)


def threshold(at: At) -> str:
    return at.op("Cast", at.op("Greater", at.x, at.number(at.p.threshold)), to=at.kind)


def bnll(at: At) -> str:
    return at.op("Softplus", at.x)


def power(at: At) -> str:
    p = at.p
    if p.power * p.scale == 0:
        constant = 1.0 if p.power == 0 else p.shift**p.power
        return at.op("Add", at.op("Mul", at.x, at.number(0)), at.number(constant))
    y = _affine(at, p.scale, p.shift)
    if p.power == 1:
        return y
    return at.op("Mul", y, y) if p.power == 2 else at.op("Pow", y, at.number(p.power))


def exp(at: At) -> str:
    p = at.p
    inner = p.scale * (1.0 if p.base == -1 else math.log(p.base))
    outer = 1.0 if p.shift == 0 else math.exp(p.shift) if p.base == -1 else p.base**p.shift
    y = at.op("Exp", at.x if inner == 1 else at.op("Mul", at.x, at.number(inner)))
    return y if outer == 1 else at.op("Mul", y, at.number(outer))


def log(at: At) -> str:
    y = at.op("Log", _affine(at, at.p.scale, at.p.shift))
    return y if at.p.base == -1 else at.op("Div", y, at.number(math.log(at.p.base)))


def _affine(at: At, scale: float, shift: float) -> str:
    y = at.x.name if scale == 1 else at.op("Mul", at.x, at.number(scale))
    return y if shift == 0 else at.op("Add", y, at.number(shift))


def abs_val(at: At) -> str:
    return at.op("Abs", at.x)


def dropout(at: At) -> str:
    """In TEST a copy."""
    return at.x.name


def prelu(at: At) -> str:
    slope = at.arrays[0].reshape(-1)
    if slope.size > 1:
        slope = slope.reshape(-1, *(1,) * (len(at.x.shape) - 2))
    return at.op("PRelu", at.x, at.weight(0, slope, suffix="0"))


def softmax(at: At) -> str:
    return at.op("Softmax", at.x, axis=canonical_axis(at.p.axis, at.x.shape))


COVERED: dict[str, Form] = {
    "ReLU": Form(relu),
    "ReLU6": Form(relu6),
    "ELU": Form(elu),
    "Sigmoid": Form(sigmoid),
    "TanH": Form(tanh),
    "Swish": Form(swish),
    "Clip": Form(clip),
    "Threshold": Form(threshold),
    "BNLL": Form(bnll, precise=True),
    "Power": Form(power, precise=True),
    "Exp": Form(exp, precise=True),
    "Log": Form(log, precise=True),
    "AbsVal": Form(abs_val),
    "Dropout": Form(dropout, copies=True),
    "SpatialDropout": Form(dropout, copies=True),
    "PReLU": Form(prelu),
    "Softmax": Form(softmax, precise=True),
}
REFUSED: dict[str, str] = {}
