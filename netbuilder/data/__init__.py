"""Databases of images as Caffe's own tools write them: made, read and shown.

`images` decodes images with the arithmetic of Caffe's OpenCV, `datum` packs them, `output` and `writer` put
them into an LMDB that gets its name only once complete; `netbuilder.storage.lmdb_file` reads any LMDB.
`convert` does what convert_imageset does, `mean` what compute_image_mean does, and `cifar10` and `mnist`
what convert_cifar_data and convert_mnist_data do, from npm packages. See docs/data.md.
"""
