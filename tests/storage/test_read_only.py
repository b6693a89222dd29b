"""A folder that takes no files is an error, whatever else the system refuses there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "words", [["build", "cifar_resnet", "--main_branch", "normal", "-n", "3", "-o", "."]], ids=lambda w: w[0]
)
def test_writing_to_a_read_only_file_system_is_refused_in_words(words: list[str], tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    if not unshare or subprocess.run([unshare, "-m", "true"]).returncode:
        pytest.skip("unshare -m is not permitted, which mounts a read-only file system")
    mount = f'mount -t tmpfs -o ro none "{tmp_path}" && cd "{tmp_path}" && exec "$@"'
    command = [unshare, "-m", "sh", "-c", mount, "-", sys.executable, "-m", "netbuilder.cli.main", *words]
    env = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    said = done.stderr.splitlines()[0]
    assert (done.returncode, said) == (2, "FileError: cannot write 'train.prototxt': read-only file system")
