"""Losses and metrics at test. `netbuilder deploy` leaves them out; a graph may still want their values."""

from __future__ import annotations

from math import prod

from netbuilder.export.onnx.graph import At, Form, Value
from netbuilder.layers import canonical_axis

__all__ = ["COVERED", "REFUSED"]

_FULL, _VALID, _BATCH_SIZE, _NONE = 0, 1, 2, 3
_SMALLEST = 1.17549435e-38  # FLT_MIN
_LOG_THRESHOLD = 1e-20
_L2 = 2


# ---- what the losses share -------------------------------------------------------------------------------


def _total(at: At, losses: str, divisor: str | float) -> str:
    """The sum of all losses by the divisor."""
    total = at.op("ReduceSum", losses, keepdims=0)
    return at.op("Div", total, divisor if isinstance(divisor, str) else at.number(divisor))


def _indices(at: At, axis: int, ignored: int | None) -> tuple[str, str | None]:
    """Labels as indices along an axis of the scores, with size 1 there, and which of them count."""
    scores, labels = at.bottoms[:2]
    like = Value("", tuple((*shape[:axis], 1, *shape[axis + 1 :]) for shape in scores.shapes))
    indices = at.op("Cast", at.as_top(labels, labels, like), to="int64")
    if ignored is None:
        return indices, None
    counts = at.op("Not", at.op("Equal", indices, at.ints(ignored)))
    return at.op("Where", counts, indices, at.ints(0)), counts


def _counted(at: At, values: str, counts: str | None) -> str:
    return values if counts is None else at.op("Where", counts, values, at.number(0))


def _number(at: At, counts: str) -> str:
    """How many count, at least 1."""
    return at.op("Max", at.op("ReduceSum", at.op("Cast", counts, to=at.kind), keepdims=0), at.number(1))


def _divisor(at: At, outer: int, inner: int, counts: str | None, default: int = _VALID) -> str | float:
    """What the loss is divided by, with the axes before `outer` and from `inner` on as Caffe's sizes.

    Source: softmax_loss_layer.cpp and others, get_normalizer.
    """
    p = at.proto.loss_param
    if p.label_smoothing:
        raise at.refuse(
            "what label_smoothing of forks computes could not be checked",
            "an InfogainLoss with the smoothed matrix computes the same in every Caffe",
        )
    mode = default
    if p.HasField("normalization"):
        mode = p.normalization
    elif p.HasField("normalize"):
        mode = _VALID if p.normalize else _BATCH_SIZE
    if mode == _VALID and counts is not None:
        return _number(at, counts)
    if mode == _NONE:
        return 1.0
    if mode not in (_FULL, _VALID, _BATCH_SIZE):
        return max(1.0, p.pre_fixed_normalizer)
    shape = at.fixed(at.x, range(len(at.x.shape)), "the size of its bottom, by which it is divided,")
    images = prod(shape[:outer])
    return max(1.0, float(images if mode == _BATCH_SIZE else images * prod(shape[inner:])))


def _ignored(at: At) -> int | None:
    p = at.proto.loss_param
    return p.ignore_label if p.HasField("ignore_label") else None


def _batch(at: At) -> int:
    return at.fixed(at.x, [0], "the batch, by which it is divided,")[0]


# ---- the losses ------------------------------------------------------------------------------------------


def softmax_loss(at: At) -> str:
    """The mean negative logarithm of the labels' probabilities."""
    axis = canonical_axis(at.proto.softmax_param.axis, at.x.shape)
    indices, counts = _indices(at, axis, _ignored(at))
    picked = at.op("GatherElements", at.op("Softmax", at.x, axis=axis), indices, axis=axis)
    losses = at.op("Neg", at.op("Log", at.op("Max", picked, at.number(_SMALLEST))))
    return _total(at, _counted(at, losses, counts), _divisor(at, axis, axis + 1, counts))


def infogain_loss(at: At) -> list[str]:
    """The softmax loss against a matrix of label weights, bottom 2."""
    if len(at.bottoms) < 3:
        raise at.refuse("its matrix is in a file", "give the matrix as bottom 2, by a Parameter layer")
    axis = canonical_axis(at.p.axis, at.x.shape)
    classes = at.x.shape[axis]
    indices, counts = _indices(at, axis, _ignored(at))
    p = at.op("Softmax", at.x, axis=axis)
    logs = at.op("Log", at.op("Max", p, at.number(_LOG_THRESHOLD)))
    matrix = at.reshaped(at.bottoms[2], [classes, classes])
    rows = at.op("Gather", matrix, at.op("Squeeze", indices, at.ints([axis])), axis=0)
    rank = len(at.x.shape)
    rows = at.op("Transpose", rows, perm=[*range(axis), rank - 1, *range(axis, rank - 1)])
    losses = at.op("Neg", at.op("Mul", rows, logs))
    return [_total(at, _counted(at, losses, counts), _divisor(at, axis, axis + 1, counts)), p][: len(at.tops)]


def cross_entropy(at: At) -> str:
    """The cross entropy of the sigmoid of bottom 0 against the targets of bottom 1."""
    x, target = at.x.name, at.as_top(at.bottoms[1], at.bottoms[1], at.x)
    ignored, counts = _ignored(at), None
    if ignored is not None:
        counts = at.op("Not", at.op("Equal", at.op("Cast", target, to="int64"), at.ints(ignored)))
    positive = at.op("Max", x, at.number(0))
    soft = at.op("Log", at.op("Add", at.op("Exp", at.op("Neg", at.op("Abs", x))), at.number(1)))
    losses = at.op("Sub", at.op("Add", positive, soft), at.op("Mul", x, target))
    return _total(at, _counted(at, losses, counts), _divisor(at, 1, 1, counts, _BATCH_SIZE))


def _apart(at: At) -> str:
    """The difference of two bottoms of as many values."""
    return at.op("Sub", at.x, at.as_top(at.bottoms[1], at.bottoms[1], at.x))


def euclidean_loss(at: At) -> str:
    apart = _apart(at)
    return _total(at, at.op("Mul", apart, apart), 2.0 * _batch(at))


def l1_loss(at: At) -> str:
    return _total(at, at.op("Abs", _apart(at)), _batch(at))


def hinge_loss(at: At) -> str:
    """One against all, of scores and labels."""
    rows = at.reshaped(at.x, [0, -1])
    labels = at.op("Cast", at.reshaped(at.bottoms[1], [-1]), to="int64")
    labels = at.sliced(labels, [0], [_batch(at)], [0])
    signs = at.op("OneHot", labels, at.ints([prod(at.x.shape[1:])]), at.numbers([1.0, -1.0]), axis=-1)
    margins = at.op("Relu", at.op("Add", at.op("Mul", rows, signs), at.number(1)))
    squared = at.op("Mul", margins, margins) if at.p.norm == _L2 else margins
    return _total(at, squared, _batch(at))


def logistic_loss(at: At) -> str:
    """The mean negative logarithm of the labels' probabilities, which are given."""
    labels = at.op("Cast", at.reshaped(at.bottoms[1], [-1, 1]), to="int64")
    picked = at.op("GatherElements", at.reshaped(at.x, [0, -1]), labels, axis=1)
    logs = at.op("Log", at.op("Max", picked, at.number(_LOG_THRESHOLD)))
    return _total(at, at.op("Neg", logs), _batch(at))


def contrastive_loss(at: At) -> str:
    """The distance of similar pairs, and the margin minus the distance of the others."""
    rows = [at.reshaped(bottom, [0, -1]) for bottom in at.bottoms[:2]]
    squares = at.reduced("ReduceSumSquare", at.op("Sub", *rows), [1], keep=False)
    if at.p.legacy_version:
        apart = at.op("Relu", at.op("Sub", at.number(at.p.margin), squares))
    else:
        missing = at.op("Relu", at.op("Sub", at.number(at.p.margin), at.op("Sqrt", squares)))
        apart = at.op("Mul", missing, missing)
    similar = at.op("Cast", at.op("Cast", at.reshaped(at.bottoms[2], [-1]), to="int64"), to="bool")
    similar = at.sliced(similar, [0], [_batch(at)], [0])
    return _total(at, at.op("Where", similar, squares, apart), 2.0 * _batch(at))


def accuracy(at: At) -> list[str]:
    """The fraction of labels among the best scores, and that of each class; equal scores count against."""
    p = at.p
    axis = canonical_axis(p.axis, at.x.shape)
    indices, counts = _indices(at, axis, p.ignore_label if p.HasField("ignore_label") else None)
    own = at.op("GatherElements", at.x, indices, axis=axis)
    as_good = at.op("Cast", at.op("GreaterOrEqual", at.x, own), to=at.kind)
    rank = at.reduced("ReduceSum", as_good, [axis])  # itself included
    right = at.op("LessOrEqual", rank, at.number(p.top_k))
    if counts is None:
        counts = at.op("Equal", indices, indices)
    right = at.op("Cast", at.op("And", right, counts), to=at.kind)
    fraction = _total(at, right, _number(at, counts))
    if len(at.tops) < 2:
        return [fraction]
    depth = at.ints([at.x.shape[axis]])
    classes = at.op("OneHot", at.reshaped(indices, [-1]), depth, at.numbers([0.0, 1.0]), axis=-1)
    sums = [
        at.reduced("ReduceSum", at.op("Mul", classes, at.reshaped(flags, [-1, 1])), [0], keep=False)
        for flags in (right, at.op("Cast", counts, to=at.kind))
    ]
    return [fraction, at.op("Div", sums[0], at.op("Max", sums[1], at.number(1)))]


_OHEM = "it chooses what to learn from; `netbuilder deploy` leaves it out"
COVERED: dict[str, Form] = {
    "SoftmaxWithLoss": Form(softmax_loss, precise=True),
    "SigmoidCrossEntropyLoss": Form(cross_entropy, precise=True),
    "EuclideanLoss": Form(euclidean_loss, precise=True),
    "InfogainLoss": Form(infogain_loss, precise=True),
    "HingeLoss": Form(hinge_loss, precise=True),
    "MultinomialLogisticLoss": Form(logistic_loss, precise=True),
    "ContrastiveLoss": Form(contrastive_loss, precise=True),
    "L1Loss": Form(l1_loss, precise=True),
    "Accuracy": Form(accuracy, precise=True),
}
REFUSED: dict[str, str] = {
    "SmoothL1LossOHEM": _OHEM,
    "SoftmaxWithLossOHEM": _OHEM,
    "BoxAnnotatorOHEM": _OHEM,
    "MultiBoxLoss": "it is a loss of a training; `netbuilder deploy` leaves it out",
    "SmoothL1Loss": "it is a loss of a training; `netbuilder deploy` leaves it out",
    "CenterLoss": "it is a loss of a training; `netbuilder deploy` leaves it out",
}
