"""Classify images with a mean file, as the notebook 00-classification does."""
import sys

import numpy as np

import caffe

caffe.set_mode_cpu()

blob = caffe.proto.caffe_pb2.BlobProto()
with open('mean.binaryproto', 'rb') as f:
    blob.ParseFromString(f.read())
mu = np.array(caffe.io.blobproto_to_array(blob))[0].mean(1).mean(1)

net = caffe.Net('deploy.prototxt', 'model.caffemodel', caffe.TEST)

transformer = caffe.io.Transformer({'data': net.blobs['data'].data.shape})
transformer.set_transpose('data', (2, 0, 1))
transformer.set_mean('data', mu)
transformer.set_raw_scale('data', 255)
transformer.set_channel_swap('data', (2, 1, 0))

net.blobs['data'].reshape(1, 3, 16, 16)

probabilities, features = [], []
for name in ['images/0.png', 'images/1.png', 'images/2.png'][:int(sys.argv[1]) if len(sys.argv) > 1 else 3]:
    image = caffe.io.load_image(name)
    net.blobs['data'].data[...] = transformer.preprocess('data', image)
    output = net.forward()
    output_prob = output['prob'][0]
    print('predicted class is:', output_prob.argmax())
    top_inds = output_prob.argsort()[::-1][:3]
    print(list(zip(output_prob[top_inds], top_inds)))
    probabilities.append(output_prob.copy())

for layer_name, blob in net.blobs.items():
    print(layer_name + '\t' + str(blob.data.shape))
    features.append(blob.data.sum())
for layer_name, param in net.params.items():
    print(layer_name + '\t' + str(param[0].data.shape), str(param[1].data.shape))

np.savez('result.npz', probabilities=probabilities, features=features,
         filters=net.params['conv1'][0].data, fc=net.blobs['fc2'].data)
