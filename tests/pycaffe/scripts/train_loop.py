"""Train by solver.step(1), and test by hand, as the notebook 01-learning-lenet does."""
import numpy as np

import caffe

caffe.set_mode_cpu()
solver = caffe.SGDSolver('solver.prototxt')
solver.net.copy_from('train.caffemodel')
solver.test_nets[0].share_with(solver.net)
for k, v in solver.net.blobs.items():
    print(k, v.data.shape)

niter, test_interval = 12, 4
train_loss = np.zeros(niter)
test_acc = np.zeros(int(np.ceil(niter / float(test_interval))))
output = np.zeros((niter, 5, 4))
updates = []

for it in range(niter):
    solver.step(1)
    train_loss[it] = solver.net.blobs['loss'].data
    solver.test_nets[0].forward(start='conv1')
    output[it] = solver.test_nets[0].blobs['score'].data[:5]
    updates.append(np.abs(solver.net.params['conv1'][0].diff).mean())
    if it % test_interval == 0:
        print('Iteration', it, 'testing...')
        correct = 0
        for test_it in range(5):
            solver.test_nets[0].forward()
            correct += sum(solver.test_nets[0].blobs['score'].data.argmax(1) == solver.test_nets[0].blobs['label'].data)
        test_acc[it // test_interval] = correct / 40.0

solver.net.save('trained.caffemodel')
print(train_loss, test_acc)
np.savez('result.npz', loss=train_loss, accuracy=test_acc, output=output, updates=updates,
         weights=solver.net.params['score'][0].data, iter=solver.iter)
