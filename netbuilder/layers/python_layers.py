"""Published layers written in Python, by module and class: the shapes of their tops.

A Python layer decides its shapes itself, so each known class has its own function here. Shapes are those that
Caffe has after loading the net, which `setup` sets; a forward pass may change the number of regions. Such
layers have no parameters, and their operations depend on the data and are not counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from netbuilder.errors import ShapeError
from netbuilder.layers.base import Shape

if TYPE_CHECKING:
    from netbuilder.schema import LayerParameter

__all__ = ["PYTHON_LAYERS", "is_known"]

# rbgirshick/py-faster-rcnn: the usual values of lib/fast_rcnn/config.py that its layers read.
_SCALES, _RATIOS = 3, 3
_IMAGES = {"rpn": (1, 3, 600, 1000), "fast": (2, 3, 600, 1000)}

Shapes = tuple[Shape, ...]


def is_known(layer: LayerParameter) -> bool:
    """Whether a layer is one of PYTHON_LAYERS."""
    p = layer.python_param
    return layer.HasField("python_param") and (p.module, p.layer) in PYTHON_LAYERS


def _proposal(layer: LayerParameter, bottoms: Sequence[Shape]) -> Shapes:
    """Regions (1, 5) from scores, shifts and the size of the image[, and their scores, (1, 1, 1, 1)].

    A forward pass makes as many as it keeps: RPN_POST_NMS_TOP_N, 300 in TEST and 2000 in TRAIN.
    Source: lib/rpn/proposal_layer.py, setup.
    """
    return ((1, 5), (1, 1, 1, 1))


def _anchor_target(layer: LayerParameter, bottoms: Sequence[Shape]) -> Shapes:
    """Labels (1, 1, a*h, w) of all anchors, and three times (1, 4a, h, w): targets and two sorts of weights.

    a is the number of anchors at a position, 9 unless `scales` is given; h and w are those of bottom 0.
    Source: lib/rpn/anchor_target_layer.py, setup.
    """
    if not bottoms or len(bottoms[0]) < 2:
        raise ShapeError("bottom 0, the scores, needs at least 2 axes: the last two are height and width")
    a = _RATIOS * _count(layer, "scales", _SCALES)
    h, w = bottoms[0][-2:]
    return ((1, 1, a * h, w), *((1, 4 * a, h, w),) * 3)


def _proposal_target(layer: LayerParameter, bottoms: Sequence[Shape]) -> Shapes:
    """Regions (1, 5), labels (1, 1), and three times (1, 4 * num_classes): targets and two sorts of weights.

    A forward pass makes a row for each of BATCH_SIZE regions, by default 128.
    Source: lib/rpn/proposal_target_layer.py, setup.
    """
    return ((1, 5), (1, 1), *((1, 4 * _number(layer, "num_classes")),) * 3)


def _roi_data(layer: LayerParameter, bottoms: Sequence[Shape]) -> Shapes:
    """Images, the size of the image (1, 3) and true boxes (1, 4); or, for Fast R-CNN, images and regions.

    Fast R-CNN's regions (1, 5) have labels (1,) and, with six tops, targets and two sorts of weights,
    (1, 4 * num_classes). Images are (1, 3, 600, 1000), two for Fast R-CNN, until the first of the data comes.
    Source: lib/roi_data_layer/layer.py, setup.
    """
    classes = _number(layer, "num_classes")
    if len(layer.top) > 3 or any("roi" in top for top in layer.top):
        return (_IMAGES["fast"], (1, 5), (1,), *((1, 4 * classes),) * 3)
    return (_IMAGES["rpn"], (1, 3), (1, 4))


# The shapes of all tops that a class may have; a layer may take fewer.
PYTHON_LAYERS: dict[tuple[str, str], Callable[[LayerParameter, Sequence[Shape]], Shapes]] = {
    ("rpn.proposal_layer", "ProposalLayer"): _proposal,
    ("rpn.anchor_target_layer", "AnchorTargetLayer"): _anchor_target,
    ("rpn.proposal_target_layer", "ProposalTargetLayer"): _proposal_target,
    ("roi_data_layer.layer", "RoIDataLayer"): _roi_data,
}


def _number(layer: LayerParameter, key: str) -> int:
    """A number of `param_str`, which holds YAML; raises ShapeError if it is missing."""
    found = re.search(rf"['\"]?\b{key}\b['\"]?\s*:\s*(\d+)", layer.python_param.param_str)
    if not found:
        raise ShapeError(f"param_str lacks '{key}', which {layer.python_param.layer} reads")
    return int(found[1])


def _count(layer: LayerParameter, key: str, otherwise: int) -> int:
    """How many numbers a list of `param_str` has."""
    found = re.search(rf"['\"]?\b{key}\b['\"]?\s*:[^\[(\n]*[\[(]([^\])]*)", layer.python_param.param_str)
    return len(re.findall(r"[\d.]+", found[1])) if found else otherwise
