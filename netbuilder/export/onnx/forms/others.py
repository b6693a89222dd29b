"""Layers of other programs, none of which has a form: segmentation, faces, volumes, YOLO."""

from __future__ import annotations

from netbuilder.export.onnx.graph import Form

__all__ = ["COVERED", "REFUSED"]

_DATA = "it reads data; `netbuilder deploy` puts an Input in its place"
_YOLO = "its arithmetic differs between forks, none of which could be run to check it"
_VOLUME = "it is C3D's, which could not be run to check it"
COVERED: dict[str, Form] = {}
REFUSED: dict[str, str] = {
    "SegAccuracy": "its counts are those of DeepLab's fork, which could not be run to check them",
    "MarginInnerProduct": "its margin depends on the number of passes, by a rule that could not be checked",
    "DenseImageData": _DATA,
    "ImageSegData": _DATA,
    "Convolution3D": f"{_VOLUME}; Caffe's Convolution takes five axes, too",
    "Deconvolution3D": f"{_VOLUME}; Caffe's Deconvolution takes five axes, too",
    "Pooling3D": _VOLUME,
    "BoxData": _DATA,
    "RegionLoss": _YOLO,
    "Yolov3": _YOLO,
    "YoloDetectionOutput": _YOLO,
    "Yolov3DetectionOutput": _YOLO,
    "EvalDetection": _YOLO,
}
