"""The worker in Caffe's Python: receives its source and a job, and streams events until it is done."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from netbuilder.engines.caffe._messages import MARK, BadMessage, pack, receive
from netbuilder.engines.caffe.install import Install, boot
from netbuilder.engines.caffe.jobs import JobFields, displayed
from netbuilder.engines.caffe.log import IterationLog
from netbuilder.engines.caffe.process import Process
from netbuilder.engines.caffe.reasons import death, fault
from netbuilder.errors import EngineError
from netbuilder.training import events

__all__ = ["Worker"]

_MODULES = (
    "_messages.py", "_late_imports.py", "../../storage/wire.py", "../../storage/temporary.py",
    "_snapshot_files.py", "_train_worker.py",
)  # fmt: skip
_EVENTS = {
    kind.__name__: kind
    for kind in (
        events.Started, events.Replaying, events.Testing, events.Tested, events.Saving, events.Snapshot,
        events.Timing, events.Timed, events.Ended,
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Computed:
    """The blobs after a pass, which is not an event of a training."""

    blobs: dict[str, Any]


class Worker(Process):
    """A running pycaffe worker."""

    def __init__(
        self, install: Install, job: JobFields, log: IO[bytes] | None = None, threads: int = 1
    ) -> None:
        self._root = install.root or Path("/")
        self._folder: Path | None = None
        self._job = job
        self._mark = f"{MARK} {os.urandom(8).hex()}\n"  # no name of a layer, which Caffe logs, equals it
        command, sources = boot(install, *_MODULES, threads=threads)
        # A descriptor opened before the chroot keeps the current directory reachable by relative names.
        directory = os.open(".", os.O_RDONLY) if install.root is not None else None
        try:
            super().__init__(
                install, command, log=log, threads=threads, folder=directory, stdout=subprocess.PIPE,
                displayed=displayed(job),
            )  # fmt: skip
        finally:
            if directory is not None:
                os.close(directory)
        request = {
            **job,
            "directory": os.getcwd() if directory is None else directory,
            "mark": self._mark,
        }
        self._send(sources + pack(request))

    def compute(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The blobs that the job asks for after a pass over these inputs. Raises EngineError."""
        self._send(pack({"inputs": dict(inputs)}))
        for event in cast("Iterator[object]", iter(self)):
            if isinstance(event, _Computed):
                return event.blobs
        raise EngineError("the worker of Caffe ended before its answer", hint="see docs/real-caffe.md")

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)  # after an abort the worker could not

    def __iter__(self) -> Iterator[events.Event]:
        ended = False
        iterations = IterationLog()
        for line in self._lines(self._mark.encode()):
            if line != self._mark:
                iteration = iterations.take(line)
                if iteration is not None:
                    yield self._checked(iteration)
                continue
            message = self._message()
            if message is None:
                continue  # it died: the rest of its log says why
            kind, fields = message["kind"], message["fields"]
            if kind == "Folder":
                self._folder = self._root / fields["path"].lstrip("/")
            elif kind == "Fault":
                raise fault(fields["text"], fields["hint"], self._said())
            else:
                ended = ended or kind == "Ended"
                yield self._checked(_event(kind, fields))
                if kind == "Saving":
                    self._send(b"\n")
        code = self._process.wait()
        if not ended and self._ended_in_setup:
            yield events.Ended("stopped", self._job.get("begin", 0))
        elif not ended:
            raise death(code, self._said(), self._job.get("names", {}))

    def _message(self) -> dict[str, Any] | None:
        """The message that the mark announces; None if the worker died before its end."""
        assert self._process.stdout is not None
        try:
            return receive(self._process.stdout)
        except EOFError:
            return None
        except BadMessage as error:
            raise EngineError(f"the worker of Caffe sent {error}", hint="see docs/real-caffe.md") from None


def _event(kind: str, fields: dict[str, Any]) -> Any:
    """An event of the worker; lists of JSON become tuples."""
    if kind == "Computed":
        return _Computed(fields["blobs"])
    if kind == "Started":
        fields["outputs"] = tuple(fields["outputs"])
    elif kind == "Tested":
        fields["outputs"] = {name: tuple(values) for name, values in fields["outputs"].items()}
    elif kind == "Timed":
        fields["layers"] = tuple(
            events.LayerTime(name, type, tuple(forward), tuple(backward))
            for name, type, forward, backward in fields["layers"]
        )
    return _EVENTS[kind](**fields)
