"""`--trust`: the verbs run layers written in Python only where it is given."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netbuilder.cli.main import main
from netbuilder.net import Net
from netbuilder.prototxt import parse
from netbuilder.pycaffe.python_layers import with_python_layers
from netbuilder.weights.write import write_model

LAYERS = """
import caffe


class Times(caffe.Layer):
    def setup(self, bottom, top):
        self.blobs.add_blob(1)
        self.blobs[0].data[...] = 2

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        top[0].data[...] = self.blobs[0].data * bottom[0].data

    def backward(self, top, propagate_down, bottom):
        self.blobs[0].diff[...] += (top[0].diff * bottom[0].data).sum()
        if propagate_down[0]:
            bottom[0].diff[...] = self.blobs[0].data * top[0].diff
"""
NET = """
layer { name: "data" type: "DummyData" top: "data"
  dummy_data_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } data_filler { type: "constant" value: 1 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 2 kernel_size: 3 weight_filler { type: "constant" value: 0.1 } } }
layer { name: "times" type: "Python" bottom: "conv" top: "times"
  python_param { module: "layers_of_verbs" layer: "Times" } }
layer { name: "out" type: "Reduction" bottom: "times" top: "out" loss_weight: 1
  reduction_param { operation: MEAN } }
"""
SOLVER = """net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" max_iter: 2 display: 1 random_seed: 1
snapshot_prefix: "out/x"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that one is in, with a net, its weights, a solver and the module of the layer."""
    import netbuilder.pycaffe as caffe

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    caffe.install(shadow=True)
    for name, text in (("net.prototxt", NET), ("solver.prototxt", SOLVER), ("layers_of_verbs.py", LAYERS)):
        Path(name).write_text(text)
    write_model(
        "w.caffemodel", {"conv": [np.full((2, 3, 3, 3), 0.1), np.zeros(2)], "times": [np.array([3.0])]}
    )
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] in ("caffe", "layers_of_verbs")]:
        del sys.modules[name]


def test_without_the_option_they_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", "net.prototxt", "--weights", "w.caffemodel", "--engine", "torch"]) == 2
    said = capsys.readouterr().err
    assert "running layer 'times' imports layers_of_verbs.Times and runs it" in said
    assert "add --trust" in said
    assert "layers_of_verbs" not in sys.modules


def test_a_test_runs_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["test", "net.prototxt", "--weights", "w.caffemodel", "--engine", "torch", "--iterations", "1"]
    assert main([*words, "--trust", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outputs"]["out"] == [pytest.approx(3 * 27 * 0.1)]


def test_a_training_learns_their_parameters(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "solver.prototxt", "--engine", "torch", "--no-draw", "--weights", "w.caffemodel"]
    assert main([*words, "--python-layers"]) == 0
    from netbuilder.weights.arrays import read_arrays

    learnt = {stored.layer.name: stored.arrays for stored in read_arrays("out/x_iter_2.caffemodel")}
    # The gradient of the mean of 2.7 * w is 2.7 at first; the weights of the convolution grow less.
    assert learnt["times"][0] == pytest.approx(3 - 2 * 0.01 * 2.7, rel=0.02)


def test_the_gradients_are_those_of_the_layer(folder: Path) -> None:
    import torch

    from netbuilder.engines.torch import module

    net: Any = with_python_layers(parse(NET, "TRAIN", dialect="any"))
    assert isinstance(net, Net)
    layer = 'python_param { module: "layers_of_verbs" layer: "Times" }'
    text = NET.replace(layer, "power_param { scale: 2 }").replace('"Python"', '"Power"')
    plain = parse(text, "TRAIN", dialect="any")
    data = torch.rand(2, 3, 4, 4)
    found: list[Any] = []
    for each in (net, plain):
        m = module(each)
        out = m(data=data)
        out.loss.backward()
        found.append((out["out"].item(), m.params["conv"][0].grad, m.params.get("times")))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1])
    (own,) = found[0][2]
    assert own.grad.item() == pytest.approx(found[0][0] / 2, rel=1e-5)
