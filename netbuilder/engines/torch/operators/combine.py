"""Layers that join, cut or swallow blobs."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

from netbuilder.engines.torch.operator import Operator, Tops, canonical

__all__ = ["COVERED", "REFUSED"]

_PROD, _SUM, _MAX = 0, 1, 2


class _Chosen(torch.autograd.Function):
    """`a` where `first`, else `b`; so goes the gradient, which torch.maximum would halve between equals."""

    @staticmethod
    def forward(ctx, first, a, b):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(first)
        return torch.where(first, a, b)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        (first,) = ctx.saved_tensors
        zero = grad.new_zeros(())
        return None, torch.where(first, grad, zero), torch.where(first, zero, grad)


def _chosen(first: Tensor, a: Tensor, b: Tensor) -> Tensor:
    found: Tensor = _Chosen.apply(first, a, b)  # type: ignore[no-untyped-call]
    return found


class Eltwise(Operator):
    """The sum (with coefficients), product or maximum of its bottoms."""

    fresh = True

    def sum_of_two(self) -> tuple[float, ...]:
        """The coefficients of a sum of two bottoms; () for other layers."""
        p = self.proto.eltwise_param
        if p.operation != _SUM or len(self.proto.bottom) != 2:
            return ()
        return tuple(p.coeff) or (1.0, 1.0)

    def forward(self, *bottoms: Tensor) -> Tensor:
        p = self.proto.eltwise_param
        if p.operation == _SUM:
            coefficients = list(p.coeff) or [1.0] * len(bottoms)
            total: Tensor | None = None
            for x, c in zip(bottoms, coefficients, strict=True):
                if total is None:
                    total = x if c == 1 else x * c
                else:
                    total = torch.add(total, x, alpha=c)
            assert total is not None
            return total
        if p.operation == _PROD:
            return reduce(torch.mul, bottoms)
        # Of the first two the later wins among equals, then only a greater bottom: eltwise_layer.cpp.
        top = _chosen(bottoms[0] > bottoms[1], bottoms[0], bottoms[1])
        for x in bottoms[2:]:
            top = _chosen(~(x > top), top, x)
        return top


class Concat(Operator):
    """The bottoms one after another along an axis."""

    def forward(self, *bottoms: Tensor) -> Tensor:
        p = self.proto.concat_param
        axis = canonical(p.concat_dim if p.HasField("concat_dim") else p.axis, bottoms[0].shape)
        return torch.cat(bottoms, axis) if len(bottoms) > 1 else bottoms[0]


class Slice(Operator):
    """Pieces of the bottom along an axis."""

    def forward(self, x: Tensor) -> Tops:  # type: ignore[override]
        p = self.proto.slice_param
        axis = canonical(p.slice_dim if p.HasField("slice_dim") else p.axis, x.shape)
        return torch.split(x, [shape[axis] for shape in self.top_shapes(x)], axis)


class Split(Operator):
    """The bottom, once for each top."""

    def forward(self, x: Tensor) -> Tops:  # type: ignore[override]
        return (x,) * len(self.proto.top)


class Crop(Operator):
    """The part of bottom 0 that has the size of bottom 1 from an axis on."""

    sizes = (1,)

    def of_corner(self) -> bool:
        """Whether it takes the upper left corner of images, with all channels."""
        p = self.proto.crop_param
        return p.axis in (2, -2) and not any(p.offset)

    def forward(self, x: Tensor, reference: Tensor) -> Tensor:  # type: ignore[override]
        p = self.proto.crop_param
        first = canonical(p.axis, x.shape)
        for axis in range(first, x.dim()):
            offset = p.offset[axis - first if len(p.offset) > 1 else 0] if p.offset else 0
            x = x.narrow(axis, offset, reference.shape[axis])
        return x


class Filter(Operator):
    """The images of each bottom for which the last bottom, the selector, is not 0.

    If none is selected Caffe keeps the tops of the pass before; here they are empty.
    """

    def forward(self, *bottoms: Tensor) -> Tops:
        *data, selector = bottoms
        chosen = selector.flatten() != 0
        return tuple(x[chosen] for x in data)


class Silence(Operator):
    """Swallows its bottoms."""

    def forward(self, *bottoms: Tensor) -> Tops:
        return ()


COVERED: dict[str, type[Operator]] = {
    "Eltwise": Eltwise,
    "Concat": Concat,
    "Slice": Slice,
    "Split": Split,
    "Crop": Crop,
    "Filter": Filter,
    "Silence": Silence,
}
REFUSED: dict[str, str] = {}
