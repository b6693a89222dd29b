"""What checks say of files that are written for forks of Caffe, and what --fix leaves alone in them."""

# ruff: noqa: E501 (a line of a net is a line)

from __future__ import annotations

import pytest

from netbuilder import prototxt
from netbuilder.checks.examine import Wanted, examine_text
from netbuilder.checks.fixes import mend
from tests.checks.gallery import DATA, FILLER, INPUT, LOSS, SCORES, conv, learnt, one

LMDB = 'layer { name: "d" type: "Data" top: "data" top: "label" data_param { source: "x" backend: LMDB batch_size: 2 } }\n'
PAIR = INPUT + INPUT.replace('"x"', '"y"')
LOSS_NONE = "loss_param { normalization: NONE }"
QUANTIZED = "quantization_param { bw_layer_in: 8 bw_layer_out: 8 bw_params: 8 scale_in: 32.5 scale_out: 2 scale_params: 64 }"
DETECTED = (
    'layer { name: "loc" type: "Input" top: "loc" input_param { shape { dim: 1 dim: 16 } } }\n'
    'layer { name: "conf" type: "Input" top: "conf" input_param { shape { dim: 1 dim: 8 } } }\n'
    'layer { name: "prior" type: "Input" top: "prior" input_param { shape { dim: 1 dim: 2 dim: 16 } } }\n'
    'layer { name: "t" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "prior" top: "t" '
    "detection_output_param { num_classes: 2 nms_param { } } transform_param { mean_value: 104 resize_param { prob: 1 height: 300 width: 300 } } }\n"
)


def codes(text: str, *targets: str) -> list[str]:
    return [f.code for f in examine_text(text, "n", Wanted(targets=targets)).findings]


def fixed(text: str, *targets: str) -> str:
    wanted = Wanted(targets=targets)
    return mend(examine_text(text, "n", wanted), wanted).text


# A net, and the forks that read what BVLC ignores in it.
READ = {
    "euclidean": (PAIR + one("EuclideanLoss", LOSS_NONE, bottom='x" bottom: "y'), ("intel",)),
    "multinomial": (
        INPUT.replace("dim: 3 dim: 8 dim: 8", "dim: 3")
        + INPUT.replace('"x"', '"y"').replace("dim: 3 dim: 8 dim: 8", "")
        + one("MultinomialLogisticLoss", LOSS_NONE, bottom='x" bottom: "y'),
        ("intel",),
    ),
    "hinge": (
        INPUT.replace("dim: 3 dim: 8 dim: 8", "dim: 3")
        + INPUT.replace('"x"', '"y"').replace("dim: 3 dim: 8 dim: 8", "")
        + one("HingeLoss", "hinge_loss_param { norm: L2 } " + LOSS_NONE, bottom='x" bottom: "y'),
        ("intel",),
    ),
    "convolution": (INPUT + conv("kernel_size: 3").replace("} }\n", "} } " + QUANTIZED + " }\n", 1).replace("} } }", "} }", 1), ("intel",)),
    "pooling": (INPUT + one("Pooling", "pooling_param { kernel_size: 2 stride: 2 } " + QUANTIZED), ("intel",)),
    "detection": (DETECTED, ("ssd", "nvcaffe", "intel")),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_a_parameter_that_a_fork_reads_is_not_ignored_there_and_never_left_out(name: str) -> None:
    text, forks = READ[name]
    for fork in forks:
        assert "ignored-param" not in codes(text, fork), fork
        assert fixed(text, fork) == text
    assert fixed(text) == text
    assert fixed(text, "any") == text
    assert "ignored-param" not in codes(text, "any")


def test_what_bvlc_ignores_is_still_reported_for_bvlc_and_names_the_fork_that_reads_it() -> None:
    text, _ = READ["euclidean"]
    (finding,) = examine_text(text, "n", Wanted()).findings
    assert finding.code == "ignored-param"
    assert finding.text == "EuclideanLoss does not read loss_param in caffe-master: it has no effect"
    assert finding.fix == "leave loss_param out, unless the file is also for intel, which read it"


def test_a_file_for_a_fork_is_judged_by_the_forks_that_fit() -> None:
    """Its other layers need intel, so the loss is read."""
    text, _ = READ["euclidean"]
    text += INPUT.replace('"x"', '"z"') + conv("kernel_size: 3 engine: MKLDNN").replace(
        'bottom: "x"', 'bottom: "z"'
    ).replace('"t"', '"c"')
    assert "no-such-field" in codes(text)
    assert "ignored-param" not in codes(text)
    assert not {"no-such-field", "ignored-param"} & set(codes(text, "intel"))


@pytest.mark.parametrize(
    "field", ["scale_bias: true", "scale_filler { value: 1 }", "bias_filler { value: 0 }"]
)
@pytest.mark.parametrize("data", [DATA, LMDB], ids=["shape", "no shape"])
def test_a_batch_norm_that_scales_by_itself_needs_no_scale_whatever_its_shape(field: str, data: str) -> None:
    text = learnt(one("BatchNorm", f"batch_norm_param {{ {field} }}", bottom="x")).replace(DATA, data)
    assert not {"batchnorm-without-scale", "batchnorm-trained"} & set(codes(text, "nvcaffe"))
    assert fixed(text, "nvcaffe") == text


def test_a_batch_norm_of_intel_scales_by_default() -> None:
    net = LMDB + conv("kernel_size: 3").replace('bottom: "x"', 'bottom: "data"')
    bn = one("BatchNorm", "batch_norm_param { FIELD }", bottom="t", top="u").replace('name: "t"', 'name: "b"')
    assert "batchnorm-without-scale" not in codes(net + bn.replace("FIELD", "bias_term: true"), "intel")
    assert "batchnorm-without-scale" in codes(net + bn.replace("FIELD", "use_weight_bias: false"), "intel")


def test_engine_cudnn_is_not_a_finding_where_the_files_forks_have_it() -> None:
    text = INPUT + conv("kernel_size: 3 engine: CUDNN")
    assert codes(text) == ["engine-cudnn"]
    assert codes(text, "nvcaffe") == []
    assert fixed(text, "nvcaffe") == text


PERMUTE = one("Permute", "permute_param { order: 0 order: 2 }")
AXPY = 'layer { name: "a" type: "Axpy" bottom: "g" bottom: "x" bottom: "x" top: "a" }\n'
GATE = INPUT.replace('"x"', '"g"').replace("dim: 8 dim: 8", "")
INTERP = (
    one("Interp", "interp_param { zoom_factor: 2 }")
    .replace('name: "t"', 'name: "i"')
    .replace('top: "t"', 'top: "i"')
)


def test_a_message_names_the_forks_that_can_load_the_whole_file() -> None:
    fixes = {f.text: f.fix for f in examine_text(INPUT + GATE + PERMUTE + AXPY, "n", Wanted()).findings}
    assert fixes["caffe-master: there is no layer type Permute"] == (
        "it is in nvcaffe, intel, ssd; nvcaffe, intel can load the whole file; else express it by other layers"
    )
    assert fixes["caffe-master: there is no layer type Axpy"] == (
        "it is in nvcaffe, intel; else express it by other layers"
    )


def test_a_message_says_if_no_one_fork_can_load_the_file() -> None:
    fixes = {f.text: f.fix for f in examine_text(INPUT + PERMUTE + INTERP, "n", Wanted()).findings}
    assert fixes["caffe-master: there is no layer type Permute"] == (
        "it is in nvcaffe, intel, ssd; no one Caffe has all of this file, --target any takes it; "
        "else express it by other layers"
    )


def test_the_target_any_takes_what_any_caffe_has_and_nothing_else() -> None:
    text = INPUT + GATE + PERMUTE + AXPY + INTERP
    assert codes(text, "any") == []
    assert codes(text + one("Warp", top="w").replace('name: "t"', 'name: "w"'), "any") == ["unknown-type"]
    assert codes(
        text + one("ReLU", "relu_param { slope: 1 }", top="w").replace('name: "t"', 'name: "w"'), "any"
    ) == ["unknown-field"]


def test_fields_outside_of_layers_are_checked_too() -> None:
    text = "default_forward_type: FLOAT16\n" + INPUT + conv("kernel_size: 3")
    (finding,) = examine_text(text, "n", Wanted()).findings
    assert (finding.code, finding.text, finding.fix) == (
        "no-such-field",
        "caffe-master: there is no NetParameter.default_forward_type; the whole file is refused",
        "leave it out; it is in nvcaffe",
    )
    assert codes(text, "nvcaffe") == []


def test_the_axis_of_infogain_loss_is_intels_and_bvlcs_alone() -> None:
    scores = DATA + SCORES.replace("BOTTOM", "data")
    loss = 'layer { name: "loss" type: "InfogainLoss" bottom: "fc" bottom: "label" bottom: "h" top: "loss" infogain_loss_param { axis: 1 } }\n'
    text = (
        scores
        + 'layer { name: "h" type: "DummyData" top: "h" dummy_data_param { shape { dim: 1 dim: 1 dim: 4 dim: 4 } } }\n'
        + loss
    )
    assert FILLER in text
    assert "no-such-field" not in codes(text, "intel")
    assert "no-such-field" not in codes(text, "caffe-1.0")
    assert "no-such-field" in codes(text, "ssd")
    assert "no-such-field" in codes(text, "nvcaffe")


FILLED = INPUT + one("Convolution", 'convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "FILLER" } }') + one(
    "Convolution", "convolution_param { num_output: 4 kernel_size: 3 }", bottom="t", top="u"
).replace('name: "t"', 'name: "u"')  # fmt: skip


@pytest.mark.parametrize(
    ("filler", "fork"),
    [("gabor", "intel"), ("xavierstatic", "nvcaffe"), ("diagonal", "any"), ("gabor", "any")],
)
def test_a_filler_of_a_fork_is_taken_there_and_reported_elsewhere(filler: str, fork: str) -> None:
    text = FILLED.replace("FILLER", filler)
    assert codes(text, fork) == []
    (finding,) = examine_text(text, "n", Wanted()).findings
    assert (finding.code, finding.severity, finding.layer) == ("field", "error", "t")
    assert finding.text == f"weight_filler: unknown filler type '{filler}'"
    if fork != "any":
        assert finding.fix == f"it is in {fork}"
        assert prototxt.parse(text, dialect=fork).blobs["u"].shape == (2, 4, 4, 4)


def test_a_filler_that_nobody_knows_is_kept_with_a_finding() -> None:
    """The shapes after it stay known."""
    text = FILLED.replace("FILLER", "warped")
    assert codes(text) == codes(text, "any") == ["field"]
    net = prototxt.parse(text, dialect="any", unknown="keep")
    assert net.blobs["u"].shape == (2, 4, 4, 4)
    assert [p.shape for p in net["t"].params] == [(4, 3, 3, 3), (4,)]
    assert 'type: "warped"' in prototxt.dumps(net)


def test_a_filler_that_is_not_read_is_not_reported() -> None:
    text = FILLED.replace(
        'weight_filler { type: "FILLER" }', 'bias_term: false bias_filler { type: "warped" }'
    )
    assert codes(text) == []


def test_images_may_be_resized_in_several_ways() -> None:
    twice = (
        "resize_param { prob: 0.5 height: 300 width: 300 } resize_param { prob: 0.5 height: 512 width: 512 }"
    )
    text = LMDB.replace("data_param", f"transform_param {{ {twice} }} data_param") + LOSS
    net = prototxt.parse(
        LMDB.replace("data_param", f"transform_param {{ {twice} }} data_param"), dialect="any"
    )
    assert [r.height for r in net["d"].proto.transform_param.resize_param] == [300, 512]
    assert "syntax" not in codes(text)
    assert "syntax" not in codes(text.replace(twice, twice[: len(twice) // 2]), "ssd")


def test_intels_engine_scales_a_batch_norm_and_guards_its_statistics() -> None:
    """MKL-DNN, which it takes by default; its published ResNets have no Scale."""
    text = learnt(one("BatchNorm", bottom="x"))
    of_scale = {"batchnorm-without-scale", "batchnorm-trained"}
    assert not of_scale & set(codes(text, "intel"))
    assert of_scale < set(codes(text))
    own = learnt(one("BatchNorm", "batch_norm_param { engine: CAFFE }", bottom="x"))
    assert of_scale & set(codes(own, "intel")) == {"batchnorm-without-scale"}


def test_nvidias_batch_norm_guards_its_statistics_and_has_no_scale_by_default() -> None:
    found = codes(learnt(one("BatchNorm", bottom="x")), "nvcaffe")
    assert "batchnorm-without-scale" in found
    assert "batchnorm-trained" not in found


# Nets that the forks published, cut down to a few layers, with the fields and types that only they have.
NVIDIA_RESNET = """
name: "ResNet50"
default_forward_type: FLOAT16
default_backward_type: FLOAT16
default_forward_math: FLOAT
default_backward_math: FLOAT
global_grad_scale: 128.0
global_grad_scale_adaptive: true
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN } forward_type: FLOAT
  transform_param { mirror: true crop_size: 224 mean_value: 104 use_gpu_transform: true random_seed: 7
    interpolation_algo_down: INTER_LINEAR interpolation_algo_up: INTER_CUBIC forward_packing: NHWC
    img_rand_resize_lower: 256 img_rand_resize_upper: 480 rand_resize_ratio_lower: 0.8 rand_resize_ratio_upper: 1.2 }
  data_param { source: "x" batch_size: 64 backend: LMDB threads: 4 parser_threads: 2 cache: true shuffle: true precache: false } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 64 pad: 3 kernel_size: 7 stride: 2 bias_term: false engine: CUDNN
    cudnn_convolution_algo_seeker: FINDEX weight_filler { type: "msra" variance_norm: FAN_OUT } } }
layer { name: "conv1/bn" type: "BatchNorm" bottom: "conv1" top: "conv1/bn" backward_type: FLOAT
  batch_norm_param { moving_average_fraction: 0.9 eps: 0.0001 scale_bias: true scale_filler { value: 1 } bias_filler { value: 0 } } }
layer { name: "conv1/relu" type: "ReLU" bottom: "conv1/bn" top: "conv1/bn" }
layer { name: "pool5" type: "Pooling" bottom: "conv1/bn" top: "pool5" pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "pool5" top: "fc" inner_product_param { num_output: 1000 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" forward_type: FLOAT loss_param { label_smoothing: 0.1 } }
"""
INTEL_INT8 = """
name: "resnet50_int8"
bn_stats_batch_size: 32
engine: "MKLDNN"
compile_net_state { bn_scale_remove: true bn_scale_merge: true kept_bn_layers: "bn1" negative_conv_names: "conv1" negative_conv_indexes: 3 }
multinode { model_parallel { layer_from: "fc" layer_to: "fc" num_nodes: 2 model_parts: 2 } }
layer { name: "data" type: "DummyData" top: "data" top: "label" engine: "CAFFE"
  dummy_data_param { data_filler { type: "constant" value: 0.01 } shape { dim: 2 dim: 3 dim: 32 dim: 32 } shape { dim: 2 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" param { lr_mult: 1 }
  convolution_param { num_output: 8 kernel_size: 3 relu: true negative_slope: 0 conv_algorithm: "auto" engine: MKLDNN weight_filler { type: "gabor" } }
  quantization_param { bw_layer_in: 8 bw_layer_out: 8 bw_params: 8 scale_in: 255 scale_out: 127 scale_params: 12.5 scale_params: 11 is_negative_input: false force_u8_input: true } }
layer { name: "bn" type: "BatchNorm" bottom: "conv1" top: "bn" batch_norm_param { stats_batch_size: 2 relu: true engine: MKLDNN } quantization_param { bw_layer_in: 8 } }
layer { name: "pool" type: "Pooling" bottom: "bn" top: "pool" pooling_param { kernel_size: 1 stride: 2 engine: MKLDNN avg_include_pad: false } quantization_param { bw_layer_in: 8 scale_in: 1 } }
layer { name: "branch" type: "Convolution" bottom: "pool" top: "branch"
  convolution_param { num_output: 8 kernel_size: 1 fusion_type: NONE_FUSION coeff: 1 coeff: 1 weight_filler { type: "msra" } } }
layer { name: "sum" type: "Eltwise" bottom: "pool" bottom: "branch" top: "sum" eltwise_param { engine: MKLDNN } quantization_param { bw_layer_in: 8 } }
layer { name: "cat" type: "Concat" bottom: "sum" bottom: "sum" top: "cat" concat_param { engine: MKLDNN per_fla_fuse: false } }
layer { name: "shuffle" type: "Reshape" bottom: "cat" top: "shuffle" reshape_param { pixelshuffler: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "shuffle" top: "fc" multinode { num_nodes: 2 model_parts: 2 }
  inner_product_param { num_output: 10 engine: MKLDNN relu: false weight_filler { type: "xavier" } } quantization_param { bw_layer_in: 8 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" loss_param { normalization: PRE_FIXED pre_fixed_normalizer: 2 label_smoothing: 0.1 } }
"""
INTEL_RFCN = """
layer { name: "data" type: "Input" top: "conv" input_param { shape { dim: 1 dim: 392 dim: 38 dim: 63 } } }
layer { name: "boxes" type: "Input" top: "shifts" input_param { shape { dim: 1 dim: 392 dim: 38 dim: 63 } } }
layer { name: "rois" type: "Input" top: "rois" input_param { shape { dim: 128 dim: 5 } } }
layer { name: "labels" type: "Input" top: "labels" input_param { shape { dim: 128 dim: 1 dim: 1 dim: 1 } } }
layer { name: "targets" type: "Input" top: "targets" input_param { shape { dim: 128 dim: 8 dim: 1 dim: 1 } } }
layer { name: "weights" type: "Input" top: "weights" input_param { shape { dim: 128 dim: 8 dim: 1 dim: 1 } } }
layer { name: "psroi_cls" type: "PSROIPooling" bottom: "conv" bottom: "rois" top: "psroi_cls" psroi_pooling_param { spatial_scale: 0.0625 output_dim: 8 group_size: 7 } }
layer { name: "ave_cls" type: "Pooling" bottom: "psroi_cls" top: "cls" pooling_param { pool: AVE kernel_size: 7 stride: 7 } }
layer { name: "psroi_box" type: "PSROIPooling" bottom: "shifts" bottom: "rois" top: "psroi_box" psroi_pooling_param { spatial_scale: 0.0625 output_dim: 8 group_size: 7 } }
layer { name: "ave_box" type: "Pooling" bottom: "psroi_box" top: "box" pooling_param { pool: AVE kernel_size: 7 stride: 7 } }
layer { name: "per_roi_cls" type: "SoftmaxWithLossOHEM" bottom: "cls" bottom: "labels" top: "temp_cls" top: "temp_prob" top: "per_roi_cls"
  loss_weight: 0 loss_weight: 0 loss_weight: 0 propagate_down: false propagate_down: false }
layer { name: "per_roi_box" type: "SmoothL1LossOHEM" bottom: "box" bottom: "targets" bottom: "weights" top: "temp_box" top: "per_roi_box"
  loss_weight: 0 loss_weight: 0 propagate_down: false propagate_down: false propagate_down: false }
layer { name: "loss_roi" type: "Eltwise" bottom: "per_roi_cls" bottom: "per_roi_box" top: "per_roi" propagate_down: false propagate_down: false }
layer { name: "annotator" type: "BoxAnnotatorOHEM" bottom: "rois" bottom: "per_roi" bottom: "labels" bottom: "weights" top: "labels_ohem" top: "weights_ohem"
  propagate_down: false propagate_down: false propagate_down: false propagate_down: false box_annotator_ohem_param { roi_per_img: 128 ignore_label: -1 } }
layer { name: "silence" type: "Silence" bottom: "temp_cls" bottom: "temp_prob" bottom: "temp_box" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "cls" bottom: "labels_ohem" top: "loss" loss_weight: 1 loss_param { ignore_label: -1 } propagate_down: true propagate_down: false }
layer { name: "loss_box" type: "SmoothL1LossOHEM" bottom: "box" bottom: "targets" bottom: "weights_ohem" top: "loss_box" loss_weight: 1
  loss_param { normalization: PRE_FIXED pre_fixed_normalizer: 128 } propagate_down: true propagate_down: false propagate_down: false }
"""
INTEL_YOLO = """
layer { name: "data" type: "BoxData" top: "data" top: "label" include { phase: TEST } transform_param { mirror: false bgr2rgb: true pad: 2 }
  data_param { source: "x" batch_size: 4 side: 13 backend: LMDB } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 125 kernel_size: 3 pad: 1 engine: MKLDNN } }
layer { name: "reorg" type: "Reorg" bottom: "conv" top: "reorg" reorg_param { stride: 2 } }
layer { name: "eval" type: "EvalDetection" bottom: "reorg" bottom: "label" bottom: "data" top: "eval"
  eval_detection_param { side: 13 num_class: 20 num_object: 5 threshold: 0.5 nms: 0.45 score_type: MULTIPLY biases: 1.3 biases: 1.7 } }
"""
INTEL_VOLUME = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 1 dim: 16 dim: 24 dim: 24 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4 kernel_size: 3 pad: 1 engine: MKLDNN } }
layer { name: "norm" type: "MVN" bottom: "conv" top: "norm" }
layer { name: "prelu" type: "PReLU" bottom: "norm" top: "norm" }
layer { name: "pool" type: "Pooling" bottom: "norm" top: "pool" pooling_param { pool: MAX kernel_size_3d: 2 stride_3d: 2 pad_3d: 0 axis: 1 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 2 } }
"""
YOLO_V3 = """
layer { name: "data" type: "AnnotatedData" top: "data" top: "label" include { phase: TEST }
  transform_param { scale: 0.007843 mean_value: 127.5 resize_param { prob: 0.1 height: 416 width: 416 } resize_param { prob: 0.1 height: 320 width: 320 } }
  data_param { source: "x" batch_size: 1 backend: LMDB } annotated_data_param { batch_sampler { } label_map_file: "m" yolo_data_type: 1 single_class: false } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "y0" convolution_param { num_output: 75 kernel_size: 1 } }
layer { name: "up" type: "Upsample" bottom: "y0" top: "y1" upsample_param { scale: 2 } }
layer { name: "loss0" type: "Yolov3" bottom: "y0" bottom: "label" top: "loss0" loss_weight: 1
  yolov3_param { num_class: 20 num: 3 side: 13 biases: 10 biases: 14 mask: 3 anchors_scale: 32 iou_loss: GIOU use_focal_loss: true } }
layer { name: "out" type: "Yolov3DetectionOutput" bottom: "y0" bottom: "y1" top: "out"
  yolov3_detection_output_param { num_classes: 20 confidence_threshold: 0.01 nms_threshold: 0.45 mask_group_num: 2 biases: 10 mask: 3 anchors_scale: 32 anchors_scale: 16 } }
layer { name: "eval" type: "DetectionEvaluate" bottom: "out" bottom: "label" top: "eval" detection_evaluate_param { num_classes: 21 background_label_id: 0 } }
"""
SEGNET = """
layer { name: "data" type: "DenseImageData" top: "data" top: "label" dense_image_data_param { source: "l" batch_size: 2 shuffle: true new_height: 16 new_width: 16 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 11 kernel_size: 3 pad: 1 weight_filler { type: "msra" } } }
layer { name: "bn" type: "BN" bottom: "conv" top: "conv" bn_param { scale_filler { type: "constant" value: 1 } shift_filler { type: "constant" value: 0.001 } } }
layer { name: "accuracy" type: "SegAccuracy" bottom: "conv" bottom: "label" top: "accuracy" include { phase: TEST } seg_accuracy_param { ignore_label: 255 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "conv" bottom: "label" top: "loss" }
"""
SPHEREFACE = """
layer { name: "data" type: "MemoryData" top: "data" top: "label" memory_data_param { batch_size: 2 channels: 3 height: 12 width: 11 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4 kernel_size: 3 stride: 2 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "prelu" type: "PReLU" bottom: "conv" top: "conv" }
layer { name: "fc5" type: "InnerProduct" bottom: "conv" top: "fc5" inner_product_param { num_output: 8 weight_filler { type: "xavier" } } }
layer { name: "fc6" type: "MarginInnerProduct" bottom: "fc5" bottom: "label" top: "fc6" top: "lambda"
  margin_inner_product_param { num_output: 10 type: QUADRUPLE weight_filler { type: "xavier" } base: 1000 gamma: 0.12 power: 1 lambda_min: 5 iteration: 0 } }
layer { name: "center" type: "CenterLoss" bottom: "fc5" bottom: "label" top: "center" loss_weight: 0.008 center_loss_param { num_output: 10 center_filler { type: "xavier" } } }
layer { name: "silence" type: "Silence" bottom: "lambda" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc6" bottom: "label" top: "loss" }
"""
SYNOPSYS = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 9 dim: 9 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "conv" convolution_param { num_output: 4 kernel_size: 3 stride: 2 pad_l: 0 pad_r: 1 pad_t: 0 pad_b: 1 } }
layer { name: "swish" type: "HardSwish" bottom: "conv" top: "swish" }
layer { name: "pool" type: "Pooling" bottom: "swish" top: "pool" pooling_param { pool: AVE_EXC_PAD kernel_size: 3 stride: 1 pad: 1 ceil_mode: false } }
layer { name: "gap" type: "Pooling" bottom: "pool" top: "gap" pooling_param { pool: AVE global_pooling: true } }
layer { name: "mul" type: "Mul" bottom: "pool" bottom: "gap" top: "mul" }
layer { name: "resize" type: "ResizeBilinear" bottom: "mul" top: "resize" resize_bilinear_param { output_height: 8 output_width: 8 data_format: "NCHW" align_corners: true } }
layer { name: "d2s" type: "DepthToSpace" bottom: "resize" top: "d2s" depth_to_space_param { block_size: 2 data_format: "NCHW" } }
layer { name: "pad" type: "Pad" bottom: "d2s" top: "pad" pad_param { paddings: [0, 0, 0, 0, 1, 1, 1, 1] } }
layer { name: "gap2" type: "Pooling" bottom: "pad" top: "gap2" pooling_param { pool: AVE global_pooling: true } }
layer { name: "squeeze" type: "Squeeze" bottom: "gap2" top: "squeeze" squeeze_param { axis: 2 axis: 3 } }
"""
PUBLISHED = {
    "nvidia resnet": (NVIDIA_RESNET, "nvcaffe"),
    "intel int8": (INTEL_INT8, "intel"),
    "intel rfcn": (INTEL_RFCN, "intel"),
    "intel yolo": (INTEL_YOLO, "intel"),
    "intel volume": (INTEL_VOLUME, "intel"),
    "ssd": (DETECTED, "ssd"),
    "ssd in nvcaffe": (DETECTED, "nvcaffe"),
    "yolo v3": (YOLO_V3, "any"),
    "segnet": (SEGNET, "any"),
    "sphereface": (SPHEREFACE, "any"),
    "synopsys": (SYNOPSYS, "any"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_nets_of_a_fork_pass_under_its_target_and_fix_leaves_them_as_they_are(
    name: str,
) -> None:
    """Uncounted is what a database holds; no-such-type and the like would be false."""
    text, target = PUBLISHED[name]
    found = examine_text(text, "n", Wanted(targets=(target,))).findings
    assert [(f.code, f.layer, f.text) for f in found if f.severity != "info"] == []
    assert fixed(text, target) == text


@pytest.mark.parametrize("name", [name for name, (_, target) in PUBLISHED.items() if target != "any"])
def test_without_a_target_a_message_names_the_fork(name: str) -> None:
    text, target = PUBLISHED[name]
    found = examine_text(text, "n", Wanted()).findings
    assert any(target in f.fix for f in found if f.code in ("no-such-type", "no-such-field"))


def test_fields_that_data_layers_read_in_their_own_message_are_not_called_without_effect() -> None:
    """BVLC's WindowData reads its scale there, SegNet's DenseImageData its mirror and mean_file."""
    windows = 'layer { name: "d" type: "WindowData" top: "data" top: "label" transform_param { crop_size: 7 } window_data_param { source: "w" batch_size: 2 scale: 0.5 mirror: true } }\n'
    findings = examine_text(windows, "n", Wanted()).findings
    assert [f.text for f in findings if f.code == "ignored-field"] == [
        "mirror in window_data_param has no effect in today's format"
    ]
    assert "scale: 0.5" in fixed(windows)
    dense = SEGNET.replace("shuffle: true", 'shuffle: true mirror: true mean_file: "m"')
    assert "ignored-field" not in codes(dense, "any")
    assert fixed(dense, "any") == dense


def test_what_only_a_caffe_without_the_type_ignores_is_not_a_finding() -> None:
    assert "ignored-param" not in codes(DETECTED, "caffe-master")
    assert fixed(DETECTED, "caffe-master") == DETECTED
