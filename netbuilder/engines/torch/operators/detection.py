"""Detection layers of SSD and of R-CNN and its successors.

Source: weiliu89/caffe, branch ssd; for ROIPooling rbgirshick/caffe-fast-rcnn, for PSROIPooling
daijifeng001/caffe-rfcn.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from netbuilder.engines.torch.operator import Operator
from netbuilder.engines.torch.operators.boxes import decode, overlaps
from netbuilder.engines.torch.operators.data import Input
from netbuilder.engines.torch.operators.multibox import MultiBoxLoss
from netbuilder.errors import EngineError
from netbuilder.layers.detection import aspect_ratios
from netbuilder.net import Layer

__all__ = ["COVERED", "REFUSED"]


# ---- boxes -----------------------------------------------------------------------------------------------


class PriorBox(Operator):
    """Boxes at each place of a feature map, and their variances -> (1, 2, boxes*4). It has no gradient."""

    precise = True

    def forward(self, features: Tensor, image: Tensor) -> Tensor:  # type: ignore[override]
        p = self.proto.prior_box_param
        rows, columns = features.shape[2:]
        height, width = p.img_h or p.img_size, p.img_w or p.img_size
        if not (height and width):
            height, width = image.shape[2:]
        step_h, step_w = p.step_h or p.step, p.step_w or p.step
        if not (step_h and step_w):
            step_h, step_w = height / rows, width / columns
        sizes = torch.tensor(self._sizes(), device=features.device)  # (priors, 2) of width, height
        x = (torch.arange(columns, device=features.device) + p.offset) * step_w
        y = (torch.arange(rows, device=features.device) + p.offset) * step_h
        centers = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)[:, :, None]
        scale = torch.tensor([width, height], device=features.device)
        boxes = torch.cat([(centers - sizes / 2) / scale, (centers + sizes / 2) / scale], -1)
        boxes = boxes.clamp(0, 1) if p.clip else boxes
        variances = torch.tensor(list(p.variance) or [0.1], device=features.device).expand(4)
        return torch.stack([boxes.reshape(-1), variances.repeat(boxes.numel() // 4)])[None]

    def _sizes(self) -> list[tuple[float, float]]:
        p = self.proto.prior_box_param
        sizes: list[tuple[float, float]] = []
        for i, size in enumerate(p.min_size):
            sizes.append((size, size))
            if p.max_size:
                sizes.append((math.sqrt(size * p.max_size[i]),) * 2)
            sizes += [
                (size * math.sqrt(ratio), size / math.sqrt(ratio))
                for ratio in aspect_ratios(p)
                if abs(ratio - 1) >= 1e-6
            ]
        return sizes


class DetectionOutput(Operator):
    """Rows of image, label, score and box, after suppression by class; -1 where nothing is found.

    It has no gradient. Source: detection_output_layer.cpp, Forward_cpu; bbox_util.cpp, ApplyNMSFast.
    """

    precise = True

    def forward(self, shifts: Tensor, scores: Tensor, priors: Tensor, *image: Tensor) -> Tensor:  # type: ignore[override]
        p = self.proto.detection_output_param
        n, count = shifts.shape[0], priors.numel() // 8
        box, variance = priors.detach().reshape(2, count, 1, 4)
        boxes = decode(
            shifts.detach().reshape(n, count, -1, 4), box, variance, p.code_type, p.variance_encoded_in_target
        )
        by_class = scores.detach().reshape(n, count, p.num_classes)
        rows = [row for i in range(n) for row in self._of_image(i, boxes[i], by_class[i])]
        if rows:
            return torch.stack(rows)[None, None]
        nothing = scores.new_full((1, 1, n, 7), -1)
        nothing[0, 0, :, 0] = torch.arange(n)
        return nothing

    def _of_image(self, image: int, boxes: Tensor, scores: Tensor) -> list[Tensor]:
        p = self.proto.detection_output_param
        found = []
        for label in range(p.num_classes):
            if label == p.background_label_id:
                continue
            own = boxes[:, 0 if p.share_location else label]
            for i in self._suppressed(own, scores[:, label]):
                score = scores[i, label]
                row = torch.cat([score.new_tensor([image, label]), score[None], own[i]])
                found.append((float(score), row))
        if 0 <= p.keep_top_k < len(found):
            best = sorted(range(len(found)), key=lambda i: -found[i][0])[: p.keep_top_k]
            # By label again, and within one by score.
            found = [found[i] for i in sorted(best, key=lambda i: (float(found[i][1][1]), -found[i][0]))]
        return [row for _, row in found]

    def _suppressed(self, boxes: Tensor, scores: Tensor) -> list[int]:
        """The boxes that are kept, best first."""
        p = self.proto.detection_output_param
        nms = p.nms_param
        order = scores.sort(descending=True, stable=True).indices
        if p.HasField("confidence_threshold"):
            order = order[scores[order] > p.confidence_threshold]
        if nms.HasField("top_k") and nms.top_k >= 0:
            order = order[: nms.top_k]
        threshold = nms.nms_threshold
        kept: list[int] = []
        for i in order.tolist():
            if not kept or bool((overlaps(boxes[i], boxes[kept]) <= threshold).all()):
                kept.append(i)
                if nms.eta < 1 and threshold > 0.5:
                    threshold *= nms.eta
        return kept


# ---- regions ---------------------------------------------------------------------------------------------


def _round(x: float) -> int:
    """As C's round: halves go away from zero."""
    return int(math.copysign(math.floor(abs(x) + 0.5), x))


def _single(x: float) -> float:
    """The value in single precision, in which Caffe finds the cells."""
    return float(torch.tensor(x, dtype=torch.float32))


class ROIPooling(Operator):
    """A grid of maxima of each region; among equals the first gets the gradient."""

    precise = True

    def __init__(self, layer: Layer, phase: str) -> None:
        super().__init__(layer, phase)
        if self.proto.roi_pooling_param.pooled_size:
            raise EngineError(
                f"the PyTorch engine does not compute pooled_size, a field of Intel's, in '{layer.name}'",
                hint="pooled_h and pooled_w",
            )

    def forward(self, x: Tensor, regions: Tensor) -> Tensor:  # type: ignore[override]
        p = self.proto.roi_pooling_param
        cells = []
        for image, *corners in regions.detach().float().reshape(-1, 5).tolist():
            left, top, right, bottom = (_round(_single(c * p.spatial_scale)) for c in corners)
            columns = _cells(left, right, p.pooled_w, x.shape[3])
            rows = _cells(top, bottom, p.pooled_h, x.shape[2])
            plane = x[int(image)]
            # First the maximum of each row, then that of the rows: among equals the first in memory wins.
            wide = torch.stack([_maximum(plane[:, :, a:b], 2) for a, b in columns], 2)
            cells.append(torch.stack([_maximum(wide[:, a:b], 1) for a, b in rows], 1))
        if not cells:
            return x.new_zeros(0, x.shape[1], p.pooled_h, p.pooled_w)
        return torch.stack(cells)


def _cells(first: int, last: int, number: int, size: int) -> list[tuple[int, int]]:
    """Where each cell starts and ends, cut to the plane. Source: roi_pooling_layer.cpp, Forward_cpu."""
    length = _single(max(last - first + 1, 1) / number)
    return [
        (
            min(max(math.floor(_single(i * length)) + first, 0), size),
            min(max(math.ceil(_single((i + 1) * length)) + first, 0), size),
        )
        for i in range(number)
    ]


def _maximum(x: Tensor, axis: int) -> Tensor:
    """The maximum along an axis, 0 of nothing."""
    if x.shape[axis] == 0:
        return x.sum(axis)
    return x.gather(axis, x.argmax(axis, keepdim=True)).squeeze(axis)


class PSROIPooling(Operator):
    """A grid of averages of each region, where each cell has its own channels."""

    precise = True

    def forward(self, x: Tensor, regions: Tensor) -> Tensor:  # type: ignore[override]
        p = self.proto.psroi_pooling_param
        g = p.group_size
        planes = x.reshape(x.shape[0], p.output_dim, g, g, *x.shape[2:])
        tops = []
        for image, *corners in regions.detach().float().reshape(-1, 5).tolist():
            left, top, right, bottom = corners
            columns = _parts(left, right, p.spatial_scale, g, x.shape[3])
            rows = _parts(top, bottom, p.spatial_scale, g, x.shape[2])
            of_image = planes[int(image)]
            cells = [
                _mean(of_image[:, i, j, a:b, c:d])
                for i, (a, b) in enumerate(rows)
                for j, (c, d) in enumerate(columns)
            ]
            tops.append(torch.stack(cells, 1).reshape(p.output_dim, g, g))
        return torch.stack(tops) if tops else x.new_zeros(0, p.output_dim, g, g)


def _parts(first: float, last: float, scale: float, number: int, size: int) -> list[tuple[int, int]]:
    """Where each cell starts and ends. Source: psroi_pooling_layer.cu, PSROIPoolingForward."""
    start = _single(_round(first) * scale)
    length = _single(max(_single((_round(last) + 1) * scale) - start, 0.1) / number)
    return [
        (
            min(max(math.floor(_single(_single(i * length) + start)), 0), size),
            min(max(math.ceil(_single(_single((i + 1) * length) + start)), 0), size),
        )
        for i in range(number)
    ]


def _mean(x: Tensor) -> Tensor:
    """The mean of each plane, 0 of an empty one."""
    flat = x.flatten(1)
    return flat.sum(1) / max(1, flat.shape[1])


# ---- losses ----------------------------------------------------------------------------------------------


class SmoothL1Loss(Operator):
    """Squares of small and magnitudes of large differences; more bottoms are weights.

    A third bottom alone is SSD's, which leaves it out of the gradient; two are inside and outside weights.
    """

    precise = True

    def forward(self, a: Tensor, b: Tensor, *weights: Tensor) -> Tensor:  # type: ignore[override]
        n = a.shape[0]
        difference = a - b.reshape(a.shape)
        if len(weights) == 1:
            scaled = (difference * weights[0].reshape(a.shape)).detach()
            difference = scaled + difference - difference.detach()
        elif weights:
            difference = difference * weights[0].detach().reshape(a.shape)
        sigma = self.proto.smooth_l1_loss_param.sigma**2
        size = difference.abs()
        errors = torch.where(size < 1 / sigma, difference.square() * (sigma / 2), size - 0.5 / sigma)
        if len(weights) > 1:
            errors = errors * weights[1].detach().reshape(a.shape)
        return errors.sum() / n


class Annotated(Input):
    """Images and boxes that the caller gives."""

    why = "the PyTorch engine does not read annotated databases"


class Video(Input):
    """Frames that the caller gives."""

    why = "the PyTorch engine does not read videos"


COVERED: dict[str, type[Operator]] = {
    "PriorBox": PriorBox,
    "DetectionOutput": DetectionOutput,
    "MultiBoxLoss": MultiBoxLoss,
    "SmoothL1Loss": SmoothL1Loss,
    "ROIPooling": ROIPooling,
    "PSROIPooling": PSROIPooling,
    "AnnotatedData": Annotated,
    "VideoData": Video,
}
REFUSED: dict[str, str] = {
    "DetectionEvaluate": "it prepares detections for the evaluation in SSD's own solver",
    "Proposal": "forks publish several layers of this name, whose anchors and rounding differ",
}
