"""For each code a net that has the fault; with `new` in the place of `old` it has none."""

# ruff: noqa: E501 (a line of a net is a line)

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CASES", "Case"]


class Case(NamedTuple):
    """A net with a fault in layer `layer` on line `line` of `text`; with `new` for `old` it has none."""

    text: str
    old: str
    new: str
    layer: str
    line: int
    targets: tuple[str, ...] = ()


INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }\n'
DATA = (
    'layer { name: "data" type: "MemoryData" top: "data" top: "label" '
    "memory_data_param { batch_size: 2 channels: 3 height: 8 width: 8 } }\n"
)
FILLER = 'weight_filler { type: "msra" }'
SCORES = (
    'layer { name: "fc" type: "InnerProduct" bottom: "BOTTOM" top: "fc" '
    f"inner_product_param {{ num_output: 4 {FILLER} }} }}\n"
)
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }\n'
FROZEN = "param { lr_mult: 0 decay_mult: 0 } " * 3


def one(type: str, fields: str = "", *, bottom: str = "x", top: str = "t", more: str = "") -> str:
    """A layer called t."""
    return f'layer {{ name: "t" type: "{type}" bottom: "{bottom}" top: "{top}" {fields} }}\n{more}'


def conv(fields: str, *, top: str = "t", type: str = "Convolution") -> str:
    return one(type, f"convolution_param {{ num_output: 4 {fields} {FILLER} }}", top=top)


def trained(layer: str, top: str = "t") -> str:
    """A net that is trained, with a layer between the data and the scores."""
    return DATA + layer.replace('bottom: "x"', 'bottom: "data"') + SCORES.replace("BOTTOM", top) + LOSS


def learnt(layer: str, top: str = "t") -> str:
    """The same, with something that is learnt before the layer; x is what it gives."""
    first = conv("kernel_size: 3").replace('"t"', '"x"').replace('bottom: "x"', 'bottom: "data"')
    return DATA + first + layer + SCORES.replace("BOTTOM", top) + LOSS


SCALE = one("Scale", bottom="t").replace('name: "t"', 'name: "s"')
CASES: dict[str, Case] = {
    "shape": Case(INPUT + one("Tile", "tile_param { tiles: 0 }"), "tiles: 0", "tiles: 2", "t", 2),
    "field": Case(
        INPUT + conv('kernel_size: 3 bias_filler { type: "xavir" }'), '"xavir"', '"xavier"', "t", 2
    ),
    "name-clash": Case(
        INPUT + one("ReLU") + one("TanH").replace('name: "t"', 'name: "u"'),
        'bottom: "x" top: "t"  }\nlayer { name: "u"', 'bottom: "x" top: "r"  }\nlayer { name: "u"', "u", 3,
    ),
    "missing-bottom": Case(INPUT + one("ReLU", bottom="y"), '"y"', '"x"', "t", 2),
    "in-place-refused": Case(INPUT + one("Flatten", top="x"), 'top: "x"  }', 'top: "t" }', "t", 2),
    "unknown-type": Case(INPUT + one("Relu"), '"Relu"', '"ReLU"', "t", 2),
    "unknown-field": Case(
        INPUT + one("ReLU", "relu_param { slope: 1 }"), "slope", "negative_slope", "t", 2
    ),
    "phase-shape": Case(
        'layer { name: "data" type: "MemoryData" top: "data" top: "label" include { phase: TRAIN } '
        "memory_data_param { batch_size: 2 channels: 3 height: 8 width: 8 } }\n"
        'layer { name: "data" type: "MemoryData" top: "data" top: "label" include { phase: TEST } '
        "memory_data_param { batch_size: 2 channels: 3 height: 9 width: 8 } }\n"
        + SCORES.replace("BOTTOM", "data") + LOSS,
        "height: 9", "height: 8", "fc", 3,
    ),
    "in-place": Case(INPUT + one("InnerProduct", "inner_product_param { num_output: 4 }", top="x"),
                     'top: "x" inner', 'top: "t" inner', "t", 2),
    "in-place-gradient": Case(
        learnt(one("Power", "power_param { scale: 3 }", top="x"), "x"),
        'top: "x" power_param', 'top: "x2" power_param', "t", 3,
    ),
    "in-place-chain": Case(
        learnt(one("Sigmoid", more=one("Dropout", bottom="t").replace('name: "t"', 'name: "drop"'))),
        'top: "t"  }\nlayer { name: "fc" type: "InnerProduct" bottom: "t"',
        'top: "d" }\nlayer { name: "fc" type: "InnerProduct" bottom: "d"', "drop", 4,
    ),
    "in-place-shared": Case(
        INPUT + one("Reshape", "reshape_param { shape { dim: 0 dim: -1 } }", top="r").replace('name: "t"', 'name: "r"')
        + one("Power", "power_param { scale: 3 }", bottom="r", top="r")
        + one("TanH", bottom="x", top="u").replace('name: "t"', 'name: "u"'),
        'bottom: "r" top: "r"', 'bottom: "r" top: "t"', "t", 3,
    ),
    "writes-outside": Case(
        INPUT + 'layer { name: "t" type: "HDF5Output" bottom: "x" bottom: "x" '
        'hdf5_output_param { file_name: "/etc/passwd" } }\n',
        "/etc/passwd", "out.h5", "t", 2,
    ),
    "runs-code": Case(
        INPUT + one("Python", 'python_param { module: "os" layer: "Popen" }'), '"Python"', '"ReLU"', "t", 2
    ),
    "empty-blob": Case(INPUT + one("Slice", "slice_param { slice_point: 3 }", more="").replace(
        'top: "t"', 'top: "t" top: "u"'), "slice_point: 3", "slice_point: 2", "t", 2),
    "data-filler": Case(
        'layer { name: "t" type: "DummyData" top: "t" dummy_data_param { shape { dim: 2 dim: 3 } '
        'data_filler { type: "gaussian" std: 0 } } }\n',
        "std: 0", "std: 1", "t", 1,
    ),
    "filler-not-finite": Case(
        INPUT + conv('kernel_size: 3 bias_filler { value: nan }'), "nan", "0.5", "t", 2
    ),
    "stride-zero": Case(
        INPUT + conv("kernel_size: 3 stride_h: 1 stride_w: 0", type="Deconvolution"), "stride_w: 0",
        "stride_w: 2", "t", 2,
    ),
    "pooling-outside": Case(
        INPUT + one("Pooling", "pooling_param { kernel_size: 1 stride: 2 }"),
        "kernel_size: 1", "kernel_size: 2", "t", 2,
    ),
    "no-forward": Case(
        trained(one("Dropout", "dropout_param { dropout_ratio: -0.5 }")), "ratio: -0.5", "ratio: 0.5", "t", 2
    ),
    "no-backward": Case(learnt(one("Threshold")), '"Threshold"', '"TanH"', "t", 3),
    "one-value": Case(
        trained(one("Pooling", "pooling_param { global_pooling: true }", top="p").replace('name: "t"', 'name: "p"')
                + one("BatchNorm", FROZEN, bottom="p") + SCALE, "s").replace("batch_size: 2", "batch_size: 1"),
        "batch_size: 1", "batch_size: 2", "t", 3,
    ),
    "gradient-lost": Case(
        learnt(one("Reshape", "reshape_param { shape { dim: 0 dim: -1 } }")
               + one("Flatten", bottom="t", top="f").replace('name: "t"', 'name: "f"'), "f"),
        'type: "Flatten"', 'type: "Reshape" reshape_param { axis: 1 shape { dim: -1 } }', "f", 4,
    ),
    "dropout-all": Case(
        trained(one("Dropout", "dropout_param { dropout_ratio: 1 }")), "ratio: 1", "ratio: 0.5", "t", 2
    ),
    "no-layers": Case('name: "n"\n', 'name: "n"\n', INPUT, "", 0),
    "duplicate-name": Case(
        INPUT + conv("kernel_size: 3") + conv("kernel_size: 3", top="u"),
        'name: "t"', 'name: "v"', "t", 3,
    ),
    "phase-field": Case(trained(one("ReLU", "phase: TEST")), "phase: TEST", "", "t", 2),
    "phase-weights": Case(
        DATA + SCORES.replace("BOTTOM", "data").replace("} }\n", "} include { phase: TRAIN } }\n")
        + SCORES.replace("BOTTOM", "data").replace('name: "fc"', 'name: "fc_test"').replace(
            "} }\n", "} include { phase: TEST } }\n") + LOSS,
        'name: "fc_test"', 'name: "fc"', "fc_test", 3,
    ),
    "ignored-param": Case(
        INPUT + one("ReLU", "pooling_param { kernel_size: 3 }"), "pooling_param { kernel_size: 3 }", "", "t", 2
    ),
    "ignored-field": Case(
        INPUT + one("Eltwise", "eltwise_param { operation: MAX coeff: 1 coeff: 2 }", bottom='x" bottom: "x'),
        "coeff: 1 coeff: 2", "", "t", 2,
    ),
    "unused-blob": Case(
        trained(one("TanH")).replace('bottom: "t"', 'bottom: "data"'), 'bottom: "data" top: "fc"',
        'bottom: "t" top: "fc"', "t", 2,
    ),
    "input-overwritten": Case(INPUT + one("ReLU", top="x"), 'top: "x"  }', 'top: "t" }', "t", 2),
    "kernel-outside": Case(
        INPUT + conv("kernel_size: 9 stride: 2"), "kernel_size: 9", "kernel_size: 8", "t", 2
    ),
    "lone-pair": Case(
        INPUT + conv("kernel_h: 1 kernel_w: 3 pad_w: 1"), "pad_w: 1", "pad_h: 0 pad_w: 1", "t", 2
    ),
    "engine-cudnn": Case(INPUT + conv("kernel_size: 3 engine: CUDNN"), "engine: CUDNN", "", "t", 2),
    "stochastic-cpu": Case(
        INPUT + one("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 }"), "STOCHASTIC", "AVE", "t", 2
    ),
    "batchnorm-without-scale": Case(
        INPUT + one("BatchNorm", FROZEN, more=one("ReLU", bottom="t", top="u").replace('name: "t"', 'name: "u"')),
        '"ReLU"', '"Scale"', "t", 2,
    ),
    "batchnorm-trained": Case(
        trained(one("BatchNorm", "param { lr_mult: 0 }", more=SCALE)), "param { lr_mult: 0 }", FROZEN, "t", 2,
    ),
    "batchnorm-frozen": Case(
        trained(one("BatchNorm", FROZEN + "batch_norm_param { use_global_stats: true }",
                    more=SCALE)),
        "use_global_stats: true", "", "t", 2,
    ),
    "batchnorm-batch-stats": Case(
        INPUT + one("BatchNorm", FROZEN + "batch_norm_param { use_global_stats: false }",
                    more=SCALE),
        "use_global_stats: false", "", "t", 2,
    ),
    "zero-weights": Case(
        trained(one("Convolution", "convolution_param { num_output: 2 kernel_size: 1 }")), "kernel_size: 1",
        f"kernel_size: 1 {FILLER}", "t", 2,
    ),
    "frozen-zero": Case(
        trained(one("Convolution", "param { lr_mult: 0 } convolution_param { num_output: 2 kernel_size: 1 }")),
        "kernel_size: 1", f"kernel_size: 1 {FILLER}", "t", 2,
    ),
    "zero-scale": Case(
        trained(one("Scale", "scale_param { filler { } }")), "filler { }", "filler { value: 1 }", "t", 2
    ),
    "bilinear-mixes": Case(
        INPUT + one("Deconvolution", "convolution_param { num_output: 3 kernel_size: 4 stride: 2 "
                    'weight_filler { type: "bilinear" } }'), "num_output: 3", "num_output: 3 group: 3", "t", 2,
    ),
    "double-softmax": Case(
        DATA + SCORES.replace("BOTTOM", "data") + one("Softmax", bottom="fc", top="p") + LOSS.replace(
            'bottom: "fc"', 'bottom: "p"'), '"Softmax"', '"TanH"', "loss", 4,
    ),
    "loss-without-softmax": Case(
        DATA + SCORES.replace("BOTTOM", "data") + LOSS.replace("SoftmaxWithLoss", "MultinomialLogisticLoss"),
        'name: "loss" type: "MultinomialLogisticLoss" bottom: "fc"',
        'name: "p" type: "Softmax" bottom: "fc" top: "p" }\n'
        'layer { name: "loss" type: "MultinomialLogisticLoss" bottom: "p"', "loss", 3,
    ),
    "dropout-on-scores": Case(
        DATA + SCORES.replace("BOTTOM", "data") + one("Dropout", bottom="fc", top="fc") + LOSS,
        '"Dropout"', '"TanH"', "loss", 4,
    ),
    "mirror-in-test": Case(
        DATA.replace("memory_data", "transform_param { mirror: true } memory_data"), "true", "false", "data", 1
    ),
    "crop-in-one-phase": Case(
        'layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN } '
        'transform_param { crop_size: 7 } data_param { source: "db" batch_size: 2 } }\n'
        'layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST } '
        'data_param { source: "db" batch_size: 2 } }\n' + SCORES.replace("BOTTOM", "data") + LOSS,
        "transform_param { crop_size: 7 }", "", "data", 2,
    ),
    "leveldb-default": Case(
        'layer { name: "data" type: "Data" top: "data" data_param { source: "train_lmdb" batch_size: 2 } }\n',
        "batch_size: 2", "batch_size: 2 backend: LMDB", "data", 1,
    ),
    "uncounted": Case(
        'layer { name: "data" type: "Data" top: "data" data_param { source: "db" batch_size: 2 } }\n',
        'type: "Data" top: "data" data_param { source: "db" batch_size: 2 }',
        'type: "Input" top: "data" input_param { shape { dim: 1 } }', "data", 1,
    ),
    "bias-before-batchnorm": Case(
        INPUT + conv("kernel_size: 3") + one("BatchNorm", FROZEN, bottom="t", more="").replace(
            'name: "t"', 'name: "b"') + one("Scale", bottom="t").replace('name: "t"', 'name: "s"'),
        "num_output: 4", "num_output: 4 bias_term: false", "t", 2,
    ),
    "filler-fan": Case(
        trained(one("InnerProduct", f"inner_product_param {{ num_output: 2 transpose: true {FILLER} }}")),
        'type: "msra" }', 'type: "msra" variance_norm: AVERAGE }', "t", 2,
    ),
    "loss-without-top": Case(
        DATA + SCORES.replace("BOTTOM", "data") + LOSS.replace(' top: "loss"', ""),
        'bottom: "label" }', 'bottom: "label" top: "loss" }', "loss", 3,
    ),
    "no-such-type": Case(INPUT + one("Swish"), '"Swish"', '"TanH"', "t", 2, ("caffe-1.0",)),
    "no-such-field": Case(
        INPUT + one("Pooling", "pooling_param { kernel_size: 3 round_mode: FLOOR }"), "round_mode: FLOOR", "",
        "t", 2, ("caffe-1.0",),
    ),
    "statistics-trained": Case(
        trained(one("BatchNorm", more=SCALE)),
        'type: "BatchNorm" bottom: "data" top: "t"', f'type: "BatchNorm" bottom: "data" top: "t" {FROZEN}', "t", 2,
        ("caffeonspark",),
    ),
    "not-deploy": Case(DATA, DATA, INPUT, "data", 1, ("opencv",)),
    "old-format": Case(
        'layers { name: "x" type: DUMMY_DATA top: "x" dummy_data_param { num: 1 channels: 1 height: 1 width: 1 } }\n',
        "layers { name: \"x\" type: DUMMY_DATA", 'layer { name: "x" type: "DummyData"', "", 1, ("rknn",),
    ),
    "old-input": Case(
        'input: "x" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8\n',
        'input: "x" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8\n', INPUT, "", 1, ("ncnn",),
    ),
    "argmax": Case(INPUT + one("ArgMax"), '"ArgMax"', '"TanH"', "t", 2, ("mnn",)),
    "axpy": Case(
        'layer { name: "x" type: "Input" top: "a" top: "b" top: "c" input_param { shape { dim: 1 dim: 3 dim: 1 '
        "dim: 1 } shape { dim: 1 dim: 3 dim: 8 dim: 8 } shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }\n"
        + one("Axpy", bottom='a" bottom: "b" bottom: "c'), '"Axpy" bottom: "a"', '"Eltwise" bottom: "c"', "t", 2,
        ("opencv", "intel"),
    ),
    "batch-stats": Case(
        INPUT + one("BatchNorm", FROZEN + "batch_norm_param { eps: 0.1 }", more=SCALE),
        "eps: 0.1", "use_global_stats: true", "t", 2, ("hilens",),
    ),
    "bias-axes": Case(
        INPUT + one("Bias", "bias_param { axis: -3 }"), "axis: -3", "axis: 1", "t", 2, ("mnn",)
    ),
    "coeff": Case(
        INPUT + one("Eltwise", "eltwise_param { coeff: 1 coeff: 2 }", bottom='x" bottom: "x'), "coeff: 2",
        "coeff: -1", "t", 2, ("mnn",),
    ),
    "concat-single": Case(
        INPUT.replace("dim: 2 ", "dim: 1 ") + one("Concat"), 'bottom: "x"', 'bottom: "x" bottom: "x"', "t", 2, ("opencv",)
    ),
    "crop-rank": Case(
        INPUT + one("Reshape", "reshape_param { shape { dim: 0 dim: 0 dim: 0 dim: 0 dim: 1 } }", top="r").replace('name: "t"', 'name: "r"')
        + one("Crop", "crop_param { offset: 0 }", bottom='x" bottom: "r'), "dim: 0 dim: 1 }", "dim: 0 }", "t", 3, ("mnn",),
    ),
    "crop-offset": Case(
        INPUT + INPUT.replace('"x"', '"y"').replace("dim: 8 dim: 8", "dim: 4 dim: 4") + one("Crop", bottom='x" bottom: "y'),
        'top: "t"', 'top: "t" crop_param { offset: 0 }', "t", 3, ("mnn",),
    ),
    "deconv-dilation": Case(
        INPUT + conv("kernel_size: 2 dilation: 2", type="Deconvolution"), "dilation: 2", "", "t", 2, ("opencv",)
    ),
    "deconv-pad": Case(
        INPUT + conv("kernel_size: 1 pad: 1", type="Deconvolution"), "pad: 1", "", "t", 2, ("opencv",)
    ),
    "dilation-zero": Case(
        INPUT + conv("kernel_size: 2 dilation: 0"), "dilation: 0", "dilation: 1", "t", 2, ("mnn",)
    ),
    "eltwise-axes": Case(
        INPUT.replace("dim: 8 dim: 8", "dim: 8 dim: 8 dim: 1 dim: 1") + one("Eltwise", bottom='x" bottom: "x'),
        "dim: 1 dim: 1 }", "dim: 1 }", "t", 2, ("opencv",),
    ),
    "embed": Case(
        INPUT + one("Embed", f"embed_param {{ num_output: 2 input_dim: 3 {FILLER} }}"),
        f'"Embed" bottom: "x" top: "t" embed_param {{ num_output: 2 input_dim: 3 {FILLER} }}', '"ReLU" bottom: "x" top: "t"', "t", 2, ("mnn",),
    ),
    "flatten-axes": Case(
        INPUT + one("Flatten", "flatten_param { end_axis: 2 }"), "end_axis: 2", "", "t", 2, ("mnn",)
    ),
    "inline-blobs": Case(
        INPUT + one("Bias", "blobs { shape { dim: 3 } data: 1 data: 1 data: 1 }"),
        "blobs { shape { dim: 3 } data: 1 data: 1 data: 1 }", "", "t", 2, ("mnn",),
    ),
    "input-tops": Case(
        'layer { name: "x" type: "Input" top: "x" top: "y" input_param { shape { dim: 2 dim: 3 } } }\n'
        + one("Eltwise", bottom='x" bottom: "y'), 'top: "x" top: "y" input_param',
        'top: "x" input_param { shape { dim: 2 dim: 3 } } }\nlayer { name: "y" type: "Input" top: "y" input_param', "x", 1, ("mnn",),
    ),
    "input-unread": Case(
        INPUT + INPUT.replace('"x"', '"y"') + one("ReLU"), '"ReLU" bottom: "x"', '"Eltwise" bottom: "x" bottom: "y"', "y", 2, ("opencv",)
    ),
    "lstm": Case(
        INPUT.replace("dim: 8 dim: 8", "") + one("LSTM", f"recurrent_param {{ num_output: 2 {FILLER} }}", bottom='x" bottom: "x'),
        f'"LSTM" bottom: "x" bottom: "x" top: "t" recurrent_param {{ num_output: 2 {FILLER} }}', '"Eltwise" bottom: "x" bottom: "x" top: "t"', "t", 2, ("opencv",),
    ),
    "depthwise-dilation": Case(
        INPUT + one("Convolution", f"convolution_param {{ num_output: 3 group: 3 kernel_size: 3 pad: 1 dilation: 2 {FILLER} }}"),
        "pad: 1", "pad: 2", "t", 2, ("opencv",),
    ),
    "fused": Case(
        INPUT + one("InnerProduct", f"inner_product_param {{ num_output: 2 axis: 2 {FILLER} }}")
        + one("PReLU", bottom="t", top="p").replace('name: "t"', 'name: "p"'),
        '"PReLU"', '"ELU"', "t", 2, ("opencv",),
    ),
    "nothing-computed": Case(INPUT + one("Dropout"), "Dropout", "ReLU", "t", 2, ("mnn",)),
    "old-axis": Case(
        INPUT + one("Concat", "concat_param { concat_dim: 2 }", bottom='x" bottom: "x'), "concat_dim", "axis", "t", 2, ("opencv",)
    ),
    "one-axis": Case(
        INPUT.replace("dim: 2 dim: 3 dim: 8 dim: 8", "dim: 8") + one("Crop", "crop_param { axis: -1 }", bottom='x" bottom: "x'),
        "axis: -1", "axis: 0", "t", 2, ("opencv",),
    ),
    "output-merged": Case(
        INPUT + one("ReLU", top="r").replace('name: "t"', 'name: "r"') + one("ReLU"), '"ReLU" bottom: "x" top: "t"', '"TanH" bottom: "x" top: "t"', "t", 3, ("mnn",),
    ),
    "output-read": Case(
        INPUT + one("ReLU", top="r").replace('name: "t"', 'name: "r"') + one("TanH", bottom="r", top="h").replace('name: "t"', 'name: "h"')
        + one("Dropout", bottom="r"), '"Dropout"', '"ELU"', "t", 4, ("mnn",),
    ),
    "pool-unwritten": Case(
        INPUT + one("Pooling", "pooling_param { global_pooling: true }"), "{ global", "{ pool: MAX global", "t", 2, ("opencv",)
    ),
    "pooling-clip": Case(
        INPUT + one("Pooling", "pooling_param { kernel_size: 2 stride: 3 pad: 1 }"), "pad: 1", "", "t", 2, ("mnn",)
    ),
    "pooling-mask": Case(
        INPUT + one("Pooling", "pooling_param { kernel_size: 2 }").replace('top: "t"', 'top: "t" top: "u"'), 'top: "u"', "", "t", 2, ("mnn",)
    ),
    "product-axes": Case(
        INPUT + one("InnerProduct", f"inner_product_param {{ num_output: 2 axis: 0 {FILLER} }}")
        + one("Softmax", "softmax_param { axis: 0 }", bottom="t", top="p").replace('name: "t"', 'name: "p"'),
        "2 axis: 0", "2", "t", 2, ("opencv",),
    ),
    "softmax-axis": Case(
        INPUT.replace("dim: 2 dim: 3 dim: 8 dim: 8", "dim: 8") + one("Softmax", "softmax_param { axis: 0 }"), "dim: 8 }", "dim: 8 dim: 1 }", "t", 2, ("mnn",)
    ),
    "unread-top": Case(
        INPUT + one("Split").replace('top: "t"', 'top: "t" top: "u"'), 'top: "u"', "", "t", 2, ("opencv",)
    ),
    "image-size": Case(
        INPUT.replace("dim: 8 dim: 8", "dim: 8 dim: 4097"), "4097", "4096", "x", 1, ("ascend",)
    ),
    "kernel-large": Case(
        INPUT + conv("kernel_size: 9 stride: 2"), "kernel_size: 9", "kernel_size: 8", "t", 2, ("opencv",)
    ),
    "log": Case(INPUT + one("Log"), '"Log"', '"Exp"', "t", 2, ("mnn",)),
    "lrn": Case(
        INPUT + one("LRN", "lrn_param { alpha: 1 k: 2 }"), "k: 2", "k: 1", "t", 2, ("opencv",)
    ),
    "lrn-alpha": Case(INPUT + one("LRN"), 'top: "t"', 'top: "t" lrn_param { alpha: 1 }', "t", 2, ("opencv",)),
    "mvn": Case(INPUT + one("MVN"), 'top: "t"', 'top: "t" mvn_param { normalize_variance: false }', "t", 2, ("mnn",)),
    "negative-axis": Case(
        INPUT + one("InnerProduct", "inner_product_param { num_output: 2 axis: -3 }"), "axis: -3", "axis: 1",
        "t", 2, ("mnn",),
    ),
    "other-tile": Case(INPUT + one("Tile", "tile_param { tiles: 2 }"), '"Tile"', '"ReLU"', "t", 2, ("opencv",)),
    "params-dropped": Case(
        INPUT + one("Exp", "exp_param { base: 2 }"), "exp_param { base: 2 }", "", "t", 2, ("ncnn",)
    ),
    "prelu-shared": Case(
        INPUT + one("PReLU", "prelu_param { channel_shared: true }"), "true", "false", "t", 2, ("opencv",)
    ),
    "reshape-axes": Case(
        INPUT + one("Reshape", "reshape_param { axis: 1 shape { dim: -1 } }"), "axis: 1 shape {",
        "shape { dim: 0", "t", 2, ("mnn",),
    ),
    "round-mode": Case(
        INPUT + one("Pooling", "pooling_param { kernel_size: 3 stride: 2 round_mode: FLOOR }"),
        "round_mode: FLOOR", "", "t", 2, ("openvino",),
    ),
    "scale-axes": Case(INPUT + one("Scale", "scale_param { axis: 2 }"), "axis: 2", "axis: 1", "t", 2, ("mnn",)),
    "scale-bias": Case(
        INPUT + one("Scale", "scale_param { axis: 0 bias_term: true }", bottom='x" bottom: "x'), "true", "false",
        "t", 2, ("opencv",),
    ),
    "scale-scalar": Case(
        INPUT + one("Scale", "scale_param { num_axes: 0 }"), "num_axes: 0", "num_axes: 1", "t", 2, ("opencv",)
    ),
    "scale-two-bottoms": Case(
        INPUT + one("Scale", "scale_param { axis: 0 }", bottom='x" bottom: "x'), '"Scale"', '"Eltwise"', "t", 2,
        ("mnn",),
    ),
    "several-bottoms": Case(
        INPUT + conv("kernel_size: 3").replace('bottom: "x" top: "t"', 'bottom: "x" bottom: "x" top: "t" top: "u"'),
        'bottom: "x" bottom: "x" top: "t" top: "u"', 'bottom: "x" top: "t"', "t", 2, ("mnn",),
    ),
    "slice-equal": Case(
        INPUT + one("Slice").replace('top: "t"', 'top: "t" top: "u" top: "v"'), 'top: "v"',
        'top: "v" slice_param { slice_point: 1 slice_point: 2 }', "t", 2, ("mnn",),
    ),
    "slice-unread": Case(
        INPUT + one("Slice").replace('top: "t"', 'top: "t" top: "u" top: "v"'), 'top: "v"',
        'top: "v" slice_param { slice_point: 1 slice_point: 2 }', "t", 2, ("opencv",),
    ),
    "spatial-axes": Case(
        INPUT.replace("dim: 8 dim: 8", "dim: 8 dim: 8 dim: 8") + conv("kernel_size: 3"), "dim: 8 dim: 8 dim: 8",
        "dim: 8 dim: 8", "t", 2, ("mnn",),
    ),
    "swish-beta": Case(INPUT + one("Swish", "swish_param { beta: 2 }"), "beta: 2", "beta: 1", "t", 2, ("opencv",)),
    "top-name": Case(INPUT + one("ReLU", top="r"), 'top: "r"', 'top: "t"', "t", 2, ("hilens",)),
    "transpose": Case(
        INPUT + one("InnerProduct", "inner_product_param { num_output: 2 transpose: true }"), "true", "false",
        "t", 2, ("opencv",),
    ),
    "uneven-window": Case(
        INPUT + conv("kernel_size: 3 kernel_size: 1"), "kernel_size: 1", "kernel_size: 3", "t", 2, ("mnn",)
    ),
}  # fmt: skip
