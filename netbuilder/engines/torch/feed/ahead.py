"""Values made ahead of their use, by a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["Ahead"]

T = TypeVar("T")


class Ahead(Generic[T]):
    """An endless iterator whose next values a thread makes, up to `depth`; with 0 there is no thread.

    What the iterator raises is raised where its value would be taken.
    """

    def __init__(self, values: Iterator[T], depth: int) -> None:
        self._values = values
        self._made: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(max(1, depth))
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        if depth:
            self._thread = threading.Thread(target=self._make, daemon=True)
            self._thread.start()

    def _make(self) -> None:
        while not self._ended.is_set():
            try:
                item: tuple[T | None, BaseException | None] = (next(self._values), None)
            except BaseException as error:
                item = (None, error)
            while not self._ended.is_set():
                try:
                    self._made.put(item, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if item[1] is not None:
                return

    def __next__(self) -> T:
        if self._thread is None:
            return next(self._values)
        value, error = self._made.get()
        if error is not None:
            self._made.put((None, error))  # for whoever asks again
            raise error
        assert value is not None
        return value

    def close(self) -> None:
        """End the thread."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
