"""Detection layers of SSD and of R-CNN and its successors; all of them exist only in forks.

Source: weiliu89/caffe, branch ssd, unless the docstring names another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from netbuilder.errors import ShapeError, shape_text
from netbuilder.layers.base import Facts, Shape, elements, legacy_shape, rule
from netbuilder.layers.data import random_transform
from netbuilder.layers.traits import COMPUTES, Form, Source, Spoils, Tops, Unknown
from netbuilder.layers.unseen import UnknownShape, possible_images
from netbuilder.layers.views import all_pooled

if TYPE_CHECKING:
    from netbuilder.schema import LayerParameter
    from netbuilder.schema.messages import DetectionOutputParameter, MultiBoxLossParameter, PriorBoxParameter

SCALAR: Shape = ()
SOFTMAX, NO_MINING, VIDEO = 0, 0, 1
_FORK = COMPUTES._replace(no_gradient=Unknown("its backward pass has not been checked"), spoils=Spoils.VALUES)
_REGIONS = Unknown("its regions are known only at run time")


@rule(
    "PriorBox",
    "prior_box_param",
    bottoms=2,
    traits=_FORK._replace(sees=Unknown("its boxes depend only on sizes, not on pixels"), sizes_only=(1,)),
)
def prior_box(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Boxes at each place of a feature map, (n, c, h, w) and the image -> (1, 2, h*w*priors*4).

    priors = min_sizes * (1 + other aspect_ratios, twice with flip) + max_sizes. Channel 0 holds the corners,
    channel 1 their variances. Parameters: none. Operations: 2 per corner (sum, division), and 2 with clip.
    Raises ShapeError. Source: prior_box_layer.cpp, LayerSetUp and Reshape.
    """
    p = layer.prior_box_param
    _, _, h, w = legacy_shape(bottoms[0], "bottom 0")
    if not p.min_size or any(size <= 0 for size in p.min_size):
        raise ShapeError(f"min_size must be given, and positive, got [{_numbers(p.min_size)}]")
    priors = len(p.min_size) * len(aspect_ratios(p))
    if p.max_size:
        if len(p.max_size) != len(p.min_size):
            raise ShapeError(f"max_size is given {len(p.max_size)} times for {len(p.min_size)} min_size")
        for low, high in zip(p.min_size, p.max_size, strict=True):
            if high <= low:
                raise ShapeError(f"max_size {high:g} must be larger than min_size {low:g}")
        priors += len(p.max_size)
    if len(p.variance) not in (0, 1, 4) or any(v <= 0 for v in p.variance):
        given = _numbers(p.variance)
        raise ShapeError(f"variance must be given once or 4 times, and positive, got [{given}]")
    _check_either(p, "img_size", "img_h", "img_w")
    _check_either(p, "step", "step_h", "step_w")
    corners = h * w * priors * 4
    if corners == 0:
        raise ShapeError(f"bottom 0 {shape_text(bottoms[0])} has no place for a box")
    return Facts(((1, 2, corners),), ops=(4 if p.clip else 2) * corners)


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def aspect_ratios(p: PriorBoxParameter) -> list[float]:
    found = [1.0]
    for ratio in p.aspect_ratio:
        if all(abs(ratio - known) >= 1e-6 for known in found):
            if ratio == 0:
                raise ShapeError("aspect_ratio cannot be 0")
            found += [ratio, 1 / ratio] if p.flip else [ratio]
    return found


def _check_either(p: PriorBoxParameter, whole: str, h: str, w: str) -> None:
    """Allow one size for both axes, one for each, or none; any that is given must be positive."""
    pair = p.HasField(h) or p.HasField(w)
    if pair and p.HasField(whole):
        raise ShapeError(f"{whole} and {h}/{w} are both given: give one of them")
    for name in (h, w) if pair else (whole,) if p.HasField(whole) else ():
        if getattr(p, name) <= 0:
            raise ShapeError(f"{name} must be positive, got {getattr(p, name):g}")


def _detections_written(layer: LayerParameter) -> tuple[str, ...]:
    """Source: detection_output_layer.cpp, LayerSetUp and Forward_cpu."""
    p = layer.detection_output_param
    return p.save_output_param.output_directory, p.save_file


@rule(
    "DetectionOutput",
    "detection_output_param",
    bottoms=(3, 4),
    traits=_FORK._replace(sees=_REGIONS, writes=_detections_written),
)
def detection_output(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Detections from shifts (n, priors*4), scores (n, priors*classes) and priors (1, 2, priors*4).

    Each detection is a row of 7. Their number is known only at run time; until then the top is (1, 1, 1, 7).
    A fourth bottom, the image, is used to draw the result. Parameters: none. Operations: one comparison per
    score; those of decoding and suppression depend on the data and are not counted.
    Raises ShapeError. Source: detection_output_layer.cpp, LayerSetUp and Reshape.
    """
    p = layer.detection_output_param
    if not p.HasField("num_classes"):
        raise ShapeError("num_classes is missing")
    nms = p.nms_param
    if not nms.nms_threshold >= 0 or not 0 < nms.eta <= 1:
        raise ShapeError(
            "nms_threshold must be 0 or more, and eta above 0 and at most 1, "
            f"got {nms.nms_threshold:g} and {nms.eta:g}"
        )
    _check_predictions(p, bottoms)
    return Facts(((1, 1, 1, 7),), ops=elements(bottoms[1]))


@rule(
    "MultiBoxLoss",
    "multibox_loss_param",
    "loss_param",
    bottoms=4,
    auto_top=True,
    traits=_FORK._replace(sees=all_pooled, keeps_shape=True, applies=Unknown("it depends on conf_loss_type")),
)
def multibox_loss(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Loss of the locations and the classes of boxes -> ().

    Bottoms: shifts, scores and priors as in DetectionOutput, and the ground truth (1, 1, boxes, 8).
    Operations: 5 per score (softmax); those of matching and of the matched boxes depend on the data and are
    not counted. Raises ShapeError. Source: multibox_loss_layer.cpp, LayerSetUp and Reshape.
    """
    p = layer.multibox_loss_param
    if p.num_classes < 1:
        raise ShapeError("num_classes is missing or 0")
    mining = p.mining_type != NO_MINING
    if p.HasField("do_neg_mining") and p.do_neg_mining != mining:
        raise ShapeError("do_neg_mining and mining_type disagree: give mining_type")
    if mining and not p.share_location:
        raise ShapeError("without share_location mining_type must be NONE")
    if p.conf_loss_type == SOFTMAX and p.background_label_id >= p.num_classes:
        raise ShapeError(
            f"background_label_id {p.background_label_id} is not one of the {p.num_classes} classes"
        )
    legacy_shape(bottoms[3], "bottom 3")
    _check_predictions(p, bottoms)
    return Facts((SCALAR,), ops=5 * elements(bottoms[1]))


def _check_predictions(p: DetectionOutputParameter | MultiBoxLossParameter, bottoms: Sequence[Shape]) -> None:
    """Check that shifts and scores have one batch and the sizes that the priors require."""
    shifts, scores, priors = (legacy_shape(b, f"bottom {i}") for i, b in enumerate(bottoms[:3]))
    if shifts[0] != scores[0]:
        raise ShapeError(
            "bottoms 0 and 1 must have the same batch (axis 0), "
            f"got {shape_text(bottoms[0])} and {shape_text(bottoms[1])}"
        )
    count = priors[2] // 4
    wanted = count * 4 * (1 if p.share_location else p.num_classes)
    if shifts[1] != wanted:
        raise ShapeError(f"{count} priors need {wanted} shifts (bottom 0), got {shape_text(bottoms[0])}")
    if scores[1] != count * p.num_classes:
        raise ShapeError(
            f"{count} priors of {p.num_classes} classes need {count * p.num_classes} scores (bottom 1), "
            f"got {shape_text(bottoms[1])}"
        )


@rule(
    "DetectionEvaluate",
    "detection_evaluate_param",
    bottoms=2,
    traits=_FORK._replace(sees=_REGIONS, metric=True),
)
def detection_evaluate(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Detections (1, 1, d, 7) against the ground truth (1, 1, boxes, 8) -> (1, 1, classes + d, 5).

    The background does not count as a class. At run time, the row with label -1 that stands for an image
    without detections is left out. Operations depend on the data and are not counted.
    Raises ShapeError. Source: detection_evaluate_layer.cpp, LayerSetUp and Reshape.
    """
    p = layer.detection_evaluate_param
    if not p.HasField("num_classes"):
        raise ShapeError("num_classes is missing")
    if p.overlap_threshold <= 0:
        raise ShapeError(f"overlap_threshold must be positive, got {p.overlap_threshold:g}")
    for i, width in enumerate((7, 8)):
        n, c, _, w = legacy_shape(bottoms[i], f"bottom {i}")
        if (n, c, w) != (1, 1, width):
            raise ShapeError(f"bottom {i} must be (1,1,boxes,{width}), got {shape_text(bottoms[i])}")
    # background_label_id is -1 if there is no background; the schema's type is unsigned.
    background = 0 if p.background_label_id == 2**32 - 1 else 1
    return Facts(((1, 1, p.num_classes - background + bottoms[0][2], 5),))


@rule(
    "SmoothL1Loss",
    "smooth_l1_loss_param",
    "loss_param",
    bottoms=(2, 4),
    auto_top=True,
    traits=_FORK._replace(sees=all_pooled, keeps_shape=True, applies=""),
)
def smooth_l1_loss(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Squares of small and magnitudes of large differences, optionally weighted by more bottoms -> ().

    Operations: 5 per element (subtract, compare, square, halve, sum), and one for each weight.
    Raises ShapeError. Source: smooth_L1_loss_layer.cpp, Reshape; rbgirshick/caffe-fast-rcnn, likewise, has
    weights inside and outside.
    """
    shapes = [legacy_shape(b, f"bottom {i}") for i, b in enumerate(bottoms)]
    for i, shape in enumerate(shapes):
        if shape[1:] != shapes[0][1:] or (i == 1 and shape[0] != shapes[0][0]):
            raise ShapeError(
                f"bottoms 0 and {i} must have equal shapes, "
                f"got {shape_text(bottoms[0])} and {shape_text(bottoms[i])}"
            )
    return Facts((SCALAR,), ops=(3 + len(bottoms)) * elements(bottoms[0]))


@rule("ROIPooling", "roi_pooling_param", bottoms=2, traits=_FORK._replace(sees=_REGIONS))
def roi_pooling(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """A grid of maxima of each region, (n, c, h, w) and (regions, 5) -> (regions, c, pooled_h, pooled_w).

    In intel/caffe, pooled_size gives the size by axis, of which there may be three. Parameters: none.
    Operations: the comparisons depend on the regions and are not counted. Raises ShapeError.
    Source: rbgirshick/caffe-fast-rcnn and intel/caffe, roi_pooling_layer.cpp, LayerSetUp and Reshape.
    """
    p = layer.roi_pooling_param
    regions = legacy_shape(bottoms[1], "bottom 1")[0]
    if p.pooled_size:
        axes = len(bottoms[0]) - 2
        if axes not in (2, 3) or len(p.pooled_size) not in (1, axes) or 0 in p.pooled_size:
            raise ShapeError(
                "pooled_size must be positive, and given once or once for each of 2 or 3 spatial axes, got "
                f"{list(p.pooled_size)} for {shape_text(bottoms[0])}"
            )
        size = tuple(p.pooled_size) * (axes if len(p.pooled_size) == 1 else 1)
        return Facts(((regions, bottoms[0][1], *size),))
    if p.pooled_h < 1 or p.pooled_w < 1:
        raise ShapeError("pooled_h and pooled_w must both be given and positive")
    channels = legacy_shape(bottoms[0], "bottom 0")[1]
    return Facts(((regions, channels, p.pooled_h, p.pooled_w),))


@rule("PSROIPooling", "psroi_pooling_param", bottoms=2, traits=_FORK._replace(sees=_REGIONS))
def psroi_pooling(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """A grid of averages of each region; each cell has its own channels.

    (n, output_dim*g*g, h, w) and (regions, 5) -> (regions, output_dim, g, g), where g is group_size.
    Parameters: none. Operations: the additions depend on the regions and are not counted.
    Raises ShapeError. Source: daijifeng001/caffe-rfcn, psroi_pooling_layer.cpp, LayerSetUp and Reshape.
    """
    p = layer.psroi_pooling_param
    if not p.HasField("spatial_scale"):
        raise ShapeError("spatial_scale is missing")
    if p.output_dim < 1 or p.group_size < 1:
        raise ShapeError("output_dim and group_size must both be given and positive")
    channels = legacy_shape(bottoms[0], "bottom 0")[1]
    wanted = p.output_dim * p.group_size**2
    if channels != wanted:
        raise ShapeError(
            f"output_dim {p.output_dim} and group_size {p.group_size} need {wanted} channels, got {channels}"
        )
    regions = legacy_shape(bottoms[1], "bottom 1")[0]
    return Facts(((regions, p.output_dim, p.group_size, p.group_size),))


@rule("Proposal", "proposal_param", bottoms=3, tops=(1, 2), traits=_FORK._replace(sees=_REGIONS))
def proposal(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Regions from scores, shifts and the size of the image -> (n*post_nms_topn, 5)[, their scores].

    At run time there may be fewer. Parameters: none. Operations depend on the data and are not counted.
    Source: OpenVINO's Caffe and others derived from py-faster-rcnn, proposal_layer.cpp, Reshape.
    """
    p = layer.proposal_param
    if not bottoms[0]:
        raise ShapeError("bottom 0, the scores, is a scalar")
    regions = bottoms[0][0] * p.post_nms_topn
    return Facts(((regions, 5), (regions,))[: max(1, len(layer.top))])


@rule(
    "AnnotatedData",
    "annotated_data_param",
    "data_param",
    "transform_param",
    bottoms=0,
    tops=(1, 2),
    traits=COMPUTES._replace(
        draws=random_transform,
        source=Source(Form.DATABASE, "data_param", "data_param.source", Tops.BOXED, transforms=True),
    ),
)
def annotated_data(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Images of a database, and the boxes on them -> (batch_size, c, h, w)[, (1, 1, boxes, 8)].

    Both depend on the records; the boxes are those of the whole batch.
    Raises ShapeError and UnknownShape. Source: annotated_data_layer.cpp, DataLayerSetUp.
    """
    if layer.data_param.batch_size < 1:
        raise ShapeError("batch_size is missing or 0")
    what = f"the records of the database '{layer.data_param.source}'"
    raise UnknownShape(what, possible_images(layer, layer.data_param.batch_size))


@rule(
    "VideoData",
    "video_data_param",
    "data_param",
    "image_data_param",
    "transform_param",
    bottoms=0,
    tops=(1, 2),
    traits=COMPUTES._replace(
        draws=random_transform,
        source=Source(
            Form.FRAMES, "data_param", "video_data_param.video_file", Tops.LABELLED, transforms=True
        ),
    ),
)
def video_data(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Frames of a camera or a file -> (batch_size, c, h, w)[, (batch_size,)].

    C3D's layer of this name reads clips, which `source` lists: see `_clips`.
    Raises ShapeError and UnknownShape. Source: video_data_layer.cpp, DataLayerSetUp.
    """
    p = layer.video_data_param
    if p.source or layer.HasField("image_data_param"):
        return _clips(layer)
    if p.video_type == VIDEO and not p.HasField("video_file"):
        raise ShapeError("video_file is missing")
    frames = f"'{p.video_file}'" if p.video_type == VIDEO else f"camera {p.device_id}"
    raise UnknownShape(f"the frames of {frames}")


def _clips(layer: LayerParameter) -> Facts:
    """Clips -> (batch_size, c, new_length, h, w)[, labels].

    C3D 1.0 has the fields in image_data_param, and labels (batch_size, 1, 1, 1, 1); C3D 1.1 has them in
    video_data_param, and labels (batch_size,), or num_of_labels for each. Raises ShapeError and UnknownShape.
    Source: facebookarchive/C3D, video_data_layer.cpp, DataLayerSetUp.
    """
    old = layer.HasField("image_data_param")
    p = layer.image_data_param if old else layer.video_data_param
    if p.batch_size < 1 or p.new_length < 1:
        raise ShapeError("batch_size and new_length, the frames of a clip, must both be given and positive")
    crop = layer.transform_param.crop_size or (layer.image_data_param.crop_size if old else 0)
    h, w = (crop, crop) if crop else (p.new_height, p.new_width)
    if not h:
        raise UnknownShape(f"the images that '{p.source}' lists: give new_height and new_width, or crop_size")
    labels: Shape = (p.batch_size, 1, 1, 1, 1) if old else (p.batch_size,)
    if not old and layer.video_data_param.use_multiple_label:
        labels = (p.batch_size, layer.video_data_param.num_of_labels)
    return Facts(((p.batch_size, 3 if p.is_color else 1, p.new_length, h, w), labels)[: len(layer.top)])
