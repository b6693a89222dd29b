"""Pooling and SPP. Source: pooling_layer.cpp and .cu, spp_layer.cpp."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from netbuilder.engines.torch.operator import Operator, Tops
from netbuilder.errors import EngineError
from netbuilder.layers.arithmetic import Window, pool_extent, pool_window, sides
from netbuilder.net import Layer

__all__ = ["COVERED", "REFUSED"]

_MAX, _AVE, _STOCHASTIC = 0, 1, 2
_FLOOR = 1
_FLT_MIN = 1.17549435e-38


class Pooling(Operator):
    """The maximum or average of each window, or an element that is drawn from it.

    Caffe drops a last window that starts beyond the image only if the layer pads; PyTorch always does. Such
    windows, and those that PyTorch refuses, are padded here by hand.
    """

    fresh = True

    def __init__(self, layer: Layer, phase: str) -> None:
        super().__init__(layer, phase)
        p = self.message
        before, after = sides(p)
        if before != after:
            raise EngineError(
                f"the PyTorch engine does not compute Pooling '{layer.name}', whose sides have other pads",
                where=str(layer.origin),
            )
        self._pool = p.pool
        self._global = p.global_pooling
        self._window = None if self._global else pool_window(p, (1, 1))
        self._floor = p.round_mode == _FLOOR or not p.ceil_mode
        self._indices = len(layer.tops) > 1
        self._count_pad = p.avg_include_pad  # intel/caffe may leave the padding out of the divisor

    def forward(self, x: Tensor) -> Tops:  # type: ignore[override]
        """The pooled blob, and with two tops the index of each maximum in its plane."""
        if self._global and self._pool == _AVE:
            return functional.adaptive_avg_pool2d(x, 1)
        window = self._window or Window((x.shape[2], x.shape[3]), (1, 1), (0, 0), (1, 1))
        if self._pool == _STOCHASTIC:
            return stochastic(x, window, self._floor, draw=self.trains)
        if self._indices:
            return maximum_and_index(x, window, self._floor)
        return pooled(x, window, self._floor, self._pool == _AVE, self._count_pad)

    def averages_first(self, x: Tensor, rows: int, columns: int) -> Tensor | None:
        """The averages of the first windows, if PyTorch computes exactly these when it rounds down."""
        window = self._window
        if window is None or self._pool != _AVE or not _ordinary(x, window, True):
            return None
        return (
            pooled(x, window, True, True, self._count_pad)
            if _extent(x, window, True) == (rows, columns)
            else None
        )


class SPP(Operator):
    """Poolings into 1x1, 2x2, 4x4, ... bins, flattened one after another."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        p = self.proto.spp_param
        tops = [self._level(x, 2**level) for level in range(p.pyramid_height)]
        return torch.cat([top.flatten(1) for top in tops], 1) if len(tops) > 1 else tops[0]

    def _level(self, x: Tensor, bins: int) -> Tensor:
        h, w = x.shape[2:]
        kernel = (-(-h // bins), -(-w // bins))
        pad = ((kernel[0] * bins - h + 1) // 2, (kernel[1] * bins - w + 1) // 2)
        window = Window(kernel, kernel, pad, (1, 1))
        if self.message.pool == _STOCHASTIC:
            return stochastic(x, window, False, draw=self.trains)
        return pooled(x, window, False, self.message.pool == _AVE)


def pooled(x: Tensor, window: Window, floor: bool, average: bool, count_pad: bool = True) -> Tensor:
    """The maximum or average of each window; with `count_pad` the padding counts in an average, as zeros."""
    kernel, stride, pad, _ = window
    if _ordinary(x, window, floor):
        if average:
            return functional.avg_pool2d(x, kernel, stride, pad, not floor, count_pad)
        return functional.max_pool2d(x, kernel, stride, pad, 1, not floor)
    out = _extent(x, window, floor)
    if 0 in out:
        return _nothing(x, out)
    if not average:
        return functional.max_pool2d(_padded(x, window, out, torch.finfo(x.dtype).min), kernel, stride)
    sums = functional.avg_pool2d(_padded(x, window, out, 0.0), kernel, stride, divisor_override=1)
    rows, columns = (_divisor(x, window, out, i, count_pad) for i in (0, 1))
    return sums / (rows[:, None] * columns)


def maximum_and_index(x: Tensor, window: Window, floor: bool) -> tuple[Tensor, Tensor]:
    """The maximum of each window and its index in the plane of the image, -1 if the window is outside.

    The index is at least a float32: bfloat16 holds only those up to 256.
    """
    kernel, stride, pad, _ = window
    kind = torch.promote_types(x.dtype, torch.float32)
    if _ordinary(x, window, floor):
        top, index = functional.max_pool2d_with_indices(x, kernel, stride, pad, (1, 1), not floor)
        return top, index.to(kind)
    out = _extent(x, window, floor)
    if 0 in out:
        return _nothing(x, out), x.new_zeros(*x.shape[:2], *out, dtype=kind)
    wide = _padded(x, window, out, torch.finfo(x.dtype).min)
    top, index = functional.max_pool2d_with_indices(wide, kernel, stride)
    row = index // wide.shape[3] - pad[0]
    column = index % wide.shape[3] - pad[1]
    h, w = x.shape[2:]
    inside = (row >= 0) & (row < h) & (column >= 0) & (column < w)
    return top, torch.where(inside, row * w + column, -1).to(kind)


def stochastic(x: Tensor, window: Window, floor: bool, *, draw: bool) -> Tensor:
    """An element of each window, drawn in proportion to its value; or their average with these weights.

    It needs values of 0 or more, as after a ReLU. Only Caffe's GPU code has it.
    """
    kernel, stride, _, _ = window
    out = _extent(x, window, floor)
    if 0 in out:
        return _nothing(x, out)
    windows = _padded(x, window, out, 0.0).unfold(2, kernel[0], stride[0]).unfold(3, kernel[1], stride[1])
    windows = windows[:, :, : out[0], : out[1]].flatten(4)
    if not draw:
        return windows.square().sum(-1) / (windows.sum(-1) + _FLT_MIN)
    sums = windows.detach().cumsum(-1)
    threshold = torch.rand(sums.shape[:-1], dtype=x.dtype, device=x.device) * sums[..., -1]
    chosen = (sums >= threshold[..., None]).to(torch.uint8).argmax(-1, keepdim=True)
    return windows.gather(-1, chosen).squeeze(-1)


def _ordinary(x: Tensor, window: Window, floor: bool) -> bool:
    """Whether PyTorch's pooling takes these arguments and means the same windows as Caffe's."""
    kernel, stride, pad, _ = window
    unpadded = pad == (0, 0)
    for i in (0, 1):
        room = x.shape[2 + i] + 2 * pad[i] - kernel[i]
        if 2 * pad[i] > kernel[i] or (room < 0 and (floor or room <= -stride[i])):
            return False
        # Without padding, Caffe keeps a last window that starts outside the image.
        if (
            unpadded
            and not floor
            and stride[i] > kernel[i]
            and -(-room // stride[i]) * stride[i] >= x.shape[2 + i]
        ):
            return False
    return True


def _extent(x: Tensor, window: Window, floor: bool) -> tuple[int, int]:
    kernel, stride, pad, _ = window
    h, w = (
        pool_extent(x.shape[2 + i], kernel[i], stride[i], pad[i], floor=floor, clip=pad != (0, 0))
        for i in (0, 1)
    )
    return h, w


def _padded(x: Tensor, window: Window, out: tuple[int, int], value: float) -> Tensor:
    """The image with its padding, and as much more as the last windows need."""
    kernel, stride, pad, _ = window
    after = [(out[i] - 1) * stride[i] + kernel[i] - x.shape[2 + i] - pad[i] for i in (0, 1)]
    return functional.pad(x, (pad[1], max(0, after[1]), pad[0], max(0, after[0])), value=value)


def _divisor(x: Tensor, window: Window, out: tuple[int, int], i: int, count_pad: bool) -> Tensor:
    """What Caffe counts along one axis of each window: its elements up to one padding beyond the image."""
    kernel, stride, pad, _ = window
    start = torch.arange(out[i], device=x.device, dtype=x.dtype) * stride[i] - pad[i]
    beyond = pad[i] if count_pad else 0
    end = (start + kernel[i]).clamp(max=x.shape[2 + i] + beyond)
    return end - (start if count_pad else start.clamp(min=0))


def _nothing(x: Tensor, out: tuple[int, int]) -> Tensor:
    """An empty top, which passes a gradient of 0 on."""
    return x.new_zeros(*x.shape[:2], *out) + x.sum() * 0


COVERED: dict[str, type[Operator]] = {"Pooling": Pooling, "SPP": SPP}
REFUSED: dict[str, str] = {}
