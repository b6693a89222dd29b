"""Shipped configs, folded: real Caffe, OpenCV and MNN compute the logits of the original net.

Five small ones, or all where NETBUILDER_ALL=1: `make configs-fold`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netbuilder import Net, prototxt
from netbuilder.checks import consumers as targets
from netbuilder.config import all_configs, load
from netbuilder.engines.caffe import Caffe
from netbuilder.transforms.fold import fold
from netbuilder.weights.fill import fixed_arrays, is_fixed
from tests import consumers

CONFIGS = {found.name: found for found in all_configs()}
FIVE = ("cifar_resnet_20_a", "davidnet_tricks", "dawnnet_tuned", "gcr_resnet_20_bn_after", "resnet_18")
NAMES = tuple(CONFIGS) if os.environ.get("NETBUILDER_ALL") == "1" else FIVE


def stitch(name: str, phase: str) -> Net:
    """The net of a config; those for ImageNet take images of 64 pixels, and one of 5,418 layers of 16."""
    sizes = {"imagenet": ["input_size=64"]}.get(CONFIGS[name].path.parent.name, [])
    return load(name, ["input_size=16"] if name == "cifar_resnet_1202_a" else sizes).stitch(phase)


def trained(real_caffe: Caffe, train: Net) -> dict[str, list[Any]]:
    """Weights by Caffe's fillers, drawn affine parameters, and the statistics of one batch with these.

    No channel has a variance far below the others' or its own mean, as the pooled noise of attention would:
    that enlarges rounding errors in either net, and saturates a Softmax.
    """
    random = np.random.default_rng(1)
    image, *labels = train.inputs
    given: dict[str, Any] = {image.name: random.normal(size=(4, *image.known_shape[1:]))}
    given |= {label.name: random.integers(10, size=(4, *label.known_shape[1:])) for label in labels}
    affine = {
        layer.name: [(p.role == "weight") + random.normal(0, 0.2, p.shape) for p in layer.params]
        for layer in train
        if layer.type == "Scale" and layer.params
    }
    params = real_caffe.run(
        prototxt.dumps(train), phase="TRAIN", inputs=given, params=affine, outputs=[], fetch_params=True,
        seed=1,
    ).params  # fmt: skip
    for layer in train:
        if layer.type == "BatchNorm":
            mean, variance, factor = params[layer.name]
            params[layer.name] = [mean, variance + variance.mean() + 0.1 * mean**2, factor]
    return params


def until_scores(net: Net, scores: str) -> Net:
    """The net without the Softmax behind its scores."""
    return consumers.until(net, [layer.name for layer in net if layer.tops[0].name == scores][-1])


def loads(consumer: str, net: Net) -> bool:
    return all(found.severity != "error" for found in targets.check(net, consumer))


def logits(
    consumer: str, net: Net, arrays: Mapping[str, Sequence[Any]], folder: Path, image: Any, scores: str
) -> Any:
    consumers.require(consumers.MODULES[consumer])
    consumers.write_model(net, arrays, folder)
    # OpenCV has a blob for each layer, in place too, under the layer's name.
    last = net.layers[-1].name
    return consumers.computed(consumer, folder, {"": image}, [(last, 0, scores)])[0].reshape(1, -1)


@pytest.mark.parametrize("name", NAMES)
def test_a_folded_config_gives_its_logits(real_caffe: Caffe, name: str, tmp_path: Path) -> None:
    deploy = stitch(name, "deploy")
    params = trained(real_caffe, stitch(name, "train"))
    arrays = {layer.name: params[layer.name] for layer in deploy if layer.params}
    arrays |= {layer.name: fixed_arrays(layer) for layer in deploy if is_fixed(layer)}
    scores = next(layer.bottoms[0].name for layer in reversed(list(deploy)) if layer.type == "Softmax")
    found = fold(deploy, arrays.__getitem__)
    assert len(found.net) < len(deploy)
    others = dict(found.arrays(arrays.items()))
    image = np.random.default_rng(2).normal(size=deploy.inputs[0].known_shape).astype(np.float32)
    inputs = {deploy.inputs[0].name: image}
    wanted = real_caffe.run(prototxt.dumps(deploy), inputs=inputs, params=arrays, outputs=[scores])
    ours = real_caffe.run(prototxt.dumps(found.net), inputs=inputs, params=others, outputs=[scores])
    wanted_logits = wanted.outputs[scores].reshape(1, -1)
    largest = float(abs(wanted_logits).max())
    assert np.isfinite(largest)
    assert largest > 0
    given = {"caffe": ours.outputs[scores].reshape(1, -1)}
    small = until_scores(found.net, scores)
    for consumer in ("opencv", "mnn"):
        if loads(consumer, small):
            given[consumer] = logits(consumer, small, others, tmp_path, image, scores)
    differences = {who: float(abs(values - wanted_logits).max()) / largest for who, values in given.items()}
    print(
        f"{name}: {len(deploy)} -> {len(found.net)} layers, kept {len(found.kept)},",
        ", ".join(f"{who} {difference:.1e}" for who, difference in differences.items()),
    )
    assert max(differences.values()) <= 1e-5
