"""InnerProduct and Embed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from netbuilder.errors import ShapeError
from netbuilder.layers.base import Facts, ParamFacts, Shape, canonical_axis, check_not_empty, elements, rule
from netbuilder.layers.traits import COMPUTES, Spoils, Unknown
from netbuilder.layers.views import Blobs, Seen, first_spatial

if TYPE_CHECKING:
    from netbuilder.schema import LayerParameter

LINEAR = frozenset(
    {"Convolution", "Deconvolution", "InnerProduct"}
)  # what multiplies by filters, and adds a bias


def _inner_product_sees(layer: LayerParameter, blobs: Blobs) -> Seen:
    axis = first_spatial(layer.inner_product_param.axis, blobs.bottoms[0])
    return blobs.views[0].pooled() if axis <= 0 else None


def _inner_product_learns(layer: LayerParameter) -> int:
    return 1 + layer.inner_product_param.bias_term


@rule(
    "InnerProduct",
    "inner_product_param",
    traits=COMPUTES._replace(
        sees=_inner_product_sees,
        no_gradient=(),
        spoils=Spoils.VALUES,
        linear=True,
        weight_filler="inner_product_param",
        learns=_inner_product_learns,
        engine=True,
        defaults={"weight_filler": {"type": "msra"}},
    ),
)
def inner_product(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
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
        check_not_empty(bottom[:axis], "the batch")
        params.append(ParamFacts((p.num_output,), "bias", p.bias_filler))
    outputs = elements(top)
    return Facts((top,), tuple(params), macs=outputs * inputs, ops=outputs if p.bias_term else 0)


def _embed_learns(layer: LayerParameter) -> int:
    return 1 + layer.embed_param.bias_term


@rule(
    "Embed",
    "embed_param",
    traits=COMPUTES._replace(
        sees=Unknown("its bottom holds indices"),
        no_gradient=(0,),
        spoils=Spoils.VALUES,
        weight_filler="embed_param",
        learns=_embed_learns,
    ),
)
def embed(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Row i of a learnt matrix for each index i, (n, ...) -> (n, ..., num_output).

    Parameters: weight (input_dim, num_output); bias (num_output,) unless bias_term is false.
    MACs: 0, since rows are looked up. Other operations: the bias additions.
    Raises ShapeError. Source: embed_layer.cpp, LayerSetUp and Reshape.
    """
    p = layer.embed_param
    if p.num_output < 1:
        raise ShapeError("num_output is missing or 0")
    if p.input_dim < 1:
        raise ShapeError("input_dim is missing or 0")
    top = (*bottoms[0], p.num_output)
    params = [ParamFacts((p.input_dim, p.num_output), "weight", p.weight_filler)]
    if p.bias_term:
        check_not_empty(bottoms[0], "the bottom")
        params.append(ParamFacts((p.num_output,), "bias", p.bias_filler))
    return Facts((top,), tuple(params), ops=elements(top) if p.bias_term else 0)
