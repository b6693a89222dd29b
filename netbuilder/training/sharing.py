"""What several ranks change in a training: the batch of each, the arithmetic of all, and restarts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netbuilder.checks.fitting import fitting, needs
from netbuilder.errors import EngineError
from netbuilder.schema.dialects import dialect as find_dialect
from netbuilder.solvers.batch import data_batch
from netbuilder.solvers.checks import solver_type
from netbuilder.solvers.fields import SCALED
from netbuilder.storage.files import read_record
from netbuilder.training.preflight import NetInUse
from netbuilder.training.snapshots import RUN_RECORD, SnapshotNames, state_to_resume, states

if TYPE_CHECKING:
    from netbuilder.schema import SolverParameter
    from netbuilder.training.ranks import Ranks

__all__ = ["arithmetic", "begun_by", "dealt", "divides", "resumed"]

_DIVIDES = "nvcaffe"  # parallel.cpp of NVIDIA/caffe, P2PSync::divide_batch_size


def divides(uses: Sequence[NetInUse], dialect: str | None) -> bool:
    """Whether the Caffe of these nets divides the batch of the file by the number of devices."""
    if dialect is not None:
        return find_dialect(dialect).name == _DIVIDES
    return [d.name for d in fitting(needs(use.net for use in uses))] == [_DIVIDES]


def dealt(uses: Sequence[NetInUse], ranks: int) -> list[NetInUse]:
    """The nets as each rank of NVCaffe runs them: the batch of TRAIN is divided, and rounded up."""
    from netbuilder.transforms.rebatch import rebatched

    return [
        use._replace(net=rebatched(use.net, -(-batch // ranks)))
        if use.source.phase == "TRAIN" and (batch := data_batch(use.net))
        else use
        for use in uses
    ]


def arithmetic(
    solver: SolverParameter,
    *,
    batch: int,
    ranks: int,
    images: int | None = None,
    file_batch: int | None = None,
) -> list[str]:
    """What so many ranks make of a solver, in lines: images an update, the rate, epochs.

    `batch` are the images of a rank and pass; `file_batch` is the batch of the file where it was divided.
    """
    whole, size = batch * ranks * solver.iter_size, solver.iter_size
    lines = [f"{ranks} ranks * batch {batch} * iter_size {size} = {whole:,} images an update"]
    if file_batch is not None:
        lines.insert(0, f"batch {file_batch} of the file / {ranks} ranks = {batch} (NVIDIA's Caffe divides)")
    rate = solver.base_lr
    said = f"base_lr {rate:g} is taken as it is, for {whole:,} images an update"
    if solver_type(solver) in SCALED and file_batch is None and ranks > 1:
        said += (
            f"; if it is meant for the {batch * size:,} of one rank, linear scaling gives {rate * ranks:g}"
        )
    lines.append(said)
    if images:
        lines.append(
            f"{images:,} images / {whole:,} = {images / whole:,.1f} updates an epoch; max_iter "
            f"{solver.max_iter:,} = {solver.max_iter * whole / images:,.1f} epochs"
        )
    return lines


def resumed(
    prefix: str,
    names: SnapshotNames,
    resume: str | None,
    ranks: Ranks,
    force: bool,
    max_iter: int | None = None,
) -> Path | None:
    """The state to go on from: as the user says; of a training that its launcher restarts, its last one.

    "auto" means the latest if there is one. Raises FileError, ConfigError, EngineError.
    """
    begun = begun_by(prefix, ranks, force=force or resume is not None)
    if begun is not None:
        if begun["end"] == "diverged":
            raise EngineError(
                f"the training diverged at iteration {begun['iteration']}, and would do so again: it is not "
                "restarted",
                hint="choose a smaller base_lr, or a longer warm-up",
            )
        resume = begun.get("snapshot") or resume
    if resume == "auto":
        resume = "latest" if states(prefix, names) else None
    return state_to_resume(prefix, names, resume, max_iter)


def begun_by(prefix: str, ranks: Ranks, *, force: bool) -> dict[str, Any] | None:
    """The record of the training that this launch of the processes has begun, None if it has begun none.

    A machine that joins anew has not counted the restarts. It takes a record of the same launch for begun
    unless the user asked for something else by `force`.
    """
    if not ranks.run or (force and not ranks.restarts):
        return None
    record = read_record(f"{prefix}{RUN_RECORD}")
    if record.get("run") != ranks.run or record.get("end") == "done":
        return None
    return record
