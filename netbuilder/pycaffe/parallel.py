"""What pycaffe has for several GPUs. There is one process and one solver here; anything else is refused."""

from __future__ import annotations

from typing import Any

from netbuilder.errors import EngineError

__all__ = [
    "NCCL", "has_nccl", "set_multiprocess", "set_solver_count", "set_solver_rank", "solver_count",
    "solver_rank",
]  # fmt: skip

_HINT = "train on one device"


def has_nccl() -> bool:
    """Whether several GPUs can train together: no."""
    return False


class NCCL:
    """Several GPUs, which netbuilder.pycaffe lacks."""

    def __init__(self, *args: Any) -> None:
        raise EngineError("netbuilder.pycaffe has no NCCL", hint=_HINT)

    @staticmethod
    def new_uid() -> bytes:
        """Raises EngineError."""
        raise EngineError("netbuilder.pycaffe has no NCCL", hint=_HINT)


def solver_count() -> int:
    """How many solvers train together."""
    return 1


def solver_rank() -> int:
    """Which of them this is."""
    return 0


def set_solver_count(count: int) -> None:
    """Refuse any count but 1. Raises EngineError."""
    if count != 1:
        raise EngineError(f"netbuilder.pycaffe has one solver, not {count}", hint=_HINT)


def set_solver_rank(rank: int) -> None:
    """Refuse any rank but 0. Raises EngineError."""
    if rank:
        raise EngineError(f"netbuilder.pycaffe has one solver, and none of rank {rank}", hint=_HINT)


def set_multiprocess(multiprocess: bool) -> None:
    """Refuse several processes. Raises EngineError."""
    if multiprocess:
        raise EngineError("netbuilder.pycaffe trains in one process", hint=_HINT)
