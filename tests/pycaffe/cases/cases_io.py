"""io, Classifier, Detector, coord_map, and the package's functions. What cases return is equal on both."""

import binascii
import time

import caffe
import numpy as np
from caffe import coord_map as cm
from caffe import layers as L
from caffe import params as P
from caffe.proto import caffe_pb2
from helping import close, net, raises, rand, write


def exact(*arrays):
    """The bytes of arrays."""
    return [
        [str(a.dtype), list(a.shape), binascii.hexlify(np.ascontiguousarray(a).tobytes()).decode()]
        for a in arrays
    ]


def near(*arrays):
    """The numbers of arrays, which may differ by rounding: a resized pixel of float32 may lie between two."""
    return [[str(a.dtype), list(a.shape), [float(x) for x in np.ravel(a)]] for a in arrays]


def image(seed, h, w, c=3):
    return np.random.RandomState(seed).rand(h, w, c).astype(np.float32)


def transformer(*words):
    made = caffe.io.Transformer({"data": (1, 3, 5, 6)})
    if "transpose" in words:
        made.set_transpose("data", (2, 0, 1))
    if "swap" in words:
        made.set_channel_swap("data", (2, 1, 0))
    if "raw" in words:
        made.set_raw_scale("data", 255)
    if "mean" in words:
        made.set_mean("data", np.array([104.0, 116.67, 122.7]))
    if "scale" in words:
        made.set_input_scale("data", 0.017)
    return made


def case_preprocess():
    found = []
    for words in (
        "transpose",
        "transpose swap",
        "transpose raw",
        "transpose swap raw mean",
        "transpose raw mean scale",
    ):
        found.append(transformer(*words.split()).preprocess("data", image(1, 5, 6)))
    return exact(*found)


def case_preprocess_and_resize():
    made = transformer("transpose", "swap", "raw", "mean", "scale")
    sizes = ((10, 12), (3, 4), (5, 9), (7, 6))
    return near(*(made.preprocess("data", image(i, h, w)) for i, (h, w) in enumerate(sizes)))


def case_preprocess_of_other_types():
    made = transformer("transpose", "swap", "raw", "mean")
    given = (image(1, 5, 6) * 255).astype(np.uint8)
    return exact(made.preprocess("data", given), made.preprocess("data", image(1, 5, 6).astype(np.float64)))


def case_preprocess_changes_float32_where_it_is():
    made = transformer("transpose", "raw")
    given = image(1, 5, 6)
    before = given.copy()
    out = made.preprocess("data", given)
    assert np.shares_memory(out, given)
    close(given, before * 255)


def case_deprocess():
    made = transformer("transpose", "swap", "raw", "mean", "scale")
    out = made.preprocess("data", image(1, 5, 6))
    back = made.deprocess("data", out)
    close(back, image(1, 5, 6), 1e-5)
    return exact(back)


def case_a_mean_image():
    made = caffe.io.Transformer({"data": (1, 3, 5, 6)})
    made.set_transpose("data", (2, 0, 1))
    made.set_mean("data", image(3, 5, 6).transpose(2, 0, 1))
    same = made.preprocess("data", image(1, 5, 6))
    made.set_mean("data", 200 * image(4, 8, 9).transpose(2, 0, 1))
    return exact(same) + near(made.mean["data"], made.preprocess("data", image(1, 5, 6)))


def case_a_mean_of_numpy_floats():
    made = transformer("transpose")
    made.set_raw_scale("data", np.float64(255))
    made.set_mean("data", np.array([104, 117, 123], np.float32))
    made.set_input_scale("data", np.float32(0.1))
    return exact(made.preprocess("data", image(1, 5, 6)))


def case_wrong_settings():
    made = transformer()
    error = raises(Exception, made.set_mean, "image", np.zeros(3))
    assert "is not one of the net inputs" in str(error)
    raises(Exception, made.preprocess, "image", image(1, 5, 6))
    raises(Exception, made.set_transpose, "data", (0, 1))
    raises(Exception, made.set_channel_swap, "data", (0, 1))
    raises(ValueError, made.set_mean, "data", np.zeros(2))
    raises(ValueError, made.set_mean, "data", np.zeros((1, 3, 5, 6)))


def case_resize_image():
    found, double = [], []
    for size in ((3, 4), (14, 18), (7, 9), (5, 20), (1, 1), (1, 5)):
        for channels in (1, 3):
            found.append(caffe.io.resize_image(image(2, 7, 9, channels), size))
        double.append(caffe.io.resize_image(np.random.RandomState(3).rand(7, 9, 3), size))
        double.append(caffe.io.resize_image(image(2, 7, 9, 5), size))
    return near(*found) + exact(*double)


def case_resize_image_by_other_orders():
    return exact(
        *(
            caffe.io.resize_image(image(2, 7, 9), size, order)
            for size in ((3, 4), (14, 18))
            for order in (0, 3)
        )
    )


def case_resize_of_one_colour():
    out = caffe.io.resize_image(np.full((4, 5, 3), 3.5), (2, 2))
    assert out.dtype == np.float32 and out.shape == (2, 2, 3) and (out == 3.5).all()


def case_oversample():
    images = [image(1, 9, 8), image(2, 9, 8)]
    out = caffe.io.oversample(images, (4, 5))
    assert out.shape == (20, 4, 5, 3)
    close(out[0], images[0][:4, :5], 0)
    close(out[5], images[0][:4, :5][:, ::-1], 0)
    close(out[18], images[1][5:, 3:][:, ::-1], 0)
    return exact(out, caffe.io.oversample(images, np.array([5, 5])))


def case_load_image():
    from PIL import Image

    values = (image(5, 6, 7) * 255).astype(np.uint8)
    Image.fromarray(values).save("rgb.png")
    Image.fromarray(values[:, :, 0]).save("gray.png")
    Image.fromarray(np.dstack([values, values[:, :, :1]])).save("rgba.png")
    found = [caffe.io.load_image("rgb.png"), caffe.io.load_image("gray.png"), caffe.io.load_image("rgba.png")]
    found += [caffe.io.load_image("gray.png", False)]
    assert [each.shape for each in found] == [(6, 7, 3)] * 3 + [(6, 7, 1)]
    close(found[0], values / 255.0, 1e-7)
    gray = caffe.io.load_image("rgb.png", color=False)
    assert gray.shape == (6, 7, 1) and gray.dtype == np.float32
    close(gray[:, :, 0], values.dot([0.2125, 0.7154, 0.0721]) / 255, 1e-6)
    raises(IOError, caffe.io.load_image, "nothing.png")
    return exact(*found)


def case_blobprotos():
    array = rand(1, 2, 3, 4)
    proto = caffe.io.array_to_blobproto(array, -array)
    close(caffe.io.blobproto_to_array(proto), array)
    close(caffe.io.blobproto_to_array(proto, True), -array)
    assert list(proto.shape.dim) == [2, 3, 4]
    old = caffe_pb2.BlobProto(num=1, channels=1, height=2, width=2, data=[1, 2, 3, 4])
    assert caffe.io.blobproto_to_array(old).shape == (1, 1, 2, 2)
    assert caffe.io.blobproto_to_array(caffe_pb2.BlobProto(data=[123])) == 123
    raises(ValueError, caffe.io.blobproto_to_array, caffe_pb2.BlobProto(data=[1, 2]))


def case_vectors_of_blobprotos():
    text = caffe.io.arraylist_to_blobprotovector_str([rand(1, 2, 3), rand(2, 4)])
    assert isinstance(text, bytes)
    found = caffe.io.blobprotovector_str_to_arraylist(text)
    close(found[0], rand(1, 2, 3))
    close(found[1], rand(2, 4))
    return binascii.hexlify(text).decode()


def case_datums():
    array = np.arange(24).reshape(2, 3, 4)
    for given in (array.astype(np.uint8), array.astype(np.float32) / 3):
        datum = caffe.io.array_to_datum(given, 7)
        assert datum.label == 7 and (datum.channels, datum.height, datum.width) == (2, 3, 4)
        close(caffe.io.datum_to_array(datum), given.astype(np.float64))
    assert caffe.io.datum_to_array(caffe.io.array_to_datum(array.astype(np.uint8))).dtype == np.uint8
    without, with_label = caffe.io.array_to_datum(array), caffe.io.array_to_datum(array, label=1)
    assert len(with_label.SerializeToString()) > len(without.SerializeToString())
    raises(ValueError, caffe.io.array_to_datum, array[0])


def case_a_mean_file():
    proto = caffe.io.array_to_blobproto(rand(1, 1, 3, 4, 4))
    with open("mean.binaryproto", "wb") as file:
        file.write(proto.SerializeToString())
    with open("mean.binaryproto", "rb") as file:
        again = caffe_pb2.BlobProto.FromString(file.read())
    close(caffe.io.blobproto_to_array(again)[0], rand(1, 3, 4, 4))


DEPLOY = """input: "data" input_shape { dim: 10 dim: 3 dim: 6 dim: 5 }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip" inner_product_param { num_output: 5 } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }
"""


def classifier(**named):
    net(DEPLOY).save("x.caffemodel")
    return caffe.Classifier("net.prototxt", "x.caffemodel", **named)


def case_classifier():
    made = classifier(
        image_dims=(9, 8),
        mean=np.array([100.0, 110, 120]),
        raw_scale=255,
        channel_swap=(2, 1, 0),
        input_scale=0.01,
    )
    images = [image(1, 12, 14), image(2, 9, 8), image(3, 5, 5)]
    out = made.predict(images)
    assert out.shape == (3, 5)
    close(out.sum(1), np.ones(3))
    centre = made.predict(images, oversample=False)
    assert centre.shape == (3, 5)
    return near(out, centre)


def case_classifier_without_settings():
    made = classifier()
    assert list(made.crop_dims) == [6, 5] and list(made.image_dims) == [6, 5]
    assert isinstance(made, caffe.Net)
    return near(made.predict([image(1, 6, 5)], False), made.predict([image(1, 7, 5)]))


def case_classifier_with_a_mean_image():
    made = classifier(image_dims=[8, 8], mean=100 * image(9, 6, 5).transpose(2, 0, 1), raw_scale=255)
    return near(made.predict([image(1, 8, 8), image(2, 10, 9)]))


def case_detector():
    from PIL import Image

    for i in range(2):
        Image.fromarray((image(i, 20, 24) * 255).astype(np.uint8)).save("%d.png" % i)
    net(DEPLOY).save("x.caffemodel")
    made = caffe.Detector(
        "net.prototxt",
        "x.caffemodel",
        mean=np.array([100.0, 110, 120]),
        raw_scale=255,
        channel_swap=(2, 1, 0),
    )
    windows = [np.array([2, 3, 12, 9]), np.array([0, 0, 20, 24])]
    found = made.detect_windows([("0.png", windows), ("1.png", windows[:1])])
    assert [each["filename"] for each in found] == ["0.png", "0.png", "1.png"]
    assert list(found[1]["window"]) == [0, 0, 20, 24]
    return near(*(each["prediction"] for each in found))


def spec():
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[2, 1, 100, 100]))
    n.conv = L.Convolution(n.data, num_output=10, kernel_size=3, stride=2, pad=1)
    n.pool = L.Pooling(n.conv, pool=P.Pooling.MAX, kernel_size=2, stride=2)
    n.relu = L.ReLU(n.pool)
    n.up = L.Deconvolution(n.relu, convolution_param=dict(num_output=10, kernel_size=7, stride=4, pad=0))
    return n


def plain(found):
    return [found[0]] + [[float(x) for x in np.atleast_1d(each)] for each in found[1:]]


def case_maps_of_coordinates():
    n = spec()
    found = [plain(cm.coord_map(n[name].fn)) for name in ("conv", "pool", "relu", "up")]
    found += [
        plain(cm.coord_map_from_to(n[a], n[b])) for a in ("conv", "pool", "up") for b in ("data", "conv")
    ]
    return found


def case_crop_by_maps():
    n = spec()
    n.crop = cm.crop(n.up, n.data)
    params = n.crop.fn.params["crop_param"]
    assert n.crop.fn.type_name == "Crop"
    made = caffe.Net(write("net.prototxt", str(n.to_proto())), caffe.TEST)
    assert made.blobs["crop"].data.shape == (2, 10, 100, 100)
    return [int(params["axis"]), [int(x) for x in params["offset"]]]


def case_maps_that_are_not():
    n = spec()
    n.ip = L.InnerProduct(n.up, num_output=3)
    n.apart = L.Input(shape=dict(dim=[2, 1, 20, 20]))
    raises(RuntimeError, cm.coord_map_from_to, n.ip, n.data)
    raises(RuntimeError, cm.coord_map_from_to, n.apart, n.data)
    raises(AssertionError, cm.crop, n.pool, n.data)
    raises(cm.UndefinedMapException, cm.coord_map, n.ip.fn)
    raises(cm.AxisMismatchException, cm.compose, (1, 2, 0), (2, 3, 1))
    n.pad = L.Deconvolution(n.relu, convolution_param=dict(num_output=10, kernel_size=8, stride=4, pad=20))
    raises(AssertionError, cm.crop, n.pad, n.data)


def case_composed_maps():
    return [
        plain(cm.compose((1, 2.0, 3.0), (None, 1, 0))),
        plain(cm.compose((1, 2.0, 3.0), (1, 4.0, 5.0))),
        plain(cm.inverse((1, 2.0, 3.0))),
    ]


def case_layer_types():
    types = list(caffe.layer_type_list())
    for name in ("Data", "Convolution", "InnerProduct", "Python", "LSTM", "Crop", "Parameter"):
        assert name in types
        assert name in caffe.layer_type_list()


def case_modes():
    caffe.set_mode_cpu()
    assert caffe.solver_count() == 1
    assert caffe.solver_rank() == 0
    assert caffe.has_nccl() is False
    assert caffe.__version__ == "1.0.0"


def case_logs():
    caffe.init_log()
    caffe.log("a line")


def case_a_timer():
    timer = caffe.Timer()
    timer.start()
    time.sleep(0.02)
    timer.stop()
    assert 15 < timer.ms < 2000
