"""Fillers: which ones Caffe knows, and what they require of a blob."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from netbuilder.errors import FieldError, ShapeError, did_you_mean, shape_text
from netbuilder.layers.base import elements

if TYPE_CHECKING:
    from netbuilder.schema import FillerParameter

__all__ = [
    "FILLERS",
    "check_filler",
    "check_filler_type",
    "makes_a_filter",
    "not_finite",
    "undrawable",
]

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


def undrawable(filler: FillerParameter, shape: Sequence[int]) -> str:
    """Why Caffe aborts or hangs when this filler fills a blob of that shape; "" if it does not.

    Source: filler.hpp, Fill of each filler; math_functions.cpp, caffe_rng_uniform, caffe_rng_gaussian and
    caffe_rng_bernoulli. A `uniform` with an infinite min passes their checks, but boost then never returns
    or crashes.
    """
    if filler.sparse != -1 and filler.type != "gaussian":
        return f"sparse goes with type gaussian, not with {filler.type}"
    if filler.type == "bilinear" and (len(shape) != 4 or shape[2] != shape[3]):
        return f"bilinear needs 4 axes and a square kernel, got {shape_text(shape)}"
    if not shape and (filler.type in BY_ROW or filler.sparse >= 0):
        return f"{filler.type} needs at least 1 axis, the parameter is a scalar"
    if filler.sparse < -1 or (shape and filler.sparse > shape[0]):
        return (
            f"sparse must be -1 (off), or 0 to the size of axis 0 of {shape_text(shape)}, got {filler.sparse}"
        )
    if filler.type == "gaussian" and not filler.std > 0:
        return f"std must be greater than 0, got {filler.std:g}"
    if filler.type == "uniform":
        if not filler.min <= filler.max:
            return f"min must not be greater than max, got {filler.min:g} and {filler.max:g}"
        if math.isinf(filler.min):
            return f"min must be finite, got {filler.min:g}"
    return ""


# The fields that each filler computes its values from.
_NUMBERS = {"constant": ("value",), "uniform": ("min", "max"), "gaussian": ("mean", "std")}


def not_finite(filler: FillerParameter) -> str:
    """The first field, with its value, for which a filler gives NaN or infinity; "" if none."""
    for name in _NUMBERS.get(filler.type, ()):
        value = getattr(filler, name)
        if not math.isfinite(value):
            return f"{name}: {value:g}"
    return ""


def check_filler(filler: FillerParameter | None, shape: Sequence[int], what: str) -> None:
    """Raise FieldError or ShapeError where Caffe's GetFiller or Fill would abort. Source: filler.hpp.

    `filler` is a FillerParameter, or None for a blob that Caffe fills itself.
    """
    if filler is not None:
        check_filler_type(filler, what)
        if reason := undrawable(filler, shape):
            raise ShapeError(f"{what}: {reason}")
    if elements(shape) == 0:
        raise ShapeError(f"{what}: the parameter blob {shape_text(shape)} is empty")
