"""The number of records of a data layer's source, and whether their labels are sorted."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from netbuilder.data.records import first_labels, looks_sorted, number_of_records
from netbuilder.prototxt.text import parse
from netbuilder.schema import LayerParameter
from tests.databases import noise, write_lmdb

LMDB = 'type: "Data" top: "x" top: "y" data_param { source: "db" backend: LMDB batch_size: 4 }'
LIST = 'type: "ImageData" top: "x" top: "y" image_data_param { source: "list.txt" batch_size: 4 }'
HDF5 = 'type: "HDF5Data" top: "x" top: "y" hdf5_data_param { source: "files.txt" batch_size: 4 }'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def layer(text: str) -> LayerParameter:
    message: LayerParameter = parse(text, LayerParameter).message
    return message


def test_the_records_of_an_lmdb_are_its_entries() -> None:
    labels = [3, 1, 2, 0, 1]
    write_lmdb("db", noise(5, 1, 2, 2), labels)
    assert number_of_records(layer(LMDB)) == 5
    assert first_labels(layer(LMDB)) == labels
    assert number_of_records(layer(LMDB.replace("LMDB", "LEVELDB"))) is None


def test_a_source_is_looked_for_beside_the_prototxt_too() -> None:
    write_lmdb("nets/db", noise(3, 1, 2, 2), [0, 1, 2])
    assert number_of_records(layer(LMDB)) is None
    assert number_of_records(layer(LMDB), Path("nets")) == 3


def test_every_line_of_an_image_list_is_a_record() -> None:
    Path("list.txt").write_text("a.png 0\nb b.png 1\nc.png 2")
    assert number_of_records(layer(LIST)) == 3
    assert first_labels(layer(LIST)) == [0, 1, 2]


def test_the_rows_of_all_hdf5_files_are_records() -> None:
    h5py = pytest.importorskip("h5py")
    for name, rows in (("a.h5", 7), ("b.h5", 4)):
        with h5py.File(name, "w") as file:
            file["x"] = [[1.0, 2.0]] * rows
            file["y"] = [0.0] * rows
    Path("files.txt").write_text("a.h5\nb.h5\n")
    assert number_of_records(layer(HDF5)) == 11
    assert first_labels(layer(HDF5)) == [0] * 11


@pytest.mark.parametrize("text", [LMDB, LIST, HDF5, 'type: "Input" top: "x"', 'type: "MemoryData" top: "x"'])
def test_what_is_not_at_hand_has_no_number(text: str) -> None:
    assert number_of_records(layer(text)) is None
    assert first_labels(layer(text)) == []


def test_a_damaged_database_has_no_number() -> None:
    Path("db").mkdir()
    Path("db/data.mdb").write_bytes(b"no database")
    assert number_of_records(layer(LMDB)) is None
    assert first_labels(layer(LMDB)) == []


def test_an_autoencoder_reads_no_labels() -> None:
    write_lmdb("db", noise(5, 1, 2, 2), [0, 0, 1, 1, 1])
    assert first_labels(layer(LMDB.replace('top: "y"', ""))) == []


def shuffled(labels: list[int], seed: int = 0) -> list[int]:
    return random.Random(seed).sample(labels, len(labels))


@pytest.mark.parametrize(
    "labels",
    [
        [0] * 20 + [1] * 20,
        [i // 6 for i in range(60)],
        [i // 500 for i in range(5000)],
        [0] * 9_000 + [1] * 1_000,
        [9 - i // 100 for i in range(1000)],  # falling
        [i // 50 % 10 for i in range(2000)],  # several times, each time in order
    ],
)
def test_sorted_labels_look_sorted_and_shuffled_ones_do_not(labels: list[int]) -> None:
    assert looks_sorted(labels)
    assert not any(looks_sorted(shuffled(labels, seed)) for seed in range(20))


@pytest.mark.parametrize(
    "labels",
    [
        [],
        [3],
        [0] * 5000,  # one class
        [0, 1],
        [0, 0, 0, 1, 1, 1],  # by chance one time in ten
        list(range(1000)),  # a number each
        [i % 10 for i in range(1000)],  # in turn
        shuffled([0] * 990 + [1] * 10),
    ],
)
def test_other_labels_do_not_look_sorted(labels: list[int]) -> None:
    assert not looks_sorted(labels)


def test_a_first_class_longer_than_what_is_read_is_seen() -> None:
    with open("list.txt", "w") as file:
        file.writelines(f"{i}.png {i // 15_000}\n" for i in range(30_000))
    labels = first_labels(layer(LIST))
    assert (len(labels), labels[9_999], labels[10_000], labels[-1]) == (10_020, 0, 1, 1)
    assert looks_sorted(labels)
    with open("list.txt", "w") as file:
        file.writelines(f"{i}.png {int(i % 11_000 == 10_999)}\n" for i in range(30_000))  # rare, in any order
    assert not looks_sorted(first_labels(layer(LIST)))
