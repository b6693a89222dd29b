"""Inner product layers cast into convolutions, as the notebook net_surgery does."""
import numpy as np

import caffe

net = caffe.Net('deploy.prototxt', 'model.caffemodel', caffe.TEST)
params = ['fc1', 'fc2']
fc_params = {pr: (net.params[pr][0].data, net.params[pr][1].data) for pr in params}
for fc in params:
    print('{} weights are {} dimensional and biases are {} dimensional'.format(
        fc, fc_params[fc][0].shape, fc_params[fc][1].shape))

with open('deploy.prototxt') as f:
    text = f.read()
text = text.replace('dim: 16 dim: 16', 'dim: 24 dim: 28')
for name, size in (('fc1', 7), ('fc2', 1)):
    at = text.index('name: "%s"' % name)
    head, tail = text[:at], text[at:]
    tail = tail.replace('"%s"' % name, '"%s-conv"' % name)
    tail = tail.replace('InnerProduct', 'Convolution', 1).replace(
        'inner_product_param {', 'convolution_param { kernel_size: %d' % size, 1)
    text = head + tail
with open('full_conv.prototxt', 'w') as f:
    f.write(text)

net_full_conv = caffe.Net('full_conv.prototxt', 'model.caffemodel', caffe.TEST)
params_full_conv = ['fc1-conv', 'fc2-conv']
conv_params = {pr: (net_full_conv.params[pr][0].data, net_full_conv.params[pr][1].data) for pr in params_full_conv}
for pr, pr_conv in zip(params, params_full_conv):
    conv_params[pr_conv][0].flat = fc_params[pr][0].flat
    conv_params[pr_conv][1][...] = fc_params[pr][1]
net_full_conv.save('full_conv.caffemodel')

im = caffe.io.load_image('images/1.png')
im = caffe.io.resize_image(im, (24, 28))
transformer = caffe.io.Transformer({'data': net_full_conv.blobs['data'].data.shape})
transformer.set_mean('data', np.load('mean.npy').mean(1).mean(1))
transformer.set_transpose('data', (2, 0, 1))
transformer.set_channel_swap('data', (2, 1, 0))
transformer.set_raw_scale('data', 255.0)
out = net_full_conv.forward_all(data=np.asarray([transformer.preprocess('data', im)]))
print(out['prob'][0].argmax(axis=0))

again = caffe.Net('full_conv.prototxt', 'full_conv.caffemodel', caffe.TEST)
same = again.forward_all(data=np.asarray([transformer.preprocess('data', im)]))
np.savez('result.npz', prob=out['prob'], again=same['prob'], weights=again.params['fc1-conv'][0].data)
