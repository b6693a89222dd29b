"""Layers that compute: activations, normalisation, convolution, pooling, products, recurrent layers."""

from __future__ import annotations

from typing import Any

from tests.fuzz.generate.maker import Maker, draw


@draw(
    "ReLU", "Sigmoid", "TanH", "BNLL", "AbsVal", "ELU", "Swish", "Threshold", "Dropout", "Exp", "Log", "Power"
)
def _elementwise(m: Maker, layer: Any) -> None:
    layer.bottom.append(m.any()[0])
    p = 0.4
    match layer.type:
        case "ReLU":
            m.fields(layer.relu_param, p, negative_slope=(0, 0.1, -1))
        case "ELU":
            m.fields(layer.elu_param, p, alpha=(0, 1, -1))
        case "Swish":
            m.fields(layer.swish_param, p, beta=(0, 1.5))
        case "Threshold":
            m.fields(layer.threshold_param, p, threshold=(0, 1))
        case "Dropout":
            m.fields(layer.dropout_param, p, dropout_ratio=(0.5, 0.25, 0.5, 0.9, 0.1, 0.7, 0, 1, 1.5, -0.5))
        case "Exp":
            m.fields(layer.exp_param, p, base=(-1, 2, 10, -1, 2, 2, 0, -2, 1), scale=(1, 2, 0), shift=(0, 1))
        case "Log":
            m.fields(layer.log_param, p, base=(-1, 2, 10, -1, 2, 2, 0, -2, 1), scale=(1, 2, 0), shift=(0, 1))
        case "Power":
            m.fields(layer.power_param, p, power=(1, 2, 0, -1, 0.5), scale=(1, 2, 0), shift=(0, 1))
    if layer.type in ("ReLU", "Sigmoid", "TanH"):
        m.fields(getattr(layer, layer.type.lower() + "_param"), 0.05, engine=(0, 1, 1, 2))


@draw("Clip")
def _clip(m: Maker, layer: Any) -> None:
    layer.bottom.append(m.any()[0])
    if not m.wrong():
        layer.clip_param.min, layer.clip_param.max = m.pick(0, -1, 5), m.pick(6, 1, 0)


@draw("PReLU")
def _prelu(m: Maker, layer: Any) -> None:
    layer.bottom.append(m.any(4, 2, 3, 5)[0])
    m.fields(layer.prelu_param, 0.4, channel_shared=(True, False))
    m.filler(layer.prelu_param.filler, 0.3)


@draw("Softmax")
def _softmax(m: Maker, layer: Any) -> None:
    name, shape = m.any(4, 2, 3, 1)
    layer.bottom.append(name)
    if m.chance(0.4) or len(shape) < 2:
        layer.softmax_param.axis = m.axis(len(shape))
    m.fields(layer.softmax_param, 0.05, engine=(0, 1, 1, 2))


@draw("Convolution", "Deconvolution", "Im2col")
def _convolution(m: Maker, layer: Any) -> int | None:
    p = layer.convolution_param
    name, shape = m.any(4, 4, 4, 4, 3, 5)
    rank, axis = len(shape), 1
    if m.chance(0.15) and rank:
        axis = m.axis(rank)
        p.axis = axis
    axis = axis + rank if axis < 0 else axis
    spatial = max(0, rank - axis - 1)
    channels = shape[axis] if 0 <= axis < rank else 1
    if layer.type != "Im2col" or m.chance(0.2):
        group = 1
        if m.chance(0.3):
            group = m.pick(*[g for g in range(1, channels + 1) if channels % g == 0] or [1])
            if m.wrong():
                group = m.pick(0, 2, 3)
            p.group = group
        if not m.wrong():
            p.num_output = max(1, group) * m.pick(1, 2, 3) + (m.pick(0, 1) if m.wrong() else 0)
        m.fields(p, 0.4, bias_term=(True, False))
        m.filler(p.weight_filler)
        m.filler(p.bias_filler, 0.2)
    for stem, values, needed in (
        ("kernel", (1, 1, 2, 3, 3, 4, 5), True),
        ("stride", (1, 1, 2, 2, 3), False),
        ("pad", (0, 0, 1, 1, 2), False),
        ("dilation", (1, 1, 2, 3), False),
    ):
        if m.wrong():
            values = (*values, 0, 0, 7)
        if not needed and m.chance(0.5):
            continue
        if needed and m.chance(0.01):
            continue
        if stem != "dilation" and m.chance(0.25 if spatial == 2 else 0.01):
            setattr(p, f"{stem}_h", m.pick(*values))
            if not m.wrong():
                setattr(p, f"{stem}_w", m.pick(*values))
            if m.chance(0.02):
                getattr(p, "kernel_size" if stem == "kernel" else stem).append(1)
        else:
            times = 1 if m.chance(0.7) else spatial
            if m.wrong():
                times = m.pick(0, 2, 3)
            getattr(p, "kernel_size" if stem == "kernel" else stem).extend(
                m.pick(*values) for _ in range(times)
            )
    if layer.type != "Im2col":
        m.fields(p, 0.02, engine=(0, 1, 1, 2))
    m.fields(p, 0.05, force_nd_im2col=(True, False))
    layer.bottom.append(name)
    if layer.type != "Im2col" and m.chance(0.12):
        layer.bottom.append(m.blob(m.near(shape)))
        return 2
    return None


@draw("Pooling")
def _pooling(m: Maker, layer: Any) -> int | None:
    p = layer.pooling_param
    layer.bottom.append(m.any(4)[0])
    m.fields(p, 0.6, pool=(0, 0, 1, 1, 2))
    m.fields(p, 0.25, round_mode=(0, 1))
    m.fields(p, 0.02, engine=(0, 1, 1, 2))
    if m.chance(0.15):
        p.global_pooling = m.chance(0.9)
        if p.global_pooling and m.chance(0.9):
            m.fields(p, 0.1, pad=(0, 0, 1), stride=(1, 1, 2))
            return None
    for stem, values, needed in (
        ("kernel", (1, 2, 2, 3, 3, 4, 5), True),
        ("stride", (1, 2, 2, 3), False),
        ("pad", (0, 0, 1, 1, 2), False),
    ):
        if m.wrong():
            values = (*values, 0, 0, 7)
        if (not needed and m.chance(0.5)) or m.chance(0.01):
            continue
        if m.chance(0.3):
            setattr(p, f"{stem}_h", m.pick(*values))
            if not m.wrong():
                setattr(p, f"{stem}_w", m.pick(*values))
            if m.chance(0.02):
                setattr(p, "kernel_size" if stem == "kernel" else stem, 1)
        else:
            setattr(p, "kernel_size" if stem == "kernel" else stem, m.pick(*values))
    return 2 if p.pool == 0 and m.chance(0.2) else None


@draw("SPP")
def _spp(m: Maker, layer: Any) -> None:
    layer.bottom.append(m.any(4)[0])
    if not m.wrong():
        layer.spp_param.pyramid_height = m.pick(1, 2, 2, 3, 4, 0) if m.wrong() else m.pick(1, 2, 2, 3)
    m.fields(layer.spp_param, 0.4, pool=(0, 1, 1, 2))
    m.fields(layer.spp_param, 0.03, engine=(0, 1, 2))


@draw("InnerProduct")
def _inner_product(m: Maker, layer: Any) -> None:
    p = layer.inner_product_param
    name, shape = m.any(4, 2, 3)
    layer.bottom.append(name)
    if not m.wrong():
        p.num_output = m.pick(1, 2, 3, 5)
    if m.chance(0.25):
        p.axis = m.axis(len(shape))
    m.fields(p, 0.25, bias_term=(True, False), transpose=(True, False))
    m.filler(p.weight_filler)
    m.filler(p.bias_filler, 0.2)


@draw("Embed")
def _embed(m: Maker, layer: Any) -> None:
    p = layer.embed_param
    layer.bottom.append(m.any(1, 2, 3)[0])
    if not m.wrong():
        p.num_output = m.pick(1, 2, 3, 5)
    if not m.wrong():
        p.input_dim = m.pick(1, 2, 3, 5)
    m.fields(p, 0.3, bias_term=(True, False))
    m.filler(p.weight_filler)
    m.filler(p.bias_filler, 0.2)


@draw("BatchNorm")
def _batch_norm(m: Maker, layer: Any) -> None:
    layer.bottom.append(m.any(4, 4, 2, 3, 5)[0])
    m.fields(layer.batch_norm_param, 0.2, use_global_stats=(True, False), eps=(1e-3, 0))


@draw("Scale", "Bias")
def _scale(m: Maker, layer: Any) -> None:
    name, shape = m.any(4, 4, 2, 3, 1)
    p = layer.scale_param if layer.type == "Scale" else layer.bias_param
    rank, axis = len(shape), 1
    layer.bottom.append(name)
    if m.chance(0.4) or rank < 2:
        axis = p.axis = m.axis(rank)
    axis = max(0, axis + rank if axis < 0 else axis)
    run = m.pick(*range(0, rank - axis + 1)) if axis <= rank else 1
    if m.chance(0.35):
        layer.bottom.append(m.blob(m.near(shape[axis : axis + run])))
    if m.chance(0.4):
        p.num_axes = m.pick(-1, run, run, run)
        if m.wrong():
            p.num_axes = m.pick(-2, 5, 0)
    m.filler(p.filler)
    if layer.type == "Scale":
        m.fields(p, 0.5, bias_term=(True, False))
        m.filler(p.bias_filler, 0.3)


@draw("LRN")
def _lrn(m: Maker, layer: Any) -> None:
    layer.bottom.append(m.any(4)[0])
    p = layer.lrn_param
    m.fields(p, 0.6, local_size=(1, 3, 5, 7, 11, 3, 5, 3, 5, 3, 0, 2), norm_region=(0, 1))
    m.fields(p, 0.2, k=(1, 2), alpha=(1, 0.1), beta=(0.75, 0))
    m.fields(p, 0.03, engine=(0, 1, 1, 2))


@draw("MVN")
def _mvn(m: Maker, layer: Any) -> None:
    layer.bottom.append(m.any(4, 4, 2, 3, 1, 0)[0])
    m.fields(layer.mvn_param, 0.4, across_channels=(True, False), normalize_variance=(True, False))


@draw("LSTM", "RNN")
def _recurrent(m: Maker, layer: Any) -> int:
    p = layer.recurrent_param
    steps, streams = m.size(), m.size()
    states = 2 if layer.type == "LSTM" else 1
    if not m.wrong():
        p.num_output = m.pick(1, 2, 3)
    m.filler(p.weight_filler)
    m.filler(p.bias_filler, 0.3)
    m.fields(p, 0.4, expose_hidden=(True, False))
    layer.bottom.append(m.blob(m.near((steps, streams, *m.shape(1, 1, 1, 3)))))
    layer.bottom.append(m.blob(m.near((steps, streams))))
    if m.chance(0.3):
        layer.bottom.append(m.blob(m.near((streams, *m.shape(1, 1, 2)))))
    tops = 1
    if p.expose_hidden:
        for _ in range(states):
            layer.bottom.append(m.blob(m.near((1, streams, p.num_output))))
        tops += states
    return tops


@draw("LSTMUnit")
def _lstm_unit(m: Maker, layer: Any) -> int:
    one, n, h = 1 if not m.wrong() else 2, m.size(), m.size()
    for shape in ((one, n, h), (one, n, 4 * h), (one, n)):
        layer.bottom.append(m.blob(m.near(shape)))
    return 2
