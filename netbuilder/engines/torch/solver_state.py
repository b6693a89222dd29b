"""Caffe's solver states, `.solverstate` and `.solverstate.h5`: written from a `Solver`, and read into one.

A state holds the iteration, the step of multistep, the name of the model saved with it, and the histories.
Source: sgd_solver.cpp, SnapshotSolverStateTo... and RestoreSolverStateFrom...
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from netbuilder.errors import EngineError, FileError, counted, shape_text
from netbuilder.schema import BlobShape
from netbuilder.storage.files import reason, replacing
from netbuilder.storage.wire import BYTES, VARINT, WireError, fields, packed, signed, varint
from netbuilder.weights.arrays import numbers
from netbuilder.weights.write import blob_parts, head, write_parts

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from netbuilder.engines.torch.solver import Solver

    Array = npt.NDArray[np.float32]

__all__ = ["load_state", "save_state"]

# Numbers of fields: of SolverState, with their types, and of a BlobProto.
_ITER, _LEARNED_NET, _HISTORY, _CURRENT_STEP = 1, 2, 3, 4
_TYPES = {_ITER: VARINT, _LEARNED_NET: BYTES, _HISTORY: BYTES, _CURRENT_STEP: VARINT}
_LEGACY, _SHAPE = (1, 2, 3, 4), 7
_WIDTHS = {5: 4, 8: 8}  # of numbers
_HDF5 = b"\x89HDF"


class _State(NamedTuple):
    """What a file holds; the histories are read one at a time by `array`."""

    iteration: int
    current_step: int
    learned_net: str
    shapes: list[tuple[int, ...]]
    array: Callable[[int], Array]


def save_state(path: str | Path, solver: Solver, learned_net: str, *, hdf5: bool = False) -> None:
    """Write the state of a solver as Caffe does, whole or not at all, over an older one.

    `learned_net` is the name of the model that belongs to it, as Caffe is to find it. Raises FileError.
    """
    if hdf5:
        _save_hdf5(Path(path), solver, learned_net)
    else:
        write_parts(Path(path), _parts(solver, learned_net))


def load_state(path: str | Path, solver: Solver) -> str:
    """Let a solver go on where a state ends, and return the name of the state's model, "" if it has none.

    Raises FileError if it cannot be read, EngineError if it is the state of another net or type of solver;
    the solver is unchanged then.
    """
    with _opened(str(path)) as state:
        _check(state, solver, str(path))
        with torch.no_grad():
            for i, history in enumerate(solver.history):
                history.copy_(torch.from_numpy(state.array(i)).view(history.shape))
    solver.resume(state.iteration, state.current_step)
    return state.learned_net


def _check(state: _State, solver: Solver, path: str) -> None:
    """Raise EngineError unless the histories are those of the solver's parameters."""
    learnable = solver.learnable
    expected = len(solver.history)
    if len(state.shapes) != expected:
        each = expected // max(1, len(learnable))
        hint = (
            "resume with the net and the solver that the state was saved from, or start from its model only"
        )
        if len(state.shapes) * each == expected * (3 - each):
            two = "AdaDelta or Adam" if each == 1 else "SGD, Nesterov, AdaGrad or RMSProp"
            hint = f"it looks like a state of {two}: give the solver that type, or start from its model only"
        raise EngineError(
            f"'{path}' is not a state of this training: it has {counted(len(state.shapes), 'history blob')}, "
            f"and {solver.type} has {expected} for {counted(len(learnable), 'parameter blob')}",
            hint=hint,
        )
    for i, shape in enumerate(state.shapes):
        p = learnable[i % len(learnable)]
        own = tuple(p.blob.shape)
        if shape not in (own, (1,) * (4 - len(own)) + own):  # before 2014, shapes had four axes
            raise EngineError(
                f"'{path}' is not a state of this net: its history {i} is {shape_text(shape)}, and parameter "
                f"{p.number} of layer '{p.layer}' is {shape_text(own)}",
                hint="resume with the net that the state was saved from, or start from its model only",
            )


# -- files --


@contextmanager
def _opened(path: str) -> Iterator[_State]:
    """A state and its file, which is open until the end. Raises FileError."""
    try:
        with open(path, "rb") as file:
            if file.read(4) == _HDF5:
                with _h5py().File(path, "r") as content:
                    yield _of_hdf5(content, path)
            else:
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    yield _of_binary(data, path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name, or an empty file
        raise FileError(f"cannot read {path!r}: {reason(error)}", hint=_SAVED) from None


_SAVED = "a solver state is saved beside each model, as NAME_iter_N.solverstate"


def _damaged(path: str, why: str) -> FileError:
    return FileError(f"'{path}' {why}", hint="resume from an older snapshot")


def _not_a_state(path: str) -> FileError:
    return FileError(f"'{path}' is not a solver state", hint=_SAVED)


# -- binary --


def _parts(solver: Solver, learned_net: str) -> Iterator[bytes]:
    """A SolverState in parts, one history at a time, byte by byte as Caffe writes it."""
    name = os.fsencode(learned_net)
    yield _number(_ITER, solver.iteration) + head(_LEARNED_NET, len(name)) + name
    for history in solver.history:
        blob = blob_parts(history.detach().float().cpu().numpy())
        yield head(_HISTORY, sum(map(len, blob)))
        yield from blob
    yield _number(_CURRENT_STEP, solver.current_step)


def _number(field: int, value: int) -> bytes:
    return packed(field << 3 | VARINT) + packed(value)


def _of_binary(data: mmap.mmap, path: str) -> _State:
    counts = {_ITER: 0, _CURRENT_STEP: -1}
    name = ""
    blobs: list[tuple[int, int, tuple[int, ...]]] = []
    try:
        for number, wire, at, end in fields(data):
            if _TYPES.get(number) != wire:
                raise _not_a_state(path)
            if number in counts:
                counts[number] = signed(varint(data, at, end)[0], 32)
            elif number == _LEARNED_NET:
                name = os.fsdecode(data[at:end])
            else:
                shape, whole = _shape(data, at, end)
                if not whole:
                    raise _damaged(path, f"is damaged: history {len(blobs)} lacks numbers of its shape")
                blobs.append((at, end, shape))
    except WireError as error:
        raise _damaged(path, f"is cut short or damaged (byte {error.at})") from None
    if counts[_CURRENT_STEP] < 0:  # Caffe writes it last, also where it is 0
        raise _damaged(path, "is cut short: its end is missing")

    def array(i: int) -> Array:
        return numbers(data, blobs[i][0], blobs[i][1])

    shapes = [shape for _, _, shape in blobs]
    return _State(counts[_ITER], counts[_CURRENT_STEP], name, shapes, array)


def _shape(data: mmap.mmap, begin: int, end: int) -> tuple[tuple[int, ...], bool]:
    """The shape of a BlobProto, and whether it has as many numbers. Source: blob.cpp, FromProto."""
    legacy: dict[int, int] = {}
    dims: tuple[int, ...] = ()
    stored = dict.fromkeys(_WIDTHS, 0)
    for number, wire, at, stop in fields(data, begin, end):
        if number in _LEGACY and wire == VARINT:
            legacy[number] = signed(varint(data, at, stop)[0], 32)
        elif number == _SHAPE and wire == BYTES:
            dims += tuple(BlobShape.FromString(data[at:stop]).dim)
        elif number in _WIDTHS:
            stored[number] += (stop - at) // _WIDTHS[number]
    shape = tuple(legacy.get(i, 0) for i in _LEGACY) if legacy else dims
    return shape, math.prod(shape) == (stored[8] or stored[5])


# -- HDF5 --


def _save_hdf5(path: Path, solver: Solver, learned_net: str) -> None:
    import numpy as np

    h5py = _h5py()
    name = os.fsencode(learned_net)
    with replacing(path) as partial, h5py.File(partial, "w") as file:
        file["iter"] = np.array([solver.iteration], np.int32)
        # Caffe reads only fixed-length strings with a terminating zero.
        file["learned_net"] = np.array(name, dtype=f"S{len(name) + 1}")
        file["current_step"] = np.array([solver.current_step], np.int32)
        group = file.create_group("history")
        for i, history in enumerate(solver.history):
            group[str(i)] = history.detach().float().cpu().numpy()


def _of_hdf5(file: Any, path: str) -> _State:
    import numpy as np

    try:
        group = file["history"]
        blobs = [group[str(i)] for i in range(len(group))]
        iteration, step = (int(file[name][0]) for name in ("iter", "current_step"))
        name = os.fsdecode(bytes(file["learned_net"][()])) if "learned_net" in file else ""
    except (KeyError, TypeError, AttributeError, IndexError):
        raise _not_a_state(path) from None

    def array(i: int) -> Array:
        return np.asarray(blobs[i][()], np.float32)

    return _State(iteration, step, name, [tuple(blob.shape) for blob in blobs], array)


def _h5py() -> Any:
    try:
        import h5py
    except ModuleNotFoundError:
        raise FileError(
            "solver states in HDF5 need h5py",
            hint="pip install 'caffe-netbuilder[data]', or save by snapshot_format: BINARYPROTO",
        ) from None
    return h5py
