"""The worker in Caffe's Python: sent its source and a job, it tells what happens, until the job is done."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from netbuilder.engines.caffe.install import Install, boot
from netbuilder.engines.caffe.log import Event, event_of
from netbuilder.engines.caffe.process import Process
from netbuilder.engines.caffe.reasons import death, fault

__all__ = ["Worker"]

_MARK = "@netbuilder "


class Worker(Process):
    """A running worker: Caffe by pycaffe."""

    def __init__(
        self, install: Install, job: dict[str, Any], log: IO[bytes] | None = None, threads: int = 1
    ) -> None:
        self._root = install.root or Path("/")
        self._folder: Path | None = None
        modules = ("../../storage/wire.py", "_snapshot_files.py", "_train_worker.py")
        command, sources = boot(install, *modules, threads=threads)
        # A chroot keeps what was opened before: the folder that we are in stays reachable, by relative names.
        directory = os.open(".", os.O_RDONLY) if install.root is not None else None
        try:
            super().__init__(install, command, log=log, threads=threads, folder=directory)
        finally:
            if directory is not None:
                os.close(directory)
        request = {**job, "directory": os.getcwd() if directory is None else directory}
        self._send(sources + json.dumps(request).encode() + b"\n")

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)  # after an abort the worker could not

    def __iter__(self) -> Iterator[Event]:
        ended = False
        for line in self._lines(_MARK.encode()):
            if not line.startswith(_MARK):
                event = event_of(line)
                if event is not None:
                    yield event
                continue
            told = json.loads(line.removeprefix(_MARK))
            if "folder" in told:
                self._folder = self._root / told["folder"].lstrip("/")
            elif "fault" in told:
                raise fault(told["fault"], told.get("hint", ""), self._said())
            else:
                ended = ended or "end" in told
                yield Event("told", told=told)
        code = self._process.wait()
        if not ended:
            raise death(code, self._said())
