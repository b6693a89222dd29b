"""A folder to train in, and a container without docker: the root of the real Caffe, which sees only that."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netbuilder.engines.caffe import Caffe
from tests.conftest import REQUIRE
from tests.databases import noise, write_lmdb
from tests.engines.case import NET, SOLVER

# As docker does: no environment is passed on, one folder is mounted under its own name, and it starts there;
# what it writes elsewhere, in its own /tmp, is gone at its end.
_ENTER = (
    'mount -t tmpfs none "{root}/tmp" && mkdir -p "{root}$0" && mount --bind "$0" "{root}$0" && '
    'exec chroot "{root}" env -C "$0" "$@"'
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that one is in, with a net, a solver and a database of 50 random images."""
    monkeypatch.chdir(tmp_path)
    write_lmdb("db", noise(50, 3, 10, 10), (i % 5 for i in range(50)))
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    return tmp_path


@pytest.fixture
def container(real_caffe: Caffe, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Gives the command line that runs a program in a container which sees the test's folder."""
    root = real_caffe.install.root
    trouble = "" if root else "real Caffe is not in a root of its own"
    unshare = shutil.which("unshare")
    if root and not (unshare and subprocess.run([unshare, "-m", "true"]).returncode == 0):
        trouble = "unshare -m is not permitted"
    if trouble and os.environ.get(REQUIRE) == "1":
        pytest.fail(f"{REQUIRE}=1, but there is no stand-in for a container: {trouble}", pytrace=False)
    if trouble:
        pytest.skip(f"no stand-in for a container: {trouble}")
    assert root is not None
    # Where the folder is not below /tmp, what it is mounted on stays.
    place = Path(f"{root}{tmp_path}")
    made = [folder for folder in (place, *place.parents) if not folder.exists()]

    def command(*program: str) -> str:
        clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
        enter = ["unshare", "-m", "sh", "-c", _ENTER.format(root=root), str(tmp_path)]
        return shlex.join([*clean, *enter, *program])

    yield command
    for folder in made:
        try:
            folder.rmdir()
        except OSError:
            break  # it was below /tmp, or another test's folder is in it
