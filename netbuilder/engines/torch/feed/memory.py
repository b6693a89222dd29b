"""How much of a data set is held in memory."""

from __future__ import annotations

import os
from pathlib import Path

import torch

__all__ = ["limit"]

SHARE = 4  # a set may take one part in so many of the memory that is free


def limit(device: torch.device, processes: int = 1) -> int:
    """The most bytes that a set may take to be held on a device: a quarter of the memory that is free now.

    So many processes share the memory of the CPU; each has a GPU of its own.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free) // SHARE
    return min(_free_memory(), _free_of_group()) // SHARE // processes


def _free_memory() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    try:  # where there is no such file: half of all memory
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (OSError, ValueError):
        return 1 << 30


def _free_of_group() -> int:
    """What the limit of a container leaves (cgroup 2): the cache of files is given back when it is needed."""
    group = Path("/sys/fs/cgroup")
    try:
        most = int((group / "memory.max").read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return max(0, most - int(stat["anon"]))
    except (OSError, ValueError, KeyError):  # no limit, which is the word "max", or no such group
        return 1 << 62
