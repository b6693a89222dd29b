"""The process in which Caffe works: started, read from, stopped, and always ended."""

from __future__ import annotations

import collections
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import IO

from netbuilder.engines.caffe.install import Install, environment
from netbuilder.engines.caffe.log import Displayed, serious
from netbuilder.errors import EngineError
from netbuilder.training.events import Event

__all__ = ["Process"]

_KEPT = 2000  # lines at the end of the log that are searched for the reason of a death
_LONGEST = 2**16  # bytes of a line; the rest of a longer one counts as the next line
_GRACE = 10.0  # seconds for a process to end after a fatal line
_SETUP = 3.0  # seconds for one to end that is asked to before its first event: it may hang for ever
_FATAL = re.compile(r"F\d{4,8} \d\d:\d\d:\d\d")


class Process:
    """A running Caffe; a context manager that leaves no process running.

    `log` receives Caffe's own lines, of a training those that are `displayed`. Iterating yields the events
    until the process ends, and raises EngineError if it failed.
    """

    def __init__(
        self, install: Install, command: list[str], *, log: IO[bytes] | None, threads: int,
        folder: int | None = None, stdout: int = subprocess.DEVNULL, displayed: Displayed | None = None,
    ) -> None:  # fmt: skip
        self._log, self._displayed = log, displayed
        self._begun = self._ended_in_setup = False
        self._error = ""  # Caffe goes on after it
        self._tail: collections.deque[str] = collections.deque(maxlen=_KEPT)
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=stdout,
                stderr=subprocess.PIPE,
                env=environment(install, threads),
                pass_fds=() if folder is None else (folder,),
                start_new_session=True,  # netbuilder handles Ctrl-C and calls stop()
            )
        except OSError as error:
            raise EngineError(f"{install} does not start: {error}") from None

    @property
    def pid(self) -> int:
        """The process that Caffe runs in, or the command that started it."""
        return self._process.pid

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass

    def __iter__(self) -> Iterator[Event]:
        raise NotImplementedError

    def stop(self) -> None:
        """Ask it and its children to end after this iteration, with a snapshot, as Ctrl-C does.

        Before its first event there is nothing to keep, so it is ended if it does not end soon.
        """
        self._signal(signal.SIGINT)
        if not self._begun:
            self._later(_SETUP, self._end_setup)

    def _end_setup(self) -> None:
        if not self._begun and self._process.poll() is None:
            self._ended_in_setup = True
            self.kill()

    def _later(self, seconds: float, do: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, do)
        timer.daemon = True
        timer.start()

    def kill(self) -> None:
        """End it and its children now."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self._process.poll() is None:
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                pass

    def _send(self, content: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(content)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it died; its log says why

    def _lines(self, mark: bytes = b"") -> Iterator[str]:
        """The lines that it prints until it ends. The mark, also after an unfinished line, is not logged."""
        stream = self._process.stderr
        assert stream is not None
        while raw := stream.readline(_LONGEST):
            line = raw.removesuffix(mark)
            if line:
                yield self._logged(line)
            if len(line) < len(raw):
                yield mark.decode()

    def _logged(self, raw: bytes) -> str:
        """A line of Caffe's log, once it is recorded."""
        line = raw.decode(errors="replace").rstrip("\n")
        if self._log is not None and (self._displayed is None or self._displayed.keeps(line)):
            self._log.write(raw)
        self._tail.append(line)
        if line.startswith("E") and not self._error:
            self._error = serious(line)
        if _FATAL.match(line):
            # With several GPUs the other processes would wait for the dead one.
            self._later(_GRACE, self.kill)
        return line

    def _checked(self, event: Event) -> Event:
        """An event, unless Caffe has logged an error before it. If it ends by itself, it says more."""
        self._begun = True
        if self._error:
            raise EngineError(
                f"Caffe goes on without something that it could not read: {self._error}",
                hint="what it computes from then on is wrong; mend or remove what it names",
            )
        return event

    def _said(self) -> str:
        """The end of the log."""
        return "\n".join(self._tail)
