"""InnerProduct and Embed."""

from __future__ import annotations

from netbuilder.export.onnx.graph import At, Form
from netbuilder.layers import canonical_axis

__all__ = ["COVERED", "REFUSED"]


def inner_product(at: At) -> str:
    """Gemm where one axis stays, as in classifiers; else a product with the matrix of inputs by outputs."""
    p, axis = at.p, canonical_axis(at.p.axis, at.x.shape)
    bias = [at.weight(1)] if p.bias_term else []
    if axis == 1:
        flat = at.x.name if len(at.x.shape) == 2 else at.op("Flatten", at.x, axis=1)
        return at.op("Gemm", flat, at.weight(0), *bias, transB=int(not p.transpose))
    weight = at.weight(0) if p.transpose else at.weight(0, at.arrays[0].T, suffix="0")
    inner = at.x.name if axis == len(at.x.shape) - 1 else at.reshaped(at.x, [*[0] * axis, -1])
    product = at.op("MatMul", inner, weight)
    return at.op("Add", product, *bias) if bias else product


def embed(at: At) -> str:
    """A row for each index; Gather counts negative ones from the end, and Caffe checks none."""
    rows = at.op("Gather", at.weight(0), at.op("Cast", at.x, to="int64"), axis=0)
    return at.op("Add", rows, at.weight(1)) if at.p.bias_term else rows


COVERED: dict[str, Form] = {"InnerProduct": Form(inner_product), "Embed": Form(embed, precise=True)}
REFUSED: dict[str, str] = {}
