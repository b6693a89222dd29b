"""Records and databases read as plain files: as lmdb and protobuf read them, and safe when damaged."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from netbuilder.data import datum
from netbuilder.schema import message
from netbuilder.storage.lmdb_file import DamagedDatabase, Reader


def write(folder: Path, items: dict[bytes, bytes], **how: bool) -> Path:
    with lmdb.open(str(folder), map_size=2**26) as env:
        # In several transactions, in no order, so that pages are split and used again.
        keys = list(items)
        random.Random(3).shuffle(keys)
        for i in range(0, len(keys), 100):
            with env.begin(write=True) as transaction:
                for key in keys[i : i + 100]:
                    transaction.put(key, b"old")
                    transaction.put(key, items[key])
    return folder / "data.mdb"


@pytest.mark.parametrize("count", [0, 1, 7, 3000])
def test_a_database_is_read_as_lmdb_wrote_it(count: int, tmp_path: Path) -> None:
    draw = random.Random(count)
    sizes = (0, 1, 500, 2000, 2040, 4079, 4080, 4081, 9000)
    items = {draw.randbytes(draw.randint(1, 60)): draw.randbytes(draw.choice(sizes)) for _ in range(count)}
    reader = Reader(write(tmp_path / "db", items))
    assert len(reader) == len(items)
    found = [(key, bytes(value)) for key, value in reader]
    assert found == sorted(items.items())
    for step in (3, 1000):
        assert [(key, bytes(value)) for key, value in reader.every(step)] == found[::step]


def test_a_file_that_is_cut_short_or_no_database_is_refused(tmp_path: Path) -> None:
    items = {b"%05d" % i: b"x" * 300 for i in range(200)}
    path = write(tmp_path / "db", items)
    whole = path.read_bytes()
    path.write_bytes(whole[:-4096])
    with pytest.raises(DamagedDatabase, match=f"cut short: it needs {len(whole)} bytes and has"):
        Reader(path)
    for content, text in (
        (b"", "it is empty"),
        (b"x" * 9000, "it is no LMDB"),
        (whole[:100], "it is no LMDB"),
    ):
        path.write_bytes(content)
        with pytest.raises(DamagedDatabase, match=text):
            Reader(path)


def test_damage_anywhere_is_an_error_or_harmless(tmp_path: Path) -> None:
    items = {b"%05d" % i: b"x" * (100 if i % 100 else 9000) for i in range(2000)}
    path = write(tmp_path / "db", items)
    whole = path.read_bytes()
    draw = random.Random(7)
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        page = draw.randrange(len(whole) // 4096) * 4096
        for _ in range(3):  # in headers and pointers, where it hurts
            damaged[page + draw.randrange(64)] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            for _, value in Reader(path):
                bytes(value)
        except DamagedDatabase:
            refused += 1
    assert refused > 25  # or it was not hit at all


def message_of(**fields: object) -> bytes:
    packed: bytes = message("Datum")(**fields).SerializeToString()
    return packed


def test_a_datum_is_read_as_protobuf_packs_it() -> None:
    planes = bytes(range(24))
    record = message_of(channels=2, height=3, width=4, data=planes, label=-7, encoded=False)
    read = datum.read(memoryview(record))
    assert read == (2, 3, 4, planes, -7, 0, False)
    floats = datum.read(
        memoryview(message_of(channels=1, height=1, width=3, float_data=[1, 2, 3], label=300))
    )
    assert (floats.floats, floats.label, bytes(floats.data)) == (3, 300, b"")
    assert datum.read(memoryview(message_of(data=b"file", encoded=True))).encoded


def test_a_datum_is_packed_as_protobuf_packs_it() -> None:
    planes = bytes(24)
    fields = {"channels": 2, "height": 3, "width": 4, "data": planes, "label": 0}
    assert datum.pack_planes((2, 3, 4), planes, 0) == message_of(**fields, encoded=False)
    assert datum.pack_planes((2, 3, 4), planes, 0, encoded_field=False) == message_of(**fields)
    assert datum.pack_encoded(b"file", 9) == message_of(data=b"file", label=9, encoded=True)


BAD: dict[str, Callable[[], bytes]] = {
    "it states 3x2x2 but has 11 values": lambda: message_of(channels=3, height=2, width=2, data=b"x" * 11),
    "it states 0x0x0 but has 4 values": lambda: message_of(data=b"1234"),
    "it claims to be encoded but is empty": lambda: message_of(encoded=True),
    "it is cut short": lambda: message_of(channels=1, height=1, width=4, data=b"1234")[:-2],
    "it is not a Datum": lambda: b"\x0a\x05hello",
}


def test_labels_are_those_that_protobuf_reads() -> None:
    """Of records alike, and of ones that differ in all that a reader could take for granted."""
    draw = random.Random(5)
    plain = {"channels": 1, "height": 2, "width": 2}
    records = [message_of(**plain, data=draw.randbytes(4), label=i % 11) for i in range(40)]
    for label in (0, 5, 127, 128, 999, -1):
        records += [
            message_of(**plain, data=b"\x28\x01\x28\x02", label=label),
            message_of(**plain, data=draw.randbytes(300), label=label, encoded=False),
            message_of(data=draw.randbytes(9), label=label, encoded=True),
            message_of(**plain, label=label, float_data=[1, 2, 3, 4]),
        ]
    records += [message_of(**plain, data=b"abcd"), records[0] + b"\x28\x07", b"\x28\x03" + records[0][:-2]]
    for _ in range(5):
        draw.shuffle(records)
        read = datum.Labels()
        for record in records:
            assert read(memoryview(record)) == message("Datum").FromString(record).label


@pytest.mark.parametrize("text", BAD)
def test_a_record_that_is_not_a_datum_is_refused(text: str) -> None:
    with pytest.raises(datum.BadDatum, match=f"^{text}$"):
        datum.read(memoryview(BAD[text]()))
