"""The log of the `caffe` binary as events: the same ones that the pycaffe worker reports.

Source: solver.cpp and sgd_solver.cpp for training, tools/caffe.cpp for `test` and `time`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from netbuilder.engines.caffe.jobs import JobFields
from netbuilder.engines.caffe.log import COUNT, GLOG, NUMBER, OUTPUT, IterationLog
from netbuilder.training.events import Ended, Event, LayerTime, Started, Tested, Testing, Timed, Timing

__all__ = ["LOGS", "EvaluationLog", "TimeLog", "TrainLog", "Written"]

_TESTING = re.compile(rf"Iteration ({COUNT}), Testing net \(#({COUNT})\)")
_TESTED = re.compile(r" +Test net output #\d+: (.*)")
_TEST_LOSS = re.compile(rf"Test loss: ({NUMBER})")
# Older Caffes do not say which kind of file it is.
_STATE = re.compile(rf"Snapshotting solver state to .*_iter_({COUNT})\.solverstate")
_BATCH = re.compile(rf"Batch ({COUNT}), .+ = \S+")
_MEAN_LOSS = re.compile(rf"Loss: ({NUMBER})")
_PASS = re.compile(rf"Iteration: ({COUNT}) forward-backward time: ")
_TIME = re.compile(rf" *(.+)\t(forward|backward): ({NUMBER}) ms\.")


@dataclass(frozen=True, slots=True)
class Written:
    """Caffe has written the snapshot of an iteration, which does not have its final names yet."""

    iteration: int


class TrainLog:
    """The events of `caffe train`, line by line; `iteration` is how many updates were done.

    Caffe announces a snapshot before it writes it. The next line of the same thread proves that it has been
    written; then the event Written follows.
    """

    def __init__(self, job: JobFields) -> None:
        self.iteration = self._begin = int(job["begin"])
        self._last: int = job["max_iter"]
        self._passes: list[int] = job["test_iter"]
        self._test: tuple[int, int, int] | None = None  # iteration, net, passes
        self._test_loss: float | None = None
        self._test_outputs: dict[str, tuple[float, ...]] = {}
        self._iterations = IterationLog()
        self._written: int | None = None
        self._thread = ""
        self._ended = False

    def take(self, line: str) -> Iterator[Event | Written]:
        """The events of a line."""
        glog = GLOG.match(line)
        if glog is None:
            return
        thread, text = glog[2], glog[4]
        tested = _TESTED.fullmatch(text)
        if thread == self._thread and not tested:  # other threads read the data meanwhile
            yield from self.close()
        if m := _TESTING.fullmatch(text):
            self._thread = thread
            iteration, net = int(m[1]), int(m[2])
            passes = self._passes[net] if net < len(self._passes) else 0
            self._test, self._test_loss, self._test_outputs = (iteration, net, passes), None, {}
            yield Testing(0, passes)
        elif tested:
            if self._test is not None and (m := OUTPUT.fullmatch(tested[1])):
                self._test_outputs[m[1]] = (*self._test_outputs.get(m[1], ()), float(m[2]))
        elif (m := _TEST_LOSS.fullmatch(text)) and self._test is not None:
            self._test_loss = float(m[1])
        elif m := _STATE.match(text):
            self._thread, self._written = thread, int(m[1])
        elif text == "Starting Optimization":
            yield Started(self._begin)
        elif text in ("Optimization Done.", "Optimization stopped early.") and not self._ended:
            self._ended = True
            if text == "Optimization Done.":
                self.iteration = self._last
            done = self.iteration >= self._last
            yield Ended("done" if done else "stopped", self.iteration)
        else:
            # After the last update Caffe makes one more pass, for its loss; no rate follows that.
            event = self._iterations.take(line)
            if event is not None:
                self.iteration = event.iteration + 1
                yield event

    def close(self) -> Iterator[Event | Written]:
        """The events that only the next line, or the end of the log, confirms."""
        if self._test is not None and self._test_outputs:  # none: the loss is next, or a stop
            test, self._test = self._test, None
            yield Tested(*test, self._test_outputs, self._test_loss)
        if self._written is not None:
            written, self._written = self._written, None
            yield Written(written)


class EvaluationLog:
    """The events of `caffe test`; the outputs in `hidden` compare scores of weights that are not finite."""

    def __init__(self, job: JobFields) -> None:
        self._passes: int = job["iterations"]
        self._hidden: list[str] = job.get("hidden", [])
        self._done = 0
        self._loss: float | None = None
        self._outputs: dict[str, tuple[float, ...]] = {}

    def take(self, line: str) -> Iterator[Event | Written]:
        """The events of a line."""
        glog = GLOG.match(line)
        text = glog[4] if glog and glog[3].startswith("caffe.cpp:") else ""
        if m := _BATCH.fullmatch(text):
            if int(m[1]) >= self._done:
                self._done = int(m[1]) + 1
                yield Testing(self._done, self._passes)
        elif m := _MEAN_LOSS.fullmatch(text):
            self._loss = float(m[1])
        elif self._loss is not None and (m := OUTPUT.fullmatch(text)):
            self._outputs[m[1]] = (*self._outputs.get(m[1], ()), float(m[2]))

    def close(self) -> Iterator[Event | Written]:
        """The end, if it was reached."""
        if self._loss is not None:
            self._outputs.update((name, (math.nan,)) for name in self._hidden if name in self._outputs)
            yield Tested(0, 0, self._passes, self._outputs, self._loss)
            yield Ended("done", self._passes)


class TimeLog:
    """The events of `caffe time`: the mean times of each layer, in seconds."""

    def __init__(self, job: JobFields) -> None:
        self._passes: int = job["iterations"]
        self._types: dict[str, str] = job["types"]
        self._layers: list[tuple[str, list[float], list[float]]] = []
        self._ended = False

    def take(self, line: str) -> Iterator[Event | Written]:
        """The events of a line."""
        glog = GLOG.match(line)
        text = glog[4] if glog else ""
        if m := _PASS.match(text):
            yield Timing(int(m[1]), self._passes)
        elif m := _TIME.fullmatch(text):
            seconds = float(m[3]) / 1000
            if m[2] == "forward":
                self._layers.append((m[1], [seconds], []))
            elif self._layers:
                self._layers[-1][2].append(seconds)
        elif text == "*** Benchmark ends ***":
            self._ended = True

    def close(self) -> Iterator[Event | Written]:
        """The end, if it was reached."""
        if self._ended:
            # Layers that are not in the file are Splits that Caffe inserted.
            yield Timed(
                tuple(
                    LayerTime(n, self._types.get(n, "Split"), tuple(f), tuple(b)) for n, f, b in self._layers
                ),
                "mean",
            )
            yield Ended("done", self._passes)


LOGS: dict[str, type[TrainLog] | type[EvaluationLog] | type[TimeLog]] = {
    "train": TrainLog,
    "test": EvaluationLog,
    "time": TimeLog,
}
