"""Training on the hardest regions (online hard example mining), the layers of R-FCN.

Source: daijifeng001/caffe-rfcn and intel/caffe; all of them exist only in forks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from netbuilder.errors import ShapeError, shape_text
from netbuilder.layers.base import Facts, Shape, canonical_axis, elements, legacy_shape, rule
from netbuilder.layers.traits import COMPUTES, Spoils, Unknown
from netbuilder.layers.views import all_pooled

if TYPE_CHECKING:
    from netbuilder.schema import LayerParameter

SCALAR: Shape = ()
_LOSS = COMPUTES._replace(sees=all_pooled, spoils=Spoils.VALUES)


@rule(
    "SmoothL1LossOHEM",
    "smooth_l1_loss_param",
    "loss_param",
    bottoms=(2, 3),
    tops=(1, 2),
    auto_top=True,
    traits=_LOSS._replace(no_gradient=Unknown("its backward pass has not been checked"), applies=""),
)
def smooth_l1_loss_ohem(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """SmoothL1Loss, optionally weighted by bottom 2 -> ()[, the loss of each region (n, 1, h, w)].

    Operations: 5 per element (subtract, compare, square, halve, sum), and one for each weight.
    Raises ShapeError. Source: smooth_L1_loss_ohem_layer.cpp, Reshape.
    """
    shapes = [legacy_shape(b, f"bottom {i}") for i, b in enumerate(bottoms)]
    for i, shape in enumerate(shapes):
        if shape[1:] != shapes[0][1:] or (i == 1 and shape[0] != shapes[0][0]):
            raise ShapeError(
                f"bottoms 0 and {i} must have equal shapes, "
                f"got {shape_text(bottoms[0])} and {shape_text(bottoms[i])}"
            )
    n, _, h, w = shapes[0]
    tops = (SCALAR, (n, 1, h, w))[: max(1, len(layer.top))]
    return Facts(tops, ops=(3 + len(bottoms)) * elements(bottoms[0]))


@rule(
    "SoftmaxWithLossOHEM",
    "loss_param",
    "softmax_param",
    bottoms=2,
    tops=(1, 3),
    auto_top=True,
    traits=_LOSS._replace(no_gradient=(1,), applies="Softmax"),
)
def softmax_with_loss_ohem(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """SoftmaxWithLoss -> ()[, the probabilities, in the shape of the scores[, the loss of each label]].

    Operations: 5 per score (softmax), 2 per label.
    Raises ShapeError. Source: softmax_loss_ohem_layer.cpp, LayerSetUp and Reshape.
    """
    scores, labels = bottoms
    axis = canonical_axis(layer.softmax_param.axis, scores)
    wanted = elements(scores[:axis]) * elements(scores[axis + 1 :])
    if elements(labels) != wanted or scores[:1] != labels[:1]:
        raise ShapeError(
            f"scores {shape_text(scores)} with classes on axis {axis} need {wanted} labels in its batch, "
            f"got {shape_text(labels)}"
        )
    tops = (SCALAR, scores, labels)[: max(1, len(layer.top))]
    return Facts(tops, ops=5 * elements(scores) + 2 * wanted)


@rule(
    "BoxAnnotatorOHEM",
    "box_annotator_ohem_param",
    bottoms=4,
    tops=2,
    traits=COMPUTES._replace(
        sees=Unknown("its regions are known only at run time"), no_gradient=(0, 1, 2, 3), spoils=Spoils.VALUES
    ),
)
def box_annotator_ohem(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Labels and weights of the hardest regions; those of the others are ignored.

    Regions (n, 5, h, w), the loss of each (n, 1, h, w), their labels (n, 1, h, w) and the weights of their
    shifts (n, c, h, w) -> labels (n, 1, h, w), weights (n, c, h, w). Operations: sorting is not counted.
    Raises ShapeError. Source: box_annotator_ohem_layer.cpp, LayerSetUp and Reshape.
    """
    if layer.box_annotator_ohem_param.roi_per_img < 1:
        raise ShapeError("roi_per_img is missing or 0")
    shapes = [legacy_shape(b, f"bottom {i}") for i, b in enumerate(bottoms)]
    n, _, h, w = shapes[0]
    for i, channels in enumerate((5, 1, 1, shapes[3][1])):
        if shapes[i] != (n, channels, h, w):
            raise ShapeError(
                f"bottom {i} must be {shape_text((n, channels, h, w))}, got {shape_text(bottoms[i])}"
            )
    return Facts(((n, 1, h, w), shapes[3]))
