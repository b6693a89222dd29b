"""The net that is trained, from the net that is handed over: data layers, losses and metrics put back."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from netbuilder.errors import ConfigError
from netbuilder.layers import RULES, Shape, canonical_axis
from netbuilder.layers.traits import Shares, Unknown, known
from netbuilder.net import Blob, Layer, Net, Part, Phase
from netbuilder.schema import LayerParameter
from netbuilder.transforms.freeze import Frozen
from netbuilder.transforms.rebatch import rebatched

__all__ = [
    "LABEL",
    "SCORE_LOSSES",
    "Head",
    "Labels",
    "for_training",
    "heads_of",
    "labels_of",
    "without_filler",
]

LABEL = "label"
FILLER = "msra"
# For outputs that are scores, by their names on the command line.
SCORE_LOSSES = {
    "softmax": "SoftmaxWithLoss",
    "sigmoid": "SigmoidCrossEntropyLoss",
    "euclidean": "EuclideanLoss",
    "hinge": "HingeLoss",
}
# By the activation that they apply to the scores themselves.
_LOSSES = {applied: type for type in SCORE_LOSSES.values() if (applied := RULES[type].traits.applies)}


class Head(NamedTuple):
    """An output of the net and the loss that judges it.

    `scores` is the blob that the loss reads, of this `shape` for one image, with its classes along `axis`.
    `dropped` are the layers between it and the output, such as the Softmax that the loss applies itself.
    """

    scores: str
    loss: str
    shape: Shape
    axis: int
    dropped: tuple[str, ...]
    assumed: bool = False  # the loss, as the output is scores

    @property
    def of_classes(self) -> bool:
        """Whether a label is the number of a class."""
        return bool(RULES[self.loss].traits.scores)

    @property
    def classes(self) -> int:
        """The number of classes, or of real labels."""
        return self.shape[self.axis - 1]

    @property
    def labels(self) -> Shape:
        """The shape of the labels of one image; () is one label."""
        shape = self.shape
        if self.of_classes:
            shape = (1, *shape[: self.axis - 1], *shape[self.axis :])
        return () if math.prod(shape) == 1 else shape


class Labels(NamedTuple):
    """The labels of one image, (channels, h, w) or () for a single one, and the channels of each head.

    `parts` has their numbers by the heads' scores, in order. Without it, all heads have the same labels.
    """

    shape: Shape
    parts: Mapping[str, int] = MappingProxyType({})

    @property
    def are_maps(self) -> bool:
        """Whether there is a label for each place in an image."""
        return math.prod(self.shape[1:]) > 1


def heads_of(net: Net, loss: str = "") -> list[Head]:
    """The heads of a deploy net, one for each of its outputs.

    Softmax and Sigmoid are what SoftmaxWithLoss and SigmoidCrossEntropyLoss apply themselves. For an output
    that is scores, `loss` is the type of its loss, by default SoftmaxWithLoss.
    Raises ConfigError for outputs that no such loss can judge.
    """
    heads = [_head(blob, loss) for blob in net.outputs if blob.layer.bottoms]
    found = {head.scores: head for head in heads}
    if loss and not any(head.loss == loss for head in found.values()):
        raise ConfigError(
            f"{loss} is for outputs that are scores, and those of this net are probabilities", key="loss",
            hint="leave the loss out: Softmax and Sigmoid have theirs",
        )  # fmt: skip
    if not found:
        raise ConfigError(f"{net.name or 'the net'} computes nothing that a loss could judge")
    return list(found.values())


def _head(output: Blob, loss: str) -> Head:
    blob, scores = output, output
    passed: list[Layer] = []
    dropped: list[Layer] = []
    while len(blob.layer.bottoms) == 1:
        layer = blob.layer
        rule = RULES.get(layer.type)
        if layer.type in _LOSSES:
            proto, shape = layer.proto, layer.bottoms[0].known_shape
            axis = canonical_axis(proto.softmax_param.axis, shape) if layer.type == "Softmax" else 1
            names = tuple(each.name for each in (*passed, layer))
            return Head(layer.bottoms[0].name, _LOSSES[layer.type], shape[1:], axis, names)
        if rule is None or not (known(rule.traits.no_backward, False) or rule.traits.shares is Shares.ALWAYS):
            break
        passed.append(layer)
        blob = layer.bottoms[0]
        if known(rule.traits.no_backward, False):  # a class number, which no loss can judge
            scores, dropped = blob, list(passed)
    rule = RULES.get(scores.layer.type)
    if rule is not None and isinstance(rule.traits.no_gradient, Unknown):
        raise ConfigError(
            f"no loss is known for '{scores.name}', of {scores.layer.type} '{scores.layer.name}'",
            key="outputs", hint="name the outputs that a loss can judge by --outputs",
        )  # fmt: skip
    shape = scores.known_shape
    if len(shape) < 2 or (not loss and shape[1] < 2):
        raise ConfigError(
            f"'{scores.name}' has one score for each image, from which no class can be chosen", key="loss",
            hint="give --loss sigmoid for labels of 0 or 1, or --loss euclidean for real ones",
        )  # fmt: skip
    type = loss or SCORE_LOSSES["softmax"]
    return Head(scores.name, type, shape[1:], 1, tuple(each.name for each in dropped), assumed=True)


def labels_of(heads: Sequence[Head], *, own: bool = False) -> Labels:
    """The labels of one image: the same for all heads if they have the same classes, unless each has `own`.

    Labels of several heads lie one behind the other along the channels. Raises ConfigError if they do not
    fit.
    """
    first = heads[0]
    same = all(h.of_classes and h.shape == first.shape and h.axis == first.axis for h in heads)
    if len(heads) == 1 or (same and not own):
        return Labels(_as_image(first.labels))
    shapes = [_as_image(head.labels) or (1, 1, 1) for head in heads]
    if len({shape[1:] for shape in shapes}) > 1:
        raise ConfigError(
            "the heads have labels of different sizes: "
            + ", ".join(f"{h.scores} {h.labels}" for h in heads),
            key="outputs", hint="train them one by one, with --outputs",
        )  # fmt: skip
    parts = {head.scores: shape[0] for head, shape in zip(heads, shapes, strict=True)}
    return Labels((sum(parts.values()), *shapes[0][1:]), parts)


def _as_image(shape: Shape) -> Shape:
    """(c, h, w) of labels; () stays."""
    return (*shape, 1, 1)[:3] if 0 < len(shape) < 3 else shape


def without_filler(net: Net) -> list[str]:
    """The layers whose weights have no filler, so that they would start as zeros."""
    return [layer.name for layer in net if layer.params and _filled(layer.proto) is not layer.proto]


def for_training(
    net: Net,
    phase: Phase,
    source: Part,
    heads: Sequence[Head],
    *,
    batch: int,
    labels: Labels,
    inputs: Sequence[str],
    named: bool = False,
    frozen: Frozen | None = None,
) -> Net:
    """A deploy net with `source` in place of `inputs`, and with the losses of its heads; TEST has metrics.

    `source` is a lego that gives `inputs` and the blob `label`. If `named`, losses and metrics have the names
    of the scores in theirs, as several heads need. Weights without a filler get one. BatchNorm
    takes the statistics of the batch in TRAIN, unless it is frozen with its own.
    Raises ConfigError where the batch does not fit, and whatever `Net.append` raises.
    """
    body = rebatched(net, batch)
    new = Net(net.name, phase, dialect=net.dialect.name)
    new.proto.CopyFrom(net.proto)
    new.attach(source, ())
    dropped = _dropped(body, heads)
    for layer in body:
        if layer in dropped or any(top.name in inputs for top in layer.tops if not layer.bottoms):
            continue
        proto = _trainable(layer.proto, phase)
        with new.scope("", layer.comment):
            unknown = "" if layer.type in RULES else layer.unknown
            new.append(frozen.apply(proto) if frozen else proto, origin=layer.origin, unknown=unknown)
    _judge(new, heads, labels, named)
    return new


def _dropped(net: Net, heads: Sequence[Head]) -> set[Layer]:
    """The layers that the heads drop and that no other layer reads."""
    named = {name for head in heads for name in head.dropped}
    dropped: set[Layer] = set()
    read: set[Blob] = set()  # by the layers that stay
    for layer in reversed(net.layers):
        if layer.name in named and read.isdisjoint(layer.tops):
            dropped.add(layer)
        else:
            read.update(layer.bottoms)
    return dropped


def _trainable(proto: LayerParameter, phase: Phase) -> LayerParameter:
    proto = _filled(proto)
    if phase == "TRAIN" and proto.type == "BatchNorm" and proto.batch_norm_param.use_global_stats:
        copy = type(proto)()
        copy.CopyFrom(proto)
        copy.batch_norm_param.ClearField("use_global_stats")
        return copy
    return proto


def _filled(proto: LayerParameter) -> LayerParameter:
    """The layer with a filler for its weights, if it has weights and no filler; else the same object."""
    rule = RULES.get(proto.type)
    message = known(rule.traits.weight_filler, "") if rule else ""
    if not message or getattr(proto, message).HasField("weight_filler"):
        return proto
    copy = type(proto)()
    copy.CopyFrom(proto)
    getattr(copy, message).weight_filler.type = FILLER
    return copy


def _judge(net: Net, heads: Sequence[Head], labels: Labels, named: bool) -> None:
    """Add the losses of the heads and, in TEST, their accuracies."""
    label = net.blobs[LABEL]
    parts: dict[str, Blob] = {}
    if labels.parts:
        tops = [f"{LABEL}_{scores}" for scores in labels.parts]
        at = list(itertools.accumulate(labels.parts.values()))[:-1]
        cut = net.add_many("Slice", label, name="labels", tops=tops, axis=1, slice_point=at)
        parts = dict(zip(labels.parts, cut, strict=True))
    for head in heads:
        scores, own = net.blobs[head.scores], parts.pop(head.scores, label)
        rest = f"_{head.scores}" if named else ""
        for type, name, fields in _layers(net, head):
            net.add(type, scores, own, name=_free(net, name + rest), **fields)
    if parts:  # of heads that TRAIN alone has
        net.add("Silence", *parts.values(), name="labels_silence")


def _layers(net: Net, head: Head) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The type, the name and the fields of each layer that judges a head."""
    softmax = head.loss == "SoftmaxWithLoss"
    axis = {"axis": head.axis} if softmax and head.axis != 1 else {}
    yield head.loss, "loss", {"softmax_param": axis} if axis else {}
    if net.phase == "TEST" and head.of_classes:
        yield "Accuracy", "accuracy", axis
        if head.classes > 5:
            yield "Accuracy", "accuracy_top5", {"top_k": 5, **axis}


def _free(net: Net, name: str) -> str:
    while name in net or name in net.blobs:
        name += "_"
    return name
