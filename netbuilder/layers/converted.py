"""Layers that converters from TensorFlow, ONNX and PyTorch write; they exist only in forks.

Source: foss-for-synopsys-dwc-arc-processors/synopsys-caffe unless the docstring names another.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor
from typing import TYPE_CHECKING

from netbuilder.errors import ShapeError, shape_text
from netbuilder.layers.base import Facts, ParamFacts, Shape, canonical_axis, elements, rule
from netbuilder.layers.traits import COMPUTES, GradientReads, Shares, Spoils, Unknown
from netbuilder.layers.unseen import UnknownShape
from netbuilder.layers.views import Blobs, Seen, pointwise, same_map

if TYPE_CHECKING:
    from netbuilder.schema import LayerParameter
    from netbuilder.schema.messages import ResizeBilinearParameter, ResizeNearestNeighborParameter

_UNCHECKED = Unknown("its backward pass has not been checked")
_CONVERTED = COMPUTES._replace(no_gradient=_UNCHECKED, spoils=Spoils.VALUES)
_POINTWISE = COMPUTES._replace(sees=pointwise, no_gradient=_UNCHECKED, gradient_reads=GradientReads.NOTHING)


@rule("HardSwish", in_place="wrong", traits=_POINTWISE._replace(spoils=Spoils.GRADIENT))
def hard_swish(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """x * min(1, max(0, x/6 + 1/2)). Operations: 5 per element. Source: hard_swish_layer.cpp."""
    return Facts((bottoms[0],), ops=5 * elements(bottoms[0]))


@rule("SeLU", "selu_param", in_place="wrong", traits=_POINTWISE._replace(spoils=Spoils.GRADIENT))
@rule("SELU", "selu_param", in_place="wrong", traits=_POINTWISE._replace(spoils=Spoils.GRADIENT))
def selu(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """lambda * x, below 0 lambda * alpha * (e^x - 1). Operations: 4 per element. Source: selu_layer.cpp."""
    return Facts((bottoms[0],), ops=4 * elements(bottoms[0]))


@rule(
    "Squeeze",
    "squeeze_param",
    in_place="refused",
    traits=COMPUTES._replace(sees=same_map, no_gradient=(), shares=Shares.ALWAYS),
)
def squeeze(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """The bottom without the axes named, whose size must be 1; without any axis named, without all of size 1.

    Raises ShapeError. Source: squeeze_layer.cpp, Reshape.
    """
    (bottom,) = bottoms
    axes = {canonical_axis(axis, bottom) for axis in layer.squeeze_param.axis}
    for axis in sorted(axes):
        if bottom[axis] != 1:
            raise ShapeError(f"axis {axis} of {shape_text(bottom)} is not of size 1")
    axes = axes or {i for i, n in enumerate(bottom) if n == 1}
    return Facts((tuple(n for i, n in enumerate(bottom) if i not in axes),))


@rule("Transpose", "transpose_param", in_place="refused", traits=COMPUTES._replace(
    sees=Unknown("it changes the order of the axes"), no_gradient=(),
))  # fmt: skip
def transpose(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """The axes in the order `dim`. It only copies.

    Forks have several layers of this name; without dim the shape is unknown.
    Raises ShapeError and UnknownShape. Source: yalecyu/crnn.caffe, transpose_layer.cpp, Reshape.
    """
    (bottom,) = bottoms
    order = list(layer.transpose_param.dim)
    if not order:
        raise UnknownShape("the fork: without dim in transpose_param, each has another order")
    if sorted(order) != list(range(len(bottom))):
        raise ShapeError(f"dim must name each axis of {shape_text(bottom)} once, got {order}")
    return Facts((tuple(bottom[axis] for axis in order),))


@rule("Pad", "pad_param", traits=_CONVERTED._replace(sees=Unknown("it moves the image")))
def pad(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """A border of constant values, `paddings` before and after each axis. It only copies.

    Raises ShapeError. Source: pad_layer.cpp, LayerSetUp and Reshape.
    """
    (bottom,) = bottoms
    widths = list(layer.pad_param.paddings)
    if len(widths) != 2 * len(bottom):
        raise ShapeError(
            f"{len(bottom)} axes need paddings {2 * len(bottom)} times, before and after each, "
            f"got {len(widths)}"
        )
    return Facts((tuple(n + sum(widths[2 * i : 2 * i + 2]) for i, n in enumerate(bottom)),))


@rule(
    "Mul",
    "mul_param",
    bottoms=(1, 2),
    in_place="refused",
    traits=_CONVERTED._replace(sees=Unknown("it repeats axes of size 1"), spoils=Spoils.NOTHING),
)
def mul(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """The product of two blobs, or of a blob and a parameter of shape mul_shape; axes of size 1 are repeated.

    Parameters: with one bottom, the factor (mul_shape), which Caffe does not fill.
    Operations: 1 per element. Raises ShapeError. Source: mul_layer.cpp, LayerSetUp and Reshape.
    """
    a = bottoms[0]
    b = bottoms[1] if len(bottoms) > 1 else tuple(layer.mul_param.mul_shape)
    rank = max(len(a), len(b))
    pairs = list(zip((1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b, strict=True))
    if any(m != n and 1 not in (m, n) for m, n in pairs):
        raise ShapeError(f"axes must be equal or 1, got {shape_text(a)} and {shape_text(b)}")
    top = tuple(n if m == 1 else m for m, n in pairs)
    params = () if len(bottoms) > 1 else (ParamFacts(b, "weight", filled=False),)
    return Facts((top,), params, ops=elements(top))


_RESIZES = _CONVERTED._replace(sees=Unknown("it resizes the bottom"), spoils=Spoils.NOTHING)


@rule("ResizeNearestNeighbor", "resize_nearest_neighbor_param", in_place="refused", traits=_RESIZES)
def resize_nearest_neighbor(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Another size by repeating or leaving out pixels, (n, h, w, c) -> (n, h', w', c), or NCHW.

    It only copies. Raises ShapeError. Source: resize_nearest_neighbor_layer.cpp, LayerSetUp and Reshape.
    """
    p = layer.resize_nearest_neighbor_param
    if p.align_corners + p.half_pixel_centers + p.half_pixel_onnx > 1:
        raise ShapeError("of align_corners, half_pixel_centers and half_pixel_onnx, only one may be true")
    return Facts((_resized(p, bottoms[0]),))


@rule("ResizeBilinear", "resize_bilinear_param", in_place="refused", traits=_RESIZES)
def resize_bilinear(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Another size by interpolation, (n, h, w, c) -> (n, h', w', c), NCHW, or NCHWD with five axes.

    Operations: 9 per element (6 products, 3 sums).
    Raises ShapeError. Source: resize_bilinear_layer.cpp, LayerSetUp and Reshape.
    """
    p = layer.resize_bilinear_param
    if p.align_corners + p.half_pixel_centers + p.pytorch_half_pixel > 1:
        raise ShapeError("of align_corners, half_pixel_centers and pytorch_half_pixel, only one may be true")
    bottom = bottoms[0]
    if p.data_format not in ("NHWC", "NCHW"):
        if len(bottom) != 5:
            raise ShapeError(f"data_format {p.data_format} needs 5 axes, got {shape_text(bottom)}")
        height, width = (_scaled(p, name, bottom[2 + i]) for i, name in enumerate(("height", "width")))
        depth = p.output_depth if p.HasField("output_depth") else floor(bottom[4] * p.scale_depth)
        top: Shape = (*bottom[:2], height, width, depth)
    else:
        top = _resized(p, bottom)
    return Facts((top,), ops=9 * elements(top))


def _resized(p: ResizeNearestNeighborParameter | ResizeBilinearParameter, bottom: Shape) -> Shape:
    if len(bottom) != 4:
        raise ShapeError(f"needs a bottom of 4 axes, got {shape_text(bottom)}")
    first = 1 if p.data_format == "NHWC" else 2
    size = tuple(_scaled(p, name, bottom[first + i]) for i, name in enumerate(("height", "width")))
    if min(size) < 1:
        raise ShapeError(f"nothing is left of {shape_text(bottom)}: it would become {size[0]}x{size[1]}")
    return (*bottom[:first], *size, *bottom[first + 2 :])


def _scaled(p: ResizeNearestNeighborParameter | ResizeBilinearParameter, name: str, size: int) -> int:
    if p.HasField(f"output_{name}"):
        return int(getattr(p, f"output_{name}"))
    return floor(float(size * getattr(p, f"scale_{name}")))


def _depth_to_space_sees(layer: LayerParameter, blobs: Blobs) -> Seen:
    return None


@rule(
    "DepthToSpace",
    "depth_to_space_param",
    in_place="refused",
    traits=_CONVERTED._replace(sees=_depth_to_space_sees, spoils=Spoils.NOTHING),
)
def depth_to_space(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Channels into squares of b x b positions, (n, h, w, c) -> (n, h*b, w*b, c/b^2), or NCHW.

    It only copies. Raises ShapeError. Source: depth_to_space_layer.cpp, LayerSetUp and Reshape.
    """
    p = layer.depth_to_space_param
    (bottom,) = bottoms
    b = p.block_size
    if len(bottom) != 4 or b < 1:
        raise ShapeError(f"needs block_size, and a bottom of 4 axes, got {b} and {shape_text(bottom)}")
    last = p.data_format == "NHWC"
    if not last and p.data_format not in ("NCHW", "CRD", "DCR"):
        raise ShapeError(f"data_format must be NHWC, NCHW, CRD or DCR, got {p.data_format}")
    n = bottom[0]
    c, h, w = (bottom[3], *bottom[1:3]) if last else bottom[1:]
    if c % b**2:
        raise ShapeError(f"block_size {b} needs a multiple of {b**2} channels, got {c}")
    return Facts(((n, h * b, w * b, c // b**2) if last else (n, c // b**2, h * b, w * b),))
