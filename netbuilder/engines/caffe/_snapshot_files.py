"""Snapshots as files: whole or not, made to go with another model, given their name.

Whoever writes a snapshot needs this: netbuilder, which imports it, and the worker in Caffe's Python (3.7 or
newer), which is sent its source before its own. So it imports the standard library only; h5py, which HDF5
snapshots need, inside the functions.

A snapshot is written in a folder of its own, made whole and then renamed: the model first, the state last. A
state that has its final name is therefore complete, and so is its model.
"""

# ruff: noqa: B905 (zip has no `strict` before Python 3.10)
from __future__ import annotations

import os
import shutil
from typing import Any

KINDS = (".caffemodel", ".solverstate")


class Fault(Exception):
    """What is wrong with files, told to the user without a traceback."""


def fields(data: Any) -> Any:
    """The fields of a message in wire format: number, begin, begin of the content, end. Fault if cut."""
    at, size = 0, len(data)
    while at < size:
        start = at
        tag, at = varint(data, at)
        kind = tag & 7
        if kind == 2:
            length, at = varint(data, at)
            end = at + length
        elif kind == 0:
            _, end = varint(data, at)
        else:
            end = at + (8 if kind == 1 else 4)
        if end > size or kind not in (0, 1, 2, 5):
            raise Fault("it is cut short, or no protobuf")
        yield tag >> 3, start, at, end
        at = end


def varint(data: Any, at: int) -> tuple[int, int]:
    """The number at this place, and the place after it. Fault if cut."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise Fault("it is cut short, or no protobuf")
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        shift += 7
        if byte < 128:
            return value, at


def check_whole(path: str) -> None:
    """Raise Fault, OSError or ValueError if a model or a state is not whole."""
    if path.endswith(".h5"):
        import h5py

        h5py.File(path, "r").close()
        return
    import mmap

    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        last = 0
        for field in fields(data):
            last = field[0]
    # Caffe sets current_step, which has the highest number of a state's fields and is written last.
    if path.endswith(".solverstate") and last != 4:
        raise Fault("it is cut short, or no state")


def retarget(source: str, target: str, model: str) -> None:
    """Copy a solver state, naming another model as the one that goes with it."""
    if source.endswith(".h5"):
        import h5py
        import numpy as np

        shutil.copyfile(source, target)
        with h5py.File(target, "r+") as file:
            del file["learned_net"]
            # Of fixed length, with the zero that C ends a string by: Caffe reads no other.
            file["learned_net"] = np.array(model.encode(), dtype=f"S{len(model.encode()) + 1}")
        return
    with open(source, "rb") as file:
        data = file.read()
    name = model.encode()
    length, size = len(name), b""
    while length > 127:
        size += bytes([length & 127 | 128])
        length >>= 7
    parts = [data[start:end] for number, start, _, end in fields(data) if number != 2]
    with open(target, "wb") as file:
        file.write(b"".join([*parts[:1], b"\x12", size + bytes([length]), name, *parts[1:]]))


def resumable(state: str, model: str, target: str) -> None:
    """Write the state to resume from, which names its model as Caffe sees it. Fault if one is not whole."""
    try:
        check_whole(model)
        retarget(state, target, model)
    except (OSError, Fault, ValueError) as error:
        raise Fault(f"{state} cannot be resumed from: {error}") from None


def sync(path: str) -> None:
    """Have the system write a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(job: dict[str, Any], iteration: int) -> dict[str, Any]:
    """Give the snapshot of an iteration, which Caffe has written, its name; returns what to tell of it.

    Fault if it is not whole.
    """
    ending = ".h5" if job["hdf5"] else ""
    name = f"_iter_{iteration}"
    model, state = (job["partial"] + name + kind + ending for kind in KINDS)
    final = [job["prefix"] + name + kind + ending for kind in KINDS]
    # Another file, because whoever ran Caffe may own the one that it wrote.
    named = job["partial"] + name + ".named.solverstate" + ending
    try:
        check_whole(state)
        retarget(state, named, job["written_prefix"] + name + KINDS[0] + ending)
        for path in (model, named):
            check_whole(path)
            sync(path)
        if os.path.exists(final[1]):  # of an earlier run: it must not go with the new model
            os.remove(final[1])
        for path, end in zip((model, named), final):
            os.replace(path, end)
        os.remove(state)
        sync(os.path.dirname(final[0]) or ".")
    except (OSError, Fault, ValueError) as error:
        raise Fault(f"the snapshot of iteration {iteration} could not be written: {error}") from None
    return {"snapshot": iteration, "model": final[0], "state": final[1]}
