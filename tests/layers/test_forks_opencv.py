"""OpenCV has many layers of forks too: the shapes that it computes are ours, from the same two files.

What it lacks or does otherwise is left out: an order of Permute that does not name every axis, Normalize
across places or with one scale for all channels, shrink_factor of Interp, a PriorBox without variance.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netbuilder import Net
from tests.consumers import require, write_model

IMAGE = (1, 6, 12, 14)
VARIANCE = [0.1, 0.1, 0.2, 0.2]


def judged(net: Net, output: str, folder: Path) -> Any:
    """What OpenCV computes for this blob from random inputs and parameters."""
    import cv2

    rng = np.random.default_rng(0)
    write_model(net, {x.name: [rng.random(p.shape) for p in x.params] for x in net}, folder)
    model = cv2.dnn.readNetFromCaffe(str(folder / "net.prototxt"), str(folder / "net.caffemodel"))
    for layer in net:
        if layer.type == "Input":
            model.setInput(rng.random(layer.tops[0].known_shape).astype(np.float32), layer.name)
    return model.forward(output)


@pytest.mark.parametrize(
    ("type", "bottoms", "fields"),
    [
        ("Permute", [IMAGE], {"order": [0, 2, 3, 1]}),
        ("Permute", [IMAGE], {"order": [0, 3, 1, 2]}),
        ("Normalize", [IMAGE], {"across_spatial": False, "channel_shared": False}),
        ("PriorBox", [IMAGE, (1, 3, 90, 90)], {"min_size": [30], "variance": VARIANCE}),
        (
            "PriorBox",
            [IMAGE, (1, 3, 90, 90)],
            {"min_size": [30], "max_size": [60], "aspect_ratio": [2, 3], "variance": VARIANCE},
        ),
        (
            "PriorBox",
            [IMAGE, (1, 3, 90, 90)],
            {"min_size": [30, 40], "aspect_ratio": [2, 3, 2], "flip": False, "variance": VARIANCE},
        ),
        (
            "PriorBox",
            [IMAGE, (1, 3, 90, 90)],
            {"min_size": [9, 19], "max_size": [19, 29], "aspect_ratio": [2], "clip": True, "step": 8}
            | {"variance": VARIANCE},
        ),
        ("ROIPooling", [IMAGE, (7, 5)], {"pooled_h": 3, "pooled_w": 2, "spatial_scale": 0.5}),
        ("PSROIPooling", [(1, 18, 14, 14), (7, 5)], {"output_dim": 2, "group_size": 3, "spatial_scale": 0.5}),
        ("Interp", [IMAGE], {"height": 25, "width": 9}),
        ("Interp", [IMAGE], {"zoom_factor": 8}),
        ("ReLU6", [IMAGE], {}),
        ("ShuffleChannel", [IMAGE], {"group": 3}),
        ("Axpy", [(1, 6, 1, 1), IMAGE, IMAGE], {}),
        ("Axpy", [(1, 6), IMAGE, IMAGE], {}),
        ("Reorg", [IMAGE], {"stride": 2}),
        ("ConvolutionDepthwise", [IMAGE], {"num_output": 6, "kernel_size": 3, "stride": 2, "pad": 1}),
        (
            "ConvolutionDepthwise",
            [IMAGE],
            {"num_output": 6, "group": 6, "kernel_size": 3, "dilation": 2, "bias_term": False},
        ),
        ("BatchNorm", [IMAGE], {"scale_bias": True}),
        ("Pooling", [(1, 6, 7, 7)], {"kernel_size": 2, "stride": 2, "ceil_mode": False}),
        ("Pooling", [(1, 6, 7, 7)], {"kernel_size": 2, "stride": 2, "ceil_mode": True}),
        ("Pooling", [(1, 6, 112, 112)], {"kernel_size": 3, "stride": 2, "pad": 1, "ceil_mode": False}),
    ],
)
def test_opencv_computes_the_shape_that_the_rule_says(
    type: str, bottoms: list[tuple[int, ...]], fields: dict[str, Any], tmp_path: Path
) -> None:
    require("cv2")
    net = Net("n", phase="TEST", dialect="any")
    blobs = [net.add("Input", name=f"x{i}", shape={"dim": shape}) for i, shape in enumerate(bottoms)]
    top = net.add(type, *blobs, name="t", **fields)
    assert judged(net, "t", tmp_path).shape == top.known_shape


def test_opencv_finds_rows_of_seven_in_what_the_heads_say(tmp_path: Path) -> None:
    require("cv2")
    net = Net("n", phase="TEST", dialect="ssd")
    feature = net.add("Input", name="feature", shape={"dim": [1, 3, 1, 2]})
    image = net.add("Input", name="image", shape={"dim": [1, 3, 30, 60]})
    fields: dict[str, Any] = {"min_size": [10], "max_size": [20], "aspect_ratio": [2, 3, 4], "flip": False}
    priors = net.add("PriorBox", feature, image, name="priors", variance=VARIANCE, **fields)
    assert priors.shape == (1, 2, 40)
    shifts = net.add("Input", name="shifts", shape={"dim": [1, 40]})
    scores = net.add("Input", name="scores", shape={"dim": [1, 30]})
    fields = {
        "num_classes": 3,
        "share_location": True,
        "background_label_id": 0,
        "keep_top_k": 5,
    }
    fields |= {"nms_param": {"nms_threshold": 0.45, "top_k": 10}, "code_type": "CENTER_SIZE"}
    top = net.add("DetectionOutput", shifts, scores, priors, name="t", confidence_threshold=0, **fields)
    found = judged(net, "t", tmp_path).shape
    assert (*found[:2], found[3]) == (1, 1, 7)
    assert 1 <= found[2] <= 5
    assert top.shape == (1, 1, 1, 7)


def test_opencv_computes_the_same_with_a_depthwise_layer_as_with_a_grouped_one(tmp_path: Path) -> None:
    require("cv2")
    found = []
    for type in ("Convolution", "ConvolutionDepthwise"):
        net = Net("n", phase="TEST", dialect="any")
        x = net.add("Input", name="x", shape={"dim": IMAGE})
        group: dict[str, Any] = {"group": 6} if type == "Convolution" else {}
        x = net.add(type, x, name="dw", num_output=6, kernel_size=3, pad=1, **group)
        net.add("Convolution", x, name="t", num_output=4, kernel_size=1)
        found.append(judged(net, "t", tmp_path))
    assert np.allclose(found[0], found[1], atol=1e-5)
