"""The four main branches of a residual block."""

from __future__ import annotations

import re
from typing import Any

import pytest

from legos import (
    BRANCHES,
    BottleneckBranch,
    InceptionTrickBottleneckBranch,
    InceptionTrickBranch,
    MainBranch,
    NormalBranch,
)
from netbuilder import Net, counts
from netbuilder.errors import ConfigError
from netbuilder.net import Blob

each_branch = pytest.mark.parametrize("branch", BRANCHES.values(), ids=BRANCHES)
each_bottleneck = pytest.mark.parametrize("branch", [BottleneckBranch, InceptionTrickBottleneckBranch])


def attached(lego: MainBranch, *shape: int) -> tuple[Net, Blob]:
    net = Net("n")
    return net, lego.attach(net, net.add("Input", name="data", shape={"dim": list(shape)}))


def convolutions(net: Net) -> list[tuple[str, tuple[int, ...]]]:
    """Name and output shape of each convolution, in order."""
    return [(x.name, x.tops[0].known_shape) for x in net.layers if x.type == "Convolution"]


def relus(net: Net) -> list[str]:
    return [layer.name for layer in net.layers if layer.type == "ReLU"]


def test_the_branches_go_by_the_ancestors_names() -> None:
    assert list(BRANCHES.items()) == [
        ("normal", NormalBranch),
        ("bottleneck", BottleneckBranch),
        ("inception_trick", InceptionTrickBranch),
        ("inception_trick_bottleneck", InceptionTrickBottleneckBranch),
    ]


def test_normal_is_two_3x3_the_first_with_the_stride() -> None:
    net, top = attached(NormalBranch(name="b", num_output=128, stride=2), 1, 64, 56, 56)
    assert convolutions(net) == [
        ("conv_b_branch2a", (1, 128, 28, 28)),
        ("conv_b_branch2b", (1, 128, 28, 28)),
    ]
    assert [net[name].params[0].shape for name, _ in convolutions(net)] == [(128, 64, 3, 3), (128, 128, 3, 3)]
    assert relus(net) == ["relu_b_branch2a"]
    assert top.shape == (1, 128, 28, 28)


def test_bottleneck_is_a_quarter_of_the_width_with_the_stride_in_the_first_1x1() -> None:
    net, top = attached(BottleneckBranch(name="b", num_output=512, stride=2), 1, 256, 56, 56)
    assert convolutions(net) == [
        ("conv_b_branch2a", (1, 128, 28, 28)),
        ("conv_b_branch2b", (1, 128, 28, 28)),
        ("conv_b_branch2c", (1, 512, 28, 28)),
    ]
    assert [net[name].params[0].shape[2:] for name, _ in convolutions(net)] == [(1, 1), (3, 3), (1, 1)]
    assert relus(net) == ["relu_b_branch2a", "relu_b_branch2b"]
    assert top.shape == (1, 512, 28, 28)


def test_stride_in_3x3_moves_the_stride_to_the_middle_of_a_bottleneck() -> None:
    lego = BottleneckBranch(name="b", num_output=512, stride=2, stride_in="3x3")
    assert convolutions(attached(lego, 1, 256, 56, 56)[0]) == [
        ("conv_b_branch2a", (1, 128, 56, 56)),
        ("conv_b_branch2b", (1, 128, 28, 28)),
        ("conv_b_branch2c", (1, 512, 28, 28)),
    ]


def test_inception_trick_halves_the_width_first_and_then_the_height() -> None:
    net, top = attached(InceptionTrickBranch(name="b", num_output=128, stride=2), 1, 64, 56, 56)
    assert convolutions(net) == [
        ("conv_b_branch_3by1a", (1, 128, 56, 28)),
        ("conv_b_branch_1by3a", (1, 128, 28, 28)),
        ("conv_b_branch_3by1b", (1, 128, 28, 28)),
        ("conv_b_branch_1by3b", (1, 128, 28, 28)),
    ]
    assert top.shape == (1, 128, 28, 28)


def test_3by1_is_the_kernel_of_width_3_and_height_1() -> None:
    net, _ = attached(InceptionTrickBranch(name="b", num_output=8), 1, 8, 14, 14)
    kernels = {name: net[name].params[0].shape[2:] for name, _ in convolutions(net)}
    assert kernels == {
        "conv_b_branch_3by1a": (1, 3),
        "conv_b_branch_1by3a": (3, 1),
        "conv_b_branch_3by1b": (1, 3),
        "conv_b_branch_1by3b": (3, 1),
    }


def test_inception_trick_keeps_the_relu_of_its_last_unit() -> None:
    net, top = attached(InceptionTrickBranch(name="b", num_output=8), 1, 8, 14, 14)
    assert relus(net) == [
        "relu_b_branch_3by1a", "relu_b_branch_1by3a", "relu_b_branch_3by1b", "relu_b_branch_1by3b",
    ]  # fmt: skip
    assert top.layer.name == "relu_b_branch_1by3b"


@pytest.mark.parametrize("branch", [NormalBranch, BottleneckBranch, InceptionTrickBottleneckBranch])
def test_the_other_branches_end_without_relu(branch: type[MainBranch]) -> None:
    assert attached(branch(name="b", num_output=8), 1, 8, 14, 14)[1].layer.type == "Scale"


def test_inception_trick_bottleneck_factors_the_3x3_of_a_bottleneck() -> None:
    lego = InceptionTrickBottleneckBranch(name="b", num_output=256, stride=2)
    net, _ = attached(lego, 1, 128, 56, 56)
    assert convolutions(net) == [
        ("conv_b_branch2a", (1, 64, 28, 28)),
        ("conv_b_branch_b_3by1", (1, 64, 28, 28)),
        ("conv_b_branch_b_1by3", (1, 64, 28, 28)),
        ("conv_b_branch2c", (1, 256, 28, 28)),
    ]
    assert [net[name].params[0].shape[2:] for name, _ in convolutions(net)] == [
        (1, 1),
        (1, 3),
        (3, 1),
        (1, 1),
    ]
    assert relus(net) == ["relu_b_branch2a", "relu_b_branch_b_3by1", "relu_b_branch_b_1by3"]


def test_stride_in_3x3_splits_the_stride_of_a_factored_bottleneck() -> None:
    lego = InceptionTrickBottleneckBranch(name="b", num_output=256, stride=2, stride_in="3x3")
    assert convolutions(attached(lego, 1, 128, 56, 56)[0]) == [
        ("conv_b_branch2a", (1, 64, 56, 56)),
        ("conv_b_branch_b_3by1", (1, 64, 56, 28)),
        ("conv_b_branch_b_1by3", (1, 64, 28, 28)),
        ("conv_b_branch2c", (1, 256, 28, 28)),
    ]


@each_branch
@pytest.mark.parametrize(
    ("size", "stride", "expected"),
    [((56, 56), 1, (56, 56)), ((57, 31), 2, (29, 16)), ((7, 10), 2, (4, 5)), ((1, 1), 2, (1, 1))],
)
def test_a_branch_gives_its_width_and_the_size_over_its_stride(
    branch: type[MainBranch], size: tuple[int, int], stride: int, expected: tuple[int, int]
) -> None:
    _, top = attached(branch(name="b", num_output=16, stride=stride), 2, 6, *size)
    assert top.shape == (2, 16, *expected)


@each_branch
def test_depth_is_the_number_of_convolutions(branch: type[MainBranch]) -> None:
    assert len(convolutions(attached(branch(name="b", num_output=8), 1, 8, 4, 4)[0])) == branch.depth


@each_branch
def test_expansion_is_the_width_of_the_block_over_that_of_its_inner_convolutions(
    branch: type[MainBranch],
) -> None:
    inner = convolutions(attached(branch(name="b", num_output=8), 1, 8, 4, 4)[0])[0][1][1]
    assert branch.expansion == 8 // inner


@each_branch
def test_no_convolution_has_a_bias_in_a_net_without_defaults(branch: type[MainBranch]) -> None:
    net, _ = attached(branch(name="b", num_output=8), 1, 8, 4, 4)
    assert [len(net[name].params) for name, _ in convolutions(net)] == [1] * branch.depth


@each_branch
def test_every_layer_carries_the_name_of_the_branch(branch: type[MainBranch]) -> None:
    net, _ = attached(branch(name="stage2_block1", num_output=8), 1, 8, 4, 4)
    pattern = r"(conv|bn|scale|relu)_stage2_block1_branch\w+"
    assert all(re.fullmatch(pattern, layer.name) for layer in net.layers[1:])


def test_the_factored_bottleneck_has_two_thirds_of_the_inner_weights() -> None:
    # 3 + 3 instead of 9 per pair of channels: 64 * 64 * 3 fewer at a width of 256.
    plain, factored = (
        counts.count(attached(branch(name="b", num_output=256), 1, 256, 56, 56)[0]).macs
        for branch in (BottleneckBranch, InceptionTrickBottleneckBranch)
    )
    assert plain - factored == 64 * 64 * 3 * 56 * 56


@each_bottleneck
@pytest.mark.parametrize("num_output", [2, 6, 130, 0, -4])
def test_a_width_that_is_not_a_multiple_of_4_is_refused(branch: Any, num_output: int) -> None:
    with pytest.raises(ConfigError) as refused:
        branch(name="b", num_output=num_output)
    assert str(refused.value) == (
        f"{branch.__name__} 'b': num_output must be a multiple of 4, four times the width of the inner "
        f"convolutions, got {num_output}"
    )
    assert refused.value.key == "num_output"


@each_bottleneck
def test_an_unknown_stride_in_is_refused(branch: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        branch(name="b", num_output=8, stride_in="2x2")
    assert str(refused.value) == f"{branch.__name__} 'b': stride_in must be 1x1 or 3x3, got '2x2'"
    assert refused.value.key == "stride_in"


@pytest.mark.parametrize("branch", [NormalBranch, InceptionTrickBranch])
def test_a_branch_without_1x1_has_no_stride_in(branch: Any) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'stride_in'"):
        branch(name="b", num_output=8, stride_in="1x1")
