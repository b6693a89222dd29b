"""Convolution, its depthwise forms in forks, Deconvolution and Im2col."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from netbuilder.errors import ShapeError, shape_text
from netbuilder.layers.arithmetic import (
    Window,
    check_stride,
    conv_extent,
    conv_window,
    deconv_extent,
    sides,
)
from netbuilder.layers.base import (
    Facts,
    ParamFacts,
    Shape,
    canonical_axis,
    elements,
    legacy_shape,
    rule,
)
from netbuilder.layers.traits import COMPUTES, Kernel, Spoils
from netbuilder.layers.views import convolved, deconvolved, slid_each

if TYPE_CHECKING:
    from netbuilder.schema import LayerParameter
    from netbuilder.schema.messages import ConvolutionParameter


def conv_kernel(layer: LayerParameter, bottom: Shape | None) -> Window:
    """The window of a layer with a `convolution_param`; two spatial axes where the bottom is unknown."""
    p = layer.convolution_param
    if bottom is None:
        return conv_window(p, 2)
    return conv_window(p, len(bottom) - 1 - (p.axis if p.axis >= 0 else p.axis + len(bottom)))


def group(layer: LayerParameter, weight: Shape) -> int:
    """The groups of a layer with a `convolution_param`."""
    return int(layer.convolution_param.group)


def _channels(layer: LayerParameter, weight: Shape) -> int:
    return weight[0] if weight else 1


_SLIDING = COMPUTES._replace(
    sees=slid_each(convolved, conv_kernel),
    kernel=Kernel(conv_kernel, group),
    no_gradient=(),
    spoils=Spoils.VALUES,
)


def _learns(layer: LayerParameter) -> int:
    return 1 + layer.convolution_param.bias_term


_CONVOLVES = _SLIDING._replace(linear=True, weight_filler="convolution_param", engine=True, learns=_learns)


@rule(
    "DepthwiseConvolution",
    "convolution_param",
    bottoms=(1, None),
    tops=(1, None),
    same=True,
    traits=_CONVOLVES,
)
@rule(
    "Convolution",
    "convolution_param",
    bottoms=(1, None),
    tops=(1, None),
    same=True,
    traits=_CONVOLVES._replace(defaults={"weight_filler": {"type": "msra"}}),
)
def convolution(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Cross-correlation, (n, c, h, w) -> (n, num_output, h', w'); any number of spatial axes.

    h' = trunc((h + 2*pad - (dilation*(kernel-1) + 1)) / stride) + 1.
    Several bottoms of one shape share the weights, one top each. With pad_l, pad_r, pad_t and pad_b, which
    Synopsys' fork has, 2*pad is the sum of both sides.
    Parameters: weight (num_output, c/group, kh, kw); bias (num_output,) unless bias_term is false.
    MACs: every output element times c/group * kh * kw. Other operations: one addition per output
    element if there is a bias; in intel/caffe, with relu, one comparison.
    DepthwiseConvolution (yonghenglh6/DepthwiseConvolution, depthwise_conv_layer.cpp) is the same layer with
    a faster kernel for group = c; it reads group from the file as well.
    Raises ShapeError. Source: base_conv_layer.cpp, conv_layer.cpp.
    """
    p = layer.convolution_param
    leading, channels, size, window = _geometry(p, bottoms)
    padded = tuple(n + more for n, more in zip(size, _uneven(p, size), strict=True))
    extent = _extents(conv_extent, padded, window)
    _check_bias(p, extent)
    per_group = channels // p.group
    top = (*leading, p.num_output, *extent)
    weight = (p.num_output, per_group, *window.kernel)
    outputs = elements(top) * len(bottoms)
    return Facts(
        (top,) * len(bottoms),
        _params(p, weight),
        macs=outputs * per_group * elements(window.kernel),
        ops=(outputs if p.bias_term else 0) + (outputs if p.relu else 0),
    )


@rule(
    "ConvolutionDepthwise",
    "convolution_param",
    traits=_CONVOLVES._replace(kernel=Kernel(conv_kernel, _channels)),
)
def convolution_depthwise(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """One kernel for each channel, (n, c, h, w) -> (n, c, h', w'); num_output and group are ignored.

    Parameters: weight (c, 1, kh, kw); bias (c,) unless bias_term is false. h', MACs, operations: as in
    Convolution. Raises ShapeError. Source: farmingyard/ShuffleNet, conv_dw_layer.cpp, LayerSetUp and Reshape,
    which reads past the end of an empty list; here a missing stride is 1 and a missing pad is 0.
    """
    p = layer.convolution_param
    n, c, *size = legacy_shape(bottoms[0])
    window = conv_window(p, 2)
    extent = _extents(conv_extent, tuple(size), window)
    top = (n, c, *extent)
    params = [ParamFacts((c, 1, *window.kernel), "weight", p.weight_filler)]
    if p.bias_term:
        params.append(ParamFacts((c,), "bias", p.bias_filler))
    outputs = elements(top)
    return Facts(
        (top,), tuple(params), macs=outputs * elements(window.kernel), ops=outputs if p.bias_term else 0
    )


@rule(
    "Deconvolution",
    "convolution_param",
    bottoms=(1, None),
    tops=(1, None),
    same=True,
    traits=_CONVOLVES._replace(sees=slid_each(deconvolved, conv_kernel)),
)
def deconvolution(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Transposed convolution, (n, c, h, w) -> (n, num_output, h', w').

    h' = stride*(h-1) + dilation*(kernel-1) + 1 - 2*pad. A net with a stride of 0 in an _h/_w pair builds but
    crashes Caffe in the forward pass (`netbuilder.checks` reports it).
    Parameters: weight (c, num_output/group, kh, kw), input channels first; bias as in Convolution.
    MACs: every input element times num_output/group * kh * kw. Other operations: bias additions.
    Raises ShapeError. Source: base_conv_layer.cpp, deconv_layer.cpp.
    """
    p = layer.convolution_param
    leading, channels, size, window = _geometry(p, bottoms)
    extent = _extents(deconv_extent, size, window, less=_uneven(p, size))
    _check_bias(p, extent)
    per_group = p.num_output // p.group
    top = (*leading, p.num_output, *extent)
    weight = (channels, per_group, *window.kernel)
    return Facts(
        (top,) * len(bottoms),
        _params(p, weight),
        macs=elements(bottoms[0]) * len(bottoms) * per_group * elements(window.kernel),
        ops=elements(top) * len(bottoms) if p.bias_term else 0,
    )


@rule("Im2col", "convolution_param", traits=_SLIDING)
def im2col(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """The windows of a convolution unrolled into channels, (n, c, h, w) -> (n, c*kh*kw, h', w').

    h' as in Convolution; num_output, group and bias_term are ignored. At least one spatial axis.
    Parameters: none. It only copies.
    Raises ShapeError. Source: im2col_layer.cpp, LayerSetUp and Reshape.
    """
    p = layer.convolution_param
    (bottom,) = bottoms
    axis = canonical_axis(p.axis, bottom)
    size = bottom[axis + 1 :]
    if not size:
        raise ShapeError(f"axis {p.axis} of {shape_text(bottom)} leaves no spatial axis after the channels")
    window = conv_window(p, len(size))
    extent = _extents(conv_extent, size, window)
    return Facts(((*bottom[:axis], bottom[axis] * elements(window.kernel), *extent),))


def _geometry(p: ConvolutionParameter, bottoms: Sequence[Shape]) -> tuple[Shape, int, Shape, Window]:
    """The leading (batch) axes, the channels, the spatial axes and the window."""
    bottom = bottoms[0]
    for i, other in enumerate(bottoms):
        if other != bottom:
            raise ShapeError(
                f"bottoms 0 and {i} must have equal shapes to share weights, "
                f"got {shape_text(bottom)} and {shape_text(other)}"
            )
    axis = canonical_axis(p.axis, bottom)
    channels, size = bottom[axis], bottom[axis + 1 :]
    window = conv_window(p, len(size))
    if p.num_output < 1:
        raise ShapeError("num_output is missing or 0")
    if p.group < 1 or channels % p.group or p.num_output % p.group:
        raise ShapeError(
            f"group {p.group} must divide the {channels} channels of the bottom and num_output {p.num_output}"
        )
    return bottom[:axis], channels, size, window


def _uneven(p: ConvolutionParameter, size: Shape) -> Shape:
    """By how much the pad after the image is larger than the pad before it, on each spatial axis."""
    before, after = sides(p)
    return (0,) * len(size) if before == after else (after[0] - before[0], after[1] - before[1])


def _extents(
    extent: Callable[[int, int, int, int, int], int], size: Shape, window: Window, less: Shape = ()
) -> Shape:
    # Plain indexing: this runs once per convolution of every net, and a zip of five costs more.
    k, s, p, d = window
    if extent is conv_extent:
        check_stride(s)
    out = tuple(extent(n, k[i], s[i], p[i], d[i]) for i, n in enumerate(size))
    if any(less):
        out = tuple(n - cut for n, cut in zip(out, less, strict=True))
    if any(n < 0 for n in out):
        raise ShapeError(
            f"the kernel does not fit: an input of {shape_text(size)} would give {shape_text(out)}"
        )
    return out


def _check_bias(p: ConvolutionParameter, extent: Shape) -> None:
    if p.bias_term and 0 in extent:
        raise ShapeError(
            f"the output is empty, {shape_text(extent)}, and Caffe cannot add a bias to an empty blob",
            hint="the kernel is larger than the padded input",
        )


def _params(p: ConvolutionParameter, weight: Shape) -> tuple[ParamFacts, ...]:
    first = ParamFacts(weight, "weight", p.weight_filler)
    return (first, ParamFacts((p.num_output,), "bias", p.bias_filler)) if p.bias_term else (first,)
