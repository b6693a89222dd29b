"""Which Caffe has which layer types and fields, and what the readers and `Net` make of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from netbuilder import Net, prototxt
from netbuilder.errors import ConfigError, FieldError, NetBuilderError
from netbuilder.layers import RULES
from netbuilder.networks import PHASES, find_network
from netbuilder.prototxt.unknown import kept
from netbuilder.schema import LayerParameter
from netbuilder.schema.dialects import ANY, BVLC, DIALECTS, WRITTEN, dialect, homes
from tests.transforms.test_train_val import CONFIGS

SSD = {"AnnotatedData", "DetectionEvaluate", "DetectionOutput", "MultiBoxLoss", "Normalize", "Permute"}
SSD |= {"PriorBox", "SmoothL1Loss", "VideoData"}
MASTER = DIALECTS["caffe-master"].types
FORKS = ("caffeonspark", "nvcaffe", "intel", "ssd")


def refusal(call: object, *args: object, **fields: object) -> str:
    with pytest.raises(NetBuilderError) as caught:
        call(*args, **fields)  # type: ignore[operator]
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "count", "more", "fewer"),
    [
        ("caffe-1.0", 59, set(), {"Clip", "Swish"}),
        ("caffe-master", 61, set(), set()),
        ("caffe-cudnn", 61, set(), set()),
        ("caffeonspark", 60, {"CoSData"}, {"Clip", "Swish"}),
        (
            "nvcaffe",
            71,
            SSD | {"Axpy", "DetectNetTransformation", "L1Loss", "TRT"},
            {"Clip", "Parameter", "Swish"},
        ),
        (
            "intel",
            83,
            SSD
            | {"Axpy", "BoxAnnotatorOHEM", "ContinuationIndicator", "MKLBatchNorm", "PSROIPooling"}
            | {"ROIPooling", "RegionLoss", "Reorg", "SpatialDropout", "BoxData", "EvalDetection"}
            | {"MnActivation", "SmoothL1LossOHEM", "SoftmaxWithLossOHEM"},
            {"Clip"},
        ),
        ("ssd", 68, SSD, {"Clip", "Swish"}),
    ],
)
def test_the_layer_types_of_each_caffe(name: str, count: int, more: set[str], fewer: set[str]) -> None:
    types = DIALECTS[name].types
    assert (types - MASTER, MASTER - types) == (more, fewer)
    assert len(types) == count


def test_any_has_all_that_the_others_have_and_lacks_nothing() -> None:
    for other in DIALECTS.values():
        assert other.types <= ANY.types
        assert other.adds <= ANY.adds
    assert not ANY.lacks
    assert ANY.cudnn
    assert list(DIALECTS)[-1] == "any"


def test_what_any_cannot_count_is_known_by_name() -> None:
    no_rule = {"DetectNetTransformation", "MKLBatchNorm", "MnActivation", "TRT"}
    assert ANY.types - set(RULES) == no_rule
    assert set(RULES) <= ANY.types


def test_bvlcs_dialects_have_no_field_of_a_fork() -> None:
    assert BVLC == ("caffe-1.0", "caffe-master", "caffe-cudnn")
    assert not any(DIALECTS[name].adds for name in BVLC)


@pytest.mark.parametrize("dialect", WRITTEN)
@pytest.mark.parametrize("network", CONFIGS)
def test_every_network_is_written_in_every_dialect_and_read_by_it(network: str, dialect: str) -> None:
    entry = find_network(network)
    for values in CONFIGS[network]:
        for phase in PHASES:
            net = entry.stitch(entry.config(**values, dialect=dialect), phase)
            back = prototxt.parse(prototxt.dumps(net), net.phase, dialect=dialect)
            assert [layer.type for layer in back] == [layer.type for layer in net]


def test_what_bvlc_has_is_not_offered_from_a_fork() -> None:
    assert homes(lambda d: "Swish" in d.types) == "caffe-master, caffe-cudnn"
    assert homes(lambda d: "Permute" in d.types) == "nvcaffe, intel, ssd, any"
    assert homes(lambda d: "NoSuch" in d.types) == ""


def test_an_unknown_dialect_is_refused_with_the_list() -> None:
    with pytest.raises(ConfigError) as caught:
        dialect("nvcafe")
    assert str(caught.value) == (
        "unknown dialect 'nvcafe': there are caffe-1.0, caffe-master, caffe-cudnn, caffeonspark, nvcaffe, "
        "intel, ssd, any\n  hint:    did you mean 'nvcaffe'?"
    )


def image(name: str) -> Net:
    net = Net("n", phase="TEST", dialect=name)
    net.add("Input", name="x", shape={"dim": [1, 8, 6, 6]})
    return net


# --- layer types and fields in Net


def test_a_type_of_forks_is_refused_elsewhere_with_the_dialects_that_have_it() -> None:
    net = image("caffe-master")
    text = refusal(net.add, "Permute", net.blobs["x"], name="p", order=[0, 2, 3, 1])
    assert "dialect caffe-master has no layer type Permute" in text
    assert "hint:    it is in nvcaffe, intel, ssd, any" in text


@pytest.mark.parametrize("name", ["caffe-1.0", *FORKS])
def test_pooling_of_older_caffes_and_forks_has_no_round_mode(name: str) -> None:
    net = image(name)
    text = refusal(net.add, "Pooling", net.blobs["x"], name="p", kernel_size=2, round_mode="FLOOR")
    assert "round_mode" in text
    assert "caffe-master" in text


def test_a_field_of_a_fork_is_refused_elsewhere_and_set_there() -> None:
    for name in ("caffe-master", "intel", "ssd"):
        net = image(name)
        text = refusal(net.add, "BatchNorm", net.blobs["x"], name="bn", scale_bias=True)
        assert f"dialect {name} has no field scale_bias in BatchNormParameter" in text
        assert "hint:    leave it out, or use nvcaffe, any" in text
        assert len(net) == 1
    for name in ("nvcaffe", "any"):
        net = image(name)
        net.add("BatchNorm", net.blobs["x"], name="bn", scale_bias=True)
        assert net["bn"].proto.batch_norm_param.scale_bias


def test_a_label_of_a_fork_is_refused_elsewhere_and_set_there() -> None:
    fields: dict[str, Any] = {"num_output": 2, "kernel_size": 1, "engine": "MKLDNN"}
    net = image("ssd")
    text = refusal(net.add, "Convolution", net.blobs["x"], name="c", **fields)
    assert "dialect ssd has no label MKLDNN in ConvolutionParameter.Engine" in text
    assert "hint:    leave it out, or use intel, any" in text
    net = image("intel")
    assert net.add("Convolution", net.blobs["x"], name="c", **fields).shape == (1, 2, 6, 6)


def test_a_layer_message_with_a_field_of_a_fork_is_refused_elsewhere() -> None:
    layer = LayerParameter(name="p", type="Pooling", bottom=["x"], top=["p"])
    layer.pooling_param.kernel_size = 3
    layer.pooling_param.avg_include_pad = True
    text = refusal(image("caffe-cudnn").append, layer)
    assert "dialect caffe-cudnn has no field avg_include_pad in PoolingParameter" in text
    net = image("intel")
    net.append(layer)
    assert net.blobs["p"].shape == (1, 8, 4, 4)


# --- files

TEXT = """layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 8 dim: 7 dim: 7 } } }
layer { name: "bn" type: "BatchNorm" bottom: "x" top: "bn"
  batch_norm_param { scale_bias: true } }
layer { name: "p" type: "Pooling" bottom: "x" top: "p" pooling_param { kernel_size: 2 engine: MKLDNN } }
"""


def test_a_field_of_another_dialect_is_refused_with_its_place_and_its_homes() -> None:
    assert refusal(prototxt.parse, TEXT, path="net.prototxt") == (
        "BatchNormParameter has no field 'scale_bias'\n"
        "  where:   net.prototxt:3:22\n"
        "  hint:    dialects that have it: nvcaffe, any"
    )


def test_a_label_of_another_dialect_is_refused_with_its_place_and_its_homes() -> None:
    text = refusal(prototxt.parse, TEXT, path="net.prototxt", dialect="nvcaffe")
    assert "MKLDNN" in text
    assert "net.prototxt:4:95" in text
    assert "dialects that have it: intel, any" in text


def test_what_only_another_dialect_has_is_kept_verbatim_on_request() -> None:
    net = prototxt.parse(TEXT, unknown="keep")
    assert kept(net["bn"].proto.batch_norm_param) == ["scale_bias: true"]
    assert net["bn"].unknown == (
        "'scale_bias: true' in batch_norm_param is not known, and may change its shape"
    )
    assert net.blobs["p"].shape == (1, 8, 6, 6), "an engine changes no shape"
    assert "engine: MKLDNN" in prototxt.dumps(net)
    assert "scale_bias: true" in prototxt.dumps(net)


def test_any_reads_all_of_it_and_knows_the_shapes() -> None:
    net = prototxt.parse(TEXT, dialect="any")
    assert not any(layer.unknown for layer in net)
    assert [p.shape for p in net["bn"].params] == [(8,), (8,), (1,), (8,), (8,)]
    assert net.blobs["p"].shape == (1, 8, 6, 6)


NVIDIA = """name: "half"
default_forward_type: FLOAT16
default_backward_type: FLOAT16
layer {
  name: "x"
  type: "Input"
  top: "x"
  input_param { shape { dim: 1 dim: 8 dim: 7 dim: 7 } }
}
layer {
  name: "conv"
  type: "Convolution"
  bottom: "x"
  top: "conv"
  forward_type: FLOAT
  convolution_param { num_output: 2 kernel_size: 3 }
}
"""


@pytest.mark.parametrize("name", ["nvcaffe", "any"])
def test_fields_of_the_net_and_of_any_layer_come_back_as_they_were(name: str) -> None:
    net = prototxt.parse(NVIDIA, dialect=name)
    text = prototxt.dumps(net)
    assert "default_forward_type: FLOAT16\ndefault_backward_type: FLOAT16\n" in text
    assert "forward_type: FLOAT\n" in text
    assert prototxt.dumps(prototxt.parse(text, dialect=name)) == text
    assert net["conv"].proto.HasField("forward_type")


def test_old_formats_keep_the_forks_fields_of_the_net() -> None:
    old = 'default_forward_type: FLOAT16 input: "x" input_dim: 1 input_dim: 8 input_dim: 7 input_dim: 7'
    net = prototxt.parse(old + ' layers { name: "r" type: RELU bottom: "x" top: "r" }', dialect="nvcaffe")
    assert "default_forward_type: FLOAT16" in prototxt.dumps(net)
    assert "default_forward_type" in refusal(prototxt.parse, old, dialect="intel")


def test_a_field_that_nobody_has_is_still_nobodys() -> None:
    text = TEXT.replace("scale_bias", "no_such_thing")
    assert "hint" not in refusal(prototxt.parse, text, dialect="any", path="a.prototxt")
    net = image("any")
    with pytest.raises(FieldError):
        net.add("BatchNorm", net.blobs["x"], name="bn", no_such_thing=1)


def test_a_solver_of_a_fork_leads_to_its_net(tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(NVIDIA)
    solver = tmp_path / "solver.prototxt"
    solver.write_text('net: "net.prototxt"\nbase_lr: 0.1\nsolver_data_type: FLOAT16\nlr_policy: "fixed"\n')
    assert [x.name for x in prototxt.read(solver, dialect="nvcaffe")] == ["x", "conv"]
    assert "default_forward_type" in refusal(prototxt.read, solver)


def test_a_layer_type_of_ones_own_may_have_the_name_of_a_forks() -> None:
    net = image("caffe-master")
    top = net.add("Permute", net.blobs["x"], name="mine", top_shapes=[(1, 2)])
    assert top.shape == (1, 2)
    assert net["mine"].unknown


# What the newest caffe.proto of each fork has besides BVLC's: intel/caffe 44d5363 (2022), NVIDIA/caffe
# 87a2554 (2021, without BlobProto, which no net names), weiliu89/caffe, branch ssd.
SSD_NEWEST = """
LayerParameter: annotated_data_param detection_evaluate_param detection_output_param multibox_loss_param
LayerParameter: norm_param permute_param prior_box_param video_data_param
TransformationParameter: crop_h crop_w resize_param noise_param distort_param expand_param emit_constraint
"""
NEWEST = {
    "ssd": SSD_NEWEST,
    "intel": SSD_NEWEST
    + """
    BatchNormParameter: engine use_weight_bias bias_term filler bias_filler stats_batch_size relu
    ConcatParameter: per_fla_fuse engine
    ConvolutionParameter: relu negative_slope conv_algorithm coeff fusion_type
    DataParameter: shuffle side
    EltwiseParameter: engine
    FillerParameter: scale
    ImageDataParameter: min_height min_width
    InnerProductParameter: engine relu negative_slope
    LayerParameter: box_annotator_ohem_param psroi_pooling_param roi_pooling_param smooth_l1_loss_param
    LayerParameter: split_param spatial_dropout_param engine multinode mn_activation_param
    LayerParameter: mn_grad_compress_param
    LayerParameter: quantization_param reorg_param region_loss_param eval_detection_param
    LossParameter: pre_fixed_normalizer label_smoothing
    NetParameter: compile_net_state engine bn_stats_batch_size multinode
    PoolingParameter: pad_3d kernel_size_3d stride_3d avg_include_pad axis
    ReLUParameter: fuse
    ReshapeParameter: pixelshuffler
    TransformationParameter: random_resize_param random_aspect_ratio_param flow bgr2rgb pad
    """,
    "nvcaffe": SSD_NEWEST
    + """
    BatchNormParameter: scale_filler bias_filler scale_bias engine
    ConvolutionParameter: cudnn_convolution_algo_seeker conv_algos_override
    DataParameter: threads parser_threads cache shuffle precache
    DropoutParameter: engine random_seed
    ELUParameter: lambda
    ImageDataParameter: short_side threads cache precache dataset_share_per_node
    LayerParameter: forward_type backward_type forward_math backward_math debug cudnn_math_override trt_param
    LayerParameter: detectnet_groundtruth_param detectnet_augmentation_param
    LossParameter: label_smoothing
    NetParameter: default_forward_type default_backward_type default_forward_math default_backward_math
    NetParameter: global_grad_scale global_grad_scale_adaptive default_conv_algos_override reduce_buckets
    NetParameter: default_cudnn_math_override eltwise_mem_sharing
    PoolingParameter: torch_pooling
    TransformationParameter: img_rand_resize_lower img_rand_resize_upper rand_resize_ratio_lower
    TransformationParameter: rand_resize_ratio_upper vertical_stretch_lower vertical_stretch_upper
    TransformationParameter: horizontal_stretch_lower horizontal_stretch_upper interpolation_algo_down
    TransformationParameter: interpolation_algo_up allow_upscale forward_packing use_gpu_transform random_seed
    TransformationParameter: display num_labels
    """,
}
# Left by the forks' own history: a layer without fields in the newest state, and a field of an older state.
OLDER = {
    "intel": {"LayerParameter.continuation_indicator_param"},
    "nvcaffe": {"TransformationParameter.var_sz_img_enabled"},
}


@pytest.mark.parametrize("name", NEWEST)
def test_the_fields_of_a_fork_are_those_of_its_newest_schema(name: str) -> None:
    newest = {
        f"{line.partition(':')[0].strip()}.{field}"
        for line in NEWEST[name].strip().splitlines()
        for field in line.partition(":")[2].split()
    }
    fields = {added for added in DIALECTS[name].adds if added.count(".") == 1}
    assert fields - newest == OLDER.get(name, set())
    assert newest - fields == set()
