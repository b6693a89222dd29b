"""Parameters, models in files, sharing, and what makes a net."""

import os

import caffe
import numpy as np
from helping import LOSS, SHARED, SIMPLE, close, net, raises, rand, write


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
