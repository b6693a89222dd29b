"""The files that the scripts find in their folder: nets with their weights, images, a mean, a database."""

from __future__ import annotations

import io
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from netbuilder import prototxt
from netbuilder.weights.write import write_blob, write_model
from tests.databases import write_lmdb

__all__ = ["files"]

DEPLOY = """name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 16 dim: 16 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 6 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "fc1" type: "InnerProduct" bottom: "pool1" top: "fc1"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "relu2" type: "ReLU" bottom: "fc1" top: "fc1" }
layer { name: "drop" type: "Dropout" bottom: "fc1" top: "fc1" }
layer { name: "fc2" type: "InnerProduct" bottom: "fc1" top: "fc2"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "prob" type: "Softmax" bottom: "fc2" top: "prob" }
"""

TRAIN = """name: "trained"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { scale: 0.00390625 } data_param { source: "db" backend: LMDB batch_size: 8 } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { scale: 0.00390625 } data_param { source: "db" backend: LMDB batch_size: 8 } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 6 kernel_size: 5 weight_filler { type: "xavier" } } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
layer { name: "relu1" type: "ReLU" bottom: "pool1" top: "pool1" }
layer { name: "score" type: "InnerProduct" bottom: "pool1" top: "score"
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss" }
layer { name: "acc" type: "Accuracy" bottom: "score" bottom: "label" top: "acc" include { phase: TEST } }
"""

SOLVER = """net: "train.prototxt" test_iter: 2 test_interval: 6 base_lr: 0.05 momentum: 0.9
weight_decay: 0.0005
lr_policy: "inv" gamma: 0.001 power: 0.75 display: 4 max_iter: 100 snapshot_prefix: "trained"
"""

NORMALISED = """name: "normalised"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 9 dim: 9 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 4 kernel_size: 3 bias_term: false } }
layer { name: "bn1" type: "BatchNorm" bottom: "conv1" top: "conv1" }
layer { name: "scale1" type: "Scale" bottom: "conv1" top: "conv1" scale_param { bias_term: true } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "conv2" type: "Convolution" bottom: "conv1" top: "conv2"
  convolution_param { num_output: 5 kernel_size: 3 stride: 2 } }
layer { name: "bn2" type: "BatchNorm" bottom: "conv2" top: "bn2" }
layer { name: "scale2" type: "Scale" bottom: "bn2" top: "scale2" scale_param { bias_term: true } }
layer { name: "relu2" type: "ReLU" bottom: "scale2" top: "relu2" }
layer { name: "conv3" type: "Convolution" bottom: "relu2" top: "conv3"
  convolution_param { num_output: 2 kernel_size: 1 } }
"""


@cache
def files() -> dict[str, bytes]:
    """The files by name."""
    found = {
        "deploy.prototxt": DEPLOY.encode(),
        "train.prototxt": TRAIN.encode(),
        "solver.prototxt": SOLVER.encode(),
        "bn.prototxt": NORMALISED.encode(),
    }
    rng = np.random.RandomState(11)
    mean = rng.uniform(80, 140, (1, 3, 16, 16)).astype(np.float32)
    for i in range(5):
        image = Image.fromarray(rng.randint(0, 256, (20 + i, 24 - i, 3)).astype(np.uint8))
        stream = io.BytesIO()
        image.save(stream, "png")
        found[f"images/{i}.png"] = stream.getvalue()
    stream = io.BytesIO()
    np.save(stream, mean[0])
    found["mean.npy"] = stream.getvalue()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_blob(place / "mean.binaryproto", mean)
        write_lmdb(place / "db", (_digit(rng, i % 4) for i in range(40)), (i % 4 for i in range(40)))
        write_model(place / "model.caffemodel", _weights(DEPLOY, rng))
        write_model(place / "train.caffemodel", _weights(TRAIN, rng, {"data": (8, 1, 16, 16)}))
        write_model(place / "bn.caffemodel", _weights(NORMALISED, rng))
        for path in place.rglob("*"):
            if path.is_file() and path.name != "lock.mdb":
                found[str(path.relative_to(place))] = path.read_bytes()
    return found


def _digit(rng: np.random.RandomState, label: int) -> Any:
    """An image (1, 16, 16) whose label can be seen."""
    image = rng.randint(0, 60, (1, 16, 16))
    y, x = 8 * (label // 2), 8 * (label % 2)
    image[:, y : y + 8, x : x + 8] += 180
    return image.astype(np.uint8)


def _weights(text: str, rng: np.random.RandomState, inputs: Any = None) -> dict[str, list[Any]]:
    """Weights of a net by layer name; statistics are positive."""
    net = prototxt.parse(text, "TRAIN", inputs=inputs)
    found = {}
    for layer in net:
        if layer.params:
            low = 0.5 if layer.type == "BatchNorm" else -0.25
            found[layer.name] = [
                rng.uniform(low, low + 0.5, p.shape).astype(np.float32) for p in layer.params
            ]
    return found
