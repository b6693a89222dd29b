"""netbuilder: convolutional networks for Caffe, with every shape known as soon as a layer is added.

>>> from netbuilder import Net, counts
>>> net = Net("tiny", phase="TEST")
>>> x = net.add("Input", name="data", shape={"dim": [1, 3, 8, 8]})
>>> x = net.add("Convolution", x, name="conv", num_output=4, kernel_size=3)
>>> counts.count(net).macs
3888
"""

from netbuilder import checks, counts, prototxt
from netbuilder._version import __version__
from netbuilder.net import Blob, Layer, Net

__all__ = ["Blob", "Layer", "Net", "__version__", "checks", "counts", "prototxt"]
