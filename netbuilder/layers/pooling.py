"""Pooling and SPP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from netbuilder.errors import ShapeError, shape_text
from netbuilder.layers.arithmetic import Window, pool_extent, pool_window, sides
from netbuilder.layers.base import Facts, Shape, elements, rule, variant, writes_over
from netbuilder.layers.traits import COMPUTES, GradientReads, Kernel, Reads, Spoils
from netbuilder.layers.views import Blobs, Seen, all_pooled, convolved, slid

if TYPE_CHECKING:
    from netbuilder.schema import LayerParameter
    from netbuilder.schema.messages import SPPParameter

MAX, AVE, STOCHASTIC = 0, 1, 2
FLOOR = 1


def _window(layer: LayerParameter, bottom: Shape | None) -> Window | None:
    p = layer.pooling_param
    return None if bottom is None and p.global_pooling else pool_window(p, (bottom or (1, 1, 1, 1))[2:])


def _pooling_sees(layer: LayerParameter, blobs: Blobs) -> Seen:
    view, p = blobs.views[0], layer.pooling_param
    if p.global_pooling:
        return view.pooled()
    return slid(view, convolved, pool_window(p, blobs.bottoms[0][2:]), blobs.tops[0][2:])


def _no_group(layer: LayerParameter, weight: Shape) -> int:
    return 1


def _pooling_draws(layer: LayerParameter) -> bool:
    return bool(layer.pooling_param.pool == STOCHASTIC)


def _mask(layer: LayerParameter, bottoms: Sequence[Shape]) -> Reads:
    """The second top of a maximum. Source: pooling_layer.cpp, Backward_cpu."""
    p = layer.pooling_param
    return {1: GradientReads.ELEMENTS} if p.pool == p.MAX and len(layer.top) > 1 else {}


@rule(
    "Pooling",
    "pooling_param",
    tops=(1, 2),
    traits=COMPUTES._replace(
        sees=_pooling_sees,
        kernel=Kernel(_window, _no_group),
        no_gradient=(),
        spoils=Spoils.VALUES,
        reads_tops=_mask,
        draws=_pooling_draws,
        engine=True,
    ),
)
def pooling(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Maximum, average or stochastic pooling, (n, c, h, w) -> (n, c, h', w').

    h' = round((h + 2*pad - kernel) / stride) + 1, rounded up unless round_mode is FLOOR or, in some forks,
    ceil_mode is false. If either axis is padded, a last window that starts beyond the image and its leading
    pad is dropped; in intel/caffe also if the kernel is 1. A second top (MAX only) holds the index of each
    maximum. Parameters: none.
    Operations: one comparison or addition per window element, n*c*h'*w'*kh*kw.
    Raises ShapeError. Source: pooling_layer.cpp, LayerSetUp and Reshape.
    """
    return _pooled(layer, bottoms)


@variant("Pooling", "intel")
def _pooling_of_intel(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Pooling that also drops a last window if the kernel is 1 on an axis, and takes three spatial axes.

    Raises ShapeError. Source: intel/caffe, pooling_layer.cpp, LayerSetUp and Reshape.
    """
    return _pooled(layer, bottoms, intel=True)


def _pooled(layer: LayerParameter, bottoms: Sequence[Shape], *, intel: bool = False) -> Facts:
    p = layer.pooling_param
    (bottom,) = bottoms
    volume = len(bottom) == 5 and (intel or bool(p.kernel_size_3d))
    if len(bottom) != 4 and not volume:
        raise ShapeError(f"needs a bottom of 4 axes (n,c,h,w), got {shape_text(bottom)}")
    window = pool_window(p, bottom[2:])
    kernel, stride, pad, _ = window
    end = pad if volume or sides(p) == ((0, 0), (0, 0)) else sides(p)[1]
    padded = any(pad) or any(end)
    if padded and p.pool == STOCHASTIC:
        raise ShapeError("stochastic pooling cannot pad")
    if len(layer.top) > 1 and p.pool != MAX:
        raise ShapeError("only MAX pooling has a second top (the index of each maximum)")
    floor = p.round_mode == FLOOR or not p.ceil_mode
    clip = padded or (intel and not volume and 1 in kernel)
    size = tuple(
        pool_extent(bottom[2 + i], k, stride[i], pad[i], floor=floor, clip=clip, end=end[i])
        for i, k in enumerate(kernel)
    )
    if min(size) < 0:
        raise ShapeError(
            f"the kernel {_by(kernel)} does not fit into {_by(bottom[2:])}: the output would be {_by(size)}"
        )
    top = (*bottom[:2], *size)
    return Facts((top,) * max(1, len(layer.top)), ops=elements(top) * elements(kernel))


def _by(sizes: Sequence[int]) -> str:
    return "x".join(str(n) for n in sizes)


def _spp_draws(layer: LayerParameter) -> bool:
    return bool(layer.spp_param.pool == STOCHASTIC)


@rule(
    "SPP",
    "spp_param",
    traits=COMPUTES._replace(sees=all_pooled, no_gradient=(), spoils=Spoils.VALUES, draws=_spp_draws),
)
def spp(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Spatial pyramid pooling: 1x1, 2x2, 4x4, ... bins side by side, (n, c, h, w) -> (n, c*(1 + 4 + ...)).

    Level i of `pyramid_height` levels pools with kernel and stride ceil(h / 2^i) and the padding that makes
    the windows cover the image; a window that Pooling drops is missing here too. One level alone gives
    (n, c, 1, 1). Parameters: none. Operations: as Pooling, for each level.
    Raises ShapeError. Source: spp_layer.cpp, GetPoolingParam, LayerSetUp and Reshape.
    """
    p = layer.spp_param
    (bottom,) = bottoms
    if len(bottom) != 4 or 0 in bottom[2:]:
        raise ShapeError(f"needs a bottom of 4 axes (n,c,h,w), h and w not 0, got {shape_text(bottom)}")
    if p.pyramid_height < 1:
        raise ShapeError("pyramid_height is missing or 0")
    if p.pyramid_height > 1 and writes_over(layer):
        raise ShapeError("cannot write over its bottom", hint="give the top a name of its own")
    bins = ops = 0
    for level in range(p.pyramid_height):
        oh, ow, per_bin = _spp_level(p, bottom, level)
        bins += oh * ow
        ops += oh * ow * per_bin
    n, c = bottom[:2]
    return Facts(((n, c, 1, 1) if p.pyramid_height == 1 else (n, c * bins),), ops=n * c * ops)


def _spp_level(p: SPPParameter, bottom: Shape, level: int) -> tuple[int, int, int]:
    """Rows and columns of bins of one level, and the elements of one window."""
    kernel = [-(-n // 2**level) for n in bottom[2:]]
    pad = [(k * 2**level - n + 1) // 2 for k, n in zip(kernel, bottom[2:], strict=True)]
    if pad[0] >= kernel[0] or pad[1] >= kernel[1]:
        raise ShapeError(
            f"pyramid_height {p.pyramid_height} does not fit {bottom[2]}x{bottom[3]}: {2**level} bins a side "
            f"need windows of {kernel[0]}x{kernel[1]} with pad {pad[0]}x{pad[1]}"
        )
    if p.pool == STOCHASTIC and pad != [0, 0]:
        raise ShapeError("stochastic pooling cannot pad")
    oh, ow = (
        pool_extent(n, k, k, q, clip=pad != [0, 0]) for n, k, q in zip(bottom[2:], kernel, pad, strict=True)
    )
    return oh, ow, kernel[0] * kernel[1]
