"""Big-Little nets: what they cost, how they start, and what the command makes of them."""

from __future__ import annotations

import csv
import functools
import json
import math
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netbuilder import Net, __version__, counts, prototxt, report
from netbuilder.engines.caffe import Caffe
from netbuilder.errors import ConfigError
from netbuilder.networks import PHASES, find_network
from tests.command import Command, Ran

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "app" / "imagenet" / "build_bl_resnet.py"
FILES = ["deploy.prototxt", "test.prototxt", "train.prototxt"]

Row = dict[str, str]


def table() -> dict[str, Row]:
    text = (ROOT / "tests" / "ground_truth" / "bl_counts.csv").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {row["name"]: row for row in csv.DictReader(lines)}


NETS = table()
each_net = pytest.mark.parametrize("name", NETS)


def stitch(phase: str = "train", **options: Any) -> Net:
    entry = find_network("bl_resnet")
    return entry.stitch(entry.config(**options), phase)


@functools.cache  # several tests look at the same large nets
def counted(name: str, phase: str = "train") -> tuple[Net, counts.Counts]:
    row = NETS[name]
    numbers = {key: int(row[key]) for key in ("cardinality", "base_width") if row[key]}
    net = stitch(phase, family=row["family"], depth=row["depth"], **numbers)
    return net, counts.count(net)


# ---- what they cost ----------------------------------------------------------------------------------------


def is_fixed(layer: Any) -> bool:
    return any(p.fixed_filter for p in layer.params)


@each_net
@pytest.mark.parametrize("phase", ["train", "deploy"])
def test_a_net_counts_exactly_as_the_official_code(name: str, phase: str) -> None:
    net, cost = counted(name, phase)
    types = Counter(layer.type for layer in net.layers)
    weights = [p for x in net.layers if not is_fixed(x) for p in x.params if p.role == "weight"]
    figures = {
        "learnable": cost.learnable_params,
        # Gammas are weights of Scale layers, of one axis.
        "weights": sum(p.size for p in weights if len(p.shape) > 1),
        "macs": cost.macs,
        # Squeeze-and-excitation is made of InnerProducts here; the last one is fc.
        "convolutions": types["Convolution"] + types["InnerProduct"] - 1,
        "batchnorms": types["BatchNorm"],
        "params": cost.pynetbuilder_params,
        "flops": cost.pynetbuilder_flops,
    }
    assert figures == {key: int(NETS[name][key]) for key in figures}
    assert cost.uncounted == ()


@each_net
def test_the_parts_of_a_net_cost_what_those_of_the_official_code_do(name: str) -> None:
    net, _ = counted(name)
    sums: dict[str, int] = defaultdict(int)
    for layer in net.layers:
        if layer.macs and not is_fixed(layer):
            scope = layer.origin.scope[0]
            part = "conv_1" if layer.name == "conv_1" else "fc" if scope == "head" else scope
            sums[part] += layer.macs
    parts = ("conv_1", "stem", "stage0", "stage1", "stage2", "stage3", "fc")
    assert {part: f"{macs / 1e6:.3f}" for part, macs in sums.items()} == {p: NETS[name][p] for p in parts}


@each_net
def test_the_filters_of_upsampling_are_listed_apart(name: str) -> None:
    _, cost = counted(name)
    # Four weights for each channel that is enlarged, and one product for each pixel that comes out.
    assert cost.fixed_params == 4 * (256 + 512 + 1024) == 7168
    assert cost.fixed_macs == 256 * 56**2 + 512 * 28**2 + 1024 * 14**2
    rows = [line.split()[:3] for line in report.totals_table(cost).splitlines()]
    assert ["fixed", "params", "7,168"] in rows


def test_depthwise_pooling_adds_nine_fixed_weights_for_each_channel_it_halves() -> None:
    cost = counts.count(stitch(pooling="depthwise"))
    first_of_big, fusion, last_stage = (64, 256, 512), (256, 512), (1024,)
    assert cost.fixed_params == 7168 + 9 * sum((*first_of_big, *fusion, *last_stage))
    assert cost.learnable_params == 26_694_568
    assert cost.macs == 2_856_058_880
    assert (cost.pynetbuilder_params, cost.pynetbuilder_flops) == (26_693_568, 2_856_119_040)


@pytest.mark.parametrize("options", [{"upsample": "bilinear"}, {"pooling": "crop"}])
def test_helpers_of_other_forms_do_not_change_what_is_learnt(options: dict[str, str]) -> None:
    cost = counts.count(stitch(**options))
    assert (cost.learnable_params, cost.macs) == (26_694_568, 2_856_058_880)
    assert cost.fixed_params == (16 if "upsample" in options else 4) * (256 + 512 + 1024)


@dataclass
class ByHand:
    """The official code's nets as sums over their convolutions, for any alpha, beta and image."""

    alpha: int
    beta: int
    cardinality: int = 1
    base_width: int = 64
    excites: bool = False
    learnable: int = 0
    macs: int = 0

    def conv(self, inputs: int, outputs: int, kernel: int, area: int, groups: int = 1) -> int:
        weights = outputs * (inputs // groups) * kernel**2
        self.learnable += weights + 2 * outputs
        self.macs += weights * area
        return outputs

    def block(self, inputs: int, outputs: int, size: Any, stride: int = 1, divisor: int = 1) -> Any:
        after = tuple(-(-n // stride) for n in size)
        width = outputs // divisor
        groups, inner = 1, width // 4
        if self.cardinality > 1:
            groups = self.cardinality // divisor
            inner = groups * (width * self.base_width * divisor // 64 // 4)
        self.conv(inputs, inner, 1, math.prod(size))
        self.conv(inner, inner, 3, math.prod(after), groups)
        self.conv(inner, width, 1, math.prod(after))
        if inputs != width:
            self.conv(inputs, width, 1, math.prod(after))
        if self.excites:
            self.learnable += 2 * width * (width // 16) + width // 16 + width
            self.macs += 2 * width * (width // 16)
        return after

    def count(self, blocks: tuple[int, ...], size: tuple[int, int]) -> tuple[int, int]:
        half = tuple(-(-n // 2) for n in size)
        quarter: Any = tuple(-(-n // 2) for n in half)
        full, part = math.prod(half), math.prod(quarter)
        self.conv(3, 64, 7, full)
        self.conv(64, 64, 3, part)
        narrow = 64 // self.alpha
        self.conv(64, narrow, 3, full)
        self.conv(narrow, narrow, 3, part)
        self.conv(narrow, 64, 1, part)
        self.conv(64, 64, 1, part)
        size, inputs = quarter, 64
        for stage, width in enumerate((256, 512, 1024)):
            small, channels = size, inputs
            for k in range(blocks[stage] - 1):
                small, channels = self.block(channels, width, small, 1 if k else 2), width
            channels = inputs
            for _ in range(max(1, blocks[stage] // self.beta - 1)):
                self.block(channels, width, size, divisor=self.alpha)
                channels = width // self.alpha
            self.conv(channels, width, 1, math.prod(size))
            size, inputs = self.block(width, width, size, 2 if stage < 2 else 1), width
        for k in range(blocks[3]):
            size, inputs = self.block(inputs, 2048, size, 1 if k else 2), 2048
        return self.learnable + 2048 * 1000 + 1000, self.macs + 2048 * 1000


BLOCKS = {"50": (3, 4, 6, 3), "101": (4, 8, 18, 3), "152": (5, 12, 30, 3)}


@each_net
def test_the_sums_by_hand_are_those_of_the_official_code(name: str) -> None:
    row = NETS[name]
    groups = {"cardinality": int(row["cardinality"] or 1), "base_width": int(row["base_width"] or 64)}
    by_hand = ByHand(2, 4, **groups, excites=row["family"] == "seresnext")
    expected = int(row["learnable"]), int(row["macs"])
    assert by_hand.count(BLOCKS[row["depth"]], (224, 224)) == expected


ALPHA_BETA = [("resnet", alpha, beta) for alpha in (1, 2, 4) for beta in (1, 2, 4)]
ALPHA_BETA += [(f, alpha, beta) for f in ("resnext", "seresnext") for alpha, beta in ((1, 4), (4, 1), (4, 4))]


@pytest.mark.parametrize(("family", "alpha", "beta"), ALPHA_BETA)
def test_every_alpha_and_beta_builds_in_all_phases_and_costs_what_it_should(
    family: str, alpha: int, beta: int
) -> None:
    size = (225, 160)
    groups = {} if family == "resnet" else {"cardinality": 32, "base_width": 4}
    expected = ByHand(alpha, beta, **groups, excites=family == "seresnext").count(BLOCKS["50"], size)
    nets = [stitch(p, family=family, alpha=alpha, beta=beta, input_size=size) for p in PHASES]
    for net in nets[:: len(nets) - 1]:  # train and test differ in the accuracy alone
        cost = counts.count(net)
        assert (cost.learnable_params, cost.macs) == expected


@pytest.mark.parametrize("depth", ["101", "152"])
@pytest.mark.parametrize(("alpha", "beta"), [(1, 1), (4, 2)])
def test_other_depths_cost_what_they_should(depth: str, alpha: int, beta: int) -> None:
    cost = counts.count(stitch(depth=depth, alpha=alpha, beta=beta))
    assert (cost.learnable_params, cost.macs) == ByHand(alpha, beta).count(BLOCKS[depth], (224, 224))


def test_beta_8_is_beta_4_at_depth_50_since_each_little_branch_has_one_block_left() -> None:
    nets = [stitch("deploy", beta=beta) for beta in (4, 8)]
    assert [x.proto for x in nets[0].layers] == [x.proto for x in nets[1].layers]


# Output shapes of the parts at 224x224: big, little, sum, fusion of each stage.
SHAPES = {
    "stem": [(64, 56, 56)],
    "stage0": [(256, 28, 28), (128, 56, 56), (256, 56, 56), (256, 28, 28)],
    "stage1": [(512, 14, 14), (256, 28, 28), (512, 28, 28), (512, 14, 14)],
    "stage2": [(1024, 7, 7), (512, 14, 14), (1024, 14, 14), (1024, 14, 14)],
    "stage3": [(2048, 7, 7)],
}


@each_net
def test_the_blobs_have_the_shapes_of_the_official_code(name: str) -> None:
    net, _ = counted(name, "deploy")
    blocks = BLOCKS[NETS[name]["depth"]]

    def shape(layer: str) -> tuple[int, ...]:
        return net[layer].tops[0].known_shape[1:]

    shapes = {"stem": [shape("relu_stem_fusion")]}
    for stage in range(3):
        little = max(1, blocks[stage] // 4 - 1) - 1
        shapes[f"stage{stage}"] = [
            shape(f"eltwise_stage{stage}_big_block{blocks[stage] - 2}"),
            shape(f"relu_stage{stage}_little_block{little}"),
            shape(f"relu_stage{stage}"),
            shape(f"relu_stage{stage}_fusion"),
        ]
    shapes["stage3"] = [shape("relu_stage3_block2")]
    assert shapes == SHAPES
    # The last block of each big branch has no ReLU of its own.
    assert not any(f"relu_stage{s}_big_block{blocks[s] - 2}" in net for s in range(3))


# ---- how they start ----------------------------------------------------------------------------------------


def blocks_of(depth: str, little: tuple[int, ...]) -> list[str]:
    """The names of all residual blocks, given the number of little blocks of each stage."""
    counted_blocks = BLOCKS[depth]
    names = []
    for stage in range(3):
        names += [f"stage{stage}_big_block{k}" for k in range(counted_blocks[stage] - 1)]
        names += [f"stage{stage}_little_block{k}" for k in range(little[stage])]
        names.append(f"stage{stage}_fusion")
    return names + [f"stage3_block{k}" for k in range(counted_blocks[3])]


def zero_gammas(net: Net) -> list[str]:
    """The Scales of one bottom that start at 0; all others start at Caffe's own default, 1."""
    zeros = []
    for layer in net.layers:
        if layer.type == "Scale" and len(layer.bottoms) == 1 and layer.proto.scale_param.HasField("filler"):
            filler = layer.proto.scale_param.filler
            assert (filler.type, filler.value) == ("constant", 0), layer.name
            zeros.append(layer.name)
    return zeros


@pytest.mark.parametrize("family", ["resnet", "resnext", "seresnext"])
@pytest.mark.parametrize(("depth", "little"), [("50", (1, 1, 1)), ("101", (1, 1, 3)), ("152", (1, 2, 6))])
def test_the_last_gamma_of_every_residual_block_starts_at_0_and_no_other(
    family: str, depth: str, little: tuple[int, ...]
) -> None:
    expected = [f"scale_{block}_branch2c" for block in blocks_of(depth, little)]
    net = stitch(family=family, depth=depth)
    assert Counter(zero_gammas(net)) == Counter(expected)


@pytest.mark.parametrize("phase", PHASES)
def test_zero_gamma_can_be_switched_off(phase: str) -> None:
    assert zero_gammas(stitch(phase, zero_gamma=False)) == []


@pytest.mark.parametrize(
    ("branch", "last"),
    [("normal", "branch2b"), ("inception_trick_bottleneck", "branch2c"), ("inception_trick", None)],
)
def test_other_main_branches_start_at_0_unless_a_relu_follows(branch: str, last: str | None) -> None:
    expected = [f"scale_{block}_{last}" for block in blocks_of("50", (1, 1, 1))] if last else []
    assert Counter(zero_gammas(stitch(main_branch=branch))) == Counter(expected)


@pytest.mark.parametrize("family", ["resnet", "resnext", "seresnext"])
def test_convolutions_start_by_fan_out_and_fc_as_pytorch_does(family: str) -> None:
    for layer in stitch(family=family).layers:
        if layer.type == "Convolution" or "_se_fc" in layer.name:
            p = getattr(layer.proto, f"{layer.type.lower()}_param".replace("innerp", "inner_p"))
            assert (p.weight_filler.type, p.weight_filler.variance_norm) == ("msra", p.weight_filler.FAN_OUT)
            assert p.bias_term == (layer.type == "InnerProduct")
            assert (p.bias_filler.type, p.bias_filler.value) == ("constant", 0)
        elif layer.type == "InnerProduct":
            p = layer.proto.inner_product_param
            for filler in (p.weight_filler, p.bias_filler):
                assert filler.type == "uniform"
                assert (filler.min, filler.max) == pytest.approx((-1 / math.sqrt(2048), 1 / math.sqrt(2048)))


def test_the_statistics_average_with_fraction_0_9_and_the_usual_epsilon() -> None:
    for phase in PHASES:
        norms = [x.proto.batch_norm_param for x in stitch(phase).layers if x.type == "BatchNorm"]
        assert {(round(p.moving_average_fraction, 6), round(p.eps, 9)) for p in norms} == {(0.9, 1e-5)}
        assert not any(p.HasField("use_global_stats") for p in norms)


@pytest.mark.parametrize("family", ["resnet", "seresnext"])
def test_all_that_is_learnt_is_learnt_and_decayed_alike(family: str) -> None:
    for layer in stitch(family=family, pooling="depthwise").layers:
        written = [(p.lr_mult, p.decay_mult) for p in layer.proto.param]
        if layer.type == "BatchNorm":
            assert written == [(0, 0)] * 3
        elif is_fixed(layer):
            assert written == [(0, 0)]
        else:
            assert all(pair == (1, 1) for pair in written), layer.name


@pytest.mark.parametrize("family", ["resnet", "seresnext"])
def test_real_caffe_starts_the_net_as_the_official_code_does(real_caffe: Caffe, family: str) -> None:
    net = stitch("deploy", family=family, input_size=(32, 32))
    ran = real_caffe.run(
        prototxt.dumps(net), inputs={"data": np.zeros((1, 3, 32, 32))}, fetch_params=True, seed=1
    )
    zeros = {f"scale_{block}_branch2c" for block in blocks_of("50", (1, 1, 1))}
    for layer in net.layers:
        if not layer.params or layer.type == "BatchNorm":
            continue
        first, *rest = ran.params[layer.name]
        if layer.name == "fc1000":
            bound = 2048**-0.5
            for values in (first, *rest):
                assert bound * 0.98 < values.max() <= bound * 1.0001
                assert -bound * 1.0001 <= values.min() < -bound * 0.98
            continue
        assert not any(values.any() for values in rest), layer.name  # betas, and biases of the gates
        if layer.type == "Scale":
            assert (first == (0 if layer.name in zeros else 1)).all(), layer.name
        elif layer.type == "Deconvolution":
            assert (first == 1).all()
        else:
            kernel = math.prod(first.shape[2:])
            expected = math.sqrt(2 / (kernel * first.shape[0]))
            assert first.std() == pytest.approx(expected, rel=5 / math.sqrt(2 * first.size)), layer.name


def test_every_way_of_asking_for_the_default_gives_the_same_net() -> None:
    plain = prototxt.dumps(stitch())
    for options in (
        {"depth": "50"},
        {"family": "resnet", "alpha": 2, "beta": 4, "upsample": "nearest"},
        {"main_branch": "bottleneck", "stride_in": "3x3", "num_output_stage1": 256, "zero_gamma": True},
    ):
        assert prototxt.dumps(stitch(**options)) == plain


def test_a_block_list_is_another_way_to_say_a_depth() -> None:
    for depth, blocks in BLOCKS.items():
        given, named = stitch(blocks=blocks), stitch(depth=depth)
        assert [x.proto for x in given.layers] == [x.proto for x in named.layers]


# ---- in company with the shared options --------------------------------------------------------------------


def test_fc_layers_end_the_net_in_three_units() -> None:
    for phase in PHASES:
        net = stitch(phase, fc_layers=True, classes=10)
        assert net["conv_1by1_2048"].bottoms[0].layer.name == "relu_stage3_block2"
        assert net["conv_1by1_10"].tops[0].shape == (1, 10, 1, 1)
        assert not any(x.type == "InnerProduct" for x in net.layers)
    # Instead of 2048 * 1000 weights and 1000 biases.
    units = 2048 * 2048 + 2048 * 4096 + 4096 * 1000 + 2 * (2048 + 4096 + 1000)
    cost = counts.count(stitch(fc_layers=True))
    assert cost.learnable_params == 26_694_568 - 2_049_000 + units
    assert cost.macs == 2_856_058_880 - 2_048_000 + 2048 * 2048 * 49 + 2048 * 4096 + 4096 * 1000


@pytest.mark.parametrize("pooling", ["auto", "depthwise"])
def test_conv_bias_gives_every_learnt_convolution_a_bias_and_no_fixed_one(pooling: str) -> None:
    net = stitch(conv_bias=True, pooling=pooling)
    for layer in net.layers:
        if layer.type in ("Convolution", "Deconvolution"):
            assert [p.role for p in layer.params] == (["weight"] if is_fixed(layer) else ["weight", "bias"])
    # A bias for each channel, of which a pynetbuilder count has two, in BatchNorm and Scale.
    channels = (26_693_568 - 26_633_408) // 2
    cost = counts.count(net)
    assert cost.learnable_params == 26_694_568 + channels
    assert cost.macs == 2_856_058_880


@pytest.mark.parametrize("branch", ["normal", "inception_trick", "inception_trick_bottleneck"])
def test_real_caffe_loads_other_main_branches_with_our_shapes(real_caffe: Caffe, branch: str) -> None:
    net = stitch("train", main_branch=branch, num_output_stage1=64, input_size=(97, 64), conv_bias=True)
    loaded = real_caffe.load(prototxt.dumps(net), phase="TRAIN")
    assert {x.name: (x.top_shapes, x.params) for x in loaded.layers_as_written()} == {
        x.name: (tuple(t.shape for t in x.tops), tuple(p.shape for p in x.params)) for x in net.layers
    }


def test_the_factored_branches_make_1x3_and_3x1_of_every_3x3_but_the_stems() -> None:
    net = stitch(main_branch="inception_trick_bottleneck")
    kernels = Counter(x.params[0].shape[2:] for x in net.layers if x.type == "Convolution")
    blocks = len(blocks_of("50", (1, 1, 1)))
    assert (kernels[(1, 3)], kernels[(3, 1)], kernels[(3, 3)], kernels[(7, 7)]) == (blocks, blocks, 3, 1)


def test_the_gate_is_concat_in_the_deploy_net_and_scale_in_the_others_unless_one_is_chosen() -> None:
    def gates(net: Net) -> set[str]:
        return {x.type for x in net.layers if x.name.endswith("_se")}

    nets = {phase: stitch(phase, family="seresnext") for phase in PHASES}
    assert {phase: gates(net) for phase, net in nets.items()} == {
        "train": {"Scale"}, "test": {"Scale"}, "deploy": {"Eltwise"},
    }  # fmt: skip
    assert gates(stitch("deploy", family="seresnext", se_gate="scale")) == {"Scale"}
    assert gates(stitch("train", family="seresnext", se_gate="concat")) == {"Eltwise"}
    learnt = [{x.name: [p.shape for p in x.params] for x in net.layers if x.params} for net in nets.values()]
    assert learnt[0] == learnt[1] == learnt[2]


# ---- the command -------------------------------------------------------------------------------------------


@pytest.fixture
def build(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys, "build", "bl_resnet")


def script(*args: str | Path) -> Ran:
    ran = subprocess.run(
        [sys.executable, SCRIPT, *args], capture_output=True, text=True, check=False, timeout=60
    )
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--family", "seresnext", "--depth", "101", "--cardinality", "64", "--base_width", "4"],
        ["-b", "2", "3", "2", "--alpha", "4", "--beta", "1", "-m", "inception_trick",
         "--upsample", "bilinear", "--fc_layers", "--conv_bias", "--input_size", "160x225"],
    ],
    ids=["default", "seresnext", "of one's own"],
)  # fmt: skip
def test_the_verb_and_the_script_write_and_print_the_same(
    build: Command, tmp_path: Path, flags: list[str]
) -> None:
    by_verb = build(*flags, "-o", tmp_path / "verb")
    by_script = script(*flags, "-o", tmp_path / "script")
    assert (by_verb.code, by_script.code) == (0, 0)
    assert by_verb.out == by_script.out
    assert names(tmp_path / "verb") == FILES
    assert contents(tmp_path / "verb") == contents(tmp_path / "script")


def test_the_command_prints_the_two_lines_and_every_figure(build: Command, tmp_path: Path) -> None:
    ran = build("-o", tmp_path)
    assert ran.out.splitlines()[:4] == [
        "Number of params: 26.693568 Million",
        "Number of flops: 2856.119040 Million",
        "",
        "bl_resnet_50_a2_b4, input 3x224x224, 323 layers",
    ]
    figures = [line.split() for line in ran.out.splitlines()[5:]]
    assert ["learnable", "params", "26,694,568"] in [row[:3] for row in figures]
    assert ["fixed", "params", "7,168"] in [row[:3] for row in figures]
    assert ["MACs", "2,856,058,880"] in [row[:2] for row in figures]


@pytest.mark.parametrize(
    ("options", "title"),
    [
        ({}, "bl_resnet_50_a2_b4"),
        ({"depth": "152", "alpha": 4, "beta": 1}, "bl_resnet_152_a4_b1"),
        ({"blocks": (2, 2, 2)}, "bl_resnet_2_2_2_a2_b4"),
        ({"family": "resnext"}, "bl_resnext_50_32x4d_a2_b4"),
        ({"family": "seresnext", "cardinality": 64, "base_width": 8}, "bl_seresnext_50_64x8d_a2_b4"),
        ({"main_branch": "inception_trick"}, "bl_resnet_50_a2_b4_inception_trick"),
    ],
)
def test_the_net_is_called_by_what_tells_it_apart(options: dict[str, Any], title: str) -> None:
    assert stitch(**options).name == title


def test_the_header_says_who_made_the_file_and_with_which_settings(build: Command, tmp_path: Path) -> None:
    flags = [
        "--family",
        "resnext",
        "--depth",
        "50",
        "--cardinality",
        "64",
        "--base_width",
        "4",
        "--no-zero_gamma",
    ]
    build(*flags, "--alpha", "4", "--upsample", "bilinear", "-o", tmp_path)
    for file in FILES:
        lines = (tmp_path / file).read_text(encoding="utf-8").splitlines()
        header = lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]
        assert header[0] == f"# Made by netbuilder {__version__}"
        assert set(header[1:]) >= {
            "# network: bl_resnet",
            "#   family: resnext",
            "#   depth: 50",
            "#   alpha: 4",
            "#   beta: 4",
            "#   cardinality: 64",
            "#   base_width: 4",
            "#   upsample: bilinear",
            "#   pooling: auto",
            "#   main_branch: bottleneck",
            "#   stride_in: 3x3",
            "#   zero_gamma: false",
            "#   dialect: caffe-1.0",
        }


def test_json_says_what_was_built_and_what_it_costs(build: Command, tmp_path: Path) -> None:
    data = json.loads(build("--family", "resnext", "--cardinality", "64", "--json", "-o", tmp_path).out)
    assert data["network"] == "bl_resnet"
    assert data["config"]["family"] == "resnext"
    assert (data["config"]["alpha"], data["config"]["beta"]) == (2, 4)
    assert data["files"] == {p: str(tmp_path / f"{p}.prototxt") for p in ("train", "test", "deploy")}
    row, totals = NETS["blresnext-50-64x4d"], data["counts"]["totals"]
    assert (totals["learnable_params"], totals["macs"]) == (int(row["learnable"]), int(row["macs"]))
    assert (totals["fixed_params"], data["counts"]["uncounted"]) == (7168, [])
    up = {layer["name"]: layer for layer in data["counts"]["layers"]}["up_stage0_big"]
    assert up["params"] == [{"shape": [256, 1, 2, 2], "learnable": False}]
    assert names(tmp_path) == FILES


# ---- what is refused ---------------------------------------------------------------------------------------

REFUSED = {
    "alpha that does not divide the stem": (
        ["--alpha", "3"],
        "ConfigError: alpha 3 does not divide the stem's width 64\n"
        "  hint:    give a power of 2, such as 1, 2 or 4\n",
    ),
    "alpha that does not divide the blocks": (
        ["--alpha", "32", "-n", "64"],
        "ConfigError: num_output_stage1 must be a multiple of 128 (4 x alpha), got 64\n"
        "  hint:    give 128, or another alpha\n",
    ),
    "alpha that does not divide the cardinality": (
        ["--family", "resnext", "--cardinality", "2", "--alpha", "4"],
        "ConfigError: alpha 4 does not divide the cardinality 2\n"
        "  hint:    give a cardinality that is a multiple of 4\n",
    ),
    "alpha that does not divide an odd cardinality": (
        ["--family", "seresnext", "--cardinality", "3", "--base_width", "16"],
        "ConfigError: alpha 2 does not divide the cardinality 3\n"
        "  hint:    give a cardinality that is a multiple of 2\n",
    ),
    "alpha 0": (["--alpha", "0"], "ConfigError: alpha must be at least 1, got 0\n"),
    "beta 0": (["--beta", "0"], "ConfigError: beta must be at least 1, got 0\n"),
    "beta below 0": (["--beta", "-1"], "ConfigError: beta must be at least 1, got -1\n"),
    "a first stage without a big branch": (
        ["-b", "1", "4", "6", "3"],
        "ConfigError: stage 0 has 1 block, which leaves none for its big branch\n"
        "  hint:    give every stage but the last at least 2 blocks\n",
    ),
    "a later stage without a big branch": (
        ["-b", "3", "4", "1", "3"],
        "ConfigError: stage 2 has 1 block, which leaves none for its big branch\n"
        "  hint:    give every stage but the last at least 2 blocks\n",
    ),
    "a stage without blocks": (
        ["-b", "3", "0", "6", "3"],
        "ConfigError: blocks must be two or more numbers of at least 1, one per stage, got 3 0 6 3\n",
    ),
    "a last stage without blocks": (
        ["-b", "3", "4", "0"],
        "ConfigError: blocks must be two or more numbers of at least 1, one per stage, got 3 4 0\n",
    ),
    "a single stage": (
        ["-b", "3"],
        "ConfigError: blocks must be two or more numbers of at least 1, one per stage, got 3\n",
    ),
    "an unknown family": (
        ["--family", "resnex"],
        "ConfigError: family must be one of resnet, resnext, seresnext, got 'resnex'\n"
        "  hint:    did you mean 'resnext'?\n",
    ),
    "a family of something else": (
        ["--family", "vgg"],
        "ConfigError: family must be one of resnet, resnext, seresnext, got 'vgg'\n",
    ),
    "an unknown upsampling": (
        ["--upsample", "bilinar"],
        "ConfigError: upsample must be one of nearest, bilinear, got 'bilinar'\n"
        "  hint:    did you mean 'bilinear'?\n",
    ),
    "an unknown depth": (
        ["--depth", "18"],
        "ConfigError: depth must be one of 50, 101, 152, got '18'\n",
    ),
    "an unknown pooling": (
        ["--pooling", "fast"],
        "ConfigError: pooling must be one of auto, crop, depthwise, floor, got 'fast'\n",
    ),
    "an unknown gate": (
        ["--se_gate", "mul"],
        "ConfigError: se_gate must be one of auto, scale, concat, got 'mul'\n",
    ),
    "depth and blocks together": (
        ["--depth", "50", "-b", "3", "4", "6", "3"],
        "ConfigError: depth 50 and blocks 3 4 6 3 are both given\n  hint:    give one of them\n",
    ),
    "cardinality without groups": (
        ["--cardinality", "32"],
        "ConfigError: cardinality needs a grouped family, which resnet is not\n"
        "  hint:    remove cardinality, or use family resnext or seresnext\n",
    ),
    "base_width without groups": (
        ["--family", "resnet", "--base_width", "4"],
        "ConfigError: base_width needs a grouped family, which resnet is not\n"
        "  hint:    remove base_width, or use family resnext or seresnext\n",
    ),
    "cardinality 0": (
        ["--family", "resnext", "--cardinality", "0"],
        "ConfigError: cardinality must be at least 1, got 0\n",
    ),
    "groups in a branch without a bottleneck": (
        ["--family", "resnext", "-m", "normal"],
        "ConfigError: family resnext needs a bottleneck, whose inner convolutions it groups; main_branch "
        "normal is not one\n",
    ),
    "groups in the other branch without a bottleneck": (
        ["--family", "seresnext", "-m", "inception_trick"],
        "ConfigError: family seresnext needs a bottleneck, whose inner convolutions it groups; main_branch "
        "inception_trick is not one\n",
    ),
    "stride_in without a bottleneck": (
        ["-m", "normal", "--stride_in", "1x1"],
        "ConfigError: stride_in 1x1 needs a bottleneck; main_branch normal has no 1x1\n"
        "  hint:    leave stride_in out, or take main_branch bottleneck or inception_trick_bottleneck\n",
    ),
    "zero_gamma before a ReLU": (
        ["-m", "inception_trick", "--zero_gamma"],
        "ConfigError: InceptionTrickBranch 'stage0_big_block0': zero_gamma would disable this branch "
        "forever: its last Scale is followed by a ReLU, which passes no gradient at 0\n"
        "  hint:    remove zero_gamma, or use another main branch\n",
    ),
    "no width": (
        ["-n", "0"],
        "ConfigError: num_output_stage1 must be at least 1, got 0\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_mistake_is_refused_before_anything_is_written(build: Command, tmp_path: Path, what: str) -> None:
    flags, message = REFUSED[what]
    assert build(*flags, "-o", tmp_path / "out") == Ran(2, "", message)
    assert names(tmp_path) == []


def test_the_script_refuses_with_the_same_words_and_status(tmp_path: Path) -> None:
    flags, message = REFUSED["alpha that does not divide the stem"]
    assert script(*flags, "-o", tmp_path / "out") == Ran(2, "", message)
    assert names(tmp_path) == []


def test_pooling_floor_is_refused_for_a_caffe_without_it_before_anything_is_written(
    build: Command, tmp_path: Path
) -> None:
    assert build("--pooling", "floor", "-o", tmp_path / "out") == Ran(
        2,
        "",
        "ConfigError: pooling floor needs round_mode, which dialect caffe-1.0 lacks\n"
        "  hint:    leave pooling out, or take dialect caffe-master or caffe-cudnn\n",
    )
    assert names(tmp_path) == []


def test_groups_without_channels_are_refused_by_their_settings(build: Command, tmp_path: Path) -> None:
    # 32 * 4 / 64 / 4 is half a channel per group.
    assert build("--family", "resnext", "-n", "32", "-o", tmp_path / "out") == Ran(
        2,
        "",
        "ConfigError: BlockLego 'stage0_big_block0': base_width 4 leaves the groups of a block of width 32 "
        "without channels\n  hint:    use a base_width of at least 8\n",
    )
    assert names(tmp_path) == []


def test_a_config_names_the_key_at_fault() -> None:
    config = find_network("bl_resnet").config
    wrong: dict[str, dict[str, Any]] = {
        "alpha": {"alpha": 3},
        "beta": {"beta": 0},
        "family": {"family": "vgg"},
        "upsample": {"upsample": "cubic"},
        "blocks": {"blocks": (1, 2)},
        "depth": {"depth": "18"},
        "cardinality": {"cardinality": 32},
        "main_branch": {"family": "resnext", "main_branch": "normal"},
        "pooling": {"pooling": "floor"},
    }
    for key, values in wrong.items():
        with pytest.raises(ConfigError) as refused:
            config(**values)
        assert refused.value.key == key
