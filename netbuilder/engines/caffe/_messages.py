"""The protocol of netbuilder and its workers: messages of JSON with arrays, through the pipes of a process.

Both sides use it: netbuilder, which imports it, and each worker in Caffe's Python (3.7 or newer), which
receives its source before its own. So it imports only the standard library, and numpy for arrays.

A message is a line "@netbuilder JSON_SIZE NPZ_SIZE", and that many bytes of JSON and of npz. An array is
{"@array": i} in the JSON and "arr_i" in the npz, which is left out if there are none. Every other line is
skipped. npz is used because numpy 1 cannot load numpy 2 pickles.
"""

from __future__ import annotations

import io
import json
import os
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import IO

MARK = "@netbuilder"
_HEAD = re.compile(rb"@netbuilder (\d{1,19}) (\d{1,19})\n")
_ARRAY = "@array"
_MOST = (2**30, 2**34)  # bytes of JSON and of npz
_PIECE = 2**20  # bytes read at once


class BadMessage(Exception):
    """The other side sent something that is not a message."""


def reserve_stdout() -> IO[bytes]:
    """The worker's stream of messages: its stdout. What others print there from now on goes to stderr."""
    messages = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return messages


def pack(data: dict[str, Any]) -> bytes:
    """A message. Raises TypeError for values that are neither JSON nor arrays."""
    arrays: list[Any] = []

    def reference(value: Any) -> dict[str, int]:
        if not hasattr(value, "dtype"):
            raise TypeError(f"a {type(value).__name__} cannot be sent")
        arrays.append(value)
        return {_ARRAY: len(arrays) - 1}

    text, packed = json.dumps(data, default=reference).encode(), b""
    if arrays:
        import numpy as np

        buffer = io.BytesIO()
        np.savez(buffer, *arrays)
        packed = buffer.getvalue()
    # The line break ends what somebody else may have printed.
    return b"".join((f"\n{MARK} {len(text)} {len(packed)}\n".encode(), text, packed))


def send(stream: IO[bytes], data: dict[str, Any]) -> None:
    """Write a message."""
    stream.write(pack(data))
    stream.flush()


def receive(stream: IO[bytes]) -> dict[str, Any] | None:
    """The next message, None if the stream ends before one. Its memory is bounded by what has been sent.

    Raises EOFError if the stream ends inside a message, and BadMessage.
    """
    sizes = _head(stream)
    if sizes is None:
        return None
    for size, most in zip(sizes, _MOST):  # noqa: B905 (Python 3.10)
        if size > most:
            raise BadMessage(f"a message of {size:,} bytes, more than {most:,}")
    text, packed = (_exactly(stream, size) for size in sizes)
    arrays: list[Any] = []
    try:
        if sizes[1]:
            import numpy as np

            with np.load(packed, allow_pickle=False) as archive:
                arrays = [archive[f"arr_{i}"] for i in range(len(archive.files))]
        data = json.loads(text.getvalue(), object_hook=lambda value: _resolved(value, arrays))
    except Exception as error:  # numpy and zipfile raise many kinds
        raise BadMessage(f"a message that cannot be read ({type(error).__name__}: {error})") from None
    if not isinstance(data, dict):
        raise BadMessage(f"a message that is a {type(data).__name__}")
    return data


def _head(stream: IO[bytes]) -> tuple[int, int] | None:
    """The sizes in the next head line; None at the end of the stream."""
    begins = True
    while True:
        line = stream.readline(_PIECE)
        head = _HEAD.fullmatch(line) if begins else None
        if head:
            return int(head[1]), int(head[2])
        if not line:
            return None
        if begins and line.startswith(MARK.encode()) and not line.endswith(b"\n") and len(line) < _PIECE:
            raise EOFError
        begins = line.endswith(b"\n")


def _exactly(stream: IO[bytes], size: int) -> io.BytesIO:
    """That many bytes. Read piece by piece, so that a false size takes no memory."""
    buffer = io.BytesIO()
    while size:
        piece = stream.read(min(size, _PIECE))
        if not piece:
            raise EOFError
        size -= buffer.write(piece)
    buffer.seek(0)
    return buffer


def _resolved(value: dict[str, Any], arrays: list[Any]) -> Any:
    """The array of a reference; other objects as they are."""
    index = value.get(_ARRAY)
    return arrays[index] if len(value) == 1 and isinstance(index, int) else value
