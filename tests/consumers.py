"""OpenCV and MNN as second opinions: what they compute from a prototxt and a caffemodel of ours.

Both come with the test extra. Missing, the test is skipped, or fails where NETBUILDER_REQUIRE_CAFFE=1 (CI).
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netbuilder import Net, prototxt
from netbuilder.schema import NetParameter

# A consumer's code defines `compute(folder, inputs, outputs)`: arrays by name of the input blob, and for each
# output the layer that computes it, which of its tops it is, its name, and other names. It returns arrays.

# MNN's module `_tools` is the bare converter; `MNN.tools` would install a logging package by pip and call
# home.
_MNN_CODE = """
import MNN, _tools
import numpy as np

caffe = MNN.Tensor_DimensionType_Caffe

def compute(folder, inputs, outputs):
    _tools.mnnconvert(["mnnconvert", "-f", "CAFFE", "--modelFile", folder + "/net.caffemodel", "--prototxt",
                       folder + "/net.prototxt", "--MNNModel", folder + "/net.mnn", "--bizCode", "nb"])
    interpreter = MNN.Interpreter(folder + "/net.mnn")
    # Hint 3 is WINOGRAD_MEMORY_LEVEL. At MNN's default its fast 3x3 convolutions round to about 4e-4 here,
    # whatever net they belong to; level 0 computes them plainly (3e-6).
    interpreter.setSessionHint(3, 0)
    session = interpreter.createSession({"precision": "high"})
    there = interpreter.getSessionInputAll(session)
    assert there, "the net has no input"
    for name, data in inputs.items():
        blob = there.get(name) if name else interpreter.getSessionInput(session)
        if blob:  # what nothing is computed of is left out
            blob.copyFrom(MNN.Tensor(data.shape, MNN.Halide_Type_Float, data, caffe))
    interpreter.runSession(session)
    tops = interpreter.getSessionOutputAll(session)
    first = interpreter.getSessionOutput(session) if len(outputs) == 1 else None
    names = [(top, layer, *others) for layer, _, top, *others in outputs]
    return [fetched(next((tops[n] for n in several if n in tops), first)) for several in names]

def fetched(top):
    host = MNN.Tensor(top.getShape(), MNN.Halide_Type_Float, np.zeros(top.getShape(), np.float32), caffe)
    top.copyToHostTensor(host)
    return np.array(host.getData(), np.float32).reshape(top.getShape())
"""

_OPENCV_CODE = """
import cv2
import numpy as np

cv2.setNumThreads(0)  # threads do not outlive a fork

def compute(folder, inputs, outputs):
    net = cv2.dnn.readNetFromCaffe(folder + "/net.prototxt", folder + "/net.caffemodel")
    for name, data in inputs.items():
        net.setInput(data, name)
    names = net.getLayerNames()  # convolutions are named after their top
    tops = [(layer if layer in names else top) + (f".{i}" if i else "") for layer, i, top, *_ in outputs]
    return net.forward(tops)
"""

# Both also end their process on some nets (a division by zero in OpenCV, for one), so each net gets a process
# of its own: a fork of one that has imported everything. It may take 20 s and 4 GiB.
_SERVE = """
import ctypes, json, os, resource, sys, traceback

SECONDS = 20

def run(folder):
    with open(folder + "/request.json") as file:
        request = json.load(file)
    inputs = {name: np.load(f"{folder}/input_{i}.npy") for i, name in enumerate(request["inputs"])}
    for i, array in enumerate(compute(folder, inputs, request["outputs"])):
        np.save(f"{folder}/output_{i}.npy", array)
    open(folder + "/computed", "w").close()

for line in sys.stdin:
    folder = line.rstrip("\\n")
    child = os.fork()
    if child == 0:
        log = os.open(folder + "/log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        try:
            run(folder)
        except BaseException:
            traceback.print_exc()
        ctypes.CDLL(None).fflush(None)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        with open(folder + "/log", "a") as log:
            log.write("ended by signal " + str(os.WTERMSIG(status)))
    print("done", flush=True)
"""

_CODES = {"opencv": _OPENCV_CODE, "mnn": _MNN_CODE}
# The modules that must be installed.
MODULES = {"opencv": "cv2", "mnn": "MNN"}


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
            numbers = np.asarray(value, "<f4").reshape(param.shape).tobytes()
            # BlobProto.data (field 5, packed) as bytes: to append the numbers takes a hundred times as long.
            blob.MergeFromString(b"\x2a" + _varint(len(numbers)) + numbers)
    (folder / "net.prototxt").write_text(prototxt.dumps(net), encoding="utf-8")
    (folder / "net.caffemodel").write_bytes(model.SerializeToString())


def _varint(number: int) -> bytes:
    """A length as protobuf writes it: seven bits to a byte, the lowest first."""
    low, high = number % 128, number // 128
    return bytes([low]) if not high else bytes([low + 128]) + _varint(high)


def opencv(folder: Path, data: Any, output: str) -> Any:
    """The blob of this name that OpenCV computes from the model in the folder; AssertionError if it fails."""
    return computed("opencv", folder, {"": data}, [(output, 0, output)])[0]


def mnn(folder: Path, data: Any, output: str = "") -> Any:
    """The output of this name that MNN computes from the model in the folder, or the first if it has none."""
    return computed("mnn", folder, {"": data}, [(output, 0, output)])[0]


def computed(
    consumer: str, folder: Path, inputs: Mapping[str, Any], outputs: Sequence[tuple[object, ...]]
) -> list[Any]:
    """The outputs that a consumer computes from the model in the folder; AssertionError if it fails.

    An output is the layer that computes it, which of its tops it is, its name, and other names for it.
    """
    for old in (*folder.glob("output_*.npy"), folder / "computed", folder / "net.mnn"):
        old.unlink(missing_ok=True)
    for i, data in enumerate(inputs.values()):
        np.save(folder / f"input_{i}.npy", np.asarray(data, np.float32))
    request = {"inputs": list(inputs), "outputs": outputs}
    (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
    server = _server(_CODES[consumer] + _SERVE)
    assert server.stdin
    assert server.stdout
    server.stdin.write(f"{folder}\n")
    server.stdin.flush()
    while server.stdout.readline() not in ("done\n", ""):  # MNN itself says what the device supports
        pass
    assert (folder / "computed").exists(), (folder / "log").read_text(errors="replace")
    return [np.load(folder / f"output_{i}.npy") for i in range(len(outputs))]


@lru_cache
def _server(code: str) -> subprocess.Popen[str]:
    server = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(_end, server)
    return server


def _end(server: subprocess.Popen[str]) -> None:
    with server:  # closes its pipes and waits for it
        server.kill()
