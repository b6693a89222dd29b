"""NetSpec. The bytes of the protobufs that the cases return are equal on both sides."""

import binascii
import os

import caffe
import numpy as np
from caffe import layers as L
from caffe import params as P
from caffe.proto import caffe_pb2
from helping import raises, write


def bytes_of(proto):
    return binascii.hexlify(proto.SerializeToString()).decode()


def loaded(proto, phase=caffe.TEST):
    return caffe.Net(write("net.prototxt", str(proto)), phase)


def lenet(n, batch=4):
    n.data, n.label = L.DummyData(
        shape=[dict(dim=[batch, 1, 28, 28]), dict(dim=[batch, 1, 1, 1])],
        transform_param=dict(scale=1.0 / 255),
        ntop=2,
    )
    n.conv1 = L.Convolution(n.data, kernel_size=5, num_output=20, weight_filler=dict(type="xavier"))
    n.pool1 = L.Pooling(n.conv1, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.conv2 = L.Convolution(n.pool1, kernel_size=5, num_output=50, weight_filler=dict(type="xavier"))
    n.pool2 = L.Pooling(n.conv2, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.ip1 = L.InnerProduct(n.pool2, num_output=500, weight_filler=dict(type="xavier"))
    n.relu1 = L.ReLU(n.ip1, in_place=True)
    n.ip2 = L.InnerProduct(n.relu1, num_output=10, weight_filler=dict(type="xavier"))
    n.loss = L.SoftmaxWithLoss(n.ip2, n.label)
    return n.to_proto()


def case_lenet():
    proto = lenet(caffe.NetSpec())
    assert list(proto.layer[6].bottom) == list(proto.layer[6].top)
    made = loaded(proto)
    assert len(made.layers) == 9
    assert list(made.blobs)[:2] == ["data", "label"]
    return bytes_of(proto)


def case_automatic_names():
    data, label = L.DummyData(shape=[dict(dim=[2, 1, 8, 8]), dict(dim=[2, 1, 1, 1])], ntop=2)
    conv = L.Convolution(data, kernel_size=3, num_output=2)
    pool = L.Pooling(conv, kernel_size=2, stride=2, pool=P.Pooling.AVE)
    relu = L.ReLU(pool, in_place=True)
    ip = L.InnerProduct(relu, num_output=3)
    other = L.InnerProduct(L.ReLU(ip), num_output=3)
    proto = L.SoftmaxWithLoss(other, label).to_proto()
    assert [layer.name for layer in proto.layer][:3] == ["DummyData1", "Convolution1", "Pooling1"]
    assert len(loaded(proto).layers) == 8
    return bytes_of(proto)


def case_to_proto_of_tops():
    data = L.Input(shape=dict(dim=[1, 2]))
    a, b = L.ReLU(data), L.TanH(data)
    return bytes_of(caffe.to_proto(a, b))


def case_no_tops():
    n = caffe.NetSpec()
    n.data, n.data2 = L.DummyData(shape=dict(dim=3), ntop=2)
    n.silence_data = L.Silence(n.data, ntop=0)
    n.silence_data2 = L.Silence(n.data2, ntop=0)
    proto = n.to_proto()
    assert len(loaded(proto).forward()) == 0
    return bytes_of(proto)


def case_an_input_that_is_not_a_top():
    data = L.DummyData(ntop=2, shape=dict(dim=3))
    error = raises(TypeError, L.Silence, data, ntop=0)
    assert str(error) == "Silence input 0 is not a Top (type is <class 'tuple'>)"
    error = raises(TypeError, L.Eltwise, data[0], 3)
    assert str(error).startswith("Eltwise input 1 is not a Top")
    L.Silence(*data, ntop=0)


def case_fields_of_the_layer():
    n = caffe.NetSpec()
    n.data = L.Input(input_param=dict(shape=dict(dim=[1, 2, 5, 5])))
    n.conv = L.Convolution(
        n.data,
        num_output=3,
        kernel_size=[3, 3],
        param=[dict(lr_mult=1, decay_mult=1), dict(lr_mult=2)],
        loss_weight=0.5,
        propagate_down=False,
        include=dict(phase=caffe_pb2.TEST, stage=["a", "b"]),
        phase=caffe.TEST,
    )
    return bytes_of(n.to_proto())


def case_a_single_value_for_a_list():
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 4, 5, 5]))
    n.a, n.b = L.Slice(n.data, ntop=2, axis=1, slice_point=1)
    n.c = L.Eltwise(n.a, n.a, operation=P.Eltwise.SUM, coeff=[1, -0.5])
    n.d = L.BatchNorm(n.b, param=[dict(lr_mult=0)] * 3, use_global_stats=True)
    n.e = L.Scale(n.d, bias_term=True, in_place=True)
    return bytes_of(n.to_proto())


def case_params_by_their_message():
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 4, 6, 6]))
    n.up = L.Deconvolution(
        n.data, convolution_param=dict(num_output=4, kernel_size=4, stride=2, group=4, bias_term=False)
    )
    n.crop = L.Crop(n.up, n.data, axis=2, offset=1)
    n.py = L.Python(n.crop, module="os", layer="X", param_str=str(dict(a=1)), loss_weight=1)
    n.cont = L.Input(shape=dict(dim=[1, 4]))
    n.lstm = L.LSTM(
        n.data,
        n.cont,
        recurrent_param=dict(num_output=3, weight_filler=dict(type="uniform", min=-0.1, max=0.1)),
    )
    return bytes_of(n.to_proto())


def case_data_layers():
    n = caffe.NetSpec()
    n.data, n.label = L.Data(
        batch_size=8,
        backend=P.Data.LMDB,
        source="db",
        transform_param=dict(crop_size=20, mean_value=[104, 117, 123], mirror=True),
        ntop=2,
    )
    n.image = L.ImageData(source="list.txt", new_height=3, new_width=3)
    n.h5 = L.HDF5Data(source="h5.txt", batch_size=1)
    return bytes_of(n.to_proto())


def case_names_of_several_tops():
    n = caffe.NetSpec()
    n.data, n.label = L.DummyData(shape=[dict(dim=[2, 3]), dict(dim=[2])], ntop=2)
    proto = n.to_proto()
    assert proto.layer[0].name == "data"
    assert list(proto.layer[0].top) == ["data", "label"]
    n["own name"] = L.ReLU(n["data"])
    assert n.to_proto().layer[1].name == "own name"
    assert n["own name"] is n.tops["own name"]
    return bytes_of(n.to_proto())


def case_a_top_under_two_names():
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 2]))
    n.x = L.ReLU(n.data)
    n.y = n.x
    n.z = L.TanH(n.x)
    return bytes_of(n.to_proto())


def case_a_name_given_again():
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 2]))
    n.x = L.ReLU(n.data)
    n.x = L.TanH(n.x)
    return bytes_of(n.to_proto())


def case_only_one_of_two_tops_named():
    n = caffe.NetSpec()
    n.data, _ = L.DummyData(shape=[dict(dim=[2, 3]), dict(dim=[2])], ntop=2)
    n.out = L.ReLU(n.data)
    return bytes_of(n.to_proto())


def case_loops():
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 3, 16, 16]))
    x = n.data
    for i in range(4):
        x = L.ReLU(L.Convolution(x, kernel_size=3, pad=1, num_output=4, bias_term=False), in_place=True)
        setattr(n, "block%d" % i, x)
    n.sum = L.Eltwise(x, n.block0)
    proto = n.to_proto()
    assert len(loaded(proto).params) == 4
    return bytes_of(proto)


def case_unknown_fields():
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 2]))
    n.x = L.ReLU(n.data, slope=3)
    raises(AttributeError, n.to_proto)
    n.x = L.ReLU(n.data, negative_slope="steep")
    raises(TypeError, n.to_proto)


def case_missing_names():
    n = caffe.NetSpec()
    raises((KeyError, AttributeError), lambda: n.nothing)
    raises(KeyError, lambda: n["nothing"])


def case_enums():
    assert P.Pooling.MAX == 0 and P.Pooling.AVE == 1
    assert P.Eltwise.PROD == 0 and P.Data.LMDB == 1
    assert P.Loss.VALID == caffe_pb2.LossParameter.VALID
    raises(AttributeError, lambda: P.Pooling.MOST)
    raises(AttributeError, lambda: P.Nothing.MOST)


def case_the_text():
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 2]))
    n.x = L.Power(n.data, power=2, scale=0.5, shift=-1)
    text = "".join(str(n.to_proto()).split())
    power = "power_param{power:2.0scale:0.5shift:-1.0}}"
    assert text == (
        'layer{name:"data"type:"Input"top:"data"input_param{shape{dim:1dim:2}}}'
        'layer{name:"x"type:"Power"bottom:"data"top:"x"' + power
    ) or text.endswith(power.replace(".0", ""))


def case_two_phases_in_one_file():
    def made(phase):
        n = caffe.NetSpec()
        n.data = L.DummyData(shape=dict(dim=[phase + 1, 2]), include=dict(phase=phase))
        return n

    test = made(caffe.TEST)
    test.out = L.ReLU(test.data)
    text = str(made(caffe.TRAIN).to_proto()) + str(test.to_proto())
    write("net.prototxt", text)
    assert caffe.Net("net.prototxt", caffe.TRAIN).blobs["out"].num == 1
    assert caffe.Net("net.prototxt", caffe.TEST).blobs["out"].num == 2
    return text


def case_trained_from_a_spec():
    n = caffe.NetSpec()
    n.data = L.DummyData(shape=dict(dim=[4, 3]), data_filler=dict(type="gaussian"))
    n.label = L.DummyData(shape=dict(dim=[4]))
    n.ip = L.InnerProduct(n.data, num_output=2, weight_filler=dict(type="xavier"))
    n.loss = L.SoftmaxWithLoss(n.ip, n.label)
    write("net.prototxt", str(n.to_proto()))
    s = caffe_pb2.SolverParameter()
    s.train_net = "net.prototxt"
    s.base_lr = 0.1
    s.lr_policy = "fixed"
    s.max_iter = 30
    s.snapshot_prefix = os.path.join(os.getcwd(), "x")
    s.solver_mode = caffe_pb2.SolverParameter.CPU
    solver = caffe.get_solver(write("solver.prototxt", str(s)))
    solver.step(30)
    assert float(solver.net.blobs["loss"].data) < 0.6


def case_text_format():
    from google.protobuf import text_format

    proto = lenet(caffe.NetSpec())
    again = text_format.Merge(str(proto), caffe_pb2.NetParameter())
    assert again == proto
    assert again.layer[1].convolution_param.kernel_size[0] == 5
    assert text_format.Parse(text_format.MessageToString(again), caffe_pb2.NetParameter()) == proto


def case_messages():
    net = caffe_pb2.NetParameter(name="x", input=["data"], input_dim=[1, 2, 3, 4])
    assert net.input_dim[2] == 3
    assert caffe_pb2.TRAIN == 0 and caffe_pb2.TEST == 1
    layer = net.layer.add()
    layer.type, layer.pooling_param.pool = "Pooling", caffe_pb2.PoolingParameter.AVE
    assert caffe_pb2.PoolingParameter.PoolMethod.Name(layer.pooling_param.pool) == "AVE"
    assert caffe_pb2.Phase.Value("TEST") == 1
    other = caffe_pb2.NetParameter()
    other.ParseFromString(net.SerializeToString())
    assert other == net
    return bytes_of(net)


def case_reading_weights_by_messages():
    proto = lenet(caffe.NetSpec())
    loaded(proto).save("x.caffemodel")
    model = caffe_pb2.NetParameter()
    with open("x.caffemodel", "rb") as file:
        model.ParseFromString(file.read())
    blobs = {
        layer.name: [tuple(blob.shape.dim) for blob in layer.blobs] for layer in model.layer if layer.blobs
    }
    assert blobs["conv1"] == [(20, 1, 5, 5), (20,)]
    assert blobs["ip2"] == [(10, 500), (10,)]
    assert np.isfinite(caffe.io.blobproto_to_array(model.layer[1].blobs[0])).all()
