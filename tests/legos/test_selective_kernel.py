"""Selective kernels, in real Caffe against NumPy in double precision, and what they are made of."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from legos import ATTENTIONS, GATES, ConcatGateLego, Lego, SKLego, factored, selective_kernel, square
from netbuilder import Net, counts, prototxt
from netbuilder.engines.caffe import Caffe
from netbuilder.errors import ConfigError
from netbuilder.net import Blob, Phase

CHANNELS, INNER, BATCH, EPS = 6, 4, 3, 1e-5

each_gate = pytest.mark.parametrize("gate", GATES.values(), ids=GATES)
each_phase = pytest.mark.parametrize("phase", ["TEST", "TRAIN"])
each_size = pytest.mark.parametrize("size", [(8, 8), (7, 5), (1, 1)], ids=lambda size: f"{size[0]}x{size[1]}")


def attached(lego: Lego, *shape: int, phase: Phase = "TEST") -> tuple[Net, Blob]:
    net = Net("n", phase)
    return net, lego.attach(net, net.add("Input", name="data", shape={"dim": list(shape)}))


def drawn(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).standard_normal(shape)


def weights(bias: bool = False) -> dict[str, list[Any]]:
    """Params by layer; the two scores of a channel differ by about 1, so that the weights are no halves."""
    params = {
        "conv_a_sk_fc1": [drawn(1, INNER, CHANNELS, 1, 1)],
        "bn_a_sk_fc1": [drawn(2, INNER), drawn(3, INNER) ** 2 + 0.5, np.ones(1)],
        "scale_a_sk_fc1": [drawn(4, INNER) + 1, drawn(5, INNER) + 1],
        "conv_a_sk_fc2": [drawn(6, 2 * CHANNELS, INNER, 1, 1)],
    }
    if bias:
        params["conv_a_sk_fc2"].append(drawn(7, 2 * CHANNELS))
    return params


def in_numpy(x: Any, params: dict[str, list[Any]], phase: str) -> Any:
    """Li et al. 2019, equations 2 to 5, as the official code of Assembled-CNN has them."""
    halves = x[:, : x.shape[1] // 2], x[:, x.shape[1] // 2 :]
    z = (halves[0] + halves[1]).mean((2, 3)) @ params["conv_a_sk_fc1"][0][:, :, 0, 0].T
    mean, variance, _ = params["bn_a_sk_fc1"]
    if phase == "TRAIN":
        mean, variance = z.mean(0), z.var(0)
    gamma, beta = params["scale_a_sk_fc1"]
    z = np.maximum(gamma * (z - mean) / np.sqrt(variance + EPS) + beta, 0)
    second, *bias = params["conv_a_sk_fc2"]
    scores = np.exp(z @ second[:, :, 0, 0].T + (bias[0] if bias else 0)).reshape(len(x), 2, -1)
    shares = (scores / scores.sum(1, keepdims=True))[:, :, :, None, None]
    return shares[:, 0] * halves[0] + shares[:, 1] * halves[1]


@each_gate
@each_phase
@each_size
def test_real_caffe_computes_the_unit_and_the_slope_of_its_loss(
    real_caffe: Caffe, gate: type[Lego], phase: Phase, size: tuple[int, int]
) -> None:
    shape = (BATCH, 2 * CHANNELS, *size)
    x, params = drawn(8, *shape), weights()
    net, top = attached(SKLego(name="a", least=INNER, gate=gate), *shape, phase=phase)
    top_diff = drawn(9, *top.known_shape)
    net.proto.force_backward = True
    factors = net.add("Input", name="top_diff", shape={"dim": list(top.known_shape)})
    product = net.add("Eltwise", top, factors, name="product", operation="PROD")
    net.add("Reduction", product, name="loss", operation="SUM", loss_weight=[1])
    ran = real_caffe.run(
        prototxt.dumps(net), phase=phase, inputs={"data": x, "top_diff": top_diff}, params=params,
        outputs=["data", top.name], backward=True,
    )  # fmt: skip
    assert abs(ran.outputs[top.name] - in_numpy(x, params, phase)).max() <= 2e-5

    def loss(step: float) -> float:
        """The loss after a step of everything that learns, along one direction."""
        moved = {
            name: values if name.startswith("bn_") else [v + step * drawn(20, *v.shape) for v in values]
            for name, values in params.items()
        }
        return float((in_numpy(x + step * drawn(20, *shape), moved, phase) * top_diff).sum())

    slope = (loss(1e-6) - loss(-1e-6)) / 2e-6
    ours = (ran.diffs["data"] * drawn(20, *shape)).sum() + sum(
        (diff * drawn(20, *diff.shape)).sum()
        for name in params
        if not name.startswith("bn_")
        for diff in ran.param_diffs[name]
    )
    assert ours == pytest.approx(slope, rel=1e-4, abs=1e-4)


def test_a_bias_of_the_last_layer_is_added_to_the_scores(real_caffe: Caffe) -> None:
    shape = (BATCH, 2 * CHANNELS, 3, 4)
    x, params = drawn(8, *shape), weights(bias=True)
    net, top = attached(SKLego(name="a", least=INNER, bias=True), *shape)
    ran = real_caffe.run(prototxt.dumps(net), inputs={"data": x}, params=params, outputs=[top.name])
    expected = in_numpy(x, params, "TEST")
    assert abs(ran.outputs[top.name] - expected).max() <= 2e-6
    assert abs(expected - in_numpy(x, weights(), "TEST")).max() > 0.1


def test_the_layers_of_the_unit() -> None:
    net, top = attached(SKLego(name="a"), 2, 128, 7, 5)
    assert [(x.name, x.type, x.tops[0].shape) for x in net.layers[1:]] == [
        ("a_sk_split", "Slice", (2, 64, 7, 5)),
        ("a_sk_sum", "Eltwise", (2, 64, 7, 5)),
        ("a_sk_pool", "Pooling", (2, 64, 1, 1)),
        ("conv_a_sk_fc1", "Convolution", (2, 32, 1, 1)),
        ("bn_a_sk_fc1", "BatchNorm", (2, 32, 1, 1)),
        ("scale_a_sk_fc1", "Scale", (2, 32, 1, 1)),
        ("relu_a_sk_fc1", "ReLU", (2, 32, 1, 1)),
        ("conv_a_sk_fc2", "Convolution", (2, 128, 1, 1)),
        ("a_sk_pairs", "Reshape", (2, 2, 64, 1)),
        ("a_sk_softmax", "Softmax", (2, 2, 64, 1)),
        ("a_sk_weigh_gate", "Reshape", (2, 128)),
        ("a_sk_weigh", "Scale", (2, 128, 7, 5)),
        ("a_sk_parts", "Slice", (2, 64, 7, 5)),
        ("a_sk", "Eltwise", (2, 64, 7, 5)),
    ]
    assert top.layer.name == "a_sk"


def test_weights_carry_over_between_the_two_gates() -> None:
    shapes = [
        {x.name: [p.shape for p in x.params] for x in attached(lego, 1, 64, 8, 8)[0].layers if x.params}
        for lego in (SKLego(name="a"), SKLego(name="a", gate=ConcatGateLego))
    ]
    assert shapes[0] == shapes[1]


# d = max(f / 2, 32), as the official code has it.
@pytest.mark.parametrize(("width", "inner"), [(32, 32), (64, 32), (128, 64), (256, 128), (512, 256)])
def test_the_inner_width_is_half_of_a_way_and_at_least_32(width: int, inner: int) -> None:
    net, _ = attached(SKLego(name="a"), 1, 2 * width, 2, 2)
    assert net["conv_a_sk_fc1"].params[0].shape == (inner, width, 1, 1)


@pytest.mark.parametrize("width", [32, 64, 512])
def test_the_unit_costs_what_the_sheet_says_more_than_a_plain_3x3(width: int) -> None:
    """Extra: 9 f^2 + 2 f for the wider convolution, its gammas and betas; 3 f d + 2 d to select."""
    plain, wide = (
        counts.count(attached(unit(name="a", num_output=width), 1, width, 4, 4)[0])
        for unit in (square, partial(selective_kernel, unit=square))
    )
    d = max(width // 2, 32)
    assert wide.learnable_params - plain.learnable_params == 9 * width**2 + 2 * width + 3 * width * d + 2 * d
    assert wide.macs - plain.macs == 9 * width**2 * 16 + 3 * width * d


def test_any_spatial_unit_can_be_the_one_that_is_selected_from() -> None:
    lego = selective_kernel(unit=factored, name="b", num_output=8, stride=2, group=2)
    net, top = attached(lego, 1, 8, 8, 8)
    assert net["conv_b_3by1"].params[0].shape == (16, 4, 1, 3)
    assert net["conv_b_1by3"].params[0].shape == (16, 8, 3, 1)
    assert top.shape == (1, 8, 4, 4)


def test_the_attentions_go_by_these_names() -> None:
    kinds = {name: (bool(a.around), bool(a.behind)) for name, a in ATTENTIONS.items()}
    assert kinds == {
        "none": (False, False), "se": (False, True), "sk": (True, False), "sk_se": (True, True),
    }  # fmt: skip


def test_an_odd_number_of_channels_is_refused() -> None:
    with pytest.raises(ConfigError) as refused:
        attached(SKLego(name="a"), 1, 7, 4, 4)
    assert str(refused.value) == ("SKLego 'a': needs an even number of channels, half for each way, got 7")


@pytest.mark.parametrize("key", ["reduction", "least"])
def test_a_reduction_or_a_least_width_below_1_is_refused(key: str) -> None:
    lego: Any = SKLego
    with pytest.raises(ConfigError) as refused:
        lego(name="a", **{key: 0})
    assert (str(refused.value), refused.value.key) == (f"SKLego 'a': {key} must be at least 1, got 0", key)
