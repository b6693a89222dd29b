"""The nets of examples/ against their papers, BVLC's files, and real Caffe."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

import pytest

from netbuilder import Net, counts, prototxt
from netbuilder.engines import caffe

EXAMPLES = Path(__file__).parents[1] / "examples"
# Learnable parameters and multiply-accumulates of one image. The two of BVLC: as counted from its own files.
# VGG-16: torchvision's documentation, and the sums below.
PUBLISHED = {
    ("alexnet", "deploy"): (60_965_224, 724_406_816),
    ("googlenet", "deploy"): (6_998_552, 1_582_671_872),
    ("vgg16", "deploy"): (138_357_544, 15_470_264_320),
}


def example(name: str) -> dict[str, Any]:
    """The functions of an example."""
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def conv(size: int, c: int, n: int, kernel: int, group: int = 1) -> tuple[int, int]:
    """Parameters and MACs of a convolution whose output is size x size, by the textbook."""
    weights = n * (c // group) * kernel * kernel
    return weights + n, weights * size * size


def fc(c: int, n: int) -> tuple[int, int]:
    return c * n + n, c * n


def total(layers: list[tuple[int, int]]) -> tuple[int, int]:
    return sum(p for p, _ in layers), sum(m for _, m in layers)


@pytest.mark.parametrize(("name", "net"), PUBLISHED)
def test_an_example_counts_as_published(name: str, net: str) -> None:
    counted = counts.count(example(name)[net]())
    assert (counted.learnable_params, counted.macs) == PUBLISHED[name, net]
    assert counted.stored_params == counted.learnable_params
    assert counted.uncounted == ()


def test_alexnet_is_the_sum_of_its_layers() -> None:
    layers = [
        conv(55, 3, 96, 11), conv(27, 96, 256, 5, 2), conv(13, 256, 384, 3), conv(13, 384, 384, 3, 2),
        conv(13, 384, 256, 3, 2), fc(256 * 6 * 6, 4096), fc(4096, 4096), fc(4096, 1000),
    ]  # fmt: skip
    assert total(layers) == PUBLISHED["alexnet", "deploy"]


def test_vgg16_is_the_sum_of_its_layers() -> None:
    channels = "3 64 64 | 64 128 128 | 128 256 256 256 | 256 512 512 512 | 512 512 512 512"
    layers = [fc(512 * 7 * 7, 4096), fc(4096, 4096), fc(4096, 1000)]
    for halvings, stage in enumerate(channels.split("|")):
        widths = [int(c) for c in stage.split()]
        layers += [conv(224 >> halvings, c, n, 3) for c, n in pairwise(widths)]
    assert total(layers) == PUBLISHED["vgg16", "deploy"]


def googlenet(heads: bool) -> tuple[int, int]:
    """The figures from table 1: size, inputs, 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool proj."""
    table = """
        28 192  64  96 128 16  32  32
        28 256 128 128 192 32  96  64
        14 480 192  96 208 16  48  64
        14 512 160 112 224 24  64  64
        14 512 128 128 256 24  64  64
        14 512 112 144 288 32  64  64
        14 528 256 160 320 32 128 128
         7 832 256 160 320 32 128 128
         7 832 384 192 384 48 128 128
    """
    layers = [conv(112, 3, 64, 7), conv(56, 64, 64, 1), conv(56, 64, 192, 3), fc(1024, 1000)]
    for row in table.strip().splitlines():
        size, c, one, reduce3, three, reduce5, five, proj = (int(n) for n in row.split())
        layers += [conv(size, c, n, 1) for n in (one, reduce3, reduce5, proj)]
        layers += [conv(size, reduce3, three, 3), conv(size, reduce5, five, 5)]
    side = ceil((14 - 5) / 3) + 1
    for c in (512, 528) if heads else ():
        layers += [conv(side, c, 128, 1), fc(128 * side * side, 1024), fc(1024, 1000)]
    return total(layers)


def test_googlenet_is_the_sum_of_its_table() -> None:
    assert googlenet(heads=False) == PUBLISHED["googlenet", "deploy"]


def test_googlenet_in_training_has_two_more_heads() -> None:
    net = example("googlenet")["train"](batch=2)
    counted = counts.count(net)
    assert (counted.learnable_params, counted.macs) == googlenet(heads=True)
    losses = {layer.name: list(layer.proto.loss_weight) for layer in net if layer.type == "SoftmaxWithLoss"}
    assert {name: [round(w, 6) for w in weights] for name, weights in losses.items()} == {
        "loss1/loss": [0.3], "loss2/loss": [0.3], "loss3/loss3": [1.0],
    }  # fmt: skip


def test_layers_are_called_as_in_the_published_weights() -> None:
    assert [layer.name for layer in example("alexnet")["deploy"]() if layer.params] == [
        "conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8",
    ]  # fmt: skip
    names = [layer.name for layer in example("googlenet")["deploy"]() if layer.params]
    assert names[:10] == [
        "conv1/7x7_s2", "conv2/3x3_reduce", "conv2/3x3", "inception_3a/1x1", "inception_3a/3x3_reduce",
        "inception_3a/3x3", "inception_3a/5x5_reduce", "inception_3a/5x5", "inception_3a/pool_proj",
        "inception_3b/1x1",
    ]  # fmt: skip
    assert (len(names), names[-1]) == (58, "loss3/classifier")
    vgg = [layer.name for layer in example("vgg16")["deploy"]() if layer.params]
    assert (vgg[:3], vgg[12:]) == (["conv1_1", "conv1_2", "conv2_1"], ["conv5_3", "fc6", "fc7", "fc8"])


@pytest.mark.parametrize(("name", "net"), [*PUBLISHED, ("googlenet", "train")])
def test_caffe_loads_an_example_with_our_shapes(name: str, net: str, real_caffe: caffe.Caffe) -> None:
    ours: Net = example(name)[net](batch=1)
    # Random weights would cost Caffe most of the time, and say nothing of shapes.
    text = re.sub(r'weight_filler \{ type: "\w+" \}', "", prototxt.dumps(ours))
    loaded = real_caffe.load(text, phase=ours.phase)
    assert [(x.name, x.type, list(x.top_shapes), list(x.params)) for x in loaded.layers_as_written()] == [
        (x.name, x.type, [ours.blobs[t.name].shape for t in x.tops], [p.shape for p in x.params])
        for x in ours.layers
    ]


@pytest.mark.parametrize("name", ["alexnet", "googlenet", "vgg16"])
def test_an_example_runs_and_writes_what_it_says(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), "-o", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    params, macs = PUBLISHED[name, "deploy"]
    assert f"{params:,}" in done.stdout
    assert f"{macs:,}" in done.stdout
    for path in re.findall(r"^wrote (.*)$", done.stdout, re.MULTILINE):
        phase = "TRAIN" if path.endswith("train.prototxt") else "TEST"
        written = counts.count(prototxt.read(path, phase))
        assert f"{written.learnable_params:,}" in done.stdout
