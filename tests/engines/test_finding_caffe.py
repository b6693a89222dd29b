"""What to do where no Caffe is found: one that is installed, but needs root, is not to be installed again."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# As another user, which may read nothing but what was imported before.
CODE = """
import importlib.util, os, shutil, subprocess, sys
from netbuilder.engines.caffe.engine import CaffeEngine
if sys.argv[1] == "user":
    os.seteuid(65534)
try:
    CaffeEngine().describe()
except Exception as error:
    print(error)
"""


@pytest.fixture
def readable() -> Iterator[Path]:
    """A folder that every user can read, which those of pytest are not."""
    with tempfile.TemporaryDirectory(prefix="netbuilder-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_installed_caffe_that_needs_root_is_not_to_be_installed_again(readable: Path) -> None:
    place = readable / "netbuilder" / "caffe-bullseye"
    place.mkdir(parents=True)

    def said(who: str) -> str:
        env = {"PATH": "/nowhere", "XDG_CACHE_HOME": str(readable), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", CODE, who]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout

    assert "hint:    install it by `sudo -E tools/install_caffe.sh`" in said("user")
    (place / ".netbuilder-caffe").touch()
    text = said("user")
    assert f"real Caffe is installed in {place}, but entering it needs root, or user namespaces\n" in text
    assert "install it by" not in text
    assert "hint:    run netbuilder as root (sudo -E), or name " in text
