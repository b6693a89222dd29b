"""Big-Little modules and their parts, each alone, and a net of three branches that nobody has published."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest

from legos import (
    BRANCHES,
    AverageDownLego,
    BigLittleLego,
    BigLittleStemLego,
    BilinearUpLego,
    BlockLego,
    BlockStyle,
    BottleneckBranch,
    ClassifierLego,
    ConcatGateLego,
    ConvBNReLULego,
    CropAverageDownLego,
    DepthwiseAverageDownLego,
    InceptionTrickBottleneckBranch,
    InceptionTrickBranch,
    Lego,
    LossLego,
    NearestUpLego,
    NormalBranch,
    ScaledBranch,
    SELego,
    UpLego,
)
from netbuilder import Net, prototxt
from netbuilder.engines.caffe import Caffe, RunResult
from netbuilder.errors import ConfigError
from netbuilder.net import Blob, Phase

each_main = pytest.mark.parametrize("main", BRANCHES.values(), ids=BRANCHES)


def attached(lego: Lego, *shape: int) -> tuple[Net, Blob]:
    net = Net("n")
    return net, lego.attach(net, net.add("Input", name="data", shape={"dim": list(shape)}))


def names(net: Net, type: str = "") -> list[str]:
    return [x.name for x in net.layers if x.type != "Input" and type in ("", x.type)]


def convolutions(net: Net) -> dict[str, tuple[int, int, int]]:
    """Outputs, groups and height of each convolution's top."""
    layers = [x for x in net.layers if x.type == "Convolution"]
    return {
        x.name: (x.tops[0].known_shape[1], x.proto.convolution_param.group, x.tops[0].known_shape[2])
        for x in layers
    }


def after_the_sum(net: Net, block: str) -> bool:
    """Whether a block ends in ReLU."""
    return f"relu_{block}" in net


def style(main: Any, **settings: Any) -> BlockStyle:
    """Settings with which a main branch can start."""
    return BlockStyle(main=main, zero_gamma=not main.ends_in_relu, **settings)


# ---- one block ---------------------------------------------------------------------------------------------


def test_a_block_that_halves_and_widens_pools_and_projects() -> None:
    net, top = attached(BlockLego(name="b", num_output=256, stride=2), 2, 64, 56, 40)
    assert names(net) == [
        "pool_b", "size_b", "crop_b",
        "conv_b_proj_shortcut", "bn_b_proj_shortcut", "scale_b_proj_shortcut",
        "conv_b_branch2a", "bn_b_branch2a", "scale_b_branch2a", "relu_b_branch2a",
        "conv_b_branch2b", "bn_b_branch2b", "scale_b_branch2b", "relu_b_branch2b",
        "conv_b_branch2c", "bn_b_branch2c", "scale_b_branch2c",
        "eltwise_b", "relu_b",
    ]  # fmt: skip
    assert top.shape == (2, 256, 28, 20)
    assert net["conv_b_proj_shortcut"].params[0].shape == (256, 64, 1, 1)
    assert net["conv_b_proj_shortcut"].proto.convolution_param.stride == [1]


def test_the_stride_of_a_block_is_that_of_its_3x3() -> None:
    net, _ = attached(BlockLego(name="b", num_output=256, stride=2), 1, 256, 56, 56)
    assert convolutions(net) == {
        "conv_b_branch2a": (64, 1, 56),
        "conv_b_branch2b": (64, 1, 28),
        "conv_b_branch2c": (256, 1, 28),
    }


def test_a_block_that_halves_and_keeps_its_width_pools_and_does_not_project() -> None:
    net, _ = attached(BlockLego(name="b", num_output=256, stride=2), 1, 256, 56, 56)
    assert list(net["eltwise_b"].proto.bottom) == ["crop_b", "conv_b_branch2c"]
    assert "conv_b_proj_shortcut" not in net


def test_a_block_that_changes_nothing_has_the_identity_beside_it() -> None:
    net, _ = attached(BlockLego(name="b", num_output=256), 1, 256, 56, 56)
    assert list(net["eltwise_b"].proto.bottom) == ["data", "conv_b_branch2c"]


# The channel test of the official code: input, width of the module, and alphas at which a projection remains.
LITTLE_SHORTCUTS = [
    (64, 256, {1: True, 2: True, 4: False}),
    (256, 512, {1: True, 2: False, 4: True}),
    (512, 1024, {1: True, 2: False, 4: True}),
]


@pytest.mark.parametrize("alpha", [1, 2, 4])
@pytest.mark.parametrize(("channels", "num_output", "projects"), LITTLE_SHORTCUTS)
def test_the_first_little_block_projects_only_where_channels_change(
    channels: int, num_output: int, projects: dict[int, bool], alpha: int
) -> None:
    net, top = attached(BlockLego(name="b", num_output=num_output, divisor=alpha), 1, channels, 8, 8)
    assert ("conv_b_proj_shortcut" in net) == projects[alpha]
    assert net["eltwise_b"].proto.bottom[0] == ("conv_b_proj_shortcut" if projects[alpha] else "data")
    assert top.shape == (1, num_output // alpha, 8, 8)


def test_a_block_may_leave_out_its_last_relu() -> None:
    net, top = attached(BlockLego(name="b", num_output=64, relu=False), 1, 64, 8, 8)
    assert top.layer.name == "eltwise_b"
    assert not after_the_sum(net, "b")


# Width of the module, cardinality, alpha: inner channels and groups, at a base width of 4.
GROUPED = [
    (256, 32, 1, (128, 32)), (256, 32, 2, (64, 16)), (256, 32, 4, (32, 8)),
    (512, 32, 1, (256, 32)), (512, 32, 2, (128, 16)), (512, 32, 4, (64, 8)),
    (1024, 32, 1, (512, 32)), (1024, 32, 2, (256, 16)), (1024, 32, 4, (128, 8)),
    (2048, 32, 1, (1024, 32)),
    (256, 64, 1, (256, 64)), (256, 64, 2, (128, 32)), (256, 64, 4, (64, 16)),
    (512, 64, 1, (512, 64)), (512, 64, 2, (256, 32)),
    (1024, 64, 1, (1024, 64)), (1024, 64, 2, (512, 32)),
    (2048, 64, 1, (2048, 64)),
]  # fmt: skip


@pytest.mark.parametrize(("num_output", "cardinality", "alpha", "inner"), GROUPED)
def test_alpha_divides_inner_width_and_groups_so_that_a_group_keeps_its_width(
    num_output: int, cardinality: int, alpha: int, inner: tuple[int, int]
) -> None:
    grouped = BlockStyle(cardinality=cardinality, base_width=4)
    lego = BlockLego(name="b", num_output=num_output, divisor=alpha, style=grouped)
    net, _ = attached(lego, 1, 64, 4, 4)
    width, groups = inner
    assert convolutions(net) == {
        "conv_b_branch2a": (width, 1, 4),
        "conv_b_branch2b": (width, groups, 4),
        "conv_b_branch2c": (num_output // alpha, 1, 4),
    } | ({} if num_output // alpha == 64 else {"conv_b_proj_shortcut": (num_output // alpha, 1, 4)})


def test_both_factors_of_a_factored_bottleneck_are_grouped() -> None:
    grouped = BlockStyle(main=InceptionTrickBottleneckBranch, cardinality=32, base_width=4)
    net, _ = attached(BlockLego(name="b", num_output=256, divisor=2, style=grouped), 1, 128, 4, 4)
    assert convolutions(net) == {
        "conv_b_branch2a": (64, 1, 4),
        "conv_b_branch_b_3by1": (64, 16, 4),
        "conv_b_branch_b_1by3": (64, 16, 4),
        "conv_b_branch2c": (128, 1, 4),
    }


@pytest.mark.parametrize("attention", [SELego, partial(SELego, gate=ConcatGateLego)])
def test_attention_comes_after_the_main_branch_and_before_the_sum(attention: Any) -> None:
    excited = BlockStyle(attention=attention)
    net, _ = attached(BlockLego(name="b", num_output=256, divisor=4, style=excited), 1, 64, 8, 8)
    assert list(net["eltwise_b"].proto.bottom) == ["data", "b_se"]
    assert list(net["b_se_pool"].proto.bottom) == ["conv_b_branch2c"]
    assert net["b_se_pool"].bottoms[0].layer.name == "scale_b_branch2c"
    # A sixteenth of the width of the little block itself, not of its module.
    assert net["b_se_fc1"].params[0].shape == (4, 64)


@pytest.mark.parametrize(
    ("downsample", "layers"),
    [
        (AverageDownLego, ["pool_b", "size_b", "crop_b"]),
        (CropAverageDownLego, ["pool_b", "size_b", "crop_b"]),
        (DepthwiseAverageDownLego, ["down_b"]),
    ],
)
def test_the_form_of_the_average_is_the_styles(downsample: type[AverageDownLego], layers: list[str]) -> None:
    lego = BlockLego(name="b", num_output=64, stride=2, style=BlockStyle(downsample=downsample))
    net, _ = attached(lego, 1, 64, 8, 8)
    assert names(net)[: len(layers)] == layers


@each_main
def test_the_last_scale_of_a_block_starts_at_0_if_the_style_says_so(main: Any) -> None:
    net, _ = attached(BlockLego(name="b", num_output=64, stride=2, style=style(main)), 1, 32, 8, 8)
    zeros = [x.name for x in net.layers if x.type == "Scale" and x.proto.scale_param.HasField("filler")]
    last = names(net, "Scale")[-1]
    assert zeros == ([] if main is InceptionTrickBranch else [last])


@each_main
@pytest.mark.parametrize("size", [(8, 8), (7, 7), (5, 8), (1, 2)])
@pytest.mark.parametrize("stride", [1, 2])
def test_shortcut_and_main_branch_agree_on_every_size(main: Any, size: tuple[int, int], stride: int) -> None:
    lego = BlockLego(name="b", num_output=64, stride=stride, divisor=2, style=style(main))
    _, top = attached(lego, 2, 16, *size)
    assert top.shape == (2, 32, *(-(-n // stride) for n in size))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {"num_output": 256, "divisor": 3},
            "BlockLego 'b': alpha 3 does not divide the width 256 into multiples of 4",
        ),
        (
            {"num_output": 256, "divisor": 128},
            "BlockLego 'b': alpha 128 does not divide the width 256 into multiples of 4",
        ),
        (
            {"num_output": 384, "divisor": 3, "style": BlockStyle(cardinality=32, base_width=4)},
            "BlockLego 'b': alpha 3 does not divide the cardinality 32",
        ),
        (
            {"num_output": 256, "divisor": 4, "style": BlockStyle(cardinality=2, base_width=64)},
            "BlockLego 'b': alpha 4 does not divide the cardinality 2",
        ),
    ],
)
def test_an_alpha_that_does_not_divide_is_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        BlockLego(name="b", **settings)
    assert str(refused.value) == text
    assert refused.value.key == "alpha"


@pytest.mark.parametrize("divisor", [0, -2])
def test_a_divisor_below_1_is_refused(divisor: int) -> None:
    with pytest.raises(ConfigError) as refused:
        BlockLego(name="b", num_output=256, divisor=divisor)
    assert str(refused.value) == f"BlockLego 'b': alpha must be at least 1, got {divisor}"
    assert refused.value.key == "alpha"


@pytest.mark.parametrize("main", [NormalBranch, InceptionTrickBranch])
def test_groups_in_a_main_branch_that_has_none_are_refused_and_not_forgotten(main: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        BlockLego(name="b", num_output=256, style=style(main, cardinality=32))
    assert str(refused.value) == (
        f"BlockLego 'b': cardinality 32 needs a main branch with groups, but {main.__name__} has none"
    )
    assert refused.value.key == "cardinality"


def test_groups_that_would_have_no_channels_are_refused() -> None:
    with pytest.raises(ConfigError) as refused:
        BlockLego(name="b", num_output=32, style=BlockStyle(cardinality=32, base_width=4))
    assert str(refused.value) == (
        "BlockLego 'b': base_width 4 leaves the groups of a block of width 32 without channels\n"
        "  hint:    use a base_width of at least 8"
    )
    assert refused.value.key == "base_width"


# ---- one branch --------------------------------------------------------------------------------------------

# Depth of the net: blocks of its stages; blocks of the big branches; of the little ones, by beta.
BLOCK_COUNTS = {
    "50": ((3, 4, 6), (2, 3, 5), {1: (2, 3, 5), 2: (1, 1, 2), 4: (1, 1, 1)}),
    "101": ((4, 8, 18), (3, 7, 17), {1: (3, 7, 17), 2: (1, 3, 8), 4: (1, 1, 3)}),
    "152": ((5, 12, 30), (4, 11, 29), {1: (4, 11, 29), 2: (1, 5, 14), 4: (1, 2, 6)}),
}


@pytest.mark.parametrize("depth", BLOCK_COUNTS)
@pytest.mark.parametrize("beta", [1, 2, 4])
def test_the_number_of_blocks_of_each_branch(depth: str, beta: int) -> None:
    blocks, big, little = BLOCK_COUNTS[depth]
    for count, in_big, in_little in zip(blocks, big, little[beta], strict=True):
        branches = (
            (ScaledBranch(name="b", num_output=8, blocks=count, halvings=1), in_big),
            (ScaledBranch(name="b", num_output=8, blocks=count, alpha=2, beta=beta), in_little),
        )
        for branch, expected in branches:
            assert branch.depth == expected
            net, _ = attached(branch, 1, 8, 4, 4)
            assert names(net, "Eltwise") == [f"eltwise_b_block{k}" for k in range(expected)]


@pytest.mark.parametrize(("blocks", "beta", "depth"), [(1, 1, 1), (2, 1, 1), (3, 1, 2), (6, 8, 1), (6, 3, 1)])
def test_a_little_branch_has_at_least_one_block(blocks: int, beta: int, depth: int) -> None:
    assert ScaledBranch(name="b", num_output=8, blocks=blocks, beta=beta).depth == depth


def test_a_big_branch_halves_in_its_first_block_and_ends_without_relu() -> None:
    net, top = attached(ScaledBranch(name="b", num_output=256, blocks=4, halvings=1), 1, 64, 56, 40)
    assert [after_the_sum(net, f"b_block{k}") for k in range(3)] == [True, True, False]
    assert [net[f"eltwise_b_block{k}"].tops[0].shape for k in range(3)] == [(1, 256, 28, 20)] * 3
    assert top.layer.name == "eltwise_b_block2"
    assert "conv_b_expand" not in net


def test_a_big_branch_of_one_block_keeps_its_relu() -> None:
    net, top = attached(ScaledBranch(name="b", num_output=64, blocks=2, halvings=1), 1, 64, 8, 8)
    assert names(net, "Eltwise") == ["eltwise_b_block0"]
    assert top.layer.name == "relu_b_block0"
    assert top.shape == (1, 64, 4, 4)


@pytest.mark.parametrize("alpha", [1, 2, 4])
def test_a_little_branch_keeps_its_size_and_all_its_relus_and_is_expanded(alpha: int) -> None:
    net, top = attached(ScaledBranch(name="b", num_output=256, blocks=3, alpha=alpha), 1, 64, 9, 6)
    assert [after_the_sum(net, f"b_block{k}") for k in range(2)] == [True, True]
    assert [net[f"eltwise_b_block{k}"].tops[0].shape for k in range(2)] == [(1, 256 // alpha, 9, 6)] * 2
    assert names(net)[-3:] == ["conv_b_expand", "bn_b_expand", "scale_b_expand"]
    assert net["conv_b_expand"].params[0].shape == (256, 256 // alpha, 1, 1)
    assert top.layer.name == "scale_b_expand"
    assert top.shape == (1, 256, 9, 6)


def test_a_narrow_branch_at_half_size_is_expanded_and_keeps_its_last_relu() -> None:
    net, top = attached(ScaledBranch(name="b", num_output=64, blocks=4, alpha=2, halvings=1), 1, 16, 9, 6)
    assert after_the_sum(net, "b_block2")
    assert top.layer.name == "scale_b_expand"
    assert top.shape == (1, 64, 5, 3)


def test_two_halvings_are_in_the_first_two_blocks() -> None:
    net, _ = attached(ScaledBranch(name="b", num_output=64, blocks=4, halvings=2), 1, 64, 9, 30)
    sizes = [net[f"eltwise_b_block{k}"].tops[0].known_shape[2:] for k in range(3)]
    assert sizes == [(5, 15), (3, 8), (3, 8)]


@pytest.mark.parametrize(
    ("settings", "key", "text"),
    [
        ({"blocks": 0}, "blocks", "ScaledBranch 'b': blocks must be at least 1, got 0"),
        ({"blocks": 3, "alpha": 0}, "alpha", "ScaledBranch 'b': alpha must be at least 1, got 0"),
        ({"blocks": 3, "beta": 0}, "beta", "ScaledBranch 'b': beta must be at least 1, got 0"),
        ({"blocks": 3, "beta": -1}, "beta", "ScaledBranch 'b': beta must be at least 1, got -1"),
        (
            {"blocks": 3, "alpha": 3},
            "alpha",
            "BlockLego 'b_block0': alpha 3 does not divide the width 256 into multiples of 4",
        ),
        (
            {"blocks": 1, "halvings": 1},
            "blocks",
            "ScaledBranch 'b': blocks 1 are too few for a branch at 1/2 of the size\n"
            "  hint:    it needs 2 blocks",
        ),
        (
            {"blocks": 2, "halvings": 2},
            "blocks",
            "ScaledBranch 'b': blocks 2 are too few for a branch at 1/4 of the size\n"
            "  hint:    it needs 3 blocks",
        ),
        (
            {"blocks": 3, "beta": 2, "halvings": 1},
            "blocks",
            "ScaledBranch 'b': blocks 3 are too few for a branch at 1/2 of the size\n"
            "  hint:    it needs 4 blocks",
        ),
    ],
)
def test_a_branch_that_cannot_be_is_refused(settings: dict[str, Any], key: str, text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        ScaledBranch(name="b", num_output=256, **settings)
    assert str(refused.value) == text
    assert refused.value.key == key


@pytest.mark.parametrize(("beta", "halvings"), [(1, 1), (2, 1), (1, 2), (3, 2), (4, 1), (1, 3)])
def test_the_hint_of_a_branch_that_is_too_short_is_the_least_that_works(beta: int, halvings: int) -> None:
    for blocks in range(1, 20):
        try:
            ScaledBranch(name="b", num_output=8, blocks=blocks, beta=beta, halvings=halvings)
        except ConfigError as refused:
            hint = refused.hint
            continue
        assert hint == f"it needs {blocks} blocks"
        return
    raise AssertionError("never long enough")


def test_a_branch_larger_than_its_input_is_refused() -> None:
    with pytest.raises(ConfigError) as refused:
        ScaledBranch(name="b", num_output=8, blocks=3, halvings=-1)
    assert str(refused.value) == "ScaledBranch 'b': halvings must be at least 0, got -1"
    assert refused.value.key == "halvings"


# ---- the module --------------------------------------------------------------------------------------------


def module(num_output: int, blocks: int, alpha: int = 2, beta: int = 4, **settings: Any) -> BigLittleLego:
    return BigLittleLego(
        name="m",
        branches=(
            ScaledBranch(name="m_big", num_output=num_output, blocks=blocks, halvings=1),
            ScaledBranch(name="m_little", num_output=num_output, blocks=blocks, alpha=alpha, beta=beta),
        ),
        fusion=BlockLego(name="m_fusion", num_output=num_output, stride=2),
        **settings,
    )


def test_a_module_is_its_branches_the_enlargement_the_sum_and_the_fusion() -> None:
    net, top = attached(module(256, 3), 1, 64, 56, 56)
    others = [name for name in names(net) if "block" not in name and "expand" not in name]
    assert others[:3] == ["up_m_big", "eltwise_m", "relu_m"]
    assert {name.split("_branch")[0].partition("_m_")[2] for name in others[3:]} == {"fusion"}
    assert list(net["eltwise_m"].proto.bottom) == ["up_m_big", "conv_m_little_expand"]
    assert net["eltwise_m"].bottoms[1].layer.name == "scale_m_little_expand"
    assert net["eltwise_m"].tops[0].shape == (1, 256, 56, 56)
    assert top.layer.name == "relu_m_fusion"
    assert top.shape == (1, 256, 28, 28)


def test_at_an_odd_size_the_enlarged_branch_is_cut_to_the_size_of_the_other() -> None:
    net, top = attached(module(64, 3), 1, 64, 15, 20)
    assert list(net["crop_m_big"].proto.bottom) == ["up_m_big", "conv_m_little_expand"]
    assert list(net["eltwise_m"].proto.bottom) == ["crop_m_big", "conv_m_little_expand"]
    assert net["eltwise_m"].tops[0].shape == (1, 64, 15, 20)
    assert top.shape == (1, 64, 8, 10)


def test_the_order_of_the_branches_is_free() -> None:
    lego = module(64, 3)
    turned = BigLittleLego(name="m", branches=lego.branches[::-1], fusion=lego.fusion)
    net, _ = attached(turned, 1, 64, 16, 16)
    assert list(net["eltwise_m"].proto.bottom) == ["conv_m_little_expand", "up_m_big"]


def test_branches_that_are_all_small_are_brought_to_the_largest_of_them() -> None:
    branches = tuple(
        ScaledBranch(name=f"m_{halvings}", num_output=16, blocks=4, alpha=2, halvings=halvings)
        for halvings in (2, 1)
    )
    lego = BigLittleLego(name="m", branches=branches, fusion=BlockLego(name="f", num_output=16))
    net, top = attached(lego, 1, 8, 12, 20)
    assert [name for name in names(net) if name.startswith("up_")] == ["up_m_2"]
    assert top.shape == (1, 16, 6, 10)


@pytest.mark.parametrize(("upsample", "kernel"), [(NearestUpLego, 2), (BilinearUpLego, 4)])
def test_the_enlargement_is_a_choice(upsample: type[UpLego], kernel: int) -> None:
    net, _ = attached(module(64, 3, upsample=upsample), 1, 64, 8, 8)
    assert net["up_m_big"].params[0].shape == (64, 1, kernel, kernel)


def test_any_legos_may_be_branches_and_fusion() -> None:
    lego = BigLittleLego(
        name="m",
        branches=(
            ConvBNReLULego(name="a", num_output=6, kernel=5, stride=3),
            ConvBNReLULego(name="b", num_output=6),
        ),
        fusion=ConvBNReLULego(name="c", num_output=4),
    )
    net, top = attached(lego, 1, 3, 10, 14)
    # ceil(10 / 3) and ceil(14 / 3) are 4 and 5, so a factor of 3, and 12x15 is cut to 10x14.
    assert net["up_a"].tops[0].shape == (1, 6, 12, 15)
    assert net["crop_a"].tops[0].shape == (1, 6, 10, 14)
    assert top.shape == (1, 4, 10, 14)


# ---- the stem ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [1, 2, 4])
def test_the_stem_is_that_of_the_official_code(alpha: int) -> None:
    net, top = attached(BigLittleStemLego(name="stem", alpha=alpha), 1, 3, 224, 224)
    shapes = [(x.name, x.params[0].shape, x.tops[0].shape) for x in net.layers if x.type == "Convolution"]
    n = 64 // alpha
    assert shapes == [
        ("conv_1", (64, 3, 7, 7), (1, 64, 112, 112)),
        ("conv_stem_big", (64, 64, 3, 3), (1, 64, 56, 56)),
        ("conv_stem_little_a", (n, 64, 3, 3), (1, n, 112, 112)),
        ("conv_stem_little_b", (n, n, 3, 3), (1, n, 56, 56)),
        ("conv_stem_little_c", (64, n, 1, 1), (1, 64, 56, 56)),
        ("conv_stem_fusion", (64, 64, 1, 1), (1, 64, 56, 56)),
    ]
    assert top.shape == (1, 64, 56, 56)


def test_both_paths_of_the_stem_end_without_relu() -> None:
    net, top = attached(BigLittleStemLego(name="stem"), 1, 3, 32, 32)
    assert names(net, "ReLU") == [
        "relu_1", "relu_stem_little_a", "relu_stem_little_b", "relu_stem", "relu_stem_fusion",
    ]  # fmt: skip
    assert [b.layer.name for b in net["eltwise_stem"].bottoms] == ["scale_stem_big", "scale_stem_little_c"]
    assert not names(net, "Pooling")
    assert top.layer.name == "relu_stem_fusion"


@pytest.mark.parametrize(
    ("size", "expected"), [((225, 160), (57, 40)), ((97, 33), (25, 9)), ((1, 2), (1, 1))]
)
def test_the_stem_takes_a_quarter_of_any_size(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert attached(BigLittleStemLego(name="stem"), 1, 3, *size)[1].shape == (1, 64, *expected)


@pytest.mark.parametrize("alpha", [3, 128, 0, -2])
def test_an_alpha_that_does_not_divide_the_stem_is_refused(alpha: int) -> None:
    with pytest.raises(ConfigError) as refused:
        BigLittleStemLego(name="stem", alpha=alpha)
    assert str(refused.value) == (
        f"BigLittleStemLego 'stem': alpha {alpha} does not divide the stem's width 64"
    )
    assert refused.value.key == "alpha"


@dataclass(frozen=True, kw_only=True)
class SmallSELego(SELego):
    """Squeeze and excitation for narrow blocks."""

    reduction: int = 2


# ---- three branches ----------------------------------------------------------------------------------------


def three_branches(main: Any, phase: Phase, size: tuple[int, int], **settings: Any) -> Net:
    """Two modules of scales 1, 1/2 and 1/4, alpha 4, 2 and 1: a deep narrow stem, then 32 and 64 channels."""
    blocks = BlockStyle(main=main, zero_gamma=False, **settings)
    net = Net("three", phase)
    data = net.add("Input", name="data", shape={"dim": [2, 3, *size]})
    label = net.add("Input", name="label", shape={"dim": [2]})
    x = ConvBNReLULego(name="1", num_output=16, kernel=3, stride=2).attach(net, data)
    for stage, (num_output, depth) in enumerate([(32, 4), (64, 5)]):
        branches = tuple(
            ScaledBranch(
                name=f"s{stage}_{scale}", num_output=num_output, blocks=depth, alpha=alpha, beta=beta,
                halvings=halvings, style=blocks,
            )
            for scale, halvings, alpha, beta in (("quarter", 2, 1, 1), ("half", 1, 2, 2), ("full", 0, 4, 4))
        )  # fmt: skip
        fusion = BlockLego(name=f"s{stage}_fusion", num_output=num_output, stride=2, style=blocks)
        lego = BigLittleLego(name=f"s{stage}", branches=branches, fusion=fusion)
        x = lego.attach(net, x)
    scores = ClassifierLego(name="fc", num_output=5).attach(net, x)
    LossLego(name="loss").attach(net, [scores, label])
    return net


def assert_every_learnable_blob_has_a_gradient(net: Net, ran: RunResult) -> None:
    assert np.isfinite(ran.loss)
    for layer in net.layers:
        for param, diff in zip(layer.params, ran.param_diffs.get(layer.name, []), strict=True):
            assert np.isfinite(diff).all(), layer.name
            assert diff.any() == param.learnable, layer.name


# At 45x70 the stem gives 23x35: both branches have to be cut, one from twice, one from four times its size.
THREE = [(main, size) for main in BRANCHES for size in ((64, 64), (45, 70))]
each_three = pytest.mark.parametrize(
    ("main", "size"), THREE, ids=[f"{main}-{size[0]}x{size[1]}" for main, size in THREE]
)


@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
@each_three
def test_real_caffe_gives_a_net_of_three_branches_our_shapes(
    real_caffe: Caffe, main: str, size: tuple[int, int], phase: Phase
) -> None:
    net = three_branches(BRANCHES[main], phase, size)
    loaded = real_caffe.load(prototxt.dumps(net), phase=phase)
    assert {layer.name: (layer.top_shapes, layer.params) for layer in loaded.layers_as_written()} == {
        layer.name: (tuple(t.shape for t in layer.tops), tuple(p.shape for p in layer.params))
        for layer in net.layers
    }


@each_three
def test_a_net_of_three_branches_scores_with_the_statistics_of_its_training(
    real_caffe: Caffe, main: str, size: tuple[int, int]
) -> None:
    inputs = {"data": np.random.default_rng(1).standard_normal((2, 3, *size)), "label": np.array([1, 4])}
    # In a fresh TEST net all variances are 0. A pass in TRAIN leaves those of its batch behind.
    net = three_branches(BRANCHES[main], "TRAIN", size)
    first = real_caffe.run(
        prototxt.dumps(net), phase="TRAIN", inputs=inputs, outputs=["fc", "loss"], fetch_params=True, seed=1
    )
    params: dict[str, list[Any]] = dict(first.params)
    for layer in net.layers:
        if layer.type == "BatchNorm":
            # Caffe normalises a batch by its variance over m, and keeps that over m - 1.
            n, _, height, width = layer.tops[0].known_shape
            m = n * height * width
            mean, variance, factor = params[layer.name]
            params[layer.name] = [mean, variance * (m - 1) / m, factor]
    second = real_caffe.run(
        prototxt.dumps(three_branches(BRANCHES[main], "TEST", size)),
        inputs=inputs,
        params=params,
        outputs=["fc"],
    )
    assert np.isfinite(second.outputs["fc"]).all()
    assert abs(second.outputs["fc"] - first.outputs["fc"]).max() < 1e-3


@each_three
def test_a_net_of_three_branches_learns_in_every_blob(
    real_caffe: Caffe, main: str, size: tuple[int, int]
) -> None:
    net = three_branches(BRANCHES[main], "TRAIN", size)
    inputs = {"data": np.random.default_rng(1).standard_normal((2, 3, *size)), "label": np.array([1, 4])}
    ran = real_caffe.run(prototxt.dumps(net), phase="TRAIN", inputs=inputs, backward=True, seed=1)
    assert_every_learnable_blob_has_a_gradient(net, ran)


def test_the_branches_of_three_are_cut_and_merged_at_the_full_size() -> None:
    net = three_branches(BottleneckBranch, "TEST", (45, 70))
    assert [b.name for b in net["eltwise_s0"].bottoms] == [
        "crop_s0_quarter", "crop_s0_half", "conv_s0_full_expand",
    ]  # fmt: skip
    assert [net[f"crop_s0_{scale}"].bottoms[0].shape for scale in ("quarter", "half")] == [
        (2, 32, 24, 36),
        (2, 32, 24, 36),
    ]
    assert {b.shape for b in net["eltwise_s0"].bottoms} == {(2, 32, 23, 35)}


@pytest.mark.parametrize("size", [(64, 64), (45, 70)])
def test_groups_and_attention_work_in_three_branches(real_caffe: Caffe, size: tuple[int, int]) -> None:
    settings = {"cardinality": 4, "base_width": 32, "attention": SmallSELego}
    net = three_branches(BottleneckBranch, "TRAIN", size, **settings)
    inputs = {"data": np.random.default_rng(1).standard_normal((2, 3, *size)), "label": np.array([1, 4])}
    ran = real_caffe.run(prototxt.dumps(net), phase="TRAIN", inputs=inputs, backward=True, seed=1)
    # A group has 32 * 32/64 / 4 channels in every branch; alpha 4, 2 and 1 leave one, two and four of them.
    assert ran.params["conv_s0_full_block0_branch2b"][0].shape == (4, 4, 3, 3)
    assert ran.params["conv_s0_half_block0_branch2b"][0].shape == (8, 4, 3, 3)
    assert ran.params["conv_s0_quarter_block0_branch2b"][0].shape == (16, 4, 3, 3)
    assert_every_learnable_blob_has_a_gradient(net, ran)


def test_a_module_of_fewer_than_two_branches_is_refused() -> None:
    fusion = BlockLego(name="f", num_output=64)
    with pytest.raises(ConfigError) as caught:
        BigLittleLego(name="m", branches=(), fusion=fusion)
    assert str(caught.value) == "BigLittleLego 'm': branches must be two or more, got 0"
