"""Convolution, its depthwise forms in forks, Deconvolution and Im2col, over any number of spatial axes."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from netbuilder.engines.torch.operator import Operator, Tops, canonical
from netbuilder.errors import EngineError
from netbuilder.layers.arithmetic import Window, conv_extent, conv_window, deconv_extent, sides
from netbuilder.net import Layer

__all__ = ["COVERED", "REFUSED"]

_CONV: dict[int, Callable[..., Tensor]] = {
    1: functional.conv1d,
    2: functional.conv2d,
    3: functional.conv3d,
}
_DECONV: dict[int, Callable[..., Tensor]] = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


class _Sliding(Operator):
    """A kernel that slides over the spatial axes, all those after `axis`.

    PyTorch's own functions compute bottoms of one batch axis and one to three spatial axes; `_odd` brings all
    others to such a form, or unrolls the windows.
    """

    native: dict[int, Callable[..., Tensor]]
    fresh = True

    def __init__(self, layer: Layer, phase: str) -> None:
        super().__init__(layer, phase)
        p = self.message
        self._axes = self.blob(0).dim() - 2
        window = conv_window(p, self._axes)
        # Dilation has no effect on a kernel of 1, but oneDNN crashed (an image of width 1, padded, stride 2).
        dilation = (1 if k == 1 else d for k, d in zip(window.kernel, window.dilation, strict=True))
        self.window = window._replace(dilation=tuple(dilation))
        before, after = sides(p)
        # Where a fork pads the four sides differently, the image is padded, or the top cut, by itself.
        self.sides = (before[1], after[1], before[0], after[0]) if before != after else ()
        if self.sides:
            self.window = self.window._replace(pad=(0, 0))
        self.group = self._groups()
        self._bias = 1 if p.bias_term else None
        self.slope = p.negative_slope if p.relu else None  # intel/caffe: a ReLU in the layer
        self._function = self.native.get(self._axes)
        self._plain = self._function is not None and 0 not in self.window.dilation
        # The size along each axis from which on PyTorch's function agrees with Caffe's; () if it always does.
        least = self._smallest()
        self._least = least if max(least, default=0) > 1 else ()

    def _groups(self) -> int:
        return int(self.message.group)

    def _smallest(self) -> tuple[int, ...]:
        raise NotImplementedError

    def forward(self, *bottoms: Tensor) -> Tops:
        """One top from each bottom."""
        weight, bias = self.learnt()
        if len(bottoms) == 1:
            return self.slide(bottoms[0], weight, bias)
        return tuple(self.slide(x, weight, bias) for x in bottoms)

    def learnt(self) -> tuple[Tensor, Tensor | None]:
        """The weight and the bias."""
        return self.blob(0), None if self._bias is None else self.blob(self._bias)

    def slide(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The top for this weight and bias, in the shapes of the layer's own."""
        if not self.whole(x):
            top = self._odd(x, weight, bias)
        elif bias is not None and _sums_badly(bias):
            top = _graded(self._native(x, weight, bias.detach()), bias)
        else:
            top = self._native(x, weight, bias)
        return top if self.slope is None else functional.leaky_relu(top, self.slope)

    def whole(self, x: Tensor) -> bool:
        """Whether PyTorch's function takes the bottom, and agrees with Caffe's layer."""
        fits = self._plain and x.dim() == self._axes + 2
        return fits and all(x.shape[i] >= n for i, n in enumerate(self._least, 2))

    def _native(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        raise NotImplementedError

    def _odd(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Any number of batch axes and of spatial axes, a dilation of 0, and images that are too small."""
        leading = x.shape[: x.dim() - self._axes - 1]
        x = x.reshape(prod(leading), *x.shape[len(leading) :])
        top = self._one_batch_axis(x, weight, bias)
        return top.reshape(*leading, *top.shape[1:])

    def _one_batch_axis(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        raise NotImplementedError


def _sums_badly(bias: Tensor) -> bool:
    """Whether PyTorch would add up the gradient of a bias value by value: oneDNN does, on the CPU.

    For 500,000 gradients of one sign the error is 1e-3.
    """
    wanted = bias.requires_grad and torch.is_grad_enabled()
    return wanted and bias.device.type == "cpu" and not torch.compiler.is_compiling()


def _graded(top: Tensor, bias: Tensor) -> Tensor:
    """A top whose bias was added without a gradient; the bias gets the sum of the top's gradient."""
    return cast(Tensor, _Bias.apply(top, bias))  # type: ignore[no-untyped-call]


class _Bias(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, top: Tensor, bias: Tensor) -> Tensor:
        ctx.mark_dirty(top)  # no copy, and no view, which layers in place could not write over
        ctx.kind = bias.dtype
        return top

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        return gradient, gradient.sum([0, *range(2, gradient.dim())], dtype=ctx.kind)


class Convolution(_Sliding):
    """Cross-correlation."""

    native = _CONV

    def slide(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The top, of the padded image."""
        return super().slide(functional.pad(x, self.sides) if self.sides else x, weight, bias)

    def _smallest(self) -> tuple[int, ...]:
        k, _, pad, d = self.window
        return tuple(d[i] * (k[i] - 1) + 1 - 2 * pad[i] for i in range(self._axes))

    def _native(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        _, stride, pad, dilation = self.window
        assert self._function is not None
        return self._function(x, weight, bias, stride, pad, dilation, self.group)

    def _one_batch_axis(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        columns = unrolled(x, self.window)
        out = columns.shape[2 + self._axes :]
        n, g, inputs = x.shape[0], self.group, prod(weight.shape[1:])
        columns = columns.reshape(n, g, inputs, prod(out))
        top = weight.reshape(g, weight.shape[0] // g, inputs) @ columns
        top = top.reshape(n, weight.shape[0], *out)
        return top if bias is None else top + bias.view(-1, *(1,) * self._axes)


class ConvolutionDepthwise(Convolution):
    """One kernel for each channel; num_output and group are ignored."""

    def _groups(self) -> int:
        return self.blob(0).shape[0]

    def slide(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The top always has 4 axes."""
        x = x if x.dim() == 4 else x.reshape(*x.shape, *(1,) * (4 - x.dim()))
        return super().slide(x, weight, bias)


class Deconvolution(_Sliding):
    """The transpose of a convolution with the same weights."""

    native = _DECONV

    def __init__(self, layer: Layer, phase: str) -> None:
        if 0 in conv_window(layer.proto.convolution_param, len(layer.params[0].shape) - 2).stride:
            raise EngineError(
                f"Deconvolution '{layer.name}' has a stride of 0, and Caffe dies when it runs",
                where=str(layer.origin),
                hint="give both stride_h and stride_w",
            )
        super().__init__(layer, phase)

    def slide(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The top, without its padding."""
        top = super().slide(x, weight, bias)
        return functional.pad(top, tuple(-n for n in self.sides)) if self.sides else top

    def _smallest(self) -> tuple[int, ...]:
        k, s, pad, d = self.window
        # From this size on the top, s * (n - 1) + d * (k - 1) + 1 - 2 * pad, has an element.
        return tuple(1 - (d[i] * (k[i] - 1) - 2 * pad[i]) // s[i] for i in range(self._axes))

    def _native(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        _, stride, pad, dilation = self.window
        assert self._function is not None
        return self._function(x, weight, bias, stride, pad, 0, self.group, dilation)

    def _one_batch_axis(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        kernel = weight.shape[2:]
        n, g, size = x.shape[0], self.group, x.shape[2:]
        rows = x.reshape(n, g, x.shape[1] // g, prod(size))
        columns = weight.reshape(g, weight.shape[0] // g, prod(weight.shape[1:])).transpose(1, 2) @ rows
        channels = weight.shape[1] * g
        top = rolled(columns.reshape(n, channels, *kernel, *size), self.window)
        return top if bias is None else top + bias.view(-1, *(1,) * self._axes)


class Im2col(Operator):
    """The windows of a convolution, unrolled into channels."""

    insists = True

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        p = self.message
        axis = canonical(p.axis, x.shape)
        window = conv_window(p, x.dim() - axis - 1)
        columns = unrolled(x.reshape(prod(x.shape[:axis]), *x.shape[axis:]), window)
        return columns.reshape(self.top_shapes(x)[0])


def unrolled(x: Tensor, window: Window) -> Tensor:
    """The windows of (n, c, *size), as (n, c, *kernel, *out); beyond the image they hold zeros."""
    axes = len(window.kernel)
    for i, (k, s, p, d) in enumerate(zip(*window, strict=True)):
        n = x.shape[2 + 2 * i]
        out = conv_extent(n, k, s, p, d)
        index = _index(k, s, d, out, x.device)
        after = max(0, s * max(out - 1, 0) + d * (k - 1) + 1 - n - p)
        x = functional.pad(x, (*(0, 0) * (axes - 1 - i), p, after))
        x = x.index_select(2 + 2 * i, index.flatten())
        x = x.reshape(*x.shape[: 2 + 2 * i], k, out, *x.shape[3 + 2 * i :])
    return x.permute(0, 1, *range(2, 2 + 2 * axes, 2), *range(3, 3 + 2 * axes, 2))


def rolled(columns: Tensor, window: Window) -> Tensor:
    """The windows (n, c, *kernel, *size) added up, each at its place in an image: `unrolled` transposed."""
    axes = len(window.kernel)
    x = columns
    for i, (k, s, p, d) in reversed(list(enumerate(zip(*window, strict=True)))):
        # The axes are now (n, c, kernel 0 to i, size 0 to i, image i + 1 to the last).
        n = x.shape[3 + 2 * i]
        index = _index(k, s, d, n, x.device).flatten()
        x = x.movedim(2 + i, 2 + 2 * i).flatten(2 + 2 * i, 3 + 2 * i)
        shape = list(x.shape)
        out = deconv_extent(n, k, s, p, d)
        shape[2 + 2 * i] = out + 2 * p
        x = x.new_zeros(shape).index_add(2 + 2 * i, index, x).narrow(2 + 2 * i, p, out)
    assert x.dim() == 2 + axes
    return x


def _index(k: int, s: int, d: int, out: int, device: torch.device) -> Tensor:
    """The position in the padded image that element t of window o reads, by t and o."""
    return torch.arange(k, device=device)[:, None] * d + torch.arange(out, device=device) * s


COVERED: dict[str, type[Operator]] = {
    "Convolution": Convolution,
    "DepthwiseConvolution": Convolution,
    "ConvolutionDepthwise": ConvolutionDepthwise,
    "Deconvolution": Deconvolution,
    "Im2col": Im2col,
}
REFUSED: dict[str, str] = {}
