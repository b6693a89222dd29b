"""Event files, read by the published format alone: the frames here, the messages by protobuf itself."""

from __future__ import annotations

import importlib
import math
import struct
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from netbuilder.training.events import Iteration, Tested
from netbuilder.training.history import History
from netbuilder.training.record import Row
from netbuilder.training.tensorboard import Board, write_history


def _event_class() -> Any:
    """The Event of tensorflow/core/util/event.proto, as far as scalars need it."""
    file = descriptor_pb2.FileDescriptorProto(name="event.proto", package="judge", syntax="proto3")
    kinds = {"double": 1, "float": 2, "int64": 3, "int32": 5, "string": 9, "message": 11}
    messages: dict[str, list[tuple[str, int, str, str, bool]]] = {
        "Value": [("tag", 1, "string", "", False), ("simple_value", 2, "float", "", False)],
        "Summary": [("value", 1, "message", ".judge.Value", True)],
        "SessionLog": [("status", 1, "int32", "", False)],
        "Event": [
            ("wall_time", 1, "double", "", False),
            ("step", 2, "int64", "", False),
            ("file_version", 3, "string", "", False),
            ("summary", 5, "message", ".judge.Summary", False),
            ("session_log", 7, "message", ".judge.SessionLog", False),
        ],
    }
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field, number, kind, type_name, repeated in fields:
            message.field.add(
                name=field,
                number=number,
                type=kinds[kind],
                type_name=type_name or None,
                label=3 if repeated else 1,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("judge.Event"))


EVENT = _event_class()


def crc32c(data: bytes) -> int:
    """The remainder by Castagnoli's polynomial, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        for bit in range(8):
            odd = (crc ^ byte >> bit) & 1
            crc = crc >> 1 ^ 0x82F63B78 * odd
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) % 2**32


def test_the_judge_knows_the_published_checksum() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720 and the catalogue of CRCs


def events(path: Path) -> list[Any]:
    data, found, at = path.read_bytes(), [], 0
    while at < len(data):
        head = data[at : at + 8]
        (length,) = struct.unpack("<Q", head)
        assert struct.unpack_from("<I", data, at + 8) == (masked(head),)
        content = data[at + 12 : at + 12 + length]
        assert struct.unpack_from("<I", data, at + 12 + length) == (masked(content),)
        found.append(EVENT.FromString(content))
        at += 16 + length
    assert at == len(data)
    return found


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The points of each tag in all files of a folder, in their order."""
    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.iterdir()):
        first, *others = events(path)
        assert (first.file_version, first.step) == ("brain.Event:2", 0)
        for event in others:
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def row(i: int, loss: float) -> Row:
    return Row(i, loss, 0.5, 10.0 * i, {"loss": loss * 2})


def feed(board: Board, begin: int, end: int, loss: float) -> None:
    """A test before each fourth iteration, and a row of each second."""
    for i in range(begin, end):
        if i % 4 == 0:
            board.take(Tested(i, 0, 1, {"accuracy": (i / 8,), "many": (1.0, 2.0)}), None)
        board.take(Iteration(i, loss, 0.5), row(i, loss) if i % 2 == 0 else None)
    board.close()


def test_rows_and_tests_are_scalars_by_their_iterations(tmp_path: Path) -> None:
    feed(Board(tmp_path / "run", 0), 0, 7, 0.25)
    found = scalars(tmp_path / "run")
    assert found == {
        "test/accuracy": [(0, 0.0), (4, 0.5)],
        "test/many/0": [(0, 1.0), (4, 1.0)],
        "test/many/1": [(0, 2.0), (4, 2.0)],
        "train/loss": [(i, 0.25) for i in (0, 2, 4, 6)],
        "train/lr": [(i, 0.5) for i in (0, 2, 4, 6)],
        "train outputs/loss": [(i, 0.5) for i in (0, 2, 4, 6)],
    }
    (path,) = (tmp_path / "run").iterdir()
    assert "tfevents" in path.name  # by which TensorBoard finds it
    assert all(event.wall_time > 1.6e9 for event in events(path))


def test_a_resumed_training_has_nothing_twice(tmp_path: Path) -> None:
    feed(Board(tmp_path, 0), 0, 8, 1.0)
    (path,) = tmp_path.iterdir()
    with path.open("ab") as file:  # a killed process leaves a record cut short
        file.write(path.read_bytes()[:20])
    feed(Board(tmp_path, 3), 3, 10, 2.0)
    found = scalars(tmp_path)
    assert found["train/loss"] == [(0, 1.0), (2, 1.0), (4, 2.0), (6, 2.0), (8, 2.0)]
    assert found["test/accuracy"] == [(0, 0.0), (4, 0.5), (8, 1.0)]
    first, last = sorted(tmp_path.iterdir())
    assert [(e.session_log.status, e.step) for e in events(last) if e.HasField("session_log")] == [(1, 3)]
    feed(Board(tmp_path, 1), 1, 6, 3.0)  # once more, from before: the second file goes
    assert scalars(tmp_path)["train/loss"] == [(0, 1.0), (2, 3.0), (4, 3.0)]
    assert first.exists()
    assert not last.exists()


def test_nothing_is_touched_before_the_first_iteration(tmp_path: Path) -> None:
    feed(Board(tmp_path, 0), 0, 3, 1.0)
    before = scalars(tmp_path)
    board = Board(tmp_path, 0)
    board.take(Tested(0, 0, 1, {"accuracy": (0.75,)}), None)
    assert scalars(tmp_path) == before
    board.take(Iteration(0, 1.0, 0.5), None)
    board.close()
    assert scalars(tmp_path) == {"test/accuracy": [(0, 0.75)]}


def test_files_of_others_stay(tmp_path: Path) -> None:
    other = tmp_path / "events.out.tfevents.1700000000.host"
    other.write_bytes(b"theirs")
    feed(Board(tmp_path, 0), 0, 3, 1.0)
    write_history(tmp_path, History("a", [row(0, 1.0)], []), 100.0)
    assert other.read_bytes() == b"theirs"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_whole_history_is_written_with_its_times(tmp_path: Path) -> None:
    tests = [Tested(1, 0, 1, {"a": (math.nan,)}), Tested(2, 1, 1, {"a": (1e300,)})]
    rows = [row(0, 1.0), Row(2, math.inf, math.nan, 20.0, {})]
    path = write_history(tmp_path / "new", History("a", rows, tests), 1000.0)
    assert (
        path.read_bytes() == write_history(tmp_path / "new", History("a", rows, tests), 1000.0).read_bytes()
    )
    found = scalars(tmp_path / "new")
    assert str(found) == str(
        {
            "train/loss": [(0, 1.0), (2, math.inf)],
            "train/lr": [(0, 0.5)],  # nobody computed the other
            "train outputs/loss": [(0, 2.0)],
            "test/a": [(1, math.nan)],
            "test #1/a": [(2, math.inf)],
        }
    )
    assert [event.wall_time for event in events(path)] == [980.0, 980.0, 990.0, 1000.0, 1000.0]


def test_tensorboard_reads_the_same(tmp_path: Path) -> None:
    accumulator = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    feed(Board(tmp_path, 0), 0, 7, 0.25)
    read = accumulator.EventAccumulator(str(tmp_path)).Reload()
    assert {tag: [(e.step, e.value) for e in read.Scalars(tag)] for tag in read.Tags()["scalars"]} == scalars(
        tmp_path
    )
