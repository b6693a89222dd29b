"""InnerProduct."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from netbuilder.errors import ShapeError
from netbuilder.layers.base import Facts, ParamFacts, Shape, canonical_axis, elements, rule


@rule("InnerProduct", "inner_product_param")
def inner_product(layer: Any, bottoms: Sequence[Shape]) -> Facts:
    """Fully connected layer, (n, ...) -> (n, num_output); the axes from `axis` (default 1) on are inputs.

    Parameters: weight (num_output, k), or (k, num_output) if transpose; bias (num_output,).
    MACs: n * num_output * k. Other operations: the bias additions.
    Raises ShapeError. Source: inner_product_layer.cpp, LayerSetUp and Reshape.
    """
    p = layer.inner_product_param
    (bottom,) = bottoms
    axis = canonical_axis(p.axis, bottom)
    inputs = elements(bottom[axis:])
    if p.num_output < 1:
        raise ShapeError("num_output is missing or 0")
    top = (*bottom[:axis], p.num_output)
    weight = (inputs, p.num_output) if p.transpose else (p.num_output, inputs)
    params = [ParamFacts(weight, "weight", p.weight_filler)]
    if p.bias_term:
        params.append(ParamFacts((p.num_output,), "bias", p.bias_filler))
    outputs = elements(top)
    return Facts((top,), tuple(params), macs=outputs * inputs, ops=outputs if p.bias_term else 0)
