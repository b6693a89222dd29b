"""Data that is missing, damaged or not readable: the shape is unknown, and the reason is given."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from netbuilder import prototxt
from netbuilder.errors import NetBuilderError
from netbuilder.schema import message
from tests.prototxt.data_files import (
    DB,
    H5,
    LIST,
    SMALL,
    WINDOW_DATA,
    WINDOWS,
    Make,
    data,
    database,
    datum,
    hdf5,
    hdf5_data,
    image_data,
    images,
    leveldb,
    picture,
    tops,
    unknown,
)


def write(name: str, content: bytes) -> Make:
    def make(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)

    return make


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "list.txt")


def damaged_leveldb(folder: Path) -> None:
    pytest.importorskip("plyvel")
    write("db/CURRENT", b"")(folder)


UNKNOWN: dict[str, tuple[Make, str, str]] = {
    "no database": (lambda folder: None, data(), DB.format("it is not there")),
    "a file for a database": (write("db", b""), data(), DB.format("it is not a folder")),
    "a folder without a database": (
        write("db/a", b""), data(), DB.format("there is no database in this folder"),
    ),
    "a damaged LevelDB": (
        damaged_leveldb, data("backend: LEVELDB"), DB.format("it is damaged"),
    ),
    "a LevelDB without records": (
        leveldb(), data("backend: LEVELDB"), DB.format("it has no records"),
    ),
    "an empty data.mdb": (write("db/data.mdb", b""), data(), DB.format("it is empty")),
    "another data.mdb": (write("db/data.mdb", b"x" * 9000), data(), DB.format("it is no LMDB database")),
    "a database without records": (database(), data(), DB.format("it has no records")),
    "a record that is no Datum": (
        database(b"\xff" * 40), data(), DB.format("its first record is not a Datum"),
    ),
    "an image that is none": (
        database(message("Datum")(data=b"JPEG", encoded=True).SerializeToString()),
        data(),
        DB.format("the image in its first record cannot be read: UnidentifiedImageError"),
    ),
    "an image cut short": (
        images("a.png 0\n", **{"a.png": picture("RGB", (12, 10), compress_level=0)[:90]}),
        image_data(),
        LIST.format("the first of them, 'images/a.png', cannot be read: OSError"),
    ),
    "no list": (lambda folder: None, image_data(), LIST.format("their list 'list.txt' is not there")),
    "an empty list": (images(""), image_data(), LIST.format("their list 'list.txt' is empty")),
    "a list that is a pipe": (pipe, image_data(), LIST.format("their list 'list.txt' is not a file")),
    "a list of what is not there": (
        images("a.png 0\n"), image_data(), LIST.format("the first of them, 'images/a.png', is not there"),
    ),
    "no HDF5 list": (lambda folder: None, hdf5_data("data"), H5.format("it is not there")),
    "an empty HDF5 list": (images(" \n"), hdf5_data("data"), H5.format("it lists no file")),
    "no HDF5 file": (
        images("a.h5"), hdf5_data("data"), H5.format("its first file, 'a.h5', is not there"),
    ),
    "an HDF5 file that is none": (
        images("a.h5", **{"../a.h5": b"x" * 99}),
        hdf5_data("data"),
        H5.format("its first file, 'a.h5', is not an HDF5 file, or damaged"),
    ),
    "an empty window file": (images(""), WINDOW_DATA, WINDOWS.format("it is empty")),
    "a window file that is none": (
        images("hello"),
        WINDOW_DATA,
        WINDOWS.format(
            "it is not a window file: it needs '# index', path, channels, height, width"
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", UNKNOWN)
def test_data_that_cannot_be_read_leaves_the_shape_unknown_with_the_reason(case: str, here: Path) -> None:
    make, text, expected = UNKNOWN[case]
    make(here)
    assert unknown(text) == expected


def test_a_name_that_no_file_can_have_leaves_the_shape_unknown(here: Path) -> None:
    assert unknown(data().replace('"db"', r'"d\000b"')).endswith("(it is not there)")
    assert unknown(data().replace('"db"', f'"{"d" * 5000}"')).endswith("file name too long)")


def test_a_truncated_or_damaged_database_does_not_crash(here: Path) -> None:
    """On such files the lmdb package dies of SIGBUS."""
    database(*[datum(3, 40, 40)] * 40)(here)
    path = here / "db" / "data.mdb"
    whole = path.read_bytes()
    for size in range(0, len(whole), 2003):
        path.write_bytes(whole[:size])
        layer = prototxt.parse(data())["d"]
        assert layer.unknown or layer.tops[0].shape == (4, 3, 40, 40)
    random = np.random.default_rng(1)
    for _ in range(300):
        damaged = bytearray(whole)
        for at in random.integers(0, len(whole), 200):
            damaged[at] = random.integers(256)
        path.write_bytes(damaged)
        try:
            prototxt.parse(data())
        except NetBuilderError:
            pass


def test_each_missing_package_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    def missing(name: str) -> None:
        raise ImportError(name)

    hdf5(data=np.zeros((7, 3)))(here)
    monkeypatch.setattr(importlib, "import_module", missing)
    advice = "pip install 'caffe-netbuilder[data]', or give the shape by --input"
    assert unknown(hdf5_data("data")) == H5.format(f"reading it needs h5py: {advice}")
    images("a.png 0\n", **{"a.png": SMALL})(here)
    assert unknown(image_data()) == LIST.format(f"reading it needs Pillow: {advice}")
    database(datum(3, 10, 12))(here)
    assert tops(prototxt.parse(data())) == [(4, 3, 10, 12), (4,)]
    (here / "db" / "data.mdb").unlink()
    (here / "db" / "CURRENT").write_bytes(b"")
    advice = "pip install plyvel, or give the shape by --input"
    assert unknown(data("backend: LEVELDB")) == DB.format(f"reading it needs plyvel: {advice}")
