"""Fillers: which ones Caffe knows, and what they require of a blob."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from netbuilder.errors import FieldError, ShapeError, did_you_mean, shape_text
from netbuilder.layers.base import elements

if TYPE_CHECKING:
    from netbuilder.schema import FillerParameter

__all__ = ["FILLERS", "check_filler", "check_filler_type", "makes_a_filter"]

FILLERS = ("constant", "uniform", "gaussian", "xavier", "msra", "positive_unitball", "bilinear")
BY_ROW = ("xavier", "msra", "positive_unitball")  # these divide by the size of axis 0


def makes_a_filter(filler: FillerParameter | None) -> bool:
    """Whether frozen weights with this filler are a fixed filter: bilinear, or a constant other than 0.

    All other frozen weights come from a trained model, as those of the first layers in fine-tuning.
    """
    return filler is not None and (
        filler.type == "bilinear" or (filler.type == "constant" and filler.value != 0)
    )


def check_filler_type(filler: FillerParameter, what: str) -> None:
    """Raise FieldError where Caffe's GetFiller would abort. Source: filler.hpp."""
    if filler.type not in FILLERS:
        raise FieldError(
            f"{what}: unknown filler type '{filler.type}'", hint=did_you_mean(filler.type, FILLERS)
        )


def check_filler(filler: FillerParameter | None, shape: Sequence[int], what: str) -> None:
    """Raise FieldError or ShapeError where Caffe's GetFiller or Fill would abort. Source: filler.hpp.

    `filler` is a FillerParameter, or None for a blob that Caffe fills itself.
    """
    if filler is not None:
        check_filler_type(filler, what)
        if filler.sparse != -1 and filler.type != "gaussian":
            raise ShapeError(f"{what}: sparse goes with type gaussian, not with {filler.type}")
        if filler.type == "bilinear" and (len(shape) != 4 or shape[2] != shape[3]):
            raise ShapeError(f"{what}: bilinear needs 4 axes and a square kernel, got {shape_text(shape)}")
        if not shape and (filler.type in BY_ROW or filler.sparse >= 0):
            raise ShapeError(f"{what}: {filler.type} needs at least 1 axis, the parameter is a scalar")
        if filler.sparse < -1 or (shape and filler.sparse > shape[0]):
            raise ShapeError(
                f"{what}: sparse must be -1 (off), or 0 to the size of axis 0 of {shape_text(shape)}, "
                f"got {filler.sparse}"
            )
    if elements(shape) == 0:
        raise ShapeError(f"{what}: the parameter blob {shape_text(shape)} is empty")
