"""`netbuilder data lmdb`: order, options, resuming, and what is refused."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from netbuilder.data import datum
from netbuilder.data.output import Output
from netbuilder.errors import FileError

ROOT = Path(__file__).parents[2]
Run = Callable[..., tuple[int, str, str]]
Read = Callable[[Path], dict[bytes, bytes]]


def paths(database: dict[bytes, bytes]) -> list[str]:
    """The paths in the keys, which must be numbered without gaps."""
    assert [int(key[:8]) for key in database] == list(range(len(database)))
    return [key[9:].decode() for key in database]


def test_a_folder_of_folders_becomes_labels_in_the_order_of_names(
    small: Path, data: Run, records: Read, tmp_path: Path
) -> None:
    code, out, err = data("lmdb", small, "-o", tmp_path / "db")
    assert (code, out) == (0, "")
    assert err == f"wrote {tmp_path}/db: 24 records, channels in the order B, G, R\n"
    made = records(tmp_path / "db")
    files = sorted(small.glob("*/*.png"))
    assert paths(made) == [p.relative_to(small).as_posix() for p in files]
    for path, record in zip(files, made.values(), strict=True):
        read = datum.read(memoryview(record))
        assert read[:3] == (3, 6, 7)
        assert read.label == ["ant", "bee", "cat"].index(path.parent.name)
        bgr = np.asarray(Image.open(path))[:, :, ::-1]
        assert bytes(read.data) == bgr.transpose(2, 0, 1).tobytes()
    assert not list(tmp_path.glob(".*"))


def test_a_shuffle_depends_on_the_seed_alone(small: Path, data: Run, records: Read, tmp_path: Path) -> None:
    orders = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        data("lmdb", small, "-o", tmp_path / name, "--shuffle", "--seed", seed)
        orders.append(paths(records(tmp_path / name)))
    assert orders[0] == orders[1]
    plain = sorted(orders[0])
    assert orders[0] != plain != orders[2] != orders[0]
    assert plain == sorted(orders[2])
    assert len(set(plain)) == 24


def test_several_processes_make_the_same_file(small: Path, data: Run, tmp_path: Path) -> None:
    listing = tmp_path / "list"
    names = [p.relative_to(small).as_posix() for p in sorted(small.glob("*/*.png"))]
    listing.write_text("".join(f"{name} {i}\n" for i in range(8) for name in names))
    for jobs in (1, 2):
        assert data("lmdb", listing, "--root", small, "-o", tmp_path / f"db{jobs}", "--jobs", jobs)[0] == 0
    assert (tmp_path / "db1/data.mdb").read_bytes() == (tmp_path / "db2/data.mdb").read_bytes()


def test_a_border_has_the_given_color(small: Path, data: Run, records: Read, tmp_path: Path) -> None:
    data("lmdb", small, "-o", tmp_path / "db", "--pad", 2, "--pad_value", 1, 2, 3)
    first = datum.read(memoryview(next(iter(records(tmp_path / "db").values()))))
    assert first[:3] == (3, 10, 11)
    pixels = np.frombuffer(first.data, np.uint8).reshape(3, 10, 11)
    assert pixels[:, 0, 0].tolist() == pixels[:, 9, 10].tolist() == pixels[:, 1, 5].tolist() == [1, 2, 3]
    bgr = np.asarray(Image.open(small / "ant/0.png"))[:, :, ::-1]
    assert pixels[:, 2:8, 2:9].tolist() == bgr.transpose(2, 0, 1).tolist()


# ---- killed, and started again -----------------------------------------------------------------------------


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "netbuilder.cli.main", "data", *map(str, words)]


def unfinished(folder: Path) -> Path:
    """The hidden folder in which the database `db` is made."""
    (found,) = folder.glob(".db.*.partial")
    return found


def children(pid: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")
def test_killed_and_started_again_it_ends_with_the_same_database(
    small: Path, data: Run, records: Read, tmp_path: Path
) -> None:
    source = tmp_path / "images"
    (source / "ant").mkdir(parents=True)
    for i in range(2300):
        os.link(small / "cat" / f"{i % 10}.png", source / "ant" / f"{i:04d}.png")
    # The last image is a pipe: whoever opens it waits, so that all is still when the process is killed.
    blocked = source / "ant" / "9.png"
    os.mkfifo(blocked)
    words = ("lmdb", source, "-o", tmp_path / "db", "--jobs", 2, "--shuffle")
    process = subprocess.Popen(command(*words), cwd=ROOT, stderr=subprocess.DEVNULL)
    stored, deadline = 0, time.monotonic() + 60
    while stored < 1000 and time.monotonic() < deadline:
        time.sleep(0.05)
        try:
            stored = len(records(unfinished(tmp_path)))
        except (FileError, ValueError):  # not there yet, or just being written
            pass
    # The workers are children of the one process; they must not outlive it.
    workers = children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 1000 <= stored < 2301
    assert not (tmp_path / "db").exists()
    while any(Path(f"/proc/{pid}/exe").exists() and running(pid) for pid in workers):
        assert time.monotonic() < deadline, "workers go on"
        time.sleep(0.05)
    partial = unfinished(tmp_path)
    blocked.unlink()
    os.link(small / "cat" / "3.png", blocked)
    code, _, err = data(*words)
    assert code == 0
    assert err.startswith(f"resuming from '{partial}'\n")
    assert data("lmdb", source, "-o", tmp_path / "whole", "--shuffle")[0] == 0
    assert records(tmp_path / "db") == records(tmp_path / "whole")
    assert not partial.exists()


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_full_disk_is_reported_and_the_next_run_continues(
    small: Path, data: Run, records: Read, tmp_path: Path
) -> None:
    source = tmp_path / "images"
    (source / "ant").mkdir(parents=True)
    for i in range(2100):
        os.link(small / "cat" / f"{i % 10}.png", source / "ant" / f"{i:04d}.png")
    words = ("lmdb", source, "-o", tmp_path / "db", "--jobs", 1)
    limit = 300_000  # bytes: room for a thousand records

    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(command(*words), cwd=ROOT, capture_output=True, text=True, preexec_fn=small_disk)
    assert done.returncode == 2
    assert done.stderr == (
        f"FileError: cannot write the database '{unfinished(tmp_path)}': input/output error\n"
        "  hint:    is the disk full? Free some space; then the same command resumes where this one stopped\n"
    )
    assert not (tmp_path / "db").exists()
    assert 1000 <= len(records(unfinished(tmp_path))) < 2100
    assert data(*words)[0] == 0
    assert len(paths(records(tmp_path / "db"))) == 2100


def test_the_map_of_a_database_grows(tmp_path: Path, records: Read) -> None:
    from netbuilder.data.writer import Writer

    with Writer(tmp_path / "db", map_size=2**16) as writer:
        for i in range(3000):
            writer.put(b"%08d" % i, bytes([i % 256]) * 500)
    assert records(tmp_path / "db") == {b"%08d" % i: bytes([i % 256]) * 500 for i in range(3000)}


# ---- what is there -----------------------------------------------------------------------------------------


def test_an_existing_database_is_refused_resumed_or_replaced(
    small: Path, data: Run, records: Read, tmp_path: Path
) -> None:
    db = tmp_path / "db"
    data("lmdb", small, "-o", db)
    before = (db / "data.mdb").stat().st_ino
    assert data("lmdb", small, "-o", db) == (
        2,
        "",
        f"FileError: '{db}' exists already\n"
        "  hint:    --force replaces it, --resume keeps it if it is the same; or choose another output\n",
    )
    assert data("lmdb", small, "-o", db, "--resume") == (0, "", f"'{db}' is complete already\n")
    assert data("lmdb", small, "-o", db, "--resume", "--gray") == (
        2,
        "",
        f"FileError: '{db}' exists, but was made from other input: gray false, now true\n"
        "  hint:    --force replaces it; or choose another output\n",
    )
    assert (db / "data.mdb").stat().st_ino == before
    assert data("lmdb", small, "-o", db, "--force", "--gray")[0] == 0
    assert datum.read(memoryview(records(db)[b"00000000_ant/0.png"])).channels == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["db"]


def test_force_replaces_databases_only(small: Path, data: Run, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("...")
    for place in (precious, precious / "thesis.txt"):
        assert data("lmdb", small, "-o", place, "--force") == (
            2,
            "",
            f"FileError: '{place}' is in the way, and is not a database\n"
            "  hint:    choose another output; --force replaces only databases\n",
        )
    data("lmdb", small, "-o", tmp_path / "db")
    (tmp_path / "db" / "thesis.txt").write_text("...")
    assert data("lmdb", small, "-o", tmp_path / "db", "--force") == (
        2,
        "",
        f"FileError: '{tmp_path}/db' is in the way, and has other files: 'thesis.txt'\n"
        "  hint:    choose another output; --force replaces only databases\n",
    )
    assert (precious / "thesis.txt").read_text() == (tmp_path / "db/thesis.txt").read_text() == "..."


def test_an_unfinished_database_of_something_else_is_not_mixed_in(
    small: Path, data: Run, records: Read, tmp_path: Path
) -> None:
    broken = tmp_path / "list"
    broken.write_text("ant/0.png 0\nant/none.png 0\n")
    assert data("lmdb", broken, "--root", small, "-o", tmp_path / "db")[0] == 2
    code, _, err = data("lmdb", small, "-o", tmp_path / "db")
    assert code == 2
    assert err == (
        f"FileError: '{unfinished(tmp_path)}' is unfinished and belongs to another job: list differs, "
        "images 2, now 24\n"
        "  hint:    run the command that started it, or --force to start over\n"
    )
    assert data("lmdb", small, "-o", tmp_path / "db", "--force")[0] == 0
    assert len(records(tmp_path / "db")) == 24


def test_an_unfinished_database_that_is_damaged_is_not_gone_on_with(
    small: Path, data: Run, tmp_path: Path
) -> None:
    listing = tmp_path / "list"
    listing.write_text("ant/0.png 0\nant/none.png 0\n")
    words = ("lmdb", listing, "--root", small, "-o", tmp_path / "db")
    assert data(*words)[0] == 2
    partial = unfinished(tmp_path)
    whole = (partial / "data.mdb").read_bytes()
    (partial / "data.mdb").write_bytes(whole[:-4096])
    assert data(*words) == (
        2,
        "",
        f"resuming from '{partial}'\n"
        f"FileError: cannot continue the database '{partial}': it is cut short: "
        f"it needs {len(whole)} bytes and has {len(whole) - 4096}\n"
        "  hint:    remove it to start again\n",
    )


def test_two_processes_do_not_make_one_database(small: Path, data: Run, tmp_path: Path) -> None:
    with Output(tmp_path / "db", {"job": 1}, {}, force=False, resume=False):
        assert data("lmdb", small, "-o", tmp_path / "db", "--force") == (
            2,
            "",
            f"FileError: another process is making '{tmp_path}/db'\n  hint:    wait for it to end\n",
        )


# ---- images that are not -----------------------------------------------------------------------------------


def test_an_unreadable_image_is_named_or_left_out(
    small: Path, data: Run, records: Read, tmp_path: Path
) -> None:
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "cut.png").write_bytes((small / "ant/0.png").read_bytes()[:-60])
    (tmp_path / "whole.png").write_bytes((small / "ant/0.png").read_bytes())
    listing = tmp_path / "list"
    listing.write_text("whole.png 0\n\ntext.png 0\ncut.png 1\ngone.png 2\nwhole.png 1\n")
    assert data("lmdb", listing, "-o", tmp_path / "db") == (
        2,
        "",
        f"FileError: cannot read the image 'text.png' in '{tmp_path}': "
        "it is not a JPEG, PNG, BMP, PNM or TIFF image\n"
        "  where:   line 3 of the list\n"
        "  hint:    fix it and run the same command again, or skip such images with --skip-unreadable\n",
    )
    assert not (tmp_path / "db").exists()
    begun = unfinished(tmp_path)
    code, _, err = data("lmdb", listing, "-o", tmp_path / "db", "--skip_unreadable")
    assert (code, err) == (
        0,
        f"resuming from '{begun}'\n"
        "left out: text.png\nleft out: cut.png\nleft out: gone.png\n"
        f"wrote {tmp_path}/db: 2 records, channels in the order B, G, R\n",
    )
    # The numbers have gaps, as those of convert_imageset.
    assert list(records(tmp_path / "db")) == [b"00000000_whole.png", b"00000004_whole.png"]


def test_a_database_without_any_image_is_not_made(data: Run, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("none.png 0\ngone.png 1\n")
    assert data("lmdb", tmp_path / "list", "-o", tmp_path / "db", "--skip_unreadable") == (
        2,
        "",
        f"FileError: none of the 2 images in '{tmp_path}' can be read\n",
    )
    assert not (tmp_path / "db").exists()


def test_images_of_different_sizes_are_reported(pictures: Path, data: Run, tmp_path: Path) -> None:
    code, _, err = data("lmdb", pictures / "list", "-o", tmp_path / "db", "--mean", tmp_path / "mean")
    assert code == 2
    assert err == (
        "FileError: the image 'jpeg/444.JPEG' is 3x48x40, and the first is 3x37x53\n"
        "  where:   line 2 of the list\n"
        "  hint:    give --resize-height and --resize-width\n"
    )
    assert not (tmp_path / "mean").exists()
    code, _, err = data("lmdb", pictures / "list", "-o", tmp_path / "db")
    assert code == 0
    assert "the images have different sizes: a Data layer then needs crop_size, or batch_size 1\n" in err


LINES = {
    "one.png": "a line must be 'path label', got 'one.png'",
    "one.png cat": "the label of 'one.png' is not a number: 'cat'",
    "one.png 1.5": "the label of 'one.png' is not a number: '1.5'",
    "one.png -1": "the label of 'one.png' is out of range: -1, not in 0..9",
    "one.png 10": "the label of 'one.png' is out of range: 10, not in 0..9",
}


@pytest.mark.parametrize(("line", "text"), LINES.items())
def test_a_line_that_is_wrong_is_shown(line: str, text: str, data: Run, tmp_path: Path) -> None:
    listing = tmp_path / "list"
    listing.write_text(f"zero.png 0\n{line}\n")
    code, _, err = data("lmdb", listing, "-o", tmp_path / "db", "--classes", 10)
    hints = {
        " 10": "  hint:    Caffe's labels begin at 0\n",
        " 1.5": "  hint:    --labels DB takes several labels, and ones that are not whole\n",
    }
    hint = next((hint for end, hint in hints.items() if line.endswith(end)), "")
    assert (code, err) == (2, f"FileError: {text}\n  where:   {listing}:2\n{hint}")


def test_what_cannot_be_a_source_is_reported(small: Path, data: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "class").mkdir()
    said = {
        tmp_path / "none": f"cannot read the list '{tmp_path}/none': no such file or directory\n",
        tmp_path / "empty": f"'{tmp_path}/empty' has no folders; it needs one for each class\n"
        "  hint:    or give a list file with lines 'path label'\n",
        tmp_path / "bad": f"the folder of class 0, '{tmp_path}/bad/class', has no images\n"
        "  hint:    images are .jpg .jpeg .png .bmp .ppm .pgm .pnm .tif .tiff; "
        "remove the folder if it is not a class\n",
    }
    for source, text in said.items():
        assert data("lmdb", source, "-o", tmp_path / "db") == (2, "", f"FileError: {text}")
    assert data("lmdb", small, "-o", tmp_path / "db", "--resize_height", 5)[2] == (
        "FileError: --resize-height and --resize-width go together: one of them is missing\n"
    )
    assert data("lmdb", small, "-o", tmp_path / "db", "--gray", "--pad_value", 1, 2, 3)[2] == (
        "FileError: --pad-value takes one number with --gray\n"
    )


PACKAGES = {
    "lmdb": "writing an LMDB needs the package lmdb, which is not installed",
    "PIL": "reading images needs Pillow, which is not installed",
}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_that_is_missing_is_named(
    package: str, small: Path, data: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert data("lmdb", small, "-o", tmp_path / "db") == (
        2,
        "",
        f"FileError: {PACKAGES[package]}\n  hint:    pip install 'caffe-netbuilder[data]'\n",
    )
    assert list(tmp_path.iterdir()) == []


def test_what_is_likely_a_mistake_is_said(small: Path, data: Run, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("ant/0.png 1\nant/1.png 2\n")
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a/b/x.png").write_bytes((small / "ant/0.png").read_bytes())
    (tmp_path / "a/b/readme").write_text("")
    err = data("lmdb", tmp_path / "list", "--root", small, "-o", tmp_path / "1")[2]
    assert err.startswith("no image has the label 0, where Caffe's labels begin\n")
    err = data("lmdb", tmp_path / "a", "-o", tmp_path / "2", "--gray", "--encoded")[2]
    assert err == (
        f"left out: 1 file in '{tmp_path}/a' without a class folder or image suffix\n"
        "files are stored unchanged, in color, as convert_imageset does: set force_gray when training\n"
        f"wrote {tmp_path}/2: 1 record\n"
    )


def test_netbuilder_json_tells_the_classes(small: Path, data: Run, tmp_path: Path) -> None:
    data("lmdb", small, "-o", tmp_path / "db")
    about = json.loads((tmp_path / "db/netbuilder.json").read_text())
    assert (about["classes"], about["channels"]) == (["ant", "bee", "cat"], "BGR")
