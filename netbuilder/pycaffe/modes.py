"""Where nets compute: `set_mode_cpu`, `set_mode_gpu`, `set_device`; and the seed of what they draw."""

from __future__ import annotations

import torch

from netbuilder.errors import EngineError

__all__ = ["device", "draw_seed", "set_device", "set_mode_cpu", "set_mode_gpu", "set_random_seed"]

_GPU: list[bool] = [False]
_NUMBER: list[int] = [0]


def set_mode_cpu() -> None:
    """Compute on the CPU from now on; this is the default."""
    _GPU[0] = False


def set_mode_gpu() -> None:
    """Compute on the GPU of `set_device` from now on. Raises EngineError if PyTorch finds none."""
    _check(_NUMBER[0])
    _GPU[0] = True


def set_device(number: int) -> None:
    """Choose the GPU. Raises EngineError if PyTorch does not find it."""
    _check(number)
    _NUMBER[0] = number


def device() -> torch.device:
    """The device that nets compute on now."""
    return torch.device("cuda", _NUMBER[0]) if _GPU[0] else torch.device("cpu")


def set_random_seed(seed: int) -> None:
    """Let fillers, Dropout, random crops and shuffles repeat. The numbers are PyTorch's, not Caffe's."""
    torch.manual_seed(seed)


def draw_seed() -> int:
    """A seed that follows from `set_random_seed`."""
    return int(torch.randint(1 << 62, ()))


def _check(number: int) -> None:
    count = torch.cuda.device_count()
    if not 0 <= number < count:
        found = f"{count} GPU{'s'[: count != 1]}" if count else "no GPU"
        raise EngineError(f"there is no GPU {number}: PyTorch finds {found}", hint="use set_mode_cpu()")
