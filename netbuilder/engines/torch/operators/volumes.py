"""Layers of videos and volumes, of C3D's fork."""

from __future__ import annotations

from netbuilder.engines.torch.operator import Operator

__all__ = ["COVERED", "REFUSED"]

_FIVE_AXES = "it is C3D's, which could not be run to check it; Caffe's Convolution takes five axes, too"

COVERED: dict[str, type[Operator]] = {}
REFUSED: dict[str, str] = {
    "Convolution3D": _FIVE_AXES,
    "Deconvolution3D": _FIVE_AXES.replace("Convolution", "Deconvolution"),
    "Pooling3D": "it is C3D's, which could not be run to check it",
}
