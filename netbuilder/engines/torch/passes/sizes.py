"""Poolings before a Crop: neither what it reads only for the size is computed, nor what it cuts off."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from netbuilder.engines.torch.operators.combine import Crop
from netbuilder.engines.torch.operators.pooling import Pooling
from netbuilder.engines.torch.passes.fusion import Fusion
from netbuilder.engines.torch.steps import Plan

__all__ = ["Cropped", "Sized", "sizes"]


class Sized(Fusion):
    """A blob of the size of a pooling's top, whose values are not used."""

    def __init__(self, pooling: Pooling) -> None:
        super().__init__(pooling)
        self._pooling = pooling

    def fused(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """One value, spread."""
        return x.new_zeros(()).expand(self._pooling.top_shapes(x)[0])


class Cropped(Fusion):
    """An average pooling without the last windows, which a Crop cuts off: rounded down, not up."""

    def __init__(self, pooling: Pooling, crop: Crop) -> None:
        super().__init__(pooling, crop)
        self._pooling, self._crop = pooling, crop

    def fused(self, x: Tensor, reference: Tensor) -> Tensor:  # type: ignore[override]
        """The same averages, without a copy."""
        if x.dim() == reference.dim() == 4:
            top = self._pooling.averages_first(x, *reference.shape[2:])
            if top is not None:
                return top
        return self.separate(x, reference)

    def separate(self, x: Tensor, reference: Tensor) -> Tensor:  # type: ignore[override]
        """The pooling, then the Crop."""
        top: Tensor = self._crop(self._pooling(x), reference)
        return top


def sizes(plan: Plan) -> None:
    """Leave out poolings of which only the size is read, and windows of averages that a Crop cuts off."""
    for i, _, reader, place in _before_crops(plan):
        if place in reader.sizes:
            pooling = plan.steps[i].operator  # type: ignore[union-attr]
            assert isinstance(pooling, Pooling)
            plan.replace(i, operator=Sized(pooling))
    for i, j, crop, place in _before_crops(plan):
        step, after = plan.steps[i], plan.steps[j]
        assert step is not None
        assert after is not None
        if place == 0 and isinstance(step.operator, Pooling) and crop.of_corner():
            plan.merge((i, j), j, Cropped(step.operator, crop), also=after.bottoms[1:])


def _before_crops(plan: Plan) -> Iterator[tuple[int, int, Crop, int]]:
    """The poolings that only a Crop reads: their steps, that of the Crop, the Crop, and as which bottom."""
    for i, step in enumerate(plan.steps):
        if step is not None and isinstance(step.operator, Pooling):
            j = plan.only_reader(i)
            reader = None if j is None else plan.steps[j]
            if j is not None and reader is not None and isinstance(reader.operator, Crop):
                yield i, j, reader.operator, reader.bottoms.index(step.tops[0])
