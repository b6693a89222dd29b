"""Trains in pycaffe, in Caffe's Python: reads requests from stdin and writes answers to stdout.

Its source is sent there by `caffe_solver.py`, after that of `_messages.py`, in whose namespace it runs.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netbuilder.engines.caffe._messages import receive, reserve_stdout, send

ANSWERS = reserve_stdout()

import caffe  # noqa: E402
import numpy as np  # noqa: E402


def train(request: dict[str, Any]) -> dict[str, Any]:
    """One step for each of the feeds, from given parameters or a state; then a snapshot."""
    for name, content in request["files"].items():
        with open(name, "wb") as file:
            file.write(content.tobytes())
    solver = caffe.get_solver("solver.prototxt")
    for name, many in request["params"].items():
        for blob, array in zip(solver.net.params[name], many):  # noqa: B905 (Python 3.7)
            blob.data[...] = array
    if request["state"]:
        solver.restore(request["state"])
    passed: dict[str, Any] = {"gradients": {}, "statistics": {}}
    for feed in request["feeds"]:
        for name, array in feed.items():
            solver.net.blobs[name].data[...] = array
        if request["passes"]:
            passed = summed(solver.net, request["passes"])
        solver.step(1)
    before = set(os.listdir("."))
    solver.snapshot()
    files = {}
    for name in set(os.listdir(".")) - before:
        with open(name, "rb") as file:
            files[name] = np.frombuffer(file.read(), np.uint8)
    return {"iteration": solver.iter, "params": arrays(solver.net, "data"), "files": files, **passed}


def arrays(net: Any, what: str) -> dict[str, list[Any]]:
    return {name: [np.array(getattr(b, what)) for b in blobs] for name, blobs in net.params.items()}


def summed(net: Any, passes: int) -> dict[str, Any]:
    """The gradients and statistics after the passes of the next step, which computes the same ones again."""
    before = arrays(net, "data")
    net.clear_param_diffs()
    for _ in range(passes):
        net.forward()
        net.backward()
    found = {"gradients": arrays(net, "diff"), "statistics": arrays(net, "data")}
    for name, blobs in net.params.items():
        for blob, array in zip(blobs, before[name]):  # noqa: B905 (Python 3.7)
            blob.data[...] = array
    return found


def main() -> None:
    caffe.set_mode_cpu()
    while True:
        request = receive(sys.stdin.buffer)
        if request is None:
            break
        folder = tempfile.mkdtemp(prefix="netbuilder-solver-")
        try:
            os.chdir(folder)
            answer = train(request)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        finally:
            os.chdir("/")
            shutil.rmtree(folder, ignore_errors=True)
        send(ANSWERS, answer)
    os._exit(0)  # skip the destructors of Caffe's threads


main()
