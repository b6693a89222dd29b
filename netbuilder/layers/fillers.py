"""Fillers: which of them Caffe knows, and what they demand of a blob."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from netbuilder.errors import FieldError, ShapeError, did_you_mean, shape_text
from netbuilder.layers.base import elements

__all__ = ["FILLERS", "check_filler"]

FILLERS = ("constant", "uniform", "gaussian", "xavier", "msra", "positive_unitball", "bilinear")


def check_filler(filler: Any, shape: Sequence[int], what: str) -> None:
    """Raise FieldError or ShapeError where Caffe's GetFiller or Fill would abort. Source: filler.hpp.

    `filler` is a FillerParameter, or None for a blob that Caffe fills by itself.
    """
    if filler is not None:
        if filler.type not in FILLERS:
            raise FieldError(
                f"{what}: unknown filler type '{filler.type}'", hint=did_you_mean(filler.type, FILLERS)
            )
        if filler.sparse != -1 and filler.type != "gaussian":
            raise ShapeError(f"{what}: sparse goes with type gaussian, not with {filler.type}")
        if filler.type == "bilinear" and (len(shape) != 4 or shape[2] != shape[3]):
            raise ShapeError(f"{what}: bilinear needs 4 axes and a square kernel, got {shape_text(shape)}")
    if elements(shape) == 0:
        raise ShapeError(f"{what}: the parameter blob {shape_text(shape)} is empty")
