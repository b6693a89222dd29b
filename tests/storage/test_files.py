"""Which files `write_files` may replace."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from netbuilder.errors import FileError
from netbuilder.storage import temporary
from netbuilder.storage.files import MARK, replacing, replacing_folder, write_files


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


def test_a_link_under_a_temporary_name_is_never_written_through(tmp_path: Path) -> None:
    """Names of temporary files used to be foreseeable, and opened whatever stood there."""
    aim = tmp_path / "aim"
    aim.write_text("mine")
    (tmp_path / f".net.prototxt.{os.getpid()}.partial").symlink_to(aim)
    write_files({tmp_path / "net.prototxt": MARK})
    with replacing(tmp_path / "net.prototxt") as partial:
        partial.write_text(MARK)
    assert aim.read_text() == "mine"


@pytest.mark.parametrize("name", ["net.prototxt", "n" * 255, "ü" * 127])
def test_what_a_killed_writer_left_goes_with_the_next_file_of_that_name(tmp_path: Path, name: str) -> None:
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom netbuilder.storage.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as partial:\n"
        "    partial.write_text('half')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=False)
    (left,) = tmp_path.iterdir()
    other = tmp_path / (name[:50] + ".of.somebody.partial")
    other.write_text("mine")
    write_files({tmp_path / name: MARK})
    assert not left.exists()
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / name, other])


def test_a_file_that_another_process_is_writing_stays(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    with replacing(path) as partial:
        partial.write_text(MARK + " slowly")
        write_files({path: MARK + " at once"})
        assert path.read_text() == MARK + " at once"
    assert path.read_text() == MARK + " slowly"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_rights_that_others_have(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_files({tmp_path / "net.prototxt": MARK})
    finally:
        os.umask(old)
    assert (tmp_path / "net.prototxt").stat().st_mode & 0o777 == 0o640


def test_temporary_names_cannot_be_foreseen_and_are_as_long_each_time() -> None:
    first, second = (temporary.partial_name("x") for _ in range(2))
    assert first != second
    assert re.fullmatch(r"\.x\.[0-9a-f]{8}-\d{7}\.[0-9a-f]{16}\.partial", first)
    assert temporary.same_name(first) == temporary.same_name(second)
    assert len(temporary.same_name(first)) == len(first)
    assert len(os.fsencode(temporary.partial_name("\U0001f600" * 60))) < 255


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_process_that_is_gone_left_is_removed_but_not_what_a_link_of_that_name_leads_to(
    tmp_path: Path, kind: str
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "file").write_text("mine")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    start = temporary.partial_name("x").partition("-")[0]
    left = tmp_path / f"{start}-{gone.pid:07d}.{0:016}.partial"
    left.mkdir() if kind == "folder" else left.touch()
    link = tmp_path / f"{start}-{gone.pid:07d}.{1:016}.partial"
    link.symlink_to(mine, target_is_directory=True)
    running = tmp_path / f"{start}-{os.getppid():07d}.{2:016}.partial"
    running.mkdir()
    made = Path((temporary.new_folder if kind == "folder" else temporary.new_file)(str(tmp_path), "x"))
    assert sorted(tmp_path.iterdir()) == sorted([mine, running, made])
    assert (mine / "file").read_text() == "mine"
    temporary.remove(str(made))


def test_a_folder_is_replaced_when_the_new_one_is_complete(tmp_path: Path) -> None:
    place = tmp_path / "made" / "x"
    for number in range(2):
        with replacing_folder(place) as folder:
            (folder / str(number)).touch()
            assert place.exists() == bool(number)
        assert [p.name for p in place.iterdir()] == [str(number)]
    with pytest.raises(KeyboardInterrupt), replacing_folder(place):
        raise KeyboardInterrupt
    assert [p.name for p in place.iterdir()] == ["1"]
    assert list(place.parent.iterdir()) == [place]


def test_a_folder_that_somebody_else_planted_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files might be links to those of whoever goes on with it."""
    (tmp_path / "mine").mkdir()
    (tmp_path / f".db.{0:016}.partial").symlink_to(tmp_path / "mine")
    assert list(temporary.kept_folders(str(tmp_path), "db")) == []
    made = temporary.new_kept_folder(str(tmp_path), "db")
    assert list(temporary.kept_folders(str(tmp_path), "db")) == [made]
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    assert list(temporary.kept_folders(str(tmp_path), "db")) == []
