"""Training by real Caffe: a solver file driven to its end, from its beginning or from a snapshot.

Caffe runs in a process of its own, wherever `netbuilder.engines.caffe.install` finds one. By pycaffe, one
iteration is run after the other, so that rates that stock Caffe lacks can be set and a stop is obeyed at
once. By the `caffe` binary, its log is followed. Either way snapshots are written under another name, and
renamed when they are whole.

A run that is resumed by pycaffe reads the data again, and draws the random numbers again, that the iterations
before the snapshot took; Caffe itself does not, and begins with the first record. With a `random_seed`, on
the CPU and on one thread, it then ends with the weights, bit by bit, of a run that was never stopped.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from netbuilder.engines.caffe.binary_worker import BinaryWorker
from netbuilder.engines.caffe.install import INSTALL_COMMAND, Install, find, missing
from netbuilder.engines.caffe.jobs import NET_JOBS, TRAIN_JOBS, Plan
from netbuilder.engines.caffe.process import Process
from netbuilder.engines.caffe.worker import Worker
from netbuilder.errors import ConfigError, EngineError, FileError
from netbuilder.measure.counts import batch_size
from netbuilder.net import Net
from netbuilder.solvers import read_solver, require
from netbuilder.training.labels import check_labels
from netbuilder.training.sources import check_files

__all__ = [
    "Training",
    "found",
    "latest",
    "net_job",
    "prefix_of",
    "prepare",
    "start",
    "states",
    "wanted_gpus",
]

_STATE = re.compile(r"_iter_(\d+)\.solverstate(\.h5)?")
_WORKERS: dict[str, type[Worker] | type[BinaryWorker]] = {"pycaffe": Worker, "binary": BinaryWorker}


def found() -> Install:
    """The Caffe to use; raises EngineError if there is none."""
    install = find()
    if install is None:
        raise EngineError(missing(), hint=f"install it by `{INSTALL_COMMAND}`; see docs/real-caffe.md")
    return install


def start(install: Install, job: dict[str, Any], log: IO[bytes] | None = None, threads: int = 1) -> Process:
    """The worker that does a job; `log` takes Caffe's own lines. Raises EngineError if it does not start."""
    return _WORKERS[install.kind](install, job, log, threads)


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training that is ready to start: its solver, what the worker is sent, and where snapshots go.

    `old` are the files of an earlier training that this one takes the place of.
    """

    solver: Any
    job: dict[str, Any]
    prefix: str
    partial: Path
    begin: int
    old: tuple[Path, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def remove_old(self) -> None:
        """Remove the snapshots of an earlier training, now that this one runs."""
        for file in self.old:
            file.unlink(missing_ok=True)

    def clean(self) -> None:
        """Remove the folder in which snapshots are written before they are renamed."""
        shutil.rmtree(self.partial, ignore_errors=True)


def prepare(
    path: str,
    install: Install,
    *,
    gpus: Sequence[int | str] | None = None,
    weights: tuple[str, ...] = (),
    resume: str | None = None,
    replay: bool = True,
    force: bool = False,
) -> Training:
    """Check all that can be checked before Caffe starts, and make the folder of the snapshots.

    `gpus` None: as the solver says. `resume` is "latest" or a state file. Raises ConfigError, FileError,
    PrototxtError, or what is wrong with the net.
    """
    solver = read_solver(path)
    warnings = [p.text for p in require(solver, where=path)]
    if weights and resume:
        raise ConfigError(
            "--weights and --resume exclude each other", key="weights", hint="a snapshot has weights"
        )
    prefix = prefix_of(path, solver)
    nets = list(_nets(solver))
    given = (*weights, *solver.weights)
    visible = [*_there(given), *(name for where, net in nets for name in check_files(net, where))]
    for where, net in nets:
        check_labels(net, where)
    state = _state_to_resume(prefix, resume)
    old = _old_snapshots(prefix, force) if state is None else ()
    if gpus is None:
        gpus = [solver.device_id] if solver.HasField("solver_mode") and solver.solver_mode == 1 else []
    plan = Plan(
        solver=solver,
        prefix=prefix,
        partial=Path(prefix).with_name(f".{Path(prefix).name}.partial"),
        gpus=tuple(gpus),
        weights=weights,
        state=state,
        model=state and _model_of(state),
        begin=_iteration(state) if state else 0,
        replay=replay,
        visible=tuple(visible),
    )
    job, more = TRAIN_JOBS[install.kind](plan, install)
    warnings += more
    if solver.random_seed < 0:
        warnings.append("random_seed is not set: no two runs are alike, a resumed one neither")
    _make_folder(plan.partial)
    return Training(
        solver=solver,
        job=job,
        prefix=prefix,
        partial=plan.partial,
        begin=plan.begin,
        old=old,
        warnings=tuple(warnings),
        notes=_batches(nets[0][1], plan) if nets and (len(gpus) > 1 or "all" in gpus) else (),
    )


def net_job(
    do: str,
    path: str,
    install: Install,
    *,
    net: Net,
    weights: tuple[str, ...],
    iterations: int,
    gpus: Sequence[int | str] = (),
) -> dict[str, Any]:
    """What the worker is sent to test or time the net of a file; raises FileError, ConfigError."""
    _there(weights)
    check_files(net, path)
    check_labels(net, path)
    types = {layer.name: layer.type for layer in net}
    make = NET_JOBS[install.kind]
    return make(do, path, install, net.phase, weights, iterations, tuple(gpus), types)


def wanted_gpus(text: str) -> list[int | str]:
    """The devices of `--gpu 0,1`, or "all". Raises ConfigError."""
    if text == "all":
        return ["all"]
    words = text.split(",")
    if not all(w.strip().isdigit() for w in words) or len({int(w) for w in words}) != len(words):
        raise ConfigError(f"--gpu takes numbers or all, got '{text}'", key="gpu", hint="as in --gpu 0,1")
    return [int(w) for w in words]


_NVIDIA = " (NVIDIA's Caffe divides the batch of the file instead)"


def _batches(net: Net, plan: Plan) -> tuple[str, ...]:
    """What several GPUs make of the batch of the file."""
    batch, passes = batch_size(net), plan.solver.iter_size
    each = f"batch {batch} on each GPU"
    if "all" in plan.gpus:
        return (f"{each}: the global batch is {batch * passes} times their number{_NVIDIA}",)
    text = f"{each}, {len(plan.gpus)} GPUs" + (f", iter_size {passes}" if passes > 1 else "")
    return (f"{text}: the global batch is {batch * passes * len(plan.gpus)}{_NVIDIA}",)


# -- snapshots -------------------------------------------------------------------------------------------


def prefix_of(path: str, solver: Any) -> str:
    """Where snapshots go, by Caffe's rule for a solver that does not say, or names a folder."""
    prefix = str(solver.snapshot_prefix)
    if not prefix:
        return str(Path(path).with_suffix(""))
    return os.path.join(prefix, Path(path).stem) if os.path.isdir(prefix) else prefix


def states(prefix: str) -> list[Path]:
    """The solver states of a prefix that have their model, the latest last."""
    folder, base = Path(prefix).parent, Path(prefix).name
    if not folder.is_dir():
        return []
    found = [p for p in folder.iterdir() if p.name.startswith(base) and _STATE.fullmatch(p.name[len(base) :])]
    return sorted((p for p in found if _model_of(p).is_file()), key=_iteration)


def latest(prefix: str) -> Path | None:
    """The latest whole snapshot of a prefix."""
    return next(reversed(states(prefix)), None)


def _iteration(state: Path) -> int:
    m = re.search(_STATE.pattern + "$", state.name)
    if not m:
        raise ConfigError(
            f"'{state}' has not the name of a snapshot", key="resume", hint="as in net_iter_100.solverstate"
        )
    return int(m[1])


def _model_of(state: Path) -> Path:
    return state.with_name(state.name.replace(".solverstate", ".caffemodel"))


def _state_to_resume(prefix: str, resume: str | None) -> Path | None:
    if resume is None:
        return None
    if resume == "latest":
        state = latest(prefix)
        if state is None:
            raise FileError(
                f"there is no snapshot to resume from: {prefix}_iter_*.solverstate", hint="leave --resume out"
            )
        return state
    state = Path(resume)
    _iteration(state)
    for file in (state, _model_of(state)):
        if not file.is_file():
            raise FileError(f"there is no file '{file}' to resume from")
    return state


def _old_snapshots(prefix: str, force: bool) -> tuple[Path, ...]:
    """The snapshots of an earlier training, which are refused unless `force`."""
    there = states(prefix)
    if there and not force:
        raise FileError(
            f"there are snapshots of an earlier training: {there[-1]} is the latest of {len(there)}",
            hint="--resume latest goes on with it; --force removes them and begins anew; "
            "or give the solver another snapshot_prefix",
        )
    return tuple(file for state in there for file in (state, _model_of(state)))


def _make_folder(partial: Path) -> None:
    """Make the folder of the snapshots, and an empty one in it to write them in."""
    try:
        shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
        partial.mkdir(parents=True)
    except OSError as error:
        raise FileError(
            f"cannot make the folder '{partial.parent}' of the snapshots: {error.strerror}"
        ) from None


# -- files ------------------------------------------------------------------------------------------------


def _nets(solver: Any) -> Iterator[tuple[str, Net]]:
    """The nets that the solver names, read as it uses them: the one to train first, then those to test.

    Source: solver.cpp, InitTrainNet and InitTestNets.
    """
    if solver.train_net or solver.net:
        yield _net(solver.train_net or solver.net, "TRAIN", solver.train_state)
    inline = len(solver.test_net_param)
    own = [*solver.test_net]
    if solver.net:
        own += [solver.net] * (len(solver.test_iter) - inline - len(own))
    for i, name in enumerate(own, inline):
        yield _net(name, "TEST", solver.test_state[i] if i < len(solver.test_state) else None)


def _net(path: str, phase: str, state: Any) -> tuple[str, Net]:
    from netbuilder.prototxt import reader

    if not Path(path).is_file():
        raise FileError(
            f"the solver names a net that is not there: '{path}'",
            hint="Caffe looks from the folder that it is started in",
        )
    level, stages = (state.level, tuple(state.stage)) if state is not None else (0, ())
    return path, reader.read(path, phase, level=level, stages=stages, dialect="any", unknown="keep")


def _there(weights: Sequence[str]) -> Sequence[str]:
    for name in weights:
        if not Path(name).is_file():
            raise FileError(f"there is no file '{name}' of weights")
    return weights
