"""The device of a plan."""

from __future__ import annotations

import torch

from netbuilder.errors import ConfigError
from netbuilder.training.ranks import Ranks

__all__ = ["device_of"]


def device_of(devices: tuple[int | str, ...], ranks: Ranks | None = None) -> torch.device:
    """The device of a plan; each of several ranks has a GPU of its own. ConfigError if PyTorch lacks it."""
    if not devices:
        return torch.device("cpu")
    if ranks is not None and ranks.local_size > 1:
        devices = (_own(devices, ranks),)
    number = 0 if devices == ("all",) else devices[0]
    count = torch.cuda.device_count()
    if not isinstance(number, int) or number >= count:
        there = f"PyTorch finds {count} GPU{'s'[: count != 1]}" if count else "PyTorch finds no GPU"
        raise ConfigError(f"there is no GPU {number}: {there}", key="device", hint="use --device cpu")
    return torch.device("cuda", number)


def _own(devices: tuple[int | str, ...], ranks: Ranks) -> int | str:
    """The GPU of a rank: --device cuda and --gpu all give each the one of its number on the machine."""
    if devices in (("all",), (0,)):
        return ranks.local
    if len(devices) != ranks.local_size:
        raise ConfigError(
            f"{ranks.local_size} processes train on this machine, and --gpu names {len(devices)} GPUs",
            key="gpu",
            hint="name one for each, or use --device cuda",
        )
    return devices[ranks.local]
