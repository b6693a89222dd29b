"""Engines train, test and time nets: the protocol of an engine, and the registry of engines by name.

The core never imports an engine, and this module imports one only when `find_engine` is called. An engine
imports heavy packages (numpy) inside functions only. docs/add-an-engine.md shows how to write one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from netbuilder.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from netbuilder.training.events import Job
    from netbuilder.training.plan import NetPlan, TrainingPlan
    from netbuilder.training.snapshots import SnapshotNames

__all__ = ["DEFAULT", "ENGINES", "Computes", "Engine", "default_engine", "find_engine", "register"]

DEFAULT = "caffe"  # for training
# Each engine's class, as MODULE:CLASS. It is called without arguments.
ENGINES: dict[str, str] = {
    "caffe": "netbuilder.engines.caffe.engine:CaffeEngine",
    "torch": "netbuilder.engines.torch.engine:TorchEngine",
}

_MEMBERS = {
    "snapshots": "the names of its snapshots, a SnapshotNames",
    "describe": "the method that says which installation is used",
    "train": "the method that accepts a TrainingPlan",
    "test": "the method that accepts a NetPlan to test",
    "time": "the method that accepts a NetPlan to time",
}
_GUIDE = "see docs/add-an-engine.md"


class Engine(Protocol):
    """The members of an engine. Its methods raise ConfigError or EngineError to refuse a plan."""

    snapshots: SnapshotNames

    def describe(self) -> str:
        """Which installation is used, in one line. Raises EngineError if there is none."""

    def train(self, plan: TrainingPlan) -> Job:
        """Accept a training."""

    def test(self, plan: NetPlan) -> Job:
        """Accept a test: its run gives one Tested, then Ended."""

    def time(self, plan: NetPlan) -> Job:
        """Accept a timing: its run gives one Timed, then Ended."""


class Computes(Protocol):
    """What an engine also has if `netbuilder run` can use it."""

    def compute(
        self,
        plan: NetPlan,
        inputs: Iterable[Mapping[str, npt.NDArray[np.float32]]],
        blobs: Sequence[str],
    ) -> Iterator[dict[str, npt.NDArray[np.float32]]]:
        """The values of these blobs after each pass, one for each of `inputs`, which has all input blobs."""


def register(name: str, target: str) -> None:
    """Add an engine; `target` is MODULE:CLASS. Raises EngineError for a name that is taken."""
    if ENGINES.setdefault(name, target) != target:
        raise EngineError(f"there is an engine '{name}' already: {ENGINES[name]}", hint="choose another name")


def default_engine() -> str:
    """The engine that tests, times and runs nets unless another is named: PyTorch where it is installed."""
    import importlib.util

    return "caffe" if importlib.util.find_spec("torch") is None else "torch"


def find_engine(name: str) -> Engine:
    """The engine of a name. Raises EngineError, which says what is missing."""
    import importlib

    if name not in ENGINES:
        raise EngineError(
            f"there is no engine '{name}'; there are: {', '.join(ENGINES)}",
            hint=f"step 3, an entry in ENGINES: {_GUIDE}",
        )
    module_name, _, class_name = ENGINES[name].partition(":")
    try:
        found = getattr(importlib.import_module(module_name), class_name)()
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise EngineError(
            f"engine '{name}': there is no module '{module_name}'", hint=f"step 1, the module: {_GUIDE}"
        ) from None
    except AttributeError:
        if hasattr(importlib.import_module(module_name), class_name):
            raise
        raise EngineError(
            f"engine '{name}': '{module_name}' has no class '{class_name}'",
            hint=f"step 2, the class: {_GUIDE}",
        ) from None
    for member, what in _MEMBERS.items():
        if not hasattr(found, member):
            raise EngineError(
                f"engine '{name}' lacks `{member}`: {what}", hint=f"step 2, the class: {_GUIDE}"
            )
    return cast(Engine, found)
