"""Checks of the fields of single layers: those without effect, or with a surprising one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from netbuilder.checks.finding import Finding, found
from netbuilder.checks.graph import Graph
from netbuilder.errors import ShapeError
from netbuilder.layers import RULES, canonical_axis, source_of
from netbuilder.layers.arithmetic import conv_window, pool_window
from netbuilder.layers.common import CUDNN
from netbuilder.net import PHASES, Layer
from netbuilder.schema.dialects import ANY, DIALECTS, FORK
from netbuilder.schema.fields import has_field

__all__ = ["CHECKS", "lone_pairs", "readers"]

_STOCHASTIC, _MAX, _WITHIN, _BILINEAR = 2, 2, 1, "bilinear"

# Fields of data layers that moved to transform_param; today's format ignores them in the old place, but that
# WindowData still reads its scale there (window_data_layer.cpp, load_batch).
_MOVED = {
    "data_param": ("scale", "mean_file", "crop_size", "mirror"),
    "image_data_param": ("scale", "mean_file", "crop_size", "mirror"),
    "window_data_param": ("mean_file", "crop_size", "mirror"),
}


def _ignored_params(graph: Graph) -> Iterator[Finding]:
    for layer in graph.layers:
        rule = RULES.get(layer.type)
        if rule is None:
            continue
        source = source_of(layer.type)
        read = (*rule.params, *(("transform_param",) if source and source.transforms else ()))
        for field, _ in layer.proto.ListFields():
            if not field.name.endswith("_param") or field.name in read:
                continue
            own = f"LayerParameter.{field.name}"
            having = [d for d in graph.dialects if layer.type in d.types]
            knows = [d for d in having if field.number < FORK or own in d.adds]
            if not knows or any(d.reads_too(layer.type, field.name) for d in having):
                continue  # the Caffes of the file refuse it, which is reported as such, or read it
            others = readers(layer.type, field.name)
            where = f" in {' and '.join(d.name for d in knows)}" if others else ""
            yield found(
                "ignored-param", layer, f"{layer.type} does not read {field.name}{where}: it has no effect",
                f"leave {field.name} out"
                + (f", or move its fields to {rule.params[0]}" if rule.params else "")
                + (f", unless the file is also for {', '.join(others)}, which read it" if others else ""),
                field=field.name,
            )  # fmt: skip


def readers(type: str, field: str) -> list[str]:
    """The Caffes whose layers of a type read a parameter message that BVLC's ignore."""
    return [d.name for d in DIALECTS.values() if d is not ANY and d.reads_too(type, field)]


def _ignored_fields(graph: Graph) -> Iterator[Finding]:
    for layer in graph.layers:
        for field, text, fix in _without_effect(layer):
            yield found("ignored-field", layer, text, fix, field=field)


def _without_effect(layer: Layer) -> Iterator[tuple[str, str, str]]:
    """The path of each field without effect, what is wrong, and the fix."""
    proto = layer.proto
    source = source_of(layer.type)
    if source and source.stored and source.transforms:
        own = getattr(proto, source.message)
        for name in _MOVED.get(source.message, ()):
            if has_field(own, name) and own.HasField(name):
                yield (
                    f"{source.message}.{name}",
                    f"{name} in {source.message} has no effect in today's format",
                    f"move {name} to transform_param",
                )
    if layer.type == "Eltwise" and proto.eltwise_param.coeff and proto.eltwise_param.operation == _MAX:
        yield (
            "eltwise_param.coeff",
            "coeff has no effect with operation MAX",
            "leave coeff out, or scale the bottoms by Power before",
        )
    if layer.type == "LRN" and proto.lrn_param.norm_region == _WITHIN and proto.lrn_param.k != 1:
        yield "lrn_param.k", "k has no effect with WITHIN_CHANNEL: Caffe takes 1", "leave k out"


def _phase_fields(graph: Graph) -> Iterator[Finding]:
    for layer in graph.layers:
        own = PHASES[layer.proto.phase]
        if layer.proto.HasField("phase") and own != graph.net.phase:
            yield found(
                "phase-field", layer,
                f"phase: {own} does not leave it out of the {graph.net.phase} net: it is there, "
                f"and runs as in {own}",
                f"write include {{ phase: {own} }} to leave it out, or no phase",
            )  # fmt: skip


def _kernels_outside(graph: Graph) -> Iterator[Finding]:
    for layer in graph.layers:
        if layer.type != "Convolution" or layer.unknown or not layer.bottoms[0].shape:
            continue
        p, shape = layer.proto.convolution_param, layer.bottoms[0].shape
        size = shape[canonical_axis(p.axis, shape) + 1 :]
        k, _, pad, d = conv_window(p, len(size))
        extent = [d[i] * (k[i] - 1) + 1 for i in range(len(size))]
        if any(extent[i] > n + 2 * pad[i] for i, n in enumerate(size)):
            yield found(
                "kernel-outside", layer,
                f"its kernel reaches over {_by(extent)}, the padded image has "
                f"{_by([n + 2 * pad[i] for i, n in enumerate(size)])}: Caffe takes zeros for the rest",
                "give the net a larger input, or the layer a smaller kernel or more pad",
            )  # fmt: skip


def _zero_strides(graph: Graph) -> Iterator[Finding]:
    for layer in graph.layers:
        if layer.type != "Deconvolution" or layer.unknown or not layer.bottoms[0].shape:
            continue
        p, shape = layer.proto.convolution_param, layer.bottoms[0].shape
        if 0 in conv_window(p, len(shape) - 1 - canonical_axis(p.axis, shape)).stride:
            yield found(
                "stride-zero", layer,
                "its stride is 0 on one axis: Caffe builds the net, and divides by it when it runs",
                "write stride_h and stride_w, both",
            )  # fmt: skip


def _pooling_outside(graph: Graph) -> Iterator[Finding]:
    for layer in graph.layers:
        if layer.type != "Pooling" or layer.bottoms[0].shape is None or layer.tops[0].shape is None:
            continue
        p, size, out = layer.proto.pooling_param, layer.bottoms[0].shape[2:], layer.tops[0].shape[2:]
        if p.global_pooling:
            continue
        try:
            _, stride, pad, _ = pool_window(p, size)
        except ShapeError:  # its shape was given, not inferred
            continue
        if any((o - 1) * s - q >= n for n, o, s, q in zip(size, out, stride, pad, strict=True)):
            yield found(
                "pooling-outside", layer,
                "the last window lies outside the image: Caffe writes -FLT_MAX or NaN there",
                "use a kernel at least as large as the stride",
            )  # fmt: skip


def _convolves(layer: Layer) -> bool:
    """Whether it is a convolution of some kind, with weights and a `convolution_param`."""
    rule = RULES.get(layer.type)
    return rule is not None and rule.traits.linear is True and "convolution_param" in rule.params


def lone_pairs(layer: Layer) -> list[tuple[str, str]]:
    """The halves of a convolution's _h/_w pairs that are given without the other: (given, missing)."""
    if not _convolves(layer):
        return []
    p = layer.proto.convolution_param
    lone = []
    for stem in ("kernel", "stride", "pad"):
        h, w = f"{stem}_h", f"{stem}_w"
        if p.HasField(h) != p.HasField(w):
            lone.append((h, w) if p.HasField(h) else (w, h))
    return lone


def _lone_pairs(graph: Graph) -> Iterator[Finding]:
    for layer in graph.layers:
        for there, missing in lone_pairs(layer):
            yield found(
                "lone-pair", layer,
                f"{there} is given without {missing}: OpenCV and some chip compilers then ignore it",
                f"write {missing} as well",
            )  # fmt: skip


def _engines(graph: Graph) -> Iterator[Finding]:
    if graph.dialects and all(d.cudnn for d in graph.dialects):
        return
    for layer in graph.layers:
        rule = RULES.get(layer.type)
        if rule and rule.traits.engine is True and getattr(layer.proto, rule.params[0]).engine == CUDNN:
            yield found(
                "engine-cudnn", layer, "engine: CUDNN: a Caffe built without cuDNN aborts on it",
                "leave engine out: Caffe takes cuDNN where it has it",
            )  # fmt: skip


def _pool(layer: Layer) -> int | None:
    if layer.type == "SPP":
        return layer.proto.spp_param.pool
    return layer.proto.pooling_param.pool if layer.type == "Pooling" else None


def _stochastic(graph: Graph) -> Iterator[Finding]:
    for layer in graph.layers:
        if _pool(layer) == _STOCHASTIC:
            yield found(
                "stochastic-cpu", layer, "Caffe has STOCHASTIC pooling for the GPU only: on a CPU it aborts",
                "run it on a GPU, or use MAX or AVE",
            )  # fmt: skip


def _databases(graph: Graph) -> Iterator[Finding]:
    for layer in graph.layers:
        p = layer.proto.data_param
        if layer.type == "Data" and not p.HasField("backend") and "lmdb" in p.source.lower():
            yield found(
                "leveldb-default", layer,
                f"'{p.source}' is opened as LevelDB, which is what Caffe takes by default",
                "write backend: LMDB in data_param",
            )  # fmt: skip


def _dropped(graph: Graph) -> Iterator[Finding]:
    for layer in graph.layers:
        phase = PHASES[layer.proto.phase] if layer.proto.HasField("phase") else graph.net.phase
        if layer.type == "Dropout" and phase == "TRAIN" and layer.proto.dropout_param.dropout_ratio == 1:
            yield found(
                "dropout-all", layer, "dropout_ratio 1 drops everything and divides by 0: its top is NaN",
                "give a dropout_ratio below 1",
            )  # fmt: skip


def _bilinear(graph: Graph) -> Iterator[Finding]:
    for layer in graph.layers:
        if not _convolves(layer) or not layer.params:
            continue
        p, weight = layer.proto.convolution_param, layer.params[0].shape
        mixed = weight[0] // p.group if layer.type == "Deconvolution" else weight[1]
        if p.weight_filler.type == _BILINEAR and mixed > 1:
            yield found(
                "bilinear-mixes", layer,
                f"a bilinear filter is the same for every pair of channels: each output is a sum of {mixed}",
                "give group and num_output as many as there are channels",
            )  # fmt: skip


def _by(values: list[int]) -> str:
    return "x".join(str(n) for n in values)


CHECKS: tuple[Callable[[Graph], Iterator[Finding]], ...] = (
    _ignored_params,
    _ignored_fields,
    _phase_fields,
    _kernels_outside,
    _zero_strides,
    _pooling_outside,
    _lone_pairs,
    _engines,
    _stochastic,
    _databases,
    _dropped,
    _bilinear,
)
