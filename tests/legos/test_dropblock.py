"""DropBlock, in real Caffe against NumPy, given the places that Caffe drew."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from legos import DropBlockLego
from netbuilder import Net, checks, counts, prototxt
from netbuilder.engines.caffe import Caffe
from netbuilder.errors import ConfigError
from netbuilder.net import Blob, Phase

each_size = pytest.mark.parametrize(
    "size", [(14, 14), (7, 7), (9, 12)], ids=lambda size: f"{size[0]}x{size[1]}"
)
each_form = pytest.mark.parametrize("driven", [False, True], ids=["fixed", "driven"])


def attached(lego: DropBlockLego, *shape: int, phase: Phase = "TRAIN") -> tuple[Net, Blob]:
    net = Net("n", phase)
    data = net.add("Input", name="data", shape={"dim": list(shape)})
    return net, lego.attach(net, net.add("Power", data, name="x", scale=1))


def gamma(keep_prob: float, scale: float, height: int, width: int) -> float:
    """The probability of a seed, by Ghiasi et al. 2018, equation 1."""
    return scale * (1 - keep_prob) / 49 * (height * width) / ((height - 6) * (width - 6))


def mask_of(seeds: Any, height: int, width: int) -> Any:
    """A square of 7x7 zeros around each seed, the rest such that the mean over everything is 1."""
    mask = np.ones((seeds.shape[1], height, width))
    for _, channel, i, j in np.argwhere(seeds):
        mask[channel, i : i + 7, j : j + 7] = 0
    return mask * (mask.size / mask.sum())


@each_size
@each_form
def test_real_caffe_drops_squares_and_passes_the_gradient_of_the_rest(
    real_caffe: Caffe, size: tuple[int, int], driven: bool
) -> None:
    channels = 12
    shape = (2, channels, *size)
    draw = np.random.default_rng(1)
    x, top_diff = draw.standard_normal(shape), draw.standard_normal(shape)
    # Threshold has no backward pass, so force_backward is out: a Scale in front makes the gradient seen.
    net = Net("n", "TRAIN")
    data = net.add("Input", name="data", shape={"dim": list(shape)})
    start = net.add("Scale", data, name="x", filler={"type": "constant", "value": 1})
    top = DropBlockLego(name="a", keep_prob=0.6, driven=driven).attach(net, start)
    factors = net.add("Input", name="top_diff", shape={"dim": list(shape)})
    product = net.add("Eltwise", top, factors, name="product", operation="PROD")
    net.add("Reduction", product, name="loss", operation="SUM", loss_weight=[1])
    ran = real_caffe.run(
        prototxt.dumps(net), phase="TRAIN", inputs={"data": x, "top_diff": top_diff},
        outputs=["a_drop_seeds", "product"], backward=True, seed=3,
    )  # fmt: skip
    mask = mask_of(ran.outputs["a_drop_seeds"], *size)
    assert 0 < (mask == 0).mean() < 1
    assert abs(ran.outputs["product"] - x * mask * top_diff).max() <= 1e-5
    # The Scale's factors see the gradient that comes through: sums of mask * top_diff * x.
    expected = (mask * top_diff * x).sum((0, 2, 3))
    assert abs(ran.param_diffs["x"][0] - expected).max() <= 1e-4


@pytest.mark.parametrize("keep_prob", [1.0, 0.9, 0.7])
@pytest.mark.parametrize("scale", [1.0, 0.25])
@each_form
def test_seeds_fall_as_often_as_the_paper_says(
    real_caffe: Caffe, keep_prob: float, scale: float, driven: bool
) -> None:
    net, _ = attached(
        DropBlockLego(name="a", keep_prob=keep_prob, scale=scale, driven=driven), 1, 2000, 14, 14
    )
    ran = real_caffe.run(
        prototxt.dumps(net), phase="TRAIN", inputs={"data": np.zeros((1, 2000, 14, 14))},
        outputs=["a_drop_seeds"], seed=1,
    )  # fmt: skip
    seeds = ran.outputs["a_drop_seeds"]
    expected = gamma(keep_prob, scale, 14, 14)
    assert seeds.mean() == pytest.approx(expected, abs=5 * (expected / seeds.size) ** 0.5)


def test_a_driver_changes_how_often_by_the_parameter_of_the_bias(real_caffe: Caffe) -> None:
    net, _ = attached(DropBlockLego(name="a", keep_prob=1, driven=True), 1, 500, 9, 9)
    seen = []
    for value in (-1.0, -0.5, 0.0):
        ran = real_caffe.run(
            prototxt.dumps(net), phase="TRAIN", inputs={"data": np.zeros((1, 500, 9, 9))},
            params={"a_drop_gamma": [np.array(value)]}, outputs=["a_drop_seeds"], seed=1,
        )  # fmt: skip
        seen.append(ran.outputs["a_drop_seeds"].mean())
    assert seen == pytest.approx([0, 0.5, 1], abs=0.05)


def test_a_test_net_has_no_dropblock() -> None:
    net, top = attached(DropBlockLego(name="a", keep_prob=0.9), 1, 4, 14, 14, phase="TEST")
    assert [x.name for x in net.layers] == ["data", "x"]
    assert top.layer.name == "x"


@each_form
def test_dropblock_has_nothing_to_learn(driven: bool) -> None:
    net, _ = attached(DropBlockLego(name="a", keep_prob=0.9, driven=driven), 1, 4, 14, 14)
    cost = counts.count(net)
    assert (cost.learnable_params, cost.stored_params, cost.macs) == (0, int(driven), 0)
    assert [f for f in checks.check(net) if f.severity == "error"] == []


@pytest.mark.parametrize("keep_prob", [0, -0.1, 1.5])
def test_a_probability_outside_0_to_1_is_refused(keep_prob: float) -> None:
    with pytest.raises(ConfigError) as refused:
        DropBlockLego(name="a", keep_prob=keep_prob)
    assert str(refused.value) == (
        f"DropBlockLego 'a': keep_prob must be above 0 and at most 1, got {keep_prob:g}"
    )


def test_an_image_smaller_than_a_square_is_refused() -> None:
    with pytest.raises(ConfigError) as refused:
        attached(DropBlockLego(name="a", keep_prob=0.9), 1, 4, 14, 6)
    assert str(refused.value) == (
        "DropBlockLego 'a': a square of 7x7 pixels does not fit into 14x6\n"
        "  hint:    use a larger input_size, or remove DropBlock"
    )
