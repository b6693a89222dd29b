"""Checks of how layers are put together: names, blobs, and what is written over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from netbuilder.checks.finding import Finding, found
from netbuilder.checks.graph import Graph, has_loss
from netbuilder.errors import shape_text
from netbuilder.layers import RULES
from netbuilder.net import Layer

__all__ = ["CHECKS"]

_PROD, _WITHIN = 0, 1
# In place these give the right values; only their gradient is wrong.
_FORWARD_RIGHT = frozenset({"BNLL", "Clip", "Crop", "Log", "MVN", "Power"})
# Their gradient is computed from their own top, or (ReLU in place) from what is now in it.
_NEEDS_TOP = frozenset({"ELU", "Exp", "MVN", "Sigmoid", "Softmax", "Swish", "TanH"})
# What keeps positive values positive and the others not, which is all that the gradient of ReLU asks.
_KEEPS_SIGN = frozenset({"Dropout", "ELU", "PReLU", "ReLU", "Swish", "TanH"})
_POSITIVE = frozenset({"Exp", "Sigmoid", "Softmax"})
_KEEPS_POSITIVE = frozenset({"ELU", "PReLU", "ReLU"})
_OWN_TOP = "give the top a name of its own"
# Bottoms for which a layer has no gradient: Caffe aborts if it needs one.
_NO_GRADIENT = {
    "ArgMax": 0,
    "Embed": 0,
    "HingeLoss": 1,
    "InfogainLoss": 1,
    "MultinomialLogisticLoss": 1,
    "SigmoidCrossEntropyLoss": 1,
    "SoftmaxWithLoss": 1,
    "Threshold": 0,
}


def _duplicate_names(graph: Graph) -> Iterator[Finding]:
    seen: set[str] = set()
    for layer in graph.net.layers:
        if layer.name in seen and layer.params:
            yield found(
                "duplicate-name", layer, "weights are stored by name, and another layer has this one",
                "rename one of the two",
            )  # fmt: skip
        seen.add(layer.name)


def _empty_blobs(graph: Graph) -> Iterator[Finding]:
    for layer in graph.layers:
        for top in layer.tops:
            if top.shape is not None and 0 in top.shape:
                yield found(
                    "empty-blob", layer, f"its top {shape_text(top.shape)} is empty",
                    "give the net a larger input: the image does not reach this layer",
                )  # fmt: skip


def _in_place(graph: Graph) -> Iterator[Finding]:
    for layer in graph.layers:
        if not layer.in_place:
            continue
        wrong = _wrong_in_place(layer)
        if wrong == "values":
            yield found(
                "in-place",
                layer,
                f"{layer.type} computes wrong values in place; Caffe does not say",
                _OWN_TOP,
            )
        elif wrong == "gradient" and layer in graph.backward:
            yield found(
                "in-place-gradient", layer,
                f"{layer.type} computes a wrong gradient in place; Caffe does not say",
                _OWN_TOP,
            )  # fmt: skip


def _wrong_in_place(layer: Layer) -> str:
    """What goes wrong when this layer writes over its bottom: "values", "gradient" or ""."""
    rule, proto = RULES.get(layer.type), layer.proto
    if layer.type == "ELU":
        return "gradient" if proto.elu_param.alpha <= 0 else ""
    if rule is None or rule.in_place != "wrong" or layer.type == "Python":
        return ""
    if layer.type in ("Concat", "Slice") and len(layer.bottoms) == len(layer.tops) == 1:
        return ""
    if layer.type == "Tile" and proto.tile_param.tiles == 1:
        return ""
    if (layer.type == "LRN" and proto.lrn_param.norm_region == _WITHIN) or (
        layer.type == "Eltwise" and proto.eltwise_param.operation == _PROD
    ):
        return "gradient"
    return "gradient" if layer.type in _FORWARD_RIGHT else "values"


def _in_place_chains(graph: Graph) -> Iterator[Finding]:
    """Values overwritten before the backward pass asks for them."""
    for layer in graph.layers:
        relu = layer.type == "ReLU" and layer.in_place
        if layer not in graph.backward or not (relu or _needs_top(layer)):
            continue
        top = layer.tops[0]
        while True:
            over = next((r for r in graph.readers.get(top, ()) if _writes_over(r, top.name)), None)
            if over is None:
                break
            if not _harmless(over, layer):
                yield found(
                    "in-place-chain", over,
                    f"it writes over the values of '{layer.name}', whose gradient ({layer.type}) then is "
                    "wrong; Caffe does not say",
                    _OWN_TOP,
                )  # fmt: skip
                break
            top = over.tops[0]


def _needs_top(layer: Layer) -> bool:
    if layer.type == "Power":
        return layer.proto.power_param.power not in (0, 1, 2)
    return layer.type in _NEEDS_TOP or (layer.type == "LRN" and layer.proto.lrn_param.norm_region != _WITHIN)


def _writes_over(layer: Layer, name: str) -> bool:
    return any(b.name == name == t.name for b, t in zip(layer.bottoms, layer.tops, strict=False))


def _harmless(over: Layer, before: Layer) -> bool:
    """Whether what a layer writes in place leaves the gradient of the layer before it right."""
    if before.type == "ReLU":
        return over.type in _KEEPS_SIGN
    if before.type in _POSITIVE or (before.type == "ELU" and before.proto.elu_param.alpha <= 0):
        return over.type in _KEEPS_POSITIVE
    # What a ReLU changes gets no gradient through it; but MVN needs all of its top.
    return over.type == "ReLU" and over.proto.relu_param.negative_slope == 0 and before.type != "MVN"


def _no_backward(graph: Graph) -> Iterator[Finding]:
    for layer in graph.layers:
        i = _NO_GRADIENT.get(layer.type)
        if i is None or layer not in graph.backward or layer.bottoms[i].layer not in graph.learnt:
            continue
        what = "has no gradient" if i == 0 else f"has no gradient for its labels '{layer.bottoms[i].name}'"
        yield found(
            "no-backward", layer, f"{layer.type} {what}, and something before it is learnt: Caffe aborts in "
            "the first backward pass",
            "set lr_mult: 0 for all that is learnt before it, or propagate_down: false here",
        )  # fmt: skip


def _unused_blobs(graph: Graph) -> Iterator[Finding]:
    if not graph.trained:
        return
    for layer in graph.layers:
        if layer.type not in RULES or layer.type in ("Accuracy", "Python") or has_loss(layer):
            continue
        for top in layer.tops:
            if top not in graph.readers and graph.net.blobs.get(top.name) is top:
                yield found(
                    "unused-blob", layer,
                    f"nobody reads its top '{top.name}': Caffe computes it, and prints it as an output of "
                    "the net",
                    "leave the layer out of this phase, or end the blob in a Silence layer",
                )  # fmt: skip


def _overwritten_input(graph: Graph) -> Iterator[Finding]:
    for layer in graph.layers:
        for bottom, top in zip(layer.bottoms, layer.tops, strict=False):
            if bottom.name == top.name and bottom.layer.type == "Input" and not graph.trained:
                yield found(
                    "input-overwritten", layer,
                    f"it writes over the input '{bottom.name}': run again without setting it, the net starts "
                    "from its own result",
                    _OWN_TOP,
                )  # fmt: skip


def _uncounted(graph: Graph) -> Iterator[Finding]:
    """Where unknown shapes begin; what follows from them is not told again."""
    for layer in graph.layers:
        known = all(bottom.shape is not None for bottom in layer.bottoms)
        fork = layer.type not in graph.net.dialect.types and any(top.shape is None for top in layer.tops)
        if layer.unknown and known and not fork:
            source = layer.tops and not layer.bottoms
            fix = f"give its shape: --input {layer.tops[0].name}=N,C,H,W" if source else ""
            yield found("uncounted", layer, f"not counted: {layer.unknown}", fix)


CHECKS: tuple[Callable[[Graph], Iterator[Finding]], ...] = (
    _duplicate_names,
    _empty_blobs,
    _in_place,
    _in_place_chains,
    _no_backward,
    _unused_blobs,
    _overwritten_input,
    _uncounted,
)
