"""Where data is looked for, what overrides its shape, and what a fork does to the images."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from netbuilder import prototxt
from netbuilder.cli.main import main
from tests.prototxt.data_files import (
    DB,
    SMALL,
    data,
    database,
    datum,
    image_data,
    images,
    leveldb,
    picture,
    tops,
)


def test_data_is_searched_in_the_current_folder_and_then_beside_the_prototxt(here: Path) -> None:
    (here / "nets").mkdir()
    net = here / "nets" / "net.prototxt"
    net.write_text(image_data())
    images("a.png 0\n", **{"a.png": picture("RGB", (8, 6))})(here / "nets")
    assert tops(prototxt.read(net)) == [(1, 3, 6, 8), (1,)]
    images("a.png 0\n", **{"a.png": SMALL})(here)
    assert tops(prototxt.read(net)) == [(1, 3, 10, 12), (1,)]


def test_a_given_shape_overrides_the_data(here: Path) -> None:
    database(datum(3, 10, 12))(here)
    assert tops(prototxt.parse(data(), inputs={"data": (1, 3, 5, 5)})) == [(1, 3, 5, 5), (1,)]


def test_a_size_that_a_forks_transformation_changes_is_not_guessed(here: Path) -> None:
    database(datum(3, 10, 12))(here)
    resized = data("", "resize_param { height: 300 width: 300 }")
    layer = prototxt.parse(resized, dialect="ssd")["d"]
    assert layer.unknown == DB.format("resize_param, which forks have, changes the size of its images")
    cropped = data("", "resize_param { height: 300 width: 300 } crop_size: 200")
    assert tops(prototxt.parse(cropped, dialect="ssd")) == [(4, 3, 200, 200), (4,)]
    layer = prototxt.parse(data("", "my_resize: 300"), unknown="keep")["d"]
    assert layer.unknown == "'my_resize: 300' in transform_param is not known, and may change its shape"


def test_nothing_is_written_beside_the_data(here: Path) -> None:
    database(datum(3, 10, 12))(here)
    (here / "db" / "lock.mdb").unlink()
    prototxt.parse(data())
    assert os.listdir(here / "db") == ["data.mdb"]
    (here / "db" / "data.mdb").unlink()
    leveldb(datum(3, 10, 12))(here)
    before = {path.name: path.read_bytes() for path in (here / "db").iterdir()}
    prototxt.parse(data("backend: LEVELDB"))
    assert {path.name: path.read_bytes() for path in (here / "db").iterdir()} == before


def test_count_uses_the_data_or_gives_the_reason_why_not(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "net.prototxt").write_text(
        data() + 'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" '
        "inner_product_param { num_output: 2 } }"
    )
    assert main(["count", "net.prototxt", "--json"]) == 0
    unread = json.loads(capsys.readouterr().out)
    assert unread["uncounted"][0]["reason"] == DB.format("it is not there")
    database(datum(3, 10, 12))(here)
    assert main(["count", "net.prototxt", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["uncounted"], found["batch"], found["totals"]["macs"]) == ([], 4, 2 * 360)
