"""Pooling and SPP.

Where the image size is fixed, the pads say exactly which windows there are: readers disagree about
`ceil_mode`. Where it varies, `ceil_mode` states it, by the rule that ONNX took over from PyTorch.
"""

from __future__ import annotations

from netbuilder.export.onnx.graph import At, Form, Value
from netbuilder.layers.arithmetic import Window, pool_extent, pool_window, sides

__all__ = ["COVERED", "REFUSED"]

_MAX, _AVE, _STOCHASTIC = 0, 1, 2
_FLOOR = 1
_FLT_MIN = 1.17549435e-38
_FLT_MAX = 3.4028235e38


def pooling(at: At) -> str | list[str]:
    p = at.p
    spatial = range(2, len(at.x.shape))
    floor = p.round_mode == _FLOOR or not p.ceil_mode
    if p.global_pooling:
        if p.pool != _STOCHASTIC and len(at.tops) == 1:
            return at.op("GlobalAveragePool" if p.pool == _AVE else "GlobalMaxPool", at.x)
        size = at.fixed(at.x, spatial, "the image size, which is its window,")
    else:
        size = [at.x.shape[axis] for axis in spatial]
    window = pool_window(p, size)
    before, after = sides(p)
    end = window.pad if before == after or len(size) == 3 else after
    if at.x.free.intersection(spatial):
        return _of_any_size(at, window, end, floor)
    return _Windows(at, at.x, window, end, at.top.shape[2:]).pooled(p.pool, p.avg_include_pad, len(at.tops))


def spp(at: At) -> str:
    """Poolings into 1x1, 2x2, 4x4, ... bins, flattened one after another."""
    tops = []
    h, w = at.fixed(at.x, [2, 3], "the image size, from which its windows follow,")
    for level in range(at.p.pyramid_height):
        bins = 2**level
        kernel = (-(-h // bins), -(-w // bins))
        pad = ((kernel[0] * bins - h + 1) // 2, (kernel[1] * bins - w + 1) // 2)
        window = Window(kernel, kernel, pad, (1, 1))
        out = tuple(
            pool_extent(n, k, k, q, clip=pad != (0, 0)) for n, k, q in zip((h, w), kernel, pad, strict=True)
        )
        (top,) = _Windows(at, at.x, window, pad, out).pooled(at.p.pool, True, 1)
        tops.append(top)
    if len(tops) == 1:
        return tops[0]
    return at.op("Concat", *(at.op("Flatten", top, axis=1) for top in tops), axis=1)


def _of_any_size(at: At, window: Window, end: tuple[int, ...], floor: bool) -> str:
    p = at.p
    kernel, stride, pad, _ = window
    outside = not any(pad + end) and any(s > k for k, s in zip(kernel, stride, strict=True))
    if (not floor and (outside or pad != end)) or p.pool == _STOCHASTIC or len(at.tops) > 1:
        raise at.refuse("which windows it has depends on the image size", "fix the image size")
    attributes = {
        "kernel_shape": list(kernel),
        "strides": list(stride),
        "pads": [*pad, *end],
        "ceil_mode": int(not floor),
    }
    if p.pool == _MAX:
        return at.op("MaxPool", at.x, **attributes)
    return at.op("AveragePool", at.x, count_include_pad=int(p.avg_include_pad), **attributes)


class _Windows:
    """The windows of a pooling over images of a fixed size, `out` in number along each axis.

    `end` is Caffe's pad after the image, `needed` what the windows reach beyond it.
    """

    def __init__(self, at: At, x: Value, window: Window, end: tuple[int, ...], out: tuple[int, ...]) -> None:
        self.at, self.x, self.out, self.end = at, x, out, end
        self.kernel, self.stride, self.pad, _ = window
        self.size = x.shape[2:]
        self.axes = range(len(self.size))
        self.needed = [
            max(0, (out[i] - 1) * self.stride[i] + self.kernel[i] - self.size[i] - self.pad[i])
            for i in self.axes
        ]
        # ONNX takes pads that are smaller than the kernel.
        self.fits = all(
            max(self.pad[i], self.needed[i]) < self.kernel[i]
            and (out[i] - 1) * self.stride[i] < self.reach(i)
            for i in self.axes
        )

    def reach(self, i: int) -> int:
        """Where the image and its leading pad end: a window that starts there has nothing of the image."""
        return self.size[i] + self.pad[i]

    def pooled(self, pool: int, count_pad: bool, tops: int) -> list[str]:
        if pool == _STOCHASTIC:
            return [self.weighted()]
        if pool == _AVE:
            return [self.average(count_pad)]
        return self.maximum(tops)

    def node(
        self, op: str, x: str | Value, pads: list[int] | None = None, count: int = 1, **more: int
    ) -> list[str]:
        shape = {"kernel_shape": list(self.kernel), "strides": list(self.stride)}
        return self.at.ops(op, count, x, **shape, pads=pads or [0] * 2 * len(self.size), **more)

    def padded(self, value: float, x: str | Value | None = None) -> str:
        """The image with all that its windows reach."""
        pads = self.at.ints([0, 0, *self.pad, 0, 0, *self.needed])
        return self.at.op("Pad", self.x if x is None else x, pads, self.at.number(value))

    def maximum(self, tops: int) -> list[str]:
        at, count = self.at, tops
        if self.fits:
            found = self.node("MaxPool", self.x, [*self.pad, *self.needed], count)
        else:
            lowest = -_FLT_MAX if at.kind == "float32" else -65504.0
            found = self.node("MaxPool", self.padded(lowest), count=count)
        if tops == 1:
            return found
        if len(self.size) != 2:
            raise at.refuse("the index of each maximum is known for images alone")
        return [found[0], at.op("Cast", self.indices(found[1]), to=at.kind)]

    def indices(self, places: str) -> str:
        """The index of each maximum in the plane of its image, -1 of a window outside it."""
        at, (h, w) = self.at, self.size
        if self.fits:
            return at.op("Mod", places, at.ints(h * w))
        wide = w + self.pad[1] + self.needed[1]
        place = at.op("Mod", places, at.ints((h + self.pad[0] + self.needed[0]) * wide))
        row = at.op("Sub", at.op("Div", place, at.ints(wide)), at.ints(self.pad[0]))
        column = at.op("Sub", at.op("Mod", place, at.ints(wide)), at.ints(self.pad[1]))
        inside = at.op("And", self.within(row, h), self.within(column, w))
        index = at.op("Add", at.op("Mul", row, at.ints(w)), column)
        return at.op("Where", inside, index, at.ints(-1))

    def within(self, place: str, size: int) -> str:
        at = self.at
        return at.op("And", at.op("Less", place, at.ints(size)), at.op("Less", at.ints(-1), place))

    def average(self, count_pad: bool) -> str:
        inside = all(self.needed[i] <= self.end[i] for i in self.axes)
        unpadded = not any((*self.pad, *self.end))
        if self.fits and (unpadded or not count_pad):
            return self.node("AveragePool", self.x, [*self.pad, *self.needed], count_include_pad=0)[0]
        if self.fits and inside:
            return self.node("AveragePool", self.x, [*self.pad, *self.needed], count_include_pad=1)[0]
        return self.at.op("Div", self.sums(self.padded(0)), self.divisor(count_pad))

    def sums(self, padded: str) -> str:
        area = 1
        for k in self.kernel:
            area *= k
        (mean,) = self.node("AveragePool", padded)
        return self.at.op("Mul", mean, self.at.number(area))

    def divisor(self, count_pad: bool) -> str:
        """What Caffe divides by: the elements of each window up to one pad beyond the image."""
        import numpy as np

        total = np.ones((), np.float32)
        for i in self.axes:
            start = np.arange(self.out[i]) * self.stride[i] - self.pad[i]
            end = np.minimum(start + self.kernel[i], self.size[i] + (self.end[i] if count_pad else 0))
            counts = end - (start if count_pad else np.maximum(start, 0))
            total = np.multiply.outer(total, counts.astype(np.float32))
        return self.at.numbers(total)

    def weighted(self) -> str:
        """The average of each window with its values as weights, which STOCHASTIC computes in TEST."""
        at = self.at
        square = at.op("Mul", self.x, self.x)
        above, below = self.sums(self.padded(0, square)), self.sums(self.padded(0))
        return at.op("Div", above, at.op("Add", below, at.number(_FLT_MIN)))


COVERED: dict[str, Form] = {"Pooling": Form(pooling), "SPP": Form(spp)}
REFUSED: dict[str, str] = {}
