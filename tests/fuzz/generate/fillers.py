"""Random fillers: all types with fields that fit, and some that no Caffe can draw from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netbuilder.layers.fillers import FILLERS

if TYPE_CHECKING:
    from tests.fuzz.generate.maker import Maker

UNKNOWN = ("msrra", "Gaussian", "normal", "")
INF, NAN = float("inf"), float("nan")


def fill(m: Maker, message: Any) -> None:
    """Set a filler."""
    message.type = m.pick(*UNKNOWN) if m.chance(0.01) else m.pick(*FILLERS, "constant", "xavier", "gaussian")
    if message.type == "bilinear" and m.chance(0.6):
        message.type = "uniform"
    broken = m.chance(0.1)
    if message.type == "constant" or m.chance(0.03):
        m.fields(message, 0.5, value=(NAN, INF, -INF) if broken else (0, 1, -0.5))
    if message.type == "uniform" or m.chance(0.03):
        _range(m, message, broken)
    if message.type == "gaussian" or m.chance(0.03):
        m.fields(message, 0.3, mean=(NAN, INF) if broken and m.chance(0.3) else (0, 1, -2))
        m.fields(message, 0.6, std=(0, -1, NAN, -0.01, 1e-45, INF) if broken else (0.01, 1, 3))
    if m.chance(0.2 if message.type == "gaussian" else 0.02):
        message.sparse = m.pick(0, 1, 1, 2, 5, -1, -2)
    if message.type in ("xavier", "msra") or m.chance(0.03):
        m.fields(message, 0.4, variance_norm=(0, 1, 2))


def _range(m: Maker, message: Any, broken: bool) -> None:
    if broken:
        low, high = m.pick((1, 0), (2, None), (None, -1), (NAN, 1), (0, NAN), (0, INF), (INF, INF), (1, 0.5))
    else:
        low, high = m.pick((0, 1), (-1, 1), (-0.05, 0.05), (0, 0), (2, 3), (None, 2), (-1, None), (1, None))
    if low is not None:
        message.min = low
    if high is not None:
        message.max = high
