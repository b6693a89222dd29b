"""What a layer slides over its bottom, and what of the image its elements see: windows, receptive fields.

The receptive field of a blob is the size of the smallest window of the net's image that holds everything an
element of it may depend on, by the structure of the net alone: weights are not looked at, and the image is
taken as endless, so that padding counts like image and the field may be larger than the image. The jump is
how far the window moves from one element to the next. Where paths meet the window spans those of all
paths. Definition: Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks",
Distill 2019. `docs/counting.md` says what is done where that does not apply.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import gcd, lcm
from typing import NamedTuple

from netbuilder.errors import ShapeError
from netbuilder.layers import RULES, Shape, elements
from netbuilder.layers.arithmetic import Window, conv_window, pool_window
from netbuilder.net import Blob, Layer, Net

__all__ = ["ReceptiveField", "group", "receptive_fields", "window"]

# A deconvolution of stride s makes s kinds of positions that see differently; beyond this many, give up.
_MAX_PERIOD = 64
_WITHIN_CHANNEL = 1


def window(layer: Layer) -> Window | None:
    """Kernel, stride, pad and dilation of a convolution or pooling, (h, w); None if it has none.

    Of a layer whose bottom is unknown the two axes of an image are supposed.
    """
    proto = layer.proto
    shape = layer.bottoms[0].shape if layer.bottoms else None
    try:
        if proto.HasField("convolution_param"):
            p = proto.convolution_param
            if shape is None:
                return conv_window(p, 2)
            return conv_window(p, len(shape) - 1 - (p.axis if p.axis >= 0 else p.axis + len(shape)))
        if layer.type == "Pooling" and (shape is not None or not proto.pooling_param.global_pooling):
            return pool_window(proto.pooling_param, (shape or (1, 1, 1, 1))[2:])
    except (ShapeError, IndexError):
        pass  # only of a layer that is kept though unknown: a fork's, with rules of its own
    return None


def group(layer: Layer) -> int:
    """Into how many groups a convolution divides the channels; 1 for other layers."""
    if layer.type == "ConvolutionDepthwise":  # whose field of that name does not act
        return layer.params[0].shape[0] if layer.params else 1
    return int(layer.proto.convolution_param.group) if layer.proto.HasField("convolution_param") else 1


class ReceptiveField(NamedTuple):
    """The field of a blob by spatial axis, height first, in pixels of the image.

    `whole` is true for an axis of which every element sees all; its size is then the image's. The jump, on
    average behind a deconvolution, is None there, and where elements have no neighbours in the image any more
    (Flatten, one element that sees almost all).
    """

    size: tuple[int, ...]
    jump: tuple[int | float | None, ...]
    whole: tuple[bool, ...]


def receptive_fields(net: Net) -> dict[Blob, ReceptiveField]:
    """The field of each blob that depends on an image: on a data layer's top of three axes or more.

    Blobs without an entry depend on none, on images of different sizes, or on them in a way that is not
    known (an unknown layer type, a recurrent layer, a piece of a reshaped image).
    """
    views: dict[Blob, _View | None] = {}
    for layer in net.layers:
        for top, view in _step(layer, views).items():
            views[top] = view and view.on(top)
    return {blob: field for blob, view in views.items() if view and (field := view.field()) is not None}


# ---- what the positions along one axis see ---------------------------------------------------------------

_Interval = tuple[int, int]  # the first and the last pixel


class _Axis(NamedTuple):
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


_FIRST = _Axis(1, ((0, 0),))


def _convolved(axis: _Axis, kernel: int, stride: int, pad: int, dilation: int) -> _Axis | None:
    period = len(axis.seen) // gcd(len(axis.seen), stride)
    if period > _MAX_PERIOD:
        return None
    seen = tuple(axis.span(o * stride - pad, dilation, kernel) for o in range(period))
    return _Axis(axis.shift * (period * stride // len(axis.seen)), seen)


def _deconvolved(axis: _Axis, kernel: int, stride: int, pad: int, dilation: int) -> _Axis | None:
    """Position o reads i where o = stride*i - pad + dilation*t, t being within the kernel."""
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
    return _Axis(axis.shift, tuple(seen))


def _moved(axis: _Axis, offset: int) -> _Axis:
    return _Axis(axis.shift, tuple(axis.at(i + offset) for i in range(len(axis.seen))))


def _joined(a: _Axis, b: _Axis, size: int) -> _Axis | None:
    """What positions see that see what those of both see; None if they move at different speeds."""
    if a.shift * len(b.seen) != b.shift * len(a.seen):
        if size != 1:
            return None
        a, b = _Axis(0, (a.at(0),)), _Axis(0, (b.at(0),))  # there is no next position
    period = lcm(len(a.seen), len(b.seen))
    if period > _MAX_PERIOD:
        return None
    seen = []
    for i in range(period):
        both = [s for s in (a.at(i), b.at(i)) if s is not None]
        seen.append((min(s[0] for s in both), max(s[1] for s in both)) if both else None)
    return _Axis(a.shift * (period // len(a.seen)), tuple(seen))


# ---- what a blob sees ------------------------------------------------------------------------------------

_WHOLE = "whole"  # of an axis: every position sees all of it


class _View(NamedTuple):
    """What the elements of a blob see of an image of size `image`, by spatial axis.

    `size` is that of the map on which the axes lie. If `flat` the blob has all its elements in another
    order.
    """

    image: Shape
    size: Shape
    axes: tuple[_Axis | str, ...]
    flat: bool = False

    @property
    def whole(self) -> bool:
        return all(isinstance(axis, str) for axis in self.axes)

    def field(self) -> ReceptiveField | None:
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

    def on(self, top: Blob) -> _View:
        """As the view of a blob: flat, if that has no longer the axes of a map."""
        maps = top.shape is not None and len(top.shape) - 2 == len(self.axes)
        return self if maps or self.whole else self._replace(flat=True)

    def pooled(self, axes: Iterable[int] | None = None) -> _View:
        """All positions taken together, along some axes or all."""
        chosen = range(len(self.axes)) if axes is None else axes
        new, size = list(self.axes), list(self.size)
        for i in chosen:
            axis = self.axes[i]
            if not isinstance(axis, str):
                seen = axis.span(0, 1, self.size[i])
                all_of_it = seen is not None and seen[0] <= 0 and seen[1] >= self.image[i] - 1
                new[i] = _WHOLE if all_of_it else _Axis(0, (seen,))
                size[i] = 1
        return _View(self.image, tuple(size), tuple(new))


def _slid(view: _View, by: Callable[..., _Axis | None], w: Window, size: Shape) -> _View | None:
    if view.flat or len(w.kernel) != len(view.axes):
        return None
    axes: list[_Axis | str] = []
    for axis, *numbers in zip(view.axes, *w, strict=True):
        new = axis if isinstance(axis, str) else by(axis, *numbers)
        if new is None:
            return None
        axes.append(new)
    return _View(view.image, size, tuple(axes))


def _union(views: list[_View]) -> _View | None:
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
            axes: list[_Axis | str] = []
            for a, b, n in zip(first.axes, other.axes, first.size, strict=True):
                both = _WHOLE if isinstance(a, str) or isinstance(b, str) else _joined(a, b, n)
                if both is None:
                    return None
                axes.append(both)
            first = _View(first.image, first.size, tuple(axes))
    return first


def _all_of(image: Shape) -> _View:
    """What sees the whole image sees it in any shape."""
    return _View(image, image, (_WHOLE,) * len(image))


# ---- layer by layer --------------------------------------------------------------------------------------

_POINTWISE = frozenset(
    """
    AbsVal Axpy BNLL BatchNorm BatchReindex Bias Clip Dropout ELU Eltwise Exp Log PReLU Power ReLU
    ReLU6 Scale ShuffleChannel Sigmoid SpatialDropout Split Swish TanH Threshold
    """.split()  # noqa: SIM905
)
_CONVOLVED = frozenset({"Convolution", "ConvolutionDepthwise", "DepthwiseConvolution", "Im2col"})


def _step(layer: Layer, views: dict[Blob, _View | None]) -> dict[Blob, _View | None]:
    """What the tops of a layer see; without an entry they depend on no image."""
    tops = layer.tops
    if not layer.bottoms:
        return {top: _image(top.shape) for top in tops if top.shape is None or _is_image(top.shape)}
    read = layer.bottoms[:1] if layer.type == "Crop" else layer.bottoms  # of the other it takes the size
    seen = [views[b] for b in read if b in views]
    if not seen:
        return {}
    known = [view for view in seen if view is not None]
    if len(known) < len(seen) or layer.unknown or any(t.shape is None for t in tops):
        return dict.fromkeys(tops)
    if all(view.whole for view in known):
        return dict.fromkeys(tops, _union(known))
    if layer.type in _CONVOLVED or layer.type == "Deconvolution":
        by = _deconvolved if layer.type == "Deconvolution" else _convolved
        w, each = window(layer), len(known) == len(tops)
        return {
            top: _slid(view, by, w, top.known_shape[2:]) if w and each else None
            for top, view in zip(tops, known, strict=False)
        }
    if layer.type == "Slice":
        return _sliced(layer, known[0])
    view = _top(layer, known)
    return dict.fromkeys(tops, view)


def _image(shape: Shape | None) -> _View | None:
    return None if shape is None else _View(shape[2:], shape[2:], (_FIRST,) * len(shape[2:]))


def _is_image(shape: Shape) -> bool:
    return elements(shape[2:]) > 1


def _top(layer: Layer, views: list[_View]) -> _View | None:
    """What each top of a layer sees that gives the same to all of them."""
    kind, p, view = layer.type, layer.proto, views[0]
    bottom = layer.bottoms[0].known_shape
    if kind in _POINTWISE or (kind == "BN" and len(layer.tops) == 1):
        return _union(views)
    if kind == "Pooling":
        w = window(layer)
        if p.pooling_param.global_pooling:
            return view.pooled()
        return _slid(view, _convolved, w, layer.tops[0].known_shape[2:]) if w else None
    if kind == "LRN":
        if p.lrn_param.norm_region != _WITHIN_CHANNEL:
            return view
        n = p.lrn_param.local_size
        w = Window((n, n), (1, 1), (n // 2, n // 2), (1, 1))
        return _slid(view, _convolved, w, bottom[2:])
    if kind in ("Flatten", "Permute", "Reshape"):
        stays = layer.tops[0].known_shape[2:] == bottom[2:]
        if kind == "Permute":
            order = list(p.permute_param.order)
            stays = [axis for axis in order if axis > 1] == order[2:] == list(range(2, len(order)))
        return view if stays else view._replace(flat=True)
    if kind == "Normalize":
        return view.pooled()._replace(size=view.size) if p.norm_param.across_spatial else view
    if kind == "Reorg":
        w = _square(p.reorg_param.stride)
        return _slid(
            view, _deconvolved if p.reorg_param.reverse else _convolved, w, layer.tops[0].known_shape[2:]
        )
    if kind == "Upsample" and len(layer.bottoms) == 1:
        return _slid(view, _deconvolved, _square(p.upsample_param.scale or 1), layer.tops[0].known_shape[2:])
    if kind == "Concat":
        c = p.concat_param
        axis = c.concat_dim if c.HasField("concat_dim") else c.axis
        return _union(views) if len(views) == 1 or _first_spatial(axis, bottom) < 0 else None
    if kind == "Tile":
        return view if _first_spatial(p.tile_param.axis, bottom) < 0 else None
    if kind == "Crop":
        return _cropped(layer, view)
    if kind == "Softmax":
        axis = _first_spatial(p.softmax_param.axis, bottom)
        return view if axis < 0 else None if view.flat else view.pooled([axis])._replace(size=view.size)
    if kind == "ArgMax":
        if p.argmax_param.HasField("axis") and _first_spatial(p.argmax_param.axis, bottom) >= 0:
            return None
        return view if p.argmax_param.HasField("axis") else view.pooled()
    if kind in ("InnerProduct", "Reduction"):
        axis = p.inner_product_param.axis if kind == "InnerProduct" else p.reduction_param.axis
        return view.pooled() if _first_spatial(axis, bottom) <= 0 else None
    rule = RULES.get(kind)
    if kind == "MVN":
        return view.pooled()._replace(size=view.size)
    if kind in ("Accuracy", "SPP") or (rule and rule.auto_top):
        return _union([v.pooled() for v in views])
    return None


def _square(n: int) -> Window:
    """A window of n x n that moves by its own size."""
    return Window((n, n), (n, n), (0, 0), (1, 1))


def _first_spatial(axis: int, shape: Shape) -> int:
    """A field's axis, counted from the first spatial one."""
    return (axis + len(shape) if axis < 0 else axis) - 2


def _cropped(layer: Layer, view: _View) -> _View | None:
    p, bottom, top = layer.proto.crop_param, layer.bottoms[0].known_shape, layer.tops[0].known_shape
    if view.flat:
        return None
    first = _first_spatial(p.axis, bottom)
    axes = list(view.axes)
    for i, axis in enumerate(axes):
        offset = 0
        if i >= first and p.offset:
            offset = p.offset[i - first] if len(p.offset) > 1 else p.offset[0]
        if not isinstance(axis, str):
            axes[i] = _moved(axis, offset)
    return _View(view.image, top[2:], tuple(axes))


def _sliced(layer: Layer, view: _View) -> dict[Blob, _View | None]:
    p, bottom = layer.proto.slice_param, layer.bottoms[0].known_shape
    cut = _first_spatial(p.slice_dim if p.HasField("slice_dim") else p.axis, bottom)
    if view.flat:
        return dict.fromkeys(layer.tops)
    out: dict[Blob, _View | None] = {}
    begin = 0
    for top in layer.tops:
        axes = list(view.axes)
        if cut >= 0:
            axis = axes[cut]
            axes[cut] = axis if isinstance(axis, str) else _moved(axis, begin)
            begin += top.known_shape[2 + cut]
        out[top] = _View(view.image, top.known_shape[2:], tuple(axes))
    return out
