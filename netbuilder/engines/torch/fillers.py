"""Fillers by Caffe's formulas. Source: filler.hpp. The random numbers are PyTorch's, not boost's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from netbuilder.schema import BlobProto, FillerParameter

__all__ = ["fill"]

_FAN_OUT, _AVERAGE = 1, 2


def fill(
    blob: Tensor,
    filler: FillerParameter | None,
    given: BlobProto | None,
    initial: float,
    generator: torch.Generator,
) -> None:
    """Fill a parameter blob in place: from values in the file, by its filler, else with `initial`."""
    if given is not None:
        values = given.double_data or given.data
        blob.copy_(torch.tensor(list(values), dtype=blob.dtype).view(blob.shape))
    elif filler is None:
        blob.fill_(initial)
    else:
        blob.copy_(draw(tuple(blob.shape), filler, generator))


def draw(shape: tuple[int, ...], filler: FillerParameter, generator: torch.Generator) -> Tensor:
    """A blob of this shape from a filler, float32 on the CPU."""
    blob = torch.empty(shape)
    if filler.type == "constant":
        return blob.fill_(filler.value)
    if filler.type == "uniform":
        return _uniform(blob, filler.min, filler.max, generator)
    if filler.type == "gaussian":
        blob.normal_(filler.mean, filler.std, generator=generator)
        if filler.sparse >= 0:  # each value is kept with this probability
            kept = torch.full(shape, filler.sparse / shape[0])
            blob *= torch.bernoulli(kept, generator=generator)
        return blob
    if filler.type == "xavier":
        bound = math.sqrt(3 / _fan(shape, filler))
        return blob.uniform_(-bound, bound, generator=generator)
    if filler.type == "msra":
        return blob.normal_(0, math.sqrt(2 / _fan(shape, filler)), generator=generator)
    if filler.type == "positive_unitball":
        rows = blob.uniform_(0, 1, generator=generator).view(shape[0], -1)
        rows /= rows.sum(1, keepdim=True)
        return blob
    return _bilinear(blob)


def _uniform(blob: Tensor, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Between two bounds; for an infinite one Caffe takes the largest number. Source: caffe_rng_uniform."""
    most = torch.finfo(blob.dtype).max
    low, high = max(low, -most), min(high, most)
    if high - low > most:
        return _uniform(blob, low / 2, high / 2, generator).mul_(2)
    return blob.uniform_(low, high, generator=generator)


def _fan(shape: tuple[int, ...], filler: FillerParameter) -> float:
    count = math.prod(shape)
    fan_in, fan_out = count / shape[0], count / shape[1] if len(shape) > 1 else count
    if filler.variance_norm == _AVERAGE:
        return (fan_in + fan_out) / 2
    return fan_out if filler.variance_norm == _FAN_OUT else fan_in


def _bilinear(blob: Tensor) -> Tensor:
    size = blob.shape[-1]
    f = math.ceil(size / 2)
    # As master has it; Caffe 1.0 and older use (2 * f - 1 - f % 2), another kernel for sizes 2, 3, 6, 7, ...
    center = (size - 1) / (2 * f)
    weights = 1 - (torch.arange(size, dtype=torch.float32) / f - center).abs()
    return blob.copy_((weights[:, None] * weights[None, :]).expand(blob.shape))
