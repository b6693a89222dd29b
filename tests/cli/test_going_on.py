"""The command that goes on, as it is pasted into a shell."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest

from netbuilder.cli.going_on import print_command


@pytest.mark.parametrize("first", ["environment", "base", "nothing"])
def test_python_is_named_if_the_shell_finds_the_one_that_runs(
    first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("base", "environment", "nothing"):
        (tmp_path / name).mkdir()
    (tmp_path / "base/python").touch(mode=0o755)
    (tmp_path / "environment/python").symlink_to(tmp_path / "base/python")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "environment/python"))
    monkeypatch.setenv("PATH", str(tmp_path / first))
    print_command(argparse.Namespace(command=["/packages/netbuilder/__main__.py", "sweep"]), "--resume")
    python = "python" if first == "environment" else sys.executable
    line = capsys.readouterr().err.replace(" \\\n ", "")
    assert line.split() == ["to", "go", "on:", python, "-m", "netbuilder", "sweep", "--resume"]
