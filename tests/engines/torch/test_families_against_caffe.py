"""Layers in combinations of fields that the numeric cases lack, against real Caffe."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from netbuilder import prototxt
from netbuilder.engines.caffe.judge import Caffe
from netbuilder.engines.torch import module
from tests.engines.torch.differential import Layer, differences

MOST = 5e-6


def conv(type: str, fields: str, *bottoms: tuple[int, ...]) -> Layer:
    return Layer(type, f"convolution_param {{ {fields} }}", bottoms, tops=len(bottoms))


CONVOLUTIONS = {
    "no spatial axis": conv("Convolution", "num_output: 4 kernel_size: 1 group: 2", (3, 4)),
    "no spatial axis, axis 0": conv("Convolution", "num_output: 3 kernel_size: 1 axis: 0", (4,)),
    "one axis": conv("Convolution", "num_output: 4 kernel_size: 3 stride: 2 pad: 1", (2, 3, 7)),
    "three axes": conv(
        "Convolution", "num_output: 2 kernel_size: 2 kernel_size: 3 kernel_size: 1 pad: 1", (2, 2, 3, 4, 3)
    ),
    "four axes": conv(
        "Convolution", "num_output: 4 kernel_size: 2 stride: 2 pad: 1 group: 2", (2, 2, 3, 4, 3, 2)
    ),
    "two batch axes": conv("Convolution", "num_output: 3 kernel_size: 2 axis: 2", (2, 2, 3, 4, 5)),
    "no batch axis": conv("Convolution", "num_output: 3 kernel_size: 3 axis: -3", (2, 5, 5)),
    "three bottoms": conv(
        "Convolution", "num_output: 3 kernel_size: 3 dilation: 2 pad: 2", *((2, 2, 5, 5),) * 3
    ),
    "a dilation of 0": conv(
        "Convolution", "num_output: 2 kernel_size: 3 dilation: 0 dilation: 1", (1, 2, 4, 5)
    ),
    "truncates": conv("Convolution", "num_output: 2 kernel_size: 5 stride: 2", (2, 2, 4, 6)),
    "truncates, padded": conv(
        "Convolution", "num_output: 2 kernel_size: 4 stride: 3 pad: 1 pad: 0", (2, 2, 1, 3)
    ),
    "a pair alone": conv("Convolution", "num_output: 2 kernel_h: 3 kernel_w: 2 pad_w: 3", (2, 2, 4, 2)),
    "much padding": conv("Convolution", "num_output: 2 kernel_size: 2 stride: 3 pad: 7", (1, 2, 3, 4)),
    "deconvolution, one axis": conv(
        "Deconvolution", "num_output: 4 kernel_size: 3 stride: 2 pad: 1", (2, 3, 5)
    ),
    "deconvolution, groups": conv(
        "Deconvolution", "num_output: 4 kernel_size: 4 stride: 2 pad: 1 group: 2 dilation: 2", (2, 6, 3, 4)
    ),
    "deconvolution, four axes": conv(
        "Deconvolution", "num_output: 4 kernel_size: 2 stride: 2 pad: 1 group: 2", (2, 2, 3, 2, 2, 3)
    ),
    "deconvolution, no spatial axis": conv("Deconvolution", "num_output: 4 kernel_size: 1 group: 2", (3, 2)),
    "deconvolution, two batch axes": conv(
        "Deconvolution", "num_output: 3 kernel_size: 2 axis: 2", (2, 2, 3, 4, 5)
    ),
    "deconvolution, dilation 0": conv(
        "Deconvolution", "num_output: 2 kernel_size: 2 dilation: 0", (1, 2, 3, 4)
    ),
    "deconvolution, two bottoms": conv(
        "Deconvolution", "num_output: 1 kernel_size: 2 pad: 1", *((1, 2, 3, 4),) * 2
    ),
    "im2col, one axis": conv("Im2col", "kernel_size: 3 stride: 2 pad: 1", (2, 3, 7)),
    "im2col, three axes": conv("Im2col", "kernel_size: 2 dilation: 2 pad: 1", (2, 2, 4, 4, 3)),
    "im2col, truncates": conv("Im2col", "kernel_size: 4 stride: 2", (2, 2, 3, 5)),
}


def pool(fields: str, *size: int, type: str = "Pooling", **more: Any) -> Layer:
    message = "pooling_param" if type == "Pooling" else "spp_param"
    return Layer(type, f"{message} {{ {fields} }}", [(2, 2, *size)], **more)


# Many equal values: the first maximum gets the gradient.
TIES = np.random.default_rng(3).integers(0, 3, (2, 2, 7, 8))
POOLINGS = {
    "pad above half the kernel": pool("kernel_size: 3 pad: 2 stride: 2", 5, 6),
    "pad above half the kernel, average": pool("pool: AVE kernel_size: 3 pad: 2", 5, 6),
    "a pad on one axis": pool("kernel_h: 1 kernel_w: 3 stride_h: 3 stride_w: 1 pad_h: 0 pad_w: 1", 8, 5),
    "a window outside": pool("kernel_size: 1 stride: 2", 8, 5, tops=2, graded=()),
    "a window outside, average": pool("pool: AVE kernel_size: 1 stride: 3", 5, 6, graded=()),
    "far outside, average": pool("pool: AVE kernel_size: 1 stride: 5", 7, 4, graded=()),
    "kernel above the image": pool("kernel_size: 4 stride: 2", 3, 7),
    "kernel above the image, average": pool("pool: AVE kernel_size: 4 stride: 2", 7, 3),
    "rounded down": pool("kernel_size: 2 stride: 3 round_mode: FLOOR", 7, 6),
    "rounded down, average": pool("pool: AVE kernel_size: 3 stride: 2 pad: 2 round_mode: FLOOR", 7, 6),
    "indices": pool("kernel_size: 3 stride: 2 pad: 1", 7, 8, tops=2, graded=(0,)),
    "indices, much padding": pool("kernel_size: 3 stride: 2 pad: 2", 7, 8, tops=2, graded=(0,)),
    "global": pool("global_pooling: true", 5, 3),
    "global, indices": pool("global_pooling: true", 5, 3, tops=2, graded=(0,)),
    "global average": pool("pool: AVE global_pooling: true", 5, 3),
    "ties": Layer("Pooling", "pooling_param { kernel_size: 3 stride: 2 }", [TIES]),
    "ties, much padding": Layer(
        "Pooling", "pooling_param { kernel_size: 3 stride: 2 pad: 2 }", [TIES], tops=2, graded=(0,)
    ),
    "ties, global": Layer("Pooling", "pooling_param { global_pooling: true }", [TIES]),
    "pyramid": pool("pyramid_height: 3", 7, 8, type="SPP"),
    "pyramid, average": pool("pyramid_height: 2 pool: AVE", 3, 8, type="SPP"),
    "pyramid, one level": pool("pyramid_height: 1 pool: AVE", 3, 4, type="SPP"),
}


def batch_norm(fields: str, *shape: int, factor: float = 2.5, **more: Any) -> Layer:
    rng = np.random.default_rng(shape[1])
    blobs = [rng.normal(0, 1, shape[1]), rng.uniform(0.1, 2, shape[1]), np.array([factor])]
    params = [blob.astype(np.float32) for blob in blobs]
    return Layer("BatchNorm", f"batch_norm_param {{ {fields} }}", [shape], params=params, **more)


INDICES = np.random.default_rng(4).uniform(0, 4.99, (2, 3))
NORMALIZATIONS = {
    "BatchNorm, TRAIN": batch_norm("", 4, 3, 5, 2, phase="TRAIN"),
    "BatchNorm, two axes": batch_norm("moving_average_fraction: 0.5", 9, 4, phase="TRAIN"),
    "BatchNorm, five axes": batch_norm("eps: 0.01", 3, 2, 2, 2, 3, phase="TRAIN"),
    "BatchNorm, one value": batch_norm("", 1, 3, 1, 1, phase="TRAIN"),
    "BatchNorm, fraction 1": batch_norm("moving_average_fraction: 1", 4, 3, 3, 3, phase="TRAIN"),
    "BatchNorm, fraction 0": batch_norm("moving_average_fraction: 0", 4, 3, 3, 3, phase="TRAIN"),
    "BatchNorm, stored in TRAIN": batch_norm("use_global_stats: true", 4, 3, 3, 3, phase="TRAIN"),
    "BatchNorm, TEST": batch_norm("", 4, 3, 3, 3),
    "BatchNorm, own statistics in TEST": batch_norm("use_global_stats: false", 4, 3, 3, 3),
    "BatchNorm, never trained": batch_norm("", 4, 3, 3, 3, factor=0),
    "Scale": Layer("Scale", "scale_param { bias_term: true }", [(2, 3, 4, 5)]),
    "Scale, one axis": Layer("Scale", "scale_param { axis: 0 bias_term: true }", [(4,)]),
    "Scale, a run of axes": Layer("Scale", "scale_param { axis: -3 num_axes: 2 }", [(2, 3, 4, 5)]),
    "Scale, to the end": Layer(
        "Scale", "scale_param { axis: 2 num_axes: -1 bias_term: true }", [(2, 3, 4, 5)]
    ),
    "Scale, a scalar": Layer("Scale", "scale_param { num_axes: 0 bias_term: true }", [(2, 3, 4)]),
    "Scale, two bottoms": Layer("Scale", "scale_param { axis: 0 }", [(2, 3, 4, 5), (2, 3)]),
    "Scale, two bottoms and bias": Layer(
        "Scale", "scale_param { axis: 1 bias_term: true }", [(2, 3, 4), (3, 4)]
    ),
    "Scale, a scalar bottom": Layer("Scale", "scale_param { bias_term: true }", [(2, 3, 4), ()]),
    "Bias": Layer("Bias", "", [(2, 3, 4, 5)]),
    "Bias, a run of axes": Layer("Bias", "bias_param { axis: -2 num_axes: -1 }", [(2, 3, 4, 5)]),
    "Bias, a scalar": Layer("Bias", "bias_param { num_axes: 0 }", [(2, 3, 4)]),
    "Bias, two bottoms": Layer("Bias", "bias_param { axis: 0 }", [(2, 3, 4), (2, 3)]),
    "LRN": Layer("LRN", "lrn_param { local_size: 3 alpha: 0.5 beta: 0.6 k: 2 }", [(2, 6, 3, 4)]),
    "LRN, wider than the channels": Layer("LRN", "lrn_param { local_size: 9 }", [(2, 3, 2, 2)]),
    "LRN, within": Layer(
        "LRN", "lrn_param { local_size: 3 alpha: 2 k: 5 norm_region: WITHIN_CHANNEL }", [(2, 2, 4, 5)]
    ),
    "LRN, within, wide": Layer(
        "LRN", "lrn_param { local_size: 7 norm_region: WITHIN_CHANNEL }", [(2, 2, 3, 2)]
    ),
    "MVN": Layer("MVN", "", [(2, 3, 4, 5)]),
    "MVN, large eps": Layer("MVN", "mvn_param { eps: 0.3 }", [(2, 3, 4, 5)]),
    "MVN, across channels": Layer("MVN", "mvn_param { across_channels: true eps: 0.1 }", [(2, 3, 4)]),
    "MVN, the mean alone": Layer(
        "MVN", "mvn_param { normalize_variance: false across_channels: true }", [(2, 6)]
    ),
    "InnerProduct": Layer("InnerProduct", "inner_product_param { num_output: 4 }", [(2, 3, 2, 2)]),
    "InnerProduct, axis": Layer(
        "InnerProduct", "inner_product_param { num_output: 4 axis: -1 }", [(2, 3, 5)]
    ),
    "InnerProduct, transposed": Layer(
        "InnerProduct",
        "inner_product_param { num_output: 4 axis: 2 transpose: true bias_term: false }",
        [(2, 3, 2, 2)],
    ),
    "InnerProduct, one axis": Layer(
        "InnerProduct", "inner_product_param { num_output: 3 axis: 0 transpose: true }", [(5,)]
    ),
    "Embed": Layer("Embed", "embed_param { num_output: 3 input_dim: 5 }", [INDICES], to_inputs=False),
    "Embed, no bias": Layer(
        "Embed", "embed_param { num_output: 3 input_dim: 5 bias_term: false }", [INDICES], to_inputs=False
    ),
}


def check(caffe: Caffe, layer: Layer) -> None:
    found = differences(caffe, layer)
    assert found
    assert all(value <= MOST for value in found.values()), found


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_sliding_kernel(real_caffe: Caffe, name: str) -> None:
    check(real_caffe, CONVOLUTIONS[name])


@pytest.mark.parametrize("name", POOLINGS)
def test_pooling(real_caffe: Caffe, name: str) -> None:
    check(real_caffe, POOLINGS[name])


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_normalizations_and_products(real_caffe: Caffe, name: str) -> None:
    check(real_caffe, NORMALIZATIONS[name])


def test_the_indices_of_maxima_stay_exact_in_half_precision() -> None:
    text = pool("kernel_size: 2 stride: 2", 40, 40, tops=2).net()
    m = module(prototxt.parse(text, "TEST"))
    x = torch.randint(0, 4, (2, 2, 40, 40)).float()
    full, half = m(x), m(x.bfloat16())
    assert torch.equal(full["y1"], half["y1"])
