"""Checks of what a net learns: fillers, BatchNorm, losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from netbuilder.checks.finding import Finding, found
from netbuilder.checks.graph import Graph
from netbuilder.errors import shape_text
from netbuilder.graph import has_loss
from netbuilder.layers import RULES, known
from netbuilder.layers.normalization import AFFINE, scales
from netbuilder.net import PHASES, Layer

if TYPE_CHECKING:
    from netbuilder.schema import FillerParameter

__all__ = ["CHECKS", "OF_KINDS"]

_CAFFE = 1
_BY_FAN = ("msra", "xavier")
_FILL = 'give a weight_filler, such as { type: "msra" }; Caffe\'s default is constant 0'
_FAN_IN, _FAN_OUT = 0, 1


def _linear(layer: Layer) -> bool:
    rule = RULES.get(layer.type)
    return rule is not None and rule.traits.linear is True


def _batch_norm(graph: Graph) -> Iterator[Finding]:
    for layer in graph.layers:
        if layer.type != "BatchNorm":
            continue
        affine = scales(layer.proto.batch_norm_param) or _scaled_by_engine(graph, layer)
        if not affine and not any(r.type in AFFINE for r in graph.readers.get(layer.tops[0], ())):
            yield found(
                "batchnorm-without-scale", layer,
                "BatchNorm has no scale and shift of its own, and no Scale follows",
                "add a Scale layer with bias_term: true after it",
            )  # fmt: skip
        guarded = bool(graph.dialects) and all(d.guards_statistics for d in graph.dialects)
        if graph.trained and not affine and not guarded and len(layer.proto.param) < 3:
            yield found(
                "batchnorm-trained", layer,
                "Caffes of before 2017 would train the statistics like weights",
                "write param { lr_mult: 0 decay_mult: 0 } three times",
            )  # fmt: skip
        p = layer.proto.batch_norm_param
        if graph.trained and p.use_global_stats:
            yield found(
                "batchnorm-frozen", layer,
                "use_global_stats: true in training: the statistics stay as they were loaded, 0 without a "
                "model",
                "leave use_global_stats out, unless a trained model is fine-tuned with its statistics",
            )  # fmt: skip
        if graph.net.phase == "TEST" and p.HasField("use_global_stats") and not p.use_global_stats:
            yield found(
                "batchnorm-batch-stats", layer,
                "use_global_stats: false in TEST: an image's result depends on the others of its batch",
                "leave use_global_stats out: it is then true in TEST and false in TRAIN",
            )  # fmt: skip
        before = layer.bottoms[0].layer if layer.bottoms else None
        if before and _linear(before) and any(p.role == "bias" and p.learnable for p in before.params):
            yield found(
                "bias-before-batchnorm", before, "BatchNorm takes this bias away again",
                "set bias_term: false, unless trained weights need it",
            )  # fmt: skip


def _scaled_by_engine(graph: Graph, layer: Layer) -> bool:
    """Whether the engine that a fork takes by default gives a BatchNorm its scale: MKL-DNN in Intel's."""
    p = layer.proto.batch_norm_param
    off = p.engine == _CAFFE or (p.HasField("use_weight_bias") and not p.use_weight_bias)
    return bool(graph.dialects) and all(d.scales for d in graph.dialects) and not off


def _one_value(graph: Graph) -> Iterator[Finding]:
    for layer in graph.layers:
        rule = RULES.get(layer.type)
        normalises = known(rule.traits.normalises, None) if rule else None
        bottom = layer.bottoms[0].shape if layer.bottoms else None
        if normalises is None or layer.unknown or bottom is None:
            continue
        phase = PHASES[layer.proto.phase] if layer.proto.HasField("phase") else graph.net.phase
        if normalises(layer.proto, bottom, phase) == 1:
            yield found(
                "one-value", layer,
                f"{layer.type} normalises over a single value of its bottom {shape_text(bottom)}: its result "
                "is constant, and nothing before it learns",
                "give it more values: a larger batch or image, or two classes or more"
            )  # fmt: skip


def _zero_weights(graph: Graph) -> Iterator[Finding]:
    if not graph.trained:
        return
    for layer in graph.layers:
        if layer.proto.blobs or any(p.shared_with for p in layer.params):
            continue
        if _frozen(layer):
            if _starts_at_zero(layer):
                yield found(
                    "frozen-zero", layer,
                    "its weights start at 0 and are not learnt: they stay 0 unless a model brings them",
                    f"train with --weights (check --weights MODEL compares the names), or {_fill(layer)}",
                )  # fmt: skip
        elif _is_zero(_weight_filler(layer)):
            yield found(
                "zero-weights", layer, "all weights start at 0, and may stay there",
                _FILL,
            )  # fmt: skip


def _fill(layer: Layer) -> str:
    if layer.type != "Deconvolution":
        return "give it a filler"
    return 'for upsampling give weight_filler { type: "bilinear" }, with as many groups as channels'


def _frozen(layer: Layer) -> bool:
    """Whether the rates of all weights of a layer are 0."""
    weights = [p for p in layer.params if p.role == "weight"]
    if weights:
        return not any(p.learnable for p in weights)
    return bool(layer.proto.param) and layer.proto.param[0].lr_mult == 0


def _starts_at_zero(layer: Layer) -> bool:
    """Whether all weights of a layer are filled with 0."""
    if not layer.params:  # of unknown shape
        return _is_zero(_weight_filler(layer))
    facts = RULES[layer.type].infer(layer.proto, [b.known_shape for b in layer.bottoms])
    weights = [p for p in facts.params if p.role == "weight"]
    return bool(weights) and all(_is_zero(p.filler) if p.filler else not p.filled for p in weights)


def _is_zero(filler: FillerParameter | None) -> bool:
    return filler is not None and filler.type == "constant" and filler.value == 0


def _weight_filler(layer: Layer) -> FillerParameter | None:
    rule = RULES.get(layer.type)
    message = known(rule.traits.weight_filler, "") if rule else ""
    return getattr(layer.proto, message).weight_filler if message else None


def _zero_scale(graph: Graph) -> Iterator[Finding]:
    if not graph.trained:
        return
    for layer in graph.layers:
        p = layer.proto.scale_param
        if layer.type != "Scale" or len(layer.bottoms) != 1 or not p.HasField("filler") or layer.proto.blobs:
            continue
        if p.filler.type == "constant" and not p.filler.HasField("value"):
            yield found(
                "zero-scale", layer,
                "filler without a value: the factor starts at 0, and all that follows with it",
                "leave filler out (the factor then starts at 1), or give it a value",
            )  # fmt: skip


def _filler_fans(graph: Graph) -> Iterator[Finding]:
    if not graph.trained:
        return
    for layer in graph.layers:
        filler = _weight_filler(layer)
        if filler is None or filler.type not in _BY_FAN or not layer.params:
            continue
        if layer.type == "InnerProduct":
            swapped = layer.proto.inner_product_param.transpose
            uneven = layer.params[0].shape[0] != layer.params[0].shape[-1]
        else:
            p = layer.proto.convolution_param
            swapped = layer.type == "Deconvolution"
            uneven = swapped and layer.params[0].shape[0] // p.group != layer.params[0].shape[1]
        if swapped and uneven and filler.variance_norm in (_FAN_IN, _FAN_OUT):
            yield found(
                "filler-fan", layer,
                f"{filler.type} scales by the number of outputs instead of inputs, as the weights are stored "
                "transposed",
                "swap variance_norm: FAN_OUT for FAN_IN (the default), or the other way round",
            )  # fmt: skip


def _losses(graph: Graph) -> Iterator[Finding]:
    for layer in graph.layers:
        rule = RULES.get(layer.type)
        if rule is None or not rule.auto_top or not layer.bottoms:
            continue
        before = layer.bottoms[0].layer
        own = known(rule.traits.applies, "")
        if own and before.type == own:
            yield found(
                "double-softmax", layer,
                f"it applies {own} itself, and gets the result of {own} '{before.name}': it learns slowly, "
                "towards other values",
                f"give it the scores before '{before.name}'",
            )  # fmt: skip
        if layer.type == "MultinomialLogisticLoss" and _linear(before):
            yield found(
                "loss-without-softmax", layer,
                f"it takes the logarithm of probabilities, and gets the scores of {before.type} "
                f"'{before.name}'",
                "use SoftmaxWithLoss, or put a Softmax before it",
            )  # fmt: skip
        if before.type == "Dropout" and graph.trained:
            yield found(
                "dropout-on-scores", layer, f"Dropout '{before.name}' drops the scores themselves",
                "put the Dropout before the layer that computes the scores",
            )  # fmt: skip
        if graph.trained and not layer.tops and has_loss(layer):
            yield found(
                "loss-without-top", layer, "without a top it counts in the loss, but Caffe never prints it",
                "give it a top",
            )  # fmt: skip


def _mirrors(graph: Graph) -> Iterator[Finding]:
    for layer in graph.layers:
        if graph.net.phase == "TEST" and not layer.bottoms and layer.proto.transform_param.mirror:
            yield found(
                "mirror-in-test", layer, "mirror: true flips images at random in TEST too",
                "set mirror: false for TEST",
            )  # fmt: skip


CHECKS: tuple[Callable[[Graph], Iterator[Finding]], ...] = (
    _batch_norm,
    _one_value,
    _zero_weights,
    _zero_scale,
    _filler_fans,
    _losses,
    _mirrors,
)
OF_KINDS = (_one_value, _zero_weights, _zero_scale, _filler_fans, _mirrors)
