"""Layers that change the shape of one blob."""

from __future__ import annotations

import torch
from torch import Tensor

from netbuilder.engines.torch.operator import Operator, canonical

__all__ = ["COVERED", "REFUSED"]

_SUM, _ASUM, _SUMSQ, _MEAN = 1, 2, 3, 4


class Reshape(Operator):
    """The same values in another shape: that of the rule."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return x.reshape(self.top_shapes(x)[0])


class Tile(Operator):
    """The bottom repeated along an axis."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        p = self.proto.tile_param
        axis = canonical(p.axis, x.shape)
        return torch.cat([x] * p.tiles, axis) if p.tiles > 1 else x


class Reduction(Operator):
    """Sum, sum of magnitudes, sum of squares or mean over all axes from an axis on."""

    precise = True

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        p = self.proto.reduction_param
        axis = canonical(p.axis, x.shape)
        x = x.flatten(axis) if axis < x.dim() else x.unsqueeze(-1)
        if p.operation == _ASUM:
            top = x.abs().sum(-1)
        elif p.operation == _SUMSQ:
            top = x.square().sum(-1)
        else:
            top = x.mean(-1) if p.operation == _MEAN else x.sum(-1)
        return top * p.coeff if p.coeff != 1 else top


class ArgMax(Operator):
    """The largest elements of each image or along an axis; of equal ones the later comes first.

    Source: argmax_layer.cpp, Forward_cpu, which sorts pairs of value and index downwards.
    """

    precise = True

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        p = self.proto.argmax_param
        along = canonical(p.axis, x.shape) if p.HasField("axis") else None
        x = x.detach()
        rows = x.movedim(along, -1) if along is not None else x.reshape(x.shape[0], -1)
        # A stable sort of the reversed row puts the later of equals first.
        values, order = rows.flip(-1).sort(dim=-1, descending=True, stable=True)
        values, indices = values[..., : p.top_k], (rows.shape[-1] - 1 - order)[..., : p.top_k].to(x.dtype)
        if along is not None:
            return (values if p.out_max_val else indices).movedim(-1, along)
        found = torch.stack([indices, values], 1) if p.out_max_val else indices.unsqueeze(1)
        return found.reshape(self.top_shapes(x)[0])


class BatchReindex(Operator):
    """The images of bottom 0 that bottom 1 lists by index."""

    precise = True

    def forward(self, x: Tensor, index: Tensor) -> Tensor:  # type: ignore[override]
        return x[index.long()]


COVERED: dict[str, type[Operator]] = {
    "Reshape": Reshape,
    "Flatten": Reshape,
    "Tile": Tile,
    "Reduction": Reduction,
    "ArgMax": ArgMax,
    "BatchReindex": BatchReindex,
}
REFUSED: dict[str, str] = {}
