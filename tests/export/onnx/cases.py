"""Layers that the numeric cases of real Caffe lack, and the sizes that each may leave open."""

from __future__ import annotations

from typing import Any

from tests.export.onnx.nets import inputs, layer

IMAGE = (2, 4, 9, 7)
BATCH: dict[str, Any] = {"dynamic": ["batch"]}
SIZE: dict[str, Any] = {"dynamic": ["size"]}
BOTH: dict[str, Any] = {"dynamic": ["batch", "size"]}
Case = tuple[str, list[dict[str, Any]]]


def one(type: str, fields: str = "", *open: dict[str, Any], shape: tuple[int, ...] = IMAGE) -> Case:
    """One layer over one input."""
    return inputs(shape) + layer(type, fields), list(open)


def more(type: str, fields: str, *shapes: tuple[int, ...], open: list[dict[str, Any]] | None = None,
         tops: str = "") -> Case:  # fmt: skip
    """One layer over several inputs."""
    names = " ".join("abcdefg"[: len(shapes)])
    return inputs(*shapes) + layer(type, fields, names, tops=tops), open or []


def conv(fields: str) -> str:
    return f"convolution_param {{ num_output: 8 {fields} }}"


def pool(fields: str) -> str:
    return f"pooling_param {{ {fields} }}"


def detection(fields: str, codes: str = "code_type: CENTER_SIZE") -> Case:
    """DetectionOutput over priors of a 4x4 map, two sizes each: 32 boxes, 4 classes, two images."""
    text = inputs((2, 4, 4, 4), (2, 3, 64, 64), (2, 128), (2, 128))
    text += layer("PriorBox", "prior_box_param { min_size: 16 max_size: 30 variance: 0.1 variance: 0.1 "
                  "variance: 0.2 variance: 0.2 }", "a b", "priors")  # fmt: skip
    text += layer("Reshape", "reshape_param { shape { dim: 0 dim: 32 dim: 4 } }", "d", "by_class")
    text += layer("Softmax", "softmax_param { axis: 2 }", "by_class", "prob")
    text += layer("Flatten", "", "prob", "scores")
    fields = f"detection_output_param {{ num_classes: 4 {codes} {fields} }}"
    return text + layer("DetectionOutput", fields, "c scores priors"), [BATCH]


CASES: dict[str, Case] = {
    # activations
    "ReLU with a slope": one("ReLU", "relu_param { negative_slope: 0.1 }", BOTH),
    "ReLU6": one("ReLU6", "", BOTH),
    "HardSwish": one("HardSwish", "", BOTH),
    "SELU": one("SELU", "", BOTH),
    "SeLU": one("SeLU", "selu_param { alpha: 1.5 lambda: 1.1 }", BOTH),
    "Clip turned over": one("Clip", "clip_param { min: 1 max: -1 }"),
    "Power 2": one("Power", "power_param { power: 2 scale: 0.5 shift: 1 }", BOTH),
    "Power 0": one("Power", "power_param { power: 0 scale: 0.5 shift: 1 }", BOTH),
    "Exp of base 2": one("Exp", "exp_param { base: 2 scale: 0.5 shift: 1 }", BOTH),
    "PReLU": one("PReLU", "", BOTH),
    "Softmax of pixels": one("Softmax", "softmax_param { axis: -1 }", BOTH),
    "SpatialDropout": one("SpatialDropout", "", BOTH),
    # convolutions
    "Convolution": one("Convolution", conv("kernel_size: 3 stride: 2 pad: 1 group: 2"), BOTH),
    "Convolution, dilated": one("Convolution", conv("kernel_size: 3 dilation: 2"), BATCH),
    "Convolution over a row": one("Convolution", conv("kernel_h: 1 kernel_w: 3 pad_w: 1"), BOTH),
    "Convolution of an image that is too small": one(
        "Convolution", conv("kernel_size: 4 stride: 3"), shape=(1, 4, 3, 3)
    ),
    "Convolution without spatial axes": one("Convolution", conv("axis: -1"), shape=(2, 3, 4)),
    "Convolution of rows": one("Convolution", conv("kernel_size: 3 axis: 2"), BATCH, shape=(2, 3, 4, 7)),
    "Convolution without a batch axis": one(
        "Convolution", conv("kernel_size: 3 kernel_size: 2 kernel_size: 1 axis: 0"), shape=(5, 6, 4, 2)
    ),
    "Convolution with a ReLU": one("Convolution", conv("kernel_size: 1 relu: true"), BOTH),
    "ConvolutionDepthwise": one("ConvolutionDepthwise", conv("kernel_size: 3 pad: 1 stride: 1"), BOTH),
    "DepthwiseConvolution": one("DepthwiseConvolution", conv("kernel_size: 3 group: 4"), BOTH),
    "Convolution of volumes": one("Convolution", conv("kernel_size: 3 pad: 1"), BATCH, shape=(1, 2, 4, 5, 6)),
    "Deconvolution": one("Deconvolution", conv("kernel_size: 4 stride: 2 pad: 1 group: 4"), BOTH),
    "Deconvolution, dilated": one("Deconvolution", conv("kernel_size: 3 stride: 2 dilation: 2"), BOTH),
    "Im2col": one("Im2col", "convolution_param { kernel_size: 3 pad: 1 stride: 2 }", BATCH),
    # poolings
    "MAX, ceil": one("Pooling", pool("kernel_size: 3 stride: 2"), BOTH),
    "MAX, padded": one("Pooling", pool("kernel_size: 3 stride: 2 pad: 1"), BOTH),
    "MAX, floor": one("Pooling", pool("kernel_size: 3 stride: 2 round_mode: FLOOR"), BOTH),
    "AVE, ceil": one("Pooling", pool("pool: AVE kernel_size: 2 stride: 2"), BOTH),
    "AVE, padded": one("Pooling", pool("pool: AVE kernel_size: 3 stride: 2 pad: 1"), BOTH),
    "AVE beyond its pad": one("Pooling", pool("pool: AVE kernel_size: 5 stride: 4 pad: 1"), BOTH),
    "AVE padded on one axis": one(
        "Pooling", pool("pool: AVE kernel_size: 3 stride: 2 pad_h: 1 pad_w: 0"), BOTH
    ),
    "AVE without its pads": one(
        "Pooling", pool("pool: AVE kernel_size: 3 stride: 2 pad: 1 avg_include_pad: false")
    ),
    "windows outside": one("Pooling", pool("kernel_size: 1 stride: 5"), BATCH),
    "global AVE": one("Pooling", pool("pool: AVE global_pooling: true"), BOTH),
    "global MAX": one("Pooling", pool("global_pooling: true"), BOTH),
    "STOCHASTIC": (
        inputs(IMAGE)
        + layer("AbsVal", name="u")
        + layer("Pooling", pool("pool: STOCHASTIC kernel_size: 3 stride: 2"), "u"),
        [BATCH],
    ),
    "a mask and back": (
        inputs((2, 4, 8, 6))
        + layer("Pooling", pool("kernel_size: 2 stride: 2"), tops="p mask", name="p")
        + layer("ReLU", "", "p", "r")
        + layer("Upsample", "upsample_param { scale: 2 }", "r mask"),
        [BATCH],
    ),
    "a mask with windows outside": one("Pooling", pool("kernel_size: 1 stride: 5") + " top: 'm'", BATCH),
    "SPP": one("SPP", "spp_param { pyramid_height: 3 }", BATCH),
    # normalisation
    "BatchNorm of a batch": one("BatchNorm", "batch_norm_param { use_global_stats: false }", BOTH),
    "BatchNorm in TRAIN": one("BatchNorm", "phase: TRAIN", BOTH),
    "BatchNorm": one("BatchNorm", "", BOTH),
    "BatchNorm with scale, bias and ReLU": one(
        "BatchNorm", "batch_norm_param { use_weight_bias: true bias_term: true relu: true }", BOTH
    ),
    "Scale of rows": one("Scale", "scale_param { axis: 2 num_axes: 1 bias_term: true }", BATCH),
    "Scale by a bottom": more("Scale", "", (2, 4, 5, 5), (4, 5)),
    "Scale by a gate": more("Scale", "scale_param { axis: 0 }", (2, 4, 5, 5), (2, 4), open=[BATCH]),
    "LRN": one("LRN", "lrn_param { local_size: 3 alpha: 0.5 beta: 0.75 }", BOTH),
    "LRN within": one("LRN", "lrn_param { local_size: 3 alpha: 0.5 norm_region: WITHIN_CHANNEL }", BOTH),
    "MVN": one("MVN", "", BOTH),
    "MVN across channels": one("MVN", "mvn_param { across_channels: true }", BOTH),
    "MVN of vectors": one("MVN", "mvn_param { across_channels: true }", BATCH, shape=(3, 5)),
    "in place over the input": (
        inputs(IMAGE) + layer("Scale", "", tops="a") + layer("ReLU", name="r", tops="a"),
        [BOTH],
    ),
    # shapes
    "Crop": more("Crop", "crop_param { offset: 1 offset: 2 }", (2, 4, 9, 9), (2, 4, 5, 6)),
    "Crop in size": (
        inputs((2, 4, 8, 8))
        + layer("Pooling", pool("kernel_size: 2 stride: 2"), name="p")
        + layer("Crop", "crop_param { offset: 1 }", "a p"),
        [BOTH],
    ),
    "Eltwise with coefficients": more(
        "Eltwise", "eltwise_param { coeff: 1 coeff: -2 coeff: 0.5 }", IMAGE, IMAGE, IMAGE, open=[BOTH]
    ),
    "Eltwise MAX": more("Eltwise", "eltwise_param { operation: MAX }", IMAGE, IMAGE, IMAGE, open=[BOTH]),
    "Eltwise PROD": more("Eltwise", "eltwise_param { operation: PROD }", IMAGE, IMAGE, open=[BOTH]),
    "Silence": (inputs(IMAGE, IMAGE) + layer("Silence", "", "b", "silence", " ") + layer("TanH"), [BOTH]),
    "Slice": one("Slice", "slice_param { axis: 1 slice_point: 1 } top: 'x'", BOTH),
    "Concat of rows": more("Concat", "concat_param { axis: -2 }", IMAGE, IMAGE, open=[BOTH]),
    "Flatten": one("Flatten", "flatten_param { axis: 1 }", BOTH),
    "Flatten of two axes": one("Flatten", "flatten_param { axis: 2 end_axis: 3 }", BOTH),
    "Reshape": one("Reshape", "reshape_param { shape { dim: 0 dim: 2 dim: -1 } }", BOTH),
    "Reshape of an axis": one(
        "Reshape", "reshape_param { shape { dim: 2 dim: 2 } axis: 1 num_axes: 1 }", BOTH
    ),
    "Squeeze": one("Squeeze", "squeeze_param { axis: 2 }", BATCH, shape=(2, 4, 1, 5)),
    "Transpose": one("Transpose", "transpose_param { dim: 0 dim: 2 dim: 3 dim: 1 }", BOTH),
    "Permute": one("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }", BOTH),
    "Pad": one(
        "Pad",
        "pad_param { "
        + "paddings: 0 " * 4
        + "paddings: 1 paddings: 2 paddings: 3 paddings: 0 constant_values: 0.5 }",
        BOTH,
    ),
    "Tile": one("Tile", "tile_param { axis: 1 tiles: 3 }", BOTH),
    "Reduction": one("Reduction", "reduction_param { operation: MEAN axis: 2 coeff: 3 }", BOTH),
    "Reduction to a number": one("Reduction", "reduction_param { operation: ASUM }", BOTH),
    "ArgMax": one("ArgMax", "argmax_param { top_k: 3 out_max_val: true }", BOTH),
    "ArgMax of channels": one("ArgMax", "argmax_param { axis: 1 }", BOTH),
    "Mul": more("Mul", "", (2, 4, 5, 5), (2, 4, 1, 1), open=[BATCH]),
    "Mul by a parameter": one("Mul", "mul_param { mul_shape: 4 mul_shape: 1 mul_shape: 1 }", BOTH),
    "BatchReindex": more("BatchReindex", "", IMAGE, (3,)),
    "Filter": more("Filter", "", IMAGE, (2, 1, 1, 1), open=[BATCH]),
    # weights
    "InnerProduct": one("InnerProduct", "inner_product_param { num_output: 5 }", BATCH),
    "InnerProduct of rows": one(
        "InnerProduct", "inner_product_param { num_output: 5 axis: 2 transpose: true }", BATCH
    ),
    "Embed": one("Embed", "embed_param { input_dim: 7 num_output: 3 }", BATCH, shape=(2, 5)),
    "DummyData": (
        inputs(IMAGE) + 'layer { name: "d" type: "DummyData" top: "d" top: "e" dummy_data_param { '
        "shape { dim: 2 dim: 4 dim: 9 dim: 7 } data_filler { value: 0.5 } data_filler { value: 2 } } }\n"
        + layer("Eltwise", "", "a d e"),
        [],
    ),
    "Parameter": (
        inputs(IMAGE)
        + 'layer { name: "w" type: "Parameter" top: "w" parameter_param { shape { dim: 4 } } }\n'
        + layer("Scale", "", "a w"),
        [BATCH],
    ),
    # forks
    "Normalize": one("Normalize", "norm_param { across_spatial: false }", BOTH),
    "Normalize across": one("Normalize", "norm_param { channel_shared: true }", BOTH),
    "Axpy": more("Axpy", "", (2, 4), IMAGE, IMAGE, open=[BATCH]),
    "Interp by a factor": one("Interp", "interp_param { zoom_factor: 3 }", BOTH),
    "Interp by a divisor": one("Interp", "interp_param { shrink_factor: 2 }", BOTH),
    "Interp to a size": one("Interp", "interp_param { height: 12 width: 5 }", BOTH),
    "Interp, cut": one("Interp", "interp_param { zoom_factor: 2 pad_beg: -1 pad_end: -2 }", BOTH),
    "Interp as another": (
        inputs((2, 4, 8, 8))
        + layer("Pooling", pool("kernel_size: 2 stride: 2"), name="p")
        + layer("Interp", "", "p a"),
        [BOTH],
    ),
    "Upsample": one("Upsample", "upsample_param { scale: 3 }", BOTH),
    "ShuffleChannel": one("ShuffleChannel", "shuffle_channel_param { group: 2 }", BOTH),
    "Reorg": one("Reorg", "reorg_param { stride: 2 }", BATCH, shape=(2, 8, 4, 6)),
    "Reorg back": one("Reorg", "reorg_param { stride: 2 reverse: true }", BATCH, shape=(2, 8, 4, 6)),
    "BN": one("BN", "bn_param { frozen: true }", BOTH),
    "BN of SegNet": one("BN", "bn_param { bn_mode: LEARN } top: 'm' top: 'v'", BOTH),
    "BN of SegNet, INFERENCE": one("BN", "bn_param { bn_mode: INFERENCE }", BOTH),
    # sequences
    "LSTM": more("LSTM", "recurrent_param { num_output: 5 }", (4, 3, 2), (4, 3)),
    "LSTM with a static input and states": more(
        "LSTM",
        "recurrent_param { num_output: 5 expose_hidden: true }",
        (4, 3, 2),
        (4, 3),
        (3, 6),
        (1, 3, 5),
        (1, 3, 5),
        tops="t h c",
    ),
    "RNN with states": more(
        "RNN",
        "recurrent_param { num_output: 5 expose_hidden: true }",
        (4, 3, 2),
        (4, 3),
        (1, 3, 5),
        tops="t h",
    ),
    "ContinuationIndicator": (
        inputs((4, 3, 2)) + 'layer { name: "c" type: "ContinuationIndicator" top: "c" '
        "continuation_indicator_param { time_step: 4 batch_size: 3 } }\n"
        + layer("LSTM", "recurrent_param { num_output: 5 }", "a c"),
        [],
    ),
    # losses, which are numeric cases too
    "SoftmaxWithLoss of pixels": more(
        "SoftmaxWithLoss", "loss_param { ignore_label: 0 }", (2, 3, 4, 5), (2, 1, 4, 5)
    ),
    "L1Loss": more("L1Loss", "", IMAGE, IMAGE),
    "InfogainLoss": more("InfogainLoss", "loss_weight: 1 loss_weight: 0", (4, 3), (4,), (3, 3), tops="t p"),
    # detection
    "PriorBox": more(
        "PriorBox",
        "prior_box_param { min_size: 4 max_size: 9 aspect_ratio: 2 aspect_ratio: 3 clip: true }",
        (1, 2, 3, 4),
        (1, 3, 30, 40),
    ),
    "DetectionOutput": detection(
        "nms_param { nms_threshold: 0.3 top_k: 12 } keep_top_k: 9 confidence_threshold: 0.3"
    ),
    "DetectionOutput, corners": detection(
        "nms_param { nms_threshold: 0.45 } keep_top_k: 200 variance_encoded_in_target: true",
        "code_type: CORNER",
    ),
    "DetectionOutput, sizes of corners": detection(
        "nms_param { nms_threshold: 0.45 top_k: 400 }", "code_type: CORNER_SIZE background_label_id: -1"
    ),
    "DetectionOutput that finds nothing": detection(
        "nms_param { nms_threshold: 0.45 } confidence_threshold: 1"
    ),
    "ROIPooling": more(
        "ROIPooling",
        "roi_pooling_param { pooled_h: 3 pooled_w: 2 spatial_scale: 0.25 }",
        (2, 4, 12, 12),
        (6, 5),
    ),
}
