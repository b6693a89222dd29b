"""The record of a training: what is written is read again, whatever the outputs are called."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from netbuilder.engines.caffe.engine import CaffeEngine
from netbuilder.errors import FileError
from netbuilder.training.events import Iteration, Tested
from netbuilder.training.record import Record

NAMES = [
    "loss, main", 'say "x"', "two\nlines", "a=b", "a = 1", " spaced ", "loss", "seconds", "\r", "ä", "",
    "=1+1", "'=1", "@x",
]  # fmt: skip


def record(prefix: Path, begin: int = 0) -> Record:
    return Record(str(prefix), begin, 1, 1, names=CaffeEngine.snapshots, engine="caffe")


def test_a_resumed_run_reads_what_the_first_wrote(tmp_path: Path) -> None:
    outputs = {name: i + 0.5 for i, name in enumerate(NAMES)}
    means = {name: (i + 0.25, -1.0) for i, name in enumerate(NAMES)}
    with record(tmp_path / "x") as first:
        for i in range(3):
            first.take(Iteration(i, 2.0 - i, 0.1, outputs), 2)
        first.take(Tested(2, 0, 7, means, 1.5), 2)
    with record(tmp_path / "x", begin=3) as second:
        assert second.train == first.train
        assert second.tests == [Tested(2, 0, 7, means)]
    with (tmp_path / "x_train.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["iteration", "loss", "lr", *(f"output {name}" for name in NAMES), "seconds"]
    assert [row[3:-1] for row in rows] == [[str(i + 0.5) for i in range(len(NAMES))]] * 3


def test_no_name_of_an_output_is_a_formula(tmp_path: Path) -> None:
    with record(tmp_path / "x") as first:
        first.take(Iteration(0, 1.0, 0.1, {"=1+1": 1.0}), 2)
        first.take(Tested(0, 0, 1, {"=1+1": (1.0,), "+1": (2.0,)}), 2)
    for ending in ("_train.csv", "_test.csv"):
        with (tmp_path / f"x{ending}").open(newline="") as file:
            assert not [cell for row in csv.reader(file) for cell in row if cell[:1] in ("=", "+", "-", "@")]


def test_files_of_ours_follow_no_planted_link(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine")
    for ending in ("_train.csv", "_test.csv", "_run.json"):
        (tmp_path / f"x{ending}.partial").symlink_to(mine)
    with record(tmp_path / "x") as first:
        first.take(Iteration(0, 1.0, 0.1, {"a": 1.0}), 2)
        first.write()
    assert mine.read_text() == "mine"


def test_an_output_that_appears_later_gets_a_column(tmp_path: Path) -> None:
    with record(tmp_path / "x") as first:
        first.take(Iteration(0, 1.0, 0.1, {"a": 1.0}), 2)
        first.take(Iteration(1, 1.0, 0.1, {"b": 2.0}), 2)
    with (tmp_path / "x_train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["output a"], r["output b"]) for r in rows] == [("1.0", ""), ("", "2.0")]


def test_files_of_earlier_versions_are_continued(tmp_path: Path) -> None:
    (tmp_path / "x_train.csv").write_text(
        "iteration,loss,lr,outputs,seconds\n"
        "0,2.5,0.1,loss=2.5 aux=-nan,1.5\n1,2.0,0.1,loss, main=2e-05 a=b=1.0,3.25\n2,1.0,0.1,lo"
    )
    (tmp_path / "x_test.csv").write_text("iteration,net,passes,output,value\n0,0,3,loss, main,0.5\n1,0,")
    with record(tmp_path / "x", begin=2) as resumed:
        assert [list(row.outputs) for row in resumed.train] == [["loss", "aux"], ["loss, main", "a=b"]]
        assert resumed.train[1].outputs == {"loss, main": 2e-05, "a=b": 1.0}
        assert resumed.tests == [Tested(0, 0, 3, {"loss, main": (0.5,)})]
        assert resumed.seconds >= 3.25
    assert (tmp_path / "x_train.csv").read_text().splitlines()[0] == (
        'iteration,loss,lr,output loss,output aux,"output loss, main",output a=b,seconds'
    )


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"name,price\nx,1\n", "its first line is not the header of one"),
        (b"iteration,loss,lr,seconds\n0,1,0.1,1\nx,y\n2,1,0.1,3\n", "row 2 is 'x,y'"),
        (b"\xff\xfe\x00", "'utf-8' codec can't decode"),
    ],
)
@pytest.mark.parametrize("ending", ["train", "test"])
def test_a_file_that_is_not_a_record_is_refused(
    content: bytes, what: str, ending: str, tmp_path: Path
) -> None:
    if ending == "test":
        content = content.replace(b"loss,lr,seconds", b"net,passes,output,value").replace(
            b",1,0.1", b",0,1,a"
        )
    (tmp_path / f"x_{ending}.csv").write_bytes(content)
    with pytest.raises(FileError, match="cannot be continued, it is not the record of a training") as caught:
        record(tmp_path / "x", begin=5)
    assert what in caught.value.text
    assert (tmp_path / f"x_{ending}.csv").read_bytes() == content
