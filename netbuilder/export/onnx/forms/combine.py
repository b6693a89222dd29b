"""Layers that join, cut or swallow blobs."""

from __future__ import annotations

from functools import reduce

from netbuilder.export.onnx.graph import At, Form
from netbuilder.layers import canonical_axis

__all__ = ["COVERED", "REFUSED"]

_PROD, _SUM = 0, 1


def eltwise(at: At) -> str:
    p = at.p
    if p.operation == _PROD:
        return reduce(lambda a, b: at.op("Mul", a, b), [bottom.name for bottom in at.bottoms])
    if p.operation != _SUM:
        return at.op("Max", *at.bottoms)
    coefficients = list(p.coeff) or [1.0] * len(at.bottoms)
    terms = [
        x.name if c == 1 else at.op("Mul", x, at.number(c))
        for x, c in zip(at.bottoms, coefficients, strict=True)
    ]
    return reduce(lambda a, b: at.op("Add", a, b), terms)


def concat(at: At) -> str:
    if len(at.bottoms) == 1:
        return at.x.name
    axis = at.p.concat_dim if at.p.HasField("concat_dim") else at.p.axis
    return at.op("Concat", *at.bottoms, axis=canonical_axis(axis, at.x.shape))


def slice_(at: At) -> list[str]:
    if len(at.tops) == 1:
        return [at.x.name]
    axis = canonical_axis(at.p.slice_dim if at.p.HasField("slice_dim") else at.p.axis, at.x.shape)
    at.fixed(at.x, [axis], "the size of the axis that it cuts")
    sizes = [top.shape[axis] for top in at.tops]
    return at.ops("Split", len(sizes), at.x, at.ints(sizes), axis=axis)


def split(at: At) -> list[str]:
    return [at.x.name] * len(at.tops)


def crop(at: At) -> str:
    """The part of bottom 0 that has the size of bottom 1 from an axis on."""
    x, reference = at.bottoms
    first = canonical_axis(at.p.axis, x.shape)
    axes = list(range(first, len(x.shape)))
    given = list(at.p.offset) or [0]
    offsets = given if len(given) > 1 else given * len(axes)
    if reference.free.isdisjoint(axes):
        ends: str | list[int] = [o + reference.shape[a] for o, a in zip(offsets, axes, strict=True)]
    else:
        sizes = at.sliced(at.op("Shape", reference), [first], [len(x.shape)], [0])
        ends = at.op("Add", sizes, at.ints(offsets)) if any(offsets) else sizes
    return at.sliced(x, offsets, ends, axes)


def filter_(at: At) -> list[str]:
    """The images for which the selector is not 0; none if it is 0 for all, where Caffe keeps the last."""
    *data, selector = at.bottoms
    flat = at.reshaped(selector, [-1])
    chosen = at.op("Not", at.op("Equal", flat, at.number(0)))
    at.loose = at.loose | {0}
    return [at.op("Compress", x, chosen, axis=0) for x in data]


def silence(at: At) -> list[str]:
    return []


COVERED: dict[str, Form] = {
    "Eltwise": Form(eltwise),
    "Concat": Form(concat, copies=True),
    "Slice": Form(slice_, copies=True),
    "Split": Form(split, copies=True),
    "Crop": Form(crop, copies=True),
    "Filter": Form(filter_, copies=True),
    "Silence": Form(silence, copies=True),
}
REFUSED: dict[str, str] = {}
