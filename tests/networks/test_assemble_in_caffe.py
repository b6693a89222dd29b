"""Assembled ResNets in real Caffe: they load, give the official logits, and train. OpenCV and MNN agree.

`ground_truth/logits/assemble_resnet50.npz` holds what the official TensorFlow code computes in test phase for
drawn weights (convolutions and fc are drawn again here, from the same seed; the rest is stored), on a drawn
image.
"""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netbuilder import Net, prototxt
from netbuilder.engines.caffe import Caffe, RunResult
from netbuilder.networks import PHASES, find_network
from netbuilder.networks.assemble_resnet import PRESETS
from tests import consumers

LOGITS = Path(__file__).parents[1] / "ground_truth" / "logits" / "assemble_resnet50.npz"


def stitch(phase: str, **options: Any) -> Net:
    entry = find_network("assemble_resnet")
    return entry.stitch(entry.config(**options), phase)


# ---- loading -----------------------------------------------------------------------------------------------

SMALL = {"num_output_stage1": 32, "input_size": (64, 64), "classes": 10}
VARIANTS: dict[str, dict[str, Any]] = {
    "assemble_resnet50 at full size": {"classes": 1001},
    **{preset: {"preset": preset, **SMALL} for preset in PRESETS},
    "other sides": {**SMALL, "input_size": (64, 96)},
    "D with Big-Little": {"resnet_d": True, **SMALL},
    "D, the last stage at full size": {"preset": "resnet50_d_sk", "no_downsample": True, **SMALL},
    "SK and SE": {"attention": "sk_se", "antialias": "zero", **SMALL},
    "round_mode": {"antialias": "zero", "dialect": "caffe-master", **SMALL},
    "blurs of size 5, in both places": {
        "preset": "resnet50_aa", "antialias_in": "both", "antialias_size": 5, **SMALL, "input_size": (96, 96)
    },
    "factored": {"main_branch": "inception_trick_bottleneck", **SMALL},
    "with biases": {"conv_bias": True, "attention": "sk_se", **SMALL},
    "DropBlock": {**SMALL, "dropblock": 0.9, "input_size": (224, 224)},
    "DropBlock with a driver": {
        "preset": "resnet50_d_sk", **SMALL, "input_size": (224, 224), "dropblock": 0.9,
        "dropblock_driven": True,
    },
}  # fmt: skip


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_real_caffe_loads_every_phase_with_our_shapes(real_caffe: Caffe, options: dict[str, Any]) -> None:
    # Train and test nets differ in nothing that counts here, but for DropBlock.
    for phase in PHASES if "dropblock" in options else ("train", "deploy"):
        net = stitch(phase, **options)
        loaded = real_caffe.load(prototxt.dumps(net), phase=net.phase)
        theirs = [(x.name, x.bottoms, x.top_shapes, x.params) for x in loaded.layers_as_written()]
        ours = [
            (
                x.name,
                tuple(b.name for b in x.bottoms),
                tuple(t.shape for t in x.tops),
                tuple(p.shape for p in x.params),
            )
            for x in net.layers
        ]
        assert ours == theirs
        assert {b.name for b in net.outputs} == set(loaded.outputs)


# ---- the official logits -----------------------------------------------------------------------------------


@functools.cache
def reference() -> tuple[dict[str, list[Any]], Any, Any]:
    """The official weights by our layer names, the image, and the logits.

    The file lists the layers in the order in which the official graph makes them, which is that of our net.
    """
    with np.load(LOGITS) as file:
        stored = dict(file)
    meta, operations = json.loads(str(stored["meta"])), json.loads(str(stored["ops"]))
    kinds = ("Convolution", "BatchNorm", "InnerProduct")
    layers = [
        x
        for x in stitch("test", classes=meta["classes"])
        if x.type in kinds and not any(p.fixed_filter for p in x.params)
    ]
    params: dict[str, list[Any]] = {}
    for i, (op, layer) in enumerate(zip(operations, layers, strict=True)):
        assert layer.type == op["kind"], (layer.name, op["name"])
        if op["kind"] == "BatchNorm":
            gamma, beta, mean, variance = (
                stored[f"{i:04d}.{key}"] for key in ("weight", "bias", "running_mean", "running_var")
            )
            params[layer.name] = [mean, variance, np.ones(1)]
            params[layer.name.replace("bn_", "scale_", 1)] = [gamma, beta]
            continue
        shape = tuple(op["weight_shape"])
        assert layer.params[0].shape == shape, (layer.name, op["name"])
        draw = np.random.default_rng([meta["seed"], op["weight_index"]])
        weight = draw.standard_normal(shape, dtype=np.float32)
        params[layer.name] = [weight * np.float32((1 / math.prod(shape[1:])) ** 0.5)]
        if f"{i:04d}.bias" in stored:
            params[layer.name].append(stored[f"{i:04d}.bias"])
    size = meta["size"]
    image = np.random.default_rng([meta["seed"], 10**6]).standard_normal((1, 3, size, size), dtype=np.float32)
    return params, image, stored["logits"]


def difference(caffe: Caffe, **options: Any) -> Any:
    """How far real Caffe's logits are from the official ones."""
    params, image, logits = reference()
    text = prototxt.dumps(stitch("deploy", classes=1001, **options))
    ran = caffe.run(text, inputs={"data": image}, params=params, outputs=["fc1001"])
    return abs(ran.outputs["fc1001"] - logits)


@pytest.mark.parametrize(
    "options",
    [{}, {"dialect": "caffe-master", "se_gate": "scale"}],
    ids=["default", "caffe-master"],
)
def test_real_caffe_gives_the_official_logits(real_caffe: Caffe, options: dict[str, Any]) -> None:
    assert difference(real_caffe, **options).max() <= 1e-5


def test_zero_padding_is_seen_in_the_logits_as_much_as_the_sheet_says(real_caffe: Caffe) -> None:
    """The negative control: the sheet has 0.073 as the largest difference, for two images."""
    assert difference(real_caffe, antialias="zero").max() == pytest.approx(0.073, abs=5e-4)


def test_opencv_and_mnn_give_the_official_logits(tmp_path: Path) -> None:
    consumers.require("cv2")
    consumers.require("MNN")
    params, image, logits = reference()
    net = consumers.until(stitch("deploy", classes=1001), "fc1001")
    consumers.write_model(net, params, tmp_path)
    assert abs(consumers.opencv(tmp_path, image, "fc1001") - logits).max() <= 1e-4
    assert abs(consumers.mnn(tmp_path, image) - logits).max() <= 1e-4


# ---- training ----------------------------------------------------------------------------------------------

TRAINED: dict[str, tuple[int, dict[str, Any]]] = {
    "assemble_resnet50": (64, {}),
    "factored, D, SK and SE": (
        64,
        {"preset": "resnet50_d", "main_branch": "inception_trick_bottleneck", "attention": "sk_se"},
    ),
    "DropBlock": (224, {"dropblock": 0.9, "num_output_stage1": 32}),
}
BATCH = 4


def step(caffe: Caffe, net: Net, iteration: int, params: dict[str, list[Any]] | None) -> RunResult:
    """One forward and backward pass in TRAIN phase, on drawn images and labels."""
    draw = np.random.default_rng(iteration)
    shape = (BATCH, *net["data"].tops[0].known_shape[1:])
    inputs = {
        "data": draw.standard_normal(shape, dtype=np.float32),
        "label": draw.integers(10, size=BATCH).astype(np.float32),
    }
    text = prototxt.dumps(net).replace("batch_size: 1", f"batch_size: {BATCH}")
    return caffe.run(text, phase="TRAIN", inputs=inputs, params=params, backward=True, seed=7)


@pytest.mark.parametrize(("size", "options"), TRAINED.values(), ids=TRAINED)
def test_two_iterations_of_training_reach_everything_that_learns(
    real_caffe: Caffe, size: int, options: dict[str, Any]
) -> None:
    # Without zero_gamma, behind which nothing has a gradient at first.
    settings = {"num_output_stage1": 64, "classes": 10, "zero_gamma": False, "input_size": (size, size)}
    net = stitch("train", **{**settings, **options})
    params = None
    for iteration in (1, 2):
        ran = step(real_caffe, net, iteration, params)
        assert np.isfinite(ran.loss)
        params = {name: list(values) for name, values in ran.params.items()}
        still = set()
        for layer in net:
            for i, param in enumerate(layer.params):
                if param.learnable:
                    gradient = ran.param_diffs[layer.name][i]
                    assert np.isfinite(gradient).all(), layer.name
                    still |= set() if gradient.any() else {layer.name}
                    params[layer.name][i] = params[layer.name][i] - 0.05 * gradient
        assert still == set()
