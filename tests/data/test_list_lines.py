"""Lists with a byte order mark, other line ends, or several labels a line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from netbuilder.data.list_lines import why_missing
from netbuilder.errors import FileError
from netbuilder.net import Net
from netbuilder.prototxt import parse
from netbuilder.training.sources import check_files

NET = """layer { name: "data" type: "%s" top: "data" top: "label" %s { source: "list.txt" batch_size: 1 } }
layer { name: "silence" type: "Silence" bottom: "data" bottom: "label" }
"""
BOM = "the list begins with a byte order mark"
CR = "the lines of the list end in CR alone"
SEVERAL = "the line has several labels, and one is read"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b c.png"):
        Image.new("RGB", (4, 4)).save(name)
    return tmp_path


def images_net() -> Net:
    text = NET % ("ImageData", "image_data_param")
    return parse(text, "TRAIN", dialect="any", inputs={"data": (1, 3, 4, 4), "label": (1,)})


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        ("\ufeffa.png 0\nb c.png 1\n", BOM),
        ("a.png 0\rb c.png 1\r", CR),
        ("a.png 0 1 5\n", SEVERAL),
        ("b c.png 0.5 -1 2\n", SEVERAL),
        ("a.png\t0\n", "a line is `path label`"),
        ("a.png\tx 0\n", "separate path and label by a space"),
        ("gone.png 3\n", "names are relative to the current directory"),
        ("gone.png 3 4\n", "names are relative to the current directory"),
    ],
)
def test_an_image_that_a_line_does_not_name_is_explained(content: str, hint: str, folder: Path) -> None:
    Path("list.txt").write_text(content, encoding="utf-8", newline="")
    net = images_net()
    with pytest.raises(FileError) as error:
        check_files(net, "net.prototxt")
    assert error.value.hint.startswith(hint)
    assert "line 1 of 'list.txt'" in error.value.where
    assert "\r" not in str(error.value)


@pytest.mark.parametrize("content", ["a.png 0\r\nb c.png 1\r\n", "a.png 0\nb c.png 1"])
def test_lines_that_caffe_reads_are_not_blamed(content: str, folder: Path) -> None:
    Path("list.txt").write_text(content, encoding="utf-8", newline="")
    net = images_net()
    assert check_files(net, "net.prototxt") == ["list.txt"]


@pytest.mark.parametrize(
    "content", ["\ufeffa.png 0\nb c.png 1\n", "a.png 0\rb c.png 1\r", "a.png 0\r\nb c.png 1\r\n"]
)
def test_a_database_is_made_from_any_line_ends(
    content: str, folder: Path, data: Callable[..., tuple[int, str, str]]
) -> None:
    Path("list.txt").write_text(content, encoding="utf-8", newline="")
    assert data("lmdb", "list.txt", "-o", "db")[0] == 0
    assert '"records": 2' in data("show", "db", "--json")[1]


def test_several_labels_for_a_database_are_named(
    folder: Path, data: Callable[..., tuple[int, str, str]]
) -> None:
    Path("list.txt").write_text("a.png 0 1\nb c.png 1 0\n")
    code, _, err = data("lmdb", "list.txt", "-o", "db")
    assert code == 2
    assert f"  hint:    {SEVERAL}" in err


def test_a_name_without_a_fault_has_no_hint() -> None:
    assert why_missing("images/cat 5.png") == ""
