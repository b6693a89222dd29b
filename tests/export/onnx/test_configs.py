"""Shipped configs as ONNX files: onnxruntime computes what real Caffe computes, folded and not.

Six of them, or all where NETBUILDER_ALL=1: `make configs-onnx`.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from netbuilder import Net, prototxt
from netbuilder.config import all_configs, load
from netbuilder.engines.caffe import Caffe
from netbuilder.export.onnx import export
from netbuilder.export.onnx.verify import run, samples
from netbuilder.transforms.deploy import deployed
from tests.export.onnx.nets import random_arrays

CONFIGS = {found.name: found for found in all_configs()}
SIX = (
    "bl_resnet_50_a2_b4", "cifar_resnet_20", "davidnet_tricks", "dawnnet_tuned", "gcr_resnet_20",
    "resnet_34_inception_trick",
)  # fmt: skip
NAMES = tuple(CONFIGS) if os.environ.get("NETBUILDER_ALL") == "1" else SIX


def scored(name: str) -> tuple[Net, str]:
    """A net up to its scores, and their blob; images have 64 pixels, those of one of 5,418 layers 16."""
    sizes = {"imagenet": ["input_size=64"]}.get(CONFIGS[name].path.parent.name, [])
    net = load(name, ["input_size=16"] if name == "cifar_resnet_1202_a" else sizes).stitch("deploy")
    scores = next(layer.bottoms[0].name for layer in reversed(list(net)) if layer.type == "Softmax")
    return deployed(net, outputs=[scores]).net, scores


@pytest.mark.parametrize("name", NAMES)
def test_a_config_computes_what_real_caffe_computes(name: str, real_caffe: Caffe, tmp_path: Path) -> None:
    net, scores = scored(name)
    arrays, given = random_arrays(net), samples(net)
    expected = real_caffe.run(prototxt.dumps(net), inputs=given, params=arrays).outputs[scores]
    assert np.abs(expected).max() > 0
    for fold in (False, True):
        export(net, tmp_path / "net.onnx", weights=arrays, fold=fold, verify=False, force=True)
        found = run(tmp_path / "net.onnx", given)[scores]
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max(), fold


def test_the_six_are_shipped() -> None:
    assert set(SIX) <= set(CONFIGS)
