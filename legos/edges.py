"""Padding by copies of an image's own rows and columns, which Caffe has no layer for."""

from __future__ import annotations

from collections.abc import Sequence

from netbuilder.net import Blob, Net

__all__ = ["with_copies"]

_AXES = ((2, "rows"), (3, "columns"))


def with_copies(
    net: Net, x: Blob, name: str, before: Sequence[Sequence[int]], behind: Sequence[Sequence[int]]
) -> Blob:
    """The image with copies of some of its rows, then of its columns, before and behind it.

    `before` and `behind` give the indices for rows and for columns, in the order in which the copies stand.
    Layers, for each axis that gets copies: `rows_X` cuts the blob (Slice), `pad_rows_X` joins the pieces
    again, some more than once (Concat); `columns` likewise. Exact forward and backward. Copies of the first
    rows leave the net free of the image's size; copies of the last ones write it in.
    """
    for (axis, kind), first, last in zip(_AXES, before, behind, strict=True):
        if first or last:
            x = _along(net, x, axis, f"{kind}_{name}", first, last)
    return x


def _along(net: Net, x: Blob, axis: int, name: str, before: Sequence[int], behind: Sequence[int]) -> Blob:
    size = x.known_shape[axis]
    cuts = sorted({edge for i in (*before, *behind) for edge in (i, i + 1)} - {0, size})
    starts = [0, *cuts]
    pieces: tuple[Blob, ...] = (x,)  # no cuts: an image of one row
    if cuts:
        tops = [f"{name}_{start}" for start in starts]
        pieces = net.add_many("Slice", x, name=name, tops=tops, axis=axis, slice_point=cuts)
    found = dict(zip(starts, pieces, strict=True))
    parts = [*(found[i] for i in before), *pieces, *(found[i] for i in behind)]
    return net.add("Concat", *parts, name=f"pad_{name}", axis=axis)
