"""Convolution and pooling over time, height and width, as C3D has them; they exist only in forks.

C3D 1.0 has their fields in convolution_param and pooling_param, C3D 1.1 in messages of their own.
Source: facebookarchive/C3D unless the docstring names another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from netbuilder.errors import ShapeError, shape_text
from netbuilder.layers.arithmetic import Window, conv_extent, deconv_extent, pool_extent
from netbuilder.layers.base import Facts, ParamFacts, Shape, elements, rule
from netbuilder.layers.traits import COMPUTES, Kernel, Spoils, Unknown
from netbuilder.layers.views import convolved, deconvolved, slid_each

if TYPE_CHECKING:
    from netbuilder.schema import LayerParameter

MAX, AVE, STOCHASTIC = 0, 1, 2
_AXES = ("time", "height", "width")


def _volume(bottom: Shape) -> tuple[Shape, Shape]:
    if len(bottom) != 5:
        raise ShapeError(f"needs a bottom of 5 axes (n,c,t,h,w), got {shape_text(bottom)}")
    return bottom[:2], bottom[2:]


def _conv(layer: LayerParameter) -> Any:
    own = layer.HasField("convolution3d_param")
    return layer.convolution3d_param if own else layer.convolution_param


def _conv_window(layer: LayerParameter, bottom: Shape | None) -> Window:
    """The window over time, height and width."""
    p = _conv(layer)
    kernel, stride, pad = (_once(getattr(p, n), n) for n in ("kernel_size", "stride", "pad"))
    window = Window(
        (p.kernel_depth, *[0 if kernel is None else kernel] * 2),
        (p.temporal_stride, *[1 if stride is None else stride] * 2),
        (p.temporal_pad, *[0 if pad is None else pad] * 2),
        (1, 1, 1),
    )
    for name, values in (("kernel", window.kernel), ("stride", window.stride)):
        if 0 in values:
            raise ShapeError(f"the {name} must be given for time and for the image, and be positive")
    return window


def _once(values: Any, name: str) -> int | None:
    """A field that C3D 1.0 has once, and BVLC's message several times."""
    if isinstance(values, int):
        return values
    if len(values) > 1:
        raise ShapeError(f"{name} may be given once, got it {len(values)} times")
    return values[0] if values else None


def _group(layer: LayerParameter, weight: Shape) -> int:
    return 1


_CONVOLVES = COMPUTES._replace(
    sees=slid_each(convolved, _conv_window),
    kernel=Kernel(_conv_window, _group),
    no_gradient=(),
    spoils=Spoils.VALUES,
    linear=True,
    weight_filler=Unknown("it is in convolution_param or in convolution3d_param"),
)


@rule("Convolution3D", "convolution3d_param", "convolution_param", traits=_CONVOLVES)
def convolution_3d(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Cross-correlation over time and space, (n, c, t, h, w) -> (n, num_output, t', h', w').

    Sizes as in Convolution; kernel_depth, temporal_stride and temporal_pad are those of time. `filter_group`
    divides the work, not the weights. Parameters: weight (num_output, c, kt, kh, kw); bias
    (1, 1, 1, 1, num_output) unless bias_term is false. MACs: every output element times c * kt * kh * kw.
    Other operations: the bias additions. Raises ShapeError. Source: convolution3d_layer.cpp, LayerSetUp.
    """
    p = _conv(layer)
    (n, c), size = _volume(bottoms[0])
    window = _conv_window(layer, bottoms[0])
    _check_outputs(p)
    extent = _fitting(bottoms[0], [conv_extent(m, *w) for m, w in _by_axis(size, window)])
    top = (n, p.num_output, *extent)
    macs = elements(top) * c * elements(window.kernel)
    return Facts((top,), _params(p, (p.num_output, c, *window.kernel)), macs, elements(top) * p.bias_term)


@rule(
    "Deconvolution3D",
    "convolution3d_param",
    "convolution_param",
    traits=_CONVOLVES._replace(sees=slid_each(deconvolved, _conv_window)),
)
def deconvolution_3d(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Transposed convolution over time and space, (n, c, t, h, w) -> (n, num_output, t', h', w').

    Sizes as in Deconvolution. Parameters: weight (c, num_output, kt, kh, kw); bias as in Convolution3D.
    MACs: every input element times num_output * kt * kh * kw. Other operations: the bias additions.
    Raises ShapeError. Source: deconvolution3d_layer.cpp, LayerSetUp.
    """
    p = _conv(layer)
    (n, c), size = _volume(bottoms[0])
    window = _conv_window(layer, bottoms[0])
    _check_outputs(p)
    extent = _fitting(bottoms[0], [deconv_extent(m, *w) for m, w in _by_axis(size, window)])
    top = (n, p.num_output, *extent)
    macs = elements(bottoms[0]) * p.num_output * elements(window.kernel)
    return Facts((top,), _params(p, (c, p.num_output, *window.kernel)), macs, elements(top) * p.bias_term)


def _by_axis(size: Shape, window: Window) -> list[tuple[int, tuple[int, int, int, int]]]:
    return [(m, (k, s, p, d)) for m, k, s, p, d in zip(size, *window, strict=True)]


def _check_outputs(p: Any) -> None:
    if p.num_output < 1 or p.filter_group < 1 or p.num_output % p.filter_group:
        raise ShapeError(
            f"num_output must be given, and a multiple of filter_group {p.filter_group}, got {p.num_output}"
        )


def _fitting(bottom: Shape, extent: Sequence[int]) -> Shape:
    for axis, size in zip(_AXES, extent, strict=True):
        if size < 1:
            raise ShapeError(f"the kernel does not fit: {shape_text(bottom)} would give {axis} {size}")
    return tuple(extent)


def _params(p: Any, weight: Shape) -> tuple[ParamFacts, ...]:
    first = ParamFacts(weight, "weight", p.weight_filler)
    return (first, ParamFacts((1, 1, 1, 1, p.num_output), "bias", p.bias_filler)) if p.bias_term else (first,)


@rule(
    "Pooling3D",
    "pooling3d_param",
    "pooling_param",
    traits=COMPUTES._replace(
        sees=Unknown("forks differ in its window"),
        kernel=Unknown("forks differ in its window"),
        no_gradient=Unknown("Synopsys' has no backward pass"),
        spoils=Spoils.VALUES,
        draws=Unknown("it draws with pool STOCHASTIC"),
    ),
)
def pooling_3d(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Pooling over time and space, (n, c, t, h, w) -> (n, c, t', h', w').

    C3D's, with kernel_depth: sizes are rounded up, and no window is dropped; time is not padded. Synopsys':
    sizes are rounded down unless ceil_mode, and as in Pooling a last window in the padding is dropped.
    Operations: one comparison or addition per window element. Raises ShapeError.
    Source: pool3d_layer.cpp; foss-for-synopsys-dwc-arc-processors/synopsys-caffe, pooling3d_layer.cpp.
    """
    leading, size = _volume(bottoms[0])
    own = layer.HasField("pooling3d_param")
    p: Any = layer.pooling3d_param if own else layer.pooling_param
    if own and not p.HasField("kernel_depth"):
        kernel, extent = _pooled_by_synopsys(p, size)
    else:
        kernel, extent = _pooled_by_c3d(p, size)
    top = (*leading, *_fitting(bottoms[0], extent))
    return Facts((top,), ops=elements(top) * elements(kernel))


def _pooled_by_c3d(p: Any, size: Shape) -> tuple[Shape, list[int]]:
    kernel = (p.kernel_depth, p.kernel_size, p.kernel_size)
    stride = (p.temporal_stride, p.stride, p.stride)
    pad = (0, p.pad, p.pad)
    if 0 in kernel or 0 in stride:
        raise ShapeError("kernel_size and kernel_depth must be given and positive, and the strides too")
    if p.pad and p.pool != AVE:
        raise ShapeError("only AVE pooling can pad")
    return kernel, [
        pool_extent(n, k, s, q, clip=False) for n, k, s, q in zip(size, kernel, stride, pad, strict=True)
    ]


def _pooled_by_synopsys(p: Any, size: Shape) -> tuple[Shape, list[int]]:
    kernel = tuple(size) if p.global_pooling else _each(p, "kernel_size", "kernel")
    stride = _each(p, "stride", "stride")
    if 0 in kernel or 0 in stride:
        raise ShapeError("the kernel must be given and positive on all axes, and the strides too")
    if p.HasField("pad"):
        before = after = (p.pad,) * 3
    else:
        before, after = (tuple(getattr(p, f"pad_{x}{end}") for x in "dhw") for end in (0, 1))
    clip = any(before) or any(after)
    return kernel, [
        pool_extent(n, k, s, q, floor=not p.ceil_mode, clip=clip, end=end)
        for n, k, s, q, end in zip(size, kernel, stride, before, after, strict=True)
    ]


def _each(p: Any, whole: str, stem: str) -> Shape:
    by_axis = tuple(getattr(p, f"{stem}_{axis}") for axis in "dhw")
    return by_axis if any(by_axis) and not p.HasField(whole) else (getattr(p, whole),) * 3
