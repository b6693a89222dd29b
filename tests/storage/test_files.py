"""Which files `write_files` may replace."""

from __future__ import annotations

from pathlib import Path

import pytest

from netbuilder.errors import FileError
from netbuilder.storage.files import MARK, replacing, write_files


@pytest.mark.parametrize("text", [f"{MARK} 0.0.1\nold", f"#!/bin/sh\n{MARK} 0.0.1\nold"])
def test_a_file_is_ours_by_its_first_line_or_a_script_by_its_second(text: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text(text, encoding="utf-8")
    write_files({path: "new"})
    assert path.read_text(encoding="utf-8") == "new"


@pytest.mark.parametrize(
    "text", [f"mine\n{MARK} 0.0.1\n", f"#!/bin/sh\nmine\n{MARK} 0.0.1\n", f"#!/bin/sh {MARK}\n", "", "#!"]
)
def test_a_mark_anywhere_else_makes_no_file_ours(text: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FileError, match="is in the way, and netbuilder did not write it"):
        write_files({path: "new"})
    assert path.read_text(encoding="utf-8") == text


def test_a_file_that_is_the_same_to_the_byte_is_not_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / "mean.binaryproto"
    path.write_bytes(b"\x00\x01")
    write_files({path: b"\x00\x01"})
    for other in (b"\x00\x01\x02", b"\x00", b""):
        with pytest.raises(FileError, match="is in the way"):
            write_files({path: other})
    assert path.read_bytes() == b"\x00\x01"


def test_a_file_is_replaced_when_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with replacing(path) as partial:
        partial.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_file_stays_as_it_was_if_the_new_one_fails(error: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write() -> None:
        with replacing(path) as partial:
            partial.write_bytes(b"ne")
            raise error

    with pytest.raises((FileError, KeyboardInterrupt)):
        write()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_reported_by_the_name_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "none" / "file"
    with pytest.raises(FileError, match=f"cannot write '{path}': no such file"), replacing(path) as partial:
        partial.write_bytes(b"new")
