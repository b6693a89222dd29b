"""Down- and upsampling, in real Caffe against NumPy in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from legos import (
    DOWNSAMPLINGS,
    UPSAMPLINGS,
    AverageDownLego,
    BilinearUpLego,
    CropAverageDownLego,
    DepthwiseAverageDownLego,
    FloorAverageDownLego,
    NearestUpLego,
    UpLego,
)
from netbuilder import Net, counts, prototxt
from netbuilder.engines.caffe import Caffe, RunResult
from netbuilder.errors import FieldError
from netbuilder.net import Blob

# The dialect in which each form can be written.
FORMS = {
    "crop": (CropAverageDownLego, "caffe-1.0"),
    "depthwise": (DepthwiseAverageDownLego, "caffe-1.0"),
    "floor": (FloorAverageDownLego, "caffe-master"),
    "auto": (AverageDownLego, "caffe-1.0"),
    "auto, master": (AverageDownLego, "caffe-master"),
}
each_form = pytest.mark.parametrize(("form", "dialect"), FORMS.values(), ids=FORMS)
SIZES = [(14, 14), (7, 7), (13, 8), (6, 11), (1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (3, 3), (3, 1), (1, 8)]
each_size = pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
each_up = pytest.mark.parametrize("up", UPSAMPLINGS.values(), ids=UPSAMPLINGS)


def down(form: type[AverageDownLego], size: tuple[int, int], dialect: str) -> tuple[Net, Blob]:
    net = Net("n", dialect=dialect)
    data = net.add("Input", name="data", shape={"dim": [2, 3, *size]})
    return net, form(name="a").attach(net, data)


def up_to(up: type[UpLego], size: tuple[int, int], wanted: tuple[int, int]) -> tuple[Net, Blob]:
    net = Net("n")
    data = net.add("Input", name="data", shape={"dim": [2, 3, *size]})
    reference = net.add("Input", name="reference", shape={"dim": [2, 5, *wanted]})
    return net, up(name="a").attach(net, [data, reference])


def names(net: Net) -> list[str]:
    return [layer.name for layer in net.layers if layer.type != "Input"]


def drawn(*shape: int) -> Any:
    return np.random.default_rng(1).standard_normal(shape)


def run(caffe: Caffe, net: Net, top: Blob, x: Any, top_diff: Any) -> RunResult:
    """Forward, and backward from a loss that is the sum of the top's elements times `top_diff`."""
    net.proto.force_backward = True
    weights = net.add("Input", name="top_diff", shape={"dim": list(top.known_shape)})
    product = net.add("Eltwise", top, weights, name="product", operation="PROD")
    net.add("Reduction", product, name="loss", operation="SUM", loss_weight=[1])
    return caffe.run(
        prototxt.dumps(net),
        inputs={"data": x, "top_diff": top_diff},
        outputs=["data", top.name],
        backward=True,
    )


def average(x: Any) -> Any:
    """3x3, stride 2, pad 1 with zeros, always over nine, as many windows as PyTorch's AvgPool2d(3, 2, 1)."""
    height, width = x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    out = np.empty((*x.shape[:2], (height - 1) // 2 + 1, (width - 1) // 2 + 1))
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            out[:, :, i, j] = padded[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].sum((2, 3)) / 9
    return out


def average_transposed(diff: Any, height: int, width: int) -> Any:
    """The gradient: each output's share goes to the pixels of its window."""
    padded = np.zeros((*diff.shape[:2], height + 2, width + 2))
    for i in range(diff.shape[2]):
        for j in range(diff.shape[3]):
            padded[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += diff[:, :, i : i + 1, j : j + 1] / 9
    return padded[:, :, 1:-1, 1:-1]


def nearest(x: Any, factor: int, height: int, width: int) -> Any:
    """Pixel (i, j) is that of (i // factor, j // factor)."""
    return x[:, :, np.arange(height) // factor][:, :, :, np.arange(width) // factor]


def nearest_transposed(diff: Any, factor: int, height: int, width: int) -> Any:
    """The gradient: each pixel gets the sum over the cell that it was copied to."""
    out = np.zeros((*diff.shape[:2], height, width))
    for i in range(diff.shape[2]):
        for j in range(diff.shape[3]):
            out[:, :, i // factor, j // factor] += diff[:, :, i, j]
    return out


def bilinear_matrix(size: int, factor: int, *, zeros_outside: bool) -> Any:
    """One axis of a bilinear enlargement: output pixel i lies at (i + 1/2) / factor - 1/2 of the input.

    Beyond the outermost pixels the input is zero, or goes on as it ends (PyTorch, align_corners=False).
    """
    matrix = np.zeros((size * factor, size))
    for i in range(size * factor):
        at = (i + 0.5) / factor - 0.5
        low = int(np.floor(at))
        for k, weight in ((low, low + 1 - at), (low + 1, at - low)):
            if 0 <= k < size:
                matrix[i, k] += weight
            elif not zeros_outside:
                matrix[i, min(max(k, 0), size - 1)] += weight
    return matrix


def bilinear(x: Any, factor: int, *, zeros_outside: bool) -> Any:
    rows, columns = (bilinear_matrix(n, factor, zeros_outside=zeros_outside) for n in x.shape[2:])
    return np.einsum("ih,nchw,jw->ncij", rows, x, columns)


def test_the_forms_go_by_these_names() -> None:
    assert list(DOWNSAMPLINGS.items()) == [
        ("auto", AverageDownLego),
        ("crop", CropAverageDownLego),
        ("depthwise", DepthwiseAverageDownLego),
        ("floor", FloorAverageDownLego),
    ]
    assert list(UPSAMPLINGS.items()) == [("nearest", NearestUpLego), ("bilinear", BilinearUpLego)]


# ---- down --------------------------------------------------------------------------------------------------


def test_the_window_of_the_reference_is_that_of_pytorch() -> None:
    # AvgPool2d(3, 2, 1) of 1 2 / 3 4 is (1 + 2 + 3 + 4) / 9; of a row 1 2 3, (1 + 2) / 9 and (2 + 3) / 9.
    assert average(np.array([[[[1.0, 2], [3, 4]]]])).tolist() == [[[[10 / 9]]]]
    assert average(np.array([[[[1.0, 2, 3]]]])).tolist() == [[[[3 / 9, 5 / 9]]]]


@each_form
@each_size
def test_the_average_is_over_nine_and_rounds_its_size_down(
    real_caffe: Caffe, form: type[AverageDownLego], dialect: str, size: tuple[int, int]
) -> None:
    x = drawn(2, 3, *size)
    net, top = down(form, size, dialect)
    expected = average(x)
    assert top.shape == expected.shape
    ran = run(real_caffe, net, top, x, np.ones(top.known_shape))
    assert ran.outputs[top.name].shape == expected.shape
    assert abs(ran.outputs[top.name] - expected).max() <= 1e-6


@each_form
@each_size
def test_the_gradient_of_the_average_is_its_transpose(
    real_caffe: Caffe, form: type[AverageDownLego], dialect: str, size: tuple[int, int]
) -> None:
    net, top = down(form, size, dialect)
    diff = drawn(*top.known_shape)
    ran = run(real_caffe, net, top, drawn(2, 3, *size), diff)
    assert abs(ran.diffs["data"] - average_transposed(diff, *size)).max() <= 1e-6


@pytest.mark.parametrize(
    ("size", "layers"),
    [
        ((8, 8), ["pool_a", "size_a", "crop_a"]),
        ((7, 8), ["pool_a", "size_a", "crop_a"]),
        ((8, 7), ["pool_a", "size_a", "crop_a"]),
        ((7, 7), ["pool_a"]),
        ((1, 1), ["pool_a"]),
    ],
)
def test_crop_cuts_only_what_an_even_size_has_too_much(size: tuple[int, int], layers: list[str]) -> None:
    assert names(down(CropAverageDownLego, size, "caffe-1.0")[0]) == layers


@pytest.mark.parametrize("size", [(8, 8), (7, 7)])
def test_the_other_two_forms_are_one_layer_each(size: tuple[int, int]) -> None:
    assert names(down(FloorAverageDownLego, size, "caffe-master")[0]) == ["pool_a"]
    assert names(down(DepthwiseAverageDownLego, size, "caffe-1.0")[0]) == ["down_a"]


def test_auto_is_floor_where_the_dialect_has_it_and_else_crop() -> None:
    for dialect, form in (
        ("caffe-1.0", CropAverageDownLego),
        ("caffe-master", FloorAverageDownLego),
        ("caffe-cudnn", FloorAverageDownLego),
    ):
        auto, chosen = (down(x, (8, 8), dialect)[0] for x in (AverageDownLego, form))
        assert [x.proto for x in auto.layers] == [x.proto for x in chosen.layers]


def test_floor_is_refused_where_the_dialect_does_not_have_it() -> None:
    with pytest.raises(FieldError) as refused:
        down(FloorAverageDownLego, (8, 8), "caffe-1.0")
    assert refused.value.text == "Pooling 'pool_a': dialect caffe-1.0 has no field round_mode"


def test_the_filter_of_depthwise_is_frozen_and_counted_apart() -> None:
    net, top = down(DepthwiseAverageDownLego, (8, 6), "caffe-1.0")
    (param,) = top.layer.params
    assert (param.shape, param.learnable, param.fixed_filter) == ((3, 1, 3, 3), False, True)
    cost = counts.count(net)
    assert (cost.fixed_params, cost.fixed_macs) == (3 * 9, 3 * 9 * 4 * 3)
    assert (cost.learnable_params, cost.macs, cost.pynetbuilder_params, cost.pynetbuilder_flops) == (
        0,
        0,
        0,
        0,
    )


@pytest.mark.parametrize(("form", "dialect"), [FORMS["crop"], FORMS["floor"]], ids=["crop", "floor"])
def test_the_other_two_forms_have_no_parameters(form: type[AverageDownLego], dialect: str) -> None:
    cost = counts.count(down(form, (8, 6), dialect)[0])
    assert (cost.stored_params, cost.fixed_macs, cost.macs) == (0, 0, 0)


def test_depthwise_has_no_bias_even_where_the_nets_convolutions_have() -> None:
    convolution = {
        "bias_term": None,
        "bias_filler": {"type": "constant", "value": 1},
        "param": [{"lr_mult": 1, "decay_mult": 1}, {"lr_mult": 2, "decay_mult": 0}],
    }
    net = Net("n", defaults={"Convolution": convolution})
    data = net.add("Input", name="data", shape={"dim": [1, 4, 8, 8]})
    proto = DepthwiseAverageDownLego(name="a").attach(net, data).layer.proto
    assert not proto.convolution_param.bias_term
    assert not proto.convolution_param.HasField("bias_filler")
    assert [(p.lr_mult, p.decay_mult) for p in proto.param] == [(0, 0)]


# ---- up ----------------------------------------------------------------------------------------------------

ENLARGED = [
    # factor, size, wanted
    (2, (4, 4), (8, 8)),
    (2, (4, 3), (7, 6)),
    (2, (3, 4), (6, 7)),
    (2, (4, 4), (7, 7)),
    (2, (1, 1), (2, 1)),
    (2, (2, 2), (3, 3)),
    (3, (2, 3), (6, 9)),
    (3, (3, 2), (8, 5)),
    (3, (2, 2), (5, 5)),
    (4, (3, 2), (12, 8)),
    (4, (3, 4), (11, 13)),
    (4, (1, 2), (3, 7)),
    (4, (1, 1), (4, 4)),
]
each_enlarged = pytest.mark.parametrize(
    ("factor", "size", "wanted"),
    ENLARGED,
    ids=["{}x{}-{}x{}".format(*size, *wanted) for _, size, wanted in ENLARGED],
)


@each_enlarged
def test_nearest_copies_each_pixel_to_a_square_cut_to_the_wanted_size(
    real_caffe: Caffe, factor: int, size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    x = drawn(2, 3, *size).astype(np.float32)
    net, top = up_to(NearestUpLego, size, wanted)
    ran = run(real_caffe, net, top, x, np.ones(top.known_shape))
    assert np.array_equal(ran.outputs[top.name], nearest(x, factor, *wanted))


@each_enlarged
def test_the_gradient_of_nearest_is_the_sum_over_each_square(
    real_caffe: Caffe, factor: int, size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    net, top = up_to(NearestUpLego, size, wanted)
    # Small whole numbers, whose sums are exact in single precision.
    diff = np.random.default_rng(2).integers(-9, 10, top.known_shape)
    ran = run(real_caffe, net, top, drawn(2, 3, *size), diff)
    assert np.array_equal(ran.diffs["data"], nearest_transposed(diff, factor, *size))


@pytest.mark.parametrize("size", range(2, 41))
def test_twice_and_cut_is_nearest_interpolation_to_the_exact_size(size: int) -> None:
    # PyTorch's nearest takes floor(i * small / large). What NearestUpLego does is in the tests above.
    small = (size + 1) // 2
    assert [i * small // size for i in range(size)] == [i // 2 for i in range(size)]


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_bilinear_equals_interpolation_inside_and_takes_zeros_outside(real_caffe: Caffe, factor: int) -> None:
    size, wanted = (5, 4), (5 * factor, 4 * factor)
    x = drawn(2, 3, *size)
    net, top = up_to(BilinearUpLego, size, wanted)
    out = run(real_caffe, net, top, x, np.ones(top.known_shape)).outputs[top.name]
    assert out.shape == (2, 3, *wanted)
    assert abs(out - bilinear(x, factor, zeros_outside=True)).max() <= 1e-6
    inside = np.s_[:, :, factor // 2 : -(factor // 2), factor // 2 : -(factor // 2)]
    assert abs(out - bilinear(x, factor, zeros_outside=False))[inside].max() <= 1e-6


def test_bilinear_is_too_small_by_a_quarter_at_the_edges_and_by_7_16_at_the_corners(
    real_caffe: Caffe,
) -> None:
    net, top = up_to(BilinearUpLego, (3, 4), (6, 8))
    ran = run(real_caffe, net, top, np.ones((2, 3, 3, 4)), np.ones(top.known_shape))
    expected = np.ones((6, 8))
    expected[[0, -1]] = expected[:, [0, -1]] = 0.75
    expected[[0, 0, -1, -1], [0, -1, 0, -1]] = 0.5625
    assert (ran.outputs[top.name] == expected).all()


def test_the_edges_of_bilinear_are_three_quarters_of_interpolation_whatever_the_image(
    real_caffe: Caffe,
) -> None:
    x = drawn(2, 3, 4, 5)
    net, top = up_to(BilinearUpLego, (4, 5), (8, 10))
    out = run(real_caffe, net, top, x, np.ones(top.known_shape)).outputs[top.name]
    factors = np.ones((8, 10))
    factors[[0, -1]] *= 0.75
    factors[:, [0, -1]] *= 0.75
    assert abs(out - factors * bilinear(x, 2, zeros_outside=False)).max() <= 1e-6


def test_the_gradient_of_bilinear_is_its_transpose(real_caffe: Caffe) -> None:
    net, top = up_to(BilinearUpLego, (4, 5), (7, 10))
    diff = drawn(*top.known_shape)
    rows, columns = (bilinear_matrix(n, 2, zeros_outside=True) for n in (4, 5))
    expected = np.einsum("ih,ncij,jw->nchw", rows[:7], diff, columns)
    assert abs(run(real_caffe, net, top, drawn(2, 3, 4, 5), diff).diffs["data"] - expected).max() <= 1e-5


@each_up
@pytest.mark.parametrize(
    ("size", "wanted", "layers"),
    [
        ((4, 4), (8, 8), ["up_a"]),
        ((4, 4), (7, 7), ["up_a", "crop_a"]),
        ((4, 4), (8, 7), ["up_a", "crop_a"]),
        ((3, 3), (12, 12), ["up_a"]),
        ((8, 8), (7, 7), ["crop_a"]),
        ((5, 6), (5, 6), []),
    ],
)
def test_upsampling_adds_no_layer_without_need(
    up: type[UpLego], size: tuple[int, int], wanted: tuple[int, int], layers: list[str]
) -> None:
    net, top = up_to(up, size, wanted)
    assert names(net) == layers
    assert top.shape == (2, 3, *wanted)


@each_up
def test_upsampling_to_the_own_size_gives_the_blob_itself(up: type[UpLego]) -> None:
    net, top = up_to(up, (5, 6), (5, 6))
    assert top is net.blobs["data"]


@pytest.mark.parametrize(("up", "factor", "kernel"), [(NearestUpLego, 2, 2), (NearestUpLego, 3, 3),
                                                     (BilinearUpLego, 2, 4), (BilinearUpLego, 3, 5),
                                                     (BilinearUpLego, 4, 8)])  # fmt: skip
def test_the_filters_of_upsampling_are_frozen_and_counted_apart(
    up: type[UpLego], factor: int, kernel: int
) -> None:
    net, top = up_to(up, (4, 6), (4 * factor, 6 * factor))
    (param,) = top.layer.params
    assert (param.shape, param.learnable, param.fixed_filter) == ((3, 1, kernel, kernel), False, True)
    cost = counts.count(net)
    assert cost.fixed_params == 3 * kernel**2
    assert (cost.learnable_params, cost.macs, cost.pynetbuilder_params, cost.pynetbuilder_flops) == (
        0,
        0,
        0,
        0,
    )


@pytest.mark.parametrize("lego", [NearestUpLego, BilinearUpLego, DepthwiseAverageDownLego])
def test_a_step_of_training_passes_a_fixed_filter_and_leaves_it_alone(real_caffe: Caffe, lego: Any) -> None:
    net = Net("n", "TRAIN")
    data = net.add("Input", name="data", shape={"dim": [2, 3, 4, 4]})
    x = net.add("Convolution", data, name="conv", num_output=3, kernel_size=1)
    if issubclass(lego, UpLego):
        reference = net.add("Input", name="reference", shape={"dim": [1, 1, 8, 8]})
        top = lego(name="a").attach(net, [x, reference])
    else:
        top = lego(name="a").attach(net, x)
    net.add("Reduction", top, name="loss", operation="SUMSQ", loss_weight=[1])
    ran = real_caffe.run(
        prototxt.dumps(net), phase="TRAIN", inputs={"data": drawn(2, 3, 4, 4)}, backward=True
    )
    assert all(diff.all() for diff in ran.param_diffs["conv"])
    assert not ran.param_diffs[top.layer.name][0].any()
