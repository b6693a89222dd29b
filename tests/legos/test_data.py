"""The ends of a net: data, loss, probabilities."""

from __future__ import annotations

import pytest

from legos import InputLego, LossLego, MemoryDataLego, ProbabilityLego
from netbuilder import Net
from netbuilder.errors import ShapeError
from netbuilder.net import Blob


def scores_and_labels(net: Net, batch: int = 4, classes: int = 10) -> list[Blob]:
    scores = net.add("Input", name="scores", shape={"dim": [batch, classes]})
    return [scores, net.add("Input", name="label", shape={"dim": [batch]})]


def test_memory_data_gives_images_and_one_label_each() -> None:
    net = Net("n")
    data, label = MemoryDataLego(name="data", shape=(4, 3, 160, 256)).attach_many(net, [])
    assert (data.name, data.shape) == ("data", (4, 3, 160, 256))
    assert (label.name, label.shape) == ("label", (4,))
    assert [(layer.name, layer.type) for layer in net.layers] == [("data", "MemoryData")]


def test_memory_data_writes_batch_channels_height_and_width() -> None:
    net = Net("n")
    MemoryDataLego(name="data", shape=(4, 3, 160, 256)).attach(net, [])
    p = net["data"].proto.memory_data_param
    assert {f.name: v for f, v in p.ListFields()} == {
        "batch_size": 4, "channels": 3, "height": 160, "width": 256,
    }  # fmt: skip


def test_memory_data_without_defaults_transforms_nothing() -> None:
    net = Net("n")
    MemoryDataLego(name="data", shape=(1, 3, 8, 8)).attach(net, [])
    assert not net["data"].proto.HasField("transform_param")


def test_input_gives_images_only() -> None:
    net = Net("n")
    data = InputLego(name="data", shape=(1, 3, 32, 48)).attach(net, [])
    assert (data.name, data.shape) == ("data", (1, 3, 32, 48))
    assert list(net["data"].proto.input_param.shape[0].dim) == [1, 3, 32, 48]


def test_the_loss_is_a_scalar_of_scores_and_labels() -> None:
    net = Net("n", phase="TRAIN")
    loss = LossLego(name="loss").attach(net, scores_and_labels(net))
    assert (loss.name, loss.shape) == ("loss", ())
    assert list(net["loss"].proto.bottom) == ["scores", "label"]
    assert net["loss"].type == "SoftmaxWithLoss"


def test_a_train_net_has_no_accuracy() -> None:
    net = Net("n", phase="TRAIN")
    LossLego(name="loss").attach(net, scores_and_labels(net))
    assert "accuracy" not in net


def test_a_test_net_has_the_accuracy_after_the_loss() -> None:
    net = Net("n", phase="TEST")
    loss = LossLego(name="loss").attach(net, scores_and_labels(net))
    assert [layer.name for layer in net.layers[2:]] == ["loss", "accuracy"]
    assert list(net["accuracy"].proto.bottom) == ["scores", "label"]
    assert net["accuracy"].tops[0].shape == ()
    assert loss.layer.name == "loss"


@pytest.mark.parametrize("shape", [(4, 10), (4, 10, 1, 1)])
def test_probabilities_have_the_shape_of_the_scores(shape: tuple[int, ...]) -> None:
    net = Net("n")
    scores = net.add("Input", name="scores", shape={"dim": list(shape)})
    prob = ProbabilityLego(name="prob").attach(net, scores)
    assert (prob.name, prob.shape) == ("prob", shape)
    assert net["prob"].type == "Softmax"


def test_labels_of_another_batch_than_the_scores_are_refused() -> None:
    net = Net("n")
    scores = net.add("Input", name="scores", shape={"dim": [4, 10]})
    label = net.add("Input", name="label", shape={"dim": [3]})
    with pytest.raises(ShapeError, match="SoftmaxWithLoss 'loss'"):
        LossLego(name="loss").attach(net, [scores, label])
