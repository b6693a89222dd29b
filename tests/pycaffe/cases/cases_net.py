"""Nets and blobs."""

import gc
import os
from collections import OrderedDict

import caffe
import numpy as np
from helping import LOSS, SIMPLE, close, fill, net, raises, rand, write


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


def case_parameters():
    made = net(SIMPLE)
    assert len(made.params["conv"]) == 2
    assert made.params["conv"][0].data.shape == (4, 3, 3, 3)
    assert [blob.data.shape for blob in made.params["ip"]] == [(5, 16), (5,)]
    assert len(made.layer_dict["relu"].blobs) == 0
    made.params["conv"][1].data[...] = 2
    assert (made.layers[1].blobs[1].data == 2).all()


def case_writing_flat():
    made = net(SIMPLE)
    made.params["ip"][0].data.flat = np.arange(80)
    close(made.params["ip"][0].data[1], np.arange(16, 32), 0)


def case_changing_one_weight():
    made = net(SIMPLE)
    made.forward(data=rand(1, 2, 3, 6, 5))
    before = made.blobs["ip"].data.copy()
    made.params["ip"][1].data[2] += 1
    made.forward()
    close(made.blobs["ip"].data - before, np.tile([0, 0, 1, 0, 0], (2, 1)))


def case_a_parameter_in_another_shape():
    made = net(SIMPLE)
    data = rand(1, 2, 3, 6, 5)
    out = made.forward(data=data)["prob"].copy()
    blob = made.params["ip"][0]
    blob.reshape(5, 4, 2, 2)
    close(blob.data.reshape(5, 16), 0.5 * rand(100, 5, 16), 0)
    blob.data[...] = 0.5 * rand(100, 5, 16).reshape(5, 4, 2, 2)
    close(made.forward(data=data)["prob"], out)


def case_fillers():
    made = caffe.Net(write("net.prototxt", SIMPLE), caffe.TEST)
    close(made.params["ip"][1].data, np.full(5, 0.2))
    bound = np.sqrt(3.0 / 16)
    assert np.abs(made.params["ip"][0].data).max() <= bound
    assert 0.1 < made.params["conv"][0].data.std() < 0.6
    assert not made.params["conv"][1].data.any()


def case_a_seed_repeats():
    found = []
    for seed in (3, 3, 4):
        caffe.set_random_seed(seed)
        found.append(caffe.Net(write("net.prototxt", SIMPLE), caffe.TEST).params["conv"][0].data.copy())
    close(found[0], found[1], 0)
    assert np.abs(found[0] - found[2]).max() > 0.01


def case_save_and_load():
    made = net(SIMPLE)
    made.save("model.caffemodel")
    for other in (
        caffe.Net("net.prototxt", caffe.TEST, weights="model.caffemodel"),
        caffe.Net("net.prototxt", "model.caffemodel", caffe.TEST),
    ):
        close(other.params["conv"][0].data, made.params["conv"][0].data, 0)
    other = caffe.Net("net.prototxt", caffe.TEST)
    other.copy_from("model.caffemodel")
    close(other.params["ip"][1].data, made.params["ip"][1].data, 0)


def case_save_over_a_file():
    made = net(SIMPLE)
    write("model.caffemodel", "something else")
    made.save("model.caffemodel")
    assert os.path.getsize("model.caffemodel") > 400


def case_save_and_load_hdf5():
    made = net(SIMPLE)
    made.save_hdf5("model.h5")
    other = caffe.Net("net.prototxt", caffe.TEST)
    other.load_hdf5("model.h5")
    close(other.params["conv"][0].data, made.params["conv"][0].data, 0)
    third = caffe.Net("net.prototxt", caffe.TEST)
    third.copy_from("model.h5")
    close(third.params["ip"][0].data, made.params["ip"][0].data, 0)


def case_load_of_other_layers():
    net(SIMPLE).save("model.caffemodel")
    made = caffe.Net(write("net.prototxt", SIMPLE.replace('name: "ip"', 'name: "other"')), caffe.TEST)
    fresh = made.params["other"][0].data.copy()
    made.copy_from("model.caffemodel")
    close(made.params["other"][0].data, fresh, 0)
    close(made.params["conv"][0].data[0, 0, 0, 0], 0.5 * rand(0, 4, 3, 3, 3)[0, 0, 0, 0])


def case_load_seen_by_a_view():
    net(SIMPLE).save("model.caffemodel")
    made = caffe.Net("net.prototxt", caffe.TEST)
    weights = made.params["ip"][0].data
    made.copy_from("model.caffemodel")
    close(weights, 0.5 * rand(100, 5, 16))


def case_share_with():
    made, other = net(SIMPLE), caffe.Net("net.prototxt", caffe.TEST)
    other.share_with(made)
    close(other.params["conv"][0].data, made.params["conv"][0].data, 0)
    made.params["ip"][1].data[...] = 9
    assert (other.params["ip"][1].data == 9).all()
    data = rand(1, 2, 3, 6, 5)
    close(made.forward(data=data)["prob"], other.forward(data=data)["prob"])
    other.params["conv"][0].data[...] = 0
    assert not made.params["conv"][0].data.any()
    close(made.forward(data=data)["prob"], other.forward(data=data)["prob"])


def case_share_with_does_not_share_diffs():
    made, other = net(LOSS, caffe.TRAIN), net(LOSS, caffe.TRAIN)
    other.share_with(made)
    made.forward(data=rand(1, 3, 2, 4, 4), label=np.array([0, 3, 2]))
    made.backward()
    assert made.params["ip"][0].diff.any()
    assert not other.params["ip"][0].diff.any()


SHARED = """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "a" type: "InnerProduct" bottom: "data" top: "a" param { name: "w" } param { name: "b" }
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "b" type: "InnerProduct" bottom: "a" top: "b" param { name: "w" } param { name: "b" }
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "b" bottom: "label" top: "loss" }
"""


def case_parameters_shared_by_name():
    made = net(SHARED, caffe.TRAIN)
    made.params["a"][0].data[...] = rand(5, 3, 3)
    close(made.params["b"][0].data, rand(5, 3, 3), 0)
    out = made.forward(data=rand(6, 2, 3), label=rand(7, 2, 3))
    made.backward()
    close(made.params["a"][0].diff, made.params["b"][0].diff, 0)
    assert out["loss"] > 0


def case_gradient_of_shared_parameters():
    made = net(SHARED, caffe.TRAIN)
    given = {"data": rand(6, 2, 3), "label": rand(7, 2, 3)}
    made.forward(**given)
    made.backward()
    grad = float(made.params["a"][0].diff[1, 2])
    losses = []
    for step in (-0.01, 0.02):
        made.params["b"][0].data[1, 2] += step
        losses.append(float(made.forward(**given)["loss"]))
    assert abs((losses[1] - losses[0]) / 0.02 - grad) < 2e-3


def case_missing_files():
    error = raises(RuntimeError, caffe.Net, "missing.prototxt", caffe.TEST)
    assert "missing.prototxt" in str(error)
    write("net.prototxt", SIMPLE)
    error = raises(RuntimeError, caffe.Net, "net.prototxt", caffe.TEST, weights="missing.caffemodel")
    assert "missing.caffemodel" in str(error)
    error = raises(RuntimeError, caffe.Net, "net.prototxt", "missing.caffemodel", caffe.TEST)
    assert "missing.caffemodel" in str(error)


def case_wrong_arguments():
    write("net.prototxt", SIMPLE)
    raises(TypeError, caffe.Net)
    raises(TypeError, caffe.Net, "net.prototxt")
    raises(TypeError, caffe.Net, "net.prototxt", "TEST")
    raises(TypeError, caffe.Net, "net.prototxt", caffe.TEST, colour="red")
    raises(TypeError, caffe.Net, 3, caffe.TEST)


def case_phases():
    assert (caffe.TRAIN, caffe.TEST) == (0, 1)
    assert "acc" in net(LOSS, caffe.TEST).blobs
    assert "acc" not in net(LOSS, caffe.TRAIN).blobs


LEVELS = """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 10 } } }
layer { name: "no" type: "InnerProduct" bottom: "data" top: "no" inner_product_param { num_output: 1 } }
layer { name: "two" type: "InnerProduct" bottom: "data" top: "two" include { min_level: 2 }
  inner_product_param { num_output: 1 } }
layer { name: "a" type: "InnerProduct" bottom: "data" top: "a" include { stage: "A" }
  inner_product_param { num_output: 1 } }
layer { name: "ab" type: "InnerProduct" bottom: "data" top: "ab" include { stage: "A" stage: "B" }
  inner_product_param { num_output: 1 } }
layer { name: "not" type: "InnerProduct" bottom: "data" top: "not" include { not_stage: "A" }
  inner_product_param { num_output: 1 } }
"""


def case_levels_and_stages():
    path = write("net.prototxt", LEVELS)

    def blobs(**named):
        return [name for name in caffe.Net(path, caffe.TEST, **named).blobs if "data" not in name]

    assert blobs() == ["no", "not"]
    assert blobs(level=2) == ["no", "two", "not"]
    assert blobs(stages=["A"]) == ["no", "a"]
    assert blobs(stages=["B", "A"]) == ["no", "a", "ab"]
    assert blobs(level=3, stages=["A", "B"]) == ["no", "two", "a", "ab"]


def case_old_formats():
    made = caffe.Net(
        write(
            "net.prototxt",
            'input: "data" input_dim: 1 input_dim: 2 input_dim: 4 input_dim: 4\n'
            'layers { name: "pool" type: POOLING bottom: "data" top: "pool" '
            "pooling_param { kernel_size: 2 } }\n",
        ),
        caffe.TEST,
    )
    assert made.inputs == ["data"]
    assert made.blobs["pool"].data.shape == (1, 2, 3, 3)


def case_reshape_layers_share_memory():
    text = SIMPLE[: SIMPLE.index('layer { name: "ip"')] + (
        'layer { name: "flat" type: "Flatten" bottom: "pool" top: "flat" }\n'
        'layer { name: "re" type: "Reshape" bottom: "flat" top: "re" '
        "reshape_param { shape { dim: 0 dim: 2 dim: -1 } } }\n"
    )
    made = net(text)
    made.forward(data=rand(1, 2, 3, 6, 5))
    assert made.blobs["re"].data.shape == (2, 2, 8)
    close(made.blobs["re"].data.ravel(), made.blobs["pool"].data.ravel(), 0)
    made.blobs["pool"].data[...] = 5
    assert (made.blobs["re"].data == 5).all()


def case_slices_have_memory_of_their_own():
    text = """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 4 } } }
    layer { name: "cut" type: "Slice" bottom: "data" top: "a" top: "b" }
    layer { name: "both" type: "Concat" bottom: "b" bottom: "a" top: "both" }"""
    made = net(text)
    made.forward(data=rand(1, 2, 4))
    made.blobs["a"].data[...] = 7
    close(made.blobs["data"].data, rand(1, 2, 4), 0)
    close(made.blobs["both"].data[:, 2:], rand(1, 2, 4)[:, :2], 0)


def case_dropout_in_test():
    text = """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 4 } } }
    layer { name: "drop" type: "Dropout" bottom: "data" top: "drop" }
    layer { name: "end" type: "AbsVal" bottom: "drop" top: "end" }"""
    made = net(text)
    made.forward(data=rand(1, 2, 4))
    made.blobs["drop"].data[...] = 7
    close(made.blobs["data"].data, rand(1, 2, 4), 0)


def case_dropout_in_train():
    text = """force_backward: true
    layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 20 dim: 50 } } }
    layer { name: "drop" type: "Dropout" bottom: "data" top: "drop" dropout_param { dropout_ratio: 0.25 } }"""
    made = net(text, caffe.TRAIN)
    out = made.forward(data=np.ones((20, 50)))["drop"]
    assert 0.65 < (out > 0).mean() < 0.85
    close(out.max(), 1 / 0.75)
    close(made.backward(drop=np.ones((20, 50)))["data"], out)


BN = """force_backward: true
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 dim: 2 dim: 2 } } }
layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn"
  batch_norm_param { moving_average_fraction: 0.9 } }
layer { name: "scale" type: "Scale" bottom: "bn" top: "scale" scale_param { bias_term: true } }
"""


def case_batch_norm_in_train():
    made = caffe.Net(write("net.prototxt", BN), caffe.TRAIN)
    data = rand(1, 4, 3, 2, 2)
    out = made.forward(data=data)["scale"]
    close(out.mean((0, 2, 3)), np.zeros(3), 1e-5)
    mean, variance, factor = (blob.data for blob in made.params["bn"])
    close(factor, [1])
    close(mean, data.mean((0, 2, 3)))
    close(variance, data.var((0, 2, 3)) * 16 / 15)
    made.forward(data=data)
    close(factor, [1.9])


def case_batch_norm_backward_twice():
    made = caffe.Net(write("net.prototxt", BN), caffe.TRAIN)
    made.forward(data=rand(1, 4, 3, 2, 2))
    diff = rand(2, 4, 3, 2, 2)
    first = made.backward(scale=diff)["data"].copy()
    assert made.params["bn"][2].data == 1
    close(made.backward(scale=diff)["data"], first)


CHAIN = """force_backward: true
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 dim: 5 dim: 5 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 3 kernel_size: 3 } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "end" type: "Power" bottom: "conv" top: "end" power_param { power: 2 } }
"""


def chain():
    made = net(CHAIN, caffe.TRAIN)
    for blob in made.params["bn"]:
        blob.data[...] = 0
    return made


def found_in(made):
    blobs = [made.params[name][i].diff for name, i in (("conv", 0), ("scale", 0), ("scale", 1))]
    return [np.array(each) for each in [*blobs, made.params["bn"][1].data, made.blobs["data"].diff]]


def whole_chain(made):
    made.forward(data=rand(1, 4, 3, 5, 5))
    made.blobs["end"].diff[...] = rand(2, 4, 3, 3, 3)
    made.backward()
    return found_in(made)


def case_a_chain_in_place():
    whole = whole_chain(chain())
    text = CHAIN.replace('top: "conv" }\nlayer { name: "scale"', 'top: "b" }\nlayer { name: "scale"')
    text = text.replace('bottom: "conv" top: "conv" scale', 'bottom: "b" top: "c" scale')
    text = text.replace('"ReLU" bottom: "conv" top: "conv"', '"ReLU" bottom: "c" top: "d"')
    text = text.replace('bottom: "conv" top: "end"', 'bottom: "d" top: "end"')
    apart = net(text, caffe.TRAIN)
    for blob in apart.params["bn"]:
        blob.data[...] = 0
    for a, b in zip(whole, whole_chain(apart)):
        close(a, b)
    return [[float(x) for x in each.ravel()] for each in whole]


def case_a_chain_in_parts():
    whole = whole_chain(chain())
    made = chain()
    made.blobs["data"].data[...] = rand(1, 4, 3, 5, 5)
    made.forward(end="bn")
    made.forward(start="scale", end="scale")
    made.forward(start="relu")
    made.blobs["end"].diff[...] = rand(2, 4, 3, 3, 3)
    made.backward(end="relu")
    made.backward(start="scale")
    for a, b in zip(whole, found_in(made)):
        close(a, b)


def case_a_chain_backward_in_parts():
    whole = whole_chain(chain())
    made = chain()
    made.forward(data=rand(1, 4, 3, 5, 5))
    made.blobs["end"].diff[...] = rand(2, 4, 3, 3, 3)
    made.backward(end="scale")
    made.backward(start="bn")
    for a, b in zip(whole, found_in(made)):
        close(a, b)


def case_a_chain_with_hooks():
    whole = whole_chain(chain())
    made, seen = chain(), []
    made.after_forward(seen.append)
    for a, b in zip(whole, whole_chain(made)):
        close(a, b)
    assert seen == [0, 1, 2, 3, 4, 5]


def case_a_chain_that_is_looked_at():
    whole = whole_chain(chain())
    made = chain()
    view = made.blobs["conv"].data
    for a, b in zip(whole, whole_chain(made)):
        close(a, b)
    close(view**2, made.blobs["end"].data)


def case_a_chain_twice_backward():
    made = chain()
    first = whole_chain(made)
    made.blobs["end"].diff[...] = rand(2, 4, 3, 3, 3)
    made.backward()
    close(made.params["conv"][0].diff, 2 * first[0])
    close(made.params["scale"][1].diff, 2 * first[2])
    close(made.params["bn"][1].data, first[3], 0)


def case_batch_norm_in_test():
    made = caffe.Net(write("net.prototxt", BN), caffe.TEST)
    for blob, values in zip(made.params["bn"], ([2, 4, 6], [8, 18, 32], [2])):
        blob.data[...] = values
    data = rand(1, 4, 3, 2, 2)
    out = made.forward(data=data)["scale"]
    close(out[:, 1], (data[:, 1] - 2) / 3)


def case_dummy_data():
    text = """layer { name: "d" type: "DummyData" top: "a" top: "b" dummy_data_param {
      shape { dim: 2 dim: 3 } shape { dim: 4 } data_filler { type: "constant" value: 3 }
      data_filler { type: "uniform" min: 1 max: 2 } } }
    layer { name: "p" type: "Power" bottom: "a" top: "p" power_param { power: 2 } }"""
    made = net(text)
    assert (made.blobs["a"].data == 3).all()
    out = made.forward()
    assert (out["p"] == 9).all()
    first = out["b"].copy()
    assert first.min() >= 1 and first.max() <= 2
    made.blobs["a"].data[0] = 5
    out = made.forward()
    assert (out["p"][0] == 25).all()
    assert np.abs(out["b"] - first).max() > 0


def case_values_of_the_prototxt():
    text = """layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 1 dim: 2 } } }
    layer { name: "ip" type: "InnerProduct" bottom: "d" top: "ip" inner_product_param { num_output: 1 }
      blobs { shape { dim: 1 dim: 2 } data: 2 data: 3 } blobs { shape { dim: 1 } data: 0.5 } }"""
    made = caffe.Net(write("net.prototxt", text), caffe.TEST)
    close(made.forward(d=np.array([[1, 10]]))["ip"], [[32.5]])


def case_a_view_after_its_blob_has_grown():
    made = net(SIMPLE)
    made.forward(data=rand(1, 2, 3, 6, 5))
    made.blobs["data"].reshape(5, 3, 6, 5)
    assert not made.blobs["data"].data.any()
    out = made.forward(data=rand(2, 5, 3, 6, 5))["prob"]
    assert out.shape == (5, 5)
    made.blobs["data"].reshape(2, 3, 6, 5)
    close(made.blobs["data"].data, rand(2, 5, 3, 6, 5)[:2], 0)
    close(made.forward()["prob"], out[:2])


def case_recurrent_layers():
    text = """force_backward: true
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 3 dim: 2 dim: 4 } } }
    layer { name: "cont" type: "Input" top: "cont" input_param { shape { dim: 3 dim: 2 } } }
    layer { name: "lstm" type: "LSTM" bottom: "x" bottom: "cont" top: "h" recurrent_param { num_output: 5
      weight_filler { type: "uniform" min: -0.1 max: 0.1 } } }"""
    made = net(text, caffe.TRAIN)
    assert [blob.data.shape for blob in made.params["lstm"]] == [(20, 4), (20,), (20, 5)]
    cont = np.array([[0, 0], [1, 1], [1, 0]])
    given = rand(1, 3, 2, 4)
    made.forward(x=given, cont=cont)
    grad = made.backward(h=np.ones((3, 2, 5)))["x"].copy()
    sums = []
    for step in (-0.01, 0.01):
        moved = given.copy()
        moved[1, 0, 2] += step
        sums.append(float(made.forward(x=moved, cont=cont)["h"].sum()))
    assert abs((sums[1] - sums[0]) / 0.02 - grad[1, 0, 2]) < 2e-3


def case_many_layers_at_once():
    text = """force_backward: true
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 dim: 5 dim: 5 } } }
    layer { name: "lrn" type: "LRN" bottom: "x" top: "lrn" lrn_param { local_size: 3 alpha: 0.5 } }
    layer { name: "up" type: "Deconvolution" bottom: "lrn" top: "up"
      convolution_param { num_output: 3 kernel_size: 4 stride: 2 pad: 1 } }
    layer { name: "prelu" type: "PReLU" bottom: "up" top: "up" }
    layer { name: "tile" type: "Reduction" bottom: "up" top: "mean"
      reduction_param { operation: MEAN axis: 2 } }
    layer { name: "elu" type: "ELU" bottom: "mean" top: "elu" }
    layer { name: "both" type: "Eltwise" bottom: "elu" bottom: "mean" top: "both"
      eltwise_param { operation: PROD } }
    layer { name: "mvn" type: "MVN" bottom: "lrn" top: "mvn" }
    """
    made = net(text)
    given = rand(1, 2, 4, 5, 5)
    out = {name: values.copy() for name, values in made.forward(x=given).items()}
    diffs = {name: np.zeros_like(values) for name, values in out.items()}
    diffs["both"] += 1
    diffs["mvn"] += rand(5, *diffs["mvn"].shape)
    grad = made.backward(**diffs)["x"]
    found = [[name, [float(x) for x in np.ravel(out[name])]] for name in sorted(out)]
    return [*found, [float(x) for x in grad.ravel()]]


def case_memory_data():
    text = """layer { name: "d" type: "MemoryData" top: "data" top: "label"
      memory_data_param { batch_size: 2 channels: 1 height: 2 width: 3 } }
    layer { name: "s" type: "Power" bottom: "data" top: "s" }"""
    made = net(text)
    data, labels = rand(1, 4, 1, 2, 3), np.arange(4, dtype=np.float32)
    made.set_input_arrays(data, labels)
    for at in (0, 2, 0):
        made.forward()
        close(made.blobs["s"].data, data[at : at + 2], 0)
        close(made.blobs["label"].data.ravel(), labels[at : at + 2], 0)


def case_memory_data_of_wrong_arrays():
    text = """layer { name: "d" type: "MemoryData" top: "data" top: "label"
      memory_data_param { batch_size: 2 channels: 1 height: 2 width: 3 } }"""
    made = net(text)
    labels = np.arange(4, dtype=np.float32)
    raises(RuntimeError, made.set_input_arrays, rand(1, 4, 1, 2, 4), labels)
    raises(RuntimeError, made.set_input_arrays, rand(1, 4, 1, 2, 3).astype(np.float64), labels)
    raises(RuntimeError, made.set_input_arrays, rand(1, 3, 1, 2, 3), labels[:3])
    raises(RuntimeError, made.set_input_arrays, rand(1, 4, 2, 3), labels)
    error = raises(RuntimeError, net(SIMPLE).set_input_arrays, rand(1, 2, 3, 6, 5), labels)
    assert "MemoryData" in str(error)


def case_hooks():
    made = net(SIMPLE)
    seen = []
    made.before_forward(lambda i: seen.append(("before", i)))
    made.after_forward(lambda i: seen.append(("after", i)))
    made.forward(start="relu", end="pool")
    assert seen == [("before", 2), ("after", 2), ("before", 3), ("after", 3)]
    made.after_backward(lambda i: seen.append(("back", i)))
    made.backward(start="pool", end="relu")
    assert seen[4:] == [("back", 3), ("back", 2)]


def case_in_place_over_the_input():
    text = """force_backward: true
    layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 4 } } }
    layer { name: "relu" type: "ReLU" bottom: "data" top: "data" }
    layer { name: "p" type: "Power" bottom: "data" top: "p" power_param { scale: 3 } }"""
    made = net(text)
    out = made.forward(data=rand(1, 2, 4))["p"]
    close(made.blobs["data"].data, np.maximum(rand(1, 2, 4), 0), 0)
    close(out, 3 * np.maximum(rand(1, 2, 4), 0))
    close(made.backward(p=np.ones((2, 4)))["data"], 3 * (rand(1, 2, 4) > 0))


def case_a_held_view_of_what_is_overwritten():
    made = net(BN.replace('top: "bn"', 'top: "data"').replace('bottom: "bn"', 'bottom: "data"'), caffe.TRAIN)
    made.params["bn"][2].data[...] = 0
    other = net(BN, caffe.TRAIN)
    other.params["bn"][2].data[...] = 0
    view = made.blobs["data"].data
    results = []
    for each in (made, other):
        each.forward(data=rand(1, 4, 3, 2, 2))
        results.append(each.backward(scale=rand(2, 4, 3, 2, 2))["data"].copy())
    assert view.shape == (4, 3, 2, 2)
    close(*results)


def case_a_parameter_layer():
    text = """layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 2 dim: 3 } } }
    layer { name: "t" type: "Input" top: "t" input_param { shape { dim: 2 dim: 3 } } }
    layer { name: "loss" type: "EuclideanLoss" bottom: "p" bottom: "t" top: "loss" }"""
    made = net(text, caffe.TRAIN)
    made.params["p"][0].data[...] = rand(1, 2, 3)
    made.forward(t=rand(2, 2, 3))
    close(made.blobs["p"].data, rand(1, 2, 3), 0)
    made.backward()
    close(made.params["p"][0].diff, (rand(1, 2, 3) - rand(2, 2, 3)) / 2)


def case_a_loss_without_a_top():
    text = SHARED.replace(' top: "loss"', "")
    made = net(text, caffe.TRAIN)
    assert list(made.blobs)[-1] == "(automatic)"
    made.forward(data=rand(6, 2, 3), label=rand(7, 2, 3))
    made.backward()
    assert made.params["a"][0].diff.any()


def case_a_weight_on_an_inner_top():
    text = SHARED.replace('top: "b" param', 'top: "b" loss_weight: 0.5 param')
    made = net(text, caffe.TRAIN)
    made.forward(data=rand(6, 2, 3), label=rand(7, 2, 3))
    made.backward()
    both = made.params["b"][1].diff.copy()
    plain = net(SHARED, caffe.TRAIN)
    plain.forward(data=rand(6, 2, 3), label=rand(7, 2, 3))
    plain.backward()
    assert np.abs(both - plain.params["b"][1].diff).max() > 0.1


def case_the_loss_of_forward():
    made = net(LOSS, caffe.TRAIN)
    made.blobs["data"].data[...] = rand(1, 3, 2, 4, 4)
    total = made._forward(0, len(made.layers) - 1)
    assert abs(total - float(made.blobs["loss"].data)) < 1e-6


def case_layers_have_a_type_and_blobs():
    layer = net(SIMPLE).layers[1]
    assert layer.type == "Convolution"
    assert isinstance(layer, caffe.Layer)
    assert [tuple(blob.shape) for blob in layer.blobs] == [(4, 3, 3, 3), (4,)]


def case_filling_again():
    made = net(SIMPLE)
    data = rand(1, 2, 3, 6, 5)
    first = made.forward(data=data)["prob"].copy()
    fill(made, 0.25)
    assert np.abs(made.forward(data=data)["prob"] - first).max() > 1e-3
    fill(made)
    close(made.forward(data=data)["prob"], first)
