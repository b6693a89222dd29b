"""How each layer type of a random deploy net is drawn: its bottoms, and its fields in all their forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netbuilder.layers import elements
from tests.fuzz.deploy_choices import Choices

__all__ = ["DRAW", "TYPES"]

# Writes the bottoms and fields of a layer, and returns the number of tops, if that is not one.
Draw = Callable[[Choices, Any], int | None]
DRAW: dict[str, Draw] = {}


def draw(*types: str) -> Callable[[Draw], Draw]:
    def register(function: Draw) -> Draw:
        DRAW.update(dict.fromkeys(types, function))
        return function

    return register


# -- elementwise -----------------------------------------------------------------------------------------


@draw("AbsVal", "BNLL", "Dropout", "ELU", "Exp", "Log", "Power", "ReLU", "Sigmoid", "Swish", "TanH")
@draw("Threshold")
def _elementwise(m: Choices, layer: Any) -> None:
    layer.bottom.append(m.any()[0])
    p = 0.4
    match layer.type:
        case "ReLU":
            m.fields(layer.relu_param, p, negative_slope=(0, 0.1, -1, 2))
        case "ELU":
            m.fields(layer.elu_param, p, alpha=(0, 1, -1, 0.5))
        case "Swish":
            m.fields(layer.swish_param, p, beta=(0, 1, 1.5))
        case "Threshold":
            m.fields(layer.threshold_param, p, threshold=(0, 1, -0.5))
        case "Dropout":
            m.fields(layer.dropout_param, p, dropout_ratio=(0.5, 0.25, 0.9))
        case "Exp":
            m.fields(layer.exp_param, p, base=(-1, 2, 10, 0.5), scale=(1, 2, -1), shift=(0, 1))
        case "Log":
            m.fields(layer.log_param, p, base=(-1, 2, 10), scale=(1, 2), shift=(0, 1))
        case "Power":
            m.fields(
                layer.power_param, p, power=(1, 2, 0, -1, 0.5, 3), scale=(1, 2, 0.5, -1), shift=(0, 1, 5)
            )
    if layer.type in ("ReLU", "Sigmoid", "TanH"):
        m.fields(getattr(layer, layer.type.lower() + "_param"), 0.05, engine=(0, 1))


@draw("Clip")
def _clip(m: Choices, layer: Any) -> None:
    layer.bottom.append(m.any()[0])
    layer.clip_param.min, layer.clip_param.max = m.pick(0, -1), m.pick(6, 1)


@draw("PReLU")
def _prelu(m: Choices, layer: Any) -> None:
    layer.bottom.append(m.any(4, 4, 4, 2, 3, 5)[0])
    m.fields(layer.prelu_param, 0.3, channel_shared=(True, False))


@draw("Eltwise")
def _eltwise(m: Choices, layer: Any) -> None:
    name, shape = m.any()
    p = layer.eltwise_param
    layer.bottom.append(name)
    layer.bottom.extend(m.blob(shape) for _ in range(m.pick(1, 1, 1, 2, 3)))
    m.fields(p, 0.6, operation=(0, 1, 1, 2))
    m.fields(p, 0.1, stable_prod_grad=(True, False))
    if m.chance(0.3):
        p.coeff.extend(m.pick(1, 1, -1, 0.5) for _ in layer.bottom)


# -- channels --------------------------------------------------------------------------------------------


@draw("BatchNorm")
def _batch_norm(m: Choices, layer: Any) -> None:
    layer.bottom.append(m.any(4, 4, 4, 2, 3, 5, 1)[0])
    m.fields(layer.batch_norm_param, 0.2, use_global_stats=(True, True, False), eps=(1e-3, 0.1))


@draw("Scale", "Bias")
def _scale(m: Choices, layer: Any) -> None:
    name, shape = m.any(*(4,) * 8, 2, 2, 3, 1)
    p = layer.scale_param if layer.type == "Scale" else layer.bias_param
    rank, axis = len(shape), 1
    layer.bottom.append(name)
    if m.chance(0.4) or rank < 2:
        axis = p.axis = m.axis(rank)
    axis = axis + rank if axis < 0 else axis
    covered = m.pick(*range(rank - axis + 1))
    if m.chance(0.35):
        layer.bottom.append(m.blob(shape[axis : axis + covered]))
    if m.chance(0.4):
        p.num_axes = m.pick(-1, covered, covered, covered)
    if layer.type == "Scale":
        m.fields(p, 0.5, bias_term=(True, False))


@draw("LRN")
def _lrn(m: Choices, layer: Any) -> None:
    layer.bottom.append(m.any(4)[0])
    p = layer.lrn_param
    m.fields(p, 0.6, local_size=(1, 3, 5, 7), norm_region=(0, 0, 1))
    m.fields(p, 0.7, alpha=(1, 0.1, 0.0001))
    m.fields(p, 0.2, k=(1, 2), beta=(0.75, 0, 0.5))


@draw("MVN")
def _mvn(m: Choices, layer: Any) -> None:
    layer.bottom.append(m.any(4, 4, 4, 4, 2, 3)[0])
    p = layer.mvn_param
    m.fields(p, 0.4, across_channels=(True, False), normalize_variance=(True, False))
    m.fields(p, 0.1, eps=(1e-9, 0.1))


@draw("Softmax")
def _softmax(m: Choices, layer: Any) -> None:
    name, shape = m.any(4, 2, 3, 1, 5)
    layer.bottom.append(name)
    if m.chance(0.4) or len(shape) < 2:
        layer.softmax_param.axis = m.axis(len(shape))
    m.fields(layer.softmax_param, 0.05, engine=(0, 1))


# -- windows ---------------------------------------------------------------------------------------------


def _window(m: Choices, p: Any, stems: dict[str, tuple[int, ...]], spatial: int) -> None:
    """The fields of a window: once, repeated, or as pairs of which one may be missing."""
    for stem, values in stems.items():
        if stem != "kernel" and m.chance(0.5):
            continue
        name = "kernel_size" if stem == "kernel" else stem
        pairs = spatial == 2 and stem != "dilation" and m.chance(0.25)
        if pairs and m.chance(0.1):
            setattr(p, f"{stem}_{m.pick('h', 'w')}", m.pick(*values))
        elif pairs:
            setattr(p, f"{stem}_h", m.pick(*values))
            setattr(p, f"{stem}_w", m.pick(*values))
        elif p.DESCRIPTOR.name == "PoolingParameter":
            setattr(p, name, m.pick(*values))
        else:
            times = 1 if m.chance(0.7) else spatial
            getattr(p, name).extend(m.pick(*values) for _ in range(times))


@draw("Convolution", "Deconvolution")
def _convolution(m: Choices, layer: Any) -> int | None:
    p = layer.convolution_param
    name, shape = m.any(*(4,) * 12, 3, 3, 5, 5, 2)
    rank, axis = len(shape), 1
    if m.chance(0.1):
        axis = p.axis = m.pick(1, 1 - rank, m.axis(rank))
    axis = axis + rank if axis < 0 else axis
    group = 1
    if m.chance(0.3):
        channels = shape[axis]
        group = p.group = m.pick(*[g for g in range(1, channels + 1) if channels % g == 0], channels)
    p.num_output = group * m.pick(1, 1, 2, 3)
    m.fields(p, 0.4, bias_term=(True, False))
    kernels, dilations = (1, 1, 2, 3, 3, 3, 4, 5), (1, 1, 1, 1, 2, 3)
    stems = {"kernel": kernels, "stride": (1, 1, 2, 2, 3), "pad": (0, 0, 1, 1, 2), "dilation": dilations}
    if m.chance(0.01):
        stems["dilation"] = (0, 1)
    _window(m, p, stems, rank - axis - 1)
    m.fields(p, 0.03, engine=(0, 1), force_nd_im2col=(True, False))
    layer.bottom.append(name)
    if m.chance(0.08):
        layer.bottom.append(m.blob(shape))
        return 2
    return None


@draw("Pooling")
def _pooling(m: Choices, layer: Any) -> int | None:
    p = layer.pooling_param
    layer.bottom.append(m.any(4)[0])
    m.fields(p, 0.7, pool=(0, 0, 1, 1, 1))
    m.fields(p, 0.2, round_mode=(0, 1))
    m.fields(p, 0.03, engine=(0, 1))
    if m.chance(0.2):
        p.global_pooling = m.chance(0.9)
    if not p.global_pooling:
        _window(m, p, {"kernel": (1, 2, 2, 3, 3, 4), "stride": (1, 1, 2, 2, 3), "pad": (0, 0, 1, 1, 2)}, 2)
    return 2 if p.pool == 0 and m.chance(0.1) else None


@draw("SPP")
def _spp(m: Choices, layer: Any) -> None:
    layer.bottom.append(m.any(4)[0])
    layer.spp_param.pyramid_height = m.pick(1, 2, 2)


# -- matrices --------------------------------------------------------------------------------------------


@draw("InnerProduct")
def _inner_product(m: Choices, layer: Any) -> None:
    p = layer.inner_product_param
    name, shape = m.any(*(4,) * 6, 2, 2, 3, 5, 1)
    layer.bottom.append(name)
    p.num_output = m.pick(1, 2, 3, 5)
    if m.chance(0.25) or len(shape) < 2:
        p.axis = m.axis(len(shape))
    m.fields(p, 0.25, bias_term=(True, False), transpose=(True, False))


@draw("Embed")
def _embed(m: Choices, layer: Any) -> None:
    p = layer.embed_param
    layer.bottom.append(m.blob(m.shape(1, 2, 3)))
    p.num_output, p.input_dim = m.pick(1, 2, 3, 5), m.pick(2, 3, 5)
    m.fields(p, 0.3, bias_term=(True, False))


@draw("LSTM", "RNN")
def _recurrent(m: Choices, layer: Any) -> int:
    steps, streams = m.size(), m.size()
    layer.recurrent_param.num_output = m.pick(1, 2, 3)
    layer.bottom.append(m.blob((steps, streams, *m.shape(1, 1, 1, 3))))
    layer.bottom.append(m.blob((steps, streams)))
    return 1


# -- shapes ----------------------------------------------------------------------------------------------


def _old_or_new(m: Choices, p: Any, old: str, rank: int) -> int:
    """Write the axis under its old name or its new one, or leave it out; returns it."""
    if rank > 1 and m.chance(0.5):
        return 1
    axis = m.axis(rank)
    setattr(p, old if axis >= 0 and m.chance(0.2) else "axis", axis)
    return axis


@draw("Concat")
def _concat(m: Choices, layer: Any) -> None:
    name, shape = m.any(4, 4, 2, 3, 1, 5)
    layer.bottom.append(name)
    axis = _old_or_new(m, layer.concat_param, "concat_dim", len(shape))
    for _ in range(m.pick(0, 1, 1, 1, 2, 3)):
        other = list(shape)
        other[axis] = m.pick(m.size(), shape[axis])
        layer.bottom.append(m.blob(tuple(other)))


@draw("Slice")
def _slice(m: Choices, layer: Any) -> int:
    p = layer.slice_param
    name, shape = m.any(4, 4, 2, 3, 1, 5)
    layer.bottom.append(name)
    size = shape[_old_or_new(m, p, "slice_dim", len(shape))]
    if m.chance(0.4):
        return int(m.pick(*[k for k in range(1, size + 1) if size % k == 0]))
    tops = min(m.pick(1, 2, 2, 3), size)
    p.slice_point.extend(sorted(m.rng.sample(range(1, size), tops - 1)))
    return int(tops)


@draw("Split")
def _split(m: Choices, layer: Any) -> int:
    layer.bottom.append(m.any()[0])
    return int(m.pick(1, 2, 2, 3))


@draw("Silence")
def _silence(m: Choices, layer: Any) -> int:
    layer.bottom.extend(m.any()[0] for _ in range(m.pick(1, 1, 2)))
    return 0


@draw("Crop")
def _crop(m: Choices, layer: Any) -> None:
    name, shape = m.any(4, 4, 4, 3, 5, 2)
    p = layer.crop_param
    axis = 2
    if m.chance(0.4) or len(shape) < 3:
        axis = p.axis = m.axis(len(shape))
    axis = axis + len(shape) if axis < 0 else axis
    reference, offsets = list(shape), []
    for i in range(axis, len(shape)):
        reference[i] = m.rng.randint(1, shape[i])
        offsets.append(m.rng.randint(0, shape[i] - reference[i]))
    for i in range(axis):
        if m.chance(0.1):
            reference[i] = m.size()
    if m.chance(0.4):
        p.offset.extend(offsets)
    elif m.chance(0.5):
        p.offset.append(min(offsets))
    layer.bottom.extend([name, m.blob(tuple(reference))])


@draw("Reshape")
def _reshape(m: Choices, layer: Any) -> None:
    name, shape = m.any()
    p = layer.reshape_param
    layer.bottom.append(name)
    rank, start, end = len(shape), 0, len(shape)
    if m.chance(0.4):
        start = m.rng.randint(0, rank)
        p.axis = start if m.chance(0.5) else start - rank - 1
        if m.chance(0.5):
            end = m.rng.randint(start, rank)
            p.num_axes = end - start
    total = elements(shape[start:end])
    dims: list[int] = []
    for _ in range(m.rng.randint(0, 4)):
        dims.append(m.pick(*[k for k in range(1, total + 1) if total % k == 0]))
        total //= dims[-1]
    if total != 1 or m.chance(0.5):
        dims.insert(m.rng.randint(0, len(dims)), total if m.chance(0.4) else -1)
    for i, n in enumerate(dims):
        if start + i < rank and n == shape[start + i] and m.chance(0.5):
            dims[i] = 0
    p.shape.dim.extend(dims)


@draw("Flatten")
def _flatten(m: Choices, layer: Any) -> None:
    name, shape = m.any(4, 4, 2, 3, 1, 5)
    layer.bottom.append(name)
    rank = len(shape)
    if m.chance(0.5) or rank < 2:
        start = layer.flatten_param.axis = m.axis(rank)
        if m.chance(0.5):
            end = m.rng.randint(start % rank, rank - 1)
            layer.flatten_param.end_axis = m.axis(rank) if m.chance(0.05) else end - m.pick(0, rank)


@draw("Tile")
def _tile(m: Choices, layer: Any) -> None:
    name, shape = m.any(4, 4, 2, 3, 1)
    layer.bottom.append(name)
    if m.chance(0.5) or len(shape) < 2:
        layer.tile_param.axis = m.axis(len(shape))
    layer.tile_param.tiles = m.pick(1, 2, 3)


@draw("Reduction")
def _reduction(m: Choices, layer: Any) -> None:
    name, shape = m.any()
    layer.bottom.append(name)
    if m.chance(0.6):
        layer.reduction_param.axis = m.axis(len(shape))
    m.fields(layer.reduction_param, 0.5, operation=(1, 2, 3, 4), coeff=(1, 1, 2, 0))


@draw("ArgMax")
def _argmax(m: Choices, layer: Any) -> None:
    name, shape = m.any(4, 4, 2, 3, 1)
    p = layer.argmax_param
    layer.bottom.append(name)
    among = elements(shape[1:])
    several = [i for i, n in enumerate(shape) if n > 1]  # the largest of one is no question
    if several and (among == 1 or m.chance(0.4)):
        axis = m.pick(*several)
        p.axis, among = axis - m.pick(0, len(shape)), shape[axis]
    if m.chance(0.5):
        p.top_k = m.rng.randint(1, among)
    m.fields(p, 0.4, out_max_val=(True, False))


# Types with many forms are drawn more often.
RICH = (
    "Convolution", "Convolution", "Deconvolution", "Pooling", "Pooling", "InnerProduct", "Scale", "Concat",
    "Slice", "Reshape", "Flatten", "Crop", "Eltwise", "BatchNorm",
)  # fmt: skip
TYPES = (*sorted(DRAW), *RICH)
