"""The command in a pseudo-terminal, as a person sees it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

__all__ = ["in_terminal", "lines_of"]

_CODE = re.compile(r"\x1b\[[0-9;]*[mK]")


def in_terminal(
    *words: str | Path, columns: int = 80, cwd: Path | None = None, **environment: str
) -> tuple[int, str]:
    """Run `netbuilder WORDS` with stdout and stderr on a terminal; the exit code, and what it shows."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS")}
    env |= {"TERM": "xterm-256color", "PYTHONPATH": str(Path(__file__).parents[1]), **environment}
    child = subprocess.Popen(
        [sys.executable, "-m", "netbuilder", *map(str, words)],
        stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, cwd=cwd, env=env,
    )  # fmt: skip
    os.close(slave)
    shown = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # Linux: the child has closed it
            break
        if not part:
            break
        shown += part
    os.close(master)
    return child.wait(), shown.decode().replace("\r\n", "\n")


def lines_of(shown: str) -> list[str]:
    """The lines without their colours, and of one that was written again what was written last."""
    return [line.rpartition("\r")[2] for line in _CODE.sub("", shown).splitlines()]
