"""`Timer`: milliseconds between `start` and `stop`."""

from __future__ import annotations

import time

import torch

from netbuilder.pycaffe.modes import device

__all__ = ["Timer"]


class Timer:
    """Measures time; on a GPU it waits until all that was asked for is computed."""

    def __init__(self) -> None:
        self._begin = self._end = 0.0

    def start(self) -> None:
        """Begin."""
        self._begin = self._now()
        self._end = 0.0

    def stop(self) -> None:
        """End."""
        self._end = self._now()

    @property
    def ms(self) -> float:
        """The milliseconds from `start` to `stop`, or to now."""
        return ((self._end or self._now()) - self._begin) * 1000 if self._begin else 0.0

    @staticmethod
    def _now() -> float:
        if device().type == "cuda":
            torch.cuda.synchronize(device())
        return time.perf_counter()
