"""The `caffe` binary as a worker: its log yields the same events as the pycaffe worker.

It writes its snapshots in a hidden folder next to the final ones; here they are checked and renamed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

from netbuilder.engines.caffe._snapshot_files import Fault, publish, resumable
from netbuilder.engines.caffe.binary_log import LOGS, Written
from netbuilder.engines.caffe.install import Install
from netbuilder.engines.caffe.jobs import JobFields, displayed
from netbuilder.engines.caffe.log import by_signal
from netbuilder.engines.caffe.process import Process
from netbuilder.engines.caffe.reasons import death
from netbuilder.errors import EngineError, NetBuilderError
from netbuilder.training.events import Ended, Event, Saving, Snapshot
from netbuilder.training.health import finite_model
from netbuilder.training.snapshots import SNAPSHOTS

__all__ = ["BinaryWorker"]


class BinaryWorker(Process):
    """A running `caffe train`, `caffe test` or `caffe time`."""

    def __init__(
        self, install: Install, job: JobFields, log: IO[bytes] | None = None, threads: int = 1
    ) -> None:
        self._job = job
        self._read = LOGS[job["do"]](job)
        self._asked = False
        try:
            for name, text in job["files"].items():
                Path(name).write_text(text, encoding="utf-8")
            if job.get("state"):
                resumable(job["state"], job["model"], job["resumed"])
        except (OSError, Fault) as error:
            raise EngineError(str(error)) from None
        command = [*install.command, *job["arguments"]]
        super().__init__(install, command, log=log, threads=threads, displayed=displayed(job))

    def stop(self) -> None:
        """Ask it to end after this iteration, with a snapshot; `test` and `time` end at once."""
        self._asked = True
        super().stop()

    def __iter__(self) -> Iterator[Event]:
        ended = False
        for line in self._lines():
            for event in self._made(self._read.take(line)):
                ended = ended or isinstance(event, Ended)
                yield self._checked(event)
                if isinstance(event, Ended) and event.how == "diverged":
                    return
        code = self._process.wait()
        try:
            for event in self._made(self._read.close()):
                ended = ended or isinstance(event, Ended)
                yield self._checked(event)
        except EngineError:
            if ended:
                raise
            # It ended while it wrote a snapshot: the reason for its end is more helpful.
        if (
            not ended and self._asked and (by_signal(code) == "SIGINT" or self._ended_in_setup)
        ):  # before it could listen, or at once
            yield Ended("stopped", self._job.get("begin", 0))
        elif not ended:
            raise death(code, self._said(), self._job.get("names", {}))

    def _made(self, events: Iterator[Event | Written]) -> Iterator[Event]:
        """The events; for each snapshot that Caffe has written, rename it and yield Snapshot."""
        for event in events:
            if not isinstance(event, Written):
                yield event
            elif not self._sound(event.iteration):
                yield Ended("diverged", event.iteration)
                return
            elif self._wanted(event.iteration):
                yield Saving(event.iteration)
                try:
                    yield Snapshot(event.iteration, *publish(self._job, event.iteration))
                except Fault as error:
                    raise EngineError(str(error)) from None

    def _sound(self, iteration: int) -> bool:
        """Whether the model of a snapshot is finite, as far as it can be read."""
        ending = SNAPSHOTS.model + (".h5" if self._job["hdf5"] else "")
        try:
            return finite_model(f"{self._job['partial']}_iter_{iteration}{ending}")
        except NetBuilderError:
            return True  # whoever renames it says what is wrong

    def _wanted(self, iteration: int) -> bool:
        """Whether to keep a snapshot: Caffe also writes a last one for a solver that disables it."""
        every = self._job["snapshot"]
        due = bool(every) and iteration % every == 0
        return due or bool(self._job["after_train"]) or iteration < self._job["max_iter"]
