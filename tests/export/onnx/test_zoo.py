"""The files of tests/zoo as ONNX files: onnxruntime computes what real Caffe computes.

The large ones are only made here, and run where NETBUILDER_ALL=1: `make configs-onnx`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netbuilder import Net, prototxt
from netbuilder.engines.caffe import Caffe
from netbuilder.export.onnx import export
from netbuilder.export.onnx.build import built
from netbuilder.export.onnx.verify import run, samples
from netbuilder.transforms.deploy import deployed
from tests.export.onnx.nets import random_arrays
from tests.zoo import test_zoo as zoo

# What the files do not say of their data.
SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "lenet_v2": {"data": (1, 1, 28, 28)},
    "lenet_v1": {"data": (1, 1, 28, 28)},
    "cifar10_quick": {"data": (1, 3, 32, 32)},
    "cifar10_full": {"data": (1, 3, 32, 32)},
    "siamese": {"pair_data": (1, 2, 28, 28)},
    "autoencoder": {"data": (1, 1, 28, 28)},
    "caffenet_v0": {"data": (1, 3, 227, 227)},
    "caffenet_v1": {"data": (1, 3, 227, 227)},
    "rcnn_windows_v1": {"data": (1, 3, 227, 227)},
    "caption_lstm": {
        "cont_sentence": (20, 20), "input_sentence": (20, 20), "target_sentence": (20, 20), "image": (20, 64),
    },
}  # fmt: skip
OUTPUTS = {"autoencoder": ["decode1neuron"]}  # it has losses of what it reconstructs
QUICK = 3_000_000  # parameters
ALL = os.environ.get("NETBUILDER_ALL") == "1"


def net_of(name: str) -> Net:
    """The net to hand over."""
    entry = zoo.NETS[name]
    read = prototxt.read(
        zoo.file(name), entry.phases[-1], dialect="any", stages=entry.stages, inputs=SHAPES.get(name, {})
    )
    return deployed(read, outputs=OUTPUTS.get(name, ())).net


@pytest.mark.parametrize("name", zoo.NETS)
def test_a_net_is_exported_and_computes_what_caffe_computes(
    name: str, tmp_path: Path, real_caffe: Caffe
) -> None:
    net = net_of(name)
    if zoo.NETS[name].stored > QUICK and not ALL:
        zeros: dict[str, Any] = {
            layer.name: [np.broadcast_to(np.float32(0), p.shape) for p in layer.params] for layer in net
        }
        assert [value.name for value in built(net, zeros).outputs] == [blob.name for blob in net.outputs]
        return
    arrays, given = random_arrays(net), samples(net)
    expected = real_caffe.run(prototxt.dumps(net), inputs=given, params=arrays).outputs
    export(net, tmp_path / "net.onnx", weights=arrays, verify=False)
    found = run(tmp_path / "net.onnx", given)
    assert found.keys() == expected.keys()
    for blob, values in expected.items():
        np.testing.assert_allclose(found[blob], values, rtol=0, atol=1e-5 * float(np.abs(values).max()))
