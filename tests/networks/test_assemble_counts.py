"""What Assembled ResNets cost, against the official graph, and against sums over their convolutions."""

from __future__ import annotations

import csv
import functools
import itertools
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from netbuilder import Net, counts
from netbuilder.cli.build import script_parser
from netbuilder.networks import find_network
from netbuilder.networks import options as all_options

ROOT = Path(__file__).parents[2]

Row = dict[str, str]


def table() -> dict[str, Row]:
    text = (ROOT / "tests" / "ground_truth" / "assemble_counts.csv").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {row["name"]: row for row in csv.DictReader(lines)}


NETS = table()
each_net = pytest.mark.parametrize("name", NETS)


def config(**options: Any) -> Any:
    return find_network("assemble_resnet").config(**options)


def stitch(phase: str = "train", **options: Any) -> Net:
    return find_network("assemble_resnet").stitch(config(**options), phase)


def options_of(row: Row) -> dict[str, Any]:
    """The options that a row names, without its preset."""
    switches = {key: row[key] == "yes" for key in ("resnet_d", "big_little")}
    numbers = {key: int(row[key]) for key in ("alpha", "beta") if row[key]}
    words = {key: row[key] for key in ("depth", "attention", "antialias")}
    return {**switches, **numbers, **words}


@functools.cache  # several tests look at the same large nets
def counted(name: str, size: int = 224) -> tuple[Net, counts.Counts]:
    net = stitch(input_size=(size, size), **options_of(NETS[name]))
    return net, counts.count(net)


def learnt_convolutions(net: Net) -> list[Any]:
    """Convolutions and the inner products of squeeze-and-excitation, without fixed filters and fc."""
    layers = [x for x in net.layers if x.type in ("Convolution", "InnerProduct")]
    return [x for x in layers if not any(p.fixed_filter for p in x.params)][:-1]


@each_net
@pytest.mark.parametrize("size", [224, 256])
def test_a_net_costs_exactly_what_the_official_graph_does(name: str, size: int) -> None:
    row = NETS[name]
    net, cost = counted(name, size)
    assert (cost.learnable_params, cost.macs, len(learnt_convolutions(net))) == (
        int(row["params"]), int(row[f"macs_{size}"]), int(row["convolutions"])
    )  # fmt: skip
    assert cost.uncounted == ()


@each_net
def test_a_preset_is_another_way_to_give_the_options(name: str) -> None:
    row = NETS[name]
    if row["preset"]:
        net = stitch(preset=row["preset"])
        assert [x.proto for x in net.layers] == [x.proto for x in counted(name)[0].layers]


def test_the_deploy_net_costs_the_same_although_its_gates_are_others() -> None:
    cost = counts.count(stitch("deploy"))
    assert (cost.learnable_params, cost.macs) == (41_846_440, 5_725_637_632)


def test_1001_classes_cost_2049_params_and_2048_macs_more() -> None:
    cost = counts.count(stitch(classes=1001))
    assert (cost.learnable_params, cost.macs) == (41_848_489, 5_725_637_632 + 2048)


# Params and MACs at 224x224 by the official graph's scopes; little has its expansion, fc 1001 classes.
SCOPES: dict[str, dict[str, tuple[int, int]]] = {
    "assemble_resnet50": {
        "conv_1": (9_408, 118_013_952), "stem": (71_168, 394_985_472),
        "big1": (231_808, 353_251_328), "little1": (69_888, 205_523_968), "merge1": (179_648, 346_822_656),
        "big2": (1_456_768, 462_495_744), "little2": (311_744, 237_639_680), "merge2": (715_648, 346_841_088),
        "big3": (9_425_664, 629_899_264), "little3": (1_241_984, 237_658_112),
        "merge3": (2_856_704, 539_590_656),
        "stage4": (23_226_880, 1_850_867_712), "fc": (2_051_049, 2_050_048),
    },
    "assemble_resnet152": {
        "conv_1": (9_408, 118_013_952), "stem": (119_424, 719_323_136),
        "big1": (459_008, 520_249_344), "little1": (184_256, 552_343_552), "merge1": (179_648, 346_822_656),
        "big2": (5_076_608, 1_130_635_264), "little2": (2_624_896, 1_952_571_392),
        "merge2": (715_648, 346_841_088),
        "big3": (52_771_584, 2_636_087_296), "little3": (26_731_008, 4_959_567_872),
        "merge3": (2_856_704, 539_590_656),
        "stage4": (23_226_880, 1_850_867_712), "fc": (2_051_049, 2_050_048),
    },
}  # fmt: skip


def official_scope(layer: Any) -> str:
    """The official graph's scope of a layer of ours."""
    words = layer.name.removeprefix("conv_").removeprefix("scale_").split("_")
    if layer.name in ("conv_1", "scale_1"):
        return layer.name
    if words[0].startswith("stage"):
        stage = int(words[0].removeprefix("stage")) + 1
        kind = {"big": "big", "little": "little", "fusion": "merge"}.get(words[1], "stage")
        return f"{kind}{stage}"
    return "fc" if words[0].startswith("fc") else words[0]


@pytest.mark.parametrize("preset", SCOPES)
def test_the_parts_of_a_net_cost_what_those_of_the_official_graph_do(preset: str) -> None:
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for layer in stitch(preset=preset, classes=1001).layers:
        learnable = sum(p.size for p in layer.params if p.learnable)
        if learnable:
            scope = sums[official_scope(layer)]
            scope[0] += learnable
            scope[1] += layer.macs
    assert sums.pop("scale_1") == [128, 0]  # which the sheet gives apart
    assert {scope: tuple(figures) for scope, figures in sums.items()} == SCOPES[preset]


@dataclass
class ByHand:
    """The official nets as sums over their convolutions, for any combination of elements."""

    resnet_d: bool
    big_little: bool
    attention: str
    antialias: bool
    alpha: int = 1
    beta: int = 1
    no_downsample: bool = False
    width: int = 256
    learnable: int = 0
    macs: int = 0

    def conv(self, inputs: int, outputs: int, kernel: int, area: int, *, norm: bool = True) -> int:
        weights = outputs * inputs * kernel**2
        self.learnable += weights + (2 * outputs if norm else 0)
        self.macs += weights * area
        return outputs

    def block(self, inputs: int, outputs: int, side: int, stride: int, *, first: bool) -> int:
        inner, after = outputs // 4, side // stride
        self.conv(inputs, inner, 1, side**2)
        at = side if self.antialias else after
        selects = "sk" in self.attention
        self.conv(inner, inner * (2 if selects else 1), 3, at**2)
        if selects:
            d = max(inner // 2, 32)
            self.conv(inner, d, 1, 1)
            self.conv(d, 2 * inner, 1, 1, norm=False)
        self.conv(inner, outputs, 1, after**2)
        if first:
            self.conv(inputs, outputs, 1, after**2)
        if "se" in self.attention:
            self.conv(outputs, outputs // 16, 1, 1, norm=False)
            self.conv(outputs // 16, outputs, 1, 1, norm=False)
        return after

    def blocks(self, inputs: int, outputs: int, side: int, stride: int, count: int) -> int:
        for k in range(count):
            side = self.block(
                inputs if k == 0 else outputs, outputs, side, stride if k == 0 else 1, first=k == 0
            )
        return side

    def count(self, stages: tuple[int, ...], side: int, classes: int) -> tuple[int, int]:
        half = side // 2
        if self.resnet_d:
            self.conv(3, 32, 3, half**2)
            self.conv(32, 32, 3, half**2)
            self.conv(32, 64, 3, half**2)
        else:
            self.conv(3, 64, 7, half**2)
        side, inputs = half // 2, 64
        if self.big_little:
            narrow = 64 // self.alpha
            self.conv(64, 64, 3, side**2)
            self.conv(64, narrow, 3, half**2)
            self.conv(narrow, narrow, 3, side**2)
            self.conv(narrow, 64, 1, side**2)
            self.conv(64, 64, 1, side**2)
        for stage, count in enumerate(stages):
            outputs, last = self.width * 2**stage, stage == len(stages) - 1
            if self.big_little and not last:
                self.blocks(inputs, outputs, side, 2, count - 1)
                narrow = outputs // self.alpha
                self.blocks(inputs, narrow, side, 1, max(1, count // self.beta - 1))
                self.conv(narrow, outputs, 1, side**2)
                side = self.blocks(outputs, outputs, side, (2, 2, 1)[stage], 1)
            else:
                stride = 1 if stage == 0 or (last and self.no_downsample) else 2
                side = self.blocks(inputs, outputs, side, stride, count)
            inputs = outputs
        return self.learnable + inputs * classes + classes, self.macs + inputs * classes


BLOCKS = {
    False: {"50": (3, 4, 6, 3), "101": (3, 4, 23, 3), "152": (3, 8, 36, 3), "200": (3, 24, 36, 3)},
    True: {"50": (3, 4, 6, 3), "101": (4, 8, 18, 3), "152": (5, 12, 30, 3)},
}


def by_hand(options: dict[str, Any], side: int, classes: int = 1000) -> tuple[int, int]:
    named = {key: value for key, value in options.items() if key not in ("depth", "antialias")}
    hand = ByHand(**named, antialias=options["antialias"] != "none")
    return hand.count(BLOCKS[options["big_little"]][options["depth"]], side, classes)


@each_net
@pytest.mark.parametrize("size", [224, 256])
def test_the_sums_by_hand_are_those_of_the_official_graph(name: str, size: int) -> None:
    row = NETS[name]
    assert by_hand(options_of(row), size) == (int(row["params"]), int(row[f"macs_{size}"]))


LAYOUTS: list[dict[str, Any]] = [
    {"big_little": False},
    *({"big_little": True, "alpha": alpha, "beta": beta} for alpha, beta in ((2, 4), (1, 2), (4, 1))),
]
COMBINATIONS = [
    {"depth": "50", "resnet_d": resnet_d, **layout, "attention": attention, "antialias": antialias}
    for (resnet_d, antialias), layout, attention in itertools.product(
        ((False, "reflect"), (True, "none")), LAYOUTS, ("none", "se", "sk", "sk_se")
    )
]
OTHERS = [
    {"depth": depth, "resnet_d": False, **layout, "attention": "sk", "antialias": "depthwise"}
    for layout in LAYOUTS[:2]
    for depth in ("101", "152")
] + [
    {"depth": "200", "resnet_d": True, "big_little": False, "attention": "none", "antialias": "none"},
    *(
        {
            "depth": "50", "resnet_d": True, **layout, "attention": "se", "antialias": "reflect",
            "no_downsample": True,
        }
        for layout in LAYOUTS[:2]
    ),
]  # fmt: skip


@pytest.mark.parametrize("options", COMBINATIONS + OTHERS, ids=lambda o: "-".join(map(str, o.values())))
def test_every_combination_costs_what_its_convolutions_do(options: dict[str, Any]) -> None:
    # Narrow, small nets, with widths at which max(f / 2, 32) takes either side.
    cost = counts.count(stitch(**options, num_output_stage1=128, input_size=(64, 64), classes=10))
    expected = by_hand({**options, "width": 128}, 64, 10)
    assert (cost.learnable_params, cost.macs) == expected


def test_blurs_and_averages_learn_nothing() -> None:
    for options in ({"antialias": "zero"}, {"antialias": "depthwise"}, {"pooling": "depthwise"}):
        cost = counts.count(stitch(**options))
        assert (cost.learnable_params, cost.macs) == (41_846_440, 5_725_637_632)


def test_every_figure_of_the_docs_table_is_right() -> None:
    page = (ROOT / "docs" / "assemble-resnet.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| [^|]+ \| `(-[^`]*)` \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|$", page, re.MULTILINE)
    assert len(rows) == 14
    for flags, *figures in rows:
        args = vars(script_parser("assemble_resnet").parse_args([*flags.split(), "-o", "unused"]))
        cfg = config(**{f.name: args[f.name] for f in all_options(type(config()))})
        keys = ("depth", "resnet_d", "big_little", "attention", "antialias")
        options = {key: getattr(cfg, key) for key in keys}
        options |= {"alpha": cfg.alpha, "beta": cfg.beta} if cfg.big_little else {}
        (params, macs), (_, large) = (by_hand(options, size) for size in (224, 256))
        assert [f"{n:,}" for n in (params, macs, large)] == figures, flags
