"""The newest model of a training, found from its net, its solver or its folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from netbuilder.errors import FileError, NetBuilderError
from netbuilder.prototxt.solver_file import is_solver, parse_solver
from netbuilder.storage.files import read_record, read_text
from netbuilder.training.snapshots import RUN_RECORD, SNAPSHOTS, prefix_of

__all__ = ["newest_model"]

_MODEL = re.compile(rf"_iter_(\d+){re.escape(SNAPSHOTS.model)}(\.h5)?")


class _Snapshots(NamedTuple):
    """Where snapshots may be: their prefix, and what says so."""

    prefix: str
    said_by: str


def newest_model(net: str) -> Path:
    """The model of the last iteration of the training that the net, its solver or its folder belongs to.

    A solver says where its snapshots go; a net belongs to the solvers beside it, and the records of
    trainings in its folder say where theirs are. Of several trainings the one that wrote last is meant.
    Raises FileError, which names all places.
    """
    places = list(dict.fromkeys(_places(net)))
    newest = [found for place in places if (found := _last(place.prefix))]
    if newest:
        return max(newest, key=lambda path: path.stat().st_mtime_ns)
    looked = "; ".join(f"{place.prefix}_iter_*{SNAPSHOTS.model} ({place.said_by})" for place in places)
    beside = f"a solver or the record of a training in '{Path(net).parent}'"
    raise FileError(
        f"there is no snapshot of '{net}': looked for {looked or beside}",
        hint="name the model, or the solver in place of the net",
    )


def _places(net: str) -> Iterator[_Snapshots]:
    path = Path(net)
    folder = path if path.is_dir() else path.parent
    solvers = _solvers(path)
    for solver in solvers:
        prefix = _prefix(solver)
        if prefix is not None:
            yield _Snapshots(prefix, f"snapshot_prefix of {solver}")
    folders = {folder, *(Path(prefix).parent for s in solvers if (prefix := _prefix(s)) is not None)}
    for record in sorted(file for one in folders if one.is_dir() for file in one.glob(f"*{RUN_RECORD}")):
        if not path.is_file() or path not in solvers or _is_of(record, path):
            yield _Snapshots(str(record).removesuffix(RUN_RECORD), f"the record {record.name}")


def _solvers(path: Path) -> list[Path]:
    """The solver that a path is, or those beside a net or in a folder."""
    if path.is_file() and _is_solver(path):
        return [path]
    folder = path if path.is_dir() else path.parent
    return [file for file in sorted(folder.glob("*.prototxt")) if file != path and _is_solver(file)]


def _is_solver(path: Path) -> bool:
    try:
        return is_solver(read_text(path))
    except FileError:
        return False


def _prefix(solver: Path) -> str | None:
    try:
        return prefix_of(str(solver), parse_solver(read_text(solver), str(solver)).solver)
    except NetBuilderError:  # check and train say why
        return None


def _is_of(record: Path, solver: Path) -> bool:
    """Whether the record is that of a training by this solver."""
    named = read_record(record).get("solver", "")
    return isinstance(named, str) and Path(named).resolve() == solver.resolve()


def _last(prefix: str) -> Path | None:
    """The model with this prefix of the most iterations."""
    folder, base = Path(prefix).parent, Path(prefix).name
    found = {}
    for file in folder.iterdir() if folder.is_dir() else ():
        if file.name.startswith(base) and (m := _MODEL.fullmatch(file.name[len(base) :])):
            found[int(m[1])] = file
    return found[max(found)] if found else None
