"""The pages docs/road-*.md, followed to the letter with seeded weights; others judge what comes out."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image

from netbuilder import prototxt
from netbuilder.cli.main import main
from netbuilder.engines import caffe
from netbuilder.schema import NetParameter
from tests import consumers
from tests.installation import require_torch
from tests.prototxt.test_from_model import with_blobs

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LOGITS = ROOT / "tests" / "ground_truth" / "logits" / "blresnet50_a2b4.npz"


def follow(page: str, folder: Path, results: str) -> list[Any]:
    """Do what a page says, in order, in this folder; return the arrays that its Python ends with."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    script = ""
    for language, block in FENCE.findall(text):
        if language == "python":
            script += block
            continue
        for line in block.splitlines():
            if line.startswith("netbuilder "):
                with pytest.MonkeyPatch.context() as patch:
                    patch.chdir(folder)
                    assert main(line.split()[1:]) == 0, line
            else:
                assert line.startswith("pip install "), line
    names = results.split()
    saved = "".join(f"np.save('{name}.result.npy', {name})\n" for name in names)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", f"{script}\nimport numpy as np\n{saved}"],
        cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    return [np.load(folder / f"{name}.result.npy") for name in names]


def softmax(scores: Any) -> Any:
    powers = np.exp(scores.astype(np.float64) - scores.max())
    return powers / powers.sum()


def draw_image(file: Path, size: int) -> None:
    """A smooth random image, of this size so that nothing is resized."""
    random = np.random.default_rng(5)
    small = Image.fromarray(random.integers(0, 256, (7, 7, 3), np.uint8))
    small.resize((size, size), Image.Resampling.BICUBIC).save(file)


# An AlexNet in small, as Caffe stored it in 2014, with the data layer of its training.
OLD = """name: "old" layers { name: "data" type: DATA top: "data" top: "label" include { phase: TRAIN }
  transform_param { crop_size: 67 mean_value: 104 mean_value: 117 mean_value: 123 }
  data_param { source: "ilsvrc12_train_leveldb" batch_size: 256 } }
layers { name: "conv1" type: CONVOLUTION bottom: "data" top: "conv1" blobs_lr: 1 blobs_lr: 2
  convolution_param { num_output: 16 kernel_size: 11 stride: 4 } }
layers { name: "relu1" type: RELU bottom: "conv1" top: "conv1" }
layers { name: "norm1" type: LRN bottom: "conv1" top: "norm1"
  lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 } }
layers { name: "pool1" type: POOLING bottom: "norm1" top: "pool1"
  pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
layers { name: "conv2" type: CONVOLUTION bottom: "pool1" top: "conv2"
  convolution_param { num_output: 24 pad: 2 kernel_size: 5 group: 2 } }
layers { name: "relu2" type: RELU bottom: "conv2" top: "conv2" }
layers { name: "pool2" type: POOLING bottom: "conv2" top: "pool2"
  pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
layers { name: "fc6" type: INNER_PRODUCT bottom: "pool2" top: "fc6" inner_product_param { num_output: 64 } }
layers { name: "relu6" type: RELU bottom: "fc6" top: "fc6" }
layers { name: "drop6" type: DROPOUT bottom: "fc6" top: "fc6" dropout_param { dropout_ratio: 0.5 } }
layers { name: "fc8" type: INNER_PRODUCT bottom: "fc6" top: "fc8" inner_product_param { num_output: 20 } }
layers { name: "loss" type: SOFTMAX_LOSS bottom: "fc8" bottom: "label" top: "loss" }
"""


def test_an_old_caffemodel_in_onnx_runtime(tmp_path: Path, real_caffe: caffe.Caffe) -> None:
    consumers.require("onnxruntime")
    require_torch()
    random = np.random.default_rng(2)
    net = prototxt.parse(OLD, "TRAIN", inputs={"data": (1, 3, 67, 67)})
    weights: dict[str, list[Any]] = {}
    for layer in net:
        for param in layer.params:
            spread = (2 / math.prod(param.shape[1:])) ** 0.5 if param.role == "weight" else 0.1
            spread *= 0.01 if layer.name == "conv1" else 1  # the image is large
            drawn = spread * random.standard_normal(param.shape)
            weights.setdefault(layer.name, []).append(drawn.astype(np.float32))
    (tmp_path / "old.caffemodel").write_bytes(with_blobs(text_format.Parse(OLD, NetParameter()), weights))
    draw_image(tmp_path / "cat.png", 67)
    prob, image = follow("road-old-caffemodel.md", tmp_path, "prob image")
    text = prototxt.dumps(net).replace("phase: TRAIN", "phase: TEST")
    text = re.sub(
        r'type: "Data"(.*?)data_param {[^}]*}',
        r'type: "MemoryData"\1memory_data_param { batch_size: 1 channels: 3 height: 67 width: 67 }', text,
        count=1, flags=re.DOTALL,
    )  # fmt: skip
    text = re.sub(r"transform_param {[^}]*}", "", text)
    inputs = {"data": image, "label": np.zeros(1)}
    scores = real_caffe.run(text, inputs=inputs, params=weights, outputs=["fc8"]).outputs["fc8"]
    assert np.ptp(scores) > 1
    np.testing.assert_allclose(prob[0], softmax(scores[0]), rtol=1e-5, atol=1e-7)


def official_state(file: Path) -> tuple[dict[str, Any], Any, Any]:
    """The official weights by their official names, the image and the logits."""
    with np.load(file) as opened:
        stored = dict(opened)
    meta, operations = json.loads(str(stored["meta"])), json.loads(str(stored["ops"]))
    state: dict[str, Any] = {}
    for i, op in enumerate(operations):
        if op["kind"] == "BatchNorm":
            for key in ("weight", "bias", "running_mean", "running_var"):
                state[f"{op['name']}.{key}"] = stored[f"{i:04d}.{key}"]
            state[f"{op['name']}.num_batches_tracked"] = np.array(1000)
            continue
        shape = tuple(op["weight_shape"])
        weight = np.random.default_rng([meta["seed"], op["weight_index"]]).standard_normal(
            shape, dtype=np.float32
        )
        factor = (2 / math.prod(shape[1:])) ** 0.5 * (0.2 if op["kind"] == "InnerProduct" else 1)
        state[f"{op['name']}.weight"] = weight * np.float32(factor)
        if f"{i:04d}.bias" in stored:
            state[f"{op['name']}.bias"] = stored[f"{i:04d}.bias"]
    size = meta["size"]
    image = np.random.default_rng([meta["seed"], 10**6]).standard_normal((1, 3, size, size), dtype=np.float32)
    return state, image, stored["logits"]


def test_the_official_bl_net_in_mnn(tmp_path: Path) -> None:
    consumers.require("MNN")
    require_torch()
    import torch

    state, image, logits = official_state(LOGITS)
    tensors = {f"module.{name}": torch.from_numpy(np.array(array)) for name, array in state.items()}
    torch.save({"epoch": 110, "state_dict": tensors}, tmp_path / "blresnet50.pth")
    np.save(tmp_path / "image.npy", image)
    (prob,) = follow("road-bl-net-to-mnn.md", tmp_path, "prob")
    expected = softmax(logits[0])
    assert np.ptp(logits) > 1
    np.testing.assert_allclose(prob.reshape(-1), expected, rtol=0, atol=1e-5 * expected.max())


def test_torchvisions_resnet_in_opencv(tmp_path: Path) -> None:
    consumers.require("cv2")
    require_torch()
    import torch

    from tests.engines.torch.published import PUBLISHED, ResNet, randomised

    model = randomised(ResNet(PUBLISHED["torchvision_resnet_18"]))
    torch.save(model.state_dict(), tmp_path / "resnet18.pth")
    draw_image(tmp_path / "cat.png", 224)
    (prob,) = follow("road-torchvision-to-opencv.md", tmp_path, "prob")
    rgb = np.asarray(Image.open(tmp_path / "cat.png"), np.float32) / 255
    normalised = (rgb - np.array([0.485, 0.456, 0.406], "f4")) / np.array([0.229, 0.224, 0.225], "f4")
    with torch.no_grad():
        scores = model(torch.from_numpy(normalised.transpose(2, 0, 1)[None])).numpy()
    assert np.ptp(scores) > 1
    expected = softmax(scores[0])
    np.testing.assert_allclose(prob[0], expected, rtol=0, atol=1e-5 * expected.max())
