"""Layers of a training and of other programs, none of which has a form: losses, metrics, volumes, YOLO."""

from __future__ import annotations

from netbuilder.export.onnx.graph import Form

__all__ = ["COVERED", "REFUSED"]

_APPLIES = "it is a loss; `netbuilder deploy` puts its probabilities in its place"
_LOSS = "it is a loss; `netbuilder deploy` leaves it out"
_METRIC = "it is a metric, which needs labels; `netbuilder deploy` leaves it out"
_DATA = "it reads data; `netbuilder deploy` puts an Input in its place"
_YOLO = "its arithmetic differs between forks, none of which could be run to check it"
_VOLUME = "it is C3D's, which could not be run to check it"
COVERED: dict[str, Form] = {}
REFUSED: dict[str, str] = {
    "SoftmaxWithLoss": _APPLIES,
    "SigmoidCrossEntropyLoss": _APPLIES,
    "EuclideanLoss": _LOSS,
    "InfogainLoss": _LOSS,
    "HingeLoss": _LOSS,
    "MultinomialLogisticLoss": _LOSS,
    "ContrastiveLoss": _LOSS,
    "SmoothL1LossOHEM": _LOSS,
    "SoftmaxWithLossOHEM": _LOSS,
    "BoxAnnotatorOHEM": "it chooses regions to learn from; `netbuilder deploy` leaves it out",
    "Accuracy": _METRIC,
    "SegAccuracy": _METRIC,
    "MarginInnerProduct": "its margin depends on the number of passes, by a rule that could not be checked",
    "CenterLoss": _LOSS,
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
