"""Lines of a log as glog writes them, so that what reads Caffe's logs reads these."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import IO

__all__ = ["init_log", "log"]

_LEVEL = [0]
_FILES: list[IO[str]] = []


def init_log(level: int = 0, stderr: bool = True) -> None:
    """Log lines of this level and above: 0 is information, 1 and more leave our lines out.

    Lines go to the standard error; with `stderr` False, which pycaffe takes too, they are left out.
    """
    _LEVEL[0] = level if stderr else max(level, 1)


def log(text: str) -> None:
    """Write a line to the log."""
    if _LEVEL[0] > 0 or int(os.environ.get("GLOG_minloglevel") or 0) > 0:  # noqa: SIM112 (glog's own)
        return
    now = time.time()
    stamp = time.strftime("%m%d %H:%M:%S", time.localtime(now))
    number = threading.get_native_id()
    for line in text.splitlines() or [""]:
        print(f"I{stamp}.{int(now % 1 * 1e6):06d} {number:5d} pycaffe.py:1] {line}", file=sys.stderr)
