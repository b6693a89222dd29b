"""Nets of other layers, in place one after another, and what is in them."""

import caffe
import numpy as np
from helping import LOSS, SHARED, SIMPLE, close, fill, net, raises, rand, write


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
