"""What a training did, read back from its record: the rows of its tables, and the images of an epoch."""

from __future__ import annotations

import bisect
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netbuilder.errors import FileError, NetBuilderError
from netbuilder.training.events import Tested
from netbuilder.training.record import Row, read_tests, read_train

if TYPE_CHECKING:
    from netbuilder.training.plan import TrainingPlan

__all__ = ["History", "images_of", "names_apart", "read_history"]

_MOST = 2**53  # up to it a plot can tell a number from the next
_TELL_NOTHING = ("caffe", "log", "nohup", "out", "output", "run", "train", "training")  # names of files
_RUN, _TRAIN, _TEST = "run.json", "train.csv", "test.csv"


@dataclass(frozen=True)
class History:
    """The rows and tests of a training.

    An update takes `batch` images, and an epoch has `images`; None if unknown. `losses` are the outputs known
    to be losses, whatever their names are.
    """

    name: str
    train: Sequence[Row]
    tests: Sequence[Tested]
    batch: int | None = None
    images: int | None = None
    losses: frozenset[str] = frozenset()

    def seconds(self, iteration: float) -> float:
        """The time of an iteration, between the two rows around it."""
        rows = self.train
        if not rows:
            return math.nan
        at = bisect.bisect_left(rows, iteration, key=lambda row: row.iteration)
        if at == len(rows):
            return rows[-1].seconds
        after = rows[at]
        if after.iteration == iteration or at == 0:
            return after.seconds
        before = rows[at - 1]
        part = (iteration - before.iteration) / (after.iteration - before.iteration)
        return before.seconds + (after.seconds - before.seconds) * part


def images_of(plan: TrainingPlan) -> dict[str, int]:
    """The images of an update and of an epoch, for the record; without those that are unknown."""
    from netbuilder.data.records import number_of_records
    from netbuilder.solvers.batch import data_batch, data_layer

    found: dict[str, int] = {}
    if not plan.nets:
        return found
    net = plan.nets[0][1]
    try:
        batch, layer = data_batch(net), data_layer(net)
        if batch and plan.devices != ("all",):
            size = plan.ranks.size * max(1, len(plan.devices))
            found["batch"] = (plan.file_batch or batch * size) * max(1, plan.solver.iter_size)
        if layer is not None and (images := number_of_records(layer.proto)):
            found["images"] = images
    except (NetBuilderError, OSError):  # it trains without
        pass
    return found


def read_history(path: Path, name: str) -> History:
    """The history of a training by one of the files of its record, run.json or train.csv.

    The tables are read where they are: they have the last rows of a training under way.
    Raises FileError if the file is not of a record.
    """
    prefix = str(path)
    for ending in (_RUN, _TRAIN, _TEST):
        prefix = prefix.removesuffix(ending)
    if prefix == str(path):  # a table or a summary under another name
        run, train, test = (path if path.suffix == kind else Path() for kind in (".json", ".csv", ""))
    else:
        run, train, test = (Path(prefix + ending) for ending in (_RUN, _TRAIN, _TEST))
    data = _read_run(run) if run.is_file() else {}
    try:
        rows = read_train(train) if train.is_file() else list(map(_row, data.get("train", ())))
        tests = read_tests(test) if test.is_file() else list(map(_test, data.get("tests", ())))
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError):
        raise _no_record(path) from None
    iterations = [row.iteration for row in rows] + [test.iteration for test in tests]
    if any(not 0 <= iteration < _MOST for iteration in iterations):
        raise _no_record(path)
    rows.sort(key=lambda row: row.iteration)
    return History(name, rows, tests, _count(data.get("batch")), _count(data.get("images")))


def _read_run(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(f"cannot read '{path}': {error}") from None
    if not isinstance(data, dict):
        raise _no_record(path)
    return data


def _no_record(path: Path) -> FileError:
    return FileError(
        f"'{path}' is not the record of a training",
        hint="netbuilder train writes PREFIX_run.json, PREFIX_train.csv and PREFIX_test.csv",
    )


def _row(row: Mapping[str, Any]) -> Row:
    return Row(
        int(row["iteration"]),
        _number(row["loss"]),
        _number(row["lr"]),
        _number(row["seconds"]),
        {name: _number(value) for name, value in row["outputs"].items()},
    )


def _test(test: Mapping[str, Any]) -> Tested:
    return Tested(
        int(test["iteration"]),
        int(test["net"]),
        int(test["passes"]),
        {name: tuple(map(_number, values)) for name, values in test["outputs"].items()},
    )


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and 0 < value < _MOST else None


def names_apart(paths: Sequence[Path]) -> list[str]:
    """Short names of files, by the parts of their paths in which they differ; of a single one its last.

    >>> names_apart([Path("runs/a/x_run.json"), Path("runs/b/x_run.json")])
    ['a', 'b']
    """
    parts = [_parts(path) for path in paths]
    begin = end = 0
    shortest = min(map(len, parts))
    while end < shortest - 1 and len({own[len(own) - 1 - end] for own in parts}) == 1:
        end += 1
    while begin < shortest - end - 1 and len({own[begin] for own in parts}) == 1:
        begin += 1
    if len(paths) == 1:
        end = int(parts[0][-1] in _TELL_NOTHING and len(parts[0]) > 1)
        begin = len(parts[0]) - 1 - end
    return ["/".join(own[begin : len(own) - end]) for own in parts]


def _parts(path: Path) -> list[str]:
    """The parts of a path, without the ending of a record's file or of a log."""
    name = path.name
    for ending in (".gz", ".bz2", ".xz", _RUN, _TRAIN, _TEST, ".log", ".txt", ".json", ".csv"):
        name = name.removesuffix(ending)
    return [*path.absolute().parent.parts[1:], *([name.rstrip("_-.")] if name.rstrip("_-.") else [])]
