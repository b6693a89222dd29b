"""Reads records ahead of their use: here, or in processes that decode and cut images.

A process gets a source as its path and each record as a task; it returns pixels as they are stored, uint8, so
that little is sent. Processes are spawned, and open files of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple

from netbuilder.data.framing import Framing
from netbuilder.data.stored import BadRecord, Pictures
from netbuilder.errors import EngineError

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

    import numpy as np
    import numpy.typing as npt

    Planes = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
    Draws = npt.NDArray[np.float64]

__all__ = ["Reader", "Result"]

_CHUNK = 16  # images for one call of a process

_source: Pictures  # of a process that reads


class Result(NamedTuple):
    """What was read: images (c, h, w), their labels, and the sizes (height, width) before they were cut."""

    planes: Sequence[Planes]
    labels: list[int]
    sizes: list[tuple[int, int]]
    trouble: tuple[int, str] | None = None  # the place in the batch, and what is wrong there


class Reader:
    """Records of one source, read by so many processes; 0 reads them here, when they are collected."""

    def __init__(self, source: Pictures, workers: int) -> None:
        self.source, self.workers = source, workers
        self._pool: ProcessPoolExecutor | None = None

    def begin(
        self, numbers: Sequence[int], framing: Framing | None, draws: Draws | None
    ) -> Callable[[], Result]:
        """Begin to read records, cut as the framing says; the call of what is returned waits for them."""
        try:
            tasks = [self.source.task(number) for number in numbers]
        except BadRecord as error:
            text = str(error)
            return lambda: Result([], [], [], (0, text))
        if not self.workers:
            return lambda: read(self.source, tasks, framing, draws)
        if self._pool is None:
            from netbuilder.data.processes import process_pool

            self._pool = process_pool(self.workers, _open, (self.source,))
        parts: list[Future[Any]] = []
        for at in range(0, len(tasks), _CHUNK):
            part = slice(at, at + _CHUNK)
            parts.append(
                self._pool.submit(_work, tasks[part], framing, None if draws is None else draws[part])
            )
        return lambda: _joined(parts)

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


def read(source: Pictures, tasks: Sequence[Any], framing: Framing | None, draws: Draws | None) -> Result:
    """Read records here, up to one that cannot be read."""
    found: list[Planes] = []
    done = Result(found, [], [])
    for i, task in enumerate(tasks):
        try:
            planes, label = source.read(task)
            size = planes.shape[1], planes.shape[2]
            if framing is not None:
                assert draws is not None
                planes = _cut(planes, framing, draws[i : i + 1])
        except (BadRecord, ValueError) as error:
            return done._replace(trouble=(i, str(error)))
        found.append(planes)
        done.labels.append(label)
        done.sizes.append(size)
    return done


def _cut(planes: Planes, framing: Framing, draws: Draws) -> Planes:
    frame = framing(planes.shape[1], planes.shape[2], draws)
    return planes[:, frame.rows[0]][:, :, frame.cols[0]]


def _open(source: Pictures) -> None:
    global _source
    _source = source


def _work(tasks: Sequence[Any], framing: Framing | None, draws: Draws | None) -> Result:
    """In a process: equal images are sent as one array, which costs one copy."""
    import numpy as np

    done = read(_source, tasks, framing, draws)
    if len({(p.shape, p.dtype) for p in done.planes}) == 1:
        return done._replace(planes=np.stack(done.planes))  # type: ignore[arg-type]
    return done


def _joined(parts: Sequence[Future[Any]]) -> Result:
    from concurrent.futures.process import BrokenProcessPool

    planes: list[Planes] = []
    joined = Result(planes, [], [])
    for part in parts:
        try:
            found = part.result()
        except BrokenProcessPool:
            raise EngineError(
                "a process that read images was killed, perhaps for its memory",
                hint="give fewer workers, or resume from the last snapshot",
            ) from None
        if found.trouble:
            at, text = found.trouble
            return joined._replace(trouble=(len(joined.labels) + at, text))
        planes.extend(found.planes)
        joined.labels.extend(found.labels)
        joined.sizes.extend(found.sizes)
    return joined
