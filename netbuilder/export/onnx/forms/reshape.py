"""Layers that change the shape of one blob."""

from __future__ import annotations

from netbuilder.export.onnx.graph import At, Form
from netbuilder.layers import canonical_axis

__all__ = ["COVERED", "REFUSED", "reshape"]

_SUM, _ASUM, _SUMSQ, _MEAN = 1, 2, 3, 4
_REDUCTIONS = {_SUM: "ReduceSum", _ASUM: "ReduceL1", _SUMSQ: "ReduceSumSquare", _MEAN: "ReduceMean"}


def reshape(at: At) -> str:
    """The shape of the rule."""
    return at.x.name if at.x.shapes == at.top.shapes else at.as_top(at.x, at.x)


def tile(at: At) -> str:
    repeats = [1] * len(at.x.shape)
    repeats[canonical_axis(at.p.axis, at.x.shape)] = at.p.tiles
    return at.op("Tile", at.x, at.ints(repeats))


def reduction(at: At) -> str:
    rank = len(at.x.shape)
    axis = at.p.axis + rank if at.p.axis < 0 else at.p.axis
    if at.p.operation == _SUMSQ and axis == rank:
        top = at.op("Mul", at.x, at.x)
    else:
        top = at.reduced(_REDUCTIONS[at.p.operation], at.x, list(range(axis, rank)), keep=False)
    return top if at.p.coeff == 1 else at.op("Mul", top, at.number(at.p.coeff))


def arg_max(at: At) -> str:
    """The largest elements of each image or along an axis; of equal ones the later comes first."""
    p = at.p
    given = p.HasField("axis")
    axis = canonical_axis(p.axis, at.x.shape) if given else 1
    rows = at.x.name if given else at.reshaped(at.x, [0, -1])
    if p.top_k == 1:
        found = at.op("ArgMax", rows, axis=axis, keepdims=1, select_last_index=1)
        values = [at.reduced("ReduceMax", rows, [axis])] if p.out_max_val else []
    else:  # TopK puts the earlier of equals first
        turned = at.sliced(rows, [-1], [-(2**62)], [axis], [-1])
        best, places = at.ops("TopK", 2, turned, at.ints([p.top_k]), axis=axis)
        last = at.op("Sub", at.op("Gather", at.op("Shape", rows), at.ints([axis]), axis=0), at.ints([1]))
        found, values = at.op("Sub", last, places), [best] if p.out_max_val else []
    indices = at.op("Cast", found, to=at.kind)
    if given:
        return values[0] if values else indices
    both = at.op("Concat", indices, *values, axis=1) if values else indices
    return at.as_top(both, at.x)


def batch_reindex(at: At) -> str:
    x, index = at.bottoms
    return at.op("Gather", x, at.op("Cast", at.reshaped(index, [-1]), to="int64"), axis=0)


COVERED: dict[str, Form] = {
    "Reshape": Form(reshape, copies=True),
    "Flatten": Form(reshape, copies=True),
    "Tile": Form(tile, copies=True),
    "Reduction": Form(reduction, precise=True),
    "ArgMax": Form(arg_max, precise=True),
    "BatchReindex": Form(batch_reindex, precise=True),
}
REFUSED: dict[str, str] = {}
