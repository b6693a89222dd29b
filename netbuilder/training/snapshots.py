"""Snapshots by their names: where they go, which ones exist, and which one to resume from.

A snapshot is two files, each named `PREFIX_iter_N` plus an ending: the model, which holds the weights, and
the state, which holds everything else that a resumed run needs. An engine chooses the endings and renames the
state last, so an existing state is complete and so is its model. What a resumed run needs and the two lack,
such as the position in the data, may be in further files, which are written before the state.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from netbuilder.errors import ConfigError, FileError, NetBuilderError
from netbuilder.storage.wire import WireError, fields

if TYPE_CHECKING:
    from netbuilder.schema import SolverParameter

__all__ = [
    "RUN_RECORD",
    "SNAPSHOTS",
    "TEST_TABLE",
    "TRAIN_TABLE",
    "SnapshotNames",
    "latest",
    "old_snapshots",
    "only_offered",
    "prefix_of",
    "require_whole",
    "state_to_resume",
    "states",
]

# The endings of a training's record, whose files share the prefix of its snapshots (`record.py`).
RUN_RECORD, TRAIN_TABLE, TEST_TABLE = "_run.json", "_train.csv", "_test.csv"


@dataclass(frozen=True, slots=True)
class SnapshotNames:
    """The endings of an engine's snapshots; both files of a pair may add one of `suffixes`, for a format.

    `more` are the endings of further files that may go with a pair; they have no suffix.
    """

    state: str
    model: str
    suffixes: tuple[str, ...] = ("",)
    more: tuple[str, ...] = ()

    @property
    def pattern(self) -> str:
        """A regular expression for a state's name after the prefix; group 1 is the iteration."""
        return rf"_iter_(\d+){re.escape(self.state)}(?:{'|'.join(map(re.escape, self.suffixes))})"

    def iteration(self, state: Path) -> int:
        """The iteration of a state. Raises ConfigError if the file is not named like one."""
        m = re.search(f"{self.pattern}$", state.name)
        if not m:
            raise ConfigError(
                f"'{state}' is not named like a snapshot", key="resume",
                hint=f"as in net_iter_100{self.state}",
            )  # fmt: skip
        return int(m[1])

    def model_of(self, state: Path) -> Path:
        """The model that goes with a state."""
        base, _, suffix = state.name.rpartition(self.state)
        return state.with_name(f"{base}{self.model}{suffix}")

    def files(self, state: Path) -> tuple[Path, ...]:
        """The state and the files that go with it; the further ones need not exist."""
        base = state.name.rpartition(self.state)[0]
        return (state, self.model_of(state), *(state.with_name(f"{base}{ending}") for ending in self.more))


# Caffe's; the further files are PyTorch's: what else a resumed run needs, and the model of averaged weights.
SNAPSHOTS = SnapshotNames(
    state=".solverstate",
    model=".caffemodel",
    suffixes=("", ".h5"),
    more=(".runstate", ".ema.caffemodel"),
)


def prefix_of(path: str, solver: SolverParameter) -> str:
    """The prefix of snapshots; by Caffe's rule if the solver names none, or a folder."""
    prefix = str(solver.snapshot_prefix)
    if not prefix:
        return str(Path(path).with_suffix(""))
    return os.path.join(prefix, Path(path).stem) if os.path.isdir(prefix) else prefix


def states(prefix: str, names: SnapshotNames) -> list[Path]:
    """The states with this prefix whose models exist, the latest last."""
    folder, base = Path(prefix).parent, Path(prefix).name
    if not folder.is_dir():
        return []
    named = re.compile(names.pattern)
    candidates = [
        p for p in folder.iterdir() if p.name.startswith(base) and named.fullmatch(p.name[len(base) :])
    ]
    return sorted((p for p in candidates if names.model_of(p).is_file()), key=names.iteration)


def latest(prefix: str, names: SnapshotNames) -> Path | None:
    """The latest complete snapshot with this prefix."""
    return next(reversed(states(prefix, names)), None)


def require_whole(state: Path, prefix: str, names: SnapshotNames) -> None:
    """Raise FileError if a snapshot is cut short or damaged, which names the last one that works."""
    fault = _fault(state, names)
    if not fault:
        return
    others = (one for one in reversed(states(prefix, names)) if one != state and not _fault(one, names))
    works = next(others, None)
    raise FileError(
        f"cannot resume from '{state}': {fault}",
        hint=f"--resume {shlex.quote(str(works))} goes on from iteration {names.iteration(works)}, the last "
        "snapshot that works" if works else "no other snapshot works: leave --resume out",
    )  # fmt: skip


def _fault(state: Path, names: SnapshotNames) -> str:
    """What is wrong with the files of a snapshot; "" if nothing can be seen, or the format is not Caffe's."""
    from netbuilder.weights.model import read_model

    if (names.model, names.state) != (".caffemodel", ".solverstate"):
        return ""
    model = names.model_of(state)
    try:
        read_model(model)
    except NetBuilderError as error:
        return error.text
    try:
        if state.suffix == ".h5":
            import h5py

            h5py.File(state, "r").close()
        else:
            for _ in fields(state.read_bytes()):
                pass
    except ImportError:
        pass
    except (OSError, WireError):
        return f"'{state}' is cut short, or not a solver state"
    return ""


def only_offered(hint: str, prefix: str, names: SnapshotNames) -> str:
    """A hint without its offer of `--resume latest` if there is no snapshot to resume from."""
    if latest(prefix, names) is not None:
        return hint
    return re.sub(r"(?:[;,] )?(?:then )?--resume latest goes on from the last snapshot[^;]*", "", hint).strip(
        "; "
    )


def state_to_resume(
    prefix: str, names: SnapshotNames, resume: str | None, max_iter: int | None = None
) -> Path | None:
    """The state that `--resume` names: None, "latest" or a file.

    Raises FileError, and ConfigError for a state beyond `max_iter`.
    """
    if resume is None:
        return None
    state = Path(resume) if resume != "latest" else latest(prefix, names)
    if state is None:
        raise FileError(
            f"there is no snapshot to resume from: {prefix}_iter_*{names.state}",
            hint="leave --resume out",
        )
    iteration = names.iteration(state)
    for file in (state, names.model_of(state)):
        if not file.is_file():
            raise FileError(f"there is no file '{file}' to resume from")
    if max_iter is not None and iteration > max_iter:
        within = [one for one in states(prefix, names) if names.iteration(one) <= max_iter]
        earlier = f"; --resume {within[-1]} is the last one before its end" if within else ""
        raise ConfigError(
            f"'{state}' is beyond the end of this training: max_iter is {max_iter}", key="max_iter",
            hint=f"raise max_iter above {iteration}{earlier}",
        )  # fmt: skip
    return state


def old_snapshots(prefix: str, names: SnapshotNames, force: bool) -> tuple[Path, ...]:
    """The snapshot files of an earlier training; FileError if any exist, unless `force`."""
    existing = states(prefix, names)
    if existing and not force:
        raise FileError(
            f"there are snapshots of an earlier training: {existing[-1]} is the latest of {len(existing)}",
            hint="--resume latest continues it; --force removes them and starts again; "
            "or give the solver another snapshot_prefix",
        )
    return tuple(file for state in existing for file in names.files(state))
