"""The record of a training in files: CSV while it runs, then JSON and a picture of the curves.

The files are next to the snapshots and share their prefix: `_train.csv` (a row every `display` iterations, a
column for each output), `_test.csv` (a row for each value of each test), `_run.json`, `_curves.png`, and the
engine's own log. Until the first iteration they are written in another folder, so that a start that fails
leaves the files of an earlier training as they are.
"""

from __future__ import annotations

import collections
import csv
import io
import math
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

from netbuilder.errors import FileError
from netbuilder.storage.files import read_record, replacing
from netbuilder.training.events import Ended, Event, Iteration, Saving, Tested
from netbuilder.training.snapshots import RUN_RECORD, TEST_TABLE, TRAIN_TABLE, SnapshotNames, states

__all__ = ["Record", "Row", "finite", "read_tests", "read_train"]

T = TypeVar("T")

_OUTPUT = "output "  # prefix of the columns of outputs, so that they cannot clash with the others
_OLD_TRAIN = [
    "iteration",
    "loss",
    "lr",
    "outputs",
    "seconds",
]  # of earlier versions: all outputs as "a=1 b=2"
_TEST = ["iteration", "net", "passes", "output", "value"]
# What is wanted of a file that is not a record: the error's words, and its hint.
_CONTINUED = ("cannot be continued, ", "move it away; the training then begins a new one")
_READ = ("cannot be read, ", "it has no header of PREFIX_train.csv or PREFIX_test.csv")
_FORMULA = re.compile("'*[=+@-]")  # a spreadsheet would compute such a name, so it gets one more quote
_OLD_OUTPUT = re.compile(r"(.+?)=([-+]?(?:nan|inf|\d[\d.]*(?:e[-+]?\d+)?))(?: |$)", re.DOTALL)


class Row(NamedTuple):
    """A row of the training's table; `loss` is the mean of the last `average_loss` iterations."""

    iteration: int
    loss: float
    rate: float
    seconds: float
    outputs: Mapping[str, float]

    def as_json(self) -> dict[str, object]:
        """The row as the JSON file has it."""
        row = {"iteration": self.iteration, "loss": self.loss, "lr": self.rate, "seconds": self.seconds}
        return {**row, "outputs": dict(self.outputs)}


class Record:
    """Records the events of a training; a context manager. `begin` > 0 continues the existing files.

    `log` is for the engine's own output. `train` are the rows, `tests` the results. The files are written in
    `folder` until the first iteration is done, then beside the snapshots; without a folder, there at once.
    `published` says whether they are there. Raises FileError if a file to continue is not the record of a
    training.
    """

    def __init__(
        self,
        prefix: str,
        begin: int,
        display: int,
        average: int,
        *,
        names: SnapshotNames,
        engine: str,
        folder: Path | None = None,
    ) -> None:
        self.prefix, self.begin = prefix, begin
        self.display = display or 100
        self.train: list[Row] = []
        self.tests: list[Tested] = []
        self.published = folder is None
        self.log_ending = f"_{engine}.log"
        self._names = names
        self._folder = folder
        self._losses: collections.deque[float] = collections.deque(maxlen=average)
        self._saved: dict[int, list[float]] = {}  # the losses at each snapshot
        self._start = time.monotonic()
        self._before = 0.0
        Path(prefix).parent.mkdir(parents=True, exist_ok=True)
        if begin:
            self._read()
        self._outputs = list(dict.fromkeys(name for row in self.train for name in row.outputs))
        log, mode = self._place(self.log_ending), "ab" if begin else "wb"
        if begin and not self.published and os.path.exists(self.path(self.log_ending)):
            shutil.copyfile(self.path(self.log_ending), log)
        self.log: IO[bytes] = open(log, mode, buffering=0)  # noqa: SIM115
        self._train_csv = self._rewritten_train()
        tests = (cells for test in self.tests for cells in _test_cells(test))
        self._test_csv = _rewritten(self._place(TEST_TABLE), [_TEST, *tests])

    def path(self, ending: str) -> str:
        """The path of one of the files."""
        return f"{self.prefix}{ending}"

    def _place(self, ending: str) -> str:
        """Where one of the files is now."""
        if self.published:
            return self.path(ending)
        assert self._folder is not None
        return str(self._folder / f"record{ending}")

    def _publish(self) -> None:
        """Move the files beside the snapshots, over those of an earlier training; they stay open."""
        if self.published:
            return
        for ending in (TRAIN_TABLE, TEST_TABLE, self.log_ending, RUN_RECORD):
            if os.path.exists(self._place(ending)):
                os.replace(self._place(ending), self.path(ending))
        self.published = True

    def settle(self) -> str:
        """Publish the files of a run without an iteration, if there are none of an earlier training.

        Otherwise only its log is kept, under another name, which is returned.
        """
        if not self.published and any(
            os.path.exists(self.path(ending)) for ending in (RUN_RECORD, TRAIN_TABLE, self.log_ending)
        ):
            kept = self.path(f"_start{self.log_ending}")
            os.replace(self._place(self.log_ending), kept)
            return kept
        self._publish()
        return ""

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self.log, self._train_csv, self._test_csv):
            file.close()

    @property
    def loss(self) -> float:
        """The mean of the last `average` losses."""
        return sum(self._losses) / len(self._losses) if self._losses else math.nan

    @property
    def seconds(self) -> float:
        """Seconds of training, without the time between a stop and the next start."""
        return self._before + time.monotonic() - self._start

    def take(self, event: Event, last: int) -> Row | None:
        """Record an event; return the row if it completed one. `last` is the last iteration."""
        if isinstance(event, Iteration) or (isinstance(event, Ended) and event.how == "done" and self.begin):
            self._publish()
        if isinstance(event, Iteration):
            self._losses.append(event.loss)
            due = event.iteration % self.display == 0 or event.iteration == last
            if due or not math.isfinite(event.loss):
                seconds = round(self.seconds, 3)
                row = Row(event.iteration, self.loss, event.rate, seconds, event.outputs)
                self._add(row)
                return row
        elif isinstance(event, Saving):
            self._saved[event.iteration] = list(self._losses)
        elif isinstance(event, Tested):
            self.tests.append(event)
            self._test_csv.writelines(map(_line, _test_cells(event)))
            self._test_csv.flush()
        return None

    def write(self, **more: object) -> dict[str, Any]:
        """Write the JSON file atomically and return its content. Numbers that are not finite become null."""
        import json

        tests = [
            {"iteration": t.iteration, "net": t.net, "loss": t.loss, "passes": t.passes,
             "outputs": {name: list(values) for name, values in t.outputs.items()}}
            for t in self.tests
        ]  # fmt: skip
        written = list(states(self.prefix, self._names))
        kept = {*map(self._names.iteration, written), *list(self._saved)[-1:]}
        data: dict[str, Any] = {
            "version": 1,
            **more,
            "seconds": round(self.seconds, 3),
            "train": finite([row.as_json() for row in self.train]),
            "tests": finite(tests),
            "snapshots": [str(state) for state in written],
        }
        if self._losses.maxlen != 1:  # a resumed run goes on with their mean
            saved = {str(at): losses for at, losses in sorted(self._saved.items()) if at in kept}
            data["last_losses"] = finite(saved)
        path = self._place(RUN_RECORD)
        with replacing(Path(path)) as partial, partial.open("w", encoding="utf-8") as file:
            json.dump(data, file, indent=1)
        return data

    def _add(self, row: Row) -> None:
        self.train.append(row)
        added = [name for name in row.outputs if name not in self._outputs]
        if added:
            self._outputs += added
            self._train_csv.close()
            self._train_csv = self._rewritten_train()
        else:
            self._train_csv.write(_line(self._train_cells(row)))
            self._train_csv.flush()

    def _train_cells(self, row: Row) -> list[object]:
        outputs = [repr(row.outputs[name]) if name in row.outputs else "" for name in self._outputs]
        return [row.iteration, repr(row.loss), repr(row.rate), *outputs, row.seconds]

    def _rewritten_train(self) -> IO[str]:
        head = ["iteration", "loss", "lr", *(_OUTPUT + name for name in self._outputs), "seconds"]
        return _rewritten(self._place(TRAIN_TABLE), [head, *map(self._train_cells, self.train)])

    def _read(self) -> None:
        """Read the rows before the iteration to continue from, from a run that may have been killed."""
        for row in _read(self.path(TRAIN_TABLE), _train_row, _CONTINUED):
            if row.iteration < self.begin:
                self.train.append(row)
                self._before = row.seconds
        rows = _read(self.path(TEST_TABLE), _test_row, _CONTINUED)
        self.tests += _joined(test for test in rows if test.iteration < self.begin)
        self._read_json()

    def _read_json(self) -> None:
        """Read what the tables lack: the last losses at each snapshot, and the losses of the tests."""
        data = read_record(self.path(RUN_RECORD))
        for at, losses in _mapping(data.get("last_losses")).items():
            if at.isdecimal() and len(at) < 10 and int(at) <= self.begin and isinstance(losses, list):
                self._saved[int(at)] = list(map(_number, losses))
        self._losses.extend(self._saved.get(self.begin, ()))
        tests = data.get("tests")
        known = {
            (test.get("iteration"), test.get("net")): test.get("loss")
            for test in map(_mapping, tests if isinstance(tests, list) else ())
            if isinstance(test.get("loss"), float) and isinstance(test.get("iteration"), int)
            and isinstance(test.get("net"), int)
        }  # fmt: skip
        self.tests = [test._replace(loss=known.get((test.iteration, test.net))) for test in self.tests]


def read_train(path: Path) -> list[Row]:
    """The rows of a `_train.csv`, the last of which may be cut short. Raises FileError for another file."""
    return _read(str(path), _train_row, _READ)


def read_tests(path: Path) -> list[Tested]:
    """The tests of a `_test.csv`, likewise."""
    return _joined(_read(str(path), _test_row, _READ))


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: object) -> float:
    return float(value) if isinstance(value, float) else math.nan


# -- CSV ---------------------------------------------------------------------------------------------------


def _line(cells: Iterable[object]) -> str:
    """A line of CSV. The writer quotes carriage returns only if line ends have one, so it is cut off here."""
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue().removesuffix("\r\n") + "\n"


def _rewritten(path: str, rows: Iterable[Iterable[object]]) -> IO[str]:
    """Replace a CSV file by these rows atomically, and open it for more."""
    with replacing(Path(path)) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        file.writelines(map(_line, rows))
    return open(path, "a", encoding="utf-8", newline="")


def _read(path: str, read_row: Callable[[list[str], list[str]], T], wanted: tuple[str, str]) -> list[T]:
    """The rows of a CSV file, none if it does not exist; FileError if damaged before its last row."""
    if not os.path.exists(path):
        return []
    rows: list[T] = []
    try:
        with open(path, newline="", encoding="utf-8") as file:
            head, *lines = [cells for cells in csv.reader(file) if cells] or [[]]
        if not head or head[0] != "iteration":
            raise ValueError("its first line is not the header of one")
        for i, cells in enumerate(lines):
            try:
                rows.append(read_row(head, cells))
            except ValueError:
                if i < len(lines) - 1:  # the last one may have been cut short
                    raise ValueError(f"row {i + 1} is {','.join(cells)!r}") from None
    except (ValueError, csv.Error) as error:
        raise FileError(
            f"'{path}' {wanted[0]}it is not the record of a training: {error}",
            hint=wanted[1],
        ) from None
    return rows


def _train_row(head: list[str], cells: list[str]) -> Row:
    """A row; ValueError if it is not one."""
    if head == _OLD_TRAIN:
        if len(cells) < len(head):
            raise ValueError
        text = ",".join(cells[3:-1])  # names with commas were not quoted
        outputs = {m[1]: float(m[2]) for m in _OLD_OUTPUT.finditer(text)}
    else:
        if len(cells) != len(head) or head[:3] != _OLD_TRAIN[:3] or head[-1] != "seconds":
            raise ValueError
        pairs = zip(head[3:-1], cells[3:-1], strict=True)
        outputs = {name.removeprefix(_OUTPUT): float(value) for name, value in pairs if value}
    return Row(int(cells[0]), float(cells[1]), float(cells[2]), float(cells[-1]), outputs)


def _test_row(head: list[str], cells: list[str]) -> Tested:
    """One value of a test; ValueError if the row is not one."""
    if head != _TEST or len(cells) < len(head):
        raise ValueError
    name = ",".join(cells[3:-1])  # earlier versions did not quote it
    if _FORMULA.match(name):
        name = name.removeprefix("'")
    return Tested(int(cells[0]), int(cells[1]), int(cells[2]), {name: (float(cells[-1]),)})


def _joined(values: Iterable[Tested]) -> list[Tested]:
    """Tests of single values as whole tests."""
    found: list[Tested] = []
    for test in values:
        if found and (found[-1].iteration, found[-1].net) == (test.iteration, test.net):
            outputs = dict(found.pop().outputs)
            for name, more in test.outputs.items():
                outputs[name] = (*outputs.get(name, ()), *more)
            test = Tested(test.iteration, test.net, test.passes, outputs)
        found.append(test)
    return found


def _test_cells(test: Tested) -> list[list[object]]:
    return [
        [test.iteration, test.net, test.passes, f"'{name}" if _FORMULA.match(name) else name, repr(value)]
        for name, values in test.outputs.items()
        for value in values
    ]


def finite(value: Any) -> Any:
    """Data for JSON, with null for each number that is not finite."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value if not isinstance(value, float) or math.isfinite(value) else None
