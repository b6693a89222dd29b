"""Features of all images of a folder, in batches, into one array."""
import os

import numpy as np

import caffe


def chunks(items, size):
    return [items[i:i + size] for i in range(0, len(items), size)]


def extract(folder, layers=('pool1', 'fc1'), batch=3):
    net = caffe.Net('deploy.prototxt', caffe.TEST, weights='model.caffemodel')
    transformer = caffe.io.Transformer({'data': net.blobs['data'].data.shape})
    transformer.set_transpose('data', (2, 0, 1))
    transformer.set_mean('data', np.load('mean.npy'))
    transformer.set_channel_swap('data', (2, 1, 0))
    transformer.set_raw_scale('data', 255)
    names = sorted(n for n in os.listdir(folder) if n.endswith('.png'))
    found = {layer: [] for layer in layers}
    for some in chunks(names, batch):
        net.blobs['data'].reshape(len(some), *net.blobs['data'].data.shape[1:])
        for i, name in enumerate(some):
            net.blobs['data'].data[i] = transformer.preprocess('data', caffe.io.load_image(os.path.join(folder, name)))
        net.forward()
        for layer in layers:
            found[layer].append(net.blobs[layer].data.reshape(len(some), -1).copy())
    return names, {layer: np.concatenate(parts) for layer, parts in found.items()}


if __name__ == '__main__':
    names, features = extract('images')
    for layer, array in features.items():
        print(layer, array.shape)
    np.savez('result.npz', **features)
