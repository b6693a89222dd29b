"""Layers of YOLO."""

from __future__ import annotations

from netbuilder.engines.torch.operator import Operator
from netbuilder.engines.torch.operators.data import Input

__all__ = ["COVERED", "REFUSED"]


class Boxes(Input):
    """Images and boxes that the caller gives."""

    why = "the PyTorch engine does not read databases with boxes"


_FORKS = "its arithmetic differs between forks, none of which could be run to check it"

COVERED: dict[str, type[Operator]] = {"BoxData": Boxes}
REFUSED: dict[str, str] = dict.fromkeys(
    ("RegionLoss", "Yolov3", "YoloDetectionOutput", "Yolov3DetectionOutput", "EvalDetection"), _FORKS
)
