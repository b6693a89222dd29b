"""General-purpose layers of forks. The sources are in the docstrings of `netbuilder.layers.forks`.

The installed Caffe has none of them; they are tested against their formulas.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor
from torch.nn import functional

from netbuilder.engines.torch.operator import Operator, Tops
from netbuilder.engines.torch.operators.data import Input
from netbuilder.engines.torch.operators.normalization import batch_normalized, counted
from netbuilder.errors import EngineError
from netbuilder.layers.base import legacy_shape
from netbuilder.net import Layer

__all__ = ["COVERED", "REFUSED"]

_INFERENCE = 1
_SEGNET_EPS = 1e-9


class Permute(Operator):
    """The axes in another order."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Axes that `order` omits follow in their old order."""
        order = list(self.message.order)
        return x.permute(order + [axis for axis in range(x.dim()) if axis not in order])


class Normalize(Operator):
    """Each position, or each image with across_spatial, to length 1, and then scaled."""

    precise = True

    def initial(self, i: int) -> float:
        """The scale starts at 1."""
        return 1.0

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """`eps` is added to the square of the length."""
        p = self.message
        axes = list(range(1, x.dim())) if p.across_spatial else [1]
        length: Tensor = (x.square().sum(axes, keepdim=True) + p.eps).sqrt()
        scale = self.blob(0)
        if scale.dim():
            scale = scale.view(-1, *(1,) * (x.dim() - 2))
        return x / length * scale


class Axpy(Operator):
    """Bottom 1 times its gate, bottom 0, plus bottom 2."""

    def forward(self, gate: Tensor, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        """The gate is (n, c) or (n, c, 1, 1)."""
        return torch.addcmul(y, gate.reshape(*gate.shape[:2], *(1,) * (x.dim() - 2)), x)


class L1Loss(Operator):
    """The sum of all magnitudes of differences, divided by the batch."""

    precise = True

    def forward(self, a: Tensor, b: Tensor) -> Tensor:  # type: ignore[override]
        """Where a and b are equal the gradient is 0."""
        return (a - b.reshape(a.shape)).abs().sum() / a.shape[0]


class Interp(Operator):
    """Bilinear resizing with aligned corners."""

    def forward(self, *bottoms: Tensor) -> Tensor:
        """A second bottom gives the size alone. Negative pads cut the first bottom."""
        p = self.message
        shape = self.top_shapes(*bottoms)[0]
        x = bottoms[0].reshape(legacy_shape(tuple(bottoms[0].shape)))
        if p.pad_beg or p.pad_end:
            h, w = x.shape[2:]
            x = x[:, :, -p.pad_beg : h + p.pad_end, -p.pad_beg : w + p.pad_end]
        if tuple(x.shape) == shape:
            return x
        return functional.interpolate(x, shape[2:], mode="bilinear", align_corners=True)


class Upsample(Operator):
    """Each value to the place that a mask of Pooling names, or repeated."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """With a mask all other places are 0; of several values for one place the last stays."""
        if mask is None:
            scale = self.message.scale or 1
            return x.repeat_interleave(scale, -2).repeat_interleave(scale, -1)
        shape = self.top_shapes(x, mask)[0]
        top = x.new_zeros(*shape[:2], prod(shape[2:]))
        return top.scatter(2, mask.long().flatten(2), x.flatten(2)).view(shape)


class ShuffleChannel(Operator):
    """The first channel of each group, then the second of each, and so on."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """The top always has 4 axes."""
        group = self.message.group
        rows = x.reshape(x.shape[0], group, x.shape[1] // group, prod(x.shape[2:]))
        return rows.transpose(1, 2).reshape(self.top_shapes(x)[0])


class Reorg(Operator):
    """Squares of positions into channels, or back, in the order of darknet.

    Forwards, darknet takes the bottom for a map with fewer channels and more positions than it has; so the
    order is not that of a plain space-to-depth. The forks' gradient reads a blob that nothing fills; here it
    is that of the formula.
    """

    def __init__(self, layer: Layer, phase: str) -> None:
        super().__init__(layer, phase)
        channels, area = legacy_shape(layer.bottoms[0].known_shape)[1], self.message.stride**2
        if channels % area:
            raise EngineError(
                f"Reorg '{layer.name}': the {channels} channels of its bottom are no multiple of {area}",
                where=str(layer.origin),
                hint="the forks read beyond their blobs then; choose another stride",
            )

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Channel k is piece k // c' of channel k % c'; piece o is row o // s, column o % s of a square."""
        s = self.message.stride
        n, c, h, w = legacy_shape(tuple(x.shape))
        few = c // (s * s)
        if self.message.reverse:
            pieces = x.reshape(n, s, s, few, h, w)
            return pieces.permute(0, 3, 4, 1, 5, 2).reshape(n, few, h * s, w * s)
        squares = x.reshape(n, few, h, s, w, s)
        return squares.permute(0, 3, 5, 1, 2, 4).reshape(self.top_shapes(x)[0])


class BN(Operator):
    """Normalisation by channel, then scale and shift: PSPNet's layer, or SegNet's.

    PSPNet's stores decaying averages of the mean and of the variance of the batch (not the unbiased one), and
    uses them in TEST or if `frozen`. SegNet's has no statistics: in the mode LEARN it uses those of the batch
    in both phases, and hands them out as tops 1 and 2; in the mode INFERENCE it only scales and shifts.
    """

    precise = True

    def initial(self, i: int) -> float:
        """The variance starts at 1 if `frozen`, all else without a filler at 0."""
        return 1.0 if i == 3 and self.message.frozen else 0.0

    def forward(self, x: Tensor) -> Tops:  # type: ignore[override]
        """In TRAIN PSPNet's layer updates its statistics."""
        scale, shift = self.blob(0).flatten(), self.blob(1).flatten()
        return self._segnet(x, scale, shift) if self.number == 2 else self._pspnet(x, scale, shift)

    def _segnet(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tops:
        x = x.reshape(legacy_shape(tuple(x.shape)))
        one = (1, x.shape[1], 1, 1)
        tops = len(self.proto.top)
        if self.message.bn_mode == _INFERENCE:
            top = torch.addcmul(shift.view(one), x, scale.view(one))
            return (top, *(x.new_zeros(one) for _ in range(tops - 1))) if tops > 1 else top
        top, (mean, variance, _) = batch_normalized(x, scale, shift, _SEGNET_EPS)
        biased = variance * _biased(x)
        return (top, mean.view(one), biased.view(one))[:tops] if tops > 1 else top

    def _pspnet(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        p = self.message
        stored = [self.blob(2), self.blob(3)]
        if p.frozen or not self.trains:
            mean, variance = (blob.flatten() for blob in stored)
            return functional.batch_norm(x, mean, variance, scale, shift, False, 0.0, p.eps)
        top, (mean, variance, _) = batch_normalized(x, scale, shift, p.eps)
        with torch.no_grad():
            stored[0].lerp_(mean.view(1, -1), 1 - p.momentum)
            stored[1].lerp_(variance.view(1, -1) * _biased(x), 1 - p.momentum)
        return top


def _biased(x: Tensor) -> float:
    """What turns the unbiased variance of a channel into the mean square."""
    count = counted(x)
    return (count - 1) / count


class ContinuationIndicator(Operator):
    """0 at the first step and 1 at the others, for the sequences of an LSTM."""

    def __init__(self, layer: Layer, phase: str) -> None:
        super().__init__(layer, phase)
        values = torch.ones(layer.tops[0].known_shape)
        values[0] = 0
        self.register_buffer("values", values, persistent=False)

    def forward(self) -> Tensor:  # type: ignore[override]
        """(time_step, batch_size)."""
        return self.get_buffer("values")


COVERED: dict[str, type[Operator]] = {
    "Permute": Permute,
    "Normalize": Normalize,
    "Axpy": Axpy,
    "L1Loss": L1Loss,
    "Interp": Interp,
    "Upsample": Upsample,
    "ShuffleChannel": ShuffleChannel,
    "Reorg": Reorg,
    "BN": BN,
    "ContinuationIndicator": ContinuationIndicator,
    "CoSData": Input,  # rows of a data frame, which the caller gives
}
REFUSED: dict[str, str] = {}
