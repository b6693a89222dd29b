"""A training in this process: the job, and the run with its events in Caffe's order.

Source: solver.cpp, Step and Solve. As with the Caffe engine, the last state is tested in any case.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from netbuilder.engines.torch.training import Training, tested
from netbuilder.training.events import (
    Ended,
    Event,
    Iteration,
    Pace,
    Saving,
    Snapshot,
    Started,
    Tested,
    Testing,
)

if TYPE_CHECKING:
    from netbuilder.training.plan import TrainingPlan

__all__ = ["TrainJob", "TrainRun"]

_EVERY = 0.5  # seconds between two looks at the losses, which stay on the device in between
_OVERFLOWS = 50  # float16: so many in a row, and no scale of the loss helps


@dataclass(frozen=True, kw_only=True)
class TrainJob:
    """A training that is ready to begin: nets, data and solver are there."""

    training: Training
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def start(self, log: IO[bytes] | None = None) -> TrainRun:
        """Start the run; `log` receives Caffe's lines on losses, rates and tests."""
        return TrainRun(self.training, log)

    def weights(self) -> str:
        """The SHA-256 of all parameters as they are now."""
        found = hashlib.sha256()
        for blobs in self.training.net.params.values():
            for blob in blobs:
                found.update(blob.detach().float().cpu().contiguous().numpy().tobytes())
        return found.hexdigest()


class _Diverged(Exception):
    """The loss, or a parameter, is no number."""


class _Done(NamedTuple):
    """An iteration whose loss is still on the device; the outputs of one that is displayed."""

    iteration: int
    rate: float
    loss: Tensor
    outputs: dict[str, Tensor]


class TrainRun:
    """A training under way."""

    def __init__(self, training: Training, log: IO[bytes] | None) -> None:
        self._training, self._log = training, log
        self._plan: TrainingPlan = training.plan
        self._asked = False  # to stop, on this rank
        self._stopped = self._diverged = False
        self._threads = torch.get_num_threads()
        self._waiting: list[_Done] = []
        self._since = 0.0  # when the losses were looked at last
        self._paced = 0.0  # since when the iterations are counted for the pace
        self._count = 0
        self._display = self._plan.solver.display or 100

    def __enter__(self) -> TrainRun:
        torch.set_num_threads(self._plan.threads)
        return self

    def __exit__(self, *error: object) -> None:
        torch.set_num_threads(self._threads)
        self._training.close(failed=any(error))

    def stop(self) -> None:
        """End after this iteration, with a snapshot."""
        self._asked = True

    def kill(self) -> None:
        """End at once: the caller raises KeyboardInterrupt."""
        self._asked = True

    def __iter__(self) -> Iterator[Event]:
        for event in self._events():
            self._write(event)
            yield event

    def _events(self) -> Iterator[Event]:
        yield Started(self._training.iteration, self._training.outputs)
        try:
            yield from self._loop()
        except _Diverged:
            yield Ended("diverged", self._training.iteration)

    def _loop(self) -> Iterator[Event]:
        training, solver = self._training, self._plan.solver
        begin, saved, overflows = training.iteration, -1, 0
        self._restart()
        while training.iteration < solver.max_iter and not self._ends():
            if tested(solver, training.iteration):
                yield from self._tests()
                if self._stopped:
                    break
            iteration, rate = training.iteration, training.solver.rate
            result = training.step()
            overflows = 0 if result else overflows + 1
            if result is None:
                if overflows == _OVERFLOWS:
                    raise _Diverged
                continue
            shown = iteration % self._display == 0 or iteration == solver.max_iter - 1
            outputs = {name: top.detach().flatten()[:1] for name, top in result[1].items()} if shown else {}
            self._waiting.append(_Done(iteration, rate, result[0], outputs))
            if shown or time.monotonic() - self._since > _EVERY:
                yield from self._report()
            if solver.snapshot and training.iteration % solver.snapshot == 0:
                yield from self._snapshot()
                saved = training.iteration
        yield from self._settle()
        done = training.iteration >= solver.max_iter
        if saved != training.iteration > begin and (solver.snapshot_after_train or not done):
            yield from self._snapshot()
        if done and solver.test_iter and solver.test_interval:
            yield from self._tests()
        yield Ended("done" if done else "stopped", training.iteration)

    def _ends(self) -> bool:
        """Whether the training ends now, which all ranks answer alike. Raises _Diverged."""
        said = self._training.peers.agree(2 if self._diverged else int(self._asked))
        if said > 1:
            raise _Diverged
        self._stopped = bool(said)
        return self._stopped

    def _settle(self) -> Iterator[Event]:
        """Report all iterations, before something else comes. Raises _Diverged if any rank did."""
        yield from self._report(last=True)
        if self._training.peers.any(self._diverged):
            raise _Diverged

    def _report(self, *, last: bool = False) -> Iterator[Event]:
        """The iterations since the last report: one transfer from the device for all.

        `last` means that something else comes now, whose time does not count for the pace.
        """
        waiting, self._waiting = self._waiting, []
        if not waiting:
            if last and self._count:
                yield self._pace()
            return
        losses = torch.stack([done.loss.double() for done in waiting]).tolist()
        self._since = time.monotonic()
        self._count += len(waiting)
        if last or self._since - self._paced > _EVERY:
            yield self._pace()
        for done, loss in zip(waiting, losses, strict=True):
            shown = {name: float(value) for name, value in done.outputs.items() if len(value)}
            yield Iteration(done.iteration, loss, float(f"{done.rate:.8g}"), shown)  # it is a float32
            if not math.isfinite(loss):
                self._diverged = True
                return

    def _pace(self) -> Pace:
        """How fast the iterations were since the last test, snapshot or pace."""
        seconds = max(time.monotonic() - self._paced, 1e-9)
        pace = Pace(self._count * self._training.images / seconds, self._training.memory)
        self._restart()
        return pace

    def _restart(self) -> None:
        self._since = self._paced = time.monotonic()
        self._count = 0

    def _tests(self) -> Iterator[Event]:
        yield from self._settle()
        iteration = self._training.iteration
        for result in self._training.tests(lambda: self._asked):
            if isinstance(result, Testing):
                yield result
            else:
                number, passes, means = result
                yield Tested(iteration, number, passes, means.outputs, means.loss)
        self._stopped = self._training.peers.any(self._asked)
        self._restart()

    def _snapshot(self) -> Iterator[Event]:
        yield from self._settle()
        if not self._training.sound:
            raise _Diverged
        if self._plan.ranks.first:
            yield Saving(self._training.iteration)
        model, state = self._training.snapshot()
        if self._plan.ranks.first:
            yield Snapshot(self._training.iteration, model, state)
        self._restart()

    def _write(self, event: Event) -> None:
        """Log what Caffe logs, so that what reads its logs reads these."""
        lines: list[str] = []
        if isinstance(event, Iteration) and event.outputs:
            lines.append(f"Iteration {event.iteration}, loss = {event.loss:.6g}")
            lines += _outputs("Train", {name: (value,) for name, value in event.outputs.items()})
            lines.append(f"Iteration {event.iteration}, lr = {event.rate:.6g}")
        elif isinstance(event, Tested):
            lines.append(f"Iteration {event.iteration}, Testing net (#{event.net})")
            lines += _outputs("Test", event.outputs)
        elif isinstance(event, Snapshot):
            lines.append(f"Snapshotting to binary proto file {event.model}")
        if lines and self._log is not None:
            self._log.write("".join(f"{line}\n" for line in lines).encode())


def _outputs(phase: str, outputs: Any) -> list[str]:
    values = [(name, value) for name, many in sorted(outputs.items()) for value in many]
    return [f"    {phase} net output #{i}: {name} = {value:.6g}" for i, (name, value) in enumerate(values)]
