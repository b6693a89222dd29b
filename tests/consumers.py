"""OpenCV and MNN as second opinions: what they compute from a prototxt and a caffemodel of ours.

Both come with the test extra. Missing, the test is skipped, or fails where NETBUILDER_REQUIRE_CAFFE=1 (CI).
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netbuilder import Net, prototxt
from netbuilder.proto import NetParameter

# MNN's converter ends its process on what it does not know, so it gets one of its own. Its module `_tools`
# is the bare converter; `MNN.tools` would install a logging package by pip and call home.
_MNN_CODE = """
import sys
import numpy as np
import MNN, _tools
folder = sys.argv[1]
_tools.mnnconvert(["mnnconvert", "-f", "CAFFE", "--modelFile", folder + "/net.caffemodel", "--prototxt",
                   folder + "/net.prototxt", "--MNNModel", folder + "/net.mnn", "--bizCode", "netbuilder"])
data = np.load(folder + "/input.npy")
interpreter = MNN.Interpreter(folder + "/net.mnn")
# Hint 3 is WINOGRAD_MEMORY_LEVEL. At MNN's default its fast 3x3 convolutions round to about 4e-4 here,
# whatever net they belong to; level 0 computes them plainly (3e-6).
interpreter.setSessionHint(3, 0)
session = interpreter.createSession({"precision": "high"})
caffe = MNN.Tensor_DimensionType_Caffe
blob = interpreter.getSessionInput(session)
blob.copyFrom(MNN.Tensor(data.shape, MNN.Halide_Type_Float, data, caffe))
interpreter.runSession(session)
top = interpreter.getSessionOutput(session)
host = MNN.Tensor(top.getShape(), MNN.Halide_Type_Float, np.zeros(top.getShape(), np.float32), caffe)
top.copyToHostTensor(host)
np.save(folder + "/output.npy", np.array(host.getData(), np.float32).reshape(top.getShape()))
"""


def require(module: str) -> None:
    """Skip the test if this package is missing, or fail it where nothing may be."""
    if importlib.util.find_spec(module) is None:
        text = f"{module} is not installed; pip install -e '.[test]' installs it"
        if os.environ.get("NETBUILDER_REQUIRE_CAFFE") == "1":
            pytest.fail(text, pytrace=False)
        pytest.skip(text)


def until(net: Net, last: str) -> Net:
    """The net up to this layer: without the Softmax behind the scores, say."""
    copy = Net(net.name, net.phase, dialect=net.dialect.name)
    for layer in net:
        copy.append(layer.proto)
        if layer.name == last:
            break
    return copy


def write_model(net: Net, params: Mapping[str, Sequence[Any]], folder: Path) -> None:
    """Write net.prototxt and net.caffemodel; fixed filters get the constant that their filler says."""
    model = NetParameter(name=net.name)
    for layer in net:
        proto = model.layer.add()
        proto.CopyFrom(layer.proto)
        values = params.get(layer.name)
        if values is None and layer.params:
            assert all(p.fixed_filter for p in layer.params), f"no weights for {layer.name}"
            constant = layer.proto.convolution_param.weight_filler.value
            values = [np.full(p.shape, constant) for p in layer.params]
        for value, param in zip(values or (), layer.params, strict=True):
            blob = proto.blobs.add()
            blob.shape.dim.extend(param.shape)
            blob.data.extend(np.asarray(value, np.float32).reshape(param.shape).ravel())
    (folder / "net.prototxt").write_text(prototxt.dumps(net), encoding="utf-8")
    (folder / "net.caffemodel").write_bytes(model.SerializeToString())


def opencv(folder: Path, data: Any, output: str) -> Any:
    """The blob that OpenCV computes from the model in the folder."""
    import cv2

    net = cv2.dnn.readNetFromCaffe(str(folder / "net.prototxt"), str(folder / "net.caffemodel"))
    net.setInput(data)
    return net.forward(output)


def mnn(folder: Path, data: Any) -> Any:
    """The last blob that MNN computes from the model in the folder."""
    np.save(folder / "input.npy", data)
    done = subprocess.run(
        [sys.executable, "-c", _MNN_CODE, str(folder)], capture_output=True, text=True, check=False
    )
    assert (folder / "output.npy").exists(), done.stdout + done.stderr
    return np.load(folder / "output.npy")
