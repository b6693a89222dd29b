"""Statistics of a batch over all ranks of a training: `--sync-bn`, which Caffe lacks.

PyTorch's SyncBatchNorm computes on GPUs only; this one computes wherever its process group does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["across_ranks", "normalized_across", "ranks_of_statistics"]

_ranks = 1  # whose values count, while a training pass with --sync-bn runs


@contextmanager
def across_ranks(ranks: int) -> Iterator[None]:
    """While it lasts, the statistics of a batch are those of all ranks, which must have equal batches."""
    global _ranks
    before, _ranks = _ranks, ranks
    try:
        yield
    finally:
        _ranks = before


def ranks_of_statistics() -> int:
    """How many ranks' values are in the statistics of a batch."""
    return _ranks


class _Sum(torch.autograd.Function):
    """The sum over all ranks; each rank's loss depends on it, so that the gradients are added up, too."""

    @staticmethod
    def forward(ctx, x):  # type: ignore[no-untyped-def]
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        total = grad.clone()
        dist.all_reduce(total)
        return total


def normalized_across(
    x: Tensor, scale: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, list[Tensor]]:
    """As `batch_normalized`, of the batches of all ranks."""
    channels, axes = x.shape[1], [0, *range(2, x.dim())]
    shape = (-1, *(1,) * (x.dim() - 2))
    wide = x if x.dtype == torch.float64 else x.float()
    count = x.numel() // channels * _ranks
    mean: Tensor = _Sum.apply(wide.sum(axes)) / count  # type: ignore[no-untyped-call]
    centred = wide - mean.view(shape)
    variance: Tensor = _Sum.apply(centred.square().sum(axes)) / count  # type: ignore[no-untyped-call]
    factor = torch.rsqrt(variance + eps)
    top = centred * (factor if scale is None else factor * scale).view(shape)
    top = (top if bias is None else top + bias.view(shape)).to(x.dtype)
    unbiased = variance.detach() * (count / max(count - 1, 1))
    return top, [mean.detach(), unbiased, torch.ones(1, dtype=wide.dtype, device=x.device)]
