"""What `tools/fuzz.py` found: nets on which a rule of ours once differed from real Caffe.

Each row is a layer over its inputs, and what Caffe said: the shapes of its tops, or the check that stopped
it.
"""

from __future__ import annotations

import numpy as np
import pytest

from netbuilder import checks, prototxt
from netbuilder.engines import caffe
from netbuilder.errors import NetBuilderError

Shape = tuple[int, ...]

# The inputs x0, x1, ...; the layer's own text (its name is t); Caffe's shapes of its tops, or its refusal.
FOUND: dict[str, tuple[list[Shape], str, list[Shape] | str]] = {
    "a scalar parameter cannot be filled by fan-in": (
        [(1, 9)], 'type: "Bias" bottom: "x0" top: "y" bias_param { num_axes: 0 filler { type: "xavier" } }',
        "axis 0 out of range for 0-D Blob (blob.hpp)",
    ),
    "a shared slope cannot be filled by rows": (
        [(2, 3)],
        'type: "PReLU" bottom: "x0" top: "y" '
        'prelu_param { channel_shared: true filler { type: "positive_unitball" } }',
        "axis 0 out of range for 0-D Blob (blob.hpp)",
    ),
    "more non-zero weights than there are rows": (
        [(1, 1)],
        'type: "InnerProduct" bottom: "x0" top: "y" inner_product_param { num_output: 1 '
        'bias_filler { type: "gaussian" sparse: 2 } }',
        "p <= 1 (math_functions.cpp)",
    ),
    "PReLU counts channels the old way": (
        [(2, 6, 1, 5, 5)], 'type: "PReLU" bottom: "x0" top: "y"',
        "Cannot use legacy accessors on Blobs with > 4 axes (blob.hpp)",
    ),
    "an exponential of a negative base": (
        [(2, 3)], 'type: "Exp" bottom: "x0" top: "y" exp_param { base: -2 }', "base > 0 (exp_layer.cpp)",
    ),
    "a logarithm to a negative base": (
        [(2, 3)], 'type: "Log" bottom: "x0" top: "y" log_param { base: -2 }', "base > 0 (log_layer.cpp)",
    ),
    "a logarithm to base 1": (
        [(2, 3)], 'type: "Log" bottom: "x0" top: "y" log_param { base: 1 }',
        "!isinf(base_scale_) (log_layer.cpp)",
    ),
    "an empty blob cannot be reshaped": (
        [(2, 0)], 'type: "Reshape" bottom: "x0" top: "y" reshape_param { shape { dim: 0 dim: 0 dim: 1 } }',
        "data_ (blob.hpp)",
    ),
    "an empty blob can be flattened": (
        [(2, 0, 3)], 'type: "Flatten" bottom: "x0" top: "y"', [(2, 0)],
    ),
    "a slice of nothing into one": (
        [(1, 5, 2, 0)], 'type: "Slice" bottom: "x0" top: "y" slice_param { axis: -2 }', "data_ (blob.hpp)",
    ),
    "a slice of nothing into two": (
        [(2, 0)], 'type: "Slice" bottom: "x0" top: "y" top: "z" slice_param { axis: 0 }', [(1, 0), (1, 0)],
    ),
    "a slice in place": (
        [(8, 8)],
        'type: "Slice" bottom: "x0" top: "x0" top: "y" top: "z" '
        "slice_param { slice_point: 1 slice_point: 7 }",
        "count == bottom[0]->count() (slice_layer.cpp)",
    ),
    "a sum of nothing": (
        [(2, 0)], 'type: "Reduction" bottom: "x0" top: "y"', "data_ (blob.cpp)",
    ),
    "a sum of squares of nothing": (
        [(2, 0)], 'type: "Reduction" bottom: "x0" top: "y" reduction_param { operation: SUMSQ }', [()],
    ),
    "a loss weight on an empty top": (
        [(3, 0, 5, 7)],
        'type: "Clip" bottom: "x0" top: "y" loss_weight: 1 clip_param { min: 0 max: 6 }',
        "diff_ (blob.cpp)",
    ),
    "a softmax loss of no images": (
        [(0, 1), (0,)], 'type: "SoftmaxWithLoss" bottom: "x0" bottom: "x1" top: "y"', "diff_ (blob.cpp)",
    ),
    "a softmax loss of no images that weighs nothing": (
        [(0, 1), (0,)], 'type: "SoftmaxWithLoss" bottom: "x0" bottom: "x1" top: "y" loss_weight: 0', [()],
    ),
    "only the size of an infogain matrix counts": (
        [(1, 2), (1,), (1, 4)],
        'type: "InfogainLoss" bottom: "x0" bottom: "x1" bottom: "x2" top: "y"',
        [()],
    ),
    "a loss in place": (
        [(4, 6), (4, 1)], 'type: "SoftmaxWithLoss" bottom: "x0" bottom: "x1" top: "x0"',
        "axis 1 out of range for 0-D Blob (blob.hpp)",
    ),
    "a loss in place that looks at its bottom before": (
        [(4, 6), (4, 1)], 'type: "HingeLoss" bottom: "x0" bottom: "x1" top: "x0"', [()],
    ),
    "an accuracy by class in place": (
        [(4, 6), (4,)], 'type: "Accuracy" bottom: "x0" bottom: "x1" top: "x0" top: "y"',
        "axis 1 out of range for 0-D Blob (blob.hpp)",
    ),
    "a filler of data that acts later": (
        [], 'type: "DummyData" top: "y" dummy_data_param { data_filler { type: "bilinear" } '
        "shape { dim: 9 dim: 1 dim: 1 dim: 6 } }",
        [(9, 1, 1, 6)],
    ),
    "a weighted sigmoid loss of nothing": (
        [(2, 0)], 'type: "SigmoidCrossEntropyLoss" bottom: "x0" bottom: "x0" top: "y" loss_weight: 0.5',
        "diff_ (blob.cpp)",
    ),
    "a sigmoid loss of nothing": (
        [(2, 0)], 'type: "SigmoidCrossEntropyLoss" bottom: "x0" bottom: "x0" top: "y"', [()],
    ),
    "empty weights in the file": (
        [(6, 9, 0)],
        'type: "InnerProduct" bottom: "x0" top: "y" blobs { shape { dim: 1 dim: 0 } } '
        "blobs { data: 0.5 shape { dim: 1 } } inner_product_param { num_output: 1 }",
        "data_ (blob.cpp)",
    ),
    "an LSTM throws away the weights in the file": (
        [(6, 3, 4), (6, 3)],
        'type: "LSTM" bottom: "x0" bottom: "x1" top: "y" blobs { data: 0.5 shape { dim: 1 } } '
        "recurrent_param { num_output: 1 }",
        [(6, 3, 1)],
    ),
    "a stride of 0 in half a pair of a deconvolution": (
        [(9, 7, 6, 8)], 'type: "Deconvolution" bottom: "x0" top: "y" convolution_param { num_output: 2 '
        "kernel_size: 4 kernel_size: 3 stride_h: 1 }",
        [(9, 2, 9, 3)],
    ),
    "a stride of 0 in half a pair of a convolution": (
        [(9, 7, 6, 8)], 'type: "Convolution" bottom: "x0" top: "y" convolution_param { num_output: 2 '
        "kernel_size: 4 kernel_size: 3 stride_h: 1 }",
        "it crashed (SIGFPE)",
    ),
    "a stride of 0 in a deconvolution": (
        [(9, 7, 6, 8)], 'type: "Deconvolution" bottom: "x0" top: "y" convolution_param { num_output: 2 '
        "kernel_size: 3 stride: 0 }",
        "Stride dimensions must be nonzero (base_conv_layer.cpp)",
    ),
    "the probabilities of an InfogainLoss": (
        [(3, 9), (3,), (9, 9)],
        'type: "InfogainLoss" bottom: "x0" bottom: "x1" bottom: "x2" top: "y" top: "z" '
        "loss_weight: 1 loss_weight: 0",
        [(), (3, 9)],
    ),
    "the probabilities of an InfogainLoss without weights": (
        [(3, 9), (3,), (9, 9)],
        'type: "InfogainLoss" bottom: "x0" bottom: "x1" bottom: "x2" top: "y" top: "z"',
        "loss_weight must be unspecified or specified once per top blob (layer.hpp)",
    ),
    "the probabilities of an InfogainLoss over its labels": (
        [(3, 9), (3,), (9, 9)],
        'type: "InfogainLoss" bottom: "x0" bottom: "x1" bottom: "x2" top: "y" top: "x1" '
        "loss_weight: 1 loss_weight: 0",
        [(), (3, 9)],
    ),
    "an InfogainLoss over its scores": (
        [(3, 9), (3,), (9, 9)],
        'type: "InfogainLoss" bottom: "x0" bottom: "x1" bottom: "x2" top: "x0"',
        "axis 1 out of range for 0-D Blob (blob.hpp)",
    ),
    "a scalar times a scalar": (
        [(), ()], 'type: "Scale" bottom: "x0" bottom: "x1" top: "y" scale_param { axis: -1 }', [()],
    ),
    "a scalar times a scalar plus a bias": (
        [(), ()],
        'type: "Scale" bottom: "x0" bottom: "x1" top: "y" scale_param { axis: -1 bias_term: true }',
        "axis -1 out of range for 0-D Blob (blob.hpp)",
    ),
    "a scalar bias over an empty batch": (
        [(0, 9, 2)], 'type: "Scale" bottom: "x0" top: "y" scale_param { num_axes: 0 bias_term: true }',
        "data_ (blob.cpp)",
    ),
    "a scalar bias alone over an empty batch": (
        [(0, 9, 2)], 'type: "Bias" bottom: "x0" top: "y" bias_param { num_axes: 0 }', "data_ (blob.cpp)",
    ),
    "a scalar factor over an empty batch": (
        [(0, 9, 2)], 'type: "Scale" bottom: "x0" top: "y" scale_param { num_axes: 0 }', [(0, 9, 2)],
    ),
    "a reader of a weighted top of an InfogainLoss": (
        [(3, 9), (3,), (9, 9)],
        'type: "InfogainLoss" bottom: "x0" bottom: "x1" bottom: "x2" top: "y" top: "z" '
        'loss_weight: 0 loss_weight: 1 } layer { name: "u" type: "Power" bottom: "z" top: "u"',
        "loss_weight must be unspecified or specified once per top blob (layer.hpp)",
    ),
    "a weight on an input without shape": (
        [], 'type: "Input" top: "y" loss_weight: 0.5', "diff_ (blob.cpp)",
    ),
}  # fmt: skip


# What Caffe builds, and why its forward pass then aborts ("" if it does not).
RUN: dict[str, tuple[list[Shape], str, str]] = {
    "fewer labels than images": (
        [(5, 2), (4,)],
        'type: "HDF5Output" bottom: "x0" bottom: "x1" hdf5_output_param { file_name: "a.h5" }',
        "bottom[0]->num() == bottom[1]->num() (5 vs. 4)",
    ),
    "images of five axes, to be written": (
        [(2, 1, 1, 1, 1), (2,)],
        'type: "HDF5Output" bottom: "x0" bottom: "x1" hdf5_output_param { file_name: "a.h5" }',
        "Cannot use legacy accessors on Blobs with > 4 axes",
    ),
    "scalars, which count as one image": (
        [(), (1, 3)], 'type: "HDF5Output" bottom: "x0" bottom: "x1" hdf5_output_param { file_name: "a.h5" }',
        "",
    ),
    "hinge scores of five axes": (
        [(2, 3, 1, 1, 1), (2,)], 'type: "HingeLoss" bottom: "x0" bottom: "x1" top: "y"',
        "Cannot use legacy accessors on Blobs with > 4 axes",
    ),
    "probabilities of five axes": (
        [(2, 3, 1, 1, 1), (2,)], 'type: "MultinomialLogisticLoss" bottom: "x0" bottom: "x1" top: "y"',
        "Cannot use legacy accessors on Blobs with > 4 axes",
    ),
    "distances of five axes": (
        [(2, 3, 1, 1, 1), (2, 3)], 'type: "EuclideanLoss" bottom: "x0" bottom: "x1" top: "y"',
        "Cannot use legacy accessors on Blobs with > 4 axes",
    ),
    "distances to five axes": (
        [(2, 3), (2, 3, 1, 1, 1)], 'type: "EuclideanLoss" bottom: "x0" bottom: "x1" top: "y"', "",
    ),
    "sigmoids of five axes": (
        [(2, 3, 1, 1, 1)] * 2, 'type: "SigmoidCrossEntropyLoss" bottom: "x0" bottom: "x1" top: "y"', "",
    ),
    "images of a scalar": (
        [(), (3,)], 'type: "BatchReindex" bottom: "x0" bottom: "x1" top: "y"',
        "axis 0 out of range for 0-D Blob",
    ),
    "a negative dropout_ratio": (
        [(2, 3)], 'type: "Dropout" bottom: "x0" top: "y" phase: TRAIN dropout_param { dropout_ratio: -0.5 }',
        "p <= 1 (1.5 vs. 1)",
    ),
    "a dropout_ratio above 1": (
        [(2, 3)], 'type: "Dropout" bottom: "x0" top: "y" phase: TRAIN dropout_param { dropout_ratio: 1.5 }',
        "p >= 0 (-0.5 vs. 0)",
    ),
    "a dropout_ratio that is no number": (
        [(2, 3)], 'type: "Dropout" bottom: "x0" top: "y" phase: TRAIN dropout_param { dropout_ratio: nan }',
        "p >= 0 (nan vs. 0)",
    ),
    "a dropout_ratio that TEST does not read": (
        [(2, 3)], 'type: "Dropout" bottom: "x0" top: "y" phase: TEST dropout_param { dropout_ratio: 1.5 }',
        "",
    ),
    "stochastic pooling in a pyramid": (
        [(1, 1, 4, 4)], 'type: "SPP" bottom: "x0" top: "y" spp_param { pyramid_height: 2 pool: STOCHASTIC }',
        "Not Implemented Yet",
    ),
}  # fmt: skip


def _text(inputs: list[Shape], layer: str) -> str:
    lines = [
        f'layer {{ name: "x{i}" type: "Input" top: "x{i}" input_param {{ shape {{ '
        + " ".join(f"dim: {n}" for n in shape)
        + " } } }"
        for i, shape in enumerate(inputs)
    ]
    return "\n".join([*lines, f'layer {{ name: "t" {layer} }}'])


@pytest.mark.parametrize("name", FOUND)
def test_ours(name: str) -> None:
    inputs, layer, said = FOUND[name]
    if isinstance(said, str):
        with pytest.raises(NetBuilderError):
            prototxt.parse(_text(inputs, layer))
        return
    found = prototxt.parse(_text(inputs, layer))["t"]
    assert [top.shape for top in found.tops] == said


def test_real_caffe_still_says_so(real_caffe: caffe.Caffe) -> None:
    for name, (inputs, layer, said) in FOUND.items():
        if isinstance(said, str):
            with pytest.raises(caffe.CaffeRefused) as caught:
                real_caffe.load(_text(inputs, layer))
            check, _, site = said.rstrip(")").rpartition(" (")
            assert check in caught.value.reason, name
            assert site in caught.value.site or caught.value.signal == site, name
        else:
            found = real_caffe.load(_text(inputs, layer)).layers_as_written()[-1]
            assert list(found.top_shapes) == said, name


@pytest.mark.parametrize("name", RUN)
def test_our_findings_say_what_the_forward_pass_does(name: str) -> None:
    inputs, layer, said = RUN[name]
    codes = {f.code for f in checks.check(prototxt.parse(_text(inputs, layer)))}
    assert bool(codes & {"no-forward", "stochastic-cpu"}) == bool(said), codes


def test_real_caffe_still_builds_what_it_cannot_run(real_caffe: caffe.Caffe) -> None:
    for name, (inputs, layer, said) in RUN.items():
        text = _text(inputs, layer)
        real_caffe.load(text)
        if not said:
            real_caffe.run(text, outputs=[])
            continue
        with pytest.raises(caffe.CaffeRefused) as caught:
            real_caffe.run(text, outputs=[])
        assert said in caught.value.reason, name


# Layers that read the labels of a MemoryData, (3) when Caffe builds the net and (3,1,1,1) in a forward pass;
# whether that pass aborts.
LABELS = {
    'type: "Bias" bottom: "y" bottom: "y" top: "t" bias_param { axis: -1 }': True,
    'type: "Bias" bottom: "y" bottom: "y" top: "t" bias_param { axis: 0 }': False,
    'type: "Eltwise" bottom: "y" bottom: "x0" top: "t"': True,
    'type: "Eltwise" bottom: "y" bottom: "y" top: "t"': False,
    'type: "InnerProduct" bottom: "y" top: "t" inner_product_param { axis: 0 num_output: 2 }': False,
    'type: "InnerProduct" bottom: "y" top: "t" inner_product_param { axis: -1 num_output: 2 }': True,
    'type: "Scale" bottom: "y" top: "t" scale_param { axis: -1 }': True,
    'type: "Scale" bottom: "y" top: "t" scale_param { axis: 0 num_axes: -1 }': False,
    'type: "Bias" bottom: "y" top: "t" bias_param { axis: 0 num_axes: -1 }': False,
    'type: "Bias" bottom: "y" top: "t" bias_param { axis: -1 num_axes: -1 }': True,
    'type: "BatchReindex" bottom: "x" bottom: "y" top: "t"': True,
    'type: "EuclideanLoss" bottom: "x0" bottom: "y" top: "t"': False,
    'type: "SoftmaxWithLoss" bottom: "x" bottom: "y" top: "t"': False,
    'type: "ReLU" bottom: "y" top: "r" } '
    'layer { name: "u" type: "Eltwise" bottom: "r" bottom: "x0" top: "t"': True,
    'type: "Reshape" bottom: "y" top: "r" reshape_param { shape { dim: 3 } } } '
    'layer { name: "u" type: "Eltwise" bottom: "r" bottom: "x0" top: "t"': False,
}  # fmt: skip
MEMORY = (
    'layer { name: "d" type: "MemoryData" top: "x" top: "y" '
    "memory_data_param { batch_size: 3 channels: 2 height: 1 width: 1 } }\n"
)


@pytest.mark.parametrize("layer", LABELS)
def test_labels_of_memory_data_have_four_axes_in_a_forward_pass(layer: str, real_caffe: caffe.Caffe) -> None:
    text = MEMORY + _text([(3,)], layer)
    codes = [f.code for f in checks.check(prototxt.parse(text))]
    real_caffe.load(text)
    given = {"x": np.zeros((3, 2, 1, 1)), "y": np.zeros(3)}
    if LABELS[layer]:
        assert "no-forward" in codes
        with pytest.raises(caffe.CaffeRefused):
            real_caffe.run(text, inputs=given, outputs=[])
    else:
        assert "no-forward" not in codes
        real_caffe.run(text, inputs=given, outputs=[])


CROP = 'layer { name: "t" type: "Crop" bottom: "x0" bottom: "x1" top: "x0" crop_param { axis: 2 offset: 1 } }'
MADE = 'layer { name: "a" type: "Power" bottom: "x0" top: "a" }\n' + CROP.replace('"x0"', '"a"')


@pytest.mark.parametrize("layers", [CROP, MADE])
def test_a_crop_in_place_reads_its_own_top(layers: str, real_caffe: caffe.Caffe) -> None:
    text = _text([(1, 1, 4, 4), (1, 1, 3, 3)], 'type: "Power" bottom: "x1" top: "y"') + "\n" + layers
    assert "in-place" in {f.code for f in checks.check(prototxt.parse(text))}
    real_caffe.load(text)
    with pytest.raises(caffe.CaffeRefused, match=r"out-of-bounds|indices"):
        real_caffe.run(text, outputs=[])


def test_a_crop_in_place_without_an_offset_takes_other_values(real_caffe: caffe.Caffe) -> None:
    own = MADE.replace("offset: 1", "offset: 0").replace('top: "a" crop', 'top: "b" crop')
    fed = _text([(1, 1, 4, 4), (1, 1, 3, 3)], 'type: "Power" bottom: "x1" top: "y"') + "\n"
    given = {"x0": np.arange(16).reshape(1, 1, 4, 4)}
    right = real_caffe.run(fed + own, inputs=given, outputs=["b"]).outputs["b"]
    text = fed + own.replace('top: "b" crop', 'top: "a" crop')
    assert "in-place" in {f.code for f in checks.check(prototxt.parse(text))}
    assert (real_caffe.run(text, inputs=given, outputs=["a"]).outputs["a"] != right).any()
