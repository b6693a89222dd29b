"""The worker of `judge`: runs nets in pycaffe, reads requests from stdin and writes answers to stdout.

netbuilder never imports it: its source is sent to the Python that has Caffe (3.7 or newer, numpy 1.x), so it
imports nothing of netbuilder and works in a root where netbuilder is not installed.

A frame, in both directions: two 8-byte little-endian lengths, then that many bytes of JSON and of npz. An
array is {"array": i} in the JSON and "i" in the npz. npz is used because numpy 1 cannot load numpy 2 pickles.
When Caffe refuses something it aborts the whole process; the parent notices and reads the log on stderr.
"""

from __future__ import annotations

import gc
import io
import json
import os
import shutil
import struct
import sys
import tempfile
from typing import Any, BinaryIO

# Reserve stdout for answers before the first import that may print; everything else goes to the log.
ANSWERS = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)

import caffe  # noqa: E402
import numpy as np  # noqa: E402


class Refused(Exception):
    """A request that does not fit the net, detected before Caffe would abort."""


def receive(stream: BinaryIO) -> tuple[dict[str, Any], Any] | None:
    head = stream.read(16)
    if len(head) < 16:
        return None
    text_size, array_size = struct.unpack("<QQ", head)
    request = json.loads(stream.read(text_size).decode("utf-8"))
    arrays = np.load(io.BytesIO(stream.read(array_size)), allow_pickle=False) if array_size else {}
    return request, arrays


def send(stream: BinaryIO, answer: dict[str, Any], arrays: list[Any]) -> None:
    text = json.dumps(answer).encode("utf-8")
    packed = b""
    if arrays:
        buffer = io.BytesIO()
        np.savez(buffer, **{str(i): array for i, array in enumerate(arrays)})
        packed = buffer.getvalue()
    stream.write(struct.pack("<QQ", len(text), len(packed)) + text + packed)
    stream.flush()


def build(request: dict[str, Any], folder: str) -> Any:
    """The net of a request, with the request's files in the same folder."""
    for name, content in request["files"].items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(bytes.fromhex(content))
    path = os.path.join(folder, "net.prototxt")
    with open(path, "wb") as file:
        file.write(request["text"].encode("utf-8"))
    if request.get("seed") is not None:
        caffe.set_random_seed(request["seed"])
    phase = caffe.TRAIN if request["phase"] == "TRAIN" else caffe.TEST
    return caffe.Net(path, phase, level=request["level"], stages=list(request["stages"]))


def describe(net: Any) -> dict[str, Any]:
    # By index: names need not be unique, and pycaffe's dictionaries then keep only the last one.
    names, blobs = list(net._blob_names), list(net._blobs)
    shapes = [list(blob.shape) for blob in blobs]
    layers = []
    for i, (name, layer) in enumerate(zip(net._layer_names, net.layers)):
        tops = list(net._top_ids(i))
        layers.append(
            {
                "name": name,
                "type": layer.type,
                "bottoms": [names[b] for b in net._bottom_ids(i)],
                "tops": [names[b] for b in tops],
                "top_shapes": [shapes[b] for b in tops],
                "params": [list(blob.shape) for blob in layer.blobs],
            }
        )
    return {
        "layers": layers,
        "blobs": list(zip(names, shapes)),
        "inputs": [names[i] for i in net._inputs],
        "outputs": [names[i] for i in net._outputs],
        "loss_weights": [(n, float(w)) for n, w in zip(names, net._blob_loss_weights) if w],
    }


def known(kind: str, name: str, names: Any) -> None:
    if name not in names:
        there = ", ".join(map(repr, names)) or "none"
        raise Refused("the net has no %s '%s'; it has: %s" % (kind, name, there))


def set_params(net: Any, params: dict[str, list[Any]]) -> None:
    for name, arrays in params.items():
        known("layer with params", name, net.params)
        blobs = net.params[name]
        if len(arrays) != len(blobs):
            raise Refused("layer '%s' has %d params, got %d" % (name, len(blobs), len(arrays)))
        for i, (blob, array) in enumerate(zip(blobs, arrays)):
            if tuple(blob.shape) != array.shape:
                raise Refused(
                    "param %d of layer '%s' has shape %s, got %s" % (i, name, tuple(blob.shape), array.shape)
                )
            blob.data[...] = array


def set_inputs(net: Any, inputs: dict[str, Any]) -> list[Any]:
    """Fill the inputs; return what must stay alive until the forward pass is over."""
    fed = [net._blob_names[i] for i in net._inputs]  # net.inputs fails where two losses lack a top
    memory = [net._blob_names[b] for b in net._top_ids(0)] if len(net.layers) else []
    if not memory or net.layers[0].type != "MemoryData":
        memory = []
    for name in inputs:
        known("input", name, fed + memory)
    reshaped = False
    for name in fed:
        if name in inputs:
            blob = net.blobs[name]
            if tuple(blob.shape) != inputs[name].shape:
                blob.reshape(*inputs[name].shape)
                reshaped = True
            if inputs[name].size:
                blob.data[...] = inputs[name]
    if reshaped:
        net.reshape()
    given = [name for name in memory if name in inputs]
    if not given:
        return []
    if len(given) < len(memory):
        raise Refused("a MemoryData layer needs both its tops: %s" % ", ".join(memory))
    data, labels = (np.ascontiguousarray(inputs[name], dtype=np.float32) for name in memory)
    labels = labels.reshape(labels.shape[0], 1, 1, 1)
    net.set_input_arrays(data, labels)
    return [data, labels]


def values(blob: Any, what: str) -> Any:
    shape = tuple(blob.shape)
    if 0 in shape:  # Caffe aborts on access to the memory of an empty blob
        return np.zeros(shape, np.float32)
    return np.array(getattr(blob, what), dtype=np.float32)


def run(request: dict[str, Any], arrays: Any, folder: str) -> tuple[dict[str, Any], list[Any]]:
    net = build(request, folder)
    wanted = request["outputs"]
    if wanted is None:
        wanted = [net._blob_names[i] for i in net._outputs]
    for name in wanted:
        known("blob", name, net.blobs)

    def pick(item: dict[str, int]) -> Any:
        return arrays[str(item["array"])]

    set_params(net, {name: [pick(item) for item in items] for name, items in request["params"].items()})
    alive = set_inputs(net, {name: pick(item) for name, item in request["inputs"].items()})
    loss = net._forward(0, len(net.layers) - 1)

    out: list[Any] = []

    def put(blob: Any, what: str) -> dict[str, int]:
        out.append(values(blob, what))
        return {"array": len(out) - 1}

    def put_params(what: str) -> dict[str, list[dict[str, int]]]:
        return {name: [put(blob, what) for blob in blobs] for name, blobs in net.params.items()}

    answer: dict[str, Any] = {"loss": float(loss), "outputs": {n: put(net.blobs[n], "data") for n in wanted}}
    if request["fetch_params"]:
        answer["params"] = put_params("data")
    if request["backward"]:
        net._backward(len(net.layers) - 1, 0)
        answer["diffs"] = {n: put(net.blobs[n], "diff") for n in wanted}
        answer["param_diffs"] = put_params("diff")
    del alive
    return answer, out


def empty(folder: str) -> None:
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            os.remove(path)


def serve(stdin: BinaryIO, stdout: BinaryIO) -> None:
    folder = tempfile.mkdtemp(prefix="netbuilder-caffe-")
    os.chdir(folder)  # relative sources of data layers are resolved here
    caffe.set_mode_cpu()
    hello = {"folder": folder, "version": caffe.__version__, "layer_types": list(caffe.layer_type_list())}
    try:
        send(stdout, hello, [])
        while True:
            received = receive(stdin)
            if received is None:
                return
            request, arrays = received
            out: list[Any] = []
            try:
                if request["do"] == "load":
                    answer = describe(build(request, folder))
                else:
                    answer, out = run(request, arrays, folder)
            except Refused as error:
                answer = {"error": str(error)}
            except Exception as error:
                answer = {"error": "%s: %s" % (type(error).__name__, error)}
            send(stdout, answer, out)
            del request, arrays, received, answer, out
            empty(folder)
            gc.collect()  # a net is hundreds of megabytes in a reference cycle
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # an abort is an answer here, not worth a core file
    except (ImportError, ValueError, OSError):
        pass
    serve(sys.stdin.buffer, ANSWERS)
    os._exit(0)  # skip the destructors of Caffe's threads


if __name__ == "__main__":
    main()
