"""LeNet by NetSpec, written, trained a little, and read again."""
import numpy as np

import caffe
from caffe import layers as L, params as P


def lenet(lmdb, batch_size):
    n = caffe.NetSpec()
    n.data, n.label = L.Data(batch_size=batch_size, backend=P.Data.LMDB, source=lmdb,
                             transform_param=dict(scale=1. / 255), ntop=2)
    n.conv1 = L.Convolution(n.data, kernel_size=5, num_output=6, weight_filler=dict(type='xavier'))
    n.pool1 = L.Pooling(n.conv1, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.conv2 = L.Convolution(n.pool1, kernel_size=3, num_output=8, weight_filler=dict(type='xavier'))
    n.pool2 = L.Pooling(n.conv2, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.fc1 = L.InnerProduct(n.pool2, num_output=20, weight_filler=dict(type='xavier'))
    n.relu1 = L.ReLU(n.fc1, in_place=True)
    n.score = L.InnerProduct(n.relu1, num_output=4, weight_filler=dict(type='xavier'))
    n.loss = L.SoftmaxWithLoss(n.score, n.label)
    return n.to_proto()


with open('lenet_auto_train.prototxt', 'w') as f:
    f.write(str(lenet('db', 8)))
with open('lenet_auto_test.prototxt', 'w') as f:
    f.write(str(lenet('db', 10)))
with open('auto_solver.prototxt', 'w') as f:
    f.write('''train_net: "lenet_auto_train.prototxt" test_net: "lenet_auto_test.prototxt"
test_iter: 2 test_interval: 5 base_lr: 0.01 momentum: 0.9 weight_decay: 0.0005
lr_policy: "inv" gamma: 0.0001 power: 0.75 display: 5 max_iter: 10 snapshot: 5 snapshot_prefix: "lenet"
''')

solver = None
solver = caffe.get_solver('auto_solver.prototxt')
rng = np.random.RandomState(7)
for name in solver.net.params:
    for b in solver.net.params[name]:
        b.data[...] = rng.uniform(-0.3, 0.3, b.data.shape)
solver.net.forward()
solver.test_nets[0].forward()
first = solver.net.blobs['data'].data[:, 0].copy()
solver.solve()
net = caffe.Net('lenet_auto_test.prototxt', 'lenet_iter_10.caffemodel', caffe.TEST)
net.forward()
np.savez('result.npz', first=first, labels=solver.net.blobs['label'].data, loss=net.blobs['loss'].data,
         score=net.blobs['score'].data, weights=net.params['fc1'][0].data)
