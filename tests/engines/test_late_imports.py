"""Caffe's Python starts without SciPy and scikit-image, which come when they are called."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from netbuilder.engines.caffe import Caffe, _late_imports
from netbuilder.engines.caffe._late_imports import LATE, late_imports
from netbuilder.engines.caffe.install import environment

CODE = """
with late_imports():
    import caffe
assert not {"scipy", "skimage", "pkg_resources", "caffe.io", "caffe.proto.caffe_pb2"} & set(sys.modules)
assert (caffe.TRAIN, caffe.TEST) == (0, 1)
import numpy as np
from caffe import layers, io, Classifier
assert issubclass(Classifier, caffe.Net) and caffe.io is io
# What io imports by name, and by module.
resized = io.resize_image(np.random.rand(4, 4, 1).astype(np.float32), (8, 8))
assert resized.shape == (8, 8, 1), resized.shape
assert io.resize_image(np.random.rand(4, 4, 2).astype(np.float32), (8, 8)).shape == (8, 8, 2)
import skimage.io
import os, tempfile
folder = tempfile.mkdtemp()
skimage.io.imsave(folder + "/a.png", np.full((5, 6, 3), 128, np.uint8))
assert io.skimage.img_as_float(io.skimage.io.imread(folder + "/a.png")).shape == (5, 6, 3)  # as load_image
import pkg_resources
print(str(layers.DummyData(shape=[dict(dim=[1])]).to_proto())[:5])
"""


def test_caffe_io_works_as_before(real_caffe: Caffe) -> None:
    source = Path(_late_imports.__file__).read_text()
    command = [
        *real_caffe.install.command,
        "-B",
        "-W",
        "ignore",
        "-c",
        source + CODE,
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(real_caffe.install))
    assert (done.returncode, done.stdout) == (0, "layer\n"), done.stderr


def test_a_module_that_is_there_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LATE:
        monkeypatch.delitem(sys.modules, name, raising=False)
    there = type(sys)("scipy")
    monkeypatch.setitem(sys.modules, "scipy", there)
    with late_imports():
        assert sys.modules["scipy"] is there
        found = importlib.import_module("skimage.io")
        assert found is sys.modules["skimage"].io
    assert sys.modules["scipy"] is there
    assert "skimage" not in sys.modules
