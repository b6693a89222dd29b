"""How far a verb's work is: a bar on stderr while somebody watches, and the lines that stay."""

from __future__ import annotations

import shutil
import sys
import time

__all__ = ["Progress", "clock"]

_EVERY = 0.2  # seconds between two states of the bar
_LOGGED = 60.0  # seconds between two lines where there is no terminal
_WIDTH = 24


class Progress:
    """A bar on stderr that is redrawn on a terminal; lines that stay go above it.

    `what` are the things that are done, such as images. Without a terminal there is no bar; `logged` asks
    for a line a minute instead.
    """

    def __init__(self, what: str, total: int = 0, *, logged: bool = False) -> None:
        self.what = what
        self.total = total
        self._terminal = sys.stderr.isatty()
        self._logged = logged
        self._first: tuple[int, float] | None = None
        self._shown = 0.0
        self._warned = False

    def at(self, done: int, total: int | None = None, *, more: str = "") -> None:
        """So many are done, of the total, which may become known only now; `more` is said besides."""
        now = time.monotonic()
        self.total = self.total if total is None else total
        if self._first is None:
            self._first = done, now
            self._shown = now if not self._terminal else 0.0
        if done >= self.total:
            self.close()
        elif self._terminal and now - self._shown >= _EVERY:
            self._shown = now
            part = _WIDTH * done // self.total
            self.bar(f"[{'#' * part}{'.' * (_WIDTH - part)}] {self._text(done, now)}{more}")
        elif self._logged and not self._terminal and now - self._shown >= _LOGGED:
            self._shown = now
            print(self._text(done, now) + more, file=sys.stderr, flush=True)

    def bar(self, text: str) -> None:
        """Replace the bar, on a terminal."""
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\x1b[K{text[:width]}", end="", file=sys.stderr, flush=True)

    def line(self, text: str) -> None:
        """Print a line that stays, in place of the bar."""
        self.close()
        print(text, file=sys.stderr)

    def once(self, text: str) -> None:
        """Print a warning, only the first time."""
        if not self._warned:
            self._warned = True
            self.line(f"warning: {text}")

    def close(self) -> None:
        """Remove the bar."""
        self.bar("")

    def _text(self, done: int, now: float) -> str:
        assert self._first is not None
        begin, since = self._first
        rate = (done - begin) / max(now - since, 1e-9)
        text = f"{done:,} of {self.total:,} {self.what}"
        if not rate:
            return text
        speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2f}"
        return f"{text}, {speed}/s, {clock((self.total - done) / rate)} left"


def clock(seconds: float) -> str:
    """A duration as hours, minutes and seconds: 1:02:03, or 2:03."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
