"""Gradient ascent on the activations of a layer, over octaves, as deep dream does."""
import numpy as np
from PIL import Image

import caffe

text = open('deploy.prototxt').read()
with open('dream.prototxt', 'w') as f:
    f.write('force_backward: true\n' + text)
net = caffe.Classifier('dream.prototxt', 'model.caffemodel',
                       mean=np.float32([104.0, 116.0, 122.0]), channel_swap=(2, 1, 0))


def preprocess(net, img):
    return np.float32(np.rollaxis(img, 2)[::-1]) - net.transformer.mean['data']


def deprocess(net, img):
    return np.dstack((img + net.transformer.mean['data'])[::-1])


def objective_L2(dst):
    dst.diff[:] = dst.data


def make_step(net, step_size=1.5, end='pool1', jitter=2, clip=True, objective=objective_L2):
    src = net.blobs['data']
    dst = net.blobs[end]
    ox, oy = np.random.randint(-jitter, jitter + 1, 2)
    src.data[0] = np.roll(np.roll(src.data[0], ox, -1), oy, -2)
    net.forward(end=end)
    objective(dst)
    net.backward(start=end)
    g = src.diff[0]
    src.data[:] += step_size / np.abs(g).mean() * g
    src.data[0] = np.roll(np.roll(src.data[0], -ox, -1), -oy, -2)
    if clip:
        bias = net.transformer.mean['data']
        src.data[:] = np.clip(src.data, -bias, 255 - bias)


def zoom(x, h, w):
    rows = (np.arange(h) * x.shape[-2] // h)[:, None]
    return x[..., rows, np.arange(w) * x.shape[-1] // w]


np.random.seed(0)
img = np.float32(Image.open('images/0.png'))[:16, :16]
octaves = [preprocess(net, img)]
for i in range(2):
    h, w = octaves[-1].shape[-2:]
    octaves.append(zoom(octaves[-1], int(h / 1.3), int(w / 1.3)))

src = net.blobs['data']
detail = np.zeros_like(octaves[-1])
for octave, octave_base in enumerate(octaves[::-1]):
    h, w = octave_base.shape[-2:]
    if octave > 0:
        detail = zoom(detail, h, w)
    src.reshape(1, 3, h, w)
    src.data[0] = octave_base + detail
    for i in range(4):
        make_step(net)
    detail = src.data[0] - octave_base

np.savez('result.npz', dream=deprocess(net, src.data[0]), gradient=src.diff, detail=detail)
