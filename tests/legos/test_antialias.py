"""Anti-aliased downsampling and padding by copies, in real Caffe against NumPy in double precision."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from legos import (
    BLURS,
    BlurLego,
    DepthwiseBlurLego,
    EdgeAverageLego,
    Lego,
    ReflectBlurLego,
    SquareAverageDownLego,
    ZeroBlurLego,
    blurred,
    factored,
    square,
)
from netbuilder import Net, counts, prototxt
from netbuilder.engines.caffe import Caffe, RunResult
from netbuilder.errors import ConfigError
from netbuilder.net import Blob

BINOMIAL = {2: [1, 1], 3: [1, 2, 1], 4: [1, 3, 3, 1], 5: [1, 4, 6, 4, 1], 7: [1, 6, 15, 20, 15, 6, 1]}
FORMS = [(form, size) for form in BLURS for size in (2, 3, 5)] + [("reflect", 4), ("zero", 7)]
EVEN, ODD = (8, 14), (7, 9)
# Filters of even size refuse odd images.
CASES = [(form, size, image) for form, size in FORMS for image in (EVEN, ODD)[: 1 + size % 2]]


def attached(lego: Lego, *shape: int, dialect: str = "caffe-1.0") -> tuple[Net, Blob]:
    net = Net("n", dialect=dialect)
    return net, lego.attach(net, net.add("Input", name="data", shape={"dim": list(shape)}))


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


def drawn(*shape: int) -> Any:
    return np.random.default_rng(1).standard_normal(shape)


def blur_matrix(length: int, size: int, *, reflect: bool) -> Any:
    """One axis as a matrix: pad by (size - 1) // 2, then VALID windows of stride 2 (the official code)."""
    pad = (size - 1) // 2
    taps = np.array(BINOMIAL[size]) / 2 ** (size - 1)
    matrix = np.zeros(((length + 2 * pad - size) // 2 + 1, length))
    for i in range(len(matrix)):
        for k, tap in enumerate(taps):
            at = 2 * i + k - pad
            if reflect:
                at = abs(at)
                at = 2 * (length - 1) - at if at >= length else at
            if 0 <= at < length:
                matrix[i, at] += tap
    return matrix


def check(caffe: Caffe, net: Net, top: Blob, rows: Any, columns: Any) -> None:
    """The top is rows @ image @ columns.T of each channel; the gradient goes the same way back."""
    x = drawn(*net["data"].tops[0].known_shape)
    expected = np.einsum("ih,nchw,jw->ncij", rows, x, columns)
    assert top.shape == expected.shape
    top_diff = drawn(*expected.shape)
    ran = run(caffe, net, top, x, top_diff)
    assert abs(ran.outputs[top.name] - expected).max() <= 1e-6
    assert abs(ran.diffs["data"] - np.einsum("ih,ncij,jw->nchw", rows, top_diff, columns)).max() <= 1e-6


@pytest.mark.parametrize("dialect", ["caffe-1.0", "caffe-master"])
@pytest.mark.parametrize(("form", "size", "image"), CASES)
def test_real_caffe_computes_the_blur_and_its_gradient(
    real_caffe: Caffe, form: str, size: int, image: tuple[int, int], dialect: str
) -> None:
    net, top = attached(BLURS[form](name="a", size=size), 2, 3, *image, dialect=dialect)
    matrices = (blur_matrix(n, size, reflect=form == "reflect") for n in image)
    check(real_caffe, net, top, *matrices)


def test_a_mixed_image_is_blurred_along_each_axis_by_its_own_rule(real_caffe: Caffe) -> None:
    for form in BLURS:
        net, top = attached(BLURS[form](name="a"), 1, 2, 6, 5)
        check(real_caffe, net, top, *(blur_matrix(n, 3, reflect=form == "reflect") for n in (6, 5)))


def test_the_two_paddings_differ_at_the_edge_only() -> None:
    difference = blur_matrix(8, 3, reflect=True) - blur_matrix(8, 3, reflect=False)
    assert np.argwhere(difference).tolist() == [[0, 1]]


def test_the_layers_of_a_reflected_blur_do_not_depend_on_an_even_image_size() -> None:
    texts = []
    for n in (8, 56):
        net, _ = attached(ReflectBlurLego(name="a"), 1, 4, n, n)
        assert [(x.name, x.type) for x in net.layers[1:]] == [
            ("rows_a", "Slice"), ("pad_rows_a", "Concat"),
            ("columns_a", "Slice"), ("pad_columns_a", "Concat"),
            ("blur1_a", "Pooling"), ("blur2_a", "Pooling"),
        ]  # fmt: skip
        texts.append(prototxt.dumps(net).partition('layer {\n  name: "rows_a"')[2])
    assert texts[0] == texts[1] != ""


def test_every_piece_of_a_cut_image_is_read() -> None:
    """A blob that nobody reads would be an output of the net, which MNN may take for the answer."""
    for lego in (ReflectBlurLego(name="a"), ReflectBlurLego(name="a", size=7), EdgeAverageLego(name="a")):
        for size in (8, 9):
            net, top = attached(lego, 1, 4, size, size)
            assert net.outputs == (top,)


def test_zeros_are_cut_off_by_round_mode_where_the_dialect_has_it_and_else_by_a_crop() -> None:
    types = {
        dialect: [x.name for x in attached(ZeroBlurLego(name="a"), 1, 4, 8, 8, dialect=dialect)[0].layers[1:]]
        for dialect in ("caffe-1.0", "caffe-master")
    }
    assert types == {
        "caffe-1.0": ["blur1_a", "blur2_a", "size_a", "crop_a"],
        "caffe-master": ["blur1_a", "blur2_a"],
    }
    for net in (
        attached(ZeroBlurLego(name="a"), 1, 4, 8, 8)[0],
        attached(ReflectBlurLego(name="a"), 1, 4, 8, 8)[0],
    ):
        assert "round_mode" not in prototxt.dumps(net)


def test_the_frozen_filters_are_listed_apart() -> None:
    cost = counts.count(attached(DepthwiseBlurLego(name="a"), 1, 4, 8, 8)[0])
    # Two filters of four weights for each channel; 9x9 pixels between them, 4x4 behind.
    assert (cost.learnable_params, cost.fixed_params) == (0, 2 * 4 * 4)
    assert (cost.macs, cost.fixed_macs) == (0, 4 * 4 * (81 + 16))
    for form in (ReflectBlurLego, ZeroBlurLego):
        assert counts.count(attached(form(name="a"), 1, 4, 8, 8)[0]).stored_params == 0


@pytest.mark.parametrize("form", BLURS.values(), ids=BLURS)
def test_an_odd_image_is_refused_with_a_filter_of_even_size(form: type[BlurLego]) -> None:
    with pytest.raises(ConfigError) as refused:
        attached(form(name="a", size=4), 1, 3, 8, 7)
    assert str(refused.value) == (
        f"{form.__name__} 'a': a filter of size 4 needs an even height and width, got 8x7: for an odd image "
        "it gives one row or column less than the shortcut\n"
        "  hint:    use size 3, 5 or 7, or another input_size"
    )


@pytest.mark.parametrize("size", [1, 8])
def test_a_filter_outside_2_to_7_is_refused(size: int) -> None:
    with pytest.raises(ConfigError) as refused:
        ZeroBlurLego(name="a", size=size)
    assert str(refused.value) == f"ZeroBlurLego 'a': size must be 2 to 7, got {size}"


def test_an_image_that_is_too_small_to_be_mirrored_is_refused() -> None:
    with pytest.raises(ConfigError) as refused:
        attached(ReflectBlurLego(name="a", size=5), 1, 3, 2, 8)
    assert str(refused.value) == (
        "ReflectBlurLego 'a': reflection of 2 pixels needs a larger image, got 2x8\n"
        "  hint:    use a larger input_size, or zero padding"
    )


# ---- the averages of ResNet-D ------------------------------------------------------------------------------


def same_matrix(length: int) -> Any:
    """TensorFlow's average over 2 at stride 1, SAME: the last window has one pixel, and divides by one."""
    matrix = (np.eye(length) + np.eye(length, k=1)) / 2
    matrix[-1, -1] = 1
    return matrix


@pytest.mark.parametrize("image", [(8, 6), (7, 5), (1, 4), (1, 1)], ids=str)
def test_the_average_at_stride_1_divides_by_the_existing_pixels(
    real_caffe: Caffe, image: tuple[int, int]
) -> None:
    net, top = attached(EdgeAverageLego(name="a"), 2, 3, *image)
    check(real_caffe, net, top, *map(same_matrix, image))


def test_the_average_of_squares_is_that_of_the_reference_on_even_images(real_caffe: Caffe) -> None:
    net, top = attached(SquareAverageDownLego(name="a"), 2, 3, 8, 6)
    check(real_caffe, net, top, *(np.kron(np.eye(n // 2), [0.5, 0.5]) for n in (8, 6)))


def test_the_average_of_squares_refuses_odd_images() -> None:
    with pytest.raises(ConfigError) as refused:
        attached(SquareAverageDownLego(name="a"), 1, 3, 57, 56)
    assert str(refused.value) == (
        "SquareAverageDownLego 'a': needs an even height and width, got 57x56: beyond an odd edge the "
        "official code counts zeros, but Caffe counts nothing\n"
        "  hint:    use an input_size that is a multiple of 32"
    )


# ---- around a spatial unit ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("unit", "convolutions"), [(square, 1), (factored, 2)])
def test_a_blurred_unit_keeps_the_size_and_is_halved_after_its_relu(unit: Any, convolutions: int) -> None:
    lego = blurred(unit=unit, blur=ZeroBlurLego, name="b", num_output=8, stride=2, group=2)
    net, top = attached(lego, 1, 4, 8, 8)
    kinds = [
        (x.type, x.tops[0].known_shape[2:]) for x in net.layers if x.type in ("Convolution", "ReLU", "Crop")
    ]
    assert kinds == [("Convolution", (8, 8)), ("ReLU", (8, 8))] * convolutions + [("Crop", (4, 4))]
    assert all(x.proto.convolution_param.group == 2 for x in net.layers if x.type == "Convolution")
    assert top.shape == (1, 8, 4, 4)


def test_a_unit_of_stride_1_is_not_blurred() -> None:
    plain, wrapped = (
        attached(unit(name="b", num_output=8), 1, 4, 8, 8)[0]
        for unit in (square, partial(blurred, unit=square, blur=ZeroBlurLego))
    )
    assert prototxt.dumps(plain) == prototxt.dumps(wrapped)
