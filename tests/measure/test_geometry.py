"""Receptive fields against connection matrices, gradients in real Caffe, and published figures; windows."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from netbuilder import Net, prototxt
from netbuilder.engines.caffe import Caffe
from netbuilder.layers.arithmetic import Window
from netbuilder.measure.geometry import ReceptiveField, receptive_fields, window
from netbuilder.networks import find_network
from netbuilder.report.table import field_text, kernel_text

Steps = list[tuple[Any, ...]]


def chain(size: tuple[int, int], steps: Steps) -> Net:
    """Layers one after another: (type, kernel, stride, pad, dilation), numbers or (h, w) pairs."""
    net = Net("chain", dialect="caffe-master")
    x = net.add("Input", name="data", shape={"dim": [1, 1, *size]})
    for i, (kind, *numbers) in enumerate(steps):
        k, s, p, d = [n if isinstance(n, tuple) else (n, n) for n in numbers]
        fields = {"kernel_h": k[0], "kernel_w": k[1], "stride_h": s[0], "stride_w": s[1]}
        fields |= {"pad_h": p[0], "pad_w": p[1]}
        if kind == "Pooling":
            x = net.add(kind, x, name=f"l{i}", pool="AVE", round_mode="FLOOR", **fields)
        else:
            x = net.add(kind, x, name=f"l{i}", num_output=1, bias_term=False, dilation=list(d), **fields)
    return net


def sees(net: Net, layer: str) -> ReceptiveField | None:
    return receptive_fields(net).get(net[layer].tops[0])


# ---- against the definition, by matrices ---------------------------------------------------------------


def connections(kind: str, size: int, k: int, s: int, p: int, d: int) -> Any:
    """Which inputs (columns) each output (rows) of a layer reads along one axis, by its definition."""
    if kind == "Deconvolution":
        # The transpose of the convolution that leads back to `size`.
        out = s * (size - 1) + d * (k - 1) + 1 - 2 * p
        return connections("Convolution", out, k, s, p, d)[:size].T
    out = (size + 2 * p - (d * (k - 1) + 1)) // s + 1
    m = np.zeros((out, size), np.float32)
    for o in range(out):
        for t in range(k):
            i = o * s - p + d * t
            if 0 <= i < size:
                m[o, i] = 1
    return m


def widest(m: Any) -> int:
    """The widest stretch from the first to the last input that an output away from the border depends on."""
    wide = 0
    for row in m:
        at = np.flatnonzero(row)
        if at.size and at[0] > 0 and at[-1] < m.shape[1] - 1:
            wide = max(wide, int(at[-1] - at[0] + 1))
    return wide


layers = st.one_of(
    st.tuples(
        st.just("Convolution"), st.integers(1, 4), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2)
    ),
    st.tuples(st.just("Pooling"), st.integers(2, 3), st.integers(1, 3), st.integers(0, 1), st.just(1)),
    st.tuples(
        st.just("Deconvolution"), st.integers(1, 4), st.integers(1, 3), st.integers(0, 1), st.integers(1, 2)
    ),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(layers, min_size=1, max_size=3))
def test_a_field_is_what_the_connections_of_a_chain_reach(steps: Steps) -> None:
    size = 100
    reached, width = np.eye(size, dtype=np.float32), size
    for step in steps:
        m = connections(step[0], width, *step[1:])
        reached, width = np.minimum(m @ reached, 1), m.shape[0]
    found = sees(chain((size, size), steps), f"l{len(steps) - 1}")
    strides = [(1 / s if kind == "Deconvolution" else s) for kind, _, s, _, _ in steps]
    assume(widest(reached) > 0)  # there may be no output away from the border
    assert found is not None
    assert found.size == (widest(reached),) * 2
    assert found.jump == pytest.approx((prod(strides),) * 2)


def test_of_several_paths_the_field_spans_all() -> None:
    # One path looks to the left of the other: 3 pixels each, 4 together.
    net = Net("paths")
    x = net.add("Input", name="data", shape={"dim": [1, 1, 32, 32]})
    a = net.add("Convolution", x, name="a", num_output=1, kernel_size=3, pad=1)
    b = net.add("Convolution", x, name="b", num_output=1, kernel_size=3, pad=2)
    b = net.add("Crop", b, a, name="cut", axis=2, offset=[0, 1])
    net.add("Eltwise", a, b, name="sum")
    left = connections("Convolution", 32, 3, 1, 1, 1)
    other = connections("Convolution", 32, 3, 1, 2, 1)
    both = [widest(left + other[:32]), widest(left + other[1:33])]
    found = sees(net, "sum")
    assert found is not None
    assert found.size == tuple(both) == (4, 3)
    assert found.jump == (1, 1)


# ---- against real Caffe --------------------------------------------------------------------------------

MODULE = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 dim: 61 dim: 47 } } }
layer { name: "c1" type: "Convolution" bottom: "data" top: "c1" convolution_param {
  num_output: 3 kernel_h: 5 kernel_w: 3 stride: 2 pad: 1 weight_filler { type: "constant" value: 0.1 } } }
layer { name: "r1" type: "ReLU" bottom: "c1" top: "c1" }
layer { name: "a" type: "Convolution" bottom: "c1" top: "a" convolution_param {
  num_output: 3 kernel_h: 1 kernel_w: 5 pad_h: 0 pad_w: 2 weight_filler { type: "constant" value: 0.1 } } }
layer { name: "b" type: "Convolution" bottom: "c1" top: "b" convolution_param {
  num_output: 3 kernel_size: 3 pad: 2 dilation: 2 weight_filler { type: "constant" value: 0.1 } } }
layer { name: "cat" type: "Concat" bottom: "a" bottom: "b" top: "cat" }
layer { name: "pool" type: "Pooling" bottom: "cat" top: "pool" pooling_param {
  pool: AVE kernel_size: 3 stride: 2 } }
layer { name: "lrn" type: "LRN" bottom: "pool" top: "lrn" lrn_param {
  norm_region: WITHIN_CHANNEL local_size: 3 alpha: 0.5 } }
layer { name: "up" type: "Deconvolution" bottom: "lrn" top: "up" convolution_param {
  num_output: 1 kernel_size: 3 stride: 2 weight_filler { type: "constant" value: 0.1 } } }
"""
PICK = """
layer { name: "one" type: "DummyData" top: "one" dummy_data_param { shape { dim: 1 dim: 1 dim: 1 dim: 1 } } }
layer { name: "crop" type: "Crop" bottom: "%s" bottom: "one" top: "crop" crop_param {
  axis: 2 offset: %d offset: %d } }
layer { name: "loss" type: "Reduction" bottom: "crop" top: "loss" loss_weight: 1 }
"""


@pytest.mark.parametrize("layer", ["c1", "a", "b", "cat", "pool", "lrn", "up"])
def test_a_field_is_where_caffes_gradient_is_not_zero(layer: str, real_caffe: Caffe) -> None:
    net = prototxt.parse(MODULE)
    blob = net[layer].tops[0]
    height, width = blob.known_shape[2:]
    found = receptive_fields(net)[blob]
    image = np.random.default_rng(1).uniform(0.5, 1.5, (1, 2, 61, 47)).astype(np.float32)
    extents = []
    # Two neighbours: a deconvolution's elements do not all see as much.
    for y, x in ((height // 2, width // 2), (height // 2 + 1, width // 2 + 1)):
        picked = PICK % (layer, y, x)
        ran = real_caffe.run(
            "force_backward: true\n" + MODULE + picked,
            inputs={"data": image},
            outputs=["data"],
            backward=True,
        )
        support = np.abs(ran.diffs["data"][0]).sum(axis=0) > 0
        rows, columns = np.flatnonzero(support.any(axis=1)), np.flatnonzero(support.any(axis=0))
        extents.append((rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1))
    assert found.size == tuple(max(e[axis] for e in extents) for axis in (0, 1))


# ---- against what is published -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("blocks", "field"), [((3, 4, 6, 3), 483), ((3, 4, 23, 3), 1027), ((3, 8, 36, 3), 1507)]
)
def test_the_fields_of_resnets_are_the_published_ones(blocks: tuple[int, ...], field: int) -> None:
    # github.com/google-research/receptive_field, resnet_v1_50, _101 and _152, whose 3x3 convolutions are at
    # the resolutions of our nets with the stride in the 1x1.
    entry = find_network("resnet")
    config = entry.config(main_branch="bottleneck", num_output_stage1=256, blocks=blocks, stride_in="1x1")
    net = entry.stitch(config, "deploy")
    last = f"relu_stage3_block{blocks[3] - 1}"
    assert sees(net, last) == ReceptiveField((field, field), (32, 32), (False, False))
    assert sees(net, "fc1000") == ReceptiveField((224, 224), (None, None), (True, True))


def test_the_field_of_alexnet_is_the_published_one() -> None:
    # alexnet_v2 there: conv 11/4, pool 3/2, conv 5, pool 3/2, three conv 3, pool 3/2; the paddings differ
    # from BVLC's, and do not matter to the size.
    conv, pool = "Convolution", "Pooling"
    steps: Steps = [(conv, 11, 4, 0, 1), (pool, 3, 2, 0, 1), (conv, 5, 1, 2, 1), (pool, 3, 2, 0, 1)]
    steps += [(conv, 3, 1, 1, 1)] * 3 + [(pool, 3, 2, 0, 1)]
    net = chain((227, 227), steps)
    published = {"l0": 11, "l1": 19, "l2": 51, "l4": 99, "l5": 131, "l6": 163, "l7": 195}
    assert {name: found.size[0] for name in published if (found := sees(net, name))} == published
    assert receptive_fields(net)[net["l7"].tops[0]].jump == (32, 32)


def test_the_field_of_vgg_16_is_the_published_one() -> None:
    steps: Steps = []
    for convolutions in (2, 2, 3, 3, 3):
        steps += [("Convolution", 3, 1, 1, 1)] * convolutions + [("Pooling", 2, 2, 0, 1)]
    net = chain((224, 224), steps)
    assert sees(net, "l16") == ReceptiveField((196, 196), (16, 16), (False, False))  # conv5_3
    assert sees(net, "l17") == ReceptiveField((212, 212), (32, 32), (False, False))  # pool5


# ---- what ends the geometry ----------------------------------------------------------------------------


def small(text: str, dialect: str = "caffe-master") -> Net:
    data = (
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 dim: 16 '
        "dim: 12 } } }\n"
    )
    conv = (
        'layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" '
        "convolution_param { num_output: 4 kernel_size: 3 } }\n"
    )
    return prototxt.parse(data + conv + text, unknown="keep", dialect=dialect)


WHOLE = ReceptiveField((16, 12), (None, None), (True, True))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('type: "InnerProduct" inner_product_param { num_output: 2 }', WHOLE),
        ('type: "Pooling" pooling_param { pool: AVE global_pooling: true }', WHOLE),
        ('type: "SPP" spp_param { pyramid_height: 2 }', WHOLE),
        ('type: "MVN"', WHOLE),
        ('type: "Reduction" reduction_param { axis: 2 }', WHOLE),
        ('type: "ArgMax"', WHOLE),
        ('type: "Softmax"', ReceptiveField((3, 3), (1, 1), (False, False))),
        ('type: "Softmax" softmax_param { axis: 2 }', ReceptiveField((16, 3), (None, 1), (True, False))),
        # Each element still sees 3x3, but the one beside it is no longer its neighbour in the image.
        ('type: "Flatten"', ReceptiveField((3, 3), (None, None), (False, False))),
        ('type: "Reshape" reshape_param { shape { dim: 0 dim: 2 dim: -1 dim: 10 } }',
         ReceptiveField((3, 3), (None, None), (False, False))),
        ('type: "Tile" tile_param { axis: 2 tiles: 2 }', None),
        ('type: "Concat" concat_param { axis: 3 }', ReceptiveField((3, 3), (1, 1), (False, False))),
        ('type: "Warp"', None),
    ],
)  # fmt: skip
def test_what_reads_everything_sees_the_whole_image(text: str, expected: ReceptiveField | None) -> None:
    net = small(f'layer {{ name: "x" bottom: "conv" top: "x" {text} }}')
    assert sees(net, "x") == expected


@pytest.mark.parametrize(
    ("text", "size", "jump"),
    [
        ('type: "ConvolutionDepthwise" convolution_param { kernel_size: 3 stride: 2 }', 5, 2),
        ('type: "Reorg" reorg_param { stride: 2 }', 4, 2),
        ('type: "Upsample" upsample_param { scale: 2 }', 3, 0.5),
        ('type: "Permute" permute_param { order: 1 order: 0 }', 3, 1),
        ('type: "Permute" permute_param { order: 0 order: 2 order: 3 order: 1 }', 3, None),
        ('type: "Normalize" norm_param { across_spatial: false }', 3, 1),
    ],
)
def test_layers_of_forks_have_fields_too(text: str, size: int, jump: float | None) -> None:
    net = small(f'layer {{ name: "x" bottom: "conv" top: "x" {text} }}', dialect="any")
    assert sees(net, "x") == ReceptiveField((size, size), (jump, jump), (False, False))


def test_a_depthwise_convolution_has_as_many_groups_as_channels() -> None:
    net = small(
        'layer { name: "x" bottom: "conv" top: "x" type: "ConvolutionDepthwise" '
        "convolution_param { kernel_size: 3 stride: 2 } }",
        dialect="any",
    )
    assert kernel_text(net["x"]) == "3x3/2 g4"


def test_a_gate_lets_everything_see_the_whole_image() -> None:
    net = small(
        'layer { name: "p" type: "Pooling" bottom: "conv" top: "p" pooling_param { global_pooling: true } }\n'
        'layer { name: "f" type: "InnerProduct" bottom: "p" top: "f" '
        "inner_product_param { num_output: 4 } }\n"
        'layer { name: "s" type: "Scale" bottom: "conv" bottom: "f" top: "s" scale_param { axis: 0 } }\n'
        'layer { name: "r" type: "Reshape" bottom: "f" top: "r" reshape_param { shape { dim: 0 dim: 4 dim: 1 '
        "dim: 1 } } }\n"
        'layer { name: "c" type: "Convolution" bottom: "r" top: "c" convolution_param { num_output: 1 '
        "kernel_size: 1 } }\n"
    )
    assert [sees(net, name) for name in "psc"] == [WHOLE] * 3


def test_a_layer_that_reads_only_a_part_does_not_see_the_whole_image() -> None:
    net = prototxt.parse(
        'layer { name: "data" type: "Input" top: "data" '
        "input_param { shape { dim: 1 dim: 1 dim: 9 dim: 9 } } }\n"
        'layer { name: "s" type: "Slice" bottom: "data" top: "a" top: "b" '
        "slice_param { axis: 2 slice_point: 3 } }\n"
        'layer { name: "f" type: "InnerProduct" bottom: "b" top: "f" '
        "inner_product_param { num_output: 2 } }\n"
    )
    assert sees(net, "f") == ReceptiveField((6, 9), (None, None), (False, True))


def test_what_depends_on_no_image_has_no_field() -> None:
    net = Net("plain")
    x = net.add("Input", name="data", shape={"dim": [5, 7]})
    net.add("InnerProduct", x, name="f", num_output=2)
    assert receptive_fields(net) == {}


def test_a_huge_deconvolution_is_given_up_in_time() -> None:
    steps: Steps = [("Deconvolution", 3, 60, 1, 1), ("Deconvolution", 3, 60, 1, 1)]
    net = chain((2, 2), steps)
    assert sees(net, "l0") is not None
    assert sees(net, "l1") is None


# ---- windows -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ("convolution_param { num_output: 4 kernel_size: 3 stride: 2 pad: 1 }", "3x3/2 p1"),
        ("convolution_param { num_output: 4 kernel_h: 1 kernel_w: 3 pad_h: 0 pad_w: 1 }", "1x3 p0x1"),
        ("convolution_param { num_output: 4 kernel_size: 3 kernel_size: 5 stride: 1 stride: 2 }", "3x5/1x2"),
        ("convolution_param { num_output: 4 kernel_size: 3 pad: 2 dilation: 2 group: 4 }", "3x3 p2 g4 d2"),
    ],
)
def test_a_kernel_is_written_with_what_is_not_the_default(fields: str, text: str) -> None:
    net = small(f'layer {{ name: "x" type: "Convolution" bottom: "conv" top: "x" {fields} }}')
    assert kernel_text(net["x"]) == text


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ("kernel_size: 3 stride: 2", "max 3x3/2"),
        ("pool: AVE kernel_h: 2 kernel_w: 3 pad_h: 1 pad_w: 0", "ave 2x3 p1x0"),
        ("pool: AVE global_pooling: true", "ave 14x10 global"),
    ],
)
def test_a_pooling_says_what_it_takes(fields: str, text: str) -> None:
    net = small(f'layer {{ name: "x" type: "Pooling" bottom: "conv" top: "x" pooling_param {{ {fields} }} }}')
    assert kernel_text(net["x"]) == text


def test_other_layers_have_no_window() -> None:
    net = small(
        'layer { name: "x" type: "InnerProduct" bottom: "conv" top: "x" '
        "inner_product_param { num_output: 1 } }"
    )
    assert (window(net["x"]), kernel_text(net["x"])) == (None, "")
    assert window(net["conv"]) == Window((3, 3), (1, 1), (0, 0), (1, 1))


def test_the_window_of_a_layer_whose_bottom_is_unknown_is_known() -> None:
    net = small(
        'layer { name: "w" type: "Warp" bottom: "conv" top: "w" }\n'
        'layer { name: "x" type: "Convolution" bottom: "w" top: "x" convolution_param { num_output: 1 '
        "kernel_size: 5 } }\n"
        'layer { name: "p" type: "Pooling" bottom: "w" top: "p" pooling_param { global_pooling: true } }'
    )
    assert [kernel_text(net[name]) for name in "xp"] == ["5x5", "max global"]


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (None, ("-", "-")),
        (ReceptiveField((11, 11), (4, 4), (False, False)), ("11x11", "4")),
        (ReceptiveField((3, 7), (0.5, 1), (False, False)), ("3x7", "0.5x1")),
        (ReceptiveField((16, 12), (None, None), (True, True)), ("whole", "-")),
        (ReceptiveField((16, 3), (None, 1), (True, False)), ("wholex3", "-x1")),
    ],
)
def test_a_field_as_text(field: ReceptiveField | None, text: tuple[str, str]) -> None:
    assert field_text(field) == text
