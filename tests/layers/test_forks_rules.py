"""Layer types of forks whose rules follow the forks' published sources: tops, parameters, and refusals."""

# ruff: noqa: E501 (a case is a line)

from __future__ import annotations

from typing import Any

import pytest

from netbuilder import counts, prototxt
from netbuilder.errors import ShapeError
from netbuilder.layers import RULES
from tests.layers.test_forks import layer, params, shapes

Case = tuple[str, tuple[tuple[int, ...], ...], dict[str, Any], list[tuple[int, ...]]]

TOPS: list[Case] = [
    # Synopsys' converters
    ("Squeeze", ((1, 3, 1, 5),), {}, [(3, 5)]),
    ("Squeeze", ((1, 3, 1, 5),), {"axis": 2}, [(1, 3, 5)]),
    ("Squeeze", ((1, 3, 1, 5),), {"axis": [0, -2]}, [(3, 5)]),
    ("HardSwish", ((2, 3, 4),), {}, [(2, 3, 4)]),
    ("SELU", ((2, 3),), {"alpha": 1.6, "lambda": 1.05}, [(2, 3)]),
    ("SeLU", ((2, 3),), {}, [(2, 3)]),
    ("Mul", ((2, 3, 4, 5), (2, 1, 4, 1)), {}, [(2, 3, 4, 5)]),
    ("Mul", ((4, 1), (2, 3, 4, 5)), {}, [(2, 3, 4, 5)]),
    ("Mul", ((2, 3, 4, 5), ()), {}, [(2, 3, 4, 5)]),
    ("Mul", ((2, 3, 4, 5),), {"mul_shape": [3, 1, 1]}, [(2, 3, 4, 5)]),
    ("ResizeNearestNeighbor", ((1, 4, 5, 3),), {"output_height": 8, "output_width": 9}, [(1, 8, 9, 3)]),
    ("ResizeNearestNeighbor", ((1, 3, 4, 5),), {"scale_height": 2, "scale_width": 1.5, "data_format": "NCHW"}, [(1, 3, 8, 7)]),
    ("ResizeBilinear", ((1, 4, 5, 3),), {"scale_height": 2, "scale_width": 2}, [(1, 8, 10, 3)]),
    ("ResizeBilinear", ((1, 3, 4, 5),), {"output_height": 8, "data_format": "NCHW"}, [(1, 3, 8, 5)]),
    ("ResizeBilinear", ((1, 3, 4, 5, 6),), {"output_depth": 3, "scale_height": 2, "data_format": "NCHWD"}, [(1, 3, 8, 5, 3)]),
    ("Pad", ((1, 3, 4, 5),), {"paddings": [0, 0, 0, 0, 1, 2, 3, 0]}, [(1, 3, 7, 8)]),
    ("Transpose", ((2, 3, 4),), {"dim": [2, 0, 1]}, [(4, 2, 3)]),
    ("DepthToSpace", ((1, 4, 5, 12),), {"block_size": 2}, [(1, 8, 10, 3)]),
    ("DepthToSpace", ((1, 12, 4, 5),), {"block_size": 2, "data_format": "NCHW"}, [(1, 3, 8, 10)]),
    # R-FCN
    ("SmoothL1LossOHEM", ((8, 84), (8, 84)), {"tops": 1}, [()]),
    ("SmoothL1LossOHEM", ((8, 84, 1, 1), (8, 84, 1, 1), (8, 84, 1, 1)), {"tops": 2}, [(), (8, 1, 1, 1)]),
    ("SoftmaxWithLossOHEM", ((8, 21, 1, 1), (8,)), {"tops": 3}, [(), (8, 21, 1, 1), (8,)]),
    ("BoxAnnotatorOHEM", ((9, 5, 1, 1), (9, 1, 1, 1), (9, 1, 1, 1), (9, 84, 1, 1)), {"tops": 2, "roi_per_img": 128}, [(9, 1, 1, 1), (9, 84, 1, 1)]),
    # YOLO
    ("RegionLoss", ((4, 13, 13, 5, 25), (4, 30, 5)), {"side": 13}, [()]),
    ("Yolov3", ((4, 75, 13, 13), (4, 1, 50, 8)), {"num": 3, "num_class": 20}, [()]),
    ("YoloDetectionOutput", ((1, 125, 13, 13),), {"num_classes": 20}, [(1, 1, 1, 7)]),
    ("Yolov3DetectionOutput", ((1, 75, 13, 13), (1, 75, 26, 26)), {"num_classes": 20}, [(1, 1, 1, 7)]),
    ("Yolov3DetectionOutput", ((1, 75, 13, 13), (1, 75, 26, 26), (1, 75, 52, 52)), {"num_classes": 20, "mask_group_num": 3}, [(1, 1, 1, 7)]),
    ("EvalDetection", ((4, 13 * 13 * 125), (4, 150)), {"side": 13, "num_class": 20, "num_object": 5}, [(4, 20 + 13 * 13 * 5 * 4)]),
    ("EvalDetection", ((4, 1470), (4, 343)), {"side": 7, "num_class": 20, "num_object": 2}, [(4, 20 + 7 * 7 * 2 * 4)]),
    ("EvalDetection", ((4, 125, 13, 13), (4, 150), (4, 3, 416, 416)), {"side": 13, "num_object": 5}, [(4, 20 + 13 * 13 * 5 * 4)]),
    # segmentation
    ("SegAccuracy", ((2, 21, 33, 33), (2, 1, 33, 33)), {"ignore_label": 255}, [(1, 1, 1, 3)]),
    ("DenseImageData", (), {"tops": 2, "source": "l", "batch_size": 4, "new_height": 360, "new_width": 480}, [(4, 3, 360, 480), (4, 1, 360, 480)]),
    ("DenseImageData", (), {"tops": 2, "source": "l", "batch_size": 4, "is_color": False, "crop_height": 8, "crop_width": 9}, [(4, 1, 8, 9), (4, 1, 8, 9)]),
    ("ImageSegData", (), {"tops": 3, "source": "l", "batch_size": 4, "label_type": "PIXEL", "transform_param": {"crop_size": 321}}, [(4, 3, 321, 321), (4, 1, 321, 321), (4, 1, 1, 2)]),
    # faces
    ("MarginInnerProduct", ((8, 512), (8,)), {"margin_inner_product_param": {"num_output": 100, "type": "QUADRUPLE"}}, [(8, 100)]),
    ("MarginInnerProduct", ((8, 512), (8,)), {"num_output": 100, "tops": 2}, [(8, 100), (1,)]),
    ("CenterLoss", ((8, 512), (8,)), {"num_output": 100}, [()]),
    # C3D
    ("Convolution3D", ((2, 3, 16, 112, 112),), {"num_output": 64, "kernel_size": 3, "kernel_depth": 3, "pad": 1, "temporal_pad": 1}, [(2, 64, 16, 112, 112)]),
    ("Convolution3D", ((2, 3, 16, 112, 112),), {"num_output": 64, "kernel_size": 7, "kernel_depth": 3, "stride": 2, "temporal_stride": 2, "pad": 3}, [(2, 64, 7, 56, 56)]),
    ("Deconvolution3D", ((2, 64, 4, 14, 14),), {"num_output": 32, "kernel_size": 4, "kernel_depth": 2, "stride": 2, "temporal_stride": 2, "pad": 1}, [(2, 32, 8, 28, 28)]),
    ("Pooling3D", ((2, 64, 16, 112, 112),), {"kernel_size": 2, "kernel_depth": 1, "stride": 2, "temporal_stride": 1}, [(2, 64, 16, 56, 56)]),
    ("Pooling3D", ((2, 512, 2, 7, 7),), {"kernel_size": 2, "kernel_depth": 2, "stride": 2, "temporal_stride": 2}, [(2, 512, 1, 4, 4)]),
    ("Pooling3D", ((2, 4, 5, 7, 7),), {"kernel_size": 2, "stride": 2}, [(2, 4, 2, 3, 3)]),  # Synopsys'
    ("Pooling3D", ((2, 4, 5, 7, 7),), {"kernel_size": 2, "stride": 2, "ceil_mode": True}, [(2, 4, 3, 4, 4)]),
    ("Pooling3D", ((2, 4, 5, 7, 7),), {"global_pooling": True, "pool": "AVE"}, [(2, 4, 1, 1, 1)]),
    ("VideoData", (), {"tops": 2, "dialect": "any", "source": "l", "batch_size": 8, "new_length": 16, "new_height": 128, "new_width": 171, "transform_param": {"crop_size": 112}}, [(8, 3, 16, 112, 112), (8,)]),
    # the four sides of an image, in Synopsys' and others'
    ("Convolution", ((1, 3, 8, 8),), {"num_output": 4, "kernel_size": 3, "stride": 2, "pad_l": 0, "pad_r": 1, "pad_t": 0, "pad_b": 1}, [(1, 4, 4, 4)]),
    ("Convolution", ((1, 3, 8, 8),), {"num_output": 4, "kernel_size": 3, "pad_l": 2, "pad_r": 1}, [(1, 4, 6, 9)]),
    ("Deconvolution", ((1, 3, 8, 8),), {"num_output": 4, "kernel_size": 4, "stride": 2, "pad_l": 1, "pad_r": 2, "pad_t": 0, "pad_b": 1}, [(1, 4, 17, 15)]),
    ("Pooling", ((1, 3, 8, 8),), {"kernel_size": 3, "stride": 2, "pad_r": 1, "pad_b": 1}, [(1, 3, 4, 4)]),
    ("Pooling", ((1, 3, 9, 9),), {"kernel_size": 3, "stride": 2, "pad_r": 1, "pad_b": 1}, [(1, 3, 5, 5)]),
    ("Pooling", ((1, 3, 9, 9),), {"kernel_size": 2, "stride": 2, "pad_r": 1, "pad_b": 1, "ceil_mode": False}, [(1, 3, 5, 5)]),
    ("Pooling", ((1, 3, 8, 8),), {"kernel_size": 3, "stride": 1, "pad": 1, "pool": "AVE_EXC_PAD"}, [(1, 3, 8, 8)]),
    ("Pooling", ((1, 3, 8, 8),), {"kernel_size": 3, "stride": 2, "pool": "AVE_TF"}, [(1, 3, 4, 4)]),
    # Intel
    ("Concat", ((2, 16, 38, 38), (2, 24, 19, 19)), {"per_fla_fuse": True}, [(2, 16 * 38 * 38 + 24 * 19 * 19, 1, 1)]),
]  # fmt: skip


@pytest.mark.parametrize("case", TOPS, ids=lambda case: f"{case[0]}-{TOPS.index(case)}")
def test_the_tops_are_those_of_the_forks_source(case: Case) -> None:
    type, bottoms, fields, tops = case
    assert shapes(type, *bottoms, **fields) == tops


WEIGHTS: list[tuple[Case, list[tuple[tuple[int, ...], str, bool]], int]] = [
    (
        ("Convolution3D", ((2, 3, 4, 8, 8),), {"num_output": 5, "kernel_size": 3, "kernel_depth": 2}, []),
        [((5, 3, 2, 3, 3), "weight", True), ((1, 1, 1, 1, 5), "bias", True)], 2 * 5 * 3 * 6 * 6 * 3 * 2 * 3 * 3,
    ),
    (
        ("Deconvolution3D", ((2, 3, 4, 8, 8),), {"num_output": 5, "kernel_size": 3, "kernel_depth": 2, "bias_term": False}, []),
        [((3, 5, 2, 3, 3), "weight", True)], 2 * 3 * 4 * 8 * 8 * 5 * 2 * 3 * 3,
    ),
    (
        ("MarginInnerProduct", ((8, 512), (8,)), {"num_output": 100}, []), [((100, 512), "weight", True)],
        8 * 100 * 512,
    ),
    (("CenterLoss", ((8, 512), (8,)), {"num_output": 100}, []), [((100, 512), "weight", True)], 0),
    (("Mul", ((2, 3, 4, 5),), {"mul_shape": [3, 1, 1]}, []), [((3, 1, 1), "weight", True)], 0),
]  # fmt: skip


@pytest.mark.parametrize(
    ("case", "blobs", "macs"), WEIGHTS, ids=lambda x: x[0] if isinstance(x, tuple) else None
)
def test_the_parameters_are_those_of_the_forks_source(
    case: Case, blobs: list[tuple[tuple[int, ...], str, bool]], macs: int
) -> None:
    type, bottoms, fields, _ = case
    found = layer(type, *bottoms, **fields)
    assert params(found) == blobs
    assert found.macs == macs


REFUSED: list[tuple[str, tuple[tuple[int, ...], ...], dict[str, Any], str]] = [
    ("Squeeze", ((1, 3),), {"axis": 1}, "axis 1 of (1,3) is not of size 1"),
    ("Pad", ((1, 3),), {"paddings": [1, 1]}, "2 axes need paddings 4 times, before and after each, got 2"),
    ("Transpose", ((2, 3),), {"dim": [0]}, "dim must name each axis of (2,3) once, got [0]"),
    ("Mul", ((2, 3), (2, 4)), {}, "axes must be equal or 1, got (2,3) and (2,4)"),
    ("DepthToSpace", ((1, 4, 4, 6),), {"block_size": 2}, "block_size 2 needs a multiple of 4 channels, got 6"),
    ("ResizeBilinear", ((1, 4, 4, 6),), {"align_corners": True, "half_pixel_centers": True}, "only one may be true"),
    ("SmoothL1LossOHEM", ((8, 84), (8, 80)), {}, "bottoms 0 and 1 must have equal shapes, got (8,84) and (8,80)"),
    ("SoftmaxWithLossOHEM", ((8, 21), (9,)), {}, "need 8 labels"),
    ("BoxAnnotatorOHEM", ((9, 5), (9, 1), (9, 1), (9, 84)), {"tops": 2}, "roi_per_img is missing or 0"),
    ("BoxAnnotatorOHEM", ((9, 4), (9, 1), (9, 1), (9, 84)), {"tops": 2, "roi_per_img": 1}, "bottom 0 must be (9,5,1,1)"),
    ("Yolov3", ((4, 70, 13, 13), (4, 1, 50, 8)), {"num": 3, "num_class": 20}, "need 75 channels"),
    ("Yolov3DetectionOutput", ((1, 75, 13, 13),), {"num_classes": 20}, "mask_group_num 2 needs as many bottoms, got 1"),
    ("YoloDetectionOutput", ((1, 125, 13, 13),), {}, "num_classes is missing"),
    ("EvalDetection", ((4, 99), (4, 150)), {"side": 13}, "numbers for each image"),
    ("SegAccuracy", ((2, 21, 33, 33), (2, 1, 32, 33)), {}, "need labels (2,1,33,33)"),
    ("MarginInnerProduct", ((8, 512), (7,)), {"num_output": 9}, "as many labels as its batch"),
    ("CenterLoss", ((8, 512), (8, 2)), {"num_output": 9}, "needs a label per image"),
    ("Convolution3D", ((2, 3, 8, 8),), {"num_output": 4, "kernel_size": 3, "kernel_depth": 3}, "needs a bottom of 5 axes"),
    ("Convolution3D", ((2, 3, 2, 8, 8),), {"num_output": 4, "kernel_size": 3, "kernel_depth": 3}, "would give time 0"),
    ("Pooling3D", ((2, 3, 2, 8, 8),), {"kernel_size": 3, "kernel_depth": 1, "pad": 1}, "only AVE pooling can pad"),
    ("Convolution", ((1, 3, 8, 8),), {"num_output": 4, "kernel_size": 3, "pad": 1, "pad_l": 1}, "are both given"),
    ("Convolution", ((1, 3, 8),), {"num_output": 4, "kernel_size": 3, "pad_l": 1}, "need two spatial axes"),
]  # fmt: skip


@pytest.mark.parametrize(("type", "bottoms", "fields", "text"), REFUSED)
def test_what_the_forks_refuse_is_refused(
    type: str, bottoms: tuple[tuple[int, ...], ...], fields: dict[str, Any], text: str
) -> None:
    with pytest.raises(ShapeError) as caught:
        layer(type, *bottoms, **fields)
    assert text in str(caught.value)


def test_the_listed_types_all_have_rules() -> None:
    listed = (
        "Squeeze SmoothL1LossOHEM SoftmaxWithLossOHEM BoxAnnotatorOHEM Yolov3DetectionOutput Yolov3 Convolution3D "
        "Pooling3D Deconvolution3D DenseImageData EvalDetection YoloDetectionOutput RegionLoss Mul HardSwish "
        "SegAccuracy ImageSegData ResizeNearestNeighbor ResizeBilinear Pad SELU MarginInnerProduct CenterLoss "
        "Transpose DepthToSpace"
    )
    assert [type for type in listed.split() if type not in RULES] == []


def test_a_transpose_of_another_fork_has_an_unknown_shape() -> None:
    text = (
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }\n'
        'layer { name: "t" type: "Transpose" bottom: "x" top: "t" }\n'
    )
    assert prototxt.parse(text, dialect="any").blobs["t"].shape is None


# The first and last layers of C3D on Sports-1M, as C3D 1.0 writes them (V1) and as C3D 1.1 does.
C3D_OLD = """
input: "data"
layers { name: "data" type: VIDEO_DATA top: "data" top: "label"
  image_data_param { source: "l" use_image: false batch_size: 5 crop_size: 112 mirror: false show_data: 0
                     new_height: 128 new_width: 171 new_length: 16 shuffle: true } }
layers { name: "conv1a" type: CONVOLUTION3D bottom: "data" top: "conv1a"
  convolution_param { num_output: 64 kernel_size: 3 kernel_depth: 3 pad: 1 temporal_pad: 1 } }
layers { name: "relu1a" type: RELU bottom: "conv1a" top: "conv1a" }
layers { name: "pool1" type: POOLING3D bottom: "conv1a" top: "pool1"
  pooling_param { pool: MAX kernel_size: 2 kernel_depth: 1 stride: 2 temporal_stride: 1 } }
layers { name: "fc6" type: INNER_PRODUCT bottom: "pool1" top: "fc6" inner_product_param { num_output: 8 } }
""".replace('input: "data"\n', "")
C3D_NEW = """
layer { name: "data" type: "VideoData" top: "data" top: "label" transform_param { crop_size: 112 }
  video_data_param { source: "l" batch_size: 5 new_length: 16 new_height: 128 new_width: 171 use_image: false } }
layer { name: "conv1a" type: "Convolution3D" bottom: "data" top: "conv1a"
  convolution3d_param { num_output: 64 kernel_size: 3 kernel_depth: 3 pad: 1 temporal_pad: 1 } }
layer { name: "relu1a" type: "ReLU" bottom: "conv1a" top: "conv1a" }
layer { name: "pool1" type: "Pooling3D" bottom: "conv1a" top: "pool1"
  pooling3d_param { pool: MAX kernel_size: 2 kernel_depth: 1 stride: 2 temporal_stride: 1 } }
layer { name: "fc6" type: "InnerProduct" bottom: "pool1" top: "fc6" inner_product_param { num_output: 8 } }
"""


@pytest.mark.parametrize(
    ("text", "labels"), [(C3D_OLD, (5, 1, 1, 1, 1)), (C3D_NEW, (5,))], ids=["1.0", "1.1"]
)
def test_both_formats_of_c3d_are_counted(text: str, labels: tuple[int, ...]) -> None:
    net = prototxt.parse(text, dialect="any", unknown="keep")
    assert net.blobs["label"].shape == labels
    assert net.blobs["conv1a"].shape == (5, 64, 16, 112, 112)
    assert net.blobs["pool1"].shape == (5, 64, 16, 56, 56)
    counted = counts.count(net)
    assert counted.macs == 64 * 16 * 112 * 112 * 3 * 27 + 8 * 64 * 16 * 56 * 56  # per image
    assert [p.shape for p in net["conv1a"].params] == [(64, 3, 3, 3, 3), (1, 1, 1, 1, 64)]
