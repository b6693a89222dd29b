"""`netbuilder data show`: the figures, the picture, and databases that are damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
import pytest
from PIL import Image

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def database(small: Path, data: Run, tmp_path: Path) -> Path:
    """The database of `small`."""
    assert data("lmdb", small, "-o", tmp_path / "db")[0] == 0
    return tmp_path / "db"


def test_the_figures_are_shown_as_a_table(database: Path, data: Run) -> None:
    size = (database / "data.mdb").stat().st_size / 2**20
    assert data("show", database) == (
        0,
        f"""{database}: 24 records, {size:.1f} MiB
shape:  3x6x7, channels in the order B, G, R
data:   pixels
keys:   00000000_ant/0.png ... 00000023_cat/9.png

label  name  records  first key
-----  ----  -------  ------------------
    0  ant         6  00000000_ant/0.png
    1  bee         8  00000006_bee/0.png
    2  cat        10  00000014_cat/0.png
total             24
""",
        "",
    )


def test_the_figures_are_given_as_json(database: Path, data: Run) -> None:
    code, out, _ = data("show", database, "--json")
    assert code == 0
    assert json.loads(out) == {
        "version": 1,
        "database": str(database),
        "records": 24,
        "bytes": (database / "data.mdb").stat().st_size,
        "encoded": 0,
        "channels": "BGR",
        "first_key": "00000000_ant/0.png",
        "last_key": "00000023_cat/9.png",
        "shapes": [{"shape": [3, 6, 7], "records": 24}],
        "labels": [
            {"label": 0, "name": "ant", "records": 6, "first_key": "00000000_ant/0.png"},
            {"label": 1, "name": "bee", "records": 8, "first_key": "00000006_bee/0.png"},
            {"label": 2, "name": "cat", "records": 10, "first_key": "00000014_cat/0.png"},
        ],
    }


@pytest.mark.parametrize("flags", [(), ("--encoded",)], ids=["pixels", "encoded"])
def test_the_picture_has_the_samples_in_their_colors(
    flags: tuple[str, ...], small: Path, data: Run, tmp_path: Path
) -> None:
    data("lmdb", small, "-o", tmp_path / "db", *flags)
    picture = tmp_path / "sheet.png"
    code, _, err = data("show", tmp_path / "db", "--draw", picture, "--samples", 3)
    assert (code, err) == (0, f"wrote {picture}\n")
    drawn = np.asarray(Image.open(picture).convert("RGB"))
    # Names 110 wide; cells of 64 with 2 between: the corners of a sample are those of its image.
    assert drawn.shape == (3 * 66, 110 + 3 * 66, 3)
    for row, name in enumerate(("ant", "bee", "cat")):
        for column in range(3):
            image = np.asarray(Image.open(small / name / f"{sorted_name(small, name, column)}"))
            top, left = row * 66 + 1, 110 + column * 66
            assert drawn[top, left].tolist() == image[0, 0].tolist()
            assert drawn[top + 54, left + 63].tolist() == image[5, 6].tolist()
    code, _, err = data("show", tmp_path / "db", "--draw", picture)
    assert (code, err) == (
        2,
        f"FileError: '{picture}' exists already\n  hint:    choose another name, or --force to replace it\n",
    )


def sorted_name(folder: Path, name: str, place: int) -> str:
    return sorted(p.name for p in (folder / name).iterdir())[place]


def test_a_database_of_others_is_shown_too(data: Run, tmp_path: Path) -> None:
    from netbuilder.data.datum import pack_planes

    with lmdb.open(str(tmp_path / "db")) as env, env.begin(write=True) as transaction:
        transaction.put(b"b", pack_planes((1, 2, 3), bytes(6), 5))
        transaction.put(b"a", pack_planes((1, 4, 3), bytes(12), 700))
        transaction.put(b"c", pack_planes((1, 2, 3), bytes(6), 5))
    code, out, _ = data("show", tmp_path / "db")
    assert code == 0
    assert out.splitlines()[1:4] == ["shape:  1x2x3 (2), 1x4x3 (1)", "data:   pixels", "keys:   a ... c"]
    assert out.splitlines()[-3:] == ["    5        2  b", "  700        1  a", "total        3"]


def test_a_missing_or_damaged_database_is_reported(database: Path, data: Run, tmp_path: Path) -> None:
    def told(place: Path) -> str:
        code, out, err = data("show", place)
        assert (code, out) == (2, "")
        return err.removeprefix("FileError: ")

    assert told(tmp_path / "none") == f"cannot read '{tmp_path}/none': it is not there\n"
    assert told(tmp_path) == f"cannot read '{tmp_path}': there is no data.mdb in this folder\n"
    path = database / "data.mdb"
    whole = path.read_bytes()
    path.write_bytes(whole[:-4096])
    assert told(database) == (
        f"cannot read '{database}': it is cut short: "
        f"it needs {len(whole)} bytes and has {len(whole) - 4096}\n"
    )
    key = whole.index(b"00000003_ant/3.png")
    path.write_bytes(whole[: key + 18] + b"\xff" + whole[key + 19 :])
    assert told(database) == f"record '00000003_ant/3.png' of '{database}' is bad: it is not a Datum\n"


def test_a_leveldb_is_shown_as_an_lmdb_of_the_same_records(database: Path, data: Run, tmp_path: Path) -> None:
    plyvel = pytest.importorskip("plyvel")
    place = tmp_path / "level"
    (database / "netbuilder.json").unlink()
    with plyvel.DB(str(place), create_if_missing=True) as level, lmdb.open(str(database)) as env:
        for key, value in env.begin().cursor():
            level.put(key, value)
    before = {file.name: file.read_bytes() for file in place.iterdir()}
    code, out, _ = data("show", place)
    assert (code, out.splitlines()[1:]) == (0, data("show", database)[1].splitlines()[1:])
    shown = json.loads(data("show", place, "--json")[1])
    size = sum(map(len, before.values()))
    assert shown == {**json.loads(data("show", database, "--json")[1]), "database": str(place), "bytes": size}
    assert {file.name: file.read_bytes() for file in place.iterdir()} == before
    assert data("show", place, "--draw", tmp_path / "sheet.png")[0] == 0
    for file in place.iterdir():
        if file.suffix in (".ldb", ".sst", ".log"):
            file.unlink()
    (place / "CURRENT").write_text("MANIFEST-999999\n")
    code, out, err = data("show", place)
    assert (code, out) == (2, "")
    assert err.startswith(f"FileError: cannot read '{place}': it is not a LevelDB, or damaged")
