"""Pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from netbuilder.errors import ShapeError, shape_text
from netbuilder.layers.arithmetic import pool_extent, pool_window
from netbuilder.layers.base import Facts, Shape, rule

MAX, AVE, STOCHASTIC = 0, 1, 2
FLOOR = 1


@rule("Pooling", "pooling_param", tops=(1, 2))
def pooling(layer: Any, bottoms: Sequence[Shape]) -> Facts:
    """Maximum, average or stochastic pooling, (n, c, h, w) -> (n, c, h', w').

    h' = round((h + 2*pad - kernel) / stride) + 1, rounded up unless round_mode is FLOOR. If either axis is
    padded, a last window that starts beyond the image and its leading pad is dropped.
    A second top (MAX only) holds the index of each maximum. Parameters: none.
    Operations: one comparison or addition per window element, n*c*h'*w'*kh*kw.
    Raises ShapeError. Source: pooling_layer.cpp, LayerSetUp and Reshape.
    """
    p = layer.pooling_param
    (bottom,) = bottoms
    if len(bottom) != 4:
        raise ShapeError(f"needs a bottom of 4 axes (n,c,h,w), got {shape_text(bottom)}")
    window = pool_window(p, bottom[2:])
    padded = window.pad != (0, 0)
    if padded and p.pool == STOCHASTIC:
        raise ShapeError("stochastic pooling cannot pad")
    if len(layer.top) > 1 and p.pool != MAX:
        raise ShapeError("only MAX pooling has a second top (the index of each maximum)")
    floor = p.round_mode == FLOOR
    (kh, kw), (sh, sw), (ph, pw), _ = window
    oh = pool_extent(bottom[2], kh, sh, ph, floor=floor, clip=padded)
    ow = pool_extent(bottom[3], kw, sw, pw, floor=floor, clip=padded)
    if oh < 0 or ow < 0:
        raise ShapeError(
            f"the kernel {kh}x{kw} does not fit into {bottom[2]}x{bottom[3]}: the output would be {oh}x{ow}"
        )
    top = (bottom[0], bottom[1], oh, ow)
    return Facts((top,) * max(1, len(layer.top)), ops=top[0] * top[1] * oh * ow * kh * kw)
