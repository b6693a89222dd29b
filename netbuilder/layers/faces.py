"""Layers for learning faces; they exist only in forks, each docstring names its source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from netbuilder.errors import ShapeError, shape_text
from netbuilder.layers.base import Facts, ParamFacts, Shape, canonical_axis, elements, legacy_shape, rule
from netbuilder.layers.traits import COMPUTES, Spoils
from netbuilder.layers.views import all_pooled

if TYPE_CHECKING:
    from netbuilder.schema import LayerParameter

SCALAR: Shape = ()


@rule(
    "MarginInnerProduct",
    "margin_inner_product_param",
    bottoms=2,
    tops=(1, 2),
    traits=COMPUTES._replace(
        sees=all_pooled,
        no_gradient=(1,),
        spoils=Spoils.VALUES,
        linear=True,
        weight_filler="margin_inner_product_param",
    ),
)
def margin_inner_product(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """InnerProduct by weights of length 1, less a margin: (n, ...) and n labels -> (n, num_output).

    A second top, (1,), holds the weight of the margin. Parameters: weight (num_output, k).
    MACs: n * num_output * k. Other operations: the norms and angles, 4 per output.
    Raises ShapeError. Source: wy1iu/sphereface, margin_inner_product_layer.cpp, LayerSetUp and Reshape.
    """
    p = layer.margin_inner_product_param
    bottom = bottoms[0]
    axis = canonical_axis(p.axis, bottom)
    if p.num_output < 1:
        raise ShapeError("num_output is missing or 0")
    if bottom[:1] != bottoms[1][:1]:
        raise ShapeError(
            f"{shape_text(bottom)} needs as many labels as its batch, got {shape_text(bottoms[1])}"
        )
    inputs = elements(bottom[axis:])
    top = (*bottom[:axis], p.num_output)
    params = (ParamFacts((p.num_output, inputs), "weight", p.weight_filler),)
    tops = (top, (1,))[: max(1, len(layer.top))]
    return Facts(tops, params, macs=elements(top) * inputs, ops=4 * elements(top))


@rule(
    "CenterLoss",
    "center_loss_param",
    bottoms=2,
    auto_top=True,
    traits=COMPUTES._replace(sees=all_pooled, no_gradient=(1,), spoils=Spoils.VALUES, applies=""),
)
def center_loss(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Half the mean squared distance to the center of the class: (n, ...) and n labels -> ().

    Parameters: the centers (num_output, k). Operations: 3 per element (subtract, square, sum).
    Raises ShapeError. Source: ydwen/caffe-face, center_loss_layer.cpp, LayerSetUp and Reshape.
    """
    p = layer.center_loss_param
    bottom = bottoms[0]
    axis = canonical_axis(p.axis, bottom)
    if p.num_output < 1:
        raise ShapeError("num_output, the number of classes, is missing or 0")
    if legacy_shape(bottoms[1], "bottom 1, the labels,") != (*bottom[:1], 1, 1, 1):
        raise ShapeError(f"{shape_text(bottom)} needs a label per image, got {shape_text(bottoms[1])}")
    centers = ParamFacts((p.num_output, elements(bottom[axis:])), "weight", p.center_filler)
    return Facts((SCALAR,), (centers,), ops=3 * elements(bottom))
