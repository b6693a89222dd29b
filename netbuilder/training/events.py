"""What a run reports while it works: one named tuple per kind of event, and the run itself.

An engine translates its input (a log, messages of a worker, its own loop) into events. The record, the
progress bar and the summaries see nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import IO, Any, Literal, NamedTuple, Protocol, TypeAlias

__all__ = [
    "Ended",
    "Event",
    "Iteration",
    "Job",
    "LayerTime",
    "Pace",
    "Replaying",
    "Run",
    "Saving",
    "Snapshot",
    "Started",
    "Tested",
    "Testing",
    "Timed",
    "Timing",
]

_NONE: Mapping[str, Any] = MappingProxyType({})


class Started(NamedTuple):
    """Training begins after `iteration` iterations; `outputs` are the training net's, if known."""

    iteration: int
    outputs: tuple[str, ...] = ()


class Replaying(NamedTuple):
    """A resumed run reads its data again: iteration `done` of `of`."""

    done: int
    of: int


class Iteration(NamedTuple):
    """One update is done, numbered from 0; `outputs` has the first value of each output of the net."""

    iteration: int
    loss: float
    rate: float
    outputs: Mapping[str, float] = _NONE


class Pace(NamedTuple):
    """How fast the training is now, in images per second, and the most memory it has used, in bytes."""

    images: float
    memory: int


class Testing(NamedTuple):
    """A test is under way: pass `done` of `of`."""

    done: int
    of: int


class Tested(NamedTuple):
    """The means of a test net's outputs and loss over `passes` passes, after `iteration` iterations."""

    iteration: int
    net: int
    passes: int
    outputs: Mapping[str, tuple[float, ...]]
    loss: float | None = None


for _kind in (Testing, Tested):
    _kind.__test__ = False  # type: ignore[union-attr]  # pytest takes them for tests


class Saving(NamedTuple):
    """The snapshot after `iteration` iterations is written next, once this event has been taken."""

    iteration: int


class Snapshot(NamedTuple):
    """The snapshot of an iteration is complete and has its final names."""

    iteration: int
    model: str
    state: str


class Timing(NamedTuple):
    """A timing is under way: pass `done` of `of`."""

    done: int
    of: int


class LayerTime(NamedTuple):
    """The seconds of a layer, forward and backward, in each pass or as one mean."""

    name: str
    type: str
    forward: tuple[float, ...]
    backward: tuple[float, ...]


class Timed(NamedTuple):
    """The times of all layers; `figure` says how the passes are summarised.

    `memory` are bytes by what they are for, as far as the engine knows.
    """

    layers: tuple[LayerTime, ...]
    figure: Literal["median", "mean"] = "median"
    memory: Mapping[str, int] = _NONE


class Ended(NamedTuple):
    """The last event of a run that did not fail: it is done, stopped as asked, or has diverged.

    `reason` says how it has diverged, if the losses do not show it.
    """

    how: Literal["done", "stopped", "diverged"]
    iteration: int = 0
    reason: str = ""


Event: TypeAlias = (
    Started | Replaying | Iteration | Pace | Testing | Tested | Saving | Snapshot | Timing | Timed | Ended
)


class Run(Protocol):
    """A training, test or timing under way; a context manager that leaves no process running.

    Iterating yields its events until it ends, and raises EngineError if it fails.
    """

    def __enter__(self) -> Run: ...

    def __exit__(self, *error: object) -> None: ...

    def __iter__(self) -> Iterator[Event]: ...

    def stop(self) -> None:
        """Ask it to end after this iteration; a training writes a snapshot first."""

    def kill(self) -> None:
        """End it now."""


class Job(Protocol):
    """A plan that an engine has accepted, ready to start.

    `warnings` are printed as such, `notes` as they are.
    """

    @property
    def warnings(self) -> tuple[str, ...]: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    def start(self, log: IO[bytes] | None = None) -> Run:
        """Start the run; `log` receives the engine's own output. Raises EngineError if it does not start."""
