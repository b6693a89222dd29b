"""Layers for learning faces."""

from __future__ import annotations

from netbuilder.engines.torch.operator import Operator

__all__ = ["COVERED", "REFUSED"]

COVERED: dict[str, type[Operator]] = {}
REFUSED: dict[str, str] = {
    "MarginInnerProduct": "its margin depends on the number of passes, by a rule that could not be checked",
    "CenterLoss": "its fork moves the centers by a gradient of its own, which could not be checked",
}
