"""Padding with copies of an image's own rows and columns, for which Caffe lacks a layer."""

from __future__ import annotations

from collections.abc import Sequence

from netbuilder.net import Blob, Net

__all__ = ["with_copies"]

_AXES = ((2, "rows"), (3, "columns"))


def with_copies(
    net: Net, x: Blob, name: str, before: Sequence[Sequence[int]], after: Sequence[Sequence[int]]
) -> Blob:
    """The image with copies of some of its rows, then of its columns, added before and after it.

    `before` and `after` list the indices for rows and for columns, in the order of the copies. Layers, for
    each padded axis: `rows_X` cuts the blob (Slice), `pad_rows_X` joins the pieces, some more than once
    (Concat); columns likewise. Exact forward and backward. With copies of only the first rows, the net fits
    any image size; with copies of the last ones, its image size is fixed.
    """
    for (axis, kind), first, last in zip(_AXES, before, after, strict=True):
        if first or last:
            x = _along(net, x, axis, f"{kind}_{name}", first, last)
    return x


def _along(net: Net, x: Blob, axis: int, name: str, before: Sequence[int], after: Sequence[int]) -> Blob:
    size = x.known_shape[axis]
    cuts = sorted({edge for i in (*before, *after) for edge in (i, i + 1)} - {0, size})
    starts = [0, *cuts]
    pieces: tuple[Blob, ...] = (x,)  # no cuts: an image of one row
    if cuts:
        tops = [f"{name}_{start}" for start in starts]
        pieces = net.add_many("Slice", x, name=name, tops=tops, axis=axis, slice_point=cuts)
    found = dict(zip(starts, pieces, strict=True))
    parts = [*(found[i] for i in before), *pieces, *(found[i] for i in after)]
    return net.add("Concat", *parts, name=f"pad_{name}", axis=axis)
