"""Findings about a finished net: what Caffe accepts in silence, and what is better said.

Everything on which Caffe aborts is refused earlier, by `Net.append`. `check` returns data and prints
nothing; codes are stable. A check is a function in `CHECKS` that yields findings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from netbuilder.errors import shape_text
from netbuilder.layers import RULES
from netbuilder.net import Blob, Layer, Net

__all__ = ["CHECKS", "Finding", "check"]


@dataclass(frozen=True)
class Finding:
    """One thing to know about a net. `severity` is "error", "warning" or "info"; `fix` says what to do."""

    severity: str
    code: str
    layer: str
    text: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.severity}: {self.layer}: {self.text} [{self.code}]" + (
            f"\n  fix: {self.fix}" if self.fix else ""
        )


def check(net: Net) -> list[Finding]:
    """All findings about a net, in the order of its layers."""
    order = {layer.name: i for i, layer in enumerate(net.layers)}
    found = [finding for one in CHECKS for finding in one(net)]
    return sorted(found, key=lambda f: order.get(f.layer, -1))


def _duplicate_names(net: Net) -> Iterator[Finding]:
    seen: set[str] = set()
    for layer in net.layers:
        if layer.name in seen:
            yield Finding(
                "warning", "duplicate-name", layer.name,
                "weights are stored by name, and another layer has this one",
                "rename one of the two",
            )  # fmt: skip
        seen.add(layer.name)


def _empty_blobs(net: Net) -> Iterator[Finding]:
    for layer in net.layers:
        for top in layer.tops:
            if top.shape is not None and 0 in top.shape:
                yield Finding(
                    "error", "empty-blob", layer.name, f"its top {shape_text(top.shape)} is empty",
                    "give the net a larger input: the image does not reach this layer",
                )  # fmt: skip


def _in_place(net: Net) -> Iterator[Finding]:
    for layer in net.layers:
        rule = RULES.get(layer.type)
        if layer.in_place and rule and rule.in_place == "wrong":
            yield Finding(
                "error", "in-place", layer.name,
                f"{layer.type} computes wrong values in place; Caffe does not say",
                "give the top a name of its own",
            )  # fmt: skip


def _batch_norm(net: Net) -> Iterator[Finding]:
    readers = _readers(net)
    for layer in net.layers:
        if layer.type != "BatchNorm":
            continue
        if not any(r.type in ("Scale", "Bias") for r in readers.get(layer.tops[0], ())):
            yield Finding(
                "warning", "batchnorm-without-scale", layer.name,
                "BatchNorm has no scale and shift of its own, and no Scale follows",
                "add a Scale layer with bias_term: true after it",
            )  # fmt: skip
        if len(layer.proto.param) < 3:
            yield Finding(
                "warning", "batchnorm-trained", layer.name,
                "Caffes of before 2017 would train the statistics like weights",
                "write param { lr_mult: 0 decay_mult: 0 } three times",
            )  # fmt: skip
        before = layer.bottoms[0].layer
        if before.type == "Convolution" and any(p.role == "bias" and p.learnable for p in before.params):
            yield Finding(
                "info", "bias-before-batchnorm", before.name, "BatchNorm takes this bias away again",
                "set bias_term: false, unless trained weights need it",
            )  # fmt: skip


def _zero_weights(net: Net) -> Iterator[Finding]:
    if net.phase != "TRAIN":
        return
    for layer in net.layers:
        if (
            layer.type not in ("Convolution", "Deconvolution", "InnerProduct")
            or not layer.params[0].learnable
        ):
            continue
        p = layer.proto.inner_product_param if layer.type == "InnerProduct" else layer.proto.convolution_param
        if p.weight_filler.type == "constant" and p.weight_filler.value == 0:
            yield Finding(
                "warning", "zero-weights", layer.name,
                "all weights start at 0, and may stay there",
                "give a weight_filler, such as { type: \"msra\" }; Caffe's default is constant 0",
            )  # fmt: skip


def _pooling_outside(net: Net) -> Iterator[Finding]:
    for layer in net.layers:
        if layer.type != "Pooling" or layer.bottoms[0].shape is None or layer.tops[0].shape is None:
            continue
        p = layer.proto.pooling_param
        if p.global_pooling:
            continue
        size, out = layer.bottoms[0].shape[2:], layer.tops[0].shape[2:]
        stride = (p.stride_h or p.stride, p.stride_w or p.stride)
        pad = (p.pad_h or p.pad, p.pad_w or p.pad)
        if any((o - 1) * s - q >= n for n, o, s, q in zip(size, out, stride, pad, strict=True)):
            yield Finding(
                "error", "pooling-outside", layer.name,
                "the last window lies outside the image: Caffe writes -FLT_MAX or NaN there",
                "use a kernel at least as large as the stride",
            )  # fmt: skip


def _lone_pairs(net: Net) -> Iterator[Finding]:
    for layer in net.layers:
        if layer.type not in ("Convolution", "Deconvolution"):
            continue
        p = layer.proto.convolution_param
        for stem in ("kernel", "stride", "pad"):
            if p.HasField(f"{stem}_h") != p.HasField(f"{stem}_w"):
                there, missing = (
                    (f"{stem}_h", f"{stem}_w") if p.HasField(f"{stem}_h") else (f"{stem}_w", f"{stem}_h")
                )
                yield Finding(
                    "warning", "lone-pair", layer.name,
                    f"{there} is given without {missing}: OpenCV and some chip compilers then ignore it",
                    f"write {missing} as well",
                )  # fmt: skip


def _uncounted(net: Net) -> Iterator[Finding]:
    for layer in net.layers:
        if layer.unknown:
            yield Finding("info", "uncounted", layer.name, f"not counted: {layer.unknown}")


CHECKS: tuple[Callable[[Net], Iterator[Finding]], ...] = (
    _duplicate_names,
    _empty_blobs,
    _in_place,
    _batch_norm,
    _zero_weights,
    _pooling_outside,
    _lone_pairs,
    _uncounted,
)


def _readers(net: Net) -> dict[Blob, list[Layer]]:
    readers: dict[Blob, list[Layer]] = {}
    for layer in net.layers:
        for blob in layer.bottoms:
            readers.setdefault(blob, []).append(layer)
    return readers
