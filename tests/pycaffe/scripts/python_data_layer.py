"""A data layer in Python with shuffled minibatches and YAML parameters, as Fast R-CNN has one."""
import numpy as np

import caffe


class RoIDataLayer(caffe.Layer):

    def _shuffle_roidb_inds(self):
        self._perm = self._rng.permutation(np.arange(len(self._roidb)))
        self._cur = 0

    def _get_next_minibatch_inds(self):
        if self._cur + self._ims_per_batch >= len(self._roidb):
            self._shuffle_roidb_inds()
        db_inds = self._perm[self._cur:self._cur + self._ims_per_batch]
        self._cur += self._ims_per_batch
        return db_inds

    def _get_next_minibatch(self):
        some = [self._roidb[i] for i in self._get_next_minibatch_inds()]
        height = max(each['image'].shape[1] for each in some)
        width = max(each['image'].shape[2] for each in some)
        data = np.zeros((len(some), 3, height, width), np.float32)
        for i, each in enumerate(some):
            data[i, :, :each['image'].shape[1], :each['image'].shape[2]] = each['image']
        rois = np.vstack([np.hstack([np.full((len(each['rois']), 1), i), each['rois']]) for i, each in enumerate(some)])
        labels = np.hstack([each['labels'] for each in some])
        return {'data': data, 'rois': rois, 'labels': labels}

    def setup(self, bottom, top):
        layer_params = dict(item.split(':') for item in self.param_str.strip('{}').replace("'", '').replace(' ', '').split(','))
        self._num_classes = int(layer_params['num_classes'])
        self._ims_per_batch = int(layer_params['ims'])
        self._rng = np.random.RandomState(3)
        self._name_to_top_map = {'data': 0, 'rois': 1, 'labels': 2}
        self._roidb = []
        for i in range(7):
            image = self._rng.rand(3, 12 + i, 20 - i).astype(np.float32)
            rois = np.array([[1, 2, 6, 7 + j] for j in range(i % 3 + 1)], np.float32)
            self._roidb.append({'image': image, 'rois': rois, 'labels': self._rng.randint(self._num_classes, size=len(rois))})
        self._shuffle_roidb_inds()
        top[0].reshape(1, 3, 12, 12)
        top[1].reshape(1, 5)
        top[2].reshape(1)

    def forward(self, bottom, top):
        blobs = self._get_next_minibatch()
        for blob_name, blob in blobs.items():
            top_ind = self._name_to_top_map[blob_name]
            top[top_ind].reshape(*(blob.shape))
            top[top_ind].data[...] = blob.astype(np.float32, copy=False)

    def backward(self, top, propagate_down, bottom):
        pass

    def reshape(self, bottom, top):
        pass


if __name__ == '__main__':
    with open('rcnn.prototxt', 'w') as f:
        f.write('''name: "rcnn"
layer { name: 'data' type: 'Python' top: 'data' top: 'rois' top: 'labels'
  python_param { module: 'python_data_layer' layer: 'RoIDataLayer' param_str: "{'num_classes': 4, 'ims': 2}" } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "mean" type: "Pooling" bottom: "conv1" top: "mean" pooling_param { pool: AVE global_pooling: true } }
layer { name: "silence" type: "Silence" bottom: "rois" bottom: "labels" }
layer { name: "score" type: "InnerProduct" bottom: "mean" top: "score" inner_product_param { num_output: 4
  weight_filler { type: "xavier" } } }
''')
    net = caffe.Net('rcnn.prototxt', caffe.TRAIN)
    rng = np.random.RandomState(1)
    for name in net.params:
        for b in net.params[name]:
            b.data[...] = rng.uniform(-1, 1, b.data.shape)
    scores, shapes, rois = [], [], []
    for i in range(6):
        net.forward()
        scores.append(net.blobs['score'].data.copy())
        shapes.append(net.blobs['data'].data.shape)
        rois.append(net.blobs['rois'].data.sum())
    print(shapes)
    np.savez('result.npz', scores=scores, shapes=shapes, rois=rois)
