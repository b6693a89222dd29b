"""What the verbs train, test and time share: options, the net of a solver file, and Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from netbuilder import engines
from netbuilder.errors import ConfigError

if TYPE_CHECKING:
    from netbuilder.training.events import Run

__all__ = ["add_engine", "one_device", "stopping"]


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add --engine."""
    parser.add_argument(
        "--engine",
        choices=tuple(engines.ENGINES),
        default=engines.DEFAULT,
        help=f"what does the work (default: {engines.DEFAULT})",
    )


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
