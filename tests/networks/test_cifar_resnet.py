"""CIFAR ResNets: what they cost, how they are put together, and what is refused."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest

from netbuilder import Net, checks, counts, prototxt
from netbuilder.cli.build import script_parser
from netbuilder.cli.main import main
from netbuilder.engines.caffe import Caffe
from netbuilder.errors import ConfigError
from netbuilder.networks import PHASES, find_network
from netbuilder.networks import options as all_options
from tests import consumers
from tests.reference import cifar_resnet, compare
from tests.reference.tape import Tape, Var

ROOT = Path(__file__).parents[2]
Row = dict[str, str]


def stitch(phase: str = "train", **options: Any) -> Net:
    entry = find_network("cifar_resnet")
    return entry.stitch(entry.config(**options), phase)


def table() -> dict[str, Row]:
    text = (ROOT / "tests" / "ground_truth" / "cifar_counts.csv").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {row["name"]: row for row in csv.DictReader(lines)}


NETS = table()


def options_of(row: Row) -> dict[str, Any]:
    return {
        "main_branch": row["main_branch"],
        "depth": int(row["depth"]),
        "shortcut": row["shortcut"],
        "bn": row["bn"] or None,
        "final_relu": {"yes": True, "no": False, "": None}[row["final_relu"]],
        "conv_bias": row["conv_bias"] == "yes",
    }


# ---- what they cost ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETS)
def test_a_net_costs_what_its_source_says(name: str) -> None:
    row = NETS[name]
    cost = counts.count(stitch(**options_of(row)))
    assert cost.learnable_params == int(row["learnable"])
    assert not row["macs"] or cost.macs == int(row["macs"])
    assert (cost.fixed_params, cost.uncounted) == (0, ())


@pytest.mark.parametrize("phase", PHASES)
def test_all_phases_cost_the_same(phase: str) -> None:
    cost = counts.count(stitch(phase, depth=20, shortcut="A"))
    assert (cost.learnable_params, cost.macs) == (269_722, 40_551_040)


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("bn", ["before", "after"])
@pytest.mark.parametrize("final_relu", [True, False])
def test_the_closed_form_holds_for_all_four_variants(n: int, bn: str, final_relu: bool) -> None:
    cost = counts.count(stitch(N=n, shortcut="A", bn=bn, final_relu=final_relu))
    assert (cost.learnable_params, cost.macs) == (
        269_722 + (n - 3) * 97_216,
        40_551_040 + (n - 3) * 14_155_776,
    )


@pytest.mark.parametrize(("n", "biases"), [(3, 688), (7, 688 + 4 * 224), (18, 688 + 15 * 224)])
def test_conv_biases_are_one_number_for_each_channel(n: int, biases: int) -> None:
    with_bias, without = (counts.count(stitch(N=n, shortcut="A", conv_bias=bias)) for bias in (True, False))
    assert with_bias.learnable_params - without.learnable_params == biases
    assert with_bias.macs == without.macs


@pytest.mark.parametrize("n", [1, 3, 18])
def test_preactivation_costs_as_much_but_for_the_norms_of_the_projections(n: int) -> None:
    # BatchNorms: one before each convolution of a block and one at the end, for one behind each convolution.
    plain, pre = (
        counts.count(stitch(N=n, shortcut="A", block=b)) for b in ("postactivation", "preactivation")
    )
    channels = [
        (16, 16),
        *[(16, 16)] * (n - 1),
        (16, 32),
        *[(32, 32)] * (n - 1),
        (32, 64),
        *[(64, 64)] * (n - 1),
    ]
    norms = sum(2 * (before + after) for before, after in channels) + 2 * 64
    behind = 2 * 16 + sum(4 * after for _, after in channels)
    assert pre.learnable_params - plain.learnable_params == norms - behind
    assert pre.macs == plain.macs
    projected = counts.count(stitch(N=n, block="preactivation"))
    assert projected.learnable_params - pre.learnable_params == 16 * 32 + 32 * 64 == 2_560
    assert projected.macs - pre.macs == 262_144


# ---- how they are put together -----------------------------------------------------------------------------


@pytest.mark.parametrize(("branch", "n", "depth"), [
    ("normal", 3, 20), ("normal", 18, 110), ("bottleneck", 12, 110), ("bottleneck", 36, 326),
    ("inception_trick", 3, 38), ("inception_trick_bottleneck", 3, 38),
])  # fmt: skip
def test_a_depth_is_another_way_to_say_n(branch: str, n: int, depth: int) -> None:
    by_n, by_depth = stitch(main_branch=branch, N=n), stitch(main_branch=branch, depth=depth)
    assert prototxt.dumps(by_n) == prototxt.dumps(by_depth)
    assert prototxt.dumps(stitch(main_branch=branch, N=n, depth=depth)) == prototxt.dumps(by_n)
    layers = [x for x in by_n if x.type in ("Convolution", "InnerProduct")]
    # The depth is that of the path through the main branches: not of the two projections.
    assert len(layers) - 2 == depth
    assert f"_{depth}" in by_n.name


def test_every_way_to_ask_for_the_default_gives_the_same_net() -> None:
    plain = prototxt.dumps(stitch(N=2))
    for options in ({"shortcut": "B"}, {"block": "postactivation"}, {"bn": "before"}, {"final_relu": True}):
        assert prototxt.dumps(stitch(N=2, **options)) == plain


VARIANTS: dict[str, dict[str, Any]] = {
    "cifar_resnet_20": {},
    "cifar_resnet_20_a": {"shortcut": "A"},
    "cifar_resnet_20_a_no_final_relu": {"shortcut": "A", "final_relu": False},
    "cifar_resnet_20_a_bn_after": {"shortcut": "A", "bn": "after"},
    "cifar_resnet_20_bn_after_no_final_relu": {"bn": "after", "final_relu": False},
    "cifar_resnet_20_preactivation": {"block": "preactivation"},
    "cifar_resnet_20_a_preactivation": {"block": "preactivation", "shortcut": "A"},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_has_a_name_of_its_own_and_no_findings(name: str) -> None:
    for phase in PHASES:
        net = stitch(phase, depth=20, **VARIANTS[name])
        assert net.name == name
        assert checks.check(net) == []


def block_of(net: Net, name: str) -> list[str]:
    return [layer.name.replace(f"_{name}", "") for layer in net if name in layer.name]


def test_the_layers_of_the_four_variants_of_a_block() -> None:
    start = ["conv_branch2a", "bn_branch2a", "scale_branch2a", "relu_branch2a", "conv_branch2b"]
    inner, outer = ["bn_branch2b", "scale_branch2b"], ["bn", "scale"]
    expected = {
        ("before", True): [*start, *inner, "eltwise", "relu"],
        ("before", False): [*start, *inner, "eltwise"],
        ("after", True): [*start, "eltwise", *outer, "relu"],
        ("after", False): [*start, "eltwise", *outer],
    }
    for (bn, relu), layers in expected.items():
        net = stitch(N=2, bn=bn, final_relu=relu)
        assert block_of(net, "stage1_block1") == layers


def test_the_layers_of_a_preactivation_net() -> None:
    net = stitch("deploy", N=2, block="preactivation")
    before = ["bn_preact", "scale_preact", "relu_preact"]
    main = ["conv_branch2a", "bn_branch2a", "scale_branch2a", "relu_branch2a", "conv_branch2b"]
    assert [layer.name for layer in net][:2] == ["data", "conv_1"]
    assert block_of(net, "stage0_block0") == [*before, *main, "eltwise"]
    assert block_of(net, "stage1_block0") == [*before, "conv_proj_shortcut", *main, "eltwise"]
    assert block_of(net, "stage1_block1") == [*before, *main, "eltwise"]
    assert [layer.name for layer in net][-6:] == [
        "bn_last", "scale_last", "relu_last", "pool", "fc10", "prob",
    ]  # fmt: skip
    # The first block of a stage shares its activation with the shortcut, the others do not.
    assert net["eltwise_stage0_block0"].bottoms[0].layer.name == "relu_stage0_block0_preact"
    assert net["conv_stage1_block0_proj_shortcut"].bottoms[0].layer.name == "relu_stage1_block0_preact"
    assert net["eltwise_stage1_block1"].bottoms[0].layer.name == "eltwise_stage1_block0"


@pytest.mark.parametrize("options", [{"shortcut": "A"}, {"block": "preactivation"}, {"bn": "after"}])
@pytest.mark.parametrize("branch", ["bottleneck", "inception_trick_bottleneck"])
def test_the_variants_go_with_bottlenecks_too(
    real_caffe: Caffe, branch: str, options: dict[str, Any]
) -> None:
    for size in ((32, 32), (31, 18)):
        net = stitch(N=2, main_branch=branch, input_size=size, **options)
        loaded = real_caffe.load(prototxt.dumps(net), phase="TRAIN")
        assert {x.name: x.top_shapes for x in loaded.layers_as_written()} == {
            x.name: tuple(t.shape for t in x.tops) for x in net
        }


def test_real_caffe_loads_the_deepest_net_with_our_shapes(real_caffe: Caffe) -> None:
    net = stitch(depth=1202, shortcut="A")
    loaded = real_caffe.load(prototxt.dumps(net), phase="TRAIN")
    assert {x.name: (x.top_shapes, x.params) for x in loaded.layers_as_written()} == {
        x.name: (tuple(t.shape for t in x.tops), tuple(p.shape for p in x.params)) for x in net
    }


# ---- in other programs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cifar_resnet_20", "cifar_resnet_20_a", "cifar_resnet_20_a_preactivation"])
def test_opencv_and_mnn_give_the_scores_of_the_statement_and_of_caffe(
    real_caffe: Caffe, name: str, tmp_path: Path
) -> None:
    consumers.require("cv2")
    consumers.require("MNN")
    options = VARIANTS[name]
    net = stitch("deploy", N=3, **options)
    params, image = compare.draw_params(net, 1), compare.draw_images(net, 1, 1)
    ran = real_caffe.run(prototxt.dumps(net), inputs={"data": image}, params=params, outputs=["fc10"])
    caffe = ran.outputs["fc10"]
    statement = cifar_resnet.scores(
        Tape(), compare.as_vars(params), Var(image), 3, train=False,
        shortcut=options.get("shortcut", "B"), preactivation="block" in options,
    ).value  # fmt: skip
    consumers.write_model(consumers.until(net, "fc10"), params, tmp_path)
    for scores in (consumers.opencv(tmp_path, image, "fc10"), consumers.mnn(tmp_path, image)):
        assert abs(scores - caffe).max() <= 1e-4
        assert abs(scores - statement).max() <= 1e-4


# ---- the command -------------------------------------------------------------------------------------------

REFUSED = {
    "no number of blocks": (
        [],
        "ConfigError: the number of blocks is missing\n"
        "  hint:    use -n, the blocks of each of the three stages, or --depth, for example 20\n",
    ),
    "a depth between two": (
        ["--depth", "21"],
        "ConfigError: depth must be 6 * N + 2 with main_branch normal, got 21\n  hint:    give 20 or 26\n",
    ),
    "a depth of the other branch": (
        ["--depth", "32", "-m", "bottleneck"],
        "ConfigError: depth must be 9 * N + 2 with main_branch bottleneck, got 32\n"
        "  hint:    give 29 or 38\n",
    ),
    "a depth of no blocks": (
        ["--depth", "2"],
        "ConfigError: depth must be 6 * N + 2 with main_branch normal, got 2\n  hint:    give 8 or 14\n",
    ),
    "a depth and another N": (
        ["--depth", "20", "-n", "5"],
        "ConfigError: depth 20 has 3 blocks in each stage with main_branch normal, but N is 5\n"
        "  hint:    give one of the two\n",
    ),
    "an unknown shortcut": (
        ["-n", "3", "--shortcut", "C"],
        "ConfigError: shortcut must be one of A, B, got 'C'\n",
    ),
    "a place for BatchNorm in preactivation": (
        ["-n", "3", "--block", "preactivation", "--bn", "after"],
        "ConfigError: bn chooses a place for BatchNorm, which a preactivation block lacks\n"
        "  hint:    remove bn, or use block postactivation\n",
    ),
    "a last ReLU in preactivation": (
        ["-n", "3", "--block", "preactivation", "--no-final_relu"],
        "ConfigError: final_relu chooses a ReLU at its end, which a preactivation block lacks\n"
        "  hint:    remove final_relu, or use block postactivation\n",
    ),
    "preactivation with a branch that ends in ReLU": (
        ["-n", "3", "--block", "preactivation", "-m", "inception_trick"],
        "ConfigError: block preactivation needs a main branch whose last convolution can stand alone; "
        "main_branch inception_trick ends in ReLU\n"
        "  hint:    use main_branch normal or a bottleneck\n",
    ),
    "BatchNorm after the sum with a branch that ends in ReLU": (
        ["-n", "3", "--bn", "after", "-m", "inception_trick"],
        "ConfigError: bn after needs a main branch whose last convolution can stand alone; "
        "main_branch inception_trick ends in ReLU\n"
        "  hint:    use main_branch normal or a bottleneck\n",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_makes_no_net_is_refused_before_anything_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, what: str
) -> None:
    flags, message = REFUSED[what]
    assert main(["build", "cifar_resnet", *flags, "-o", str(tmp_path / "out")]) == 2
    assert capsys.readouterr() == ("", message)
    assert list(tmp_path.iterdir()) == []


def test_an_odd_word_is_refused_by_the_config_itself() -> None:
    with pytest.raises(ConfigError) as refused:
        stitch(N=1, block="pre")
    assert refused.value.text == "block must be one of postactivation, preactivation, got 'pre'"


def test_the_header_has_the_options_that_were_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--depth", "20", "--shortcut", "A", "--bn", "after", "--no-final_relu"]
    assert main(["build", "cifar_resnet", *flags, "-o", str(tmp_path)]) == 0
    lines = (tmp_path / "train.prototxt").read_text(encoding="utf-8").splitlines()
    assert {"#   depth: 20", "#   shortcut: A", "#   bn: after", "#   final_relu: false"} <= set(lines)
    assert not any(line.startswith("#   N:") for line in lines)


# ---- the page ----------------------------------------------------------------------------------------------

PAGE = (ROOT / "docs" / "cifar.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| [^|]+ \| `([^`]*)` \| ([\d,]+) \| ([\d,]+) \|", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("flags", "params", "macs"), ROWS, ids=[row[0] for row in ROWS])
def test_the_table_of_the_page_is_right(flags: str, params: str, macs: str) -> None:
    args = vars(script_parser("cifar_resnet").parse_args([*flags.split(), "-o", "unused"]))
    entry = args["entry"]
    config = entry.config(**{f.name: args[f.name] for f in all_options(entry.config)})
    cost = counts.count(entry.stitch(config, "deploy"))
    assert (f"{cost.learnable_params:,}", f"{cost.macs:,}") == (params, macs)


def test_the_table_of_the_page_is_found() -> None:
    assert len(ROWS) >= 12
