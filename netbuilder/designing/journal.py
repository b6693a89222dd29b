"""The journal of a sweep: one line per counted chunk, so that a sweep can be stopped at any time.

Each line is self-contained and written at once; the chunk of an incomplete line is counted again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from netbuilder.designing.counting import Tally
from netbuilder.errors import FileError
from netbuilder.storage.files import reason

__all__ = ["Journal"]

KIND = "netbuilder sweep journal"


class Journal:
    """The file and its content: `tallies` by the number of the chunk."""

    def __init__(self, path: Path, digest: str, chunks: int, *, anew: bool = False) -> None:
        """Open the journal to append; start a new file if none exists, or if `anew`.

        Raises FileError if the file belongs to another sweep, is not a journal, or cannot be written.
        """
        self.path = path
        self.tallies: dict[int, Tally] = {}
        self._chunks = chunks
        head = _line({"kind": KIND, "sweep": digest, "chunks": chunks})
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            text = b"" if anew else path.read_bytes()
            if not text.startswith(head):
                if not head.startswith(text):  # more than an incomplete head
                    self._refuse(text)
                os.truncate(self._file, 0)
                os.write(self._file, head)
                return
            good = len(head)
            for line in text[good:].splitlines(keepends=True):
                if not self._take(line):
                    break
                good += len(line)
            os.truncate(self._file, good)
        except OSError as error:
            raise self._failed(error) from None

    def add(self, chunk: int, tally: Tally) -> None:
        """Append a chunk; raises FileError if the file cannot be written."""
        line = _line([chunk, *tally.as_data()])
        try:
            written = os.write(self._file, line)
            if written < len(line):  # the disk is full: the next write reports it
                os.write(self._file, line[written:])
        except OSError as error:
            raise self._failed(error) from None
        self.tallies[chunk] = tally

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _take(self, line: bytes) -> bool:
        """Store the tally of a complete line; returns whether the line is complete."""
        try:
            chunk, *data = json.loads(line)
            if not line.endswith(b"\n") or chunk not in range(self._chunks):
                return False
            self.tallies.setdefault(chunk, Tally.from_data(data))
        except (ValueError, TypeError, RecursionError):
            return False
        return True

    def _refuse(self, text: bytes) -> None:
        try:
            data: Any = json.loads(text.partition(b"\n")[0])
            known = data["kind"] == KIND
        except (ValueError, TypeError, KeyError, RecursionError):
            known = False
        os.close(self._file)
        if known:
            raise FileError(
                f"'{self.path}' is the journal of another sweep: the file, a flag or netbuilder has changed",
                hint="choose another output folder, or use --force to start over",
            )
        raise FileError(
            f"'{self.path}' is in the way, and netbuilder did not write it",
            hint="choose another output folder, or use --force to replace it",
        )

    def _failed(self, error: OSError) -> FileError:
        return FileError(
            f"cannot write '{self.path}': {reason(error)}",
            hint="fix that and run the sweep again: it resumes where it stopped",
        )


def _line(data: object) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode() + b"\n"
