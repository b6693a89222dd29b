"""The official Big-Little weights give the official logits: in real Caffe, in OpenCV and in MNN.

`ground_truth/logits/*.npz` holds what the official PyTorch code computes in test phase for drawn weights
(convolutions and fc are drawn again here, from the same seed; the rest is stored), on a drawn image.
"""

from __future__ import annotations

import json
import math
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netbuilder import Net, prototxt
from netbuilder.engines.caffe import Caffe
from netbuilder.networks import find_network
from tests import consumers

FOLDER = Path(__file__).parents[1] / "ground_truth" / "logits"
NETS = ("blresnet50_a2b4", "blresnext50_32x4d_a2b4", "blseresnext50_32x4d_a2b4")
STEM = {
    "conv1": "1",
    "b_conv0": "stem_big",
    "l_conv0": "stem_little_a",
    "l_conv1": "stem_little_b",
    "l_conv2": "stem_little_c",
    "bl_init": "stem_fusion",
}


def our_name(official: str) -> str:
    """The layer of ours that takes the weights of this convolution or fc of the official code."""
    if official == "fc":
        return "fc1000"
    if official in STEM:
        return f"conv_{STEM[official]}"
    expand = re.fullmatch(r"layer(\d)\.little_e\.0", official)
    if expand:
        return f"conv_stage{int(expand[1]) - 1}_little_expand"
    match = re.fullmatch(
        r"layer(\d)\.(?:(big|little|fusion)\.)?(\d)\.(conv|downsample\.|se_layer\.fc)(\d)", official
    )
    assert match, official
    stage = f"stage{int(match[1]) - 1}"
    blocks = {"big": f"big_block{match[3]}", "little": f"little_block{match[3]}", "fusion": "fusion"}
    block = f"{stage}_{blocks.get(match[2], f'block{match[3]}')}"
    kind, number = match[4], int(match[5])
    if kind == "conv":
        return f"conv_{block}_branch2{'abc'[number - 1]}"
    return f"conv_{block}_proj_shortcut" if kind == "downsample." else f"{block}_se_fc{number}"


@cache
def reference(name: str) -> tuple[dict[str, Any], dict[str, list[Any]], Any, Any]:
    """The net's description, its weights by our layer names, the image and the logits."""
    with np.load(FOLDER / f"{name}.npz") as file:
        stored = dict(file)
    meta, operations = json.loads(str(stored["meta"])), json.loads(str(stored["ops"]))
    params: dict[str, list[Any]] = {}
    convolution = ""
    for i, op in enumerate(operations):
        if op["kind"] == "BatchNorm":  # follows its convolution
            unit = convolution.removeprefix("conv_")
            gamma, beta, mean, variance = (
                stored[f"{i:04d}.{key}"] for key in ("weight", "bias", "running_mean", "running_var")
            )
            params[f"bn_{unit}"] = [mean, variance, np.ones(1)]
            params[f"scale_{unit}"] = [gamma, beta]
            continue
        convolution = our_name(op["name"])
        shape = op["weight_shape"]
        draw = np.random.default_rng([meta["seed"], op["weight_index"]])
        factor = (2 / math.prod(shape[1:])) ** 0.5 * (0.2 if op["kind"] == "InnerProduct" else 1)
        weight = draw.standard_normal(tuple(shape), dtype=np.float32) * np.float32(factor)
        bias = stored.get(f"{i:04d}.bias")
        # Our squeeze-and-excitation is made of InnerProducts: the same weights without the two last axes.
        params[convolution] = [weight.reshape(shape[:2]) if "_se_" in convolution else weight]
        params[convolution] += [] if bias is None else [bias]
    size = meta["size"]
    image = np.random.default_rng([meta["seed"], 10**6]).standard_normal((1, 3, size, size), dtype=np.float32)
    return meta, params, image, stored["logits"]


def stitch(name: str, **options: Any) -> Net:
    """Our deploy net of this description."""
    meta = reference(name)[0]
    entry = find_network("bl_resnet")
    groups = (
        {"cardinality": meta["cardinality"], "base_width": meta["basewidth"]} if meta["cardinality"] else {}
    )
    config = entry.config(
        family=meta["net"].removeprefix("bl"),
        depth=str(meta["depth"]),
        alpha=meta["alpha"],
        beta=meta["beta"],
        **groups,
        **options,
    )
    return entry.stitch(config, "deploy")


def all_taken(net: Net, params: dict[str, list[Any]]) -> bool:
    """Whether every official weight has its layer, and every layer its weights, but for fixed filters."""
    learnt = {x.name for x in net if x.params and not any(p.fixed_filter for p in x.params)}
    return learnt == set(params)


@pytest.mark.parametrize("pooling", ["crop", "depthwise", "floor"])
@pytest.mark.parametrize("name", NETS)
def test_real_caffe_gives_the_official_logits(real_caffe: Caffe, name: str, pooling: str) -> None:
    _, params, image, logits = reference(name)
    dialect = "caffe-master" if pooling == "floor" else "caffe-1.0"
    net = stitch(name, pooling=pooling, dialect=dialect)
    assert all_taken(net, params)
    ran = real_caffe.run(prototxt.dumps(net), inputs={"data": image}, params=params, outputs=["fc1000"])
    assert abs(ran.outputs["fc1000"] - logits).max() <= 1e-5


def test_both_forms_of_the_gate_give_the_official_logits(real_caffe: Caffe) -> None:
    _, params, image, logits = reference(NETS[2])
    for gate in ("scale", "concat"):
        text = prototxt.dumps(stitch(NETS[2], se_gate=gate))
        ran = real_caffe.run(text, inputs={"data": image}, params=params, outputs=["fc1000"])
        assert abs(ran.outputs["fc1000"] - logits).max() <= 1e-5


def test_a_wrong_window_would_be_seen(real_caffe: Caffe) -> None:
    """The negative control: pooling without pad has the right sizes and gives other logits."""
    _, params, image, logits = reference(NETS[0])
    text = prototxt.dumps(stitch(NETS[0], pooling="floor", dialect="caffe-master"))
    exact = "pool: AVE kernel_size: 3 stride: 2 pad: 1 round_mode: FLOOR"
    wrong = text.replace(exact, "pool: AVE kernel_size: 3 stride: 2")
    assert wrong != text
    ran = real_caffe.run(wrong, inputs={"data": image}, params=params, outputs=["fc1000"])
    assert abs(ran.outputs["fc1000"] - logits).max() > 0.1


@pytest.fixture(scope="module", params=NETS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """A folder with our deploy net up to its scores and the official weights; the image; the logits."""
    _, params, image, logits = reference(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    consumers.write_model(consumers.until(stitch(request.param), "fc1000"), params, folder)
    return folder, image, logits


def test_opencv_gives_the_official_logits(model: tuple[Path, Any, Any]) -> None:
    consumers.require("cv2")
    folder, image, logits = model
    assert abs(consumers.opencv(folder, image, "fc1000") - logits).max() <= 1e-4


def test_mnn_gives_the_official_logits(model: tuple[Path, Any, Any]) -> None:
    consumers.require("MNN")
    folder, image, logits = model
    assert abs(consumers.mnn(folder, image) - logits).max() <= 1e-4
