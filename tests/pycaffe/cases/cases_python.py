"""Layers written in Python."""

import importlib

import caffe
import numpy as np
from helping import close, net, raises, rand, write

LAYERS = '''
import numpy as np
import caffe


class Times(caffe.Layer):
    """Ten times the bottom, and back."""

    def setup(self, bottom, top):
        self.seen = []

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        top[0].data[...] = 10 * bottom[0].data

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = 10 * top[0].diff


class Scaled(Times):
    def setup(self, bottom, top):
        self.value = float(self.param_str)

    def forward(self, bottom, top):
        top[0].data[...] = self.value * bottom[0].data

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = self.value * top[0].diff


class Two(caffe.Layer):
    """The minimum and the maximum along the last axis."""

    def setup(self, bottom, top):
        if len(top) != 2:
            raise ValueError("two tops are needed, got %d" % len(top))

    def reshape(self, bottom, top):
        for i in range(len(top)):
            top[i].reshape(*bottom[0].data.shape[:-1])

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data.min(-1)
        top[1].data[...] = bottom[0].data.max(-1)

    def backward(self, top, propagate_down, bottom):
        data = bottom[0].data
        bottom[0].diff[...] = 0
        for k, at in enumerate((data.argmin(-1), data.argmax(-1))):
            for i, j in enumerate(at):
                bottom[0].diff[i, j] += top[k].diff[i]


class Phase(caffe.Layer):
    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape()

    def forward(self, bottom, top):
        top[0].data[()] = self.phase


class Weighted(caffe.Layer):
    """Weights times the bottom."""

    def setup(self, bottom, top):
        self.blobs.add_blob(bottom[0].channels)
        self.blobs[0].data[...] = np.arange(bottom[0].channels)

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data * self.blobs[0].data

    def backward(self, top, propagate_down, bottom):
        self.blobs[0].diff[...] += (top[0].diff * bottom[0].data).sum(0)
        if propagate_down[0]:
            bottom[0].diff[...] = top[0].diff * self.blobs[0].data


class Loss(caffe.Layer):
    """Half the mean of the squared differences."""

    def setup(self, bottom, top):
        if len(bottom) != 2:
            raise Exception("Need two inputs to compute distance.")

    def reshape(self, bottom, top):
        if bottom[0].count != bottom[1].count:
            raise Exception("Inputs must have the same dimension.")
        self.diff = np.zeros_like(bottom[0].data, dtype=np.float32)
        top[0].reshape(1)

    def forward(self, bottom, top):
        self.diff[...] = bottom[0].data - bottom[1].data
        top[0].data[...] = np.sum(self.diff**2) / bottom[0].num / 2.0

    def backward(self, top, propagate_down, bottom):
        for i in range(2):
            if not propagate_down[i]:
                continue
            sign = 1 if i == 0 else -1
            bottom[i].diff[...] = sign * self.diff / bottom[i].num


class Fails(caffe.Layer):
    def setup(self, bottom, top):
        if self.param_str == "setup":
            raise RuntimeError("in setup")

    def reshape(self, bottom, top):
        if self.param_str == "reshape":
            raise KeyError("in reshape")
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        if self.param_str == "forward":
            raise ValueError("in forward")

    def backward(self, top, propagate_down, bottom):
        raise ZeroDivisionError("in backward")


class Source(caffe.Layer):
    """Numbers that count up, and a label."""

    def setup(self, bottom, top):
        self.number = 0
        self.size = int(self.param_str)

    def reshape(self, bottom, top):
        top[0].reshape(self.size, 2)
        top[1].reshape(self.size)

    def forward(self, bottom, top):
        top[0].data[...] = self.number
        top[1].data[...] = self.number % 2
        self.number += 1

    def backward(self, top, propagate_down, bottom):
        pass


class Growing(caffe.Layer):
    """As many rows as it has run."""

    def setup(self, bottom, top):
        self.rows = 1

    def reshape(self, bottom, top):
        top[0].reshape(self.rows, 2)

    def forward(self, bottom, top):
        self.rows += 1
        top[0].reshape(self.rows, 2)
        top[0].data[...] = self.rows
'''

DATA = """force_backward: true
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 } } }
"""


def python(name, bottoms, tops, kind, param_str=""):
    words = ['layer { name: "%s" type: "Python"' % name]
    words += ['bottom: "%s"' % each for each in bottoms.split()] + [
        'top: "%s"' % each for each in tops.split()
    ]
    words.append('python_param { module: "my_layers" layer: "%s" param_str: "%s" } }\n' % (kind, param_str))
    write("my_layers.py", LAYERS)
    importlib.invalidate_caches()
    return " ".join(words)


THREE = DATA + (
    "%s" + 'layer { name: "two" type: "Power" bottom: "one" top: "two" power_param { scale: 2 } }\n' + "%s"
)


def three():
    return net(THREE % (python("one", "data", "one", "Times"), python("three", "two", "three", "Times")))


def case_forward():
    made = three()
    out = made.forward(data=np.full((4, 3), 8))
    assert (out["three"] == 1600).all()
    assert (made.blobs["one"].data == 80).all()


def case_backward():
    made = three()
    made.forward(data=rand(1, 4, 3))
    made.blobs["three"].diff[...] = 7
    made.backward()
    assert (made.blobs["data"].diff == 1400).all()


def case_reshape():
    made = three()
    made.blobs["data"].reshape(2, 5, 6)
    made.forward()
    assert [tuple(blob.shape) for blob in made.blobs.values()] == [(2, 5, 6)] * 4
    made.blobs["data"].reshape(1, 1)
    made.reshape()
    assert made.blobs["three"].data.shape == (1, 1)


def case_the_type_and_the_object():
    made = three()
    layer = made.layers[1]
    assert layer.type == "Python"
    assert layer.seen == []
    assert isinstance(layer, caffe.Layer)
    assert "Python" in list(caffe.layer_type_list())


def case_param_str():
    made = net(DATA + python("a", "data", "a", "Scaled", "2.5") + python("b", "a", "b", "Scaled", "-4"))
    close(made.forward(data=rand(1, 4, 3))["b"], -10 * rand(1, 4, 3))
    close(made.backward(b=np.ones((4, 3)))["data"], np.full((4, 3), -10))
    assert made.layers[1].param_str == "2.5"


def case_two_tops():
    made = net(DATA + python("two", "data", "low high", "Two"))
    assert made.outputs == ["high", "low"]
    out = made.forward(data=rand(1, 4, 3))
    close(out["low"], rand(1, 4, 3).min(1), 0)
    close(out["high"], rand(1, 4, 3).max(1), 0)
    diff = made.backward(low=np.full(4, 2), high=np.full(4, 3))["data"]
    close(diff.sum(1), np.full(4, 5))


def case_an_exception_in_setup():
    error = raises(RuntimeError, net, DATA + python("f", "data", "f", "Fails", "setup"))
    assert "in setup" in str(error)
    error = raises(ValueError, net, DATA + python("two", "data", "low", "Two"))
    assert "two tops" in str(error)


def case_an_exception_in_reshape():
    error = raises(KeyError, net, DATA + python("f", "data", "f", "Fails", "reshape"))
    assert "in reshape" in str(error)


def case_an_exception_in_forward():
    made = net(DATA + python("f", "data", "f", "Fails", "forward"))
    for _ in range(2):
        error = raises(ValueError, made.forward, data=rand(1, 4, 3))
        assert "in forward" in str(error)


def case_an_exception_in_backward():
    made = net(DATA + python("f", "data", "f", "Fails"))
    made.forward(data=rand(1, 4, 3))
    raises(ZeroDivisionError, made.backward)


def case_phase():
    for phase in (caffe.TRAIN, caffe.TEST):
        made = net(python("p", "", "phase", "Phase"), phase)
        assert made.forward()["phase"] == phase
        assert made.layers[0].phase == phase


WEIGHTED = (
    'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 } } }\n'
    'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 4 dim: 3 } } }\n'
    "%s"
    'layer { name: "loss" type: "EuclideanLoss" bottom: "w" bottom: "label" top: "loss" }\n'
)


def weighted():
    return caffe.Net(write("net.prototxt", WEIGHTED % python("w", "data", "w", "Weighted")), caffe.TRAIN)


def case_parameters():
    made = weighted()
    close(made.params["w"][0].data, [0, 1, 2], 0)
    made.forward(data=rand(1, 4, 3), label=rand(2, 4, 3))
    close(made.blobs["w"].data, rand(1, 4, 3) * [0, 1, 2])
    made.backward()
    expected = ((made.blobs["w"].data - rand(2, 4, 3)) / 4 * rand(1, 4, 3)).sum(0)
    close(made.params["w"][0].diff, expected)
    assert made.layers[2].blobs[0].diff[1] == made.params["w"][0].diff[1]


def case_parameters_saved():
    made = weighted()
    made.params["w"][0].data[...] = [5, 6, 7]
    made.save("w.caffemodel")
    other = weighted()
    other.copy_from("w.caffemodel")
    close(other.layers[2].blobs[0].data, [5, 6, 7], 0)
    close(
        other.forward(data=rand(1, 4, 3), label=rand(2, 4, 3))["loss"],
        made.forward(data=rand(1, 4, 3), label=rand(2, 4, 3))["loss"],
    )


def case_parameters_shared():
    made, other = weighted(), weighted()
    other.share_with(made)
    made.params["w"][0].data[...] = [5, 6, 7]
    close(other.layers[2].blobs[0].data, [5, 6, 7], 0)
    other.forward(data=rand(1, 4, 3), label=rand(2, 4, 3))
    close(other.blobs["w"].data, rand(1, 4, 3) * [5, 6, 7])


LOSS = (
    'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 } } }\n'
    'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 4 dim: 2 } } }\n'
    'layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" '
    "inner_product_param { num_output: 2 } }\n"
)


def case_a_loss():
    made = net(
        LOSS
        + python("loss", "ip label", "loss", "Loss").replace(" python_param", " loss_weight: 1 python_param"),
        caffe.TRAIN,
    )
    other = net(
        LOSS + 'layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "label" top: "loss" }',
        caffe.TRAIN,
    )
    results = []
    for each in (made, other):
        loss = each.forward(data=rand(1, 4, 3), label=rand(2, 4, 2))["loss"]
        each.backward()
        results.append((float(np.ravel(loss)[0]), each.params["ip"][0].diff.copy()))
    assert abs(results[0][0] - results[1][0]) < 1e-5
    close(results[0][1], results[1][1])


def case_a_loss_without_a_weight():
    made = net(LOSS + python("loss", "ip label", "loss", "Loss"), caffe.TRAIN)
    made.forward(data=rand(1, 4, 3), label=rand(2, 4, 2))
    made.backward()
    assert not made.params["ip"][0].diff.any()


def case_a_data_layer():
    made = net(
        python("d", "", "data label", "Source", "3")
        + 'layer { name: "p" type: "Power" bottom: "data" top: "p" power_param { scale: 2 } }'
    )
    assert made.inputs == []
    for i in range(3):
        out = made.forward()
        assert (out["p"] == 2 * i).all() and out["p"].shape == (3, 2)
        assert (out["label"] == i % 2).all()


def case_tops_that_grow_in_a_pass():
    made = net(
        DATA.replace("force_backward: true", "")
        + python("g", "data", "g", "Growing")
        + 'layer { name: "p" type: "Power" bottom: "g" top: "p" power_param { scale: 2 } }'
    )
    for rows in (2, 3, 4):
        assert made.forward()["p"].shape == (rows, 2)
        assert (made.blobs["p"].data == 2 * rows).all()


def case_after_a_split():
    made = net(
        DATA
        + python("a", "data", "a", "Scaled", "2")
        + python("b", "data", "b", "Scaled", "3")
        + 'layer { name: "s" type: "Eltwise" bottom: "a" bottom: "b" top: "s" }'
    )
    close(made.forward(data=rand(1, 4, 3))["s"], 5 * rand(1, 4, 3))
    close(made.backward(s=rand(2, 4, 3))["data"], 5 * rand(2, 4, 3))


def case_between_convolutions():
    text = DATA.replace("dim: 4 dim: 3", "dim: 1 dim: 2 dim: 5 dim: 5")
    conv = 'layer { name: "%s" type: "Convolution" bottom: "%s" top: "%s" '
    conv += "convolution_param { num_output: 2 kernel_size: 3 } }\n"
    made = net(
        text + conv % ("c", "data", "c") + python("t", "c", "t", "Scaled", "0.5") + conv % ("d", "t", "d")
    )
    plain = net(text + conv % ("c", "data", "c") + conv % ("d", "c", "d"))
    made.params["c"][0].data[...] *= 2
    made.params["c"][1].data[...] *= 2
    given = rand(1, 1, 2, 5, 5)
    close(made.forward(data=given)["d"], plain.forward(data=given)["d"])
    close(made.backward(d=np.ones((1, 2, 1, 1)))["data"], plain.backward(d=np.ones((1, 2, 1, 1)))["data"])
