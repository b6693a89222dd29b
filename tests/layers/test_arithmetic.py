"""Sizes of windows against a walk over the image, and MACs against a loop."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netbuilder import Net, counts
from netbuilder.layers import RULES
from netbuilder.layers.arithmetic import conv_extent, deconv_extent, pool_extent

SIZE, KERNEL, STRIDE = st.integers(1, 40), st.integers(1, 9), st.integers(1, 5)


@given(SIZE, KERNEL, STRIDE, st.integers(0, 4), st.integers(1, 3))
def test_a_convolution_has_as_many_outputs_as_windows_fit(
    size: int, kernel: int, stride: int, pad: int, dilation: int
) -> None:
    reach = dilation * (kernel - 1) + 1
    fitting = [start for start in range(-pad, size + pad, stride) if start + reach <= size + pad]
    if fitting:
        assert conv_extent(size, kernel, stride, pad, dilation) == len(fitting)


def test_a_kernel_slightly_too_large_still_gives_one_output() -> None:
    # C's division truncates toward zero; real Caffe gives 1x1 for a 5x5 kernel of stride 2 on 4x4.
    assert conv_extent(4, 5, 2, 0) == 1
    assert conv_extent(4, 7, 2, 0) == 0
    assert conv_extent(4, 9, 2, 0) == -1


@given(SIZE, KERNEL, STRIDE, st.integers(0, 8), st.booleans())
def test_a_pooling_has_as_many_outputs_as_windows_start_inside(
    size: int, kernel: int, stride: int, pad: int, floor: bool
) -> None:
    if pad >= kernel or kernel > size + 2 * pad:
        return
    starts = itertools.count(-pad, stride)
    windows = 0
    for start in starts:
        if start + kernel > size + pad:
            # One more, reaching over the edge, unless rounding down, or ending exactly there.
            exact = (size + 2 * pad - kernel) % stride == 0
            windows += 0 if floor or exact else 1
            break
        windows += 1
    if pad and -pad + (windows - 1) * stride >= size:
        windows -= 1
    assert pool_extent(size, kernel, stride, pad, floor=floor, clip=pad > 0) == windows


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pad", "floor", "out"),
    [
        (112, 3, 2, 0, False, 56),
        (111, 3, 2, 0, False, 55),
        (113, 3, 2, 0, False, 56),
        (112, 3, 2, 1, False, 57),
        (111, 3, 2, 1, False, 56),
        (113, 3, 2, 1, False, 57),
        (112, 3, 2, 1, True, 56),
        (8, 1, 2, 0, False, 5),
        (7, 1, 2, 0, False, 4),
        (3, 4, 2, 0, False, 1),
        (56, 3, 2, 1, False, 29),
        (15, 2, 2, 1, False, 8),
    ],
)
def test_pooling_sizes_that_real_caffe_gave(
    size: int, kernel: int, stride: int, pad: int, floor: bool, out: int
) -> None:
    assert pool_extent(size, kernel, stride, pad, floor=floor, clip=pad > 0) == out


@given(SIZE, KERNEL, STRIDE, st.integers(0, 4), st.integers(1, 3))
def test_a_deconvolution_undoes_the_size_of_a_convolution(
    size: int, kernel: int, stride: int, pad: int, dilation: int
) -> None:
    up = deconv_extent(size, kernel, stride, pad, dilation)
    if up >= 1:
        assert conv_extent(up, kernel, stride, pad, dilation) == size


@given(
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(1, 2),
    st.integers(1, 2),
    st.integers(1, 3),
    st.integers(4, 6),
)
def test_macs_of_a_convolution_equal_a_loop(
    batch: int, group: int, inputs: int, outputs: int, kernel: int, size: int
) -> None:
    net = Net("n")
    x = net.add("Input", name="data", shape={"dim": [batch, group * inputs, size, size]})
    y = net.add(
        "Convolution", x, name="c", num_output=group * outputs, kernel_size=kernel, group=group, stride=2
    )
    n, channels, height, width = y.known_shape
    loop = sum(
        1 for _ in itertools.product(range(n * channels * height * width), range(inputs), range(kernel**2))
    )
    assert net["c"].macs == loop
    assert counts.count(net).macs * batch == loop


@given(st.integers(1, 5))
def test_a_larger_batch_changes_neither_parameters_nor_figures_per_image(batch: int) -> None:
    def small(batch: int) -> counts.Counts:
        net = Net("n")
        x = net.add("Input", name="data", shape={"dim": [batch, 3, 9, 9]})
        x = net.add("Convolution", x, name="c", num_output=4, kernel_size=3)
        x = net.add("BatchNorm", x, name="b", in_place=True)
        x = net.add("Scale", x, name="s", in_place=True, bias_term=True)
        x = net.add("Pooling", x, name="p", kernel_size=2, stride=2)
        net.add("InnerProduct", x, name="f", num_output=5)
        return counts.count(net)

    one, many = small(1), small(batch)
    for figure in ("learnable_params", "stored_params", "macs", "flops", "total_flops", "activations"):
        assert getattr(one, figure) == getattr(many, figure)
    assert many.activation_bytes == batch * one.activation_bytes


def test_every_rule_says_what_it_is_and_where_it_is_from() -> None:
    for name, rule in RULES.items():
        if rule.infer.__name__ != "infer":  # rows of the element-wise table have no text of their own
            assert rule.infer.__doc__, name
            assert "Source:" in rule.infer.__doc__, name
