"""The device of a plan."""

from __future__ import annotations

import torch

from netbuilder.errors import ConfigError

__all__ = ["device_of"]


def device_of(devices: tuple[int | str, ...]) -> torch.device:
    """The device of a plan. Raises ConfigError if PyTorch lacks it."""
    if not devices:
        return torch.device("cpu")
    (number,) = devices
    count = torch.cuda.device_count()
    if not isinstance(number, int) or number >= count:
        there = f"PyTorch finds {count} GPU{'s'[: count != 1]}" if count else "PyTorch finds no GPU"
        raise ConfigError(f"there is no GPU {number}: {there}", key="device", hint="use --device cpu")
    return torch.device("cuda", number)
