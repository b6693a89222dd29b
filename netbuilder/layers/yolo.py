"""Layers of YOLO; all of them exist only in forks, each docstring names its source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from netbuilder.errors import ShapeError, shape_text
from netbuilder.layers.base import Facts, Shape, elements, legacy_shape, rule
from netbuilder.layers.data import random_transform
from netbuilder.layers.traits import COMPUTES, Form, Source, Spoils, Tops, Unknown
from netbuilder.layers.unseen import UnknownShape
from netbuilder.layers.views import all_pooled

if TYPE_CHECKING:
    from netbuilder.schema import LayerParameter

SCALAR: Shape = ()
_DETECTIONS: Shape = (1, 1, 1, 7)
_BOXES = 4  # the coordinates of a box
_LOSS = COMPUTES._replace(
    sees=all_pooled,
    no_gradient=(1,),
    spoils=Spoils.VALUES,
    applies=Unknown("it applies Sigmoid or Softmax to parts of the scores"),
)
_DETECTS = COMPUTES._replace(
    sees=Unknown("its regions are known only at run time"),
    no_gradient=Unknown("it has no gradient, but its forks do not all abort"),
    spoils=Spoils.VALUES,
)


@rule("RegionLoss", "region_loss_param", "loss_param", bottoms=2, auto_top=True, traits=_LOSS)
def region_loss(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Loss of YOLO v2: predictions and the boxes of the truth -> ().

    Predictions are (n, num*(coords + 1 + num_class), h, w), or the same numbers in another order; the forks
    do not check them. Operations: those of matching depend on the data and are not counted.
    Source: intel/caffe and eric612/MobileNet-YOLO, region_loss_layer.cpp, Reshape.
    """
    return Facts((SCALAR,))


@rule("Yolov3", "yolov3_param", "loss_param", bottoms=2, auto_top=True, traits=_LOSS)
def yolov3(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Loss of one scale of YOLO v3, (n, num*(4 + 1 + num_class), h, w) and the boxes of the truth -> ().

    Operations: those of matching depend on the data and are not counted.
    Raises ShapeError. Source: eric612/MobileNet-YOLO, yolov3_layer.cpp, LayerSetUp; loss_layer.cpp, Reshape.
    """
    p = layer.yolov3_param
    n, c, h, w = legacy_shape(bottoms[0], "bottom 0")
    wanted = p.num * (_BOXES + 1 + p.num_class)
    if c * h * w != h * w * wanted:
        raise ShapeError(
            f"{p.num} boxes of {p.num_class} classes need {wanted} channels, got {shape_text(bottoms[0])}"
        )
    if bottoms[1][:1] != (n,):
        raise ShapeError(
            "bottoms 0 and 1 must have the same batch (axis 0), "
            f"got {shape_text(bottoms[0])} and {shape_text(bottoms[1])}"
        )
    return Facts((SCALAR,))


@rule("YoloDetectionOutput", "yolo_detection_output_param", bottoms=(1, None), traits=_DETECTS)
def yolo_detection_output(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Detections from predictions of YOLO v2, rows of 7; (1, 1, 1, 7) until their number is known.

    Operations depend on the data and are not counted. Raises ShapeError.
    Source: eric612/MobileNet-YOLO, yolo_detection_output_layer.cpp, LayerSetUp and Reshape.
    """
    if not layer.yolo_detection_output_param.HasField("num_classes"):
        raise ShapeError("num_classes is missing")
    return Facts((_DETECTIONS,))


@rule("Yolov3DetectionOutput", "yolov3_detection_output_param", bottoms=(1, None), traits=_DETECTS)
def yolov3_detection_output(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Detections from predictions at several scales, rows of 7; (1, 1, 1, 7) until their number is known.

    One bottom for each of mask_group_num scales. Operations depend on the data and are not counted.
    Raises ShapeError.
    Source: eric612/MobileNet-YOLO, yolov3_detection_output_layer.cpp, LayerSetUp and Reshape.
    """
    p = layer.yolov3_detection_output_param
    if not p.HasField("num_classes"):
        raise ShapeError("num_classes is missing")
    if len(bottoms) != p.mask_group_num:
        raise ShapeError(f"mask_group_num {p.mask_group_num} needs as many bottoms, got {len(bottoms)}")
    return Facts((_DETECTIONS,))


@rule("EvalDetection", "eval_detection_param", bottoms=(2, None), traits=_DETECTS._replace(metric=True))
def eval_detection(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Predictions against the truth -> (n, num_class + side*side*num_object*4).

    Predictions hold for each of side*side places num_object boxes of 5 numbers and num_class scores, which
    in YOLO v2 belong to each box. Operations depend on the data and are not counted. Raises ShapeError.
    Source: intel/caffe (v2) and xingwangsfu/caffe-yolo (v1), eval_detection_layer.cpp, Reshape.
    """
    p = layer.eval_detection_param
    places, numbers = p.side**2, elements(bottoms[0][1:])
    v1, v2 = p.num_object * 5 + p.num_class, p.num_object * (5 + p.num_class)
    if numbers not in (places * v1, places * v2):
        raise ShapeError(
            f"side {p.side}, {p.num_object} boxes and {p.num_class} classes need {places * v2} numbers for "
            f"each image ({places * v1} in YOLO v1), got {shape_text(bottoms[0])}"
        )
    return Facts(((bottoms[0][0], p.num_class + places * p.num_object * _BOXES),))


@rule(
    "BoxData",
    "data_param",
    "transform_param",
    bottoms=0,
    tops=(1, None),
    traits=COMPUTES._replace(
        draws=random_transform,
        source=Source(Form.DATABASE, "data_param", "data_param.source", Tops.BOXED, transforms=True),
    ),
)
def box_data(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Images of a database -> (batch_size, c, h, w)[, their boxes (batch_size, 150) for each `side`].

    Raises ShapeError and UnknownShape. Source: intel/caffe, box_data_layer.cpp, DataLayerSetUp.
    """
    p = layer.data_param
    if p.batch_size < 1:
        raise ShapeError("batch_size is missing or 0")
    labels = len(layer.top) - 1
    if labels and labels != max(1, len(p.side)):
        raise ShapeError(f"{labels} tops for boxes need side {labels} times, got {len(p.side)}")
    raise UnknownShape(f"the records of the database '{p.source}'")
