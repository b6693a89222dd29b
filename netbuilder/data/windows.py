"""Window files: the images and windows that WindowData draws from. Source: window_data_layer.cpp.

    # 0
    images/cat.png
    3
    375
    500
    2
    7 0.8 10 20 200 300
    0 0.1 0 0 50 50

An image has its number, path, channels, height, width and the number of its windows; a window has its class,
its overlap with an object of that class, and x1 y1 x2 y2.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["Window", "WindowImage", "read_windows"]


class Window(NamedTuple):
    """A window; `line` is its place in the file."""

    line: int
    label: int
    overlap: float


class WindowImage(NamedTuple):
    """An image of a window file; `line` is that of its path."""

    line: int
    path: bytes
    windows: list[Window]


def read_windows(file: Path) -> Iterator[WindowImage]:
    """The images of a window file, up to where it is none: Caffe stops there too. Raises OSError."""
    with file.open("rb") as lines:
        words = ((number, word) for number, line in enumerate(lines, 1) for word in line.split())
        try:
            while next(words)[1] == b"#":
                next(words)
                line, path = next(words)
                _, _, _, count = (int(next(words)[1]) for _ in range(4))
                windows = []
                for _ in range(count):
                    at, label = next(words)
                    numbers = [float(next(words)[1]) for _ in range(5)]
                    windows.append(Window(at, int(label), numbers[0]))
                yield WindowImage(line, path, windows)
        except (StopIteration, ValueError):
            return
