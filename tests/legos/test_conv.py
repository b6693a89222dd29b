"""Convolution units."""

from __future__ import annotations

from typing import Any

import pytest

from legos import ConvBNLego, ConvBNReLULego
from netbuilder import Net
from netbuilder.errors import ConfigError, ShapeError
from netbuilder.net import Blob, Layer


def attached(lego: ConvBNLego, *shape: int, **net: Any) -> tuple[Net, Blob]:
    built = Net("n", **net)
    return built, lego.attach(built, built.add("Input", name="data", shape={"dim": list(shape)}))


def wiring(layer: Layer) -> tuple[str, str, list[str], list[str]]:
    return layer.name, layer.type, list(layer.proto.bottom), list(layer.proto.top)


def test_a_unit_is_convolution_batchnorm_scale_and_relu_the_last_three_in_place() -> None:
    net, top = attached(ConvBNReLULego(name="x", num_output=4, kernel=3), 1, 3, 8, 8)
    assert [wiring(layer) for layer in net.layers[1:]] == [
        ("conv_x", "Convolution", ["data"], ["conv_x"]),
        ("bn_x", "BatchNorm", ["conv_x"], ["conv_x"]),
        ("scale_x", "Scale", ["conv_x"], ["conv_x"]),
        ("relu_x", "ReLU", ["conv_x"], ["conv_x"]),
    ]
    assert top is net.layers[-1].tops[0]


def test_a_unit_without_relu_ends_in_the_scale() -> None:
    net, top = attached(ConvBNLego(name="x", num_output=4), 1, 3, 8, 8)
    assert [layer.name for layer in net.layers] == ["data", "conv_x", "bn_x", "scale_x"]
    assert top.layer.name == "scale_x"


def test_in_a_net_without_defaults_the_convolution_has_no_bias_and_the_scale_has() -> None:
    net, _ = attached(ConvBNReLULego(name="x", num_output=4, kernel=3), 1, 3, 8, 8)
    assert [[p.shape for p in net[name].params] for name in ("conv_x", "bn_x", "scale_x")] == [
        [(4, 3, 3, 3)],
        [(4,), (4,), (1,)],
        [(4,), (4,)],
    ]


def test_the_convolution_has_a_bias_where_the_nets_defaults_say_so() -> None:
    defaults = {"Convolution": {"bias_term": True}}
    net, _ = attached(ConvBNLego(name="x", num_output=4), 1, 3, 8, 8, defaults=defaults)
    assert [p.role for p in net["conv_x"].params] == ["weight", "bias"]


def test_the_convolution_starts_from_msra() -> None:
    net, _ = attached(ConvBNLego(name="x", num_output=4), 1, 3, 8, 8)
    assert net["conv_x"].proto.convolution_param.weight_filler.type == "msra"


def test_the_statistics_of_batchnorm_are_frozen_by_three_multipliers() -> None:
    net, _ = attached(ConvBNLego(name="x", num_output=4), 1, 3, 8, 8)
    assert [(p.lr_mult, p.decay_mult) for p in net["bn_x"].proto.param] == [(0, 0)] * 3


@pytest.mark.parametrize("kernel", [1, 3, 5, 7, (1, 3), (3, 1), (1, 7)])
def test_an_odd_kernel_keeps_the_size_at_stride_1(kernel: Any) -> None:
    _, top = attached(ConvBNLego(name="x", num_output=4, kernel=kernel), 2, 3, 9, 14)
    assert top.shape == (2, 4, 9, 14)


@pytest.mark.parametrize(
    ("kernel", "stride", "height", "width", "expected"),
    [
        (3, 2, 224, 224, (112, 112)),
        (3, 2, 57, 31, (29, 16)),
        (1, 2, 57, 31, (29, 16)),
        (7, 2, 225, 160, (113, 80)),
        (3, (1, 2), 57, 31, (57, 16)),
        ((1, 3), (1, 2), 56, 56, (56, 28)),
        ((3, 1), (2, 1), 56, 28, (28, 28)),
        (3, 3, 10, 11, (4, 4)),
    ],
)
def test_a_stride_divides_the_size_and_rounds_up(
    kernel: Any, stride: Any, height: int, width: int, expected: tuple[int, int]
) -> None:
    lego = ConvBNLego(name="x", num_output=4, kernel=kernel, stride=stride)
    assert attached(lego, 1, 3, height, width)[1].shape == (1, 4, *expected)


def test_a_square_convolution_writes_the_short_fields() -> None:
    net, _ = attached(ConvBNLego(name="x", num_output=4, kernel=3, stride=2), 1, 3, 8, 8)
    p = net["conv_x"].proto.convolution_param
    assert (list(p.kernel_size), list(p.stride), list(p.pad)) == ([3], [2], [1])
    assert not p.HasField("kernel_h")


def test_a_convolution_in_groups_has_thinner_kernels() -> None:
    net, _ = attached(ConvBNLego(name="x", num_output=8, kernel=3, group=4), 1, 8, 6, 6)
    assert net["conv_x"].params[0].shape == (8, 2, 3, 3)


def test_one_group_is_not_written() -> None:
    net, _ = attached(ConvBNLego(name="x", num_output=8), 1, 8, 6, 6)
    assert not net["conv_x"].proto.convolution_param.HasField("group")


def test_groups_that_do_not_divide_the_channels_are_refused_as_caffe_does() -> None:
    with pytest.raises(ShapeError, match="Convolution 'conv_x'"):
        attached(ConvBNLego(name="x", num_output=8, group=3), 1, 8, 6, 6)


@pytest.mark.parametrize("kernel", [2, (2, 3), (3, 4), 0])
def test_an_even_kernel_is_refused_when_the_lego_is_made(kernel: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        ConvBNReLULego(name="x", num_output=4, kernel=kernel)
    assert str(refused.value) == (
        f"ConvBNReLULego 'x': kernel must be odd, so that padding keeps the size, got {kernel}"
    )
    assert refused.value.key == "kernel"
