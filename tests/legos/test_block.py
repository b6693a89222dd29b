"""Blocks in a style: what goes around the spatial unit, what follows the others, and the first shortcut."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from legos import (
    BRANCHES,
    BlockLego,
    BlockStyle,
    BottleneckBranch,
    EdgeAverageLego,
    Lego,
    MainBranch,
    PoolProjectionLego,
    SELego,
    SquareAverageDownLego,
    ZeroBlurLego,
    blurred,
    followed,
    selective_kernel,
)
from netbuilder import Net
from netbuilder.errors import ConfigError
from netbuilder.net import Blob


class MarkLego(Lego):
    """A layer that shows where it stands."""

    def build(self, net: Net, *bottoms: Blob) -> Any:
        return net.add("Power", *bottoms, name=f"{self.name}_mark", scale=2)


def attached(lego: Lego, *shape: int) -> tuple[Net, Blob]:
    net = Net("n")
    return net, lego.attach(net, net.add("Input", name="data", shape={"dim": list(shape)}))


def order(net: Net, *types: str) -> list[str]:
    return [x.name for x in net.layers if x.type in types]


AROUND = (selective_kernel, partial(followed, by=MarkLego), partial(blurred, blur=ZeroBlurLego))


def test_wrappers_stand_around_the_3x3_of_a_bottleneck_the_innermost_first() -> None:
    main = BottleneckBranch(name="b", num_output=64, stride=2, stride_in="3x3", around=AROUND)
    net, top = attached(main, 1, 32, 8, 8)
    assert [x for x in order(net, "Convolution", "Softmax", "Power", "Crop") if "fc" not in x] == [
        "conv_b_branch2a", "conv_b_branch2b", "b_branch2b_sk_softmax", "b_branch2b_mark", "crop_b_branch2b",
        "conv_b_branch2c",
    ]  # fmt: skip
    assert net["conv_b_branch2b"].tops[0].shape == (1, 32, 8, 8)
    assert top.shape == (1, 64, 4, 4)


@pytest.mark.parametrize(
    ("branch", "wrapped"),
    [
        ("normal", ["conv_b_branch2a"]),
        ("bottleneck", ["conv_b_branch2b"]),
        ("inception_trick", ["conv_b_branch_3by1a", "conv_b_branch_1by3a"]),
        ("inception_trick_bottleneck", ["conv_b_branch_b_3by1", "conv_b_branch_b_1by3"]),
    ],
)
def test_every_branch_has_one_spatial_unit_that_is_wrapped(branch: str, wrapped: list[str]) -> None:
    plain, wide = (
        attached(BRANCHES[branch](name="b", num_output=64, stride=2, around=around), 1, 64, 8, 8)[0]
        for around in ((), (selective_kernel,))
    )
    twice = [
        x.name
        for x in plain.layers
        if x.type == "Convolution" and wide[x.name].params[0].shape[0] == 2 * x.params[0].shape[0]
    ]
    assert twice == wrapped


@pytest.mark.parametrize("branch", BRANCHES)
def test_the_lego_after_units_follows_each_of_them(branch: str) -> None:
    main = BRANCHES[branch](name="b", num_output=64, around=(partial(followed, by=MarkLego),), after=MarkLego)
    net, _ = attached(main, 1, 64, 8, 8)
    marks = order(net, "Power")
    assert len(marks) == (3 if "bottleneck" in branch else 2)
    assert net.layers[-1].name == marks[-1]


@dataclass(frozen=True, kw_only=True)
class OwnBranch(MainBranch):
    """A branch of one's own, of which no unit can be taken out."""


def test_a_branch_without_a_spatial_unit_refuses_wrappers() -> None:
    for fields in ({"around": AROUND}, {"after": MarkLego}):
        with pytest.raises(ConfigError) as refused:
            OwnBranch(name="b", num_output=8, **fields)
        assert str(refused.value) == ("OwnBranch 'b': this branch has no spatial unit to wrap")


def test_attention_after_the_branch_comes_after_the_lego_of_its_last_unit() -> None:
    style = BlockStyle(attention=SELego, after=MarkLego)
    net, _ = attached(BlockLego(name="b", num_output=64, style=style), 1, 64, 8, 8)
    assert net["b_se_pool"].bottoms[0].name == "b_branch2c_mark"


def test_only_the_first_block_has_the_first_shortcut() -> None:
    style = BlockStyle(first_shortcut=partial(PoolProjectionLego, projects=True, after=MarkLego))
    bottoms = [
        attached(BlockLego(name="b", num_output=64, first=first, style=style), 1, 64, 8, 8)[0]["eltwise_b"]
        for first in (True, False)
    ]
    assert [layer.proto.bottom[0] for layer in bottoms] == ["b_proj_shortcut_mark", "data"]


# ---- pooled shortcuts --------------------------------------------------------------------------------------


def shortcut(stride: int, channels: int = 8, **fields: Any) -> list[tuple[str, Any]]:
    """Names and strides of the poolings and convolutions of a shortcut to 8 channels."""
    lego = PoolProjectionLego(name="b", num_output=8, stride=stride, **fields)
    net, top = attached(lego, 1, channels, 8, 8)
    assert top.shape == (1, 8, 8 // stride, 8 // stride)
    seen = []
    for x in net.layers:
        if x.type == "Pooling":
            seen.append((x.name, x.proto.pooling_param.stride))
        elif x.type == "Convolution":
            seen.append((x.name, x.proto.convolution_param.stride[0]))
    return seen


def test_without_a_pool_the_projection_has_the_stride() -> None:
    assert shortcut(2, downsample=None) == [("conv_b_proj_shortcut", 2)]
    assert shortcut(1, downsample=None) == []


def test_the_pool_may_be_another_one() -> None:
    pools = {"downsample": SquareAverageDownLego, "keep": EdgeAverageLego}
    assert shortcut(2, channels=4, **pools) == [("pool_b", 2), ("conv_b_proj_shortcut", 1)]
    assert shortcut(1, channels=4, **pools) == [("pool_b", 1), ("conv_b_proj_shortcut", 1)]


def test_a_shortcut_can_project_where_nothing_changes() -> None:
    assert shortcut(1, projects=True) == [("conv_b_proj_shortcut", 1)]
