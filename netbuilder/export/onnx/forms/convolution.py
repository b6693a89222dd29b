"""Convolution, its depthwise forms in forks, Deconvolution and Im2col, over any number of spatial axes."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from netbuilder.export.onnx.graph import At, Form, Value
from netbuilder.layers import canonical_axis
from netbuilder.layers.arithmetic import Window, conv_window, sides

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

__all__ = ["COVERED", "REFUSED"]

_MOST = 3  # spatial axes, in the programs that read ONNX


def convolution(at: At) -> list[str]:
    return _convolved(at, at.p.group)


def convolution_depthwise(at: At) -> list[str]:
    """One kernel for each channel; the top always has 4 axes."""
    return _convolved(at, at.arrays[0].shape[0])


def _convolved(at: At, group: int) -> list[str]:
    weight, window = _without_zeros(at, at.arrays[0])
    ends = _ends(at, window)
    names = [_weight(at, weight), *([at.weight(1)] if at.p.bias_term else [])]
    return [_convolve(at, x, names, window, ends, group, top) for x, top in _pairs(at)]


def _convolve(
    at: At, x: Value, weight: list[str], window: Window, ends: list[int], group: int, top: Value
) -> str:
    kernel, stride, pad, dilation = (list(each) for each in window)
    made = at.op(
        "Conv", _flat(at, x, len(kernel)), *weight,
        kernel_shape=kernel, strides=stride, pads=[*pad, *ends], dilations=dilation, group=group,
    )  # fmt: skip
    return _as_top(at, _activated(at, made), top)


def deconvolution(at: At) -> list[str]:
    """The transpose of a convolution; here the pads are what is cut off."""
    stride = conv_window(at.p, at.arrays[0].ndim - 2).stride
    if 0 in stride:
        raise at.refuse(
            "it has a stride of 0, and Caffe dies when it runs", "give both stride_h and stride_w"
        )
    weight, window = _without_zeros(at, at.arrays[0])
    before, after = sides(at.p)
    ends = list(window.pad) if before == after else list(after)
    names = [_weight(at, weight), *([at.weight(1)] if at.p.bias_term else [])]
    tops = []
    for x, top in _pairs(at):
        made = at.op(
            "ConvTranspose", _flat(at, x, len(window.kernel)), *names,
            kernel_shape=list(window.kernel), strides=list(window.stride), pads=[*window.pad, *ends],
            dilations=list(window.dilation), group=at.p.group,
        )  # fmt: skip
        tops.append(_as_top(at, _activated(at, made), top))
    return tops


def im2col(at: At) -> str:
    """A convolution whose kernels pick one element of each window."""
    import numpy as np

    axis = canonical_axis(at.p.axis, at.x.shape)
    window = conv_window(at.p, len(at.x.shape) - axis - 1)
    if 0 in window.dilation:
        raise at.refuse("it has a dilation of 0")
    _at_most(at, len(window.kernel))
    channels, places = at.x.shape[axis], prod(window.kernel)
    picks = np.tile(np.eye(places, dtype=np.float32), (channels, 1))
    weight = at.weight(0, picks.reshape(-1, 1, *window.kernel), suffix="picks")
    return _convolve(at, at.x, [weight], window, _ends(at, window, axis), channels, at.top)


def _pairs(at: At) -> list[tuple[Value, Value]]:
    return list(zip(at.bottoms, at.tops, strict=True))


def _activated(at: At, made: str) -> str:
    """With the ReLU that intel/caffe has in the layer."""
    if not at.p.relu:
        return made
    slope = at.p.negative_slope
    return at.op("LeakyRelu", made, alpha=slope) if slope else at.op("Relu", made)


def _weight(at: At, weight: Array) -> str:
    return at.weight(0) if weight is at.arrays[0] else at.weight(0, weight, suffix="0")


def _without_zeros(at: At, weight: Array) -> tuple[Array, Window]:
    """The kernel and its window without a dilation of 0, where all elements meet the same one of the image.

    Without a spatial axis the kernel gets one, of size 1.
    """
    axes = weight.ndim - 2
    window = conv_window(at.p, axes)
    _at_most(at, axes)
    if not axes:
        return weight[:, :, None], Window((1,), (1,), (0,), (1,))
    for i, dilation in enumerate(window.dilation):
        if dilation == 0:
            weight = weight.sum(2 + i, keepdims=True)
    return weight, window._replace(kernel=weight.shape[2:], dilation=tuple(d or 1 for d in window.dilation))


def _at_most(at: At, axes: int) -> None:
    if axes > _MOST:
        raise at.refuse(f"it slides over {axes} axes, and programs that read ONNX take {_MOST}")


def _ends(at: At, window: Window, channel_axis: int | None = None) -> list[int]:
    """The pads after the image: as many as the windows need, which may be more than Caffe's pads.

    Caffe also computes one window of an image that is smaller than the kernel, with zeros beyond it.
    """
    before, after = sides(at.p)
    ends = list(window.pad) if before == after else list(after)
    axes = len(window.kernel)
    first = len(at.x.shape) - axes if channel_axis is None else channel_axis + 1
    for i, (k, _, pad, d) in enumerate(zip(*window, strict=True)):
        axis = first + i
        if axis >= len(at.x.shape) or axis in at.x.free:
            continue
        size = at.x.shape[axis]
        extent = d * (k - 1) + 1
        room = size + pad + ends[i] - extent
        if room < 0:
            ends[i] -= room
    return ends


def _flat(at: At, x: Value, axes: int) -> str | Value:
    """The bottom with one batch axis, the channels and the spatial axes: ONNX takes no other."""
    spatial = _spatial(at)
    if len(x.shape) == 2 + axes and spatial == axes:
        return x
    if at.layer.type == "ConvolutionDepthwise":  # which takes fewer axes
        return at.reshaped(x, [*[0] * len(x.shape), *[1] * (2 + spatial - len(x.shape))])
    tail = at.fixed(
        x, range(len(x.shape) - spatial - 1, len(x.shape)), "the image size, as it has several batch axes,"
    )
    return at.reshaped(x, [-1, *tail, *[1] * (axes - spatial)])


def _spatial(at: At) -> int:
    """The number of the layer's own spatial axes, 0 included."""
    if not at.arrays:
        return len(at.x.shape) - canonical_axis(at.p.axis, at.x.shape) - 1
    return at.arrays[0].ndim - 2


def _as_top(at: At, made: str, top: Value) -> str:
    spatial = _spatial(at)
    if spatial and len(top.shape) == 2 + spatial and at.arrays:
        return made
    return at.as_top(made, top=top)


COVERED: dict[str, Form] = {
    "Convolution": Form(convolution),
    "DepthwiseConvolution": Form(convolution),
    "ConvolutionDepthwise": Form(convolution_depthwise),
    "Deconvolution": Form(deconvolution),
    "Im2col": Form(im2col, copies=True),
}
REFUSED: dict[str, str] = {}
