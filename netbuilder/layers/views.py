"""The algebra of receptive fields: what the elements of a blob see of the net's image, layer by layer.

A `View` says for each spatial axis which pixels each position sees. Every rule has a `sees` function in its
traits, which computes the views of a layer's tops from those of its bottoms: one of the functions at the end
of this module, or one next to the rule. `netbuilder.measure.geometry` walks the net with them.

The field depends on the structure alone: weights are ignored, and the image is treated as infinite, so that
padding counts as image. Where paths meet, the view spans those of all paths. Definition: Araujo,
Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import gcd, lcm, prod
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, Union

from netbuilder.layers.arithmetic import Window

if TYPE_CHECKING:
    from netbuilder.layers.base import Shape
    from netbuilder.schema import LayerParameter

__all__ = [
    "Axis",
    "Blobs",
    "ReceptiveField",
    "Sees",
    "Seen",
    "View",
    "all_pooled",
    "convolved",
    "deconvolved",
    "first_spatial",
    "image",
    "is_image",
    "moved",
    "nothing",
    "pointwise",
    "same_map",
    "slid",
    "slid_each",
    "square",
    "union",
    "whole_map",
]

# A deconvolution of stride s makes s kinds of positions with different views; beyond this many, give up.
_MAX_PERIOD = 64


class ReceptiveField(NamedTuple):
    """The field of a blob by spatial axis, height first, in pixels of the image.

    `whole` is true for an axis that every element sees completely; its size is then the image's. The jump,
    an average after a deconvolution, is None for such an axis, and if elements are no longer neighbours in
    the image (Flatten, one element that sees almost everything).
    """

    size: tuple[int, ...]
    jump: tuple[int | float | None, ...]
    whole: tuple[bool, ...]


# ---- what the positions along one axis see ---------------------------------------------------------------

_Interval = tuple[int, int]  # the first and the last pixel


class Axis(NamedTuple):
    """Position i sees `seen[i]` (None: nothing), position i + len(seen) the same, `shift` pixels on."""

    shift: int
    seen: tuple[_Interval | None, ...]

    def at(self, i: int) -> _Interval | None:
        turns, i = divmod(i, len(self.seen))
        seen = self.seen[i]
        return seen and (seen[0] + turns * self.shift, seen[1] + turns * self.shift)

    def hull(self, positions: Iterable[int]) -> _Interval | None:
        seen = [s for i in positions if (s := self.at(i)) is not None]
        return (min(a for a, _ in seen), max(b for _, b in seen)) if seen else None

    def span(self, first: int, step: int, count: int) -> _Interval | None:
        """The hull of `count` positions from `first` on; only the outer ones can matter."""
        n = min(count, len(self.seen))
        ends = [*range(n), *range(max(n, count - n), count)]
        return self.hull(first + step * t for t in ends)


_FIRST = Axis(1, ((0, 0),))


def convolved(axis: Axis, kernel: int, stride: int, pad: int, dilation: int) -> Axis | None:
    """Position o reads i = stride*o - pad + dilation*t for each t in the kernel."""
    period = len(axis.seen) // gcd(len(axis.seen), stride)
    if period > _MAX_PERIOD:
        return None
    seen = tuple(axis.span(o * stride - pad, dilation, kernel) for o in range(period))
    return Axis(axis.shift * (period * stride // len(axis.seen)), seen)


def deconvolved(axis: Axis, kernel: int, stride: int, pad: int, dilation: int) -> Axis | None:
    """Position o reads i where o = stride*i - pad + dilation*t for some t in the kernel."""
    period = len(axis.seen) * stride
    if not 0 < period <= _MAX_PERIOD:
        return None
    seen = []
    for o in range(period):
        ends = (*range(min(kernel, period)), *range(max(0, kernel - period), kernel))
        seen.append(
            axis.hull(
                (o + pad - dilation * t) // stride for t in ends if (o + pad - dilation * t) % stride == 0
            )
        )
    return Axis(axis.shift, tuple(seen))


def moved(axis: Axis, offset: int) -> Axis:
    """The axis of a piece that begins at `offset`."""
    return Axis(axis.shift, tuple(axis.at(i + offset) for i in range(len(axis.seen))))


def _joined(a: Axis, b: Axis, size: int) -> Axis | None:
    """The union of two axes, position by position; None if they move at different speeds."""
    if a.shift * len(b.seen) != b.shift * len(a.seen):
        if size != 1:
            return None
        a, b = Axis(0, (a.at(0),)), Axis(0, (b.at(0),))  # there is no next position
    period = lcm(len(a.seen), len(b.seen))
    if period > _MAX_PERIOD:
        return None
    seen = []
    for i in range(period):
        both = [s for s in (a.at(i), b.at(i)) if s is not None]
        seen.append((min(s[0] for s in both), max(s[1] for s in both)) if both else None)
    return Axis(a.shift * (period // len(a.seen)), tuple(seen))


# ---- what a blob sees ------------------------------------------------------------------------------------

_WHOLE = "whole"  # of an axis: every position sees all of it


class View(NamedTuple):
    """What the elements of a blob see of an image of size `image`, by spatial axis.

    `size` is that of the map that has these axes. If `flat`, the blob holds all elements of the map in
    another order.
    """

    image: Shape
    size: Shape
    axes: tuple[Axis | str, ...]
    flat: bool = False

    @property
    def whole(self) -> bool:
        """Whether every element sees the whole image."""
        return all(isinstance(axis, str) for axis in self.axes)

    def field(self) -> ReceptiveField | None:
        """The largest field of any position; None if none sees anything."""
        sizes: list[int] = []
        jumps: list[int | float | None] = []
        for axis, pixels in zip(self.axes, self.image, strict=True):
            if isinstance(axis, str):
                sizes.append(pixels)
                jumps.append(None)
                continue
            widths = [s[1] - s[0] + 1 for s in axis.seen if s is not None]
            if not widths:
                return None
            sizes.append(max(widths))
            jump = axis.shift / len(axis.seen)
            jumps.append(None if self.flat or not jump else int(jump) if jump.is_integer() else jump)
        return ReceptiveField(tuple(sizes), tuple(jumps), tuple(isinstance(a, str) for a in self.axes))

    def on(self, shape: Shape | None) -> View:
        """The view of a blob of this shape: flat, if the shape no longer has the axes of a map."""
        maps = shape is not None and len(shape) - 2 == len(self.axes)
        return self if maps or self.whole else self._replace(flat=True)

    def pooled(self, axes: Iterable[int] | None = None) -> View:
        """All positions taken together, along some axes or all."""
        chosen = range(len(self.axes)) if axes is None else axes
        new, size = list(self.axes), list(self.size)
        for i in chosen:
            axis = self.axes[i]
            if not isinstance(axis, str):
                seen = axis.span(0, 1, self.size[i])
                all_of_it = seen is not None and seen[0] <= 0 and seen[1] >= self.image[i] - 1
                new[i] = _WHOLE if all_of_it else Axis(0, (seen,))
                size[i] = 1
        return View(self.image, tuple(size), tuple(new))


def slid(view: View, by: Callable[..., Axis | None], w: Window, size: Shape) -> View | None:
    """The view after a window has slid over each axis; `size` is that of the new map."""
    if view.flat or len(w.kernel) != len(view.axes):
        return None
    axes: list[Axis | str] = []
    for axis, *numbers in zip(view.axes, *w, strict=True):
        new = axis if isinstance(axis, str) else by(axis, *numbers)
        if new is None:
            return None
        axes.append(new)
    return View(view.image, size, tuple(axes))


def union(views: list[View]) -> View | None:
    """The view of an element that depends on those of several blobs, at its own place in each."""
    first, *others = views
    for other in others:
        if other.image != first.image or (first.flat and other.flat):
            return None
        if first.whole or other.whole:
            first = _all_of(first.image)
        elif first.flat or other.flat or other.size != first.size:
            # One element of the one goes with all of the other, as the gate of a squeeze-and-excitation.
            if not other.pooled().whole:
                return None
            first = _all_of(first.image)
        else:
            axes: list[Axis | str] = []
            for a, b, n in zip(first.axes, other.axes, first.size, strict=True):
                both = _WHOLE if isinstance(a, str) or isinstance(b, str) else _joined(a, b, n)
                if both is None:
                    return None
                axes.append(both)
            first = View(first.image, first.size, tuple(axes))
    return first


def _all_of(image: Shape) -> View:
    """A view of the whole image, which does not depend on the blob's shape."""
    return View(image, image, (_WHOLE,) * len(image))


# ---- what the tops of a layer see --------------------------------------------------------------------------


class Blobs(NamedTuple):
    """The shapes of a layer's bottoms and tops, and the views of those bottoms that see an image."""

    bottoms: Sequence[Shape]
    tops: Sequence[Shape]
    views: list[View]


# One view for all tops (None: unknown), or a list with one for each top.
Seen = Union["View", None, "list[View | None]"]
Sees: TypeAlias = "Callable[[LayerParameter, Blobs], Seen]"


def image(shape: Shape | None) -> View | None:
    """The view of an image itself; None if its size is unknown."""
    return None if shape is None else View(shape[2:], shape[2:], (_FIRST,) * len(shape[2:]))


def is_image(shape: Shape) -> bool:
    """Whether a blob has more than one spatial position."""
    return prod(shape[2:]) > 1


def nothing(layer: LayerParameter, blobs: Blobs) -> Seen:
    """No path leads from a bottom to a top."""
    return None


def pointwise(layer: LayerParameter, blobs: Blobs) -> Seen:
    """Each element sees what the elements at its own place in the bottoms see."""
    return union(blobs.views)


def same_map(layer: LayerParameter, blobs: Blobs) -> Seen:
    """The elements of the first bottom in another order or shape; flat if the map changes."""
    view = blobs.views[0]
    return view if blobs.tops[0][2:] == blobs.bottoms[0][2:] else view._replace(flat=True)


def whole_map(layer: LayerParameter, blobs: Blobs) -> Seen:
    """Each element sees all that the map sees and keeps its position."""
    view = blobs.views[0]
    return view.pooled()._replace(size=view.size)


def all_pooled(layer: LayerParameter, blobs: Blobs) -> Seen:
    """Each element sees all that the bottoms see."""
    return union([view.pooled() for view in blobs.views])


def slid_each(
    by: Callable[..., Axis | None], window: Callable[[LayerParameter, Shape | None], Window | None]
) -> Sees:
    """A `sees` function: one window slides over each bottom and makes one top from it."""

    def sees(layer: LayerParameter, blobs: Blobs) -> Seen:
        w = window(layer, blobs.bottoms[0])
        if w is None or len(blobs.views) != len(blobs.tops):
            return None
        return [slid(view, by, w, top[2:]) for view, top in zip(blobs.views, blobs.tops, strict=True)]

    return sees


def square(n: int) -> Window:
    """A window of n x n that moves by its own size."""
    return Window((n, n), (n, n), (0, 0), (1, 1))


def first_spatial(axis: int, shape: Shape) -> int:
    """A field's axis, counted from the first spatial one."""
    return (axis + len(shape) if axis < 0 else axis) - 2
