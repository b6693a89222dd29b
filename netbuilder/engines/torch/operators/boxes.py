"""Boxes of SSD: left, top, right, bottom as fractions of the image. Source: bbox_util.cpp of its fork."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["decode", "encode", "overlaps"]

_CORNER, _CENTER_SIZE = 1, 2


def decode(shifts: Tensor, priors: Tensor, variances: Tensor, code: int, encoded: bool) -> Tensor:
    """Boxes (..., 4) from shifts and priors (..., 4). Source: bbox_util.cpp, DecodeBBox."""
    scaled = shifts if encoded else shifts * variances
    if code == _CORNER:
        return priors + scaled
    size = priors[..., 2:] - priors[..., :2]
    if code == _CENTER_SIZE:
        center = scaled[..., :2] * size + (priors[..., :2] + priors[..., 2:]) / 2
        half = scaled[..., 2:].exp() * size / 2
        return torch.cat([center - half, center + half], -1)
    return priors + scaled * torch.cat([size, size], -1)


def encode(boxes: Tensor, priors: Tensor, variances: Tensor, code: int) -> Tensor:
    """The shifts that decode to these boxes. Source: bbox_util.cpp, EncodeBBox."""
    size = priors[..., 2:] - priors[..., :2]
    if code == _CORNER:
        shifts = boxes - priors
    elif code == _CENTER_SIZE:
        center = (boxes[..., :2] + boxes[..., 2:] - priors[..., :2] - priors[..., 2:]) / 2
        shifts = torch.cat([center / size, ((boxes[..., 2:] - boxes[..., :2]) / size).log()], -1)
    else:
        shifts = (boxes - priors) / torch.cat([size, size], -1)
    return shifts / variances


def overlaps(box: Tensor, boxes: Tensor) -> Tensor:
    """Intersection over union of a box with others. Source: bbox_util.cpp, JaccardOverlap."""
    size = torch.minimum(box[2:], boxes[:, 2:]) - torch.maximum(box[:2], boxes[:, :2])
    common = size.clamp(min=0).prod(-1)
    areas = [(b[..., 2:] - b[..., :2]).clamp(min=0).prod(-1) for b in (box, boxes)]
    union = areas[0] + areas[1] - common
    return torch.where(common > 0, common / union, 0)
