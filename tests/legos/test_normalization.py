"""BatchNorm by itself, before a convolution, and over parts of the batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from legos import (
    BRANCHES,
    BNLego,
    BNReLULego,
    ConvLego,
    EltwiseReLULego,
    GhostBNLego,
    ReLULego,
    ShortcutLego,
)
from netbuilder import Net, checks
from netbuilder.engines.caffe import Caffe
from netbuilder.errors import ConfigError
from netbuilder.net import Blob, Phase
from tests.legos.judge import drawn, forward_backward
from tests.reference.tape import Tape, Var

# ---- what stands without it --------------------------------------------------------------------------------


@pytest.mark.parametrize("branch", ["normal", "bottleneck", "inception_trick_bottleneck"])
def test_a_main_branch_may_end_in_a_bare_convolution(branch: str) -> None:
    net = Net("n")
    data = net.add("Input", name="data", shape={"dim": [1, 16, 8, 8]})
    BRANCHES[branch](name="a", num_output=16, normalize=False).attach(net, data)
    names = [layer.name for layer in net.layers]
    last = "branch2b" if branch == "normal" else "branch2c"
    assert names[-1] == f"conv_a_{last}"
    assert names[-2].startswith("relu_")


@pytest.mark.parametrize(
    ("branch", "zero_gamma", "needs"),
    [("inception_trick", False, "the ReLU at its end"), ("normal", True, "zero_gamma")],
)
def test_what_needs_the_last_batchnorm_is_refused_without_it(
    branch: str, zero_gamma: bool, needs: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        BRANCHES[branch](name="a", num_output=16, normalize=False, zero_gamma=zero_gamma)
    assert refused.value.text == (
        f"{BRANCHES[branch].__name__} 'a': {needs} needs the last BatchNorm, which normalize leaves out"
    )


def test_fan_in_uniform_writes_the_bound_of_pytorch() -> None:
    net = Net("n")
    data = net.add("Input", name="data", shape={"dim": [1, 16, 8, 8]})
    ConvLego(name="a", num_output=8, kernel=3, group=4, fan_in_uniform=True).attach(net, data)
    filler = net["conv_a"].proto.convolution_param.weight_filler
    assert filler.type == "uniform"
    assert (filler.min, filler.max) == pytest.approx((-1 / 6, 1 / 6))  # 16 / 4 * 3 * 3 = 36 inputs


# ---- by itself, before a convolution, over parts of the batch ----------------------------------------------

SHAPE = (6, 3, 4, 5)
GAMMA, BETA = np.array([0.5, 1.5, -1], np.float32), np.array([0.1, -0.2, 0.3], np.float32)


def attached(lego: BNLego | BNReLULego | GhostBNLego, phase: Phase = "TRAIN") -> tuple[Net, Blob]:
    net = Net("n", phase)
    return net, lego.attach(net, net.add("Input", name="data", shape={"dim": list(SHAPE)}))


def layers(net: Net) -> list[tuple[str, bool]]:
    return [(layer.name, layer.in_place) for layer in net.layers[1:]]


def test_a_unit_of_its_own_is_in_place() -> None:
    net, top = attached(BNLego(name="a"))
    assert layers(net) == [("bn_a", True), ("scale_a", True)]
    assert top.shape == SHAPE


def test_a_unit_of_its_own_need_not_be_in_place() -> None:
    assert layers(attached(BNLego(name="a", in_place=False))[0]) == [("bn_a", False), ("scale_a", True)]


def test_before_a_convolution_the_raw_blob_stays_for_the_shortcut() -> None:
    net, top = attached(BNReLULego(name="a"))
    assert layers(net) == [("bn_a", False), ("scale_a", True), ("relu_a", True)]
    conv = ConvLego(name="b", num_output=3).attach(net, top)
    assert EltwiseReLULego(name="c").attach(net, [net.blobs["data"], conv]).shape == SHAPE


def test_after_a_relu_in_place_the_gradient_of_that_relu_stays_right(real_caffe: Caffe) -> None:
    # In place, BatchNorm would overwrite what the ReLU before it looks at.
    net = Net("n", "TRAIN")
    x = net.add("Input", name="data", shape={"dim": list(SHAPE)})
    x = ReLULego(name="0").attach(net, net.add("Power", x, name="copy"))
    top = BNReLULego(name="a").attach(net, x)
    assert [f for f in checks.check(net) if f.severity == "error"] == []
    images, diff = drawn(*SHAPE), drawn(*SHAPE, seed=2)
    ran = forward_backward(real_caffe, net, top, {"data": images}, diff, {"scale_a": [GAMMA, BETA]})
    tape, image = Tape(), Var(images)
    out = tape.relu(tape.batch_norm(tape.relu(image), Var(GAMMA), Var(BETA)))
    expected = gradient(tape, out, image, diff)
    assert abs(ran.outputs[top.name] - out.value).max() <= 1e-5
    assert abs(ran.diffs["data"] - expected).max() <= 1e-5


def gradient(tape: Tape, out: Var, by: Var, diff: Any) -> Any:
    """The gradient of the sum of out * diff."""
    tape.backward(out, diff)
    return by.grad


def ghost(tape: Tape, x: Var, gamma: Var, beta: Var, splits: int) -> Var:
    parts = [tape.every_nth_image(x, splits, s) for s in range(splits)]
    return tape.interleave(*(tape.batch_norm(part, gamma, beta) for part in parts))


@pytest.mark.parametrize("splits", [1, 2, 3])
def test_ghost_normalises_each_part_by_itself_forward_and_backward(real_caffe: Caffe, splits: int) -> None:
    net, top = attached(GhostBNLego(name="a", splits=splits))
    images, diff = (
        drawn(*SHAPE) * np.arange(1, 7, dtype=np.float32).reshape(6, 1, 1, 1),
        drawn(*SHAPE, seed=2),
    )
    params = {"scale_a": [GAMMA, BETA]}
    ran = forward_backward(real_caffe, net, top, {"data": images}, diff, params)
    tape, image, gamma, beta = Tape(), Var(images), Var(GAMMA), Var(BETA)
    out = ghost(tape, image, gamma, beta, splits)
    expected = gradient(tape, out, image, diff)
    assert abs(ran.outputs[top.name] - out.value).max() <= 1e-5
    assert abs(ran.diffs["data"] - expected).max() <= 1e-5
    for ours, theirs in zip(ran.param_diffs["scale_a"], (gamma.grad, beta.grad), strict=True):
        assert abs(ours - theirs).max() <= 1e-4
    whole = Tape().batch_norm(image, gamma, beta).value
    assert (splits == 1) == (abs(whole - out.value).max() < 0.1)


def test_ghost_keeps_the_blob_it_reads() -> None:
    net, _ = attached(GhostBNLego(name="a", splits=2))
    assert layers(net) == [("split_a", False), ("ghost_a", False), ("join_a", False), ("scale_a", True)]
    block = ShortcutLego(
        name="b", main=GhostBNLego(name="b", splits=2), merge=EltwiseReLULego(name="b")
    )  # its shortcut reads the same blob
    assert block.attach(net, net.blobs["data"]).shape == SHAPE


def test_a_shortcut_beside_ghost_sees_the_raw_blob(real_caffe: Caffe) -> None:
    # A Reshape, and the Split that Caffe inserts, share memory: in place BatchNorm would overwrite the skip.
    net = Net("n", "TRAIN")
    data = net.add("Input", name="data", shape={"dim": list(SHAPE)})
    merge = EltwiseReLULego(name="b", relu=False)
    top = ShortcutLego(name="b", main=GhostBNLego(name="b", splits=2), merge=merge).attach(net, data)
    images = drawn(*SHAPE)
    ran = forward_backward(real_caffe, net, top, {"data": images}, drawn(*SHAPE), {"scale_b": [GAMMA, BETA]})
    out = ghost(Tape(), Var(images), Var(GAMMA), Var(BETA), 2)
    assert abs(ran.outputs[top.name] - images - out.value).max() <= 1e-5


def test_in_a_test_net_ghost_is_a_plain_batchnorm() -> None:
    net, _ = attached(GhostBNLego(name="a", splits=2), "TEST")
    assert layers(net) == [("bn_a", True), ("scale_a", True)]


def test_the_statistics_for_the_test_net_are_the_means_over_the_parts(real_caffe: Caffe) -> None:
    net, top = attached(GhostBNLego(name="a", splits=2))
    images = drawn(*SHAPE)
    params = forward_backward(real_caffe, net, top, {"data": images}, drawn(*SHAPE)).params["ghost_a"]
    mean, variance, factor = GhostBNLego.merged_statistics(params, 2)
    parts = [images[s::2].astype(np.float64) for s in (0, 1)]
    # Caffe stores the unbiased variance, of 60 pixels in each part.
    assert abs(mean / factor - np.mean([p.mean((0, 2, 3)) for p in parts], 0)).max() <= 1e-6
    assert abs(variance / factor - np.mean([p.var((0, 2, 3)) * 60 / 59 for p in parts], 0)).max() <= 1e-6
    test_net, _ = attached(GhostBNLego(name="a", splits=2), "TEST")
    assert [p.shape for p in test_net["bn_a"].params] == [mean.shape, variance.shape, factor.shape]


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError) as refused:
        attached(GhostBNLego(name="a", splits=4))
    assert refused.value.text == "GhostBNLego 'a': a batch of 6 cannot be cut into 4 equal parts"
