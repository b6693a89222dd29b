"""Reads records ahead of their use: here, or in processes that decode and cut images.

A process gets a source as its path and each record as a task; it returns pixels as they are stored, uint8, so
that little is sent. Processes are spawned, open files of their own, and import no PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple

from netbuilder.data.framing import Frame, Framing
from netbuilder.data.policies import Change, applied
from netbuilder.data.processes import process_pool
from netbuilder.data.stored import BadRecord, Pictures
from netbuilder.errors import EngineError

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

    import numpy as np
    import numpy.typing as npt

    Planes = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
    Draws = npt.NDArray[np.float64]

__all__ = ["Cutting", "Reader", "Result"]

_CHUNK = 16  # images for one call of a process

_source: Pictures  # of a process that reads


class Cutting(NamedTuple):
    """How images are cut: what is drawn for each, and which are mirrored if that is not drawn.

    `changes` are what a policy does to each image then, whose channels are R, G, B with `rgb`.
    """

    framing: Framing
    draws: Draws
    mirrored: npt.NDArray[np.bool_] | None = None
    changes: Sequence[Sequence[Change]] | None = None
    rgb: bool = False

    def of(self, part: slice) -> Cutting:
        """That of some of the images."""
        return self._replace(
            draws=self.draws[part],
            mirrored=None if self.mirrored is None else self.mirrored[part],
            changes=None if self.changes is None else self.changes[part],
        )

    def frame(self, height: int, width: int) -> Frame:
        """The frames of images of this size. ValueError: the crop is larger."""
        return self.framing(height, width, self.draws, self.mirrored)


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

    def begin(self, numbers: Sequence[int], cutting: Cutting | None) -> Callable[[], Result]:
        """Begin to read records, cut as told; the call of what is returned waits for them."""
        try:
            tasks = [self.source.task(number) for number in numbers]
        except BadRecord as error:
            text = str(error)
            return lambda: Result([], [], [], (0, text))
        if not self.workers:
            return lambda: read(self.source, tasks, cutting)
        if self._pool is None:
            self._pool = process_pool(self.workers, _open, (self.source,))
        parts: list[Future[Any]] = []
        for at in range(0, len(tasks), _CHUNK):
            part = slice(at, at + _CHUNK)
            parts.append(self._pool.submit(_work, tasks[part], None if cutting is None else cutting.of(part)))
        return lambda: _joined(parts)

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


def read(source: Pictures, tasks: Sequence[Any], cutting: Cutting | None) -> Result:
    """Read records here, up to one that cannot be read."""
    found: list[Planes] = []
    done = Result(found, [], [])
    for i, task in enumerate(tasks):
        try:
            planes, label = source.read(task)
            size = planes.shape[1], planes.shape[2]
            if cutting is not None:
                planes = _cut(planes, cutting.of(slice(i, i + 1)))
                if cutting.changes is not None:
                    planes = applied(planes, cutting.changes[i], rgb=cutting.rgb)
        except (BadRecord, ValueError) as error:
            return done._replace(trouble=(i, str(error)))
        found.append(planes)
        done.labels.append(label)
        done.sizes.append(size)
    return done


def _cut(planes: Planes, cutting: Cutting) -> Planes:
    """As `transform.cut` does, without PyTorch."""
    import numpy as np

    frame = cutting.frame(planes.shape[1], planes.shape[2])
    (rows,), (cols,) = frame.rows, frame.cols
    if frame.between is None:
        return planes[:, rows][:, :, cols]
    (lower,), (later,) = frame.between.rows, frame.between.cols
    above, below = (
        (first[:, :, cols], first[:, :, later])
        for first in (planes[:, rows].astype(np.float32), planes[:, lower].astype(np.float32))
    )
    right, down = frame.between.right, frame.between.down[0][:, None]
    upper, under = above[0] + (above[1] - above[0]) * right, below[0] + (below[1] - below[0]) * right
    values: Planes = upper + (under - upper) * down
    return values if planes.dtype == np.float32 else (values + np.float32(0.5)).astype(planes.dtype)


def _open(source: Pictures) -> None:
    global _source
    _source = source


def _work(tasks: Sequence[Any], cutting: Cutting | None) -> Result:
    """In a process: equal images are sent as one array, which costs one copy."""
    import numpy as np

    done = read(_source, tasks, cutting)
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
