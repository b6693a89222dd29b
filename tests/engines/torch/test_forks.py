"""Layers of forks, which no Caffe at hand has: against their formulas, written as loops over arrays."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from netbuilder import prototxt
from netbuilder.engines.torch import module
from netbuilder.engines.torch.network import NetModule
from netbuilder.errors import EngineError

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(7)


def net(layer: str, *shapes: tuple[int, ...], tops: int = 1, phase: str = "TEST") -> NetModule:
    text = ""
    for i, shape in enumerate(shapes):
        dims = " ".join(f"dim: {n}" for n in shape)
        text += f'layer {{ name: "x{i}" type: "Input" top: "x{i}" input_param {{ shape {{ {dims} }} }} }} '
    bottoms = " ".join(f'bottom: "x{i}"' for i in range(len(shapes)))
    names = " ".join(f'top: "y{i}"' for i in range(tops))
    return module(
        prototxt.parse(f'{text} layer {{ name: "t" {bottoms} {names} {layer} }}', phase, dialect="any")
    )


def normal(*shape: int) -> Array:
    return RNG.normal(0, 1, shape).astype(np.float32)


def run(m: NetModule, *inputs: Array) -> tuple[dict[str, Array], list[torch.Tensor]]:
    """The tops as arrays, and the inputs, which have gradients if the tops have any."""
    given = [torch.from_numpy(np.ascontiguousarray(x)).requires_grad_() for x in inputs]
    return {name: top.detach().numpy() for name, top in m(*given).items()}, given


def fill(m: NetModule, *values: Array) -> None:
    with torch.no_grad():
        for blob, value in zip(m.params["t"], values, strict=True):
            blob.copy_(torch.from_numpy(value).view(blob.shape))


def close(ours: Array | torch.Tensor, expected: Array) -> None:
    values = ours.detach().numpy() if isinstance(ours, torch.Tensor) else ours
    assert values.shape == expected.shape
    np.testing.assert_allclose(values, expected, rtol=5e-6, atol=5e-6 * float(np.abs(expected).max()))


def test_permute() -> None:
    x = normal(2, 3, 4, 5)
    out, _ = run(net('type: "Permute" permute_param { order: 0 order: 2 order: 3 }', x.shape), x)
    close(out["y0"], x.transpose(0, 2, 3, 1))


@pytest.mark.parametrize("fields", ["", "across_spatial: false", "channel_shared: false", "eps: 0.5"])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 6)])
def test_normalize(fields: str, shape: tuple[int, ...]) -> None:
    x = normal(*shape)
    m = net(f'type: "Normalize" norm_param {{ {fields} }}', shape)
    shared = "channel_shared: false" not in fields
    scale = normal(1) if shared else normal(shape[1])
    assert float(m.params["t"][0].detach().sum()) == (1 if shared else shape[1])  # before it is set
    fill(m, scale)
    axes = (1,) if "across_spatial: false" in fields else tuple(range(1, len(shape)))
    eps = 0.5 if "eps" in fields else 1e-10
    wide = scale if shared else scale.reshape(-1, *(1,) * (len(shape) - 2))
    out, _ = run(m, x)
    close(out["y0"], x / np.sqrt((x.astype(np.float64) ** 2).sum(axes, keepdims=True) + eps) * wide)


@pytest.mark.parametrize("gate", [(2, 3), (2, 3, 1, 1)])
def test_axpy_gates_bottom_1_and_adds_bottom_2(gate: tuple[int, ...]) -> None:
    a, x, y = normal(*gate), normal(2, 3, 4, 5), normal(2, 3, 4, 5)
    m = net('type: "Axpy"', gate, x.shape, y.shape)
    out, inputs = run(m, a, x, y)
    close(out["y0"], a.reshape(2, 3, 1, 1) * x + y)
    m(*inputs)["y0"].sum().backward()
    close(inputs[0].grad, x.sum((2, 3)).reshape(gate))  # type: ignore[arg-type]


def test_l1_loss() -> None:
    a, b = normal(4, 3), normal(4, 3)
    b[1] = a[1]
    m = net('type: "L1Loss"', a.shape, b.shape)
    given = [torch.from_numpy(v).requires_grad_() for v in (a, b)]
    loss = m(*given).loss
    assert loss is not None
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(np.abs(a - b).sum() / 4), rel=1e-6)
    close(given[0].grad, np.sign(a - b) / 4)  # type: ignore[arg-type]
    close(given[1].grad, np.sign(b - a) / 4)  # type: ignore[arg-type]


def interpolated(x: Array, height: int, width: int) -> Array:
    """caffe_cpu_interp2 of DeepLab's util/interp.cpp."""
    h, w = x.shape[2:]
    out = np.zeros((*x.shape[:2], height, width), np.float64)
    ry = (h - 1) / (height - 1) if height > 1 else 0
    rx = (w - 1) / (width - 1) if width > 1 else 0
    for i, j in product(range(height), range(width)):
        y, z = min(int(np.float32(ry * i)), h - 1), min(int(np.float32(rx * j)), w - 1)
        down, right = int(y < h - 1), int(z < w - 1)
        b, d = ry * i - y, rx * j - z
        out[:, :, i, j] = (1 - b) * ((1 - d) * x[:, :, y, z] + d * x[:, :, y, z + right]) + b * (
            (1 - d) * x[:, :, y + down, z] + d * x[:, :, y + down, z + right]
        )
    return out


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ("height: 7 width: 9", (7, 9)),
        ("height: 1 width: 3", (1, 3)),
        ("height: 4 width: 5", (4, 5)),
        ("zoom_factor: 3", (10, 13)),
        ("shrink_factor: 2", (2, 3)),
        ("shrink_factor: 2 zoom_factor: 2 height: 3 width: 2", (3, 2)),
    ],
)
def test_interp(fields: str, size: tuple[int, int]) -> None:
    x = normal(2, 3, 4, 5)
    out, _ = run(net(f'type: "Interp" interp_param {{ {fields} }}', x.shape), x)
    close(out["y0"], interpolated(x, *size))


def test_interp_cuts_before_it_resizes() -> None:
    x = normal(1, 2, 6, 7)
    m = net('type: "Interp" interp_param { height: 9 width: 4 pad_beg: -1 pad_end: -2 }', x.shape)
    out, inputs = run(m, x)
    close(out["y0"], interpolated(x[:, :, 1:4, 1:5], 9, 4))
    m(*inputs)["y0"].sum().backward()
    assert inputs[0].grad is not None
    assert float(inputs[0].grad[:, :, 0].abs().max()) == 0


def test_interp_to_the_size_of_another_blob() -> None:
    x, like = normal(2, 3, 4, 5), normal(2, 1, 6, 3)
    out, _ = run(net('type: "Interp"', x.shape, like.shape), x, like)
    close(out["y0"], interpolated(x, 6, 3))


def test_upsample_by_the_mask_of_a_pooling() -> None:
    x, mask = normal(2, 3, 2, 3), RNG.integers(0, 20, (2, 3, 2, 3)).astype(np.float32)
    mask[0, 0] = 7  # all values to one place: the last stays
    m = net('type: "Upsample" upsample_param { upsample_h: 4 upsample_w: 5 }', x.shape, x.shape)
    out, inputs = run(m, x, mask)
    expected = np.zeros((2, 3, 20), np.float32)
    for n, c, i in product(range(2), range(3), range(6)):
        expected[n, c, int(mask[n, c].flat[i])] = x[n, c].flat[i]
    close(out["y0"], expected.reshape(2, 3, 4, 5))
    weights = normal(2, 3, 4, 5)
    m(*inputs)["y0"].backward(torch.from_numpy(weights))
    index = mask.reshape(2, 3, 6).astype(int)
    back = np.take_along_axis(weights.reshape(2, 3, 20), index, 2)  # also for values that were written over
    close(inputs[0].grad, back.reshape(x.shape))  # type: ignore[arg-type]


def test_upsample_repeats() -> None:
    x = normal(2, 3, 4, 5)
    out, _ = run(net('type: "Upsample" upsample_param { scale: 3 }', x.shape), x)
    close(out["y0"], x.repeat(3, 2).repeat(3, 3))


@pytest.mark.parametrize("shape", [(2, 6, 3, 4), (2, 6)])
def test_shuffle_channel(shape: tuple[int, ...]) -> None:
    x = normal(*shape)
    expected = np.zeros_like(x)
    for row, column in product(range(2), range(3)):
        expected[:, column * 2 + row] = x[:, row * 3 + column]
    out, _ = run(net('type: "ShuffleChannel" shuffle_channel_param { group: 2 }', shape), x)
    close(out["y0"], expected.reshape(*shape, *(1,) * (4 - len(shape))))


@pytest.mark.parametrize("reverse", [False, True])
def test_reorg_as_darknet(reverse: bool) -> None:
    n, c, h, w, s = 2, 8, 4, 6, 2
    x = normal(n, c, h, w)
    few = c // (s * s)
    expected = np.zeros(x.size, np.float32)
    for b, k, j, i in product(range(n), range(c), range(h), range(w)):
        one = i + w * (j + h * (k + c * b))
        piece = k // few
        row, column = j * s + piece // s, i * s + piece % s
        other = column + w * s * (row + h * s * (k % few + few * b))
        if reverse:
            expected[other] = x.flat[one]
        else:
            expected[one] = x.flat[other]
    shape = (n, c // 4, h * 2, w * 2) if reverse else (n, c * 4, h // 2, w // 2)
    out, _ = run(
        net(f'type: "Reorg" reorg_param {{ stride: 2 reverse: {str(reverse).lower()} }}', x.shape), x
    )
    close(out["y0"], expected.reshape(shape))


def test_reorg_refuses_channels_that_its_formula_does_not_divide() -> None:
    with pytest.raises(EngineError, match="no multiple of 4"):
        net('type: "Reorg" reorg_param { stride: 2 }', (1, 6, 4, 4))


def normalized(x: Array, eps: float) -> tuple[Array, Array, Array]:
    """x by its own statistics, its mean and its mean square deviation, by channel."""
    axes = (0, *range(2, x.ndim))
    wide = x.astype(np.float64)
    mean, variance = wide.mean(axes), wide.var(axes)
    shape = (-1, *(1,) * (x.ndim - 2))
    return (wide - mean.reshape(shape)) / np.sqrt(variance + eps).reshape(shape), mean, variance


def test_bn_of_pspnet() -> None:
    x, slope, bias, mean, variance = (
        normal(4, 3, 2, 5),
        normal(3),
        normal(3),
        normal(3),
        np.abs(normal(3)) + 1,
    )
    fields = 'type: "BN" bn_param { momentum: 0.7 eps: 0.01 slope_filler { value: 1 } }'
    wide = [v.reshape(3, 1, 1) for v in (slope, bias, mean, variance)]
    stored = (x - wide[2]) / np.sqrt(wide[3] + 0.01) * wide[0] + wide[1]

    m = net(fields, x.shape)
    fill(m, slope, bias, mean, variance)
    close(run(m, x)[0]["y0"], stored)

    m = net(fields, x.shape, phase="TRAIN")
    fill(m, slope, bias, mean, variance)
    y, batch_mean, batch_variance = normalized(x, 0.01)
    close(run(m, x)[0]["y0"], y * wide[0] + wide[1])
    close(m.params["t"][2], (0.7 * mean + 0.3 * batch_mean).reshape(1, 3))
    close(m.params["t"][3], (0.7 * variance + 0.3 * batch_variance).reshape(1, 3))

    m = net(fields.replace("momentum", "frozen: true momentum"), x.shape, phase="TRAIN")
    assert m.params["t"][3].tolist() == [[1.0, 1.0, 1.0]]
    assert not m.params["t"][0].requires_grad
    fill(m, slope, bias, mean, variance)
    close(run(m, x)[0]["y0"], stored)
    close(m.params["t"][2], mean.reshape(1, 3))


def test_bn_of_segnet() -> None:
    x, scale, shift = normal(4, 3, 2, 5), normal(3), normal(3)
    m = net('type: "BN" bn_param { scale_filler { value: 1 } }', x.shape, tops=3)
    fill(m, scale, shift)
    out, _ = run(m, x)
    y, mean, variance = normalized(x, 1e-9)
    close(out["y0"], y * scale.reshape(3, 1, 1) + shift.reshape(3, 1, 1))
    close(out["y1"], mean.reshape(1, 3, 1, 1))
    close(out["y2"], variance.reshape(1, 3, 1, 1))

    m = net('type: "BN" bn_param { bn_mode: INFERENCE }', x.shape)
    fill(m, scale, shift)
    close(run(m, x)[0]["y0"], x * scale.reshape(3, 1, 1) + shift.reshape(3, 1, 1))


def test_continuation_indicator() -> None:
    text = (
        'layer { name: "t" type: "ContinuationIndicator" top: "y" '
        "continuation_indicator_param { time_step: 3 batch_size: 2 } }"
    )
    out = module(prototxt.parse(text, "TEST", dialect="any"))()
    assert out["y"].tolist() == [[0, 0], [1, 1], [1, 1]]


def test_batch_norm_of_nvidia_stores_averages() -> None:
    m = net(
        'type: "BatchNorm" batch_norm_param { scale_bias: true moving_average_fraction: 0.9 eps: 0 }',
        (4, 3, 2, 5),
        phase="TRAIN",
    )
    assert [blob[0].item() for blob in m.params["t"]] == [0, 0, 1, 1, 0]
    scale, bias = normal(3), normal(3)
    fill(m, *(blob.detach().numpy().copy() for blob in m.params["t"][:3]), scale, bias)
    mean, variance = np.zeros(3), np.zeros(3)
    for step in range(4):
        x = normal(4, 3, 2, 5)
        y, batch_mean, batch_variance = normalized(x, 1e-5)
        close(run(m, x)[0]["y0"], y * scale.reshape(3, 1, 1) + bias.reshape(3, 1, 1))
        keep = 0.9 if step > 1 else 0
        mean = keep * mean + (1 - keep) * batch_mean
        variance = keep * variance + (1 - keep) * (batch_variance + 1e-5)  # as the source stores it
        close(m.params["t"][0], mean)
        close(m.params["t"][1], variance)

    test = net('type: "BatchNorm" batch_norm_param { scale_bias: true }', (4, 3, 2, 5))
    fill(test, mean, variance, np.array([3.0]), scale, bias)  # the third blob is not read
    x = normal(4, 3, 2, 5)
    expected = (x - mean.reshape(3, 1, 1)) / np.sqrt(variance.reshape(3, 1, 1) + 1e-5)
    close(run(test, x)[0]["y0"], expected * scale.reshape(3, 1, 1) + bias.reshape(3, 1, 1))


def test_batch_norm_of_intel_stores_sums_and_may_end_in_a_relu() -> None:
    m = net('type: "BatchNorm" batch_norm_param { use_weight_bias: true relu: true }', (4, 3, 2, 5))
    mean, variance, scale, bias, x = normal(3), np.abs(normal(3)), normal(3), normal(3), normal(4, 3, 2, 5)
    fill(m, mean, variance, np.array([2.0]), scale, bias)
    wide = [v.reshape(3, 1, 1) for v in (mean / 2, variance / 2, scale, bias)]
    close(run(m, x)[0]["y0"], np.maximum((x - wide[0]) / np.sqrt(wide[1] + 1e-5) * wide[2] + wide[3], 0))


def test_depthwise_convolutions_are_grouped_ones() -> None:
    x, weight, bias = normal(2, 3, 5, 4), normal(3, 1, 3, 3), normal(3)
    expected = np.zeros((2, 3, 3, 2))
    for i, j in product(range(3), range(2)):
        expected[:, :, i, j] = (x[:, :, i : i + 3, j : j + 3] * weight[:, 0]).sum((2, 3)) + bias
    for text in (
        'type: "DepthwiseConvolution" convolution_param { num_output: 3 group: 3 kernel_size: 3 }',
        'type: "ConvolutionDepthwise" convolution_param { num_output: 7 kernel_size: 3 }',
        'type: "Convolution" convolution_param { num_output: 3 group: 3 kernel_size: 3 relu: true }',
    ):
        m = net(text, x.shape)
        fill(m, weight, bias)
        close(run(m, x)[0]["y0"], np.maximum(expected, 0) if "relu" in text else expected)


@pytest.mark.parametrize("pad", [1, 2])
def test_an_average_of_intel_may_leave_the_padding_out(pad: int) -> None:
    x = normal(2, 1, 5, 5)
    size = -(-(5 + 2 * pad - 3) // 2) + 1
    expected = np.zeros((2, 1, size, size))
    for i, j in product(range(size), range(size)):
        a, b = 2 * i - pad, 2 * j - pad
        expected[:, :, i, j] = x[:, :, max(a, 0) : a + 3, max(b, 0) : b + 3].mean((2, 3))
    fields = f"pool: AVE kernel_size: 3 stride: 2 pad: {pad} avg_include_pad: false"
    close(run(net(f'type: "Pooling" pooling_param {{ {fields} }}', x.shape), x)[0]["y0"], expected)


def test_statistics_of_parts_of_a_batch_are_refused() -> None:
    with pytest.raises(EngineError, match="stats_batch_size"):
        net('type: "BatchNorm" batch_norm_param { stats_batch_size: 2 }', (4, 3, 2, 5), phase="TRAIN")
