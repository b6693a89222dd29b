"""Detection layers of SSD and of R-CNN and its successors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from netbuilder.export.onnx.graph import At, Form
from netbuilder.layers.detection import aspect_ratios

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

__all__ = ["COVERED", "REFUSED"]

_CORNER, _CENTER_SIZE = 1, 2
_LOWEST = -3.4028235e38


# ---- boxes -----------------------------------------------------------------------------------------------


def prior_box(at: At) -> str:
    """A constant: the boxes depend on nothing but sizes."""
    features, image = at.bottoms
    at.fixed(features, [2, 3], "the image size, from which its boxes follow,")
    at.fixed(image, [2, 3], "the image size, from which its boxes follow,")
    return at.weight(0, _priors(at.p, features.shape[2:], image.shape[2:]), "boxes")


def _priors(p: Any, places: tuple[int, ...], image: tuple[int, ...]) -> Array:
    """Boxes at each place of a feature map, and their variances, (1, 2, boxes*4).

    Source: weiliu89/caffe, prior_box_layer.cpp, Forward_cpu.
    """
    import numpy as np

    rows, columns = places
    height, width = p.img_h or p.img_size, p.img_w or p.img_size
    if not (height and width):
        height, width = image
    step_h, step_w = p.step_h or p.step, p.step_w or p.step
    if not (step_h and step_w):
        step_h, step_w = height / rows, width / columns
    x = (np.arange(columns, dtype=np.float32) + np.float32(p.offset)) * np.float32(step_w)
    y = (np.arange(rows, dtype=np.float32) + np.float32(p.offset)) * np.float32(step_h)
    centers = np.stack(np.meshgrid(x, y), -1)[:, :, None]
    half = np.array(_prior_sizes(p), np.float32) / 2
    scale = np.array([width, height], np.float32)
    boxes = np.concatenate([(centers - half) / scale, (centers + half) / scale], -1)
    boxes = boxes.clip(0, 1) if p.clip else boxes
    variances = np.broadcast_to(np.array(list(p.variance) or [0.1], np.float32), 4)
    return np.stack([boxes.reshape(-1), np.tile(variances, boxes.size // 4)])[None]


def _prior_sizes(p: Any) -> list[tuple[float, float]]:
    """Width and height of the priors at a place."""
    sizes: list[tuple[float, float]] = []
    for i, size in enumerate(p.min_size):
        sizes.append((size, size))
        if p.max_size:
            sizes.append((math.sqrt(size * p.max_size[i]),) * 2)
        roots = (math.sqrt(ratio) for ratio in aspect_ratios(p) if abs(ratio - 1) >= 1e-6)
        sizes += [(size * root, size / root) for root in roots]
    return sizes


def detection_output(at: At) -> str:
    """Rows of image, label, score and box after suppression by class; -1 where nothing is found.

    Each class of each image is an image of NonMaxSuppression, so that each has its own best `top_k` boxes.
    What it keeps is marked in a table of images, classes and ranks, whose order is that of Caffe's rows.
    Source: weiliu89/caffe, detection_output_layer.cpp, Forward_cpu; bbox_util.cpp, ApplyNMSFast.
    """
    p, nms = at.p, at.p.nms_param
    if nms.eta < 1:
        raise at.refuse("with nms_param.eta below 1 the threshold changes from box to box", "leave eta at 1")
    _, _, priors, *_ = at.bottoms
    (count,) = at.fixed(priors, [2], "the number of boxes")
    count //= 4
    labels = [label for label in range(p.num_classes) if label != p.background_label_id]
    best = min(nms.top_k, count) if nms.HasField("top_k") and nms.top_k >= 0 else count
    classes = len(labels)
    boxes = _decoded(at, count, labels)  # (images, classes or 1, boxes, 4)
    scores = at.op("Transpose", at.reshaped(at.bottoms[1], [-1, count, p.num_classes]), perm=[0, 2, 1])
    scores = at.op("Gather", scores, at.ints(labels), axis=1)
    scores, order = at.ops("TopK", 2, scores, at.ints([best]), axis=2)  # (images, classes, best)
    spread = at.op("Unsqueeze", order, at.ints([3]))
    shape = at.op("Concat", at.op("Shape", order), at.ints([4]), axis=0)
    if p.share_location:
        boxes = at.op("Expand", boxes, at.ints([1, classes, 1, 1]))
    boxes = at.op("GatherElements", boxes, at.op("Expand", spread, shape), axis=2)
    kept = _suppressed(at, boxes, scores, classes, best)
    if 0 <= p.keep_top_k < classes * best:
        kept = _best_of_image(at, kept, scores, p.keep_top_k, classes, best)
    at.loose = at.loose | {2}
    return _rows(at, kept, boxes, scores, labels)


def _decoded(at: At, count: int, labels: list[int]) -> str:
    """Boxes (images, classes or 1, boxes, 4). Source: bbox_util.cpp, DecodeBBox."""
    p = at.p
    priors = at.reshaped(at.bottoms[2], [2, 1, count, 4])
    prior, variance = at.ops("Split", 2, priors, at.ints([1, 1]), axis=0)
    shifts = at.reshaped(at.bottoms[0], [-1, count, 1 if p.share_location else p.num_classes, 4])
    shifts = at.op("Transpose", shifts, perm=[0, 2, 1, 3])
    if not p.share_location:
        shifts = at.op("Gather", shifts, at.ints(labels), axis=1)
    if not p.variance_encoded_in_target:
        shifts = at.op("Mul", shifts, variance)
    if p.code_type == _CORNER:
        return at.op("Add", prior, shifts)
    low, high = at.ops("Split", 2, prior, at.ints([2, 2]), axis=3)
    size = at.op("Sub", high, low)
    if p.code_type != _CENTER_SIZE:
        return at.op("Add", prior, at.op("Mul", shifts, at.op("Concat", size, size, axis=3)))
    move, grow = at.ops("Split", 2, shifts, at.ints([2, 2]), axis=3)
    middle = at.op("Div", at.op("Add", low, high), at.number(2))
    center = at.op("Add", at.op("Mul", move, size), middle)
    half = at.op("Div", at.op("Mul", at.op("Exp", grow), size), at.number(2))
    return at.op("Concat", at.op("Sub", center, half), at.op("Add", center, half), axis=3)


def _suppressed(at: At, boxes: str, scores: str, classes: int, best: int) -> str:
    """A table (images, classes, best) with 1 where a box is kept."""
    p = at.p
    each = at.reshaped(boxes, [-1, best, 4])
    if p.code_type != _CENTER_SIZE:  # ONNX turns a reversed box over, to Caffe it is empty
        low, high = at.ops("Split", 2, each, at.ints([2, 2]), axis=2)
        each = at.op("Concat", low, at.op("Max", low, high), axis=2)
    flat = at.reshaped(scores, [-1, 1, best])
    limits = [at.ints([best]), at.numbers([p.nms_param.nms_threshold])]
    if p.HasField("confidence_threshold"):
        limits.append(at.numbers([p.confidence_threshold]))
    chosen = at.op("NonMaxSuppression", each, flat, *limits)
    places = at.op("Gather", chosen, at.ints([0, 2]), axis=1)
    ones = at.op("Expand", at.number(1), at.op("Gather", at.op("Shape", places), at.ints([0]), axis=0))
    table = at.op("Mul", at.reshaped(scores, [-1, best]), at.number(0))
    return at.reshaped(at.op("ScatterND", table, places, ones), [-1, classes, best])


def _best_of_image(at: At, kept: str, scores: str, most: int, classes: int, best: int) -> str:
    """The table with the `most` largest scores of each image; of equal ones the first stay."""
    marked = at.op("Greater", kept, at.number(0))
    counted = at.op("Where", marked, scores, at.number(_LOWEST))
    flat = at.reshaped(counted, [-1, classes * best])
    _, places = at.ops("TopK", 2, flat, at.ints([most]), axis=1)
    ones = at.op("Expand", at.number(1), at.op("Shape", places))
    table = at.op("Mul", at.reshaped(kept, [-1, classes * best]), at.number(0))
    chosen = at.op("ScatterElements", table, places, ones, axis=1)
    return at.op("Mul", kept, at.reshaped(chosen, [-1, classes, best]))


def _rows(at: At, kept: str, boxes: str, scores: str, labels: list[int]) -> str:
    """The rows of the boxes that are kept; one row of -1 for each image if there is none."""
    places = at.op("Transpose", at.op("NonZero", kept), perm=[1, 0])
    image, label, _ = at.ops("Split", 3, places, at.ints([1, 1, 1]), axis=1)
    columns = [
        at.op("Cast", image, to=at.kind),
        at.op("Gather", at.numbers(labels), label, axis=0),
        at.op("Unsqueeze", at.op("GatherND", scores, places), at.ints([1])),
        at.op("GatherND", boxes, places),
    ]
    rows = at.op("Concat", *columns, axis=1)
    images = at.op("Gather", at.op("Shape", scores), at.ints(0), axis=0)
    numbers = at.op("Cast", at.op("Range", at.ints(0), images, at.ints(1)), to=at.kind)
    nothing = at.op("Concat", at.op("Unsqueeze", numbers, at.ints([1])), *_minus_ones(at, images), axis=1)
    found = at.op("Gather", at.op("Shape", rows), at.ints([0]), axis=0)
    one = at.op("Unsqueeze", images, at.ints([0]))
    none = at.op("Equal", found, at.ints([0]))
    choice = [at.op("Expand", at.op("Not", none), found), at.op("Expand", none, one)]
    both = at.op("Concat", rows, nothing, axis=0)
    chosen = at.op("Compress", both, at.op("Concat", *choice, axis=0), axis=0)
    return at.reshaped(chosen, [1, 1, -1, 7])


def _minus_ones(at: At, images: str) -> list[str]:
    shape = at.op("Concat", at.op("Unsqueeze", images, at.ints([0])), at.ints([6]), axis=0)
    return [at.op("Expand", at.numbers([[-1.0]]), shape)]


# ---- regions ---------------------------------------------------------------------------------------------


def roi_pooling(at: At) -> str:
    """ONNX's MaxRoiPool is this layer."""
    p = at.p
    if p.pooled_size:
        raise at.refuse(
            "what pooled_size of Intel's fork computes could not be checked", "pooled_h, pooled_w"
        )
    regions = at.bottoms[1]
    flat = regions.name if len(regions.shape) == 2 else at.reshaped(regions, [-1, 5])
    return at.op(
        "MaxRoiPool", at.x, flat, pooled_shape=[p.pooled_h, p.pooled_w], spatial_scale=p.spatial_scale
    )


_DATA = "it reads data; `netbuilder deploy` puts an Input in its place"
COVERED: dict[str, Form] = {
    "PriorBox": Form(prior_box, precise=True),
    "DetectionOutput": Form(detection_output, precise=True),
    "ROIPooling": Form(roi_pooling, precise=True),
}
REFUSED: dict[str, str] = {
    "PSROIPooling": "ONNX has no operator that averages regions of other channels in each cell",
    "Proposal": "forks publish several layers of this name, whose anchors and rounding differ",
    "DetectionEvaluate": "it prepares detections for the evaluation in SSD's own solver",
    "AnnotatedData": _DATA,
    "VideoData": _DATA,
}
