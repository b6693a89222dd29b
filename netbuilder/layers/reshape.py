"""Layers that change the shape of one blob: Reshape, Flatten, Tile, Reduction, ArgMax, BatchReindex."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from netbuilder.errors import ShapeError, shape_text
from netbuilder.layers.base import Facts, Shape, canonical_axis, check_not_empty, elements, rule
from netbuilder.layers.traits import COMPUTES, Diff, Shares, Spoils
from netbuilder.layers.views import Blobs, Seen, first_spatial, pointwise, same_map

if TYPE_CHECKING:
    from netbuilder.schema import LayerParameter

SUM, MEAN = 1, 4
_RESHAPED = COMPUTES._replace(sees=same_map, no_gradient=(), shares=Shares.ALWAYS)


# Source of `diff`: Reshape of reshape_layer.cpp, Backward_cpu of flatten_layer.cpp.
@rule("Reshape", "reshape_param", in_place="refused", traits=_RESHAPED._replace(diff=Diff.LENT))
def reshape(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """The same values in another shape.

    In `shape`, 0 copies the bottom's axis at the same index, and one -1 is inferred from the rest. `axis` and
    `num_axes` limit the range of axes that is replaced; axis -1 is *after* the last axis.
    With pixelshuffler r, intel/caffe puts channels side by side: (n, c*r*r, h, w) -> (n, c, h*r, w*r).
    Raises ShapeError. Source: reshape_layer.cpp, LayerSetUp and Reshape.
    """
    p = layer.reshape_param
    (bottom,) = bottoms
    check_not_empty(bottom, "the bottom")
    if p.pixelshuffler != 1:
        return _shuffled(p.pixelshuffler, bottom)
    rank = len(bottom)
    start = p.axis if p.axis >= 0 else rank + p.axis + 1
    end = rank if p.num_axes == -1 else start + p.num_axes
    if not 0 <= start <= rank or p.num_axes < -1 or end > rank:
        raise ShapeError(
            f"axis {p.axis} and num_axes {p.num_axes} are out of range for a blob of {rank} axes"
        )
    dims = list(p.shape.dim)
    if dims.count(-1) > 1:
        raise ShapeError("shape may have one -1, the axis to infer, got several")
    for i, n in enumerate(dims):
        if n == 0:
            if start + i >= rank:
                raise ShapeError(
                    f"shape has a 0 (copy) at place {i}, but the bottom {shape_text(bottom)} "
                    f"has no axis {start + i}"
                )
            dims[i] = bottom[start + i]
        elif n < -1:
            raise ShapeError(f"shape may hold sizes, 0 (copy) and -1 (infer), got {n}")
    total = elements(bottom)
    if -1 in dims:
        known = -elements(dims) * elements(bottom[:start]) * elements(bottom[end:])
        if known == 0 or total % known:
            raise ShapeError(
                f"cannot infer the -1: {total} elements of {shape_text(bottom)} are not a multiple of {known}"
            )
        dims[dims.index(-1)] = total // known
    top = (*bottom[:start], *dims, *bottom[end:])
    if elements(top) != total:
        raise ShapeError(f"{shape_text(bottom)} has {total} elements, {shape_text(top)} {elements(top)}")
    return Facts((top,))


def _shuffled(r: int, bottom: Shape) -> Facts:
    """Source: intel/caffe, reshape_layer.cpp, Reshape."""
    if len(bottom) != 4 or r < 1 or bottom[1] % r**2:
        raise ShapeError(
            f"pixelshuffler {r} needs a bottom (n,c,h,w) whose channels are a multiple of {r**2}, "
            f"got {shape_text(bottom)}"
        )
    n, c, h, w = bottom
    return Facts(((n, c // r**2, h * r, w * r),))


@rule("Flatten", "flatten_param", in_place="refused", traits=_RESHAPED._replace(diff=Diff.REPLACES))
def flatten(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """The axes from `axis` (default 1) to `end_axis` (default -1) as one.

    Raises ShapeError. Source: flatten_layer.cpp, Reshape.
    """
    p = layer.flatten_param
    (bottom,) = bottoms
    start, end = canonical_axis(p.axis, bottom), canonical_axis(p.end_axis, bottom, "end_axis") + 1
    if start > end:
        raise ShapeError(f"axis {p.axis} comes after end_axis {p.end_axis}")
    return Facts(((*bottom[:start], elements(bottom[start:end]), *bottom[end:]),))


def _spoils_tile(layer: LayerParameter) -> Spoils:
    return Spoils.NOTHING if layer.tile_param.tiles == 1 else Spoils.VALUES


def _tile_sees(layer: LayerParameter, blobs: Blobs) -> Seen:
    return blobs.views[0] if first_spatial(layer.tile_param.axis, blobs.bottoms[0]) < 0 else None


@rule("Tile", "tile_param", traits=COMPUTES._replace(sees=_tile_sees, no_gradient=(), spoils=_spoils_tile))
def tile(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """The bottom repeated `tiles` times along `axis` (default 1).

    Raises ShapeError. Source: tile_layer.cpp, Reshape.
    """
    p = layer.tile_param
    (bottom,) = bottoms
    axis = canonical_axis(p.axis, bottom)
    if p.tiles < 1:
        raise ShapeError(
            f"tiles must be at least 1, got {p.tiles}" if p.HasField("tiles") else "tiles is missing"
        )
    return Facts(((*bottom[:axis], bottom[axis] * p.tiles, *bottom[axis + 1 :]),))


def _reduction_sees(layer: LayerParameter, blobs: Blobs) -> Seen:
    axis = first_spatial(layer.reduction_param.axis, blobs.bottoms[0])
    return blobs.views[0].pooled() if axis <= 0 else None


@rule(
    "Reduction",
    "reduction_param",
    traits=COMPUTES._replace(sees=_reduction_sees, no_gradient=(), spoils=Spoils.VALUES),
)
def reduction(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Sum, sum of magnitudes, sum of squares or mean over *all* axes from `axis` (default 0) on.

    Operations: one addition per element, one more for magnitudes or squares, and one multiplication per
    output. Raises ShapeError. Source: reduction_layer.cpp, Reshape.
    """
    p = layer.reduction_param
    (bottom,) = bottoms
    top = bottom[: canonical_axis(p.axis, bottom)]
    if p.operation in (SUM, MEAN):
        check_not_empty(bottom[len(top) :], "the part to be summed")
    per_element = 2 if p.operation in (2, 3) else 1
    return Facts((top,), ops=per_element * elements(bottom) + elements(top))


def _argmax_sees(layer: LayerParameter, blobs: Blobs) -> Seen:
    p, view = layer.argmax_param, blobs.views[0]
    if not p.HasField("axis"):
        return view.pooled()
    return None if first_spatial(p.axis, blobs.bottoms[0]) >= 0 else view


@rule(
    "ArgMax",
    "argmax_param",
    traits=COMPUTES._replace(sees=_argmax_sees, no_gradient=(0,), no_backward=True, spoils=Spoils.VALUES),
)
def argmax(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """The `top_k` (default 1) largest elements of each image, or along `axis`.

    Without axis: (n, ...) -> (n, 1, top_k) indices, or (n, 2, top_k) indices and values if out_max_val;
    a bottom of more than 3 axes adds axes of size 1. With axis: that axis becomes top_k, indices or values.
    Parameters: none. Operations: one comparison per element.
    Raises ShapeError. Source: argmax_layer.cpp, LayerSetUp and Reshape.
    """
    p = layer.argmax_param
    (bottom,) = bottoms
    if p.top_k < 1:
        raise ShapeError("top_k must be at least 1")
    if not bottom:
        raise ShapeError("needs a bottom of at least 1 axis, got a scalar")
    if p.HasField("axis"):
        axis = canonical_axis(p.axis, bottom)
        among, top = bottom[axis], (*bottom[:axis], p.top_k, *bottom[axis + 1 :])
    else:
        among = elements(bottom[1:])
        top = (bottom[0], 2 if p.out_max_val else 1, p.top_k, *(1,) * (len(bottom) - 3))
    if p.top_k > among:
        raise ShapeError(f"top_k {p.top_k} is more than the {among} elements to choose from")
    return Facts((top,), ops=elements(bottom))


def _reindex_stops(layer: LayerParameter, bottoms: Sequence[Shape], phase: str) -> str:
    """Source: batch_reindex_layer.cpp, check_batch_reindex."""
    return "" if bottoms[0] else "bottom 0 is a scalar, and has no images to choose from"


@rule(
    "BatchReindex",
    bottoms=2,
    traits=COMPUTES._replace(
        sees=pointwise, no_forward=_reindex_stops, no_gradient=(1,), spoils=Spoils.VALUES
    ),
)
def batch_reindex(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """The images of bottom 0 that bottom 1 lists by index, (n, ...) and (m,) -> (m, ...).

    Parameters: none. It only copies.
    Raises ShapeError. Source: batch_reindex_layer.cpp, Reshape.
    """
    bottom, indices = bottoms
    if len(indices) != 1:
        raise ShapeError(f"bottom 1, the indices, must have 1 axis, got {shape_text(indices)}")
    return Facts(((indices[0], *bottom[1:]),))
