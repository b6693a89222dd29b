"""What the nets cost, against figures that real Caffe and PyTorch gave for the same nets."""

from __future__ import annotations

import csv
import functools
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from netbuilder import Net, counts, report
from netbuilder.net import Layer
from netbuilder.networks import find_network

GROUND_TRUTH = Path(__file__).parents[1] / "ground_truth"

Row = dict[str, str]


def table(file: str) -> dict[str, Row]:
    lines = (GROUND_TRUTH / file).read_text(encoding="utf-8").splitlines()
    return {row["name"]: row for row in csv.DictReader(line for line in lines if not line.startswith("#"))}


NETS = table("resnet_counts.csv")
STAGES = table("ancestor_stages.csv")
STAGE_NAMES = ("stem", "stage0", "stage1", "stage2", "stage3", "head")


def stitched(row: Row, phase: str = "train") -> Net:
    entry = find_network(row["network"])
    settings: dict[str, Any] = {
        "main_branch": row["main_branch"],
        "stride_in": row["stride_in"],
        "conv_bias": row["conv_bias"] == "yes",
    }
    if row["network"] == "cifar_resnet":
        settings |= {"N": int(row["n"])}
    else:
        settings |= {
            "num_output_stage1": int(row["n"]),
            "blocks": tuple(int(n) for n in row["blocks"].split()),
            "fc_layers": row["fc_layers"] == "yes",
        }
    return entry.stitch(entry.config(**settings), phase)


@functools.cache  # several tests look at the same large nets
def counted(name: str, phase: str = "train") -> tuple[Net, counts.Counts]:
    net = stitched(NETS[name], phase)
    return net, counts.count(net)


def conv_and_fc_weights(net: Net) -> int:
    layers = [layer for layer in net.layers if layer.type in ("Convolution", "InnerProduct")]
    return sum(p.size for layer in layers for p in layer.params if p.role == "weight")


def by_the_ancestors_convention(layer: Layer) -> tuple[int, int]:
    """(params, flops) as pynetbuilder counts them, written out from its rule."""
    if not layer.params:
        return 0, 0
    size = layer.params[0].size
    if layer.type != "Convolution":
        return size, size
    height, width = layer.tops[0].known_shape[2:]
    return size, size * height * width


@pytest.mark.parametrize("name", NETS)
def test_a_net_counts_exactly_as_caffe_and_torchvision_say(name: str) -> None:
    row = NETS[name]
    net, cost = counted(name)
    figures = {
        "params": cost.pynetbuilder_params,
        "flops": cost.pynetbuilder_flops,
        "learnable": cost.learnable_params,
        "weights": conv_and_fc_weights(net),
        "macs": cost.macs,
        "convolutions": sum(layer.type == "Convolution" for layer in net.layers),
        "inner_products": sum(layer.type == "InnerProduct" for layer in net.layers),
    }
    known = {key: int(row[key]) for key in figures if row[key]}
    assert {key: figures[key] for key in known} == known
    assert cost.uncounted == ()


@pytest.mark.parametrize("name", NETS)
def test_train_test_and_deploy_cost_the_same(name: str) -> None:
    row = NETS[name]
    for phase in ("test", "deploy"):
        _, cost = counted(name, phase)
        assert (cost.pynetbuilder_params, cost.pynetbuilder_flops, cost.learnable_params, cost.macs) == (
            int(row["params"]), int(row["flops"]), int(row["learnable"]), int(row["macs"])
        ), phase  # fmt: skip


@pytest.mark.parametrize("name", STAGES)
def test_the_stages_of_a_net_cost_what_the_ancestors_do(name: str) -> None:
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for layer in counted(name)[0].layers:
        params, flops = by_the_ancestors_convention(layer)
        if params:
            stage = sums[layer.origin.scope[0]]
            stage[0] += params
            stage[1] += flops
    rounded = {stage: f"{params / 1e6:.3f}/{flops / 1e6:.3f}" for stage, (params, flops) in sums.items()}
    assert rounded == {stage: STAGES[name][stage] for stage in STAGE_NAMES if STAGES[name][stage]}


def test_the_stages_of_a_net_add_up_to_its_headline() -> None:
    net, _ = counted("resnet_50")
    figures = [by_the_ancestors_convention(layer) for layer in net.layers]
    assert sum(params for params, _ in figures) == 25_556_032
    assert sum(flops for _, flops in figures) == 3_858_026_368


def test_every_layer_with_parameters_is_in_the_stem_a_stage_or_the_head() -> None:
    net, _ = counted("resnet_50")
    scopes = [layer.origin.scope[0] for layer in net.layers if layer.params]
    assert list(dict.fromkeys(scopes)) == list(STAGE_NAMES)


def test_the_two_lines_are_those_of_the_ancestors_tutorial() -> None:
    assert report.headline(counted("resnet_50")[1]) == (
        "Number of params: 25.556032 Million\nNumber of flops: 3858.026368 Million"
    )


def test_the_tutorials_figures_for_cifar_are_those_of_another_net_than_resnet_110() -> None:
    # Its text says resnet_110; its figures are what -m bottleneck -n 36 gives, with 327 convolutions.
    assert report.headline(counted("cifar_resnet_326_bottleneck")[1]) == (
        "Number of params: 0.220944 Million\nNumber of flops: 30.732960 Million"
    )


def test_the_caffemodel_of_resnet_50_holds_the_statistics_too() -> None:
    # 25583592 and, for each of 53 BatchNorms, mean and variance of its channels (26560 in all) and a factor.
    assert counted("resnet_50")[1].stored_params == 25_583_592 + 2 * 26_560 + 53


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("resnet_50_without_conv_bias", "resnet_50_stride_in_3x3"),
        ("resnet_101", "resnet_101_stride_in_3x3"),
        ("resnet_152", "resnet_152_stride_in_3x3"),
    ],
)
def test_the_stride_in_the_3x3_costs_231211008_macs_and_no_parameters(name: str, other: str) -> None:
    first, second = counted(name)[1], counted(other)[1]
    assert second.macs - first.macs == 231_211_008
    assert second.learnable_params == first.learnable_params


@pytest.mark.parametrize("name", ["resnet_50", "resnet_77_1by2"])
def test_conv_bias_adds_one_number_per_convolution_channel_and_no_macs(name: str) -> None:
    # The convention counts each channel of a BatchNorm twice (mean, gamma) beside the weights.
    channels = (int(NETS[name]["params"]) - int(NETS[name]["weights"])) // 2
    with_bias, without = (counts.count(stitched(NETS[name] | {"conv_bias": word})) for word in ("yes", "no"))
    assert with_bias.learnable_params - without.learnable_params == channels
    assert with_bias.macs == without.macs
    assert with_bias.pynetbuilder_params == without.pynetbuilder_params
