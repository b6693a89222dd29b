"""The log of the `caffe` binary as events: those that the worker in pycaffe tells, read from Caffe's words.

Source: solver.cpp and sgd_solver.cpp for training, tools/caffe.cpp for `test` and `time`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from netbuilder.engines.caffe.log import GLOG, Event, event_of

__all__ = ["LOGS", "EvaluationLog", "TimeLog", "TrainLog"]

_TESTING = re.compile(r"Iteration (\d+), Testing net \(#(\d+)\)")
_TESTED = re.compile(r" +Test net output #\d+: (.+?) = (\S+)")
_TEST_LOSS = re.compile(r"Test loss: (\S+)")
# Older Caffes do not say which kind of file it is.
_STATE = re.compile(r"Snapshotting solver state to .*_iter_(\d+)\.solverstate")
_BATCH = re.compile(r"Batch (\d+), .+ = \S+")
_MEAN_LOSS = re.compile(r"Loss: (\S+)")
_MEAN = re.compile(r"(.+?) = (\S+)(?: \(\*.*)?")
_PASS = re.compile(r"Iteration: (\d+) forward-backward time: ")
_TIME = re.compile(r" *(.+)\t(forward|backward): (\S+) ms\.")


def _told(**what: Any) -> Event:
    return Event("told", told=what)


class TrainLog:
    """The events of `caffe train`, line by line; `iteration` is how many updates were done.

    A snapshot is announced before it is written. What the same thread says next proves that it is: then
    comes the event "written".
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self.iteration = self._begin = int(job["begin"])
        self._last: int = job["max_iter"]
        self._passes: list[int] = job["test_iter"]
        self._test: dict[str, Any] | None = None
        self._written: int | None = None
        self._thread = ""
        self._ended = False

    def take(self, line: str) -> Iterator[Event]:
        """The events of a line."""
        glog = GLOG.match(line)
        if glog is None:
            return
        thread, text = glog[2], glog[4]
        tested = _TESTED.fullmatch(text.partition(" (*")[0])
        if thread == self._thread and not tested:  # other threads read the data meanwhile
            yield from self.close()
        if m := _TESTING.fullmatch(text):
            self._thread = thread
            iteration, net = int(m[1]), int(m[2])
            passes = self._passes[net] if net < len(self._passes) else 0
            self._test = {"test": iteration, "net": net, "outputs": {}, "loss": None, "passes": passes}
            yield _told(testing=0, of=passes)
        elif tested:
            if self._test is not None:
                self._test["outputs"].setdefault(tested[1], []).append(float(tested[2]))
        elif (m := _TEST_LOSS.fullmatch(text)) and self._test is not None:
            self._test["loss"] = float(m[1])
        elif m := _STATE.match(text):
            self._thread, self._written = thread, int(m[1])
        elif text == "Starting Optimization":
            yield _told(start=self._begin, outputs=[])
        elif text in ("Optimization Done.", "Optimization stopped early.") and not self._ended:
            self._ended = True
            if text == "Optimization Done.":
                self.iteration = self._last
            done = self.iteration >= self._last
            yield _told(end="done" if done else "stopped", iteration=self.iteration)
        else:
            event = event_of(line)
            # After the last update Caffe makes one more pass, for its loss.
            if event is None or (event.kind == "loss" and event.iteration >= self._last):
                return
            if event.kind == "loss":
                self.iteration = event.iteration + 1
            yield event

    def close(self) -> Iterator[Event]:
        """What is known once there is another line, or the end."""
        if self._test is not None and self._test["outputs"]:  # none: the loss is next, or a stop
            test, self._test = self._test, None
            yield _told(**test)
        if self._written is not None:
            written, self._written = self._written, None
            yield Event("written", written)


class EvaluationLog:
    """The events of `caffe test`."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._passes: int = job["iterations"]
        self._done = 0
        self._loss: float | None = None
        self._outputs: dict[str, list[float]] = {}

    def take(self, line: str) -> Iterator[Event]:
        """The events of a line."""
        glog = GLOG.match(line)
        text = glog[4] if glog and glog[3].startswith("caffe.cpp:") else ""
        if m := _BATCH.fullmatch(text):
            if int(m[1]) >= self._done:
                self._done = int(m[1]) + 1
                yield _told(testing=self._done, of=self._passes)
        elif m := _MEAN_LOSS.fullmatch(text):
            self._loss = float(m[1])
        elif self._loss is not None and (m := _MEAN.fullmatch(text)):
            self._outputs.setdefault(m[1], []).append(float(m[2]))

    def close(self) -> Iterator[Event]:
        """The end, if it was reached."""
        if self._loss is not None:
            yield _told(end="done", test=0, outputs=self._outputs, loss=self._loss, passes=self._passes)


class TimeLog:
    """The events of `caffe time`: the mean times of each layer, in seconds."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._passes: int = job["iterations"]
        self._types: dict[str, str] = job["types"]
        self._layers: list[tuple[str, list[float], list[float]]] = []
        self._ended = False

    def take(self, line: str) -> Iterator[Event]:
        """The events of a line."""
        glog = GLOG.match(line)
        text = glog[4] if glog else ""
        if m := _PASS.match(text):
            yield _told(timing=int(m[1]), of=self._passes)
        elif m := _TIME.fullmatch(text):
            seconds = float(m[3]) / 1000
            if m[2] == "forward":
                self._layers.append((m[1], [seconds], []))
            else:
                self._layers[-1][2].append(seconds)
        elif text == "*** Benchmark ends ***":
            self._ended = True

    def close(self) -> Iterator[Event]:
        """The end, if it was reached."""
        if self._ended:
            # Those that no file has are Caffe's own.
            layers = [(name, self._types.get(name, "Split"), f, b) for name, f, b in self._layers]
            yield _told(end="done", layers=layers, figure="mean")


LOGS: dict[str, type[TrainLog] | type[EvaluationLog] | type[TimeLog]] = {
    "train": TrainLog,
    "test": EvaluationLog,
    "time": TimeLog,
}
