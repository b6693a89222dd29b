"""Which files `write_files` may replace."""

from __future__ import annotations

from pathlib import Path

import pytest

from netbuilder.errors import FileError
from netbuilder.storage.files import MARK, write_files


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
