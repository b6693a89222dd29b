"""Fine-tune a model: its last layer has another name, and learns faster."""
import numpy as np

import caffe

niter = 8
text = open('train.prototxt').read().replace('name: "score"', 'name: "score_flickr"').replace(
    'top: "score"', 'top: "score_flickr"').replace('bottom: "score"', 'bottom: "score_flickr"')
at = text.index('name: "score_flickr"')
text = text[:at] + 'param { lr_mult: 10 decay_mult: 1 } param { lr_mult: 20 decay_mult: 0 } ' + text[at:]
with open('tune.prototxt', 'w') as f:
    f.write(text)
with open('tune_solver.prototxt', 'w') as f:
    f.write('net: "tune.prototxt" base_lr: 0.001 lr_policy: "step" gamma: 0.1 stepsize: 4 momentum: 0.9 '
            'weight_decay: 0.0005 max_iter: 100 snapshot_prefix: "tune" type: "SGD" test_iter: 1 test_interval: 4')


def run_solvers(niter, solvers, disp_interval=4):
    blobs = ('loss', 'acc')
    loss = {name: np.zeros(niter) for name, _ in solvers}
    for it in range(niter):
        for name, s in solvers:
            s.step(1)
            loss[name][it] = s.net.blobs['loss'].data.copy()
        if it % disp_interval == 0 or it + 1 == niter:
            print('; '.join('%s: loss=%.3f' % (n, loss[n][it]) for n, _ in solvers), blobs)
    return loss


solver = caffe.get_solver('tune_solver.prototxt')
solver.net.copy_from('train.caffemodel')
scratch = caffe.get_solver('tune_solver.prototxt')
rng = np.random.RandomState(5)
for s in (solver, scratch):
    for i, b in enumerate(s.net.params['score_flickr']):
        b.data[...] = np.random.RandomState(i).uniform(-0.2, 0.2, b.data.shape)
for name in scratch.net.params:
    if name != 'score_flickr':
        for b in scratch.net.params[name]:
            b.data[...] = rng.uniform(-0.2, 0.2, b.data.shape)
loss = run_solvers(niter, [('pretrained', solver), ('scratch', scratch)])
test_net = caffe.Net('tune.prototxt', caffe.TEST)
test_net.share_with(solver.net)
accuracy = 0
for it in range(5):
    accuracy += test_net.forward()['acc'] / 5
solver.net.save('tuned.caffemodel')
np.savez('result.npz', accuracy=accuracy, conv=solver.net.params['conv1'][0].data,
         score=solver.net.params['score_flickr'][0].data, **loss)
