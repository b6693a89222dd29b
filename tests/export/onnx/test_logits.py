"""The official logits of the five reference nets in onnxruntime, folded and not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netbuilder import Net
from netbuilder.export.onnx import export
from netbuilder.export.onnx.verify import run
from netbuilder.transforms.deploy import deployed
from tests.networks import test_assemble_in_caffe as assemble
from tests.networks import test_bl_logits as bl
from tests.networks import test_davidnet_reference as david

# The net, its parameters by layer, the images, the logits, and the blob that must equal them.
Reference = tuple[Net, dict[str, list[Any]], Any, Any, str]


def big_little(name: str) -> Reference:
    _, params, image, logits = bl.reference(name)
    return bl.stitch(name, pooling="crop", dialect="caffe-1.0"), params, image, logits, "fc1000"


def davidnet() -> Reference:
    params, images, logits = david.page()
    return david.stitch("davidnet", "deploy"), params, images, logits, "logits"


def assembled() -> Reference:
    params, images, logits = assemble.reference()
    return assemble.stitch("deploy", classes=1001), params, images, logits, "fc1001"


REFERENCES: dict[str, Callable[[], Reference]] = {
    **{name: partial(big_little, name) for name in bl.NETS},
    "davidnet": davidnet,
    "assemble_resnet50": assembled,
}


@pytest.mark.parametrize("name", REFERENCES)
def test_the_logits_are_the_official_ones(name: str, tmp_path: Path) -> None:
    whole, params, images, logits, blob = REFERENCES[name]()
    net = deployed(whole, batch=len(images), outputs=[blob]).net
    weights = {layer: [np.asarray(each, np.float32) for each in blobs] for layer, blobs in params.items()}
    for fold in (False, True):
        file = tmp_path / f"{fold}.onnx"
        export(net, file, weights=weights, fold=fold, verify=False)
        found = run(file, {net.inputs[0].name: np.asarray(images, np.float32)})[blob]
        assert np.abs(found - logits).max() <= 1e-5, fold
        file.unlink()
