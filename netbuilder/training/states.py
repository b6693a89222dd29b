"""Whether a solver state fits the training that resumes from it.

Caffe compares the number of its histories alone: those of another net, or of another type of solver with as
many of them, would be taken as they are. A state does not tell the type; the record beside it does.
Source: sgd_solver.cpp, RestoreSolverStateFromBinaryProto; blob.cpp, FromProto, which takes any shape.
"""

from __future__ import annotations

import mmap
from pathlib import Path

from netbuilder.checks.weights import fit
from netbuilder.errors import ConfigError, FileError, NetBuilderError, counted, shape_text
from netbuilder.net import Net
from netbuilder.schema import BlobShape
from netbuilder.storage.files import read_record
from netbuilder.storage.wire import BYTES, VARINT, WireError, fields, signed, varint
from netbuilder.training.snapshots import RUN_RECORD
from netbuilder.weights.model import read_model

__all__ = ["check_state", "histories"]

_HISTORY = 3  # of SolverState
_LEGACY, _SHAPE = (1, 2, 3, 4), 7  # of BlobProto
_TWO = ("AdaDelta", "Adam")  # types with two histories for each parameter


def check_state(state: Path, model: Path, net: Net, type: str) -> None:
    """Raise ConfigError if a state is of another net or type of solver.

    One that cannot be read, or whose model does not fit, is left to the engine, which says what is wrong.
    """
    try:
        if fit([net], read_model(model)).refused:
            return
    except NetBuilderError:
        return
    before = _recorded_type(state)
    if before and before != type:
        raise _unfit(f"'{state}' is of a solver of type {before}, and this one is {type}", "type")
    params = [(layer, p) for layer in net for p in layer.params if not p.shared_with]
    if any(layer.unknown for layer in net):
        return
    try:
        found = histories(state)
    except (OSError, ValueError, WireError, FileError, ImportError, KeyError, RuntimeError, AttributeError):
        return
    each = 2 if type in _TWO else 1
    if len(found) != each * len(params):
        raise _unfit(
            f"'{state}' has {counted(len(found), 'history blob')}, and {type} has {each} for each of the "
            f"{counted(len(params), 'parameter blob')} of this net",
            "resume",
        )
    for i, shape in enumerate(found):
        layer, param = params[i % len(params)]
        if shape not in (param.shape, (1,) * (4 - len(param.shape)) + param.shape):
            raise _unfit(
                f"history {i} of '{state}' is {shape_text(shape)}, and the {param.role} of layer "
                f"'{layer.name}' is {shape_text(param.shape)}",
                "resume",
            )


def _unfit(where: str, key: str) -> ConfigError:
    return ConfigError(
        "the snapshot does not fit: it is of another net, or of another type of solver", key=key, path=where,
        hint="go on with the net and the solver that it was saved with; --weights begins with its weights, "
        "without the history",
    )  # fmt: skip


def _recorded_type(state: Path) -> str:
    """The type of solver by the record of the training that wrote a state; "" if it does not say."""
    record = state.with_name(f"{state.name.rpartition('_iter_')[0]}{RUN_RECORD}")
    return str(read_record(record).get("type", ""))


def histories(state: Path) -> list[tuple[int, ...]]:
    """The shapes of the histories in a state.

    Raises OSError, ValueError, WireError, ImportError, KeyError.
    """
    if state.suffix == ".h5":
        import h5py

        with h5py.File(state, "r") as file:
            return [tuple(file["history"][str(i)].shape) for i in range(len(file["history"]))]
    with state.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return [_shape(data, at, end) for number, _, at, end in fields(data) if number == _HISTORY]


def _shape(data: mmap.mmap, begin: int, end: int) -> tuple[int, ...]:
    """The shape of a BlobProto. Source: blob.cpp, FromProto."""
    legacy: dict[int, int] = {}
    dims: tuple[int, ...] = ()
    for number, wire, at, stop in fields(data, begin, end):
        if number in _LEGACY and wire == VARINT:
            legacy[number] = signed(varint(data, at, stop)[0], 32)
        elif number == _SHAPE and wire == BYTES:
            dims += tuple(BlobShape.FromString(data[at:stop]).dim)
    return tuple(legacy.get(i, 0) for i in _LEGACY) if legacy else dims
