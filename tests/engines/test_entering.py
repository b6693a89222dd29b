"""The Debian root is entered in namespaces, in which a job writes into its own folders only."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from netbuilder.cli.main import main
from netbuilder.engines.caffe import Caffe
from netbuilder.engines.caffe.install import entering
from tests.engines.case import SOLVER

# From the descriptor of the current folder, as Caffe's worker reaches the user's files.
WRITES = """
import os
os.chdir({descriptor})
print(os.environ["NETBUILDER_ENTERED"])
for name in ("own", "../outside", "/tmp/netbuilder-test", "/etc/netbuilder-test"):
    try:
        open(name, "w").close()
        print("written")
        os.unlink(name)
    except OSError as error:
        print(error.strerror)
import ctypes
libc = ctypes.CDLL(None)
print(libc.mount(b"none", b"/", None, 0x1020, None), libc.unshare(0x20000))  # to write again
"""
CAFFE = "import os, caffe; print(os.environ['NETBUILDER_ENTERED'], len(caffe.layer_type_list()))"
# Enters where the kernel forbids namespaces.
FORBIDDEN = """
import ctypes, importlib.util, sys
spec = importlib.util.spec_from_file_location("enter", sys.argv[3])
enter = importlib.util.module_from_spec(spec)
spec.loader.exec_module(enter)

class Forbidding:
    def __getattr__(self, name):
        return getattr(real, name)
    def unshare(self, flags):
        ctypes.set_errno(1)
        return -1

real, enter._LIBC = enter._LIBC, Forbidding()
sys.argv = sys.argv[3:]
enter.main()
"""


@pytest.fixture
def root(real_caffe: Caffe) -> Path:
    if real_caffe.install.root is None or os.geteuid():
        pytest.skip("this Caffe is in no root that is entered")
    return real_caffe.install.root


def wrote(command: list[str], descriptor: int) -> list[str]:
    done = subprocess.run(command, pass_fds=(descriptor,), capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_a_job_cannot_write_outside_of_its_folders(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    descriptor = os.open(".", os.O_RDONLY)
    code = WRITES.format(descriptor=descriptor)
    command = entering(root, descriptor, [os.getcwd()], ["/usr/bin/python3", "-c", code])
    how, *said = wrote(command, descriptor)
    refused = "Read-only file system"
    if how == "namespaces":
        assert said == ["written", refused, "written", refused, "-1 -1"]
    # Where the kernel forbids them, as before, and it is said.
    forbidden = [sys.executable, "-c", FORBIDDEN, *command[1:]]
    how, *said = wrote(forbidden, descriptor)
    assert (how, said[:4]) == ("chroot", ["written"] * 4)
    os.close(descriptor)


def test_an_ordinary_user_enters_where_the_kernel_allows_it(root: Path) -> None:
    """The root and the program lie where only root looks, so they are mounted where all do."""
    for program in ("unshare", "setpriv", "/usr/bin/python3"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program}")
    with tempfile.TemporaryDirectory(prefix="netbuilder-") as folder:
        os.chmod(folder, 0o755)
        place = Path(folder) / "root"
        place.mkdir()
        command = entering(place, None, [], ["/usr/bin/python3", "-W", "ignore", "-c", CAFFE])
        enter = shutil.copy(command[3], folder)
        words = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "/usr/bin/python3"]
        words += [*command[1:3], enter, *command[4:]]
        script = f"mount --bind {shlex.quote(str(root))} {place} && exec {shlex.join(words)}"
        env = {"PATH": os.environ["PATH"], "HOME": "/tmp"}
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script], env=env, cwd="/", capture_output=True, text=True
        )
    if "user namespaces" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.stdout == "namespaces 61\n", done.stderr


def test_the_record_says_how_the_root_was_entered(root: Path, folder: Path) -> None:
    (folder / "solver.prototxt").write_text(SOLVER.replace("max_iter: 200", "max_iter: 21"))
    assert main(["train", "solver.prototxt", "--engine", "caffe", "--no-draw"]) == 0
    assert json.loads((folder / "out/x_run.json").read_text())["entered"] in ("namespaces", "chroot")
