"""Layers that join, cut or swallow blobs: Eltwise, Concat, Slice, Split, Crop, Filter, Silence."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from netbuilder.errors import ShapeError, shape_text
from netbuilder.layers.base import (
    Facts,
    Shape,
    Unshaped,
    canonical_axis,
    check_not_empty,
    elements,
    rule,
    writes_over,
)
from netbuilder.layers.traits import COMPUTES, Diff, GradientReads, Shares, Spoils, Unknown
from netbuilder.layers.views import Blobs, Seen, View, first_spatial, moved, pointwise, union

if TYPE_CHECKING:
    from netbuilder.schema import LayerParameter
    from netbuilder.schema.messages import ConcatParameter, SliceParameter

PROD, SUM = 0, 1


def _spoils_eltwise(layer: LayerParameter) -> Spoils:
    return Spoils.GRADIENT if layer.eltwise_param.operation == PROD else Spoils.VALUES


def _spoils_unless_alone(layer: LayerParameter) -> Spoils:
    return Spoils.NOTHING if len(layer.bottom) == len(layer.top) == 1 else Spoils.VALUES


def _product_reads(layer: LayerParameter) -> GradientReads:
    """The product, which is divided by each bottom. Source: eltwise_layer.cpp, Backward_cpu."""
    p = layer.eltwise_param
    divides = p.operation == p.PROD and not p.stable_prod_grad
    return GradientReads.ELEMENTS if divides else GradientReads.NOTHING


@rule(
    "Eltwise",
    "eltwise_param",
    bottoms=(2, None),
    traits=COMPUTES._replace(
        sees=pointwise, no_gradient=(), spoils=_spoils_eltwise, gradient_reads=_product_reads, engine=True
    ),
)
def eltwise(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Sum (optionally with one coefficient per bottom), product or maximum of equal-shaped bottoms.

    Operations per element: the number of bottoms minus one, plus one per coefficient.
    Raises ShapeError. Source: eltwise_layer.cpp, LayerSetUp and Reshape.
    """
    p = layer.eltwise_param
    first = bottoms[0]
    for i, shape in enumerate(bottoms):
        if shape != first:
            raise ShapeError(
                f"bottoms 0 and {i} must have equal shapes, got {shape_text(first)} and {shape_text(shape)}"
            )
    if p.coeff and len(p.coeff) != len(bottoms):
        raise ShapeError(f"coeff is given {len(p.coeff)} times for {len(bottoms)} bottoms")
    if p.coeff and p.operation == PROD:
        raise ShapeError("coeff goes with operation SUM, not with PROD")
    weighted = len(bottoms) if p.coeff and p.operation == SUM else 0
    return Facts((first,), ops=(len(bottoms) - 1 + weighted) * elements(first))


def _concat_sees(layer: LayerParameter, blobs: Blobs) -> Seen:
    p = layer.concat_param
    axis = first_spatial(p.concat_dim if p.HasField("concat_dim") else p.axis, blobs.bottoms[0])
    return union(blobs.views) if len(blobs.views) == 1 or axis < 0 else None


def _diff_if_alone(layer: LayerParameter) -> Diff:
    return Diff.LENT if len(layer.bottom) == len(layer.top) == 1 else Diff.OWN


# Source of `shares` and `diff`: concat_layer.cpp and slice_layer.cpp, Reshape.
@rule(
    "Concat",
    "concat_param",
    bottoms=(1, None),
    traits=COMPUTES._replace(
        sees=_concat_sees,
        no_gradient=(),
        spoils=_spoils_unless_alone,
        shares=Shares.ALONE,
        diff=_diff_if_alone,
        engine=True,
    ),
)
def concat(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """The bottoms one after another along `axis` (default 1); their other axes must be equal.

    With per_fla_fuse, intel/caffe first flattens each to (n, c*h*w, 1, 1).
    Raises ShapeError. Source: concat_layer.cpp, Reshape.
    """
    p = layer.concat_param
    first = bottoms[0]
    axis = _axis(p, "concat_dim", first)
    if p.per_fla_fuse and axis == 1:
        bottoms = [(*shape[:1], elements(shape[1:]), *(1,) * len(shape[2:])) for shape in bottoms]
        first = bottoms[0]
    total = 0
    for i, shape in enumerate(bottoms):
        if len(shape) != len(first) or shape[:axis] + shape[axis + 1 :] != first[:axis] + first[axis + 1 :]:
            raise ShapeError(
                f"bottoms 0 and {i} must agree in all axes but axis {axis}, "
                f"got {shape_text(first)} and {shape_text(shape)}"
            )
        total += shape[axis]
    if len(bottoms) == 1:
        check_not_empty(first, "the only bottom")
    return Facts(((*first[:axis], total, *first[axis + 1 :]),))


def _slice_sees(layer: LayerParameter, blobs: Blobs) -> Seen:
    p, view = layer.slice_param, blobs.views[0]
    cut = first_spatial(p.slice_dim if p.HasField("slice_dim") else p.axis, blobs.bottoms[0])
    if view.flat:
        return None
    seen: list[View | None] = []
    begin = 0
    for top in blobs.tops:
        axes = list(view.axes)
        if cut >= 0:
            axis = axes[cut]
            axes[cut] = axis if isinstance(axis, str) else moved(axis, begin)
            begin += top[2 + cut]
        seen.append(View(view.image, top[2:], tuple(axes)))
    return seen


@rule(
    "Slice",
    "slice_param",
    tops=(1, None),
    traits=COMPUTES._replace(
        sees=_slice_sees,
        no_gradient=(),
        spoils=_spoils_unless_alone,
        shares=Shares.ALONE,
        diff=_diff_if_alone,
    ),
)
def slice_(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Pieces of the bottom along `axis` (default 1): equal ones, or cut at each slice_point.

    Raises ShapeError. Source: slice_layer.cpp, Reshape.
    """
    p = layer.slice_param
    (bottom,) = bottoms
    axis = _axis(p, "slice_dim", bottom)
    size, tops = bottom[axis], len(layer.top)
    if p.slice_point:
        if len(p.slice_point) != tops - 1:
            raise ShapeError(f"{tops} tops need {tops - 1} slice_point, got {len(p.slice_point)}")
        cuts = [0, *p.slice_point, size]
        if tops > size or cuts[-2] > size or any(b <= a for a, b in pairwise(cuts[:-1])):
            raise ShapeError(
                f"slice_point must rise from above 0 to at most {size}, the size of axis {axis}, "
                f"got {list(p.slice_point)}"
            )
        sizes = [b - a for a, b in pairwise(cuts)]
    elif size % tops:
        raise ShapeError(f"axis {axis} of size {size} cannot be cut into {tops} equal tops")
    else:
        sizes = [size // tops] * tops
    if tops == 1:
        check_not_empty(bottom, "the bottom of the only top")
    if writes_over(layer) and 0 not in bottom and sizes[0] != size:
        raise ShapeError("cannot write over its bottom", hint="give the tops names of their own")
    return Facts(tuple((*bottom[:axis], n, *bottom[axis + 1 :]) for n in sizes))


def _axis(p: ConcatParameter | SliceParameter, legacy: str, shape: Shape) -> int:
    if not p.HasField(legacy):
        return canonical_axis(p.axis, shape)
    if p.HasField("axis"):
        raise ShapeError(f"axis and {legacy} are both given: give axis")
    return canonical_axis(getattr(p, legacy), shape, legacy)


@rule(
    "Split",
    tops=(1, None),
    in_place="refused",
    traits=COMPUTES._replace(sees=pointwise, keeps_shape=True, no_gradient=(), shares=Shares.ALWAYS),
)
def split(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """The bottom, once per top, by reference. Raises ShapeError. Source: split_layer.cpp, Reshape."""
    if isinstance(bottoms[0], Unshaped):
        raise ShapeError("the bottom has no shape, and Caffe cannot split it")
    return Facts((bottoms[0],) * len(layer.top))


def _crop_sees(layer: LayerParameter, blobs: Blobs) -> Seen:
    p, view = layer.crop_param, blobs.views[0]
    if view.flat:
        return None
    first = first_spatial(p.axis, blobs.bottoms[0])
    axes = list(view.axes)
    for i, axis in enumerate(axes):
        offset = 0
        if i >= first and p.offset:
            offset = p.offset[i - first] if len(p.offset) > 1 else p.offset[0]
        if not isinstance(axis, str):
            axes[i] = moved(axis, offset)
    return View(view.image, blobs.tops[0][2:], tuple(axes))


@rule(
    "Crop",
    "crop_param",
    bottoms=2,
    traits=COMPUTES._replace(sees=_crop_sees, sizes_only=(1,), no_gradient=(), spoils=Spoils.GRADIENT),
)
def crop(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """The part of bottom 0 that has the size of bottom 1 from `axis` (default 2) on, at `offset`.

    Raises ShapeError. Source: crop_layer.cpp, LayerSetUp and Reshape.
    """
    p = layer.crop_param
    bottom, reference = bottoms
    axis = canonical_axis(p.axis, bottom)
    cropped = len(bottom) - axis
    if len(p.offset) > 1 and len(p.offset) != cropped:
        raise ShapeError(f"offset is given {len(p.offset)} times: give it once, or once for {cropped} axes")
    if len(reference) < len(bottom):
        raise ShapeError(
            f"bottom 1 {shape_text(reference)} must have as many axes as bottom 0 {shape_text(bottom)}"
        )
    top = list(bottom)
    for i in range(axis, len(bottom)):
        offset = p.offset[i - axis] if len(p.offset) > 1 else p.offset[0] if p.offset else 0
        top[i] = reference[i]
        if offset + reference[i] > bottom[i]:
            raise ShapeError(
                f"axis {i}: offset {offset} and size {reference[i]} reach past the {bottom[i]} of bottom 0"
            )
    return Facts((tuple(top),))


@rule(
    "Filter",
    bottoms=(2, None),
    tops=(1, None),
    traits=COMPUTES._replace(
        sees=Unknown("which images pass is known only when the net runs"),
        no_gradient=(-1,),
        spoils=Spoils.VALUES,
    ),
)
def filter_(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """The images of each bottom for which the last bottom, the selector (n, 1, ...), is not 0.

    How many that are is known only when the net runs; until then the tops have all n images.
    Parameters: none. Operations: one comparison per image.
    Raises ShapeError. Source: filter_layer.cpp, LayerSetUp and Reshape.
    """
    *data, selector = bottoms
    if len(layer.top) != len(data):
        raise ShapeError(f"needs one top less than bottoms, got {len(layer.top)} for {len(bottoms)}")
    if not selector or any(n != 1 for n in selector[1:]) or selector[0] == 0:
        raise ShapeError(f"the selector (the last bottom) must be (n,1,...), got {shape_text(selector)}")
    for i, shape in enumerate(data):
        if not shape or shape[0] != selector[0]:
            raise ShapeError(
                f"bottom {i} and the selector must have the same batch (axis 0), "
                f"got {shape_text(shape)} and {shape_text(selector)}"
            )
    return Facts(tuple(data), ops=selector[0])


@rule("Silence", bottoms=(1, None), tops=0, traits=COMPUTES)
def silence(layer: LayerParameter, bottoms: Sequence[Shape]) -> Facts:
    """Swallows its bottoms, so that they are no net outputs. Source: silence_layer.cpp."""
    return Facts(())
