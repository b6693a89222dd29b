"""Blobs, passes and shapes of a net."""

import gc
from collections import OrderedDict

import caffe
import numpy as np
from helping import LOSS, SIMPLE, close, net, raises, rand


def case_names_of_layers_and_blobs():
    made = net(SIMPLE)
    assert list(made._layer_names) == ["data", "conv", "relu", "pool", "ip", "prob"]
    assert list(made.blobs) == ["data", "conv", "pool", "ip", "prob"]
    assert list(made.params) == ["conv", "ip"]
    assert [layer.type for layer in made.layers][:3] == ["Input", "Convolution", "ReLU"]
    assert made.inputs == ["data"]
    assert made.outputs == ["prob"]


def case_dictionaries_are_ordered():
    made = net(SIMPLE)
    assert isinstance(made.blobs, OrderedDict)
    assert isinstance(made.params, OrderedDict)
    assert list(made.layer_dict) == list(made._layer_names)
    assert made.layer_dict["ip"].type == "InnerProduct"


def case_top_and_bottom_names():
    made = net(SIMPLE)
    assert made.top_names["relu"] == ["conv"]
    assert made.bottom_names["relu"] == ["conv"]
    assert made.bottom_names["data"] == []
    assert made.top_names == OrderedDict(
        [
            ("data", ["data"]),
            ("conv", ["conv"]),
            ("relu", ["conv"]),
            ("pool", ["pool"]),
            ("ip", ["ip"]),
            ("prob", ["prob"]),
        ]
    )


SPLIT = (
    SIMPLE
    + """
layer { name: "a" type: "Power" bottom: "pool" top: "a" power_param { scale: 2 } }
layer { name: "b" type: "Eltwise" bottom: "a" bottom: "pool" top: "b" }
"""
)


def case_splits_are_layers():
    made = net(SPLIT)
    assert list(made._layer_names)[4] == "pool_pool_0_split"
    assert made.layers[4].type == "Split"
    assert made.top_names["pool_pool_0_split"] == [
        "pool_pool_0_split_0",
        "pool_pool_0_split_1",
        "pool_pool_0_split_2",
    ]
    assert made.bottom_names["b"] == ["a", "pool_pool_0_split_2"]
    assert made.outputs == ["b", "prob"]


def case_a_split_sees_the_numbers_of_its_blob():
    made = net(SPLIT)
    made.blobs["data"].data[...] = rand(1, 2, 3, 6, 5)
    made.forward()
    close(made.blobs["pool_pool_0_split_1"].data, made.blobs["pool"].data, 0)
    close(made.blobs["b"].data, 3 * made.blobs["pool"].data)


def case_outputs_are_sorted():
    text = SIMPLE + 'layer { name: "Z" type: "TanH" bottom: "pool" top: "Z" }\n'
    assert net(text).outputs == ["Z", "prob"]


def case_an_unread_input_is_an_output():
    text = SIMPLE + 'layer { name: "extra" type: "Input" top: "extra" input_param { shape { dim: 2 } } }\n'
    made = net(text)
    assert made.outputs == ["extra", "prob"]
    assert made.inputs == ["data", "extra"]


def case_shapes():
    made = net(SIMPLE)
    assert list(made.blobs["data"].shape) == [2, 3, 6, 5]
    assert tuple(made.blobs["conv"].shape) == (2, 4, 4, 3)
    blob = made.blobs["data"]
    assert (blob.num, blob.channels, blob.height, blob.width, blob.count) == (2, 3, 6, 5, 180)
    assert made.blobs["ip"].height == 1
    assert made.blobs["ip"].shape[1] == 5
    assert len(made.blobs["ip"].shape) == 2


def case_data_is_float32_and_writable():
    data = net(SIMPLE).blobs["data"].data
    assert data.dtype == np.float32
    assert data.flags.writeable and data.flags.c_contiguous
    assert not data.any()


def case_data_cannot_be_replaced():
    blob = net(SIMPLE).blobs["data"]
    raises(AttributeError, setattr, blob, "data", rand(1, 2, 3, 6, 5))
    raises(AttributeError, setattr, blob, "diff", rand(1, 2, 3, 6, 5))


def case_a_view_sees_what_passes_compute():
    made = net(SIMPLE)
    prob, conv = made.blobs["prob"].data, made.blobs["conv"].data
    made.blobs["data"].data[...] = rand(1, 2, 3, 6, 5)
    made.forward()
    first = prob.copy(), conv.copy()
    close(prob.sum(1), np.ones(2))
    made.blobs["data"].data[...] = rand(2, 2, 3, 6, 5)
    made.forward()
    assert np.abs(first[0] - prob).max() > 1e-4
    assert np.abs(first[1] - conv).max() > 1e-3
    close(prob, made.blobs["prob"].data, 0)
    close(conv, made.blobs["conv"].data, 0)


def case_what_forward_returns_is_a_view():
    made = net(SIMPLE)
    made.blobs["data"].data[...] = rand(1, 2, 3, 6, 5)
    out = made.forward()["prob"]
    before = out.copy()
    made.blobs["data"].data[...] = rand(2, 2, 3, 6, 5)
    made.forward()
    assert np.abs(out - before).max() > 1e-4


def case_writing_through_a_held_view():
    made = net(SIMPLE)
    data = made.blobs["data"].data
    results = []
    for seed in (1, 2):
        data[...] = rand(seed, 2, 3, 6, 5)
        results.append(made.forward()["prob"].copy())
    other = net(SIMPLE)
    for seed, result in zip((1, 2), results):
        close(other.forward(data=rand(seed, 2, 3, 6, 5))["prob"], result)


def case_a_view_outlives_its_net():
    made = net(SIMPLE)
    made.forward(data=rand(1, 2, 3, 6, 5))
    weights, prob = made.params["ip"][0].data, made.blobs["prob"].data
    kept = weights.copy(), prob.copy()
    del made
    gc.collect()
    close(weights, kept[0], 0)
    close(prob, kept[1], 0)
    weights[...] = 3
    assert weights.min() == 3


def case_a_blob_outlives_its_net():
    made = net(SIMPLE)
    made.forward(data=rand(1, 2, 3, 6, 5))
    conv = made.blobs["conv"]
    del made
    gc.collect()
    assert conv.data.shape == (2, 4, 4, 3)
    assert conv.data.max() > 0


def case_views_of_views():
    made = net(SIMPLE)
    row = made.blobs["prob"].data[0]
    flat = made.blobs["prob"].data.reshape(-1)[5:]
    made.forward(data=rand(1, 2, 3, 6, 5))
    close(row.sum(), 1.0)
    close(flat, made.blobs["prob"].data[1], 0)


def case_results_before_the_input_changed():
    made = net(SIMPLE)
    made.forward(data=rand(1, 2, 3, 6, 5))
    made.blobs["data"].data[...] = 0
    conv = made.blobs["conv"].data.copy()
    made.blobs["data"].data[...] = rand(1, 2, 3, 6, 5)
    made.forward()
    close(made.blobs["conv"].data, conv)


def case_results_before_the_weights_changed():
    made = net(SIMPLE)
    made.forward(data=rand(1, 2, 3, 6, 5))
    made.params["conv"][0].data[...] = 0
    assert np.abs(made.blobs["conv"].data).max() > 0.1
    made.forward()
    close(made.blobs["conv"].data[0, 0], np.full((4, 3), max(0, made.params["conv"][1].data[0])))


def case_weights_by_a_held_view():
    made = net(SIMPLE)
    weights = made.params["conv"][0].data
    made.forward(data=rand(1, 2, 3, 6, 5))
    weights[...] = 0
    assert np.abs(made.blobs["conv"].data).max() > 0.1
    made.forward()
    assert len(np.unique(made.blobs["conv"].data)) <= 4


def case_forward_of_inputs_by_name():
    made = net(SIMPLE)
    out = made.forward(data=rand(1, 2, 3, 6, 5))
    assert list(out) == ["prob"]
    close(out["prob"].sum(1), np.ones(2))


def case_forward_returns_blobs_too():
    made = net(SIMPLE)
    out = made.forward(["conv", "pool"], data=rand(1, 2, 3, 6, 5))
    assert sorted(out) == ["conv", "pool", "prob"]
    assert out["pool"].shape == (2, 4, 2, 2)


def case_forward_of_other_inputs_is_refused():
    made = net(SIMPLE)
    error = raises(Exception, made.forward, image=rand(1, 2, 3, 6, 5))
    assert "do not match net inputs" in str(error)


def case_forward_of_another_batch_is_refused():
    made = net(SIMPLE)
    error = raises(Exception, made.forward, data=rand(1, 1, 3, 6, 5))
    assert "not batch sized" in str(error)


def case_forward_of_another_shape_is_refused():
    raises(ValueError, net(SIMPLE).forward, data=rand(1, 2, 3, 9, 9))


def case_forward_from_an_unknown_layer():
    raises(ValueError, net(SIMPLE).forward, start="nothing")
    raises((ValueError, KeyError), net(SIMPLE).forward, end="nothing")
    raises(KeyError, net(SIMPLE).forward, ["nothing"])


def case_forward_to_a_layer():
    made = net(SIMPLE)
    made.blobs["data"].data[...] = rand(1, 2, 3, 6, 5)
    out = made.forward(end="relu")
    assert list(out) == ["conv"]
    assert out["conv"].min() == 0
    assert not made.blobs["pool"].data.any()


def case_forward_from_a_layer():
    made = net(SIMPLE)
    made.blobs["pool"].data[...] = rand(4, 2, 4, 2, 2)
    out = made.forward(start="ip", end="ip")
    weights, bias = (blob.data for blob in made.params["ip"])
    close(out["ip"], made.blobs["pool"].data.reshape(2, 16).dot(weights.T) + bias)
    assert not made.blobs["prob"].data.any()


def case_forward_in_two_parts():
    made, other = net(SIMPLE), net(SIMPLE)
    made.blobs["data"].data[...] = rand(1, 2, 3, 6, 5)
    made.forward(end="pool")
    out = made.forward(start="ip")
    close(out["prob"], other.forward(data=rand(1, 2, 3, 6, 5))["prob"])


def case_changing_an_inner_blob_between_parts():
    made = net(SIMPLE)
    made.forward(data=rand(1, 2, 3, 6, 5))
    made.blobs["pool"].data[...] = 0
    out = made.forward(start="ip")
    bias = made.params["ip"][1].data
    close(out["prob"][0], np.exp(bias) / np.exp(bias).sum())


def case_the_input_is_a_scalar_times_a_layer():
    made = net(SIMPLE)
    made.forward(data=rand(1, 2, 3, 6, 5))
    made.blobs["ip"].data[0] = [0, 0, 0, 0, 10]
    out = made.forward(start="prob")
    assert out["prob"][0].argmax() == 4


def case_backward_gives_the_diffs_of_inputs():
    made = net(LOSS, caffe.TRAIN)
    made.forward(data=rand(1, 3, 2, 4, 4), label=np.array([0, 3, 2]))
    out = made.backward()
    assert sorted(out) == ["data", "label"]
    assert np.abs(out["data"]).max() > 1e-3


def case_gradient_by_differences():
    made = net(LOSS, caffe.TRAIN)
    label, data = np.array([0, 3, 2]), rand(1, 3, 2, 4, 4)
    made.forward(data=data, label=label)
    grad = made.backward()["data"].copy()
    for at in ((0, 0, 1, 1), (2, 1, 3, 0)):
        losses = []
        for step in (-0.01, 0.01):
            moved = data.copy()
            moved[at] += step
            losses.append(float(made.forward(data=moved, label=label)["loss"]))
        assert abs((losses[1] - losses[0]) / 0.02 - grad[at]) < 1e-3


def case_diffs_of_parameters_add_up():
    made = net(LOSS, caffe.TRAIN)
    made.forward(data=rand(1, 3, 2, 4, 4), label=np.array([0, 3, 2]))
    made.backward()
    first = made.params["ip"][0].diff.copy(), made.params["conv"][1].diff.copy()
    made.backward()
    close(made.params["ip"][0].diff, 2 * first[0])
    close(made.params["conv"][1].diff, 2 * first[1])
    made.clear_param_diffs()
    assert not made.params["ip"][0].diff.any()


def case_the_loss_has_its_weight_as_diff():
    made = net(LOSS.replace('top: "loss"', 'top: "loss" loss_weight: 0.5'), caffe.TRAIN)
    assert made.blobs["loss"].diff == 0.5
    assert made.blob_loss_weights["loss"] == 0.5
    assert made.blob_loss_weights["data"] == 0
    made.forward(data=rand(1, 3, 2, 4, 4), label=np.array([0, 3, 2]))
    half = made.backward()["data"].copy()
    made.blobs["loss"].diff[...] = 1
    close(made.backward()["data"], 2 * half)


def case_backward_of_top_diffs():
    text = "force_backward: true\n" + SIMPLE
    made = net(text)
    made.forward(data=rand(1, 2, 3, 6, 5))
    diff = np.zeros((2, 5), np.float32)
    diff[:, 1] = 1
    out = made.backward(prob=diff)
    assert list(out) == ["data"]
    one = out["data"].copy()
    made.forward(data=rand(1, 2, 3, 6, 5))
    close(made.backward(prob=2 * diff)["data"], 2 * one)


def case_backward_of_other_tops_is_refused():
    made = net("force_backward: true\n" + SIMPLE)
    error = raises(Exception, made.backward, ip=rand(1, 2, 5))
    assert "do not match net outputs" in str(error)
    error = raises(Exception, made.backward, prob=rand(1, 1, 5))
    assert "not batch sized" in str(error)


def case_backward_from_a_layer():
    made = net("force_backward: true\n" + SIMPLE)
    made.forward(data=rand(1, 2, 3, 6, 5))
    made.blobs["pool"].diff[...] = 1
    out = made.backward(start="pool")
    assert list(out) == ["data"]
    assert np.abs(out["data"]).max() > 1e-3
    assert not made.blobs["ip"].diff.any()


def case_backward_to_a_layer():
    made = net("force_backward: true\n" + SIMPLE)
    made.forward(data=rand(1, 2, 3, 6, 5))
    made.blobs["prob"].diff[0, 0] = 1
    out = made.backward(end="ip")
    assert list(out) == ["pool"]
    assert not made.blobs["data"].diff.any()


def case_backward_without_forward():
    made = net("force_backward: true\n" + SIMPLE)
    made.blobs["ip"].diff[...] = rand(3, 2, 5)
    out = made.backward(start="ip", end="ip")
    close(out["pool"].reshape(2, 16), made.blobs["ip"].diff.dot(made.params["ip"][0].data))


def case_backward_returns_diffs_too():
    made = net(LOSS, caffe.TRAIN)
    made.forward(data=rand(1, 3, 2, 4, 4), label=np.array([0, 3, 2]))
    assert sorted(made.backward(["ip"])) == ["data", "ip", "label"]


def case_without_a_loss_nothing_goes_back():
    made = net(SIMPLE)
    made.forward(data=rand(1, 2, 3, 6, 5))
    made.blobs["prob"].diff[...] = 1
    made.backward()
    assert not made.blobs["data"].diff.any()
    assert not made.params["ip"][0].diff.any()


def case_the_input_of_a_loss_gets_no_diff_unless_forced():
    made = net(LOSS.replace("force_backward: true", ""), caffe.TRAIN)
    made.forward(data=rand(1, 3, 2, 4, 4), label=np.array([0, 3, 2]))
    made.backward()
    assert not made.blobs["data"].diff.any()
    assert made.params["conv"][0].diff.any()


def case_backward_in_test():
    made, other = net(LOSS.replace("Accuracy", "Silence").replace(' top: "acc"', "")), net(LOSS, caffe.TRAIN)
    results = []
    for each in (made, other):
        each.forward(data=rand(1, 3, 2, 4, 4), label=np.array([0, 3, 2]))
        each.backward()
        results.append(each.params["conv"][0].diff.copy())
    close(*results)


def case_backward_in_test_after_reading():
    text = LOSS.replace("force_backward: true", "").replace("Accuracy", "Silence").replace(' top: "acc"', "")
    made, other = net(text), net(LOSS, caffe.TRAIN)
    results = []
    for each in (made, other):
        each.forward(data=rand(1, 3, 2, 4, 4), label=np.array([0, 3, 2]))
        assert each.blobs["conv"].data.max() < 1
        each.backward()
        results.append(each.params["conv"][0].diff.copy())
    close(*results)


def case_backward_with_changed_weights():
    made = net(LOSS, caffe.TRAIN)
    made.forward(data=rand(1, 3, 2, 4, 4), label=np.array([0, 3, 2]))
    made.params["ip"][0].data[...] = 0
    out = made.backward()
    assert not out["data"].any()


def case_forward_all():
    made = net(SIMPLE)
    data = rand(1, 5, 3, 6, 5)
    out = made.forward_all(data=data, blobs=["pool"])
    assert out["prob"].shape == (5, 5)
    assert out["pool"].shape == (5, 4, 2, 2)
    close(made.forward(data=data[2:4])["prob"], out["prob"][2:4])
    last = np.concatenate([data[4:], np.zeros((1, 3, 6, 5))])
    close(made.forward(data=last)["prob"][:1], out["prob"][4:])


def case_forward_backward_all():
    made = net("force_backward: true\n" + SIMPLE)
    data, diff = rand(1, 3, 3, 6, 5), rand(2, 3, 5)
    blobs, diffs = made.forward_backward_all(data=data, prob=diff)
    assert blobs["prob"].shape == (3, 5)
    assert diffs["data"].shape == (3, 3, 6, 5)
    made.forward(data=data[:2])
    close(made.backward(prob=diff[:2])["data"], diffs["data"][:2])


def case_reshape_of_the_input():
    made = net(SIMPLE)
    made.blobs["data"].reshape(4, 3, 6, 5)
    made.reshape()
    assert made.blobs["prob"].data.shape == (4, 5)
    out = made.forward(data=rand(1, 4, 3, 6, 5))["prob"]
    made.blobs["data"].reshape(1, 3, 6, 5)
    one = made.forward(data=rand(1, 4, 3, 6, 5)[:1])["prob"]
    assert one.shape == (1, 5)
    close(one, out[:1])


def case_reshape_without_asking_the_net():
    made = net(SIMPLE)
    made.blobs["data"].reshape(1, 3, 6, 5)
    made.blobs["data"].data[...] = rand(1, 1, 3, 6, 5)
    assert made.forward()["prob"].shape == (1, 5)
    assert made.blobs["conv"].data.shape == (1, 4, 4, 3)


def case_reshape_to_another_image_size():
    text = SIMPLE[: SIMPLE.index('layer { name: "ip"')]
    made = net(text)
    made.blobs["data"].reshape(1, 3, 9, 12)
    made.reshape()
    assert made.blobs["conv"].data.shape == (1, 4, 7, 10)
    data = rand(1, 1, 3, 9, 12)
    out = made.forward(data=data)["pool"]
    other = net(text)
    other.blobs["data"].reshape(1, 3, 9, 12)
    close(other.forward(data=data)["pool"], out)


def case_a_smaller_shape_keeps_the_numbers():
    blob = net(SIMPLE).blobs["data"]
    blob.data[...] = np.arange(180).reshape(2, 3, 6, 5)
    blob.reshape(1, 3, 6, 5)
    close(blob.data.ravel(), np.arange(90), 0)
    blob.reshape(10, 9)
    close(blob.data.ravel(), np.arange(90), 0)
    blob.reshape(2, 3, 6, 5)
    close(blob.data.ravel()[:90], np.arange(90), 0)


def case_a_blob_of_no_axes():
    blob = net(SIMPLE).blobs["data"]
    blob.reshape()
    assert blob.data.shape == ()
    blob.data[()] = 4
    assert blob.data == 4


def case_reshape_and_views():
    made = net(SIMPLE)
    blob = made.blobs["data"]
    view = blob.data
    blob.reshape(1, 3, 6, 5)
    blob.data[...] = 7
    assert view[0].min() == 7 and not view[1].any()


def case_reshape_takes_numbers():
    blob = net(SIMPLE).blobs["data"]
    raises(Exception, blob.reshape, "two")
    blob.reshape(1, 3, 6, 5)
    assert blob.num == 1
