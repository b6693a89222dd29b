"""Snapshots from which CaffeOnSpark can resume a training with tests, and those from which it hangs.

After a resume at iteration N the solver tests after the iterations that are missing to the next multiple of
test_interval, but the driver feeds the training images of a whole interval first. The images left over,
`N mod test_interval` iterations of them, must fit the queues of an executor; if they do not, the solver waits
for test images and the driver for space, for ever. Measured on CaffeOnSpark with one device: 1,072 images
left over at batch 16 ran, 1,088 hung. Source of the sizes: CaffeOnSpark, CaffeProcessor.scala (per device two
batches in queues and one being transformed) and DataSource.scala (1024 images).
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["BATCHES", "first_hanging", "left_over", "queued", "safe_snapshot"]

BATCHES = 3  # in the queues of one device
_IMAGES = 1024  # in the queue of an executor


def queued(batch: int, devices: int = 1) -> int:
    """The images that the queues of an executor hold."""
    return _IMAGES + BATCHES * batch * devices


def left_over(iteration: int, test_interval: int, batch: int, devices: int = 1) -> int:
    """The training images of an executor that the driver feeds in vain after a resume at an iteration."""
    return (iteration % test_interval or test_interval) * batch * devices


def first_hanging(
    snapshot: int, test_interval: int, max_iter: int, batch: int, devices: int = 1
) -> int | None:
    """The first iteration of a solver's snapshots from which a resume hangs; None if there is none."""
    for iteration in _snapshots(snapshot, test_interval, max_iter):
        if left_over(iteration, test_interval, batch, devices) > queued(batch, devices):
            return iteration
    return None


def _snapshots(snapshot: int, test_interval: int, max_iter: int) -> Iterator[int]:
    """The iterations of the snapshots, until what is left over repeats; the last one ends the training."""
    if snapshot > 0 and test_interval > 0:
        yield from range(snapshot, min(max_iter, snapshot * test_interval + 1), snapshot)


def safe_snapshot(wanted: int, test_interval: int, max_iter: int, batch: int) -> int:
    """The smallest interval of snapshots, from `wanted` up, of which none hangs (one device an executor).

    A multiple of test_interval plus 1 leaves over one iteration more at each snapshot, so that the number of
    snapshots is limited by the queues; the multiple is the smallest that writes no more of them.
    """
    if first_hanging(wanted, test_interval, max_iter, batch) is None:
        return wanted
    most = queued(batch) // batch
    multiple = max(1, -(-wanted // test_interval))
    while multiple * test_interval + 1 < max_iter:
        interval = multiple * test_interval + 1
        if (max_iter - 1) // interval <= most:
            return interval
        multiple += 1
    return max_iter
