"""Elements of other nets as options of ResNet and the Big-Little nets: SK, SE, blurs, ResNet-D."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from netbuilder import Net, counts, prototxt
from netbuilder.engines.caffe import Caffe
from netbuilder.errors import ConfigError
from netbuilder.networks import PHASES, find_network

RESNET_50 = {"main_branch": "bottleneck", "num_output_stage1": 256, "stride_in": "3x3"}


def config(network: str, **options: Any) -> Any:
    return find_network(network).config(**options)


def stitch(network: str, phase: str = "train", **options: Any) -> Net:
    return find_network(network).stitch(config(network, **options), phase)


def figures(network: str, **options: Any) -> tuple[int, int | float]:
    cost = counts.count(stitch(network, **options))
    return cost.learnable_params, cost.macs


# Of the official graph of Assembled-CNN, but for R50+SE, which is timm's seresnet50 (with biases).
PUBLISHED: list[tuple[dict[str, Any], int]] = [
    ({}, 25_557_032),
    ({"stem": "deep", "shortcut_average": "2x2"}, 25_576_264),
    ({"attention": "sk"}, 38_771_816),
    ({"attention": "se"}, 28_088_024),
    ({"antialias": "reflect"}, 25_557_032),
]


@pytest.mark.parametrize(("options", "params"), PUBLISHED, ids=str)
def test_resnet_50_with_an_element_has_as_many_params_as_the_published_net(
    options: dict[str, Any], params: int
) -> None:
    assert figures("resnet", **RESNET_50, **options)[0] == params


@pytest.mark.parametrize(
    ("preset", "options"),
    [
        ("resnet50_d_sk", {"stem": "deep", "shortcut_average": "2x2", "attention": "sk"}),
        ("resnet50_aa", {"antialias": "zero"}),
    ],
)
def test_resnet_with_elements_costs_what_the_assembled_net_does(preset: str, options: dict[str, Any]) -> None:
    assert figures("resnet", **RESNET_50, **options) == figures("assemble_resnet", preset=preset)


def extra_of_sk(widths: list[tuple[int, int]]) -> int:
    """Extra params for blocks of these (count, inner width): 9f^2 + 2f + 3fd + 2d, d = max(f/2, 32)."""
    return sum(
        count * (9 * f**2 + 2 * f + 3 * f * max(f // 2, 32) + 2 * max(f // 2, 32)) for count, f in widths
    )


def test_selective_kernels_in_a_big_little_net_cost_what_they_should() -> None:
    # Big branches and fusions: 3, 4, 6 blocks; little ones: one each, at half of the width; last stage: 3.
    widths = [(3, 64), (4, 128), (6, 256), (3, 512), (1, 32), (1, 64), (1, 128)]
    assert figures("bl_resnet", attention="sk")[0] == 26_694_568 + extra_of_sk(widths)


def test_blurs_in_a_big_little_net_cost_macs_only() -> None:
    # The 3x3 of the five modules' blocks of stride 2 and of the last stage sees four times the pixels.
    pixels = [(64, 28), (64, 28), (128, 14), (128, 14), (256, 7), (512, 7)]
    more = sum(3 * 9 * width**2 * side**2 for width, side in pixels)
    # Fusion of stage 0 halves 56 to 28 with 64 channels inside, as its big branch does, and so on.
    assert figures("bl_resnet", antialias="zero") == (26_694_568, 2_856_058_880 + more)


def test_the_deep_stem_of_a_big_little_net_has_three_units_before_its_branches() -> None:
    net = stitch("bl_resnet", stem="deep")
    assert net["conv_stem_big"].bottoms[0].layer.name == "relu_1c"
    assert figures("bl_resnet", stem="deep")[0] - 26_694_568 == 41_865_672 - 41_846_440


def test_grouped_blocks_select_between_grouped_convolutions() -> None:
    net = stitch("bl_resnet", family="resnext", attention="sk", num_output_stage1=256)
    layer = net["conv_stage0_big_block0_branch2b"]
    assert (layer.params[0].shape, layer.proto.convolution_param.group) == ((256, 4, 3, 3), 32)


@pytest.mark.parametrize("network", ["resnet", "bl_resnet"])
def test_gates_are_concat_in_the_deploy_net_and_scale_in_the_others(network: str) -> None:
    options = RESNET_50 if network == "resnet" else {}
    for phase in PHASES:
        types = Counter(
            x.type for x in stitch(network, phase, **options, attention="sk") if x.name.endswith("_weigh")
        )
        assert set(types) == {"Eltwise" if phase == "deploy" else "Scale"}


def test_elements_that_are_off_leave_the_net_as_it_is() -> None:
    off = {"attention": "none", "antialias": "none", "stem": "7x7", "shortcut_average": "none"}
    for phase in PHASES:
        plain, given = (stitch("resnet", phase, **RESNET_50, **options) for options in ({}, off))
        assert prototxt.dumps(plain) == prototxt.dumps(given)


@pytest.mark.parametrize(
    ("network", "options", "title"),
    [
        ("resnet", {**RESNET_50, "attention": "sk", "antialias": "zero"}, "resnet_50_sk_aa"),
        ("resnet", {**RESNET_50, "stem": "deep", "shortcut_average": "2x2"}, "resnet_50_deep_average2x2"),
        ("bl_resnet", {"attention": "sk", "stem": "deep"}, "bl_resnet_50_a2_b4_deep_sk"),
        ("bl_resnet", {"family": "seresnext", "attention": "se"}, "bl_seresnext_50_32x4d_a2_b4"),
        ("bl_resnet", {"family": "seresnext", "attention": "sk_se"}, "bl_seresnext_50_32x4d_a2_b4_sk_se"),
    ],
)
def test_elements_are_part_of_the_nets_name(network: str, options: dict[str, Any], title: str) -> None:
    assert config(network, **options).title == title


MISTAKES: list[tuple[str, dict[str, Any], str]] = [
    (
        "resnet", {"main_branch": "bottleneck", "num_output_stage1": 256, "antialias": "zero"},
        "antialias needs the stride in the 3x3: with stride_in 1x1 half of the pixels are gone before it\n"
        "  hint:    give stride_in 3x3",
    ),
    (
        "resnet", {**RESNET_50, "stem": "3x3"},
        "stem must be one of 7x7, deep, got '3x3'",
    ),
    (
        "resnet", {**RESNET_50, "shortcut_average": "2"},
        "shortcut_average must be one of none, 2x2, 3x3, got '2'",
    ),
    (
        "bl_resnet", {"family": "seresnext", "attention": "sk"},
        "family seresnext has squeeze-and-excitation, attention sk has not\n"
        "  hint:    use family resnet or resnext, or remove attention",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("network", "options", "text"), MISTAKES, ids=[m[2].split(":")[0][:40] for m in MISTAKES]
)
def test_a_mistake_is_reported_with_its_remedy(network: str, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config(network, **options)
    assert str(refused.value) == text


LOADED = [
    (
        "resnet",
        {**RESNET_50, "attention": "sk_se", "antialias": "zero", "stem": "deep", "shortcut_average": "2x2"},
    ),
    ("resnet", {"main_branch": "normal", "num_output_stage1": 64, "attention": "sk", "antialias": "zero"}),
    ("resnet", {"main_branch": "inception_trick", "num_output_stage1": 64, "antialias": "reflect"}),
    ("resnet", {**RESNET_50, "shortcut_average": "3x3", "input_size": (97, 65), "antialias": "reflect"}),
    ("bl_resnet", {"attention": "sk", "antialias": "reflect", "stem": "deep"}),
    ("bl_resnet", {"family": "seresnext", "attention": "sk_se", "antialias": "zero", "input_size": (97, 65)}),
    ("bl_resnet", {"main_branch": "inception_trick_bottleneck", "attention": "se", "antialias": "depthwise"}),
]  # fmt: skip


@pytest.mark.parametrize(("network", "options"), LOADED, ids=[str(n) for n in range(len(LOADED))])
def test_real_caffe_loads_them_with_our_shapes(
    real_caffe: Caffe, network: str, options: dict[str, Any]
) -> None:
    for phase in ("train", "deploy"):
        net = stitch(network, phase, **{"input_size": (64, 64), **options})
        loaded = real_caffe.load(prototxt.dumps(net), phase=net.phase)
        assert [(x.name, x.top_shapes, x.params) for x in loaded.layers_as_written()] == [
            (x.name, tuple(t.shape for t in x.tops), tuple(p.shape for p in x.params)) for x in net.layers
        ]
