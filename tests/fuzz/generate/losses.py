"""Losses and Accuracy."""

from __future__ import annotations

from typing import Any

from netbuilder.layers import elements
from tests.fuzz.generate.maker import Maker, Shape, draw


def _scores(m: Maker, layer: Any, p: Any) -> tuple[Shape, Shape]:
    """Adds a bottom of scores; returns its shape and that of its labels."""
    name, shape = m.any(4, 2, 2, 3)
    layer.bottom.append(name)
    axis = 1
    if m.chance(0.25):
        axis = p.axis = m.axis(len(shape))
    axis += len(shape) if axis < 0 else 0
    labels = (*shape[:axis], *shape[axis + 1 :])
    if m.chance(0.3):
        labels = (*shape[:axis], 1, *shape[axis + 1 :])
    return shape, labels


def _loss(m: Maker, layer: Any) -> None:
    m.fields(
        layer.loss_param, 0.15, ignore_label=(0, -1), normalize=(True, False), normalization=(0, 1, 2, 3)
    )


@draw("SoftmaxWithLoss")
def _softmax_with_loss(m: Maker, layer: Any) -> int:
    _, labels = _scores(m, layer, layer.softmax_param)
    layer.bottom.append(m.blob(m.near(labels)))
    _loss(m, layer)
    return 2 if m.chance(0.03) else 1


@draw("InfogainLoss")
def _infogain_loss(m: Maker, layer: Any) -> int:
    p = layer.infogain_loss_param
    shape, labels = _scores(m, layer, p)
    classes = shape[p.axis] if -len(shape) <= p.axis < len(shape) else 2
    layer.bottom.append(m.blob(m.near(labels)))
    if not m.wrong():
        square = m.pick((classes, classes), (1, 1, classes, classes), (classes, classes, 1))
        layer.bottom.append(m.blob(m.near(square)))
    if m.chance(0.2):
        layer.softmax_param.axis = p.axis
    _loss(m, layer)
    return 2 if m.chance(0.03) else 1


@draw("Accuracy")
def _accuracy(m: Maker, layer: Any) -> int:
    p = layer.accuracy_param
    shape, labels = _scores(m, layer, p)
    layer.bottom.append(m.blob(m.near(labels)))
    classes = shape[p.axis] if -len(shape) <= p.axis < len(shape) else 2
    if m.chance(0.4):
        p.top_k = m.pick(0, classes + 1, 50) if m.wrong() else max(1, m.rng.randint(1, max(1, classes)))
    m.fields(p, 0.1, ignore_label=(0, 1))
    return 2 if m.chance(0.25) else 1


@draw("SigmoidCrossEntropyLoss", "EuclideanLoss")
def _pairwise_loss(m: Maker, layer: Any) -> int:
    name, shape = m.any(4, 2, 2, 3, 1)
    other = shape
    if m.chance(0.2) and shape:
        other = (shape[0], elements(shape[1:]))
    layer.bottom.extend([name, m.blob(m.near(other))])
    if layer.type != "EuclideanLoss":
        _loss(m, layer)
    return 2 if m.chance(0.03) else 1


@draw("HingeLoss", "MultinomialLogisticLoss")
def _label_loss(m: Maker, layer: Any) -> int:
    name, shape = m.any(4, 2, 2, 3, 1)
    layer.bottom.extend([name, m.blob(m.near((*shape[:1], *(1,) * m.pick(0, 0, 0, 1, 3))))])
    m.fields(layer.hinge_loss_param, 0.4, norm=(1, 2))
    return 1


@draw("ContrastiveLoss")
def _contrastive_loss(m: Maker, layer: Any) -> int:
    name, shape = m.any(2, 2, 2, 1)
    layer.bottom.append(name)
    other = shape if m.chance(0.8) else (*shape, *(1,) * m.rng.randint(0, max(0, 4 - len(shape))))
    layer.bottom.append(m.blob(m.near(other)))
    layer.bottom.append(m.blob(m.near((*shape[:1], *(1,) * m.pick(0, 0, 0, 1, 3)))))
    m.fields(layer.contrastive_loss_param, 0.3, margin=(0, 1, 2), legacy_version=(True, False))
    return 1
