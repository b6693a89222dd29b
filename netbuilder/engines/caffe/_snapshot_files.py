"""Snapshot files: check that they are complete, point a state at another model, give them their final names.

Both writers of snapshots use this: netbuilder, which imports it, and the worker in Caffe's Python (3.7 or
newer), which receives its source before its own. So it imports only the standard library; functions import
h5py for HDF5 snapshots.

A snapshot is written in a separate folder, completed and then renamed: the model first, the state last. A
state with its final name is therefore complete, and so is its model.
"""

# ruff: noqa: B905 (zip has no `strict` before Python 3.10)
from __future__ import annotations

import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if __name__ != "__main__":  # there, the sources of these have run before this one
    from netbuilder.storage.temporary import same_name
    from netbuilder.storage.wire import WireError, fields, packed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netbuilder.storage.wire import Buffer, Field

KINDS = (".caffemodel", ".solverstate")


class Fault(Exception):
    """A problem with files, reported to the user without a traceback."""


def whole_fields(data: Buffer) -> Iterator[Field]:
    """The fields of a model or a state, as `fields` gives them; Fault instead of WireError."""
    try:
        yield from fields(data)
    except WireError:
        raise Fault("it is cut short, or not a protobuf file") from None


def check_whole(path: str) -> None:
    """Raise Fault, OSError or ValueError if a model or a state is incomplete."""
    if path.endswith(".h5"):
        import h5py

        h5py.File(path, "r").close()
        return
    import mmap

    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        last = 0
        for number, _, _, _ in whole_fields(data):
            last = number
    # Caffe sets current_step, which has the highest number of a state's fields and is written last.
    if path.endswith(".solverstate") and last != 4:
        raise Fault("it is cut short, or not a solver state")


def retarget(source: str, target: str, model: str) -> None:
    """Copy a solver state and make it name another model."""
    if source.endswith(".h5"):
        import h5py
        import numpy as np

        shutil.copyfile(source, target)
        with h5py.File(target, "r+") as file:
            del file["learned_net"]
            # Caffe reads only fixed-length strings with a terminating zero.
            file["learned_net"] = np.array(model.encode(), dtype=f"S{len(model.encode()) + 1}")
        return
    with open(source, "rb") as file:
        data = file.read()
    name = model.encode()
    parts, start = [], 0
    for number, _, _, end in whole_fields(data):
        if number != 2:
            parts.append(data[start:end])
        start = end
    with open(target, "wb") as file:
        file.write(b"".join([*parts[:1], b"\x12", packed(len(name)), name, *parts[1:]]))


def resumable(state: str, model: str, target: str) -> None:
    """Write the state to resume from, with its model's path as Caffe sees it. Fault if one is incomplete."""
    try:
        check_whole(model)
        retarget(state, target, model)
    except (OSError, Fault, ValueError) as error:
        raise Fault(f"{state} cannot be resumed from: {error}") from None


def forget_folder(model: str, folder: str) -> None:
    """Where a model names this folder, of lists of images perhaps, make its name the same in every run."""
    import mmap

    old, new = os.fsencode(folder), os.fsencode(same_name(folder))
    with open(model, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.find(old)
    if at < 0:
        return  # another user's file, perhaps, that only that user may change
    with open(model, "r+b") as changed, mmap.mmap(changed.fileno(), 0) as data:
        while at >= 0:
            data[at : at + len(old)] = new
            at = data.find(old, at + len(old))


def sync(path: str) -> None:
    """Flush a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(job: dict[str, Any], iteration: int) -> tuple[str, str]:
    """Give a snapshot that Caffe has written its final names; return model and state.

    Raises Fault if it is incomplete.
    """
    ending = ".h5" if job["hdf5"] else ""
    name = f"_iter_{iteration}"
    model, state = (job["partial"] + name + kind + ending for kind in KINDS)
    final = [job["prefix"] + name + kind + ending for kind in KINDS]
    # A new file, because the file that Caffe wrote may belong to another user.
    named = job["partial"] + name + ".named.solverstate" + ending
    try:
        check_whole(state)
        if not job["hdf5"]:
            forget_folder(model, os.path.basename(os.path.dirname(job["partial"])))
        retarget(state, named, job["written_prefix"] + name + KINDS[0] + ending)
        for path in (model, named):
            check_whole(path)
            sync(path)
        with suppress(FileNotFoundError):  # from an earlier run: it must not pair with the new model
            os.remove(final[1])
        for path, end in zip((model, named), final):
            os.replace(path, end)
        os.remove(state)
        sync(os.path.dirname(final[0]) or ".")
    except (OSError, Fault, ValueError) as error:
        raise Fault(f"the snapshot of iteration {iteration} could not be written: {error}") from None
    return final[0], final[1]
