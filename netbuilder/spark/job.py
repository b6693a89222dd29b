"""A training on Spark besides its files: how many ranks, where, and how long to wait and try."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from netbuilder.errors import ConfigError

__all__ = ["SUBMITTED", "Cluster", "Job"]

SUBMITTED = "spark-submit"  # as a master: the session has it already


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The executors that the scripts of a job ask for: each has `slots` ranks, a core or a GPU for each.

    `memory` is that of one executor in Spark's notation (16g), `image` the container image for Kubernetes,
    `environment` the archive with Python and netbuilder that travels, "" where all machines have them.
    """

    slots: int = 1
    memory: str = "16g"
    image: str = ""
    environment: str = ""

    def __post_init__(self) -> None:
        if self.slots < 1:
            raise ConfigError(f"slots must be at least 1, got {self.slots}", key="slots")


@dataclass(frozen=True, kw_only=True)
class Job:
    """A whole training: `options` are those of `train_rank`. Raises ConfigError.

    `master` "" trains in processes of the driver's machine; another one, as local[2] or spark://HOST:7077, in
    tasks of a barrier stage. `settings` go to Spark. `wait` is how many seconds the ranks may wait for slots.
    """

    solver: str
    ranks: int = 1
    master: str = ""
    gpus: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    attempts: int = 3
    wait: int = 40
    cluster: Cluster = field(default_factory=Cluster)

    def __post_init__(self) -> None:
        for name, least in (("ranks", 1), ("attempts", 1), ("wait", 5)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, got {getattr(self, name)}", key=name)

    @property
    def barrier(self) -> bool:
        """Whether the ranks are tasks of a barrier stage, and not processes of the driver's machine."""
        return bool(self.master)
