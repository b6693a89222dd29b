"""The bar of the verbs that take long, on a real terminal and without one."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

import pytest

from netbuilder.cli.progress import Progress, clock


class Terminal:
    """A pseudo-terminal that stands in for stderr."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._master, slave = os.openpty()
        self.stderr = os.fdopen(slave, "w")

    def progress(self, what: str, total: int = 0) -> Progress:
        """A Progress whose bar goes to this terminal."""
        # Not in the fixture: pytest puts its own stderr in before the test.
        self._monkeypatch.setattr(sys, "stderr", self.stderr)
        return Progress(what, total)

    def shown(self) -> str:
        """What was written since the last call."""
        self.stderr.flush()
        os.write(self.stderr.fileno(), b"\0")  # so that there is always something to read
        text = b""
        while not text.endswith(b"\0"):
            text += os.read(self._master, 4096)
        return text[:-1].decode()

    def close(self) -> None:
        self.stderr.close()
        os.close(self._master)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    found = Terminal(monkeypatch)
    monkeypatch.setenv("COLUMNS", "80")
    yield found
    found.close()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seconds = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: seconds[0])
    return seconds


def test_the_bar_has_rate_and_time_left_of_what_this_run_did(terminal: Terminal, now: list[float]) -> None:
    progress = terminal.progress("images", 2000)
    progress.at(1000)  # of an earlier run
    assert terminal.shown() == f"\r\x1b[K[{'#' * 12}{'.' * 12}] 1,000 of 2,000 images"
    now[0] += 10
    progress.at(1500, more=", loss 2")
    told = "1,500 of 2,000 images, 50/s, 0:10 left, loss 2"
    assert terminal.shown() == f"\r\x1b[K[{'#' * 18}{'.' * 6}] {told}"
    progress.at(2000)
    assert terminal.shown() == "\r\x1b[K"


def test_the_bar_is_not_redrawn_all_the_time(terminal: Terminal, now: list[float]) -> None:
    progress = terminal.progress("images")
    progress.at(0, 100)
    assert terminal.shown()
    now[0] += 0.1
    progress.at(50, 100)
    assert terminal.shown() == ""
    now[0] += 0.2
    progress.at(51, 100)
    assert "51 of 100 images, 170/s" in terminal.shown()


def test_slow_work_has_a_rate_with_decimals(terminal: Terminal, now: list[float]) -> None:
    progress = terminal.progress("iterations", 10)
    progress.at(1)
    now[0] += 4
    progress.at(2)
    assert terminal.shown().endswith("2 of 10 iterations, 0.25/s, 0:32 left")


def test_lines_take_the_place_of_the_bar_and_a_bar_fits_the_terminal(terminal: Terminal) -> None:
    progress = terminal.progress("images", 10)
    progress.line("a row")
    assert terminal.shown() == "\r\x1b[Ka row\r\n"
    progress.once("twice")
    progress.once("twice")
    assert terminal.shown() == "\r\x1b[Kwarning: twice\r\n"
    progress.bar("x" * 100)
    assert terminal.shown() == "\r\x1b[K" + "x" * 79


@pytest.mark.parametrize("logged", [False, True])
def test_without_a_terminal_there_is_no_bar_and_a_line_a_minute_on_request(
    capsys: pytest.CaptureFixture[str], now: list[float], logged: bool
) -> None:
    progress = Progress("images", 600, logged=logged)
    for done in range(0, 601, 5):  # 5 a second: 120 seconds
        progress.at(done)
        now[0] += 1
    progress.close()
    told = "300 of 600 images, 5.00/s, 1:00 left\n"
    assert capsys.readouterr().err == (told if logged else "")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (61.9, "1:01"), (3600, "1:00:00"), (7384, "2:03:04")]
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
