"""Where Intel's Caffe computes other shapes than BVLC's; the values are those that its sources prescribe."""

# ruff: noqa: E501 (a line of a net is a line)

from __future__ import annotations

from typing import Any

import pytest

from netbuilder import Net, prototxt
from netbuilder.checks.examine import Wanted, examine_text
from netbuilder.errors import NetBuilderError, ShapeError

INPUT = 'layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ {dims} }} }} }}\n'


def text(type: str, shape: tuple[int, ...], body: str = "") -> str:
    dims = " ".join(f"dim: {n}" for n in shape)
    return INPUT.format(dims=dims) + f'layer {{ name: "t" type: "{type}" bottom: "x" top: "t" {body} }}\n'


def shape_in(dialect: str, net: str) -> tuple[int, ...]:
    return prototxt.parse(net, dialect=dialect).blobs["t"].known_shape


# bottom, fields, BVLC's top, Intel's top
CLIPPED = [
    ((1, 3, 8, 8), "kernel_size: 1 stride: 2", (1, 3, 5, 5), (1, 3, 4, 4)),
    ((1, 3, 7, 7), "kernel_size: 1 stride: 2", (1, 3, 4, 4), (1, 3, 4, 4)),
    ((1, 3, 8, 8), "kernel_h: 1 kernel_w: 3 stride: 2", (1, 3, 5, 4), (1, 3, 4, 4)),
    ((1, 3, 8, 8), "kernel_size: 2 stride: 3", (1, 3, 3, 3), (1, 3, 3, 3)),
    ((1, 3, 9, 9), "kernel_size: 1 stride: 4", (1, 3, 3, 3), (1, 3, 3, 3)),
    ((1, 3, 10, 10), "kernel_size: 1 stride: 4", (1, 3, 4, 4), (1, 3, 3, 3)),
]


@pytest.mark.parametrize(("shape", "fields", "bvlc", "intel"), CLIPPED)
def test_pooling_drops_a_last_window_of_kernel_1(
    shape: tuple[int, ...], fields: str, bvlc: tuple[int, ...], intel: tuple[int, ...]
) -> None:
    net = text("Pooling", shape, f"pooling_param {{ {fields} }}")
    assert shape_in("caffe-master", net) == bvlc
    assert shape_in("ssd", net) == bvlc
    assert shape_in("intel", net) == intel


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ("kernel_size_3d: 2 stride_3d: 2", (4, 4, 5)),
        ("kernel_size_3d: 1 kernel_size_3d: 2 kernel_size_3d: 3 stride_3d: 2 pad_3d: 0 pad_3d: 1 pad_3d: 1",
         (4, 5, 5)),
        ("pool: AVE kernel_size_3d: 3 pad_3d: 1", (8, 8, 9)),
    ],
)  # fmt: skip
def test_pooling_takes_three_spatial_axes(fields: str, size: tuple[int, ...]) -> None:
    net = text("Pooling", (2, 3, 8, 8, 9), f"pooling_param {{ {fields} }}")
    assert shape_in("intel", net) == (2, 3, *size)
    with pytest.raises(NetBuilderError):
        prototxt.parse(net, dialect="caffe-master")


def test_pooling_of_a_volume_may_be_global_and_needs_its_own_fields() -> None:
    assert shape_in(
        "intel", text("Pooling", (2, 3, 8, 8, 9), "pooling_param { pool: AVE global_pooling: true }")
    ) == (2, 3, 1, 1, 1)
    with pytest.raises(ShapeError, match="kernel_size_3d is missing"):
        prototxt.parse(text("Pooling", (2, 3, 8, 8, 9), "pooling_param { kernel_size: 2 }"), dialect="intel")
    with pytest.raises(ShapeError, match="need two spatial axes"):
        prototxt.parse(
            text("Pooling", (2, 3, 8, 8, 9), "pooling_param { kernel_size_3d: 2 stride_h: 1 stride_w: 1 }"),
            dialect="intel",
        )


@pytest.mark.parametrize("type", ["PReLU", "MVN"])
def test_layers_that_take_five_axes(type: str) -> None:
    net = text(type, (2, 3, 4, 5, 6))
    assert shape_in("intel", net) == shape_in("any", net) == (2, 3, 4, 5, 6)
    with pytest.raises(ShapeError, match="at most 4 axes"):
        prototxt.parse(net, dialect="caffe-master")


def test_mvn_keeps_the_axes_of_its_bottom() -> None:
    assert shape_in("caffe-master", text("MVN", (2, 3))) == (2, 3, 1, 1)
    assert shape_in("intel", text("MVN", (2, 3))) == (2, 3)


@pytest.mark.parametrize(
    ("shape", "r", "top"), [((1, 12, 4, 5), 2, (1, 3, 8, 10)), ((2, 9, 4, 4), 3, (2, 1, 12, 12))]
)
def test_reshape_shuffles_pixels(shape: tuple[int, ...], r: int, top: tuple[int, ...]) -> None:
    assert shape_in("intel", text("Reshape", shape, f"reshape_param {{ pixelshuffler: {r} }}")) == top


def test_reshape_refuses_channels_that_do_not_fit() -> None:
    with pytest.raises(ShapeError, match="multiple of 4"):
        prototxt.parse(text("Reshape", (1, 6, 4, 4), "reshape_param { pixelshuffler: 2 }"), dialect="intel")


@pytest.mark.parametrize(
    ("shape", "size", "pooled"),
    [((1, 8, 20, 30), [7], (7, 7)), ((1, 8, 20, 30), [6, 7], (6, 7)), ((1, 8, 5, 20, 30), [2, 6, 7], (2, 6, 7)),
     ((1, 8, 5, 20, 30), [4], (4, 4, 4))],
)  # fmt: skip
def test_roi_pooling_has_a_size_for_each_axis(
    shape: tuple[int, ...], size: list[int], pooled: tuple[int, ...]
) -> None:
    net = Net("n", dialect="intel")
    x = net.add("Input", name="x", shape={"dim": shape})
    rois = net.add("Input", name="rois", shape={"dim": [9, 5]})
    assert net.add("ROIPooling", x, rois, name="t", pooled_size=size).shape == (9, 8, *pooled)


FIELDS: list[tuple[str, dict[str, Any]]] = [
    ("Concat", {"per_fla_fuse": True}),
    ("Convolution", {"num_output": 2, "kernel_size": 1, "fusion_type": "SUM_FUSION", "coeff": [1, 0.5]}),
    ("InnerProduct", {"num_output": 2, "relu": True, "negative_slope": 0.1}),
    ("ReLU", {"mn_activation_param": {"num_nodes_in": 2, "need_reduce": False}}),
    ("ReLU", {"mn_grad_compress_param": {"param_grad_compress_enable": [True]}}),
    ("ReLU", {"multinode": {"num_nodes": 4, "model_parts": 2}}),
    ("ReLU", {"quantization_param": {"force_u8_input": True}}),
]


@pytest.mark.parametrize(("type", "fields"), FIELDS)
def test_its_fields_are_known(type: str, fields: dict[str, Any]) -> None:
    net = Net("n", dialect="intel")
    x = net.add("Input", name="x", shape={"dim": [1, 2, 4, 4]})
    net.add(type, x, name="t", **fields)
    assert prototxt.dumps(prototxt.parse(prototxt.dumps(net), dialect="intel")) == prototxt.dumps(net)


def test_check_takes_the_shapes_of_the_caffe_that_is_named() -> None:
    """8x8 is 5x5 in BVLC's, with windows outside of the image, and 4x4 in Intel's."""
    net = text("Pooling", (1, 3, 8, 8), "pooling_param { kernel_size: 1 stride: 2 }")
    net += 'layer { name: "r" type: "Reshape" bottom: "t" top: "r" reshape_param { shape { dim: 3 dim: SIZE } } }\n'
    for target, size, other in (("caffe-master", 25, 16), ("intel", 16, 25)):
        codes = [
            [
                f.code
                for f in examine_text(net.replace("SIZE", str(n)), "n", Wanted(targets=(target,))).findings
            ]
            for n in (size, other)
        ]
        assert codes == (
            [["pooling-outside"], ["pooling-outside", "shape"]]
            if target == "caffe-master"
            else [[], ["shape"]]
        )


def test_check_takes_the_shapes_of_the_only_caffe_that_fits() -> None:
    net = text("Pooling", (1, 3, 8, 8), "pooling_param { kernel_size: 1 stride: 2 engine: MKLDNN }")
    (finding,) = examine_text(net, "n", Wanted()).findings
    assert finding.code == "no-such-field"
    assert "it is in intel" in finding.fix
