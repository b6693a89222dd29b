"""Layers and fields of forks in the nets that made them known, and what their Caffe would abort on.

No fork's Caffe can be installed, so these are the values that its sources prescribe and its papers print.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from netbuilder import Net, counts, prototxt
from netbuilder.errors import NetBuilderError, ShapeError
from netbuilder.net import Blob, Layer


def layer(type: str, *bottoms: tuple[int, ...], tops: int = 1, dialect: str = "any", **fields: Any) -> Layer:
    net = Net("n", dialect=dialect)
    blobs = [net.add("Input", name=f"x{i}", shape={"dim": shape}) for i, shape in enumerate(bottoms)]
    net.add(type, *blobs, name="t", tops=[f"y{i}" for i in range(tops)], **fields)
    return net["t"]


def shapes(type: str, *bottoms: tuple[int, ...], tops: int = 1, **fields: Any) -> list[tuple[int, ...]]:
    return [top.known_shape for top in layer(type, *bottoms, tops=tops, **fields).tops]


def params(found: Layer) -> list[tuple[tuple[int, ...], str, bool]]:
    return [(p.shape, p.role, p.learnable) for p in found.params]


# --- depthwise convolutions: MobileNet v1

MOBILENET = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))


def mobilenet(type: str, dialect: str = "any") -> Net:
    net = Net("MobileNet", phase="TEST", dialect=dialect)

    def unit(x: Blob, name: str, kind: str, outputs: int, **fields: Any) -> Blob:
        x = net.add(kind, x, name=name, num_output=outputs, bias_term=False, **fields)
        x = net.add("BatchNorm", x, name=f"{name}/bn")
        x = net.add("Scale", x, name=f"{name}/scale", bias_term=True)
        return net.add("ReLU", x, name=f"{name}/relu", in_place=True)

    x = net.add("Input", name="data", shape={"dim": [1, 3, 224, 224]})
    x = unit(x, "conv1", "Convolution", 32, kernel_size=3, stride=2, pad=1)
    width = 32
    for i, (outputs, stride) in enumerate(MOBILENET):
        groups = {} if type == "ConvolutionDepthwise" else {"group": width}
        x = unit(x, f"conv{i}/dw", type, width, kernel_size=3, stride=stride, pad=1, **groups)
        x = unit(x, f"conv{i}/sep", "Convolution", outputs, kernel_size=1)
        width = outputs
    x = net.add("Pooling", x, name="pool6", pool="AVE", global_pooling=True)
    net.add("InnerProduct", x, name="fc7", num_output=1000)
    return net


@pytest.mark.parametrize("type", ["Convolution", "DepthwiseConvolution", "ConvolutionDepthwise"])
def test_mobilenet_has_the_same_figures_whatever_its_depthwise_layers_are_called(type: str) -> None:
    net = mobilenet(type)
    counted = counts.count(net)
    assert counted.learnable_params == 4_231_976
    assert counted.macs == 568_740_352
    assert net.blobs["conv12/sep"].shape == (1, 1024, 7, 7)
    assert [p.shape for p in net["conv12/dw"].params] == [(1024, 1, 3, 3)]
    grouped = mobilenet("Convolution", "caffe-1.0")
    assert counted.total_flops == counts.count(grouped).total_flops


def test_a_depthwise_convolution_reads_its_group_from_the_file() -> None:
    grouped = layer("DepthwiseConvolution", (1, 6, 8, 8), num_output=4, group=2, kernel_size=3)
    assert [p.shape for p in grouped.params] == [(4, 3, 3, 3), (4,)]
    own = layer("ConvolutionDepthwise", (2, 6, 8, 9), num_output=99, group=5, kernel_size=3, stride=2, pad=1)
    assert [top.shape for top in own.tops] == [(2, 6, 4, 5)]
    assert [p.shape for p in own.params] == [(6, 1, 3, 3), (6,)]
    assert (own.macs, own.ops) == (2 * 6 * 4 * 5 * 9, 2 * 6 * 4 * 5)


# --- ShuffleNet, SENet, YOLO v2


def test_a_unit_of_shufflenet_halves_and_grows() -> None:
    net = Net("ShuffleNet 1x, 3 groups: the first unit of stage 3", phase="TEST", dialect="any")
    x = net.add("Input", name="x", shape={"dim": [1, 240, 28, 28]})
    side = net.add("Pooling", x, name="side", pool="AVE", kernel_size=3, stride=2)
    y = net.add("Convolution", x, name="in", num_output=120, kernel_size=1, group=3, bias_term=False)
    y = net.add("ShuffleChannel", y, name="shuffle", group=3)
    y = net.add("ConvolutionDepthwise", y, name="dw", kernel_size=3, stride=2, pad=1, bias_term=False)
    y = net.add("Convolution", y, name="out", num_output=240, kernel_size=1, group=3, bias_term=False)
    assert net.add("Concat", side, y, name="join").shape == (1, 480, 14, 14)
    assert counts.count(net).learnable_params == 120 * 80 + 120 * 9 + 240 * 40
    assert net["shuffle"].macs == net["shuffle"].ops == 0


@pytest.mark.parametrize("gate", [(2, 256), (2, 256, 1, 1)])
def test_axpy_weighs_the_channels_and_adds_the_shortcut(gate: tuple[int, ...]) -> None:
    found = layer("Axpy", gate, (2, 256, 56, 56), (2, 256, 56, 56), dialect="nvcaffe")
    assert [top.shape for top in found.tops] == [(2, 256, 56, 56)]
    assert (found.macs, found.ops) == (0, 2 * 2 * 256 * 56 * 56)


def test_reorg_brings_yolos_finer_map_to_the_coarser_one_and_back() -> None:
    assert shapes("Reorg", (1, 64, 26, 26), stride=2, dialect="intel") == [(1, 256, 13, 13)]
    assert shapes("Reorg", (1, 256, 13, 13), stride=2, reverse=True) == [(1, 64, 26, 26)]


# --- segmentation: PSPNet, DeepLab, SegNet


@pytest.mark.parametrize("bins", [1, 2, 3, 6])
def test_pspnets_pyramid_comes_back_to_the_size_of_its_map(bins: int) -> None:
    net = Net("PSPNet50, 473x473", phase="TEST", dialect="any")
    x = net.add("Input", name="x", shape={"dim": [1, 2048, 60, 60]})
    kernel = 60 // bins
    y = net.add("Pooling", x, name="pool", pool="AVE", kernel_size=kernel, stride=kernel)
    y = net.add("Convolution", y, name="conv", num_output=512, kernel_size=1, bias_term=False)
    y = net.add("BN", y, name="bn", slope_filler={"value": 1}, momentum=0.95)
    assert y.shape == (1, 512, bins, bins)
    y = net.add("Interp", y, name="interp", height=60, width=60)
    assert net.add("Concat", x, y, name="join").shape == (1, 2560, 60, 60)
    scores = net.add("Convolution", x, name="conv6", num_output=150, kernel_size=1)
    assert net.add("Interp", scores, name="conv6_interp", zoom_factor=8).shape == (1, 150, 473, 473)


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"zoom_factor": 8}, (41, 49)),
        ({"shrink_factor": 2}, (3, 4)),
        ({"height": 11, "width": 13}, (11, 13)),
        ({"height": 5, "width": 6, "zoom_factor": 2}, (11, 13)),
        ({"zoom_factor": 3, "shrink_factor": 2}, (7, 10)),
        ({"height": 5, "width": 6, "zoom_factor": 3, "shrink_factor": 2}, (5, 6)),
        ({"zoom_factor": 2, "pad_beg": -1, "pad_end": -2}, (5, 7)),
    ],
)
def test_the_new_size_of_interp(fields: dict[str, int], size: tuple[int, int]) -> None:
    assert shapes("Interp", (1, 3, 6, 7), **fields) == [(1, 3, *size)]


def test_interp_takes_the_size_of_a_second_bottom() -> None:
    found = layer("Interp", (1, 3, 6, 7), (1, 9, 20, 30))
    assert [top.shape for top in found.tops] == [(1, 3, 20, 30)]
    assert found.ops == 9 * 3 * 20 * 30
    assert layer("Interp", (1, 3, 6, 7), (1, 9, 6, 7)).ops == 0


def test_segnets_upsampling_undoes_pooling_of_its_360_by_480_images() -> None:
    net = Net("SegNet", phase="TEST", dialect="any")
    x = net.add("Input", name="data", shape={"dim": [1, 3, 360, 480]})
    masks: list[Blob] = []
    for i in range(1, 6):
        x, mask = net.add_many(
            "Pooling", x, name=f"pool{i}", tops=[f"pool{i}", f"mask{i}"], pool="MAX", kernel_size=2, stride=2
        )
        masks.append(mask)
    assert [m.known_shape[2:] for m in masks] == [(180, 240), (90, 120), (45, 60), (23, 30), (12, 15)]
    sizes: tuple[tuple[int, dict[str, Any]], ...] = (
        (5, {"scale": 2, "upsample_w": 30, "upsample_h": 23}),
        (4, {"scale": 2, "upsample_w": 60, "upsample_h": 45}),
        (3, {"scale": 2}),
        (2, {"scale": 2}),
        (1, {"scale": 2}),
    )
    for i, fields in sizes:
        x = net.add("Upsample", x, masks[i - 1], name=f"upsample{i}", **fields)
    assert x.shape == (1, 3, 360, 480)
    assert shapes("Upsample", (1, 8, 23, 30), (1, 8, 23, 30), scale=2, pad_out_h=True) == [(1, 8, 45, 60)]
    assert shapes("Upsample", (1, 8, 4, 5), (1, 8, 4, 5), scale_h=2, scale_w=3) == [(1, 8, 8, 15)]
    assert shapes("Upsample", (1, 8, 4, 5), (1, 8, 4, 5)) == [(1, 8, 8, 10)]


def test_yolos_upsampling_repeats_each_number() -> None:
    assert shapes("Upsample", (1, 256, 13, 13), scale=2) == [(1, 256, 26, 26)]


# --- normalisation


def test_bn_of_pspnet_keeps_four_rows_and_learns_two() -> None:
    found = layer("BN", (2, 512, 6, 6), slope_filler={"value": 1})
    row = (1, 512)
    assert params(found) == [
        (row, "weight", True), (row, "bias", True), (row, "statistic", False), (row, "statistic", False),
    ]  # fmt: skip
    assert found.ops == 4 * 2 * 512 * 36
    frozen = layer("BN", (2, 512, 6, 6), frozen=True)
    assert not any(p.learnable for p in frozen.params)
    net = Net("n", dialect="any")
    x = net.add("Input", name="x", shape={"dim": [2, 512, 6, 6]})
    net.add("BN", x, name="bn", param=[{"lr_mult": 1}] * 4, frozen=True)
    assert counts.count(net).learnable_params == 0
    assert counts.count(net).stored_params == 4 * 512


def test_bn_of_segnet_keeps_two_blobs_and_may_show_its_statistics() -> None:
    one = (1, 64, 1, 1)
    found = layer("BN", (4, 64, 9, 9), scale_filler={"value": 1}, shift_filler={"value": 0.001})
    assert params(found) == [(one, "weight", True), (one, "bias", True)]
    fields: dict[str, Any] = {"scale_filler": {"value": 1}, "bn_mode": "INFERENCE"}
    test = layer("BN", (4, 64, 9, 9), tops=3, **fields)
    assert [top.shape for top in test.tops] == [(4, 64, 9, 9), one, one]
    assert (found.ops, test.ops) == (4 * 4 * 64 * 81, 2 * 4 * 64 * 81)


def test_batchnorm_of_nvidia_keeps_five_blobs_and_learns_two_whatever_the_file_says() -> None:
    found = layer("BatchNorm", (2, 64, 7, 7), scale_bias=True, dialect="nvcaffe")
    c = (64,)
    expected = [(c, "statistic", False), (c, "statistic", False), ((1,), "statistic", False)]
    assert params(found) == [*expected, (c, "weight", True), (c, "bias", True)]
    assert found.ops == 4 * 2 * 64 * 49
    zeros = [{"lr_mult": 0, "decay_mult": 0}] * 5
    forced = layer("BatchNorm", (2, 64, 7, 7), scale_bias=True, param=zeros)
    assert params(forced) == params(found)
    assert len(layer("BatchNorm", (2, 64, 7, 7), scale_filler={"value": 1}).params) == 5
    assert len(layer("BatchNorm", (2, 64, 7, 7), bias_filler={"value": 1}).params) == 5
    assert len(layer("BatchNorm", (2, 64, 7, 7), dialect="nvcaffe").params) == 3


@pytest.mark.parametrize(
    ("fields", "roles"),
    [
        ({}, []),
        ({"use_weight_bias": True}, ["weight", "bias"]),
        ({"use_weight_bias": False}, []),
        ({"bias_term": False}, ["weight"]),
        ({"filler": {"value": 1}, "bias_filler": {"value": 0}}, ["weight", "bias"]),
    ],
)
def test_batchnorm_of_intel_has_the_scale_and_shift_that_its_fields_ask_for(
    fields: dict[str, Any], roles: list[str]
) -> None:
    found = layer("BatchNorm", (2, 64, 7, 7), dialect="intel", **fields)
    assert [p.role for p in found.params] == ["statistic"] * 3 + roles
    assert found.ops == (2 + len(roles)) * 2 * 64 * 49
    fused = layer("BatchNorm", (2, 64, 7, 7), dialect="intel", relu=True, **fields)
    assert fused.ops - found.ops == 2 * 64 * 49


@pytest.mark.parametrize(("fields", "scale"), [({}, ()), ({"channel_shared": False}, (512,))])
def test_normalize_has_one_scale_or_one_for_each_channel(fields: dict[str, Any], scale: object) -> None:
    found = layer("Normalize", (2, 512, 38, 38), **fields)
    assert [p.shape for p in found.params] == [scale]
    assert found.ops == 4 * 2 * 512 * 38 * 38 + 2 * 2
    places = layer("Normalize", (2, 512, 38, 38), across_spatial=False, **fields)
    assert places.ops == 4 * 2 * 512 * 38 * 38 + 2 * 2 * 38 * 38


# --- fields of forks in layers that BVLC has


@pytest.mark.parametrize(("fields", "size"), [({}, 4), ({"ceil_mode": True}, 4), ({"ceil_mode": False}, 3)])
def test_pooling_with_ceil_mode_false_drops_the_rest(fields: dict[str, Any], size: int) -> None:
    assert shapes("Pooling", (1, 8, 7, 7), kernel_size=2, stride=2, **fields) == [(1, 8, size, size)]


def test_densenets_first_pooling_is_112_to_56_in_both_modes_of_rounding() -> None:
    fields: dict[str, Any] = {"pool": "MAX", "kernel_size": 3, "stride": 2, "pad": 1}
    assert shapes("Pooling", (1, 64, 112, 112), ceil_mode=False, **fields) == [(1, 64, 56, 56)]
    assert shapes("Pooling", (1, 64, 112, 112), **fields) == [(1, 64, 57, 57)]


def test_whether_an_average_includes_the_pad_changes_no_shape() -> None:
    fields: dict[str, Any] = {"pool": "AVE", "kernel_size": 3, "pad": 1}
    padded = layer("Pooling", (1, 8, 7, 7), dialect="intel", avg_include_pad=True, **fields)
    assert [top.shape for top in padded.tops] == [(1, 8, 7, 7)]
    assert padded.ops == layer("Pooling", (1, 8, 7, 7), **fields).ops


def test_a_convolution_of_intel_may_have_its_relu_within() -> None:
    fields = {"num_output": 4, "kernel_size": 1}
    plain = layer("Convolution", (1, 8, 7, 7), dialect="intel", **fields)
    fused = layer("Convolution", (1, 8, 7, 7), dialect="intel", relu=True, negative_slope=0.1, **fields)
    assert (fused.macs, fused.ops - plain.ops) == (plain.macs, 4 * 49)


@pytest.mark.parametrize(
    ("field", "value"), [("resize_param", {"height": 300}), ("crop_h", 200), ("var_sz_img_enabled", True)]
)
def test_images_of_a_list_may_be_made_another_size_by_a_fork(field: str, value: object) -> None:
    fields: dict[str, Any] = {"batch_size": 4, "new_height": 256, "new_width": 256}
    assert shapes("ImageData", tops=2, **fields) == [(4, 3, 256, 256), (4,)]
    resized = layer("ImageData", tops=2, transform_param={field: value}, **fields)
    assert resized.tops[0].shape is None
    assert f"the size that {field}, a field of forks, gives the images" in resized.unknown
    if field != "crop_h":
        transform = {field: value, "crop_size": 224}
        assert shapes("ImageData", tops=2, transform_param=transform, **fields)[0] == (4, 3, 224, 224)


def test_a_database_whose_images_a_fork_resizes_has_no_known_shape(tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text("""
    layer { name: "data" type: "Data" top: "data" data_param { source: "lmdb" batch_size: 2 backend: LMDB }
      transform_param { resize_param { height: 300 width: 300 } } }
    """)
    net = prototxt.read(tmp_path / "net.prototxt", dialect="ssd")
    assert net.blobs["data"].shape is None
    assert "resize_param, which forks have, changes the size of its images" in net["data"].unknown


# --- CaffeOnSpark

COS = """
name: "lrcn"
layer { name: "data" type: "CoSData"
  top: "data" top: "label" top: "input_sentence" top: "target_sentence"
  source_class: "com.yahoo.ml.caffe.DataFrameSource"
  cos_data_param {
    batch_size: 16 source: "hdfs:///train.parquet"
    top { name: "data" type: ENCODED_IMAGE channels: 3 height: 256 width: 256 out_height: 227 out_width: 227
          transform_param { crop_size: 227 mirror: true } }
    top { name: "label" type: INT channels: 1 sample_num_axes: 0 }
    top { name: "input_sentence" type: INT_ARRAY channels: 20 sample_num_axes: 1 transpose: true }
    top { name: "target_sentence" type: INT_ARRAY channels: 20 sample_num_axes: 1 }
  } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 96 kernel_size: 11 stride: 4 } }
"""


def test_the_columns_of_a_data_frame_have_the_shapes_of_their_blocks() -> None:
    net = prototxt.parse(COS, dialect="caffeonspark")
    assert [top.shape for top in net["data"].tops] == [(16, 3, 227, 227), (16,), (20, 16), (16, 20)]
    assert net.blobs["conv1"].shape == (16, 96, 55, 55)
    assert prototxt.dumps(prototxt.parse(prototxt.dumps(net), dialect="caffeonspark")) == prototxt.dumps(net)


def test_images_in_memory_may_say_where_they_come_from() -> None:
    text = """
    layer { name: "data" type: "MemoryData" top: "data" top: "label"
      source_class: "com.yahoo.ml.caffe.LMDB"
      memory_data_param { source: "file:/mnist_train_lmdb" batch_size: 64 channels: 1 height: 28 width: 28
        share_in_parallel: false dataframe_column_select: "true as encoded" image_encoded: true } }
    """
    for dialect in ("caffeonspark", "any"):
        net = prototxt.parse(text, dialect=dialect)
        assert [top.shape for top in net["data"].tops] == [(64, 1, 28, 28), (64,)]


def test_the_continuation_of_intels_recurrent_nets_needs_no_data() -> None:
    assert shapes("ContinuationIndicator", time_step=20, batch_size=16, dialect="intel") == [(20, 16)]


# --- losses and the like


def test_l1_loss_is_a_scalar() -> None:
    found = layer("L1Loss", (8, 3, 4, 4), (8, 48), dialect="nvcaffe")
    assert [top.shape for top in found.tops] == [()]
    assert found.ops == 3 * 8 * 48


@pytest.mark.parametrize(("type", "ops"), [("ReLU6", 2), ("SpatialDropout", 0)])
def test_one_number_at_a_time_in_place(type: str, ops: int) -> None:
    net = Net("n", dialect="any")
    x = net.add("Input", name="x", shape={"dim": [2, 8, 5, 5]})
    x = net.add("Convolution", x, name="c", num_output=4, kernel_size=1)
    assert net.add(type, x, name="t", in_place=True).shape == (2, 4, 5, 5)
    assert net["t"].ops == ops * 2 * 4 * 25


@pytest.mark.parametrize(
    ("order", "shape"),
    [([0, 2, 3, 1], (1, 4, 5, 3)), ([1], (3, 1, 4, 5)), ([], (1, 3, 4, 5)), ([3, 0], (5, 1, 3, 4))],
)
def test_the_axes_that_permute_does_not_name_follow_in_order(order: list[int], shape: object) -> None:
    assert shapes("Permute", (1, 3, 4, 5), order=order) == [shape]


# --- what the forks' Caffe aborts on

X = (1, 6, 8, 8)


@pytest.mark.parametrize(
    ("type", "bottoms", "fields", "expected"),
    [
        ("Permute", [X], {"order": [0, 4]}, "order must name axes of (1,6,8,8) once each, got [0, 4]"),
        ("Permute", [X], {"order": [0, 0]}, "order must name axes of (1,6,8,8) once each, got [0, 0]"),
        (
            "Axpy",
            [(1, 5), X, X],
            {},
            "bottom 0, the gate, must be (n,c) or (n,c,1,1) for bottom 1 (1,6,8,8), got (1,5)",
        ),
        (
            "Axpy",
            [(1, 6), X, (1, 6, 8, 9)],
            {},
            "bottoms 1 and 2 must have equal shapes, got (1,6,8,8) and (1,6,8,9)",
        ),
        ("Interp", [X], {}, "the new size is missing: give height and width, zoom_factor or shrink_factor"),
        ("Interp", [X], {"zoom_factor": 2, "pad_beg": 1}, "pad_beg and pad_end can only cut, got 1 and 0"),
        ("Interp", [X], {"zoom_factor": 0}, "shrink_factor and zoom_factor must be 1 or more, got 1 and 0"),
        ("Interp", [X], {"zoom_factor": 2, "pad_beg": -8}, "nothing is left: 0x0 would become -1x-1"),
        (
            "Upsample",
            [X, (1, 6, 4, 4)],
            {},
            "the bottom and its mask must have 4 axes (n,c,h,w) and equal shapes, "
            "got (1,6,8,8) and (1,6,4,4)",
        ),
        (
            "Upsample",
            [X, X],
            {"scale": 3, "pad_out_w": True},
            "scale must be above 1, and 2 with pad_out, got 3x3",
        ),
        (
            "Upsample",
            [X, X],
            {"scale_h": 2},
            "give upsample_h and upsample_w, or scale, or both scale_h and scale_w",
        ),
        (
            "Upsample",
            [X, X],
            {"upsample_h": 1, "upsample_w": 9},
            "upsample_h and upsample_w must be above 1, got 1x9",
        ),
        ("ShuffleChannel", [X], {"group": 4}, "group 4 must divide the 6 channels of the bottom"),
        ("Reorg", [X], {}, "stride is missing or 0"),
        ("Normalize", [(5,)], {}, "needs at least 2 axes, the channels being axis 1, got (5)"),
        (
            "BatchNorm",
            [(2, 5)],
            {"scale_bias": True},
            "needs a bottom of 4 axes (n,c,h,w) with scale_bias, got (2,5)",
        ),
        (
            "ContinuationIndicator",
            [],
            {"time_step": 3},
            "time_step and batch_size must both be given and positive",
        ),
        ("CoSData", [], {"batch_size": 3}, "1 tops need a top block each in cos_data_param, got 0"),
        (
            "CoSData",
            [],
            {"top": [{"name": "a", "sample_num_axes": 4}]},
            "sample_num_axes of 'a' must be at most 3, got 4",
        ),
        (
            "CoSData",
            [],
            {"top": [{"name": "a", "transpose": True}]},
            "transpose of 'a' needs sample_num_axes 1, got 3",
        ),
        (
            "L1Loss",
            [X, (2, 6, 8, 8)],
            {},
            "bottoms 0 and 1 must have one batch and equally many elements, got (1,6,8,8) and (2,6,8,8)",
        ),
        ("ConvolutionDepthwise", [X], {}, "kernel_size is missing: 2 spatial axes need it once or 2 times"),
    ],
)
def test_what_the_source_aborts_on_is_refused(
    type: str, bottoms: list[tuple[int, ...]], fields: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ShapeError) as caught:
        layer(type, *bottoms, **fields)
    assert str(caught.value).splitlines()[0] == f"{type} 't': {expected}"


@pytest.mark.parametrize(
    ("type", "fields", "expected"),
    [
        ("Permute", {"order": [0, 2, 1]}, "computes wrong values in place"),
        ("ShuffleChannel", {"group": 2}, "computes wrong values in place"),
        ("Interp", {"zoom_factor": 1}, "computes wrong values in place"),
        ("Normalize", {}, "computes wrong values in place"),
        ("Reorg", {"stride": 1}, "cannot write over its bottom 'c'"),
    ],
)
def test_no_layer_that_moves_or_scales_numbers_writes_over_its_bottom(
    type: str, fields: dict[str, Any], expected: str
) -> None:
    net = Net("n", dialect="any")
    x = net.add("Input", name="x", shape={"dim": X})
    x = net.add("Convolution", x, name="c", num_output=4, kernel_size=1)
    with pytest.raises(NetBuilderError) as caught:
        net.add(type, x, name="t", in_place=True, **fields)
    assert expected in str(caught.value)
