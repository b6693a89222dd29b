"""The `netbuilder` command, run in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from netbuilder.cli.main import main

__all__ = ["Command", "Ran"]


class Ran(NamedTuple):
    """The exit code, and what went to stdout and stderr."""

    code: Any
    out: str
    err: str


class Command:
    """`netbuilder FIRST ARGS`; `first` are the words before those of each call."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *first: str) -> None:
        self._capsys = capsys
        self._first = first

    def __call__(self, *args: str | Path) -> Ran:
        try:
            code: Any = main([*self._first, *map(str, args)])
        except SystemExit as stop:  # argparse
            code = stop.code
        return Ran(code, *self._capsys.readouterr())
