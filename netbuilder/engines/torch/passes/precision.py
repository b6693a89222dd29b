"""bfloat16 and float16 by PyTorch's autocast; `precise` operators compute in float32 all the same.

PyTorch lowers convolutions and matrix products; the layers between take what they get. BatchNorm's statistics
are always float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

__all__ = ["lowered", "precision", "widened"]

_LOW = (torch.bfloat16, torch.float16)


def precision(device: torch.device, dtype: str) -> AbstractContextManager[Any]:
    """The context in which a pass computes in this precision; the parameters stay float32."""
    if dtype == "float32":
        return nullcontext()
    return torch.autocast(device.type, getattr(torch, dtype))


def lowered(device: torch.device) -> bool:
    """Whether autocast is on, from here or from the caller."""
    return torch.is_autocast_enabled(device.type)


def widened(bottoms: Sequence[Tensor | None]) -> list[Tensor | None]:
    """The bottoms, those of a lower precision as float32."""
    return [b.float() if b is not None and b.dtype in _LOW else b for b in bottoms]
