"""DavidNet and its baseline compute what their references compute, in real Caffe, in OpenCV and in MNN.

`ground_truth/logits/davidnet.npz` holds what David Page's own PyTorch code computes in test phase, for drawn
weights. The rest of the search space, training and gradients are compared with an independent statement in
NumPy and double precision, `tests/reference/davidnet.py`.
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
from netbuilder.networks.davidnet import BACKBONES
from tests import consumers
from tests.reference import compare, davidnet
from tests.reference.tape import Tape, Var

FILE = Path(__file__).parents[1] / "ground_truth" / "logits" / "davidnet.npz"


def stitch(network: str, phase: str, **options: Any) -> Net:
    entry = find_network(network)
    return entry.stitch(entry.config(**options), phase)


# ---- David Page's own code ---------------------------------------------------------------------------------


@cache
def page() -> tuple[dict[str, list[Any]], Any, Any]:
    """The weights by our layer names, the images and the logits."""
    with np.load(FILE) as file:
        stored = dict(file)
    meta, operations = json.loads(str(stored["meta"])), json.loads(str(stored["ops"]))
    params: dict[str, list[Any]] = {}
    for i, op in enumerate(operations):
        name = "fc10" if op["name"] == "linear" else re.sub(r"(.*)_(conv|bn)$", r"\2_\1", op["name"])
        if op["kind"] == "BatchNorm":
            gamma, beta, mean, variance = (
                stored[f"{i:04d}.{key}"] for key in ("weight", "bias", "running_mean", "running_var")
            )
            params[name] = [mean, variance, np.ones(1)]
            params[name.replace("bn_", "scale_", 1)] = [gamma, beta]
            continue
        shape = tuple(op["weight_shape"])
        draw = np.random.default_rng([meta["seed"], op["weight_index"]])
        factor = (2 / math.prod(shape[1:])) ** 0.5 * (0.2 if op["kind"] == "InnerProduct" else 1)
        params[name] = [draw.standard_normal(shape, dtype=np.float32) * np.float32(factor)]
    shape = (meta["batch"], 3, meta["size"], meta["size"])
    images = np.random.default_rng([meta["seed"], 10**6]).standard_normal(shape, dtype=np.float32)
    return params, images, stored["logits"]


def test_real_caffe_gives_pages_logits(real_caffe: Caffe) -> None:
    params, images, logits = page()
    net = stitch("davidnet", "deploy")
    assert {layer.name for layer in net if layer.params} == set(params)
    ran = real_caffe.run(prototxt.dumps(net), inputs={"data": images}, params=params, outputs=["logits"])
    assert abs(ran.outputs["logits"] - logits).max() <= 1e-5


def test_a_missing_addition_would_be_seen(real_caffe: Caffe) -> None:
    """The negative control: the same net without the residual of layer1."""
    params, images, logits = page()
    net = stitch("davidnet", "deploy", residual=("layer3",))
    kept = {name: values for name, values in params.items() if name in net}
    ran = real_caffe.run(prototxt.dumps(net), inputs={"data": images}, params=kept, outputs=["logits"])
    assert abs(ran.outputs["logits"] - logits).max() > 1e-2


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the deploy net up to its logits, and Page's weights."""
    folder = tmp_path_factory.mktemp("davidnet")
    consumers.write_model(consumers.until(stitch("davidnet", "deploy"), "logits"), page()[0], folder)
    return folder


def test_opencv_gives_pages_logits(model: Path) -> None:
    consumers.require("cv2")
    _, images, logits = page()
    assert abs(consumers.opencv(model, images, "logits") - logits).max() <= 1e-4


def test_mnn_gives_pages_logits(model: Path) -> None:
    consumers.require("MNN")
    _, images, logits = page()
    for image, expected in zip(images, logits, strict=True):  # the deploy net takes one image
        assert abs(consumers.mnn(model, image[None]) - expected).max() <= 1e-4


# ---- the search space, the studies, the tricks -------------------------------------------------------------

NARROW: dict[str, Any] = {"width": 8}  # an eighth of the channels: the same wiring, sooner
NONE = {"residual": ("none",)}
ALL = ("layer1", "layer2", "layer3")
# our options, those of the statement
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "final": ({}, {}),
    "residual and extra in all layers": (
        {"residual": ALL, "extra": ALL},
        {"residual": ALL, "extra": ALL},
    ),
    "extra in layer2": ({**NONE, "extra": ("layer2",)}, {"residual": (), "extra": ("layer2",)}),
    "no_repeats": (
        {"backbone": "no_repeats"},
        {"residual": (), "widths": (2, 4, 4), "pooled": False, "concat": True, "factor": 1},
    ),
    "strided": (
        {"backbone": "strided"},
        {"residual": (), "widths": (2, 4, 4), "pooled": False, "concat": True, "factor": 1},
    ),
    "pooled": (
        {"backbone": "pooled"},
        {"residual": (), "widths": (2, 4, 4), "concat": True, "factor": 1},
    ),
    "global_max": ({"backbone": "global_max"}, {"residual": (), "factor": 1}),
    "pool_first": ({"pool_first": True}, {"pool_first": True}),
    "celu": ({"celu": 0.3}, {"celu": 0.3}),
    "ghost": ({"ghost": 4}, {"ghost": 4}),
    "whitening": ({"whitening": True}, {"whitening": True}),
    "all tricks": (
        {
            "pool_first": True,
            "celu": 0.3,
            "ghost": 4,
            "whitening": True,
            "frozen_gamma": True,
            "logits_scale": 1 / 16,
            "label_smoothing": 0.2,
        },
        {"pool_first": True, "celu": 0.3, "ghost": 4, "whitening": True, "factor": 1 / 16},
    ),
}


def statement(train: bool, **options: Any) -> compare.Scores:
    def scores(tape: Tape, params: dict[str, list[Var]], image: Var) -> Var:
        return davidnet.David(tape, params, train, **NARROW, **options).scores(image)

    return scores


def top(net: Net) -> str:
    return "logits" if "logits" in net else "fc10"


def test_every_backbone_is_compared() -> None:
    assert set(BACKBONES) <= set(VARIANTS)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_gives_the_scores_of_its_statement(real_caffe: Caffe, variant: str) -> None:
    ours, theirs = VARIANTS[variant]
    net = stitch("davidnet", "deploy", **NARROW, **ours)
    assert compare.score_error(real_caffe, net, top(net), statement(False, **theirs), batch=2) <= 1e-5


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_learns_as_its_statement(real_caffe: Caffe, variant: str) -> None:
    ours, theirs = VARIANTS[variant]
    net = stitch("davidnet", "train", input_size=(16, 16), **NARROW, **ours)
    smoothing = ours.get("label_smoothing", 0)
    errors = compare.train_errors(
        real_caffe, net, top(net), statement(True, **theirs), batch=8, smoothing=smoothing
    )
    assert max(errors["scores"], errors["loss"]) <= 1e-5
    assert max(errors["input"], errors["params"]) <= 2e-5


BASELINES: dict[str, dict[str, Any]] = {
    "tuned": {},
    "with BatchNorm behind prep": {"prep_bn": True},
    "shortcuts alone": {"branches": False},
}


@pytest.mark.parametrize("variant", BASELINES)
def test_the_baseline_gives_the_scores_of_its_statement(real_caffe: Caffe, variant: str) -> None:
    options = BASELINES[variant]
    net = stitch("dawnnet", "deploy", **NARROW, **options)

    def scores(tape: Tape, params: dict[str, list[Var]], image: Var) -> Var:
        return davidnet.dawn_scores(tape, params, image, train=False, **options)

    assert compare.score_error(real_caffe, net, "fc10", scores, batch=2) <= 1e-5


@pytest.mark.parametrize("variant", BASELINES)
def test_the_baseline_learns_as_its_statement(real_caffe: Caffe, variant: str) -> None:
    options = BASELINES[variant]
    net = stitch("dawnnet", "train", input_size=(16, 16), **NARROW, **options)

    def scores(tape: Tape, params: dict[str, list[Var]], image: Var) -> Var:
        return davidnet.dawn_scores(tape, params, image, train=True, **options)

    errors = compare.train_errors(real_caffe, net, "fc10", scores, batch=4)
    assert max(errors["scores"], errors["loss"]) <= 1e-5
    assert max(errors["input"], errors["params"]) <= 2e-5
