"""Snapshots of a training: Caffe's model and solver state, and a file with what else a resumed run needs.

All files are written in the plan's hidden folder, flushed to the disk and then renamed: first the model, the
state last. A state with its final name is therefore complete, whenever the process is killed, and so are the
files that go with it.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from netbuilder.engines.torch.solver_state import save_state
from netbuilder.errors import FileError
from netbuilder.storage.files import reason
from netbuilder.training.snapshots import SNAPSHOTS
from netbuilder.weights.write import write_layers

if TYPE_CHECKING:
    from netbuilder.engines.torch.network import NetModule
    from netbuilder.engines.torch.operator import Operator
    from netbuilder.engines.torch.solver import Solver
    from netbuilder.training.plan import TrainingPlan

__all__ = ["digest", "read_rest", "save_model", "write_snapshot"]

_REST, _EMA = SNAPSHOTS.more


def write_snapshot(
    plan: TrainingPlan,
    net: NetModule,
    solver: Solver,
    rest: dict[str, Any],
    averaged: Callable[[Path], None] | None = None,
) -> tuple[str, str]:
    """Write the snapshot of the solver's iteration, and return the names of model and state.

    `rest` is what a resumed run needs besides them; `averaged` writes the model of averaged weights. Raises
    FileError; files of other snapshots are not touched.
    """
    hdf5 = plan.solver.snapshot_format == 0
    suffix = ".h5" if hdf5 else ""
    name = f"_iter_{solver.iteration}"
    model, state = (f"{name}{ending}{suffix}" for ending in (SNAPSHOTS.model, SNAPSHOTS.state))
    begun = str(plan.partial / "snapshot")
    written = [model, f"{name}{_REST}", state]
    try:
        for left in plan.partial.iterdir():  # of a snapshot that failed
            left.unlink()
        save_model(net, f"{begun}{model}", hdf5=hdf5)
        save_state(f"{begun}{state}", solver, f"{plan.prefix}{model}", hdf5=hdf5)
        _write_rest(Path(f"{begun}{name}{_REST}"), rest, Path(f"{begun}{state}"))
        if averaged is not None:
            averaged(Path(f"{begun}{name}{_EMA}"))
            written.insert(1, f"{name}{_EMA}")
        for file in written:
            _sync(f"{begun}{file}")
        if os.path.exists(f"{plan.prefix}{state}"):  # of an earlier run: it must not pair with the new model
            os.remove(f"{plan.prefix}{state}")
        for file in written:
            os.replace(f"{begun}{file}", f"{plan.prefix}{file}")
        _sync(os.path.dirname(plan.prefix) or ".")
    except (OSError, FileError) as error:
        text = error.text if isinstance(error, FileError) else reason(error)
        raise FileError(
            f"the snapshot of iteration {solver.iteration} could not be written: {text}",
            hint="make room, then --resume latest goes on from the last snapshot that is complete",
        ) from None
    return f"{plan.prefix}{model}", f"{plan.prefix}{state}"


def read_rest(state: Path) -> dict[str, Any] | None:
    """What goes with a state; None if there is nothing, as with one of Caffe's. Raises FileError."""
    path = state.with_name(state.name.rpartition(SNAPSHOTS.state)[0] + _REST)
    if not path.is_file():
        return None
    try:
        rest: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if rest["state"] != digest(state):
            return None  # the state is another run's, of another engine perhaps
    except Exception as error:
        raise FileError(
            f"'{path}' cannot be read: {str(error).splitlines()[0]}",
            hint="remove it to resume from the model and the state alone",
        ) from None
    return rest


def save_model(net: NetModule, path: str, *, hdf5: bool = False, force: bool = False) -> None:
    """Write the net with its parameters as Caffe writes them in a snapshot. Raises FileError, OSError.

    `force` replaces another file, as HDF5 always does.
    """
    if hdf5:
        _save_hdf5(net, path)
        return
    layers = ((_layer(op, net.phase), _arrays(op)) for op in net.operators().values())
    write_layers(path, net.net_name, layers, force=force)


def _layer(operator: Operator, phase: str) -> bytes:
    stored = operator.layer_message()
    stored.phase = 0 if phase == "TRAIN" else 1
    return bytes(stored.SerializeToString())


def _arrays(operator: Operator) -> list[Any]:
    return [blob.detach().float().cpu().numpy() for blob in operator.blobs()]


def _save_hdf5(net: NetModule, path: str) -> None:
    """Source: net.cpp, ToHDF5: a group for each layer, and shared parameters at their owner only."""
    import h5py

    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        seen: set[int] = set()
        for operator in net.operators().values():
            group = data.require_group(operator.name)
            for i, blob in enumerate(operator.blobs()):
                if operator.owns(i) and id(operator.blob(i)) not in seen:
                    seen.add(id(operator.blob(i)))
                    group[str(i)] = blob.detach().float().cpu().numpy()


def _write_rest(path: Path, rest: dict[str, Any], state: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"version": 1, "state": digest(state), **rest}, buffer)
    path.write_bytes(buffer.getbuffer())


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            found.update(part)
    return found.hexdigest()


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
