"""Assembled ResNets: how they are wired and start, and what the command makes of them."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from netbuilder import Net, counts, prototxt
from netbuilder.cli.main import main
from netbuilder.errors import ConfigError
from netbuilder.networks import PHASES, find_network
from netbuilder.networks.assemble_resnet import PRESETS

SCRIPT = Path(__file__).parents[2] / "app" / "imagenet" / "build_assemble_resnet.py"


def config(**options: Any) -> Any:
    return find_network("assemble_resnet").config(**options)


def stitch(phase: str = "train", **options: Any) -> Net:
    return find_network("assemble_resnet").stitch(config(**options), phase)


# ---- how they are wired ------------------------------------------------------------------------------------


def test_the_blobs_of_assemble_resnet50_have_the_shapes_of_the_official_graph() -> None:
    for size, sides in ((224, (112, 56, 28, 14, 7)), (256, (128, 64, 32, 16, 8))):
        net = stitch(input_size=(size, size))
        a, b, c, d, e = sides
        expected = {
            "relu_1": (64, a), "relu_stem_fusion": (64, b),
            "eltwise_stage0_big_block1": (256, c), "relu_stage0_little_block0": (128, b),
            "conv_stage0_little_expand": (256, b), "relu_stage0_fusion": (256, c),
            "eltwise_stage1_big_block2": (512, d), "relu_stage1_little_block0": (256, c),
            "conv_stage1_little_expand": (512, c), "relu_stage1_fusion": (512, d),
            "eltwise_stage2_big_block4": (1024, e), "relu_stage2_little_block0": (512, d),
            "conv_stage2_little_expand": (1024, d), "relu_stage2_fusion": (1024, d),
            "relu_stage3_block2": (2048, e),
        }  # fmt: skip
        shapes = {name: net[name].tops[0].known_shape for name in expected}
        assert {name: (s[1], s[2]) for name, s in shapes.items()} == expected
        assert all(s[2] == s[3] for s in shapes.values())


def test_the_last_block_of_a_big_branch_has_no_relu_after_its_sum() -> None:
    net = stitch()
    missing = [
        x.name for x in net.layers if x.name.startswith("eltwise_") and f"relu_{x.name[8:]}" not in net
    ]
    assert missing == [f"eltwise_stage{s}_big_block{k}" for s, k in ((0, 1), (1, 2), (2, 4))]


def projections(net: Net) -> list[str]:
    return [x.name.removeprefix("conv_").removesuffix("_proj_shortcut") for x in net.layers
            if x.type == "Convolution" and x.name.endswith("_proj_shortcut")]  # fmt: skip


def test_the_first_block_of_every_branch_and_stage_projects_and_no_other() -> None:
    modules = [f"stage{s}_{part}" for s in range(3) for part in ("big_block0", "little_block0", "fusion")]
    assert projections(stitch()) == [*modules, "stage3_block0"]
    assert projections(stitch(preset="resnet50")) == [f"stage{s}_block0" for s in range(4)]


def blurred_blocks(net: Net) -> list[str]:
    return [x.name.removeprefix("blur2_") for x in net.layers if x.name.startswith("blur2_")]


def test_six_places_are_blurred_after_their_selection() -> None:
    net = stitch()
    blocks = [
        "stage0_big_block0", "stage0_fusion", "stage1_big_block0", "stage1_fusion", "stage2_big_block0",
        "stage3_block0",
    ]  # fmt: skip
    assert blurred_blocks(net) == [f"{block}_branch2b" for block in blocks]
    for block in blocks:
        assert net[f"rows_{block}_branch2b"].bottoms[0].layer.name == f"{block}_branch2b_sk"
        assert net[f"conv_{block}_branch2c"].bottoms[0].layer.name == f"blur2_{block}_branch2b"


def test_a_blur_can_stand_before_the_shortcuts_1x1_as_well_or_instead() -> None:
    places = {
        where: blurred_blocks(stitch(preset="resnet50_aa", antialias_in=where))
        for where in ("main", "shortcut", "both")
    }
    assert places == {
        "main": [f"stage{s}_block0_branch2b" for s in (1, 2, 3)],
        "shortcut": [f"stage{s}_block0" for s in (1, 2, 3)],
        "both": [f"stage{s}_block0{part}" for s in (1, 2, 3) for part in ("", "_branch2b")],
    }
    net = stitch(preset="resnet50_aa", antialias_in="both")
    assert net["conv_stage1_block0_proj_shortcut"].bottoms[0].layer.name == "blur2_stage1_block0"
    cost = counts.count(stitch(preset="resnet50_aa", antialias_in="shortcut"))
    # Only stride 1 in the 3x3 costs: the shortcuts' convolutions see as many pixels as before.
    assert (cost.learnable_params, cost.macs) == (25_557_032, 4_089_184_256)


def averages(net: Net) -> dict[str, tuple[int, int]]:
    """Kernel and stride of the average before each projection."""
    found = {}
    for block in projections(net):
        layer = net[f"conv_{block}_proj_shortcut"].bottoms[0].layer
        if layer.name == f"crop_{block}":
            layer = net[f"pool_{block}"]
        if layer.name == f"pool_{block}":
            p = layer.proto.pooling_param
            found[block] = (p.kernel_size, p.stride)
    return found


def test_resnet_d_averages_2x2_in_every_projection_also_where_the_stride_is_1() -> None:
    net = stitch(preset="resnet50_d")
    assert averages(net) == {"stage0_block0": (2, 1), **{f"stage{s}_block0": (2, 2) for s in (1, 2, 3)}}
    assert "pad_rows_stage0_block0" in net
    usual = stitch(preset="resnet50_d", average_stride1=False)
    assert averages(usual) == {f"stage{s}_block0": (2, 2) for s in (1, 2, 3)}
    assert len(net) - len(usual) == 5


def test_big_little_averages_3x3_and_resnet_d_with_it_changes_the_last_stage_only() -> None:
    strided = [f"stage{s}_{part}" for s, part in ((0, "big_block0"), (0, "fusion"), (1, "big_block0"))]
    strided += ["stage1_fusion", "stage2_big_block0"]
    assert averages(stitch()) == {**dict.fromkeys(strided, (3, 2)), "stage3_block0": (3, 2)}
    assert averages(stitch(resnet_d=True)) == {**dict.fromkeys(strided, (3, 2)), "stage3_block0": (2, 2)}


def test_se_follows_the_main_branch_without_biases() -> None:
    net = stitch(preset="resnet50_se")
    assert net["stage0_block0_se_pool"].bottoms[0].layer.name == "scale_stage0_block0_branch2c"
    assert list(net["eltwise_stage0_block0"].proto.bottom) == [
        "conv_stage0_block0_proj_shortcut",
        "stage0_block0_se",
    ]
    assert [len(net[f"stage3_block2_se_fc{i}"].params) for i in (1, 2)] == [1, 1]
    assert net["stage3_block2_se_fc1"].params[0].shape == (128, 2048)


def dropped(net: Net) -> list[str]:
    return [x.name.removesuffix("_drop") for x in net.layers if x.name.endswith("_drop")]


def test_dropblock_stands_in_the_last_two_stages_of_the_train_net() -> None:
    options: dict[str, Any] = {"dropblock": 0.9, "num_output_stage1": 64}
    net = stitch(**options)
    blocks = [
        *(f"stage2_big_block{k}" for k in range(5)), "stage2_little_block0", "stage2_fusion",
        *(f"stage3_block{k}" for k in range(3)),
    ]  # fmt: skip
    expected = []
    for block in blocks:
        parts = ["branch2a", "branch2b", "branch2c"]
        expected += [
            f"{block}_{p}" for p in (["proj_shortcut", *parts] if block in projections(net) else parts)
        ]
    assert dropped(net) == expected
    # Before the blur, behind the selection.
    layer = net["stage3_block0_branch2b_drop"]
    assert layer.bottoms[0].layer.name == "stage3_block0_branch2b_sk"
    assert net["rows_stage3_block0_branch2b"].bottoms[0].layer is layer
    for phase in ("test", "deploy"):
        assert dropped(stitch(phase, **options)) == []
    cost, plain = counts.count(net), counts.count(stitch(num_output_stage1=64))
    assert (cost.learnable_params, cost.macs) == (plain.learnable_params, plain.macs)


def test_a_quarter_as_many_squares_fall_in_the_stage_before_the_last() -> None:
    net = stitch(dropblock=0.9, num_output_stage1=64)
    thresholds = [1 - net[f"{block}_branch2a_drop_seeds"].proto.threshold_param.threshold
                  for block in ("stage2_little_block0", "stage3_block1")]  # fmt: skip
    # 14x14 pixels and 8x8 places; 7x7 pixels and one place.
    assert thresholds == pytest.approx([0.25 * 0.1 * 196 / 49 / 64, 0.1], rel=1e-4)


def test_a_driven_dropblock_keeps_gamma_in_a_frozen_bias() -> None:
    net = stitch(dropblock=0.9, dropblock_driven=True, num_output_stage1=64)
    layer = net["stage3_block1_branch2a_drop_gamma"]
    assert layer.proto.bias_param.filler.value == pytest.approx(0.1 - 1)
    assert [p.lr_mult for p in layer.proto.param] == [0]
    assert net["stage3_block1_branch2a_drop_seeds"].proto.threshold_param.threshold == 0


@pytest.mark.parametrize("branch", ["inception_trick_bottleneck", "normal", "inception_trick"])
def test_other_main_branches_take_the_same_elements(branch: str) -> None:
    options = {"main_branch": branch, "num_output_stage1": 32, "input_size": (64, 64), "classes": 10}
    for phase in PHASES:
        net = stitch(phase, **options)
        kinds = Counter(x.type for x in net.layers)
        # One Softmax for each of 4 + 5 + 7 + 3 blocks, and the last one of deploy.
        assert kinds["Softmax"] == 19 + (phase == "deploy")
        assert len([x for x in net.layers if x.name.startswith("blur2_")]) == 6


# ---- how they start ----------------------------------------------------------------------------------------


def test_the_last_gamma_of_every_block_starts_at_0_and_no_other() -> None:
    zeros = {x.name for x in stitch().layers if x.type == "Scale" and x.proto.scale_param.HasField("filler")}
    blocks = [x.name.removeprefix("eltwise_") for x in stitch().layers if x.name.startswith("eltwise_")]
    sums = {"stem", "stage0", "stage1", "stage2"}  # of branches, not of a block
    assert zeros == {f"scale_{block}_branch2c" for block in blocks if block not in sums}
    assert not any(x.proto.scale_param.HasField("filler") for x in stitch(zero_gamma=False).layers)


@pytest.mark.parametrize("preset", ["assemble_resnet50", "resnet50_d_se"])
def test_weights_start_and_decay_as_in_the_official_code(preset: str) -> None:
    for layer in stitch(preset=preset, pooling="depthwise").layers:
        fixed = any(p.fixed_filter for p in layer.params)
        written = [(p.lr_mult, p.decay_mult) for p in layer.proto.param]
        if layer.type == "Convolution" and not fixed:
            p = layer.proto.convolution_param
            assert (p.weight_filler.type, p.weight_filler.variance_norm) == ("xavier", p.weight_filler.FAN_IN)
            assert not p.bias_term
            assert written in ([], [(1, 1)])
        elif layer.type == "InnerProduct":
            filler = layer.proto.inner_product_param.weight_filler
            norm = "AVERAGE" if layer.name == "fc1000" else "FAN_IN"
            assert (filler.type, filler.variance_norm) == ("xavier", filler.VarianceNorm.Value(norm))
            assert written == [(1, 1)] * (2 if layer.name == "fc1000" else 1)
        elif layer.type == "BatchNorm":
            assert layer.proto.batch_norm_param.moving_average_fraction == pytest.approx(0.997)
            assert layer.proto.batch_norm_param.eps == pytest.approx(1e-5)
        elif layer.type == "Scale":
            assert written == ([(1, 0)] * 2 if layer.params else [])


def test_gammas_and_betas_can_be_decayed_like_the_rest() -> None:
    scales = [x for x in stitch(decay_scale=True).layers if x.type == "Scale"]
    assert not any(x.proto.param for x in scales)


def test_nothing_but_the_dialects_own_fields_is_written() -> None:
    for options in ({}, {"antialias": "zero"}, {"resnet_d": True}):
        assert "round_mode" not in prototxt.dumps(stitch(**options))
    assert "round_mode: FLOOR" in prototxt.dumps(stitch(antialias="zero", dialect="caffe-master"))


# ---- the command -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "title"),
    [
        ({}, "assemble_resnet50"),
        ({"preset": "assemble_resnet152"}, "assemble_resnet152"),
        ({"preset": "resnet50"}, "resnet50"),
        ({"preset": "resnet50_d", "attention": "sk"}, "resnet50_d_sk"),
        ({"depth": "101"}, "resnet101_bl_a2_b4_sk_aa"),
        ({"resnet_d": True}, "resnet50_d_bl_a2_b4_sk_aa"),
        ({"no_downsample": True}, "resnet50_bl_a2_b4_sk_aa_no_downsample"),
        ({"big_little": False, "attention": "sk_se"}, "resnet50_sk_se_aa"),
        ({"preset": "resnet50", "num_output_stage1": 128}, "resnet50_n128"),
        ({"main_branch": "inception_trick_bottleneck"}, "resnet50_bl_a2_b4_sk_aa_inception_trick_bottleneck"),
    ],
)
def test_the_net_is_called_by_what_it_is_made_of(options: dict[str, Any], title: str) -> None:
    assert config(**options).title == title


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_called_by_its_own_name_as_far_as_it_goes(preset: str) -> None:
    title = config(preset=preset).title
    assert title == preset.replace("_bl", "_bl_a2_b4")


MISTAKES: list[tuple[dict[str, Any], str, str, str]] = [
    (
        {"preset": "assemble_resnet51"}, "preset",
        f"preset must be one of {', '.join(PRESETS)}, got 'assemble_resnet51'",
        "did you mean 'assemble_resnet50'?",
    ),
    (
        {"depth": "200"}, "depth", "depth 200 has no Big-Little version: the depths are 50, 101, 152",
        "use --no-big_little, or another depth",
    ),
    ({"depth": "34"}, "depth", "depth must be one of 50, 101, 152, got '34'", ""),
    (
        {"attention": "skk"}, "attention", "attention must be one of none, se, sk, sk_se, got 'skk'",
        "did you mean 'sk'?",
    ),
    (
        {"antialias": "mirror"}, "antialias",
        "antialias must be one of none, reflect, zero, depthwise, got 'mirror'", "",
    ),
    ({"antialias_size": 8}, "antialias_size", "antialias_size must be 2 to 7, got 8", ""),
    (
        {"stride_in": "1x1"}, "antialias",
        "antialias needs the stride in the 3x3: with stride_in 1x1 half of the pixels are gone before it",
        "give stride_in 3x3",
    ),
    (
        {"antialias_in": "both"}, "antialias_in",
        "antialias_in both: the shortcuts of big_little are averaged already, and the official code does "
        "not blur them",
        "remove antialias_in",
    ),
    (
        {"preset": "resnet50", "alpha": 2}, "alpha", "alpha needs big_little",
        "use --big_little, or remove alpha",
    ),
    (
        {"alpha": 3}, "alpha", "alpha 3 does not divide the stem's width 64",
        "give a power of 2, such as 1, 2 or 4",
    ),
    (
        {"input_size": (225, 224)}, "input_size",
        "input_size must be a multiple of 32 in height and width, got 225x224: on odd maps the official "
        "code's paddings differ from Caffe's", "",
    ),
    (
        {"pooling": "floor"}, "pooling", "pooling floor needs round_mode, which dialect caffe-1.0 lacks",
        "leave pooling out, or take dialect caffe-master or caffe-cudnn",
    ),
    (
        {"dropblock_driven": True}, "dropblock_driven",
        "dropblock_driven needs dropblock, the initial probability",
        "use dropblock 1 to start without dropping",
    ),
    (
        {"num_output_stage1": 30, "big_little": False, "antialias": "none"}, "num_output_stage1",
        "num_output_stage1 must be a multiple of 4, got 30", "",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("options", "key", "text", "hint"), MISTAKES, ids=[str(m[0]) for m in MISTAKES])
def test_a_mistake_is_reported_with_its_remedy(
    options: dict[str, Any], key: str, text: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        config(**options)
    assert str(refused.value) == text + (f"\n  hint:    {hint}" if hint else "")
    assert refused.value.key == key


def test_dropblock_on_maps_smaller_than_its_squares_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code = main(
        ["build", "assemble_resnet", "--dropblock", "0.9", "--input_size", "128", "-o", str(tmp_path)]
    )
    assert code == 2
    assert capsys.readouterr().err == (
        "ConfigError: DropBlockLego 'stage2_big_block0_proj_shortcut': a square of 7x7 pixels does not fit "
        "into 4x4\n"
        "  hint:    use a larger input_size, or remove DropBlock\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("word", ["0", "1.5"])
def test_a_wrong_probability_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, word: str
) -> None:
    assert main(["build", "assemble_resnet", "--dropblock", word, "-o", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"ConfigError: dropblock must be a number above 0 and at most 1, got {word}\n"
    )


def test_the_verb_and_the_script_write_and_print_the_same(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    flags = ["--preset", "resnet50_d", "--attention", "sk", "--antialias", "zero", "-n", "64"]
    assert main(["build", "assemble_resnet", *flags, "-o", str(tmp_path / "verb")]) == 0
    printed = capsys.readouterr().out
    ran = subprocess.run(
        [sys.executable, SCRIPT, *flags, "-o", tmp_path / "script"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == printed
    files = {p.name: p.read_bytes() for p in (tmp_path / "verb").iterdir()}
    assert sorted(files) == ["deploy.prototxt", "test.prototxt", "train.prototxt"]
    assert files == {p.name: p.read_bytes() for p in (tmp_path / "script").iterdir()}


def test_the_header_says_what_the_preset_stands_for(tmp_path: Path) -> None:
    main(["build", "assemble_resnet", "-n", "64", "-o", str(tmp_path)])
    lines = (tmp_path / "train.prototxt").read_text(encoding="utf-8").splitlines()
    assert {
        "#   preset: assemble_resnet50", "#   depth: 50", "#   resnet_d: false", "#   big_little: true",
        "#   alpha: 2", "#   beta: 4", "#   attention: sk", "#   antialias: reflect",
    } <= set(lines)  # fmt: skip
