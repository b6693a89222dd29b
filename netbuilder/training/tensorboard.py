"""Event files for TensorBoard, written without it: its package brings a web server, and the format is small.

A file is a row of records: the length of the message in 8 bytes, a checksum of these, the message, a checksum
of that. The message is an Event: time, step, and a Summary of named numbers.
Source: tensorflow/core/lib/io/record_writer.cc, tsl/lib/hash/crc32c.h, tensorflow/core/util/event.proto and
framework/summary.proto.
"""

from __future__ import annotations

import math
import os
import re
import struct
import time
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import IO

from netbuilder.errors import FileError
from netbuilder.storage.files import reason, replacing
from netbuilder.storage.wire import BYTES, FIXED32, FIXED64, VARINT, WireError, fields, packed, varint
from netbuilder.training.events import Event, Iteration, Tested
from netbuilder.training.history import History
from netbuilder.training.record import Row

__all__ = ["Board", "write_history"]

_VERSION = b"brain.Event:2"
_TIME, _STEP, _FILE_VERSION, _SUMMARY, _SESSION = 1, 2, 3, 5, 7  # of Event
_VALUE, _TAG, _SIMPLE_VALUE, _STATUS, _START = 1, 1, 2, 1, 1  # of Summary, Summary.Value and SessionLog
_FLT_MAX = 3.4028234663852886e38
# The name says from which iteration on; TensorBoard reads files with tfevents in their names, in their order.
_NAME = "events.out.tfevents.{:010d}.netbuilder"
_OURS = re.compile(r"events\.out\.tfevents\.(\d{10})\.netbuilder")


class Board:
    """Writes the rows and tests of a training, as they come, into a folder that is a run to TensorBoard.

    A training that goes on after `begin` iterations has another file. What earlier files tell of later
    iterations is removed, so that nothing is there twice; nothing is touched before the first iteration.
    """

    def __init__(self, folder: Path, begin: int) -> None:
        self._folder, self._begin = folder, begin
        self._file: IO[bytes] | None = None
        self._waiting: list[bytes] = []

    def take(self, event: Event, row: Row | None) -> None:
        """Write what an event tells, and the row that it has completed. Raises FileError."""
        now = time.time()
        records = []
        if row is not None:
            records.append(_record(now, row.iteration, _of_row(row)))
        if isinstance(event, Tested):
            records.append(_record(now, event.iteration, _of_test(event)))
        try:
            if self._file is None:
                self._waiting += records
                if not isinstance(event, Iteration):
                    return
                records, self._waiting = self._waiting, []
                self._file = _begun(self._folder, self._begin)
            if records:
                self._file.write(b"".join(records))
                self._file.flush()
        except OSError as error:
            raise FileError(f"cannot write the events in '{self._folder}': {reason(error)}") from None

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def write_history(folder: Path, history: History, end: float) -> Path:
    """Write a whole training, whose last row was at the time `end`, and return the file.

    It replaces what netbuilder wrote in the folder before. Raises FileError.
    """
    begin = end - max((row.seconds for row in history.train if math.isfinite(row.seconds)), default=0.0)

    def at(iteration: int) -> float:
        seconds = history.seconds(iteration)
        return begin + (seconds if math.isfinite(seconds) else 0.0)

    records = [
        (row.iteration, _record(at(row.iteration), row.iteration, _of_row(row))) for row in history.train
    ]
    records += [(t.iteration, _record(at(t.iteration), t.iteration, _of_test(t))) for t in history.tests]
    records.sort(key=lambda record: record[0])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for first, old in _ours(folder):
            if first:
                old.unlink()
    except OSError as error:
        raise FileError(f"cannot write the events in '{folder}': {reason(error)}") from None
    path = folder / _NAME.format(0)
    with replacing(path) as partial:
        partial.write_bytes(b"".join([_head(begin), *(record for _, record in records)]))
    return path


# ---- what is written -------------------------------------------------------------------------------------


def _of_row(row: Row) -> dict[str, float]:
    own = {"train/loss": row.loss, "train/lr": row.rate}
    return {**own, **{f"train outputs/{name}": value for name, value in row.outputs.items()}}


def _of_test(test: Tested) -> dict[str, float]:
    group = f"test #{test.net}" if test.net else "test"
    return {
        f"{group}/{name}" if len(values) == 1 else f"{group}/{name}/{i}": value
        for name, values in test.outputs.items()
        for i, value in enumerate(values)
    }


def _record(now: float, step: int, values: Mapping[str, float]) -> bytes:
    """The record of named numbers; those that nobody computed, a log's missing rates, are left out."""
    summary = b"".join(
        _bytes(_VALUE, _bytes(_TAG, name.encode("utf-8", "replace")) + _float(_SIMPLE_VALUE, value))
        for name, value in values.items()
        if not (name == "train/lr" and math.isnan(value))
    )
    return framed(_event(now, step) + _bytes(_SUMMARY, summary))


def _head(now: float) -> bytes:
    return framed(_double(_TIME, now) + _bytes(_FILE_VERSION, _VERSION))


def _event(now: float, step: int) -> bytes:
    return _double(_TIME, now) + packed(_STEP << 3 | VARINT) + packed(step)


def _bytes(number: int, content: bytes) -> bytes:
    return packed(number << 3 | BYTES) + packed(len(content)) + content


def _double(number: int, value: float) -> bytes:
    return packed(number << 3 | FIXED64) + struct.pack("<d", value)


def _float(number: int, value: float) -> bytes:
    """A number in single precision, in which more than the largest is infinite."""
    value = math.copysign(math.inf, value) if abs(value) > _FLT_MAX else value
    return packed(number << 3 | FIXED32) + struct.pack("<f", value)


# ---- files -----------------------------------------------------------------------------------------------


def _begun(folder: Path, begin: int) -> IO[bytes]:
    """The file of a training from an iteration on, open for more."""
    folder.mkdir(parents=True, exist_ok=True)
    for first, path in _ours(folder):
        if first >= begin:
            path.unlink()
        else:
            _cut(path, begin)
    file = open(folder / _NAME.format(begin), "wb")  # noqa: SIM115
    now = time.time()
    file.write(_head(now))
    if begin:  # TensorBoard, if it runs, forgets what it has read of later iterations
        start = packed(_STATUS << 3 | VARINT) + packed(_START)
        file.write(framed(_event(now, begin) + _bytes(_SESSION, start)))
    return file


def _ours(folder: Path) -> list[tuple[int, Path]]:
    """The event files that netbuilder has written, and from which iteration on."""
    found = ((_OURS.fullmatch(name), folder / name) for name in sorted(os.listdir(folder)))
    return [(int(m[1]), path) for m, path in found if m]


def _cut(path: Path, begin: int) -> None:
    """Remove the records from an iteration on, and one that a killed process has not finished."""
    data = path.read_bytes()
    kept = [record for step, record in _records(data) if step < begin]
    if len(b"".join(kept)) < len(data):
        with replacing(path) as partial:
            partial.write_bytes(b"".join(kept))


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The whole records of a file, and their steps."""
    at = 0
    while at + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        end = at + 12 + length + 4
        if end > len(data):
            return
        step = 0
        try:
            for number, wire, content, stop in fields(data, at + 12, end - 4):
                if (number, wire) == (_STEP, VARINT):
                    step, _ = varint(data, content, stop)
        except WireError:
            return
        yield step, data[at:end]
        at = end


def framed(message: bytes) -> bytes:
    """A message as a record."""
    length = struct.pack("<Q", len(message))
    return b"".join((length, _checksum(length), message, _checksum(message)))


def _checksum(data: bytes) -> bytes:
    """The masked CRC-32C, so called by TensorFlow: rotated by 15 bits, and a constant added."""
    crc, table = 0xFFFFFFFF, _table()
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 255]
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


@cache
def _table() -> tuple[int, ...]:
    """The CRC of each byte, by Castagnoli's polynomial."""
    found = []
    for crc in range(256):
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        found.append(crc)
    return tuple(found)
