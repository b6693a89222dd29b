"""Where the pixels of one top lie in another: the maps of coordinates between layers, and `crop`.

A map (axis, a, b) takes coordinate x of a bottom to a * x + b of the top, in the axes from `axis` on; `axis`
is None where it is the identity. Vectors a and b have a number for each spatial axis, or one for all.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from netbuilder.pycaffe.net_spec import Function, Top, layers

__all__ = [
    "AxisMismatchException",
    "UndefinedMapException",
    "compose",
    "conv_params",
    "coord_map",
    "coord_map_from_to",
    "crop",
    "crop_params",
    "inverse",
]

Map = tuple[Any, Any, Any]

# Layers whose tops have the pixels of their bottoms; the list is pycaffe's.
PASS_THROUGH_LAYERS = [
    "AbsVal", "BatchNorm", "Bias", "BNLL", "Dropout", "Eltwise", "ELU", "Log", "LRN", "Exp", "MVN", "Power",
    "ReLU", "PReLU", "Scale", "Sigmoid", "Split", "TanH", "Threshold",
]  # fmt: skip
_LEGACY = {"kernel_h", "kernel_w", "pad_h", "pad_w", "stride_h", "stride_w"}
_IDENTITY: Map = (None, 1, 0)


class UndefinedMapException(Exception):
    """A layer whose tops have no map of coordinates."""


class AxisMismatchException(Exception):
    """Maps of different axes."""


def conv_params(fn: Function) -> tuple[int, Any, Any, Any]:
    """The first axis, the strides, the extents of the kernel with dilation, and the pads of a layer."""
    params = fn.params.get("convolution_param", fn.params)
    kernel = np.array(params["kernel_size"], ndmin=1)
    if _LEGACY & set(fn.params):
        raise AssertionError("cropping does not support the fields with _h and _w")
    dilation, stride, pad = (
        np.array(params.get(name, otherwise), ndmin=1)
        for name, otherwise in (("dilation", 1), ("stride", 1), ("pad", 0))
    )
    return params.get("axis", 1), stride, (kernel - 1) * dilation + 1, pad


def crop_params(fn: Function) -> tuple[int, Any]:
    """The first axis and the offsets of a Crop."""
    params = fn.params.get("crop_param", fn.params)
    return params.get("axis", 2), np.array(params.get("offset", 0), ndmin=1)


def coord_map(fn: Function) -> Map:
    """The map from the bottom of a layer to its top. Raises UndefinedMapException if it has none."""
    if fn.type_name in ("Convolution", "Pooling", "Im2col"):
        axis, stride, extent, pad = conv_params(fn)
        return axis, 1 / stride, (pad - (extent - 1) / 2) / stride
    if fn.type_name == "Deconvolution":
        axis, stride, extent, pad = conv_params(fn)
        return axis, stride, (extent - 1) / 2 - pad
    if fn.type_name in PASS_THROUGH_LAYERS:
        return _IDENTITY
    if fn.type_name == "Crop":
        axis, offset = crop_params(fn)
        return axis - 1, 1, -offset  # counted from the last axis that is not spatial
    raise UndefinedMapException


def compose(base_map: Map, next_map: Map) -> Map:
    """First `next_map`, then `base_map`. Raises AxisMismatchException."""
    (ax1, a1, b1), (ax2, a2, b2) = base_map, next_map
    if None not in (ax1, ax2) and ax1 != ax2:
        raise AxisMismatchException
    return ax2 if ax1 is None else ax1, a1 * a2, a1 * b2 + b1


def inverse(coord_map: Map) -> Map:
    """The map backwards."""
    axis, a, b = coord_map
    return axis, 1 / a, -b / a


def coord_map_from_to(top_from: Top, top_to: Top) -> Map:
    """The map from the coordinates of one top to those of another, through a blob that both come from.

    Raises RuntimeError if no layers with maps connect them.
    """
    ways = _ways(top_from)
    for top, way in _ways(top_to).items():
        if top in ways:
            return compose(way, inverse(ways[top]))
    raise RuntimeError("Could not compute map between tops; are they connected by spatial layers?")


def _ways(top: Top) -> dict[Top, Map]:
    """The maps to a top from all tops that it comes from through layers with maps, itself first."""
    found = {top: _IDENTITY}
    waiting = [top]
    while waiting:
        reached = waiting.pop(0)
        bottoms = reached.fn.inputs[:1] if reached.fn.type_name == "Crop" else reached.fn.inputs
        try:
            step = compose(found[reached], coord_map(reached.fn)) if bottoms else _IDENTITY
        except UndefinedMapException:
            continue
        for bottom in bottoms:
            if bottom not in found:
                found[bottom] = step
                waiting.append(bottom)
    return found


def crop(top_from: Top, top_to: Top) -> Top:
    """A Crop of `top_from` to the pixels of `top_to`. Raises AssertionError if these are not pixels of it."""
    axis, a, b = coord_map_from_to(top_from, top_to)
    for fits, what in (
        (np.all(a == 1), f"scale mismatch on crop (a = {a})"),
        (np.all(b <= 0), f"cannot crop negative offset (b = {b})"),
        (np.all(np.round(b) == b), f"cannot crop noninteger offset (b = {b})"),
    ):
        if not fits:
            raise AssertionError(what)
    offset = [int(n) for n in np.atleast_1d(-np.round(b).astype(int))]
    made: Top = layers.Crop(top_from, top_to, crop_param={"axis": axis + 1, "offset": offset})
    return made
