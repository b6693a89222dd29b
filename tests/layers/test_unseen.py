"""What is certain of shapes although the data is not at hand: it must hold for images of any size."""

from __future__ import annotations

import re

import pytest

from netbuilder import prototxt
from netbuilder.engines.caffe import Caffe
from netbuilder.errors import ShapeError

DATA = (
    'layer { name: "data" type: "Data" top: "data" top: "label" '
    'data_param { source: "not-here" batch_size: 16 backend: LMDB } TRANSFORM }\n'
)
TAIL = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 6 kernel_size: 5 stride: 2 } }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "mean" type: "Pooling" bottom: "pool" top: "mean"
  pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 8 } }
layer { name: "both" type: "Concat" bottom: "mean" bottom: "mean" top: "both" }
layer { name: "rows" type: "Flatten" bottom: "data" top: "rows" }
layer { name: "first" type: "ArgMax" bottom: "rows" top: "first" }
layer { name: "one" type: "Reshape" bottom: "label" top: "one" reshape_param { shape { dim: 0 dim: 1 } } }
"""
SIZES = ((1, 28, 28), (3, 32, 40), (3, 224, 224), (4, 57, 91))


@pytest.mark.parametrize(
    ("crop", "known"),
    [
        (0, {"label", "mean", "fc", "both", "first", "one"}),
        (24, {"label", "mean", "fc", "both", "first", "one", "conv", "pool"}),
    ],
)
def test_what_is_certain_without_the_data_is_what_caffe_makes_of_any(
    crop: int, known: set[str], real_caffe: Caffe
) -> None:
    transform = f"transform_param {{ crop_size: {crop} }}" if crop else ""
    net = prototxt.parse(DATA.replace("TRANSFORM", transform) + TAIL)
    certain = {name: blob.shape for name, blob in net.blobs.items() if blob.shape is not None}
    assert set(certain) == known
    for channels, height, width in SIZES:
        dims = [16, channels, crop or height, crop or width]
        shapes = " ".join(f"shape {{ {' '.join(f'dim: {n}' for n in s)} }}" for s in (dims, [16]))
        loaded = real_caffe.load(f'input: "data" input: "label" {input_shapes(shapes)}{TAIL}')
        assert {name: loaded.blobs[name] for name in certain} == certain


def input_shapes(shapes: str) -> str:
    return re.sub(r"\bshape\b", "input_shape", shapes)


@pytest.mark.parametrize("source", [
    DATA.replace("TRANSFORM", ""),
    DATA.replace("TRANSFORM", "transform_param { crop_size: 24 mirror: true }"),
    'layer { name: "data" type: "ImageData" top: "data" top: "label" '
    'image_data_param { source: "not-here" batch_size: 16 } }\n',
    'layer { name: "data" type: "WindowData" top: "data" top: "label" '
    'window_data_param { source: "not-here" batch_size: 16 } transform_param { crop_size: 24 } }\n',
])  # fmt: skip
def test_scores_that_do_not_fit_the_labels_are_refused_before_there_is_data(source: str) -> None:
    scores = 'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" OUTPUTS }\n'
    scores = scores.replace("OUTPUTS", "inner_product_param { num_output: 8 }")
    loss = 'layer { name: "loss" type: "EuclideanLoss" bottom: "fc" bottom: "label" top: "loss" }\n'
    with pytest.raises(ShapeError, match=r"EuclideanLoss 'loss': .*\(16,8\).*\(16\)"):
        prototxt.parse(source + scores + loss, "TRAIN")
    fitting = prototxt.parse(source + scores.replace("8", "1") + loss, "TRAIN")
    assert fitting["loss"].tops[0].shape == ()


def test_another_batch_of_labels_is_refused() -> None:
    other = DATA.replace('"data" top: "label"', '"more" top: "target"').replace(
        'name: "data"', 'name: "more"'
    )
    text = DATA + other.replace("16", "8") + TAIL
    loss = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "target" top: "loss" }'
    with pytest.raises(ShapeError, match="SoftmaxWithLoss 'loss'"):
        prototxt.parse((text + loss).replace("TRANSFORM", ""))


def test_what_some_images_would_not_fit_stays_unknown() -> None:
    group = (
        'layer { name: "g" type: "Convolution" bottom: "data" top: "g" '
        "convolution_param { num_output: 3 group: 3 kernel_size: 1 } }"
    )
    assert prototxt.parse(DATA.replace("TRANSFORM", "") + group).blobs["g"].shape is None
