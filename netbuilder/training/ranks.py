"""`Ranks`: the processes of a training, as torchrun and Spark's TorchDistributor announce them."""

from __future__ import annotations

import os
from typing import NamedTuple

from netbuilder.errors import ConfigError

__all__ = ["ALONE", "Ranks"]

_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_NO_RUN = ("", "none", "0")  # the run ids of launchers that were given none


class Ranks(NamedTuple):
    """Which process of a training this is; `local` and `local_size` are its place on its machine.

    `restarts` says how often the launcher has started the processes again; `run` is its name for the
    training, "" if that is not unique.
    """

    rank: int = 0
    size: int = 1
    local: int = 0
    local_size: int = 1
    restarts: int = 0
    most_restarts: int = 0
    run: str = ""
    launched: bool = False

    @classmethod
    def of_environment(cls) -> Ranks:
        """What the environment says; without a launcher there is one process. Raises ConfigError."""
        if not all(os.environ.get(name) for name in _NEEDED):
            return cls()
        rank, size = _number("RANK"), _number("WORLD_SIZE")
        if rank >= size:
            raise ConfigError(f"RANK is {rank} in the environment, and WORLD_SIZE {size}: ranks count from 0")
        run = os.environ.get("TORCHELASTIC_RUN_ID", "")
        return cls(
            rank=rank,
            size=size,
            local=_number("LOCAL_RANK", rank),
            local_size=_number("LOCAL_WORLD_SIZE", 1),
            restarts=_number("TORCHELASTIC_RESTART_COUNT", 0),
            most_restarts=_number("TORCHELASTIC_MAX_RESTARTS", 0),
            run="" if run in _NO_RUN else run,
            launched=True,
        )

    @property
    def first(self) -> bool:
        """Whether it is rank 0, which writes the files and the progress."""
        return self.rank == 0


ALONE = Ranks()


def _number(name: str, default: int | None = None) -> int:
    text = os.environ.get(name, "")
    if not text and default is not None:
        return default
    if not text.isdecimal():
        raise ConfigError(
            f"{name} in the environment must be a whole number, got '{text}'",
            hint="it belongs to torchrun; unset it to train in one process",
        )
    return int(text)
