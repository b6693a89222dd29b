"""What the verbs train, test and time share: options, the net of a solver file, Ctrl-C and progress."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from netbuilder.engines import DEFAULT, ENGINES
from netbuilder.errors import ConfigError

if TYPE_CHECKING:
    from netbuilder.training.events import Run

__all__ = ["Progress", "add_engine", "clock", "net_file", "one_device", "stopping"]


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add --engine."""
    parser.add_argument(
        "--engine", choices=tuple(ENGINES), default=DEFAULT, help=f"what does the work (default: {DEFAULT})"
    )


def net_file(path: str, phase: str) -> str:
    """The file of a net, also where a solver file names it."""
    from netbuilder.prototxt.reader import net_of_solver
    from netbuilder.storage.files import read_text

    return str(net_of_solver(read_text(path), Path(path), phase) or path)


def one_device(text: str | None) -> list[int | str]:
    """The one device of `--gpu N`, none without it. Raises ConfigError."""
    from netbuilder.training.plan import parse_devices

    devices = [] if text is None else parse_devices(text)
    if len(devices) > 1 or "all" in devices:
        raise ConfigError(f"at most one GPU can be used, got --gpu {text}", key="gpu", hint="as in --gpu 0")
    return devices


@contextmanager
def stopping(run: Run) -> Iterator[None]:
    """While it lasts, Ctrl-C and SIGTERM stop the run, and a second one ends it at once."""
    asked: list[int] = []

    def stop(number: int, frame: object) -> None:
        asked.append(number)
        if len(asked) > 1:
            run.kill()
            raise KeyboardInterrupt
        print("\nstopping after this iteration; once more ends at once", file=sys.stderr)
        run.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Progress:
    """Rows, and on a terminal a bar under them, on stderr."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._tty = sys.stderr.isatty()
        self._warned = False
        self._first: tuple[int, float] | None = None
        self._drawn = 0.0
        self._headed = False

    def iteration(self, i: int, loss: float, rate: float) -> None:
        """An iteration was done."""
        now = time.monotonic()
        if self._first is None:
            self._first = i, now
        if not self._tty or now - self._drawn < 0.2:
            return
        self._drawn = now
        done, seconds = i - self._first[0], now - self._first[1]
        speed = done / seconds if seconds > 0 else 0.0
        left = (self.total - i - 1) / speed if speed else 0.0
        width = 24 * (i + 1) // self.total
        self.bar(
            f"[{'#' * width}{'.' * (24 - width)}] {i + 1}/{self.total}  {speed:.2f} it/s  "
            f"{clock(left)} left  loss {loss:.4g}  lr {rate:.4g}"
        )

    def row(self, *cells: object) -> None:
        """A row of the table: iteration, loss, rate, and what else."""
        if not self._headed:
            self._headed = True
            self.row("iteration", "loss", "lr", "")
        self.close()
        print(f"{cells[0]!s:>9}  {cells[1]!s:>10}  {cells[2]!s:>11}  {cells[3]}".rstrip(), file=sys.stderr)

    def bar(self, text: str) -> None:
        """Replace the bar, on a terminal."""
        if self._tty:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\x1b[K{text[:width]}", end="", file=sys.stderr, flush=True)

    def once(self, text: str) -> None:
        """Print a warning, only the first time."""
        if not self._warned:
            self._warned = True
            self.close()
            print(f"warning: {text}", file=sys.stderr)

    def close(self) -> None:
        """Remove the bar."""
        self.bar("")


def clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
