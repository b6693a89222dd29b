"""Training by real Caffe: a solver file driven to its end, from its beginning or from a snapshot.

Caffe runs in a process of its own, in whatever Python `netbuilder.engines.caffe_install` finds, by pycaffe:
one iteration after the other, so that rates that stock Caffe lacks can be set, a stop is obeyed at once, and
snapshots are written under another name and renamed when they are whole.

A resumed run reads the data again, and draws the random numbers again, that the iterations before the
snapshot took; Caffe itself does not, and begins with the first record. With a `random_seed`, on the CPU and
on one thread, it then ends with the weights, bit by bit, of a run that was never stopped.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netbuilder.engines.caffe_install import Install
from netbuilder.errors import ConfigError, EngineError, FileError
from netbuilder.files import read_text
from netbuilder.net import Net
from netbuilder.solvers import read_solver, require, schedule_of

__all__ = ["Training", "check_files", "latest", "net_job", "prefix_of", "prepare", "states", "wanted_gpus"]

_STATE = re.compile(r"_iter_(\d+)\.solverstate(\.h5)?")
_PATHS = re.compile(r"""\b(source|mean_file|root_folder)(\s*:\s*)(["'])([^"'\n]*)\3""")
_NEVER = 2**31 - 1
_SOURCES = ("data_param", "image_data_param", "hdf5_data_param", "window_data_param")


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
    gpus: list[int] | None = None,
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
    for name in (*weights, *solver.weights):
        if not Path(name).is_file():
            raise FileError(f"there is no file '{name}' of weights")
    for name in _net_files(solver):
        _check_sources(name)
    state = _state_to_resume(prefix, resume)
    old = _old_snapshots(prefix, force) if state is None else ()
    partial = _folders(prefix)
    if gpus is None:
        gpus = [solver.device_id] if solver.HasField("solver_mode") and solver.solver_mode == 1 else []
    seen = _view(install)
    job = {
        "do": "train",
        "files": _worker_files(solver, str(partial / "snapshot"), seen),
        "gpus": gpus,
        "weights": [seen(w) for w in weights],
        "state": state and seen(str(state)),
        "model": state and seen(str(_model_of(state))),
        "replay": replay,
        "rates": _packed_rates(solver),
        "partial": seen(str(partial / "snapshot")),
        "prefix": seen(prefix),
        "written_prefix": prefix,
        "hdf5": solver.snapshot_format == 0,
        "snapshot": solver.snapshot,
        "after_train": solver.snapshot_after_train,
        "test_iter": list(solver.test_iter),
        "test_interval": solver.test_interval if solver.test_iter else 0,
        "test_initialization": solver.test_initialization,
        "max_iter": solver.max_iter,
        "iter_size": solver.iter_size,
    }
    if solver.random_seed < 0:
        warnings.append("random_seed is not set: no two runs are alike, a resumed one neither")
    return Training(
        solver=solver,
        job=job,
        prefix=prefix,
        partial=partial,
        begin=_iteration(state) if state else 0,
        old=old,
        warnings=tuple(warnings),
    )


def net_job(
    do: str, path: str, install: Install, *, phase: str, weights: tuple[str, ...], iterations: int
) -> dict[str, Any]:
    """What the worker is sent to test or time a net; raises FileError."""
    for name in weights:
        if not Path(name).is_file():
            raise FileError(f"there is no file '{name}' of weights")
    seen = _view(install)
    return {
        "do": do,
        "files": {"net.prototxt": _seen_net(read_text(path), seen)},
        "gpus": [],
        "phase": phase,
        "weights": [seen(w) for w in weights],
        "iterations": iterations,
    }


def wanted_gpus(text: str) -> list[int]:
    """The devices of `--gpu 0,1` or `--gpu all`. Raises ConfigError, EngineError if there are none."""
    if text != "all":
        words = text.split(",")
        if not all(w.strip().isdigit() for w in words) or len(set(words)) != len(words):
            raise ConfigError(f"--gpu takes numbers or all, got '{text}'", key="gpu", hint="as in --gpu 0,1")
        return [int(w) for w in words]
    import subprocess

    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
        count = sum(line.startswith("GPU ") for line in done.stdout.splitlines())
    except (OSError, subprocess.TimeoutExpired):
        count = 0
    if not count:
        raise EngineError(
            "there is no GPU here: nvidia-smi lists none", hint="leave --gpu out to train on the CPU"
        )
    return list(range(count))


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


def _folders(prefix: str) -> Path:
    """Make the folder of the snapshots, and an empty one in it to write them in."""
    target = Path(prefix)
    partial = target.with_name(f".{target.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
        partial.mkdir(parents=True)
    except OSError as error:
        raise FileError(
            f"cannot make the folder '{partial.parent}' of the snapshots: {error.strerror}"
        ) from None
    return partial


# -- what the worker is sent -----------------------------------------------------------------------------


def _view(install: Install) -> Any:
    """How the worker sees a path: in a root, only what is relative to our folder leads out of it."""
    if install.root is None:
        return os.path.abspath
    return lambda path: os.path.relpath(os.path.realpath(path))


def _worker_files(solver: Any, partial: str, seen: Any) -> dict[str, str]:
    """The solver as the worker runs it: tests, snapshots and rates are its own; and the nets, as files."""
    from netbuilder.prototxt import text as text_format

    sent = type(solver)()
    sent.CopyFrom(solver)
    files: dict[str, str] = {}
    for field in ("net", "train_net"):
        if sent.HasField(field):
            files[f"{field}.prototxt"] = _seen_net(read_text(getattr(sent, field)), seen)
            setattr(sent, field, f"@FOLDER@/{field}.prototxt")
    for i, name in enumerate(list(sent.test_net)):
        files[f"test_net{i}.prototxt"] = _seen_net(read_text(name), seen)
        sent.test_net[i] = f"@FOLDER@/test_net{i}.prototxt"
    sent.ClearField("snapshot")
    sent.snapshot_after_train = False
    sent.snapshot_prefix = seen(partial)
    sent.display = 1
    if sent.test_iter:
        sent.test_interval = _NEVER
        sent.test_initialization = False
    if not schedule_of(solver).stock:
        sent.lr_policy = "fixed"
    names = [seen(w) for w in sent.weights]
    del sent.weights[:]
    sent.weights.extend(names)
    files["solver.prototxt"] = text_format.format_fields(sent)
    return files


def _seen_net(text: str, seen: Any) -> str:
    """A net's text with the names of its files as the worker sees them."""

    def replaced(m: re.Match[str]) -> str:
        path = m[4]
        if not path:
            return m[0]
        end = "/" if m[1] == "root_folder" and path.endswith("/") else ""
        return f"{m[1]}{m[2]}{m[3]}{seen(path)}{end}{m[3]}"

    return _PATHS.sub(replaced, text)


def _packed_rates(solver: Any) -> str:
    """The rates of all iterations as float32, for a schedule that Caffe lacks; else nothing."""
    schedule = schedule_of(solver)
    return "" if schedule.stock else base64.b64encode(array("f", schedule.rates()).tobytes()).decode()


def _net_files(solver: Any) -> list[str]:
    names = [n for n in (solver.net, solver.train_net, *solver.test_net) if n]
    for name in names:
        if not Path(name).is_file():
            raise FileError(
                f"the solver names a net that is not there: '{name}'",
                hint="Caffe looks from the folder that it is started in",
            )
    return names


def _check_sources(path: str) -> None:
    """Read a net in both phases, and look for the files that its data layers name."""
    from netbuilder.prototxt import reader

    for phase in ("TRAIN", "TEST"):
        check_files(reader.read(path, phase, dialect="any", unknown="keep"), path)


def check_files(net: Net, path: str) -> None:
    """Raise FileError if a file that a data layer of the net names is not there."""
    for layer in net:
        for name in _SOURCES:
            source = getattr(layer.proto, name).source if layer.proto.HasField(name) else ""
            if source and not os.path.exists(source):
                raise FileError(
                    f"layer '{layer.name}' reads '{source}', which is not there", where=path,
                    hint="netbuilder data makes databases; names are relative to the folder that one is in",
                )  # fmt: skip
        mean = layer.proto.transform_param.mean_file
        if mean and not os.path.exists(mean):
            raise FileError(
                f"layer '{layer.name}' takes the mean from '{mean}', which is not there", where=path
            )
