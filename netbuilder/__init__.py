"""netbuilder: convolutional networks for Caffe, with every shape known as soon as a layer is added.

>>> from netbuilder import Net, counts
>>> net = Net("tiny", phase="TEST")
>>> x = net.add("Input", name="data", shape={"dim": [1, 3, 8, 8]})
>>> x = net.add("Convolution", x, name="conv", num_output=4, kernel_size=3)
>>> counts.count(net).macs
3888
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netbuilder import _moved
from netbuilder._version import __version__

if TYPE_CHECKING:
    from netbuilder import checks, prototxt
    from netbuilder.measure import counts
    from netbuilder.net import Blob, Layer, Net

__all__ = ["Blob", "Layer", "Net", "__version__", "checks", "counts", "prototxt"]

_moved.install()

# Imported when first used: `netbuilder --version` needs none of them, a build no checks.
_MODULES = {
    "checks": "netbuilder.checks",
    "counts": "netbuilder.measure.counts",
    "prototxt": "netbuilder.prototxt",
}
_OF_NET = ("Blob", "Layer", "Net")


def __getattr__(name: str) -> object:
    import importlib

    if name in _MODULES:
        value: object = importlib.import_module(_MODULES[name])
    elif name in _OF_NET:
        value = getattr(importlib.import_module("netbuilder.net"), name)
    else:
        raise AttributeError(f"module 'netbuilder' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
