"""The worker of `judge`: runs nets in pycaffe, reads requests from stdin and writes answers to stdout.

netbuilder never imports it: its source is sent to the Python that has Caffe (3.7 or newer, numpy 1.x), so it
imports nothing of netbuilder and works in a root where netbuilder is not installed. The sources of
`_messages.py`, the protocol, `_late_imports.py` and `storage/temporary.py` are sent before this one and run
in its namespace.

When Caffe refuses something it aborts the whole process. So each request is answered by a child, forked when
Caffe has been imported, because starting Caffe again takes half a second. The child's death is an answer too,
and the log on stderr says why it died.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import tempfile
import traceback
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netbuilder.engines.caffe._late_imports import late_imports
    from netbuilder.engines.caffe._messages import pack, receive, reserve_stdout, send
    from netbuilder.storage.temporary import new_folder

ANSWERS = reserve_stdout()  # before the first import that may print

with late_imports():
    import caffe
import numpy as np  # noqa: E402


class Refused(Exception):
    """A request that does not fit the net, detected before Caffe would abort."""


def build(request: dict[str, Any], folder: str) -> Any:
    """The net of a request, with the request's files in the same folder."""
    for name, content in request["files"].items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content.tobytes())
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


def run(request: dict[str, Any], folder: str) -> dict[str, Any]:
    net = build(request, folder)
    wanted = request["outputs"]
    if wanted is None:
        wanted = [net._blob_names[i] for i in net._outputs]
    for name in wanted:
        known("blob", name, net.blobs)
    set_params(net, request["params"])
    alive = set_inputs(net, request["inputs"])
    loss = net._forward(0, len(net.layers) - 1)

    def params(what: str) -> dict[str, list[Any]]:
        return {name: [values(blob, what) for blob in blobs] for name, blobs in net.params.items()}

    outputs = {name: values(net.blobs[name], "data") for name in wanted}
    answer: dict[str, Any] = {"loss": float(loss), "outputs": outputs}
    if request["fetch_params"]:
        answer["params"] = params("data")
    if request["backward"]:
        net._backward(len(net.layers) - 1, 0)
        answer["diffs"] = {name: values(net.blobs[name], "diff") for name in wanted}
        answer["param_diffs"] = params("diff")
    del alive
    return answer


def answer(request: dict[str, Any], folder: str) -> dict[str, Any]:
    try:
        return describe(build(request, folder)) if request["do"] == "load" else run(request, folder)
    except Refused as error:
        return {"error": str(error)}
    except Exception as error:
        return {"error": "%s: %s" % (type(error).__name__, error)}


def in_a_child(request: dict[str, Any], folder: str, stdin: IO[bytes], stdout: IO[bytes]) -> int:
    """Answer in a copy of this process; 0, or how the copy ended: -N for signal N, else its exit status.

    A thread of Caffe may crash after the answer, which counts. Some nets run for ever, so the copy is killed
    if whoever asked is gone, which ends `stdin`.
    """
    over, running = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(over)
        code = 1
        try:
            send(stdout, answer(request, folder))
            os.write(running, b"answered")
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)  # skip the destructors of Caffe's threads
    os.close(running)  # now `over` ends with the copy
    events = select.poll()
    events.register(over, select.POLLIN)
    events.register(stdin.fileno(), 0)  # its end alone: the next request may be there already
    if over not in dict(events.poll()):
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    answered = os.read(over, 1)
    os.close(over)
    if answered:
        return 0
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def warm_up(folder: str) -> None:
    """Do once what each copy would do for itself otherwise: that is four fifths of what a small net takes.

    Symbols are bound, Caffe's messages are described, and zipfile is imported, which writes arrays. No pass
    is run and no number is drawn here, so a copy has neither threads nor a state that it would not have had.
    """
    if "Input" not in caffe.layer_type_list():  # an old Caffe, which would abort
        return
    request = {"text": FIRST, "phase": "TRAIN", "level": 0, "stages": [], "files": {}}
    net = build(request, folder)
    describe(net)
    pack({name: [values(blob, "data") for blob in blobs] for name, blobs in net.params.items()})
    empty(folder)


FIRST = """
layer { name: "in" type: "Input" top: "in" input_param { shape { dim: 1 dim: 1 } } }
layer { name: "out" type: "PReLU" bottom: "in" top: "out" }
"""


def empty(folder: str) -> None:
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            os.remove(path)


def serve(stdin: IO[bytes], stdout: IO[bytes]) -> None:
    folder = new_folder(tempfile.gettempdir(), "netbuilder-caffe", 0o700)
    os.chdir(folder)  # relative sources of data layers are resolved here
    caffe.set_mode_cpu()
    hello = {"folder": folder, "version": caffe.__version__, "layer_types": list(caffe.layer_type_list())}
    try:
        warm_up(folder)
        send(stdout, hello)
        while True:
            try:
                request = receive(stdin)
            except EOFError:
                request = None
            if request is None:
                return
            died = in_a_child(request, folder, stdin, stdout)
            del request
            empty(folder)
            if died:
                send(stdout, {"died": died})
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # an abort is an answer here, not worth a core file
    except (ImportError, ValueError, OSError):
        pass
    serve(sys.stdin.buffer, ANSWERS)
    os._exit(0)  # skip Caffe's destructors


if __name__ == "__main__":
    main()
