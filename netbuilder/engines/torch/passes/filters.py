"""Convolutions with fixed weights that PyTorch has an operation for.

The weights are those that are loaded, not those that a filler would give.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from netbuilder.engines.torch.operators.convolution import Convolution, Deconvolution
from netbuilder.engines.torch.passes.fusion import Derived, Fusion, graded
from netbuilder.engines.torch.steps import Plan

__all__ = ["Filter", "fixed_filters"]

_Native = Callable[[Tensor], Tensor]


class Filter(Fusion):
    """A convolution or Deconvolution, by another operation where its weights say the same.

    While a gradient of the weights is asked for, the layer is computed as it is.
    """

    def __init__(self, layer: Convolution | Deconvolution) -> None:
        super().__init__(layer)
        self._layer = layer
        self._native: Derived[tuple[_Native | None]] = Derived()

    def fused(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """The operation that the weights are for, and the bias."""
        operation = self.operation(x)
        if operation is None:
            return self.separate(x)  # type: ignore[return-value]
        _, bias = self._layer.learnt()
        top = operation(x)
        return top if bias is None else top + bias.to(top.dtype).view(-1, 1, 1)

    def operation(self, x: Tensor) -> _Native | None:
        """The operation without the bias; None where the layer is computed as it is."""
        layer = self._layer
        weight, _ = layer.learnt()
        if x.dim() != 4 or not layer.whole(x) or graded([weight]):
            return None
        found = self._native.of([weight], lambda: (native(layer, weight),))
        return None if found is None else found[0]


def native(layer: Convolution | Deconvolution, weight: Tensor) -> _Native | None:
    """What computes the same as these weights: nearest upsampling, an average, or a choice of pixels."""
    kernel, stride, pad, _ = layer.window
    alike = bool((weight == weight.flatten()[0]).all())
    single = weight.shape[1] == 1 and weight.shape[0] == layer.group
    value = float(weight.flatten()[0])
    if isinstance(layer, Deconvolution):
        if single and alike and kernel == stride and pad == (0, 0) and kernel != (1, 1):
            return partial(_nearest, scale=kernel, value=value)
        return None
    if kernel == (1, 1):
        return _choice(layer, weight)
    if single and alike and all(2 * p <= k for p, k in zip(pad, kernel, strict=True)):
        count = weight[0].numel()
        times = 1.0 if value == float(torch.tensor(1 / count, dtype=weight.dtype)) else value * count
        return partial(_average, kernel=kernel, stride=stride, pad=pad, times=times)
    return None


def _choice(layer: Convolution, weight: Tensor) -> _Native | None:
    """Each channel's own pixels, all or every other, between channels of zeros: the shortcut of option A."""
    if layer.window.pad != (0, 0):
        return None
    rows, inputs = weight.shape[0], weight.shape[1]
    if inputs == 1 and layer.group == rows:  # depthwise
        ones = bool((weight == 1).all())
        return partial(_chosen, stride=layer.window.stride, before=0, after=0) if ones else None
    if layer.group != 1:
        return None
    table = weight.reshape(rows, inputs)
    first = int((table != 0).any(1).to(torch.uint8).argmax())
    wanted = torch.zeros_like(table)
    if first + inputs > rows:
        return None
    wanted[first : first + inputs] = torch.eye(inputs, dtype=table.dtype, device=table.device)
    if not torch.equal(table, wanted):
        return None
    return partial(_chosen, stride=layer.window.stride, before=first, after=rows - first - inputs)


def _chosen(x: Tensor, stride: tuple[int, ...], before: int, after: int) -> Tensor:
    x = x[:, :, :: stride[0], :: stride[1]]
    return functional.pad(x, (0, 0, 0, 0, before, after)) if before or after else x


def _nearest(x: Tensor, scale: tuple[int, ...], value: float) -> Tensor:
    size = x.shape[2] * scale[0], x.shape[3] * scale[1]
    top = functional.interpolate(x, size, mode="nearest")
    return top if value == 1 else top * value


def _average(
    x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], pad: tuple[int, ...], times: float
) -> Tensor:
    top = functional.avg_pool2d(x, kernel, stride, pad)
    return top if times == 1 else top * times


def fixed_filters(plan: Plan) -> None:
    """Let the weights of each candidate decide when the net runs: depthwise, or 1x1 with zeros and ones."""
    for i, step in enumerate(plan.steps):
        if step is None or len(step.bottoms) != 1:
            continue
        layer = step.operator
        if not isinstance(layer, (Convolution, Deconvolution)) or layer.slope is not None or layer.sides:
            continue
        weight = layer.blob(0)
        if weight.dim() != 4 or layer.message.axis != 1 or set(layer.window.dilation) != {1}:
            continue
        depthwise = weight.shape[1] == 1 and weight.shape[0] == layer.group
        frozen = not weight.requires_grad or not layer.trains
        if frozen and (depthwise or (layer.window.kernel == (1, 1) and isinstance(layer, Convolution))):
            plan.replace(i, operator=Filter(layer))
