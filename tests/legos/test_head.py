"""Heads."""

from __future__ import annotations

import numpy as np
import pytest

from legos import ClassifierLego, ConcatPoolLego, FCStageLego, GlobalPoolLego, MaxPoolLego
from netbuilder import Net
from netbuilder.engines.caffe import Caffe
from netbuilder.errors import NameClash
from netbuilder.net import Blob
from tests.legos.judge import drawn, forward_backward


def attached(lego: ClassifierLego | FCStageLego, *shape: int) -> tuple[Net, Blob]:
    net = Net("n")
    return net, lego.attach(net, net.add("Input", name="data", shape={"dim": list(shape)}))


def test_the_classifier_is_an_average_over_the_image_and_an_inner_product() -> None:
    net, top = attached(ClassifierLego(name="fc1000", num_output=1000), 2, 2048, 7, 7)
    assert [(layer.name, layer.type, layer.tops[0].shape) for layer in net.layers[1:]] == [
        ("pool", "Pooling", (2, 2048, 1, 1)),
        ("fc1000", "InnerProduct", (2, 1000)),
    ]
    assert [p.shape for p in net["fc1000"].params] == [(1000, 2048), (1000,)]
    assert top.name == "fc1000"


def test_the_kernel_of_the_average_is_written_out() -> None:
    p = attached(ClassifierLego(name="fc", num_output=10), 1, 64, 7, 7)[0]["pool"].proto.pooling_param
    assert {f.name: v for f, v in p.ListFields()} == {"pool": 1, "kernel_size": 7, "stride": 1}


def test_an_oblong_image_has_an_oblong_average() -> None:
    net, _ = attached(ClassifierLego(name="fc", num_output=10), 1, 64, 5, 8)
    p = net["pool"].proto.pooling_param
    assert {f.name: v for f, v in p.ListFields()} == {
        "pool": 1, "kernel_h": 5, "kernel_w": 8, "stride_h": 1, "stride_w": 1,
    }  # fmt: skip
    assert net["pool"].tops[0].shape == (1, 64, 1, 1)


def test_the_bias_of_the_classifier_learns_twice_as_fast_and_does_not_decay() -> None:
    net, _ = attached(ClassifierLego(name="fc", num_output=10), 1, 64, 7, 7)
    assert [(p.lr_mult, p.decay_mult) for p in net["fc"].proto.param] == [(1, 1), (2, 0)]


def test_the_classifier_starts_from_msra_weights_and_a_zero_bias() -> None:
    p = attached(ClassifierLego(name="fc", num_output=10), 1, 64, 7, 7)[0]["fc"].proto.inner_product_param
    assert (p.weight_filler.type, p.bias_filler.type, p.bias_filler.value) == ("msra", "constant", 0)


def test_the_fc_stage_is_three_1x1_units_pooled_after_the_first_with_dropout_before_the_last() -> None:
    net, top = attached(FCStageLego(name="1by1", num_output=1000), 1, 512, 7, 7)
    assert [(layer.name, layer.tops[0].shape) for layer in net.layers[1:]] == [
        ("conv_1by1_2048", (1, 2048, 7, 7)),
        ("bn_1by1_2048", (1, 2048, 7, 7)),
        ("scale_1by1_2048", (1, 2048, 7, 7)),
        ("relu_1by1_2048", (1, 2048, 7, 7)),
        ("pool", (1, 2048, 1, 1)),
        ("conv_1by1_4096", (1, 4096, 1, 1)),
        ("bn_1by1_4096", (1, 4096, 1, 1)),
        ("scale_1by1_4096", (1, 4096, 1, 1)),
        ("relu_1by1_4096", (1, 4096, 1, 1)),
        ("drop_1by1_4096", (1, 4096, 1, 1)),
        ("conv_1by1_1000", (1, 1000, 1, 1)),
        ("bn_1by1_1000", (1, 1000, 1, 1)),
        ("scale_1by1_1000", (1, 1000, 1, 1)),
        ("relu_1by1_1000", (1, 1000, 1, 1)),
    ]
    assert (top.name, top.shape) == ("conv_1by1_1000", (1, 1000, 1, 1))


def test_the_class_scores_of_the_fc_stage_pass_through_relu() -> None:
    assert attached(FCStageLego(name="1by1", num_output=10), 1, 8, 7, 7)[1].layer.type == "ReLU"


def test_the_dropout_of_the_fc_stage_is_a_fifth_and_in_place() -> None:
    net, _ = attached(FCStageLego(name="1by1", num_output=10), 1, 8, 7, 7)
    drop = net["drop_1by1_4096"]
    assert drop.proto.dropout_param.dropout_ratio == pytest.approx(0.2)
    assert list(drop.proto.top) == list(drop.proto.bottom) == ["conv_1by1_4096"]


@pytest.mark.parametrize("lego", [ClassifierLego, FCStageLego])
def test_a_head_takes_an_image_of_one_pixel(lego: type[ClassifierLego] | type[FCStageLego]) -> None:
    net, top = attached(lego(name="x", num_output=10), 3, 16, 1, 1)
    assert net["pool"].tops[0].known_shape[2:] == (1, 1)
    assert top.known_shape[:2] == (3, 10)


@pytest.mark.parametrize("classes", [2048, 4096])
def test_an_fc_stage_with_as_many_classes_as_an_inner_width_is_refused_for_its_names(classes: int) -> None:
    with pytest.raises(NameClash) as refused:
        attached(FCStageLego(name="1by1", num_output=classes), 1, 8, 7, 7)
    assert f"there is already a layer 'conv_1by1_{classes}'" in refused.value.text


@pytest.mark.parametrize("bias", [True, False])
def test_a_classifier_may_have_no_bias(bias: bool) -> None:
    net, _ = attached(ClassifierLego(name="fc", num_output=10, bias=bias), 1, 64, 7, 7)
    proto = net["fc"].proto
    assert [p.shape for p in net["fc"].params] == [(10, 64), (10,)][: 1 + bias]
    assert [(p.lr_mult, p.decay_mult) for p in proto.param] == [(1, 1), (2, 0)][: 1 + bias]
    assert proto.inner_product_param.HasField("bias_filler") == bias


@pytest.mark.parametrize("bias", [True, False])
def test_the_nets_own_rates_hold_for_a_classifier_without_bias_too(bias: bool) -> None:
    net = Net("n", defaults={"InnerProduct": {"param": [{"lr_mult": 3}, {"lr_mult": 4}]}})
    data = net.add("Input", name="data", shape={"dim": [1, 4, 2, 2]})
    ClassifierLego(name="fc", num_output=10, bias=bias).attach(net, data)
    assert [p.lr_mult for p in net["fc"].proto.param] == [3, 4][: 1 + bias]


@pytest.mark.parametrize("size", [(4, 4), (5, 3), (1, 1)])
@pytest.mark.parametrize("pooling", [GlobalPoolLego, MaxPoolLego, ConcatPoolLego])
def test_poolings_take_the_average_the_maximum_or_both_of_the_whole_image(
    real_caffe: Caffe, pooling: type[GlobalPoolLego | ConcatPoolLego], size: tuple[int, int]
) -> None:
    net = Net("n")
    data = net.add("Input", name="data", shape={"dim": [2, 3, *size]})
    top = pooling(name="pool").attach(net, data)
    x, diff = drawn(2, 3, *size), drawn(*top.known_shape, seed=2)
    ran = forward_backward(real_caffe, net, top, {"data": x}, diff)
    average, maximum = x.mean((2, 3), keepdims=True), x.max((2, 3), keepdims=True)
    to_average = np.ones_like(x) / (size[0] * size[1])
    to_maximum = (x == maximum).astype(np.float32)
    expected, back = {
        GlobalPoolLego: (average, diff[:, :3] * to_average),
        MaxPoolLego: (maximum, diff[:, :3] * to_maximum),
        ConcatPoolLego: (
            np.concatenate([maximum, average], 1),
            diff[:, :3] * to_maximum + diff[:, -3:] * to_average,
        ),
    }[pooling]
    assert abs(ran.outputs["pool"] - expected).max() <= 1e-6
    assert abs(ran.diffs["data"] - back).max() <= 1e-6


def test_maximum_and_average_are_concatenated_in_this_order() -> None:
    net, _ = attached(ClassifierLego(name="fc", num_output=10, pooling=ConcatPoolLego), 2, 256, 4, 4)
    assert [(layer.name, layer.tops[0].shape) for layer in net.layers[1:]] == [
        ("pool_max", (2, 256, 1, 1)), ("pool_ave", (2, 256, 1, 1)), ("pool", (2, 512, 1, 1)), ("fc", (2, 10)),
    ]  # fmt: skip
    assert list(net["pool"].proto.bottom) == ["pool_max", "pool_ave"]
