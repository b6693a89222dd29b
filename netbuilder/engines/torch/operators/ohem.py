"""Training on the hardest regions, the layers of R-FCN."""

from __future__ import annotations

from netbuilder.engines.torch.operator import Operator

__all__ = ["COVERED", "REFUSED"]

_UNCHECKED = "its normalization exists only in R-FCN's fork, which could not be run to check it"

COVERED: dict[str, type[Operator]] = {}
REFUSED: dict[str, str] = {
    "SmoothL1LossOHEM": _UNCHECKED,
    "SoftmaxWithLossOHEM": _UNCHECKED,
    "BoxAnnotatorOHEM": "it sorts regions as R-FCN's fork does, which could not be run to check it",
}
