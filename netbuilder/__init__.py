"""netbuilder: convolutional networks for Caffe, with every shape known as soon as a layer is added.

>>> from netbuilder import Net, counts
>>> net = Net("tiny", phase="TEST")
>>> x = net.add("Input", name="data", shape={"dim": [1, 3, 8, 8]})
>>> x = net.add("Convolution", x, name="conv", num_output=4, kernel_size=3)
>>> counts.count(net).macs
3888
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netbuilder import _moved, prototxt
from netbuilder._version import __version__
from netbuilder.measure import counts
from netbuilder.net import Blob, Layer, Net

if TYPE_CHECKING:
    from netbuilder import checks

__all__ = ["Blob", "Layer", "Net", "__version__", "checks", "counts", "prototxt"]

_moved.install()


def __getattr__(name: str) -> Any:
    # Counting and building a net should not wait for the checks.
    if name == "checks":
        import importlib

        return importlib.import_module("netbuilder.checks")
    raise AttributeError(f"module 'netbuilder' has no attribute {name!r}")
