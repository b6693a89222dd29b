"""The history of a training from a log of Caffe: any version, NVCaffe, and trainings that were resumed.

Source: solver.cpp, sgd_solver.cpp and tools/caffe.cpp of BVLC; solver.cpp of NVCaffe, whose lines also have
the epoch; the versions of 2013, which print `Test score`.
"""

from __future__ import annotations

import bz2
import datetime
import gzip
import lzma
import math
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from netbuilder.engines.caffe.log import COUNT, NUMBER, OUTPUT
from netbuilder.errors import FileError
from netbuilder.storage.files import reason
from netbuilder.training.events import Tested
from netbuilder.training.history import History
from netbuilder.training.record import Row

__all__ = ["is_log", "read_log"]

_LOOKED_AT = 2**18  # bytes of a file that say whether it is a log
_LONGEST = 2**16  # characters of a line
_COMPRESSED: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # as Windows' PowerShell keeps what a program prints
_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError)

_GLOG = re.compile(r"[IWEF](?:\d{4})?(\d\d)(\d\d) (\d\d):(\d\d):(\d\d)(\.\d+)? +\d+ ")
# Iteration 20 (1.5 iter/s, 0.7s/20 iters), loss = 0.5; by NVCaffe also 3.2/90ep before the loss
_LOSS = re.compile(rf"\bIteration ({COUNT})\b(?:[^=]{{0,200}},)? loss = ({NUMBER})(?![\w.])")
_RATE = re.compile(rf"\bIteration ({COUNT})\b(?:[^=]{{0,200}},)? lr = ({NUMBER})(?![\w.])")
_TESTING = re.compile(rf"\bIteration ({COUNT}), Testing net \(#({COUNT})\)")
_VALUE = re.compile(r"(Train|Test) net output #\d+: (.*?)\s*$", re.DOTALL)
_SCORE = re.compile(rf"\bTest score #({COUNT}): ({NUMBER})\s*$")
_IS_LOSS = re.compile(rf"\(\* {NUMBER} = {NUMBER} loss\)\s*$")
_GPUS = re.compile(r"\] Using GPUs (\d+(?:, \d+)*)\s*$")
_BATCH = re.compile(r"^ +batch_size: (\d{1,9})\s*$|^iter_size: (\d{1,9})\s*$")
_START = "] Starting Optimization"
_WORDS = ("Iteration ", " net output #", _START, "Test score #", "Using GPUs", "batch_size: ", "iter_size: ")
_DAY = 86400.0


def is_log(path: Path) -> bool:
    """Whether a file looks like Caffe's log: a line of its first part has glog's form, or an iteration's.

    Raises FileError if it cannot be read.
    """
    with _opened(path) as file:
        text = file.read(_LOOKED_AT)
    return any(_GLOG.match(line) or _LOSS.search(line) for line in text.splitlines())


def read_log(path: Path, name: str) -> History:
    """The history of a log. Raises FileError if it cannot be read, or has no iteration and no test."""
    log = _Log()
    with _opened(path) as file:
        for line in _lines(file):
            log.take(line)
    log.end_test()
    if not log.train and not log.tests:
        raise FileError(
            f"'{path}' has no iteration and no test of a training",
            hint="caffe train logs to stderr: keep it by 2>&1 | tee train.log; with display: 20 the solver "
            "logs each 20th iteration",
        )
    return History(name, log.train, log.tests, log.images, None, frozenset(log.losses))


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    try:
        with path.open("rb") as file:
            start = file.read(6)
        opener = next((one for magic, one in _COMPRESSED.items() if start.startswith(magic)), open)
        encoding = "utf-16" if start[:2] in _UTF_16 else "utf-8"
        with opener(path, "rt", encoding=encoding, errors="replace", newline="\n") as text:
            yield text
    except _BROKEN as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise FileError(f"cannot read '{path}': {why}") from None


def _lines(file: IO[str]) -> Iterable[str]:
    """The lines that may say something."""
    while line := file.readline(_LONGEST):
        if any(word in line for word in _WORDS):
            yield line


class _Log:
    """Rows and tests from lines. An iteration that comes again replaces what there was from it on."""

    def __init__(self) -> None:
        self.train: list[Row] = []
        self.tests: list[Tested] = []
        self.losses: set[str] = set()
        self._batch: int | None = None
        self._iter_size = self._gpus = 1
        self._test: tuple[int, int] | None = None
        self._outputs: dict[str, tuple[float, ...]] = {}
        self._now = self._day = 0.0
        self._stamp: float | None = None  # of the line before
        self._newest = -1  # iteration

    @property
    def images(self) -> int | None:
        """The images of an update."""
        return self._batch * self._iter_size * self._gpus if self._batch else None

    def take(self, line: str) -> None:
        """Take in a line."""
        if " loss = " in line and (m := _LOSS.search(line)):
            self._clock(line)
            self.end_test()
            self._at(int(m[1]))
            self.train.append(Row(int(m[1]), float(m[2]), math.nan, self._now, {}))
        elif " lr = " in line and (m := _RATE.search(line)):
            if self.train and self.train[-1].iteration == int(m[1]):
                row = self.train[-1]
                self.train[-1] = Row(row.iteration, row.loss, float(m[2]), row.seconds, row.outputs)
        elif m := _VALUE.search(line):
            self._take_value(m[1], m[2])
        elif m := _TESTING.search(line):
            self.end_test()
            self._at(int(m[1]), test=True)
            self._test = (int(m[1]), int(m[2]))
        elif (m := _SCORE.search(line)) and self._test:
            self._outputs[f"score #{m[1]}"] = (float(m[2]),)
        elif m := _GPUS.search(line):
            self._gpus = m[1].count(",") + 1
        elif _START in line:  # the time before, and between a stop and the next start, does not count
            self._clock(line)
            self._now = self.train[-1].seconds if self.train else 0.0
        elif m := _BATCH.match(line):
            if m[2]:
                self._iter_size = int(m[2])
            elif self._batch is None:  # that of the net to train is logged first
                self._batch = int(m[1])

    def _take_value(self, phase: str, text: str) -> None:
        m = OUTPUT.fullmatch(text)
        if m is None:
            return
        if _IS_LOSS.search(text):
            self.losses.add(m[1])
        if phase == "Test":
            if self._test:
                self._outputs[m[1]] = (*self._outputs.get(m[1], ()), float(m[2]))
        elif self.train and m[1] not in self.train[-1].outputs:
            row = self.train[-1]
            outputs = {**row.outputs, m[1]: float(m[2])}
            self.train[-1] = Row(row.iteration, row.loss, row.rate, row.seconds, outputs)

    def end_test(self) -> None:
        """The test under way is complete."""
        if self._test and self._outputs:
            while self.tests and (self.tests[-1].iteration, self.tests[-1].net) >= self._test:
                self.tests.pop()  # the same one before a stop
            self.tests.append(Tested(*self._test, 0, self._outputs))
        self._test, self._outputs = None, {}

    def _at(self, iteration: int, *, test: bool = False) -> None:
        """The log is at an iteration: a start from a snapshot has discarded its later ones."""
        if iteration < self._newest or not test:
            while self.train and self.train[-1].iteration >= iteration:
                self.train.pop()
        if iteration < self._newest:
            while self.tests and self.tests[-1].iteration > iteration - test:
                self.tests.pop()
            self._now = self.train[-1].seconds if self.train else 0.0
        self._newest = iteration

    def _clock(self, line: str) -> None:
        """Read the time of a line, in seconds from the first one; glog's lines have no year."""
        m = _GLOG.match(line)
        if m is None:
            return
        try:
            day = datetime.date(2000, int(m[1]), int(m[2])).toordinal()
        except ValueError:
            return
        stamp = day * _DAY + int(m[3]) * 3600 + int(m[4]) * 60 + int(m[5]) + float(m[6] or 0)
        if self._stamp is not None:
            passed = stamp - self._stamp
            if passed < -180 * _DAY:  # over the new year
                passed += 366 * _DAY
            self._now += max(0.0, passed)
        self._stamp = stamp
