"""Losses and metrics: their tops are scalars, and the file may omit the top of a loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from netbuilder.errors import ShapeError, shape_text
from netbuilder.layers.base import Facts, Shape, canonical_axis, check_not_empty, elements, legacy_shape, rule
from netbuilder.layers.traits import COMPUTES, GradientReads, Reads, Scores, Spoils
from netbuilder.layers.views import all_pooled

if TYPE_CHECKING:
    from netbuilder.schema import LayerParameter

SCALAR: Shape = ()
L2 = 2
_LEAST = 1.17549435e-38  # FLT_MIN: the least probability of which SoftmaxWithLoss takes the logarithm
_THRESHOLD = 1e-20  # that of MultinomialLogisticLoss (kLOG_THRESHOLD)
_REFUSING = COMPUTES._replace(sees=all_pooled, keeps_shape=True)  # Caffe refuses them in place
_LOSS = _REFUSING._replace(spoils=Spoils.VALUES)


def _legacy_scores(layer: LayerParameter, bottoms: Sequence[Shape], phase: str) -> str:
    """Source: Forward_cpu of each, which reads bottom[0]->num(); blob.hpp, LegacyShape."""
    if len(bottoms[0]) > 4:
        return f"bottom 0 may have at most 4 axes, got {shape_text(bottoms[0])}"
    return ""


def _legacy_bottoms(bottoms: Sequence[Shape]) -> tuple[int, ...]:
    """Source: euclidean_loss_layer.cpp, Backward_cpu, which reads num() of each bottom."""
    return tuple(i for i, shape in enumerate(bottoms) if len(shape) > 4)


def _softmax_scores(layer: LayerParameter) -> Scores:
    p = layer.loss_param
    return Scores(layer.softmax_param.axis, p.ignore_label if p.HasField("ignore_label") else None)


def _infogain_scores(layer: LayerParameter) -> Scores:
    p = layer.loss_param
    return Scores(layer.infogain_loss_param.axis, p.ignore_label if p.HasField("ignore_label") else None)


def _first_axis_scores(layer: LayerParameter) -> Scores:
    return Scores(1, None)


def _accuracy_scores(layer: LayerParameter) -> Scores:
    p = layer.accuracy_param
    return Scores(p.axis, p.ignore_label if p.HasField("ignore_label") else None)


def _softmax_classes(layer: LayerParameter, bottom: Shape, phase: str) -> int:
    return bottom[canonical_axis(layer.softmax_param.axis, bottom)]


@rule(
    "SoftmaxWithLoss",
    "loss_param",
    "softmax_param",
    bottoms=2,
    in_place="refused",
    auto_top=True,
    traits=_REFUSING._replace(
        no_gradient=(1,), applies="Softmax", normalises=_softmax_classes, scores=_softmax_scores,
        most=-math.log(_LEAST),
    ),
)  # fmt: skip
def softmax_with_loss(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Mean negative log-likelihood of the labels under the softmax of the scores.

    (n, c, ...) scores and n*... labels -> (). Operations: 5 per score (softmax), 2 per label.
    Raises ShapeError. Source: softmax_loss_layer.cpp, Reshape.
    """
    scores, labels = bottoms
    _same_first_axis(bottoms)
    _softmax(layer, scores, layer.softmax_param.axis)
    count = _labels(scores, labels, layer.softmax_param.axis)
    return Facts((SCALAR,), ops=5 * elements(scores) + 2 * count)


@rule(
    "SigmoidCrossEntropyLoss",
    "loss_param",
    bottoms=2,
    in_place="refused",
    auto_top=True,
    traits=_REFUSING._replace(no_gradient=(1,), applies="Sigmoid"),
)
def sigmoid_cross_entropy_loss(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Cross entropy of the sigmoid of bottom 0 against the targets of bottom 1 -> ().

    Operations: 6 per element. Raises ShapeError. Source: sigmoid_cross_entropy_loss_layer.cpp, Reshape.
    """
    _same_first_axis(bottoms)
    _same_count(bottoms)
    if any(layer.loss_weight):  # the inner Sigmoid inherits the weight and fills its top with it
        check_not_empty(bottoms[0], "bottom 0")
    return Facts((SCALAR,), ops=6 * elements(bottoms[0]))


@rule(
    "EuclideanLoss",
    bottoms=2,
    in_place="refused",
    auto_top=True,
    traits=_REFUSING._replace(
        no_gradient=_legacy_bottoms, unforced=(), applies="", no_forward=_legacy_scores
    ),
)
def euclidean_loss(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Half the mean squared distance of two bottoms -> ().

    Operations: 3 per element. Raises ShapeError. Source: euclidean_loss_layer.cpp, Reshape.
    """
    _same_first_axis(bottoms)
    _same_count(bottoms)
    return Facts((SCALAR,), ops=3 * elements(bottoms[0]))


def _probabilities(layer: LayerParameter, bottoms: Sequence[Shape]) -> Reads:
    """The second top, in the memory of its Softmax. Source: infogain_loss_layer.cpp, Forward_cpu."""
    return {1: GradientReads.ELEMENTS} if len(layer.top) > 1 else {}


@rule(
    "InfogainLoss",
    "infogain_loss_param",
    "loss_param",
    "softmax_param",
    bottoms=(2, 3),
    tops=(1, 2),
    in_place="wrong",
    auto_top=True,
    traits=_LOSS._replace(
        no_gradient=(1, 2),
        reads_tops=_probabilities,
        applies="Softmax",
        scores=_infogain_scores,
        normalises=_softmax_classes,
    ),
)
def infogain_loss(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Softmax loss against a matrix of label weights (label smoothing), bottom 2 or a file -> ().

    A second top has the probabilities, in the shape of the scores; loss_weight is then required.
    Operations: 5 per score (softmax), 3 per score (log, multiply, add).
    Raises ShapeError. Source: infogain_loss_layer.cpp, Reshape.
    """
    scores, labels = bottoms[0], bottoms[1]
    if list(layer.top[:1]) == list(layer.bottom[:1]):
        # The loss over the scores; Caffe accepts the probabilities over the labels.
        raise ShapeError(f"cannot write over its bottom '{layer.bottom[0]}'")
    _same_first_axis(bottoms)
    axis = layer.infogain_loss_param.axis
    _labels(scores, labels, axis)
    classes = scores[canonical_axis(axis, scores)]
    _softmax(layer, scores, axis)  # whatever softmax_param says
    if layer.loss_param.HasField("normalize"):
        raise ShapeError("normalize is deprecated: give normalization")
    if len(bottoms) == 3 and elements(bottoms[2]) != classes**2:
        raise ShapeError(
            f"bottom 2 must be ({classes},{classes}), one row per label, got {shape_text(bottoms[2])}"
        )
    if len(bottoms) == 2 and not layer.infogain_loss_param.source:
        raise ShapeError("the matrix is missing: give it as bottom 2 or as source")
    if len(layer.top) == 2 and not layer.loss_weight:
        raise ShapeError("two tops need loss_weight for each: Caffe's default is a single one")
    return Facts((SCALAR, scores)[: max(1, len(layer.top))], ops=8 * elements(scores))


@rule(
    "HingeLoss",
    "hinge_loss_param",
    bottoms=2,
    auto_top=True,
    traits=_LOSS._replace(no_gradient=(1,), applies="", scores=_first_axis_scores, no_forward=_legacy_scores),
)
def hinge_loss(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """One-against-all hinge loss of scores (n, ...) and n labels -> ().

    Only the batch of the labels is checked. Operations: 3 per score (margin, maximum, sum), 4 with norm L2
    (square). Raises ShapeError. Source: hinge_loss_layer.cpp; loss_layer.cpp, Reshape.
    """
    _same_first_axis(bottoms)
    per_score = 4 if layer.hinge_loss_param.norm == L2 else 3
    return Facts((SCALAR,), ops=per_score * elements(bottoms[0]))


@rule(
    "MultinomialLogisticLoss",
    bottoms=2,
    auto_top=True,
    traits=_LOSS._replace(
        no_gradient=(1,), applies="", scores=_first_axis_scores, no_forward=_legacy_scores,
        most=-math.log(_THRESHOLD),
    ),
)  # fmt: skip
def multinomial_logistic_loss(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Mean negative logarithm of the labels' probabilities: probabilities (n, ...), labels (n[,1,1,1]) -> ().

    Operations: 3 per label (maximum, logarithm, sum).
    Raises ShapeError. Source: multinomial_logistic_loss_layer.cpp, Reshape.
    """
    _same_first_axis(bottoms)
    labels = legacy_shape(bottoms[1], "bottom 1, the labels,")
    if labels[1:] != (1, 1, 1):
        raise ShapeError(f"bottom 1 must be one label per image, got {shape_text(bottoms[1])}")
    return Facts((SCALAR,), ops=3 * labels[0])


@rule(
    "ContrastiveLoss",
    "contrastive_loss_param",
    bottoms=3,
    auto_top=True,
    traits=_LOSS._replace(no_gradient=(), unforced=(2,), applies=""),
)
def contrastive_loss(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Distance of similar pairs, margin minus distance of the others: two (n, c[,1,1]) and (n[,1,1,1]) -> ().

    Operations: 3 per element of a bottom (subtract, square, sum), 3 per pair (margin, maximum, sum).
    Raises ShapeError. Source: contrastive_loss_layer.cpp, LayerSetUp; loss_layer.cpp, Reshape.
    """
    a, b, similar = (legacy_shape(shape, f"bottom {i}") for i, shape in enumerate(bottoms))
    if a[1] != b[1] or (*a[2:], *b[2:]) != (1, 1, 1, 1):
        raise ShapeError(
            "bottoms 0 and 1 must be (n,c) or (n,c,1,1) with as many channels, "
            f"got {shape_text(bottoms[0])} and {shape_text(bottoms[1])}"
        )
    if similar[1:] != (1, 1, 1):
        raise ShapeError(f"bottom 2 must be one number per pair, got {shape_text(bottoms[2])}")
    _same_first_axis(bottoms)
    return Facts((SCALAR,), ops=3 * elements(a) + 3 * a[0])


@rule(
    "Accuracy",
    "accuracy_param",
    bottoms=2,
    tops=(1, 2),
    traits=COMPUTES._replace(
        sees=all_pooled,
        keeps_shape=True,
        no_gradient=(0, 1),
        spoils=Spoils.VALUES,
        scores=_accuracy_scores,
        metric=True,
    ),
)
def accuracy(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Fraction of labels among the top_k scores -> (); a second top holds it by class -> (c,).

    Operations: one comparison per score. Raises ShapeError. Source: accuracy_layer.cpp, Reshape.
    """
    p = layer.accuracy_param
    scores, labels = bottoms
    count = _labels(scores, labels, p.axis)
    if count == 0 or p.top_k > elements(scores) // count:
        raise ShapeError(f"top_k {p.top_k} is more than the classes of the scores {shape_text(scores)}")
    if len(layer.top) > 1 and layer.top[0] == layer.bottom[0]:
        raise ShapeError("cannot write over its bottom", hint="give the tops names of their own")
    by_class = ((scores[canonical_axis(p.axis, scores)],),) if len(layer.top) > 1 else ()
    return Facts((SCALAR, *by_class), ops=elements(scores))


def _softmax(layer: LayerParameter, scores: Shape, axis: int) -> None:
    """Check what the inner Softmax of a loss requires; it inherits the loss weight for its top."""
    axis = canonical_axis(axis, scores)
    check_not_empty(scores[axis : axis + 1] if list(layer.loss_weight) == [0] else scores, "bottom 0")


def _same_first_axis(bottoms: Sequence[Shape]) -> None:
    first, second = bottoms[0], bottoms[1]
    if not first or not second or first[0] != second[0]:
        raise ShapeError(
            "bottoms 0 and 1 must have the same batch (axis 0), "
            f"got {shape_text(first)} and {shape_text(second)}"
        )


def _same_count(bottoms: Sequence[Shape]) -> None:
    if elements(bottoms[0]) != elements(bottoms[1]):
        raise ShapeError(
            f"bottoms 0 and 1 must have equally many elements, "
            f"got {shape_text(bottoms[0])} and {shape_text(bottoms[1])}"
        )


def _labels(scores: Shape, labels: Shape, axis: int) -> int:
    axis = canonical_axis(axis, scores)
    wanted = elements(scores[:axis]) * elements(scores[axis + 1 :])
    if elements(labels) != wanted:
        raise ShapeError(
            f"scores {shape_text(scores)} with classes on axis {axis} need {wanted} labels, "
            f"got {elements(labels)} of shape {shape_text(labels)}"
        )
    return wanted
