"""Data and metrics of segmentation nets."""

from __future__ import annotations

from netbuilder.engines.torch.operator import Operator
from netbuilder.engines.torch.operators.data import Input

__all__ = ["COVERED", "REFUSED"]


class PixelLabels(Input):
    """Images and the labels of their pixels that the caller gives."""

    why = "the PyTorch engine does not read images with a label for each pixel"


COVERED: dict[str, type[Operator]] = {"DenseImageData": PixelLabels, "ImageSegData": PixelLabels}
REFUSED: dict[str, str] = {
    "SegAccuracy": "its counts are those of DeepLab's fork, which could not be run to check them"
}
