"""Merges."""

from __future__ import annotations

import pytest

from legos import EltwiseBNReLULego, EltwiseReLULego
from netbuilder import Net
from netbuilder.errors import NetBuilderError, ShapeError
from netbuilder.net import Blob

OPERATIONS = {"PROD": 0, "SUM": 1, "MAX": 2}


def inputs(net: Net, *shapes: tuple[int, ...]) -> list[Blob]:
    return [net.add("Input", name=f"in{i}", shape={"dim": list(s)}) for i, s in enumerate(shapes)]


def test_a_merge_is_a_sum_and_a_relu_in_place() -> None:
    net = Net("n")
    top = EltwiseReLULego(name="x").attach(net, inputs(net, (1, 8, 5, 7), (1, 8, 5, 7)))
    assert [(x.name, x.type, list(x.proto.bottom), list(x.proto.top)) for x in net.layers[2:]] == [
        ("eltwise_x", "Eltwise", ["in0", "in1"], ["eltwise_x"]),
        ("relu_x", "ReLU", ["eltwise_x"], ["eltwise_x"]),
    ]
    assert top.shape == (1, 8, 5, 7)


def test_the_relu_can_be_left_out() -> None:
    net = Net("n")
    top = EltwiseReLULego(name="x", relu=False).attach(net, inputs(net, (1, 8), (1, 8)))
    assert top.layer.name == "eltwise_x"
    assert "relu_x" not in net


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_operation_is_written(operation: str) -> None:
    net = Net("n")
    EltwiseReLULego(name="x", operation=operation).attach(net, inputs(net, (1, 8), (1, 8)))
    assert net["eltwise_x"].proto.eltwise_param.operation == OPERATIONS[operation]


def test_a_merge_takes_more_than_two_blobs() -> None:
    net = Net("n")
    top = EltwiseReLULego(name="x").attach(net, inputs(net, *[(2, 4, 3, 3)] * 3))
    assert list(net["eltwise_x"].proto.bottom) == ["in0", "in1", "in2"]
    assert top.shape == (2, 4, 3, 3)


def test_blobs_of_different_shapes_are_refused_with_both_shapes() -> None:
    net = Net("n")
    with pytest.raises(ShapeError) as refused:
        EltwiseReLULego(name="x").attach(net, inputs(net, (1, 8, 29, 29), (1, 8, 28, 28)))
    assert refused.value.text == (
        "Eltwise 'eltwise_x': bottoms 0 and 1 must have equal shapes, got (1,8,29,29) and (1,8,28,28)"
    )
    assert refused.value.bottoms == "in0 (1,8,29,29) from in0; in1 (1,8,28,28) from in1"


def test_one_blob_is_nothing_to_merge() -> None:
    net = Net("n")
    with pytest.raises(ShapeError) as refused:
        EltwiseReLULego(name="x").attach(net, inputs(net, (1, 8)))
    assert refused.value.text == "Eltwise 'eltwise_x': needs at least 2 bottoms, got 1"


def test_an_unknown_operation_is_refused() -> None:
    net = Net("n")
    with pytest.raises(NetBuilderError, match=r"Eltwise 'eltwise_x': .*'MEAN'"):
        EltwiseReLULego(name="x", operation="MEAN").attach(net, inputs(net, (1, 8), (1, 8)))


@pytest.mark.parametrize("relu", [True, False])
def test_batchnorm_may_stand_between_sum_and_relu(relu: bool) -> None:
    net = Net("n")
    top = EltwiseBNReLULego(name="x", relu=relu).attach(net, inputs(net, (1, 8, 2, 2), (1, 8, 2, 2)))
    assert [layer.name for layer in net.layers[2:]] == ["eltwise_x", "bn_x", "scale_x", "relu_x"][: 3 + relu]
    assert all(layer.in_place for layer in net.layers[3:])
    assert (top.name, top.shape) == ("eltwise_x", (1, 8, 2, 2))
