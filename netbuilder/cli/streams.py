"""The streams of the command: errors on stderr, and output that nobody reads any more.

An example of the latter is `netbuilder train solver.prototxt 2>&1 | head`.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO

__all__ = ["Outliving", "error_text", "outlive_readers", "silence"]


class Outliving(io.TextIOWrapper):
    """A stream that outlives its reader: what cannot be read is dropped, and the work goes on."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:
            silence(self)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            silence(self)


def outlive_readers() -> None:
    """Let messages be dropped when stderr has lost its reader; escape what a terminal's encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if type(sys.stderr) is io.TextIOWrapper and sys.stderr is sys.__stderr__:
        encoding = sys.stderr.encoding
        sys.stderr = Outliving(sys.stderr.detach(), encoding, "backslashreplace", line_buffering=True)


def silence(stream: TextIO) -> None:
    """Send what a stream still holds, and what comes, nowhere; Python would complain when it closes it."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def error_text(error: Exception) -> str:
    """An error for stderr, fitted to the terminal if it is one; only then is there more to import."""
    if not sys.stderr.isatty():
        return f"{type(error).__name__}: {error}"
    from netbuilder.cli import terminal

    return terminal.error_text(error)
