"""Parquet with CaffeOnSpark's columns: written from files and databases, read record by record."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from netbuilder.data import images
from netbuilder.data.parquet import Frame
from netbuilder.data.stored import BadRecord, Database
from netbuilder.errors import FileError
from tests.command import Command
from tests.databases import noise, write_lmdb

pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: pip install pyarrow")
pa = pytest.importorskip("pyarrow")


@pytest.fixture
def data(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys, "data")


@pytest.mark.parametrize("channels", [1, 3])
def test_a_database_and_its_frame_have_the_same_images(channels: int, data: Command, tmp_path: Path) -> None:
    write_lmdb(tmp_path / "db", noise(7, channels, 5, 6), [3, 1, 4, 1, 5, 9, 2])
    ran = data("parquet", tmp_path / "db", "-o", tmp_path / "frame", "--rows", "3")
    assert ran.err == f"wrote {tmp_path / 'frame'}: 7 rows in 3 files\n"
    database = Database(tmp_path / "db")
    frame = Frame(tmp_path / "frame", "f", image="data", label="label", gray=channels == 1)
    assert len(frame) == len(database) == 7
    for number in (6, 0, 3, 2, 1, 5, 4):
        planes, label = frame.read(frame.task(number))
        wanted, expected = database.read(database.task(number))
        assert label == expected
        assert planes.dtype == np.uint8
        np.testing.assert_array_equal(planes, wanted)


def test_image_files_are_stored_as_they_are(data: Command, tmp_path: Path) -> None:
    for name in ("cat/a.jpg", "dog/b.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True)
        picture = np.full((4, 4, 3), 7, np.uint8)
        (tmp_path / "images" / name).write_bytes(images.encode(picture, name[-3:]))
    assert (
        data(
            "parquet", tmp_path / "images", "-o", tmp_path / "f", "--image-column", "x", "--label-column", "y"
        ).code
        == 0
    )
    table = pq.read_table(tmp_path / "f")
    assert table.column_names == ["x", "y"]
    assert table.column("y").to_pylist() == [0, 1]
    assert table.column("x")[0].as_py() == (tmp_path / "images" / "cat" / "a.jpg").read_bytes()
    assert data("parquet", tmp_path / "images", "-o", tmp_path / "f").code == 2  # it is not replaced
    assert data("parquet", tmp_path / "images", "-o", tmp_path / "f", "--force").code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f", "images"]


def test_a_folder_as_spark_writes_it(tmp_path: Path) -> None:
    """Files in the order of their names, hidden ones aside, row groups of any size, labels as text."""
    pictures = [images.encode(np.full((2, 2), value, np.uint8), "png") for value in range(6)]
    (tmp_path / "f").mkdir()
    for i, rows in enumerate(([0, 1, 2], [3], [4, 5])):
        columns = {
            "id": [str(r) for r in rows],
            "label": [str(r) for r in rows],
            "data": [pictures[r] for r in rows],
        }
        pq.write_table(pa.table(columns), tmp_path / "f" / f"part-{i}.snappy.parquet", row_group_size=2)
    (tmp_path / "f" / "_SUCCESS").write_text("")
    (tmp_path / "f" / ".part-0.crc").write_text("x")
    frame = Frame(tmp_path / "f", "f", image="data", label="label", gray=True)
    found = [frame.read(frame.task(n)) for n in range(len(frame))]
    assert [(int(planes[0, 0, 0]), label) for planes, label in found] == [(n, n) for n in range(6)]
    assert frame.called(4) == f"row 0 of '{tmp_path}/f/part-2.snappy.parquet'"
    copy = pickle.loads(pickle.dumps(frame))  # for another process
    assert copy.read(frame.task(5))[1] == 5


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"data": [b"no image", None], "label": [1, 2]}), tmp_path / "a.parquet")
    frame = Frame(tmp_path / "a.parquet", "a", image="data", label="label")
    for number in (0, 1):
        with pytest.raises(BadRecord):
            frame.read(frame.task(number))
    with pytest.raises(FileError, match=r"has no column 'image'"):
        Frame(tmp_path / "a.parquet", "a", image="image", label="label")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(FileError, match=r"cannot read '.*b\.parquet' as Parquet"):
        Frame(tmp_path / "b.parquet", "b", image="data", label="label")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match="has no Parquet files"):
        Frame(tmp_path / "empty", "e", image="data", label="label")
