"""A loss in Python, as examples/pycaffe/layers/pyloss.py has one."""
import numpy as np

import caffe


class EuclideanLossLayer(caffe.Layer):

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
        top[0].data[...] = np.sum(self.diff**2) / bottom[0].num / 2.

    def backward(self, top, propagate_down, bottom):
        for i in range(2):
            if not propagate_down[i]:
                continue
            if i == 0:
                sign = 1
            else:
                sign = -1
            bottom[i].diff[...] = sign * self.diff / bottom[i].num


if __name__ == '__main__':
    with open('linreg.prototxt', 'w') as f:
        f.write('''name: 'LinearRegressionExample'
layer { type: 'DummyData' name: 'x' top: 'x' dummy_data_param { shape: { dim: 10 dim: 3 dim: 2 } } }
layer { type: 'DummyData' name: 'y' top: 'y' dummy_data_param { shape: { dim: 10 dim: 2 } } }
layer { type: 'InnerProduct' name: 'ipx' top: 'ipx' bottom: 'x'
  inner_product_param { num_output: 2 weight_filler { type: 'xavier' } } }
layer { type: 'Python' name: 'loss' top: 'loss' bottom: 'ipx' bottom: 'y'
  python_param { module: 'pyloss' layer: 'EuclideanLossLayer' } loss_weight: 1 }
''')
    with open('linreg_solver.prototxt', 'w') as f:
        f.write('net: "linreg.prototxt" base_lr: 0.05 lr_policy: "fixed" momentum: 0.9 max_iter: 40\n'
                'snapshot_after_train: false')
    solver = caffe.SGDSolver('linreg_solver.prototxt')
    rng = np.random.RandomState(1)
    solver.net.params['ipx'][0].data[...] = rng.randn(2, 6)
    solver.net.blobs['x'].data[...] = rng.randn(10, 3, 2)
    solver.net.blobs['y'].data[...] = rng.randn(10, 2)
    losses = []
    for i in range(20):
        solver.step(1)
        losses.append(float(solver.net.blobs['loss'].data[0]))
    print(losses)
    np.savez('result.npz', losses=losses, weights=solver.net.params['ipx'][0].data,
             diff=solver.net.blobs['ipx'].diff)
