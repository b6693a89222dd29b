"""Losses besides the plain one in `legos.data`, and a lego that scales the scores before them.

All take scores rather than probabilities, and divide by the batch size. Unlike those of Softmax plus Log,
their gradients are exact even if probabilities underflow: any weighted mean of -log p_k is a SoftmaxWithLoss
plus a linear term, since log(sum_k exp(z_k)) = -log p_0 + z_0. Only the printed value is wrong for a
probability below 1.2e-38: SoftmaxWithLoss prints 87.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from legos.base import Lego
from netbuilder.net import Blob, Net

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "InfogainLossLego",
    "LabelSmoothingLossLego",
    "LogitsScaleLego",
    "SoftTargetLossLego",
    "smoothing_matrix",
]


@dataclass(frozen=True, kw_only=True)
class LogitsScaleLego(Lego):
    """The scores times a number, `X`: a Power, which every consumer reads.

    Not in place: there Caffe's Power loses the incoming gradient.
    """

    factor: float

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        return net.add("Power", *bottoms, name=self.name, scale=self.factor)


@dataclass(frozen=True, kw_only=True)
class LabelSmoothingLossLego(Lego):
    """(1 - epsilon) * (-log p_label) + epsilon * mean_k(-log p_k): scores (n, k), labels (n,) -> ().

    The mean is over all classes, including the label. It needs no file, and is the same in every Caffe. `X`
    is the plain loss, weighted by 1 - epsilon. `X_smooth`, weighted by epsilon, is the loss of class 0 for
    every image; `X_first` and `X_rest` correct it to the mean over the classes. The net's loss is the sum of
    the four. A TEST net also has `accuracy`. Raises ConfigError unless 0 < epsilon < 1, and for fewer than
    two classes. Source: Szegedy et al. 2015 (arXiv 1512.00567), section 7.
    """

    epsilon: float

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < 1:
            raise self._refuse(f"epsilon must be above 0 and below 1, got {self.epsilon:g}", "epsilon")

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        scores, label = bottoms
        classes = scores.known_shape[1]
        if classes < 2:
            raise self._refuse(f"needs at least 2 classes, got {classes}", "classes")
        loss = net.add("SoftmaxWithLoss", *bottoms, name=self.name, loss_weight=[1 - self.epsilon])
        zero = net.add("Power", label, name=f"{self.name}_zero", scale=0)
        net.add("SoftmaxWithLoss", scores, zero, name=f"{self.name}_smooth", loss_weight=[self.epsilon])
        first, rest = _first_and_rest(net, scores, self.name)
        # z_0 - mean(z) is (k - 1) / k of the difference between z_0 and the mean of the other scores.
        share = self.epsilon * (classes - 1) / classes
        _mean(net, first, f"{self.name}_first", share)
        _mean(net, rest, f"{self.name}_rest", -share)
        if net.phase == "TEST":
            net.add("Accuracy", *bottoms, name="accuracy")
        return loss


@dataclass(frozen=True, kw_only=True)
class SoftTargetLossLego(Lego):
    """-sum_k(q_k * log p_k), mean over the images: scores and targets q of shape (n, k) -> ().

    The targets of an image must sum to 1 (mixup, distillation); they come from HDF5Data or an Input, and
    get no gradient. `X` is the loss of class 0 for every image, `X_first` its score and `X_target`
    minus the targets times the scores: the net's loss is the sum of the three. Raises ConfigError for fewer
    than two classes.
    """

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        scores, targets = bottoms
        classes = scores.known_shape[1]
        if classes < 2:
            raise self._refuse(f"needs at least 2 classes, got {classes}", "classes")
        zero = net.add("Reduction", targets, name=f"{self.name}_zero", operation="SUM", axis=1, coeff=0)
        loss = net.add("SoftmaxWithLoss", scores, zero, name=self.name)
        first, rest = _first_and_rest(net, scores, self.name)
        net.add("Silence", rest, name=f"{self.name}_silence")
        _mean(net, first, f"{self.name}_first", 1)
        product = net.add("Eltwise", scores, targets, name=f"{self.name}_product", operation="PROD")
        # The mean over images and classes, so that it fits any batch.
        _mean(net, product, f"{self.name}_target", -classes)
        return loss


@dataclass(frozen=True, kw_only=True)
class InfogainLossLego(Lego):
    """-sum_k(H[label, k] * log p_k) `X`: scores, labels and, unless `source` is given, the matrix H -> ().

    `source` is a binaryproto with k x k numbers (see `smoothing_matrix`), as Caffe finds it when it loads the
    net. A TEST net also has `accuracy`. Raises ConfigError in dialects older than Caffe 1.0, whose layer
    takes probabilities instead of scores.
    """

    source: str = ""

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        # The layer got this field together with its built-in softmax.
        if not net.dialect.has_field("InfogainLoss", "infogain_loss_param.axis"):
            raise self._refuse(
                f"InfogainLoss takes probabilities, not scores, in dialect {net.dialect.name}",
                "dialect",
                hint="for label smoothing use LabelSmoothingLossLego, which is the same in every dialect",
            )
        loss = net.add("InfogainLoss", *bottoms, name=self.name, source=self.source or None)
        if net.phase == "TEST":
            net.add("Accuracy", *bottoms[:2], name="accuracy")
        return loss


def smoothing_matrix(classes: int, epsilon: float) -> npt.NDArray[np.float32]:
    """The matrix H that turns InfogainLoss into label smoothing: (1 - epsilon) * I + epsilon / classes.

    `netbuilder.prototxt.write_blob` writes it to a file.
    """
    import numpy as np

    return ((1 - epsilon) * np.eye(classes) + epsilon / classes).astype(np.float32)


def _first_and_rest(net: Net, scores: Blob, name: str) -> tuple[Blob, Blob]:
    """The scores of class 0, and the scores of all other classes."""
    tops = [f"{name}_score_first", f"{name}_score_rest"]
    first, rest = net.add_many("Slice", scores, name=f"{name}_slice", tops=tops, axis=1, slice_point=[1])
    return first, rest


def _mean(net: Net, x: Blob, name: str, weight: float) -> None:
    net.add("Reduction", x, name=name, operation="MEAN", loss_weight=[weight])
