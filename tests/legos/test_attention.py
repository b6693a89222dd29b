"""Squeeze and excitation, in real Caffe against NumPy in double precision."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest

from legos import GATES, Attention, ConcatGateLego, Lego, ScaleGateLego, SELego
from netbuilder import Net, counts, prototxt
from netbuilder.engines.caffe import Caffe, RunResult
from netbuilder.errors import ConfigError
from netbuilder.net import Blob

CHANNELS, REDUCTION, BATCH = 12, 4, 2

each_gate = pytest.mark.parametrize("gate", GATES.values(), ids=GATES)
each_size = pytest.mark.parametrize(
    "size", [(8, 8), (7, 7), (5, 8), (1, 1), (1, 6), (3, 1)], ids=lambda size: f"{size[0]}x{size[1]}"
)


def attached(lego: Lego, *shape: int, defaults: Any = None) -> tuple[Net, Blob]:
    net = Net("n", defaults=defaults)
    return net, lego.attach(net, net.add("Input", name="data", shape={"dim": list(shape)}))


def drawn(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).standard_normal(shape)


def weights(*, bias: bool = True) -> dict[str, list[Any]]:
    """Params of the two inner products, by layer; biases keep a part of the hidden channels above zero."""
    inner = CHANNELS // REDUCTION
    drawings = {
        "a_se_fc1": [drawn(1, inner, CHANNELS), drawn(2, inner)],
        "a_se_fc2": [drawn(3, CHANNELS, inner), drawn(4, CHANNELS)],
    }
    return {name: params if bias else params[:1] for name, params in drawings.items()}


class Expected(NamedTuple):
    top: Any
    data_diff: Any
    param_diffs: dict[str, list[Any]]


def in_numpy(x: Any, params: dict[str, list[Any]], top_diff: Any) -> Expected:
    """Hu et al. 2017, equations 2 to 4, and the gradients of the sum of the top times `top_diff`."""
    (w1, b1), (w2, b2) = ((*p, 0.0)[:2] for p in params.values())
    means = x.mean((2, 3))
    hidden = np.maximum(means @ w1.T + b1, 0)
    gate = 1 / (1 + np.exp(-(hidden @ w2.T + b2)))
    second = (top_diff * x).sum((2, 3)) * gate * (1 - gate)
    first = (second @ w2) * (hidden > 0)
    data_diff = top_diff * gate[:, :, None, None] + (first @ w1)[:, :, None, None] / x[0, 0].size
    diffs = {
        "a_se_fc1": [first.T @ means, first.sum(0)],
        "a_se_fc2": [second.T @ hidden, second.sum(0)],
    }
    return Expected(x * gate[:, :, None, None], data_diff, {n: d[: len(params[n])] for n, d in diffs.items()})


def run(caffe: Caffe, net: Net, top: Blob, params: Any, x: Any, top_diff: Any) -> RunResult:
    """Forward, and backward from a loss that is the sum of the top's elements times `top_diff`."""
    net.proto.force_backward = True
    factors = net.add("Input", name="top_diff", shape={"dim": list(top.known_shape)})
    product = net.add("Eltwise", top, factors, name="product", operation="PROD")
    net.add("Reduction", product, name="loss", operation="SUM", loss_weight=[1])
    return caffe.run(
        prototxt.dumps(net),
        inputs={"data": x, "top_diff": top_diff},
        params=params,
        outputs=["data", top.name],
        backward=True,
    )


def test_the_two_forms_go_by_these_names() -> None:
    assert list(GATES.items()) == [("scale", ScaleGateLego), ("concat", ConcatGateLego)]


@each_gate
@each_size
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_real_caffe_computes_the_unit_and_its_gradients(
    real_caffe: Caffe, gate: type[Lego], size: tuple[int, int], bias: bool
) -> None:
    shape = (BATCH, CHANNELS, *size)
    x, top_diff, params = drawn(5, *shape), drawn(6, *shape), weights(bias=bias)
    expected = in_numpy(x, params, top_diff)
    net, top = attached(SELego(name="a", gate=gate, reduction=REDUCTION, bias=bias), *shape)
    ran = run(real_caffe, net, top, params, x, top_diff)
    assert abs(ran.outputs[top.name] - expected.top).max() <= 1e-6
    assert abs(ran.diffs["data"] - expected.data_diff).max() <= 1e-5
    for name, diffs in expected.param_diffs.items():
        assert len(ran.param_diffs[name]) == len(diffs)
        for ours, theirs in zip(ran.param_diffs[name], diffs, strict=True):
            assert abs(ours - theirs).max() <= 1e-5 * max(1, abs(theirs).max())


def test_the_gradients_written_out_above_are_those_of_the_forward_pass() -> None:
    shape = (BATCH, CHANNELS, 2, 3)
    x, top_diff, params = drawn(5, *shape), drawn(6, *shape), weights()
    step = 1e-6 * drawn(7, *shape)
    ahead, behind = (in_numpy(x + s * step, params, top_diff).top for s in (1, -1))
    rise = ((ahead - behind) * top_diff).sum() / 2
    assert rise == pytest.approx((in_numpy(x, params, top_diff).data_diff * step).sum(), rel=1e-6)


def test_the_layers_of_the_unit_with_scale() -> None:
    net, top = attached(SELego(name="a"), 2, 64, 7, 5)
    assert [(x.name, x.type, x.tops[0].shape) for x in net.layers[1:]] == [
        ("a_se_pool", "Pooling", (2, 64, 1, 1)),
        ("a_se_fc1", "InnerProduct", (2, 4)),
        ("a_se_relu", "ReLU", (2, 4)),
        ("a_se_fc2", "InnerProduct", (2, 64)),
        ("a_se_sigmoid", "Sigmoid", (2, 64)),
        ("a_se", "Scale", (2, 64, 7, 5)),
    ]
    assert [b.name for b in top.layer.bottoms] == ["data", "a_se_fc2"]


def test_the_layers_of_the_unit_with_concat() -> None:
    net, top = attached(SELego(name="a", gate=ConcatGateLego), 2, 64, 7, 5)
    assert [(x.name, x.type, x.tops[0].shape) for x in net.layers[6:]] == [
        ("a_se_gate", "Reshape", (2, 64, 1, 1)),
        ("a_se_row", "Concat", (2, 64, 1, 5)),
        ("a_se_image", "Concat", (2, 64, 7, 5)),
        ("a_se", "Eltwise", (2, 64, 7, 5)),
    ]
    assert [b.name for b in top.layer.bottoms] == ["data", "a_se_image"]


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("size", [(7, 5), (1, 1)])
def test_weights_carry_over_between_the_two_forms(bias: bool, size: tuple[int, int]) -> None:
    of_each = []
    for gate in GATES.values():
        net, _ = attached(SELego(name="a", gate=gate, bias=bias), 1, 64, *size)
        of_each.append({x.name: [p.shape for p in x.params] for x in net.layers if x.params})
    assert of_each[0] == of_each[1]
    assert of_each[0] == {
        "a_se_fc1": [(4, 64), (4,)][: 1 + bias],
        "a_se_fc2": [(64, 4), (64,)][: 1 + bias],
    }


@each_gate
def test_the_inner_width_is_rounded_down(gate: type[Lego]) -> None:
    net, _ = attached(SELego(name="a", gate=gate, reduction=16), 1, 40, 3, 3)
    assert net["a_se_fc1"].params[0].shape == (2, 40)


@each_gate
def test_the_macs_are_those_of_the_two_inner_products(gate: type[Lego]) -> None:
    cost = counts.count(attached(SELego(name="a", gate=gate), 1, 64, 7, 5)[0])
    assert (cost.macs, cost.learnable_params) == (2 * 64 * 4, 2 * 64 * 4 + 4 + 64)


@each_gate
def test_weights_start_as_the_nets_convolutions_do_and_biases_at_0(gate: type[Lego]) -> None:
    filler = {"type": "msra", "variance_norm": "FAN_OUT"}
    net, _ = attached(
        SELego(name="a", gate=gate), 1, 64, 7, 5, defaults={"Convolution": {"weight_filler": filler}}
    )
    for name in ("a_se_fc1", "a_se_fc2"):
        proto = net[name].proto
        p = proto.inner_product_param
        assert (p.weight_filler.type, p.weight_filler.variance_norm) == ("msra", p.weight_filler.FAN_OUT)
        assert (p.bias_filler.type, p.bias_filler.value) == ("constant", 0)
        assert [(m.lr_mult, m.decay_mult) for m in proto.param] == [(1, 1), (1, 1)]


@each_gate
def test_too_few_channels_are_refused(gate: type[Lego]) -> None:
    with pytest.raises(ConfigError) as refused:
        attached(SELego(name="a", gate=gate), 1, 15, 7, 7)
    assert str(refused.value) == (
        "SELego 'a': 15 channels cannot be reduced by 16\n  hint:    use a reduction of at most 15"
    )
    assert refused.value.key == "reduction"


@each_gate
def test_as_many_channels_as_the_reduction_are_enough(gate: type[Lego]) -> None:
    net, _ = attached(SELego(name="a", gate=gate), 1, 16, 7, 7)
    assert net["a_se_fc1"].params[0].shape == (1, 16)


@each_gate
@pytest.mark.parametrize("reduction", [0, -1])
def test_a_reduction_below_1_is_refused(gate: type[Lego], reduction: int) -> None:
    with pytest.raises(ConfigError) as refused:
        attached(SELego(name="a", gate=gate, reduction=reduction), 1, 16, 7, 7)
    assert str(refused.value) == f"SELego 'a': reduction must be at least 1, got {reduction}"
    assert refused.value.key == "reduction"


# ---- entries of ATTENTIONS ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Ungated(Lego):
    """Takes neither keyword of an attention."""


@dataclass(frozen=True, kw_only=True)
class Unbiased(Lego):
    """Takes one of the two."""

    gate: type[Lego] = ScaleGateLego


def loose(*, unit: Any, **fields: Any) -> Lego:
    """Hides what it takes."""
    lego: Lego = unit(**fields)
    return lego


@pytest.mark.parametrize("place", ["around", "behind"])
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            Ungated,
            "Ungated is not an attention: it lacks the keywords gate and bias\n"
            "  hint:    add gate: type[Lego], the lego of GATES that multiplies channels by their weights; "
            "bias: bool, whether its inner layers have biases",
        ),
        (
            Unbiased,
            "Unbiased is not an attention: it lacks the keyword bias\n"
            "  hint:    add bias: bool, whether its inner layers have biases",
        ),
        (
            loose,
            "loose is not an attention: it lacks the keywords gate and bias\n"
            "  hint:    add gate: type[Lego], the lego of GATES that multiplies channels by their weights; "
            "bias: bool, whether its inner layers have biases",
        ),
    ],
)
def test_an_attention_that_lacks_a_keyword_is_refused(place: str, make: Any, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Attention(**{place: make})
    assert str(caught.value) == text


def test_an_attention_is_still_a_pair_of_its_two_places() -> None:
    attention = Attention(behind=partial(SELego, reduction=4))
    around, behind = attention
    assert (around, behind) == (attention.around, attention.behind) == (None, attention[1])
