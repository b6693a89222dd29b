"""Residual blocks and their shortcuts."""

from __future__ import annotations

import pytest

from legos import (
    BRANCHES,
    ConvBNLego,
    EltwiseReLULego,
    InceptionTrickBranch,
    MainBranch,
    NormalBranch,
    ProjectionLego,
    ShortcutLego,
)
from netbuilder import Net
from netbuilder.errors import ShapeError
from netbuilder.net import Blob


def attached(lego: ProjectionLego | ShortcutLego, *shape: int) -> tuple[Net, Blob]:
    net = Net("n")
    return net, lego.attach(net, net.add("Input", name="data", shape={"dim": list(shape)}))


def block(branch: type[MainBranch], num_output: int, stride: int = 1, *, projection: bool) -> ShortcutLego:
    return ShortcutLego(
        name="s",
        main=branch(name="s", num_output=num_output, stride=stride),
        shortcut=ProjectionLego(name="s", num_output=num_output, stride=stride) if projection else None,
        merge=EltwiseReLULego(name="s"),
    )


def test_a_projection_is_a_1x1_unit_with_the_stride_of_the_block_and_without_relu() -> None:
    net, top = attached(ProjectionLego(name="s", num_output=128, stride=2), 1, 64, 56, 56)
    assert [layer.name for layer in net.layers[1:]] == [
        "conv_s_proj_shortcut", "bn_s_proj_shortcut", "scale_s_proj_shortcut",
    ]  # fmt: skip
    assert [p.shape for p in net["conv_s_proj_shortcut"].params] == [(128, 64, 1, 1)]
    assert top.shape == (1, 128, 28, 28)


def test_a_projection_may_be_a_convolution_alone() -> None:
    net, top = attached(ProjectionLego(name="s", num_output=128, stride=2, normalize=False), 1, 64, 56, 56)
    assert [layer.name for layer in net.layers[1:]] == ["conv_s_proj_shortcut"]
    assert [p.shape for p in net["conv_s_proj_shortcut"].params] == [(128, 64, 1, 1)]
    assert top.shape == (1, 128, 28, 28)


def test_with_an_identity_shortcut_the_sum_takes_the_input_itself_first() -> None:
    net, top = attached(block(NormalBranch, 64, projection=False), 1, 64, 56, 56)
    assert list(net["eltwise_s"].proto.bottom) == ["data", "conv_s_branch2b"]
    assert top.shape == (1, 64, 56, 56)
    assert top.layer.name == "relu_s"


def test_with_a_projection_the_sum_takes_its_result_first() -> None:
    net, top = attached(block(NormalBranch, 128, 2, projection=True), 1, 64, 56, 56)
    assert list(net["eltwise_s"].proto.bottom) == ["conv_s_proj_shortcut", "conv_s_branch2b"]
    assert top.shape == (1, 128, 28, 28)


def test_the_layers_of_the_projection_come_before_those_of_the_main_branch() -> None:
    net, _ = attached(block(NormalBranch, 128, 2, projection=True), 1, 64, 56, 56)
    assert [layer.name for layer in net.layers] == [
        "data",
        "conv_s_proj_shortcut", "bn_s_proj_shortcut", "scale_s_proj_shortcut",
        "conv_s_branch2a", "bn_s_branch2a", "scale_s_branch2a", "relu_s_branch2a",
        "conv_s_branch2b", "bn_s_branch2b", "scale_s_branch2b",
        "eltwise_s", "relu_s",
    ]  # fmt: skip


@pytest.mark.parametrize("branch", BRANCHES.values(), ids=BRANCHES)
@pytest.mark.parametrize("size", [(56, 56), (57, 57), (33, 48), (7, 1)])
def test_main_branch_and_projection_agree_on_every_size_at_stride_2(
    branch: type[MainBranch], size: tuple[int, int]
) -> None:
    _, top = attached(block(branch, 16, 2, projection=True), 1, 8, *size)
    height, width = size
    assert top.shape == (1, 16, (height + 1) // 2, (width + 1) // 2)


@pytest.mark.parametrize("branch", BRANCHES.values(), ids=BRANCHES)
def test_any_branch_takes_an_identity_shortcut_where_the_width_stays(branch: type[MainBranch]) -> None:
    assert attached(block(branch, 16, projection=False), 1, 16, 9, 14)[1].shape == (1, 16, 9, 14)


def test_an_identity_shortcut_of_another_width_is_refused_with_both_shapes_and_both_producers() -> None:
    with pytest.raises(ShapeError) as refused:
        attached(block(NormalBranch, 128, projection=False), 1, 64, 56, 56)
    assert refused.value.text == (
        "Eltwise 'eltwise_s': bottoms 0 and 1 must have equal shapes, got (1,64,56,56) and (1,128,56,56)"
    )
    assert refused.value.bottoms == (
        "data (1,64,56,56) from data; "
        "conv_s_branch2b (1,128,56,56) from ShortcutLego(s)/NormalBranch(s)/ConvBNLego(s_branch2b)"
    )


def test_any_legos_may_be_main_branch_and_shortcut() -> None:
    main = InceptionTrickBranch(name="m", num_output=8)
    shortcut = ConvBNLego(name="c", num_output=8, kernel=5)
    lego = ShortcutLego(name="s", main=main, shortcut=shortcut, merge=EltwiseReLULego(name="e"))
    net, _ = attached(lego, 1, 3, 10, 10)
    assert list(net["eltwise_e"].proto.bottom) == ["conv_c", "conv_m_branch_1by3b"]


def test_the_input_of_a_block_may_have_been_written_in_place_before() -> None:
    net = Net("n")
    x = net.add("Input", name="data", shape={"dim": [1, 8, 6, 6]})
    x = ConvBNLego(name="1", num_output=8).attach(net, x)
    x = net.add("ReLU", x, name="relu_1", in_place=True)
    for name in "ab":
        main = NormalBranch(name=name, num_output=8)
        x = ShortcutLego(name=name, main=main, merge=EltwiseReLULego(name=name)).attach(net, x)
    assert list(net["eltwise_b"].proto.bottom) == ["eltwise_a", "conv_b_branch2b"]
