"""Data and metrics of segmentation nets; all of them exist only in forks, each docstring names its source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from netbuilder.errors import ShapeError, shape_text
from netbuilder.layers.base import Facts, Shape, elements, legacy_shape, rule
from netbuilder.layers.data import random_transform
from netbuilder.layers.traits import COMPUTES, Form, Source, Spoils
from netbuilder.layers.unseen import UnknownShape, resized_by_fork
from netbuilder.layers.views import all_pooled

if TYPE_CHECKING:
    from netbuilder.schema import LayerParameter


def _dense_draws(layer: LayerParameter) -> bool:
    p = layer.dense_image_data_param
    return bool(p.mirror or p.crop_height or random_transform(layer))


@rule(
    "DenseImageData",
    "dense_image_data_param",
    "transform_param",
    bottoms=0,
    tops=2,
    traits=COMPUTES._replace(
        draws=_dense_draws,
        source=Source(
            Form.IMAGE_LIST, "dense_image_data_param", "dense_image_data_param.source", transforms=True
        ),
    ),
)
def dense_image_data(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Images and a label for each pixel, from files -> (batch_size, c, h, w), (batch_size, 1, h, w).

    h and w are crop_size, else crop_height and crop_width, else new_height and new_width; without any, those
    of the first image. Raises ShapeError and UnknownShape.
    Source: alexgkendall/caffe-segnet, dense_image_data_layer.cpp, DataLayerSetUp.
    """
    p = layer.dense_image_data_param
    if p.batch_size < 1:
        raise ShapeError("batch_size is missing or 0")
    for stem in ("new", "crop"):
        if bool(getattr(p, f"{stem}_height")) != bool(getattr(p, f"{stem}_width")):
            raise ShapeError(f"{stem}_height and {stem}_width come in pairs: give both or neither")
    crop = layer.transform_param.crop_size
    h, w = (crop, crop) if crop else (p.crop_height or p.new_height, p.crop_width or p.new_width)
    if not h:
        raise UnknownShape("the size of the images: give new_height and new_width, or crop_size")
    return Facts(((p.batch_size, 3 if p.is_color else 1, h, w), (p.batch_size, 1, h, w)))


@rule(
    "ImageSegData",
    "image_data_param",
    "transform_param",
    bottoms=0,
    tops=3,
    traits=COMPUTES._replace(
        draws=random_transform,
        source=Source(Form.IMAGE_LIST, "image_data_param", "image_data_param.source", transforms=True),
    ),
)
def image_seg_data(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Images, a label for each pixel, and sizes -> (n, c, h, w), (n, 1, h, w), (n, 1, 1, 2); n is batch_size.

    h and w are crop_size, else new_height and new_width; without any, those of the first image.
    Raises ShapeError and UnknownShape. Source: DeepLab and PSPNet, image_seg_data_layer.cpp, DataLayerSetUp.
    """
    p, t = layer.image_data_param, layer.transform_param
    if bool(p.new_height) != bool(p.new_width):
        raise ShapeError("new_height and new_width come in pairs: give both or neither")
    if t.mean_file:
        raise ShapeError("cannot subtract a mean file: give mean_value")
    if field := resized_by_fork(t):
        raise UnknownShape(f"the size that {field}, a field of forks, gives the images")
    h, w = (t.crop_size, t.crop_size) if t.crop_size else (p.new_height, p.new_width)
    if not h:
        raise UnknownShape("the size of the images: give new_height and new_width, or crop_size")
    n = p.batch_size
    return Facts(((n, 3 if p.is_color else 1, h, w), (n, 1, h, w), (n, 1, 1, 2)))


@rule(
    "SegAccuracy",
    "seg_accuracy_param",
    bottoms=2,
    traits=COMPUTES._replace(sees=all_pooled, no_gradient=(0, 1), spoils=Spoils.VALUES, metric=True),
)
def seg_accuracy(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Accuracy, recall and overlap of scores (n, c, h, w) and labels (n, 1, h, w) -> (1, 1, 1, 3).

    Operations: one comparison per score. Raises ShapeError.
    Source: DeepLab and PSPNet, seg_accuracy_layer.cpp, Reshape.
    """
    n, _, h, w = legacy_shape(bottoms[0], "bottom 0, the scores,")
    if legacy_shape(bottoms[1], "bottom 1, the labels,") != (n, 1, h, w):
        raise ShapeError(
            f"scores {shape_text(bottoms[0])} need labels {shape_text((n, 1, h, w))}, "
            f"got {shape_text(bottoms[1])}"
        )
    return Facts(((1, 1, 1, 3),), ops=elements(bottoms[0]))
