"""BatchNorm and Scale merged into the convolutions before them, in a net without them."""
import numpy as np

import caffe
from caffe.proto import caffe_pb2
from google.protobuf import text_format

EPS = 1e-5
net = caffe.Net('bn.prototxt', 'bn.caffemodel', caffe.TEST)

proto = caffe_pb2.NetParameter()
text_format.Merge(open('bn.prototxt').read(), proto)
merged = caffe_pb2.NetParameter()
merged.CopyFrom(proto)
del merged.layer[:]
top_of = {}
for layer in proto.layer:
    if layer.type in ('BatchNorm', 'Scale'):
        top_of[layer.top[0]] = top_of.get(layer.bottom[0], layer.bottom[0])
        continue
    new = merged.layer.add()
    new.CopyFrom(layer)
    for i, b in enumerate(new.bottom):
        new.bottom[i] = top_of.get(b, b)
    if layer.type == 'Convolution':
        new.convolution_param.bias_term = True
with open('merged.prototxt', 'w') as f:
    f.write(text_format.MessageToString(merged))

slim = caffe.Net('merged.prototxt', caffe.TEST)
for name in slim.params:
    weights = np.copy(net.params[name][0].data)
    bias = net.params[name][1].data if len(net.params[name]) > 1 else np.zeros(weights.shape[0])
    bn, scale = name.replace('conv', 'bn'), name.replace('conv', 'scale')
    if bn in net.params:
        factor = net.params[bn][2].data[0]
        factor = 0 if factor == 0 else 1.0 / factor
        mean, var = net.params[bn][0].data * factor, net.params[bn][1].data * factor
        gamma, beta = net.params[scale][0].data, net.params[scale][1].data
        rstd = gamma / np.sqrt(var + EPS)
        weights = weights * rstd.reshape(-1, 1, 1, 1)
        bias = (bias - mean) * rstd + beta
    slim.params[name][0].data[...] = weights
    slim.params[name][1].data[...] = bias
slim.save('merged.caffemodel')

data = np.random.RandomState(0).rand(*net.blobs['data'].data.shape)
net.blobs['data'].data[...] = data
slim.blobs['data'].data[...] = data
a = net.forward()[net.outputs[0]]
b = slim.forward()[slim.outputs[0]]
print('largest difference', np.abs(a - b).max())
assert np.abs(a - b).max() < 1e-4
np.savez('result.npz', before=a, after=b, weights=slim.params['conv2'][0].data)
