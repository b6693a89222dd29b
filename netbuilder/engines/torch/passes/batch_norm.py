"""BatchNorm and the Scale after it as one normalisation."""

from __future__ import annotations

from torch import Tensor

from netbuilder.engines.torch.operator import canonical
from netbuilder.engines.torch.operators.normalization import BatchNorm, Scale
from netbuilder.engines.torch.passes.fusion import Fusion
from netbuilder.engines.torch.steps import Plan

__all__ = ["Normalisation", "batch_norm", "scales_channels"]


class Normalisation(Fusion):
    """A normalisation by channel, with the factor and the bias of the Scale."""

    fresh = True

    def __init__(self, norm: BatchNorm, scale: Scale) -> None:
        super().__init__(norm, scale)
        self.norm, self.scale = norm, scale

    def fused(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """BatchNorm's statistics are updated as by itself."""
        if not scales_channels(self.scale, x.dim()):
            return self.separate(x)  # type: ignore[return-value]
        return self.norm.normalized(x, *self.scale.learnt())


def scales_channels(scale: Scale, axes: int) -> bool:
    """Whether a Scale has one factor for each channel of a bottom with so many axes."""
    return scale.blob(0).dim() == 1 and canonical(scale.axis, [0] * axes) == 1


def batch_norm(plan: Plan) -> None:
    """Merge each BatchNorm with the only reader of its top, if that is a Scale with a factor of its own."""
    for i, step in enumerate(plan.steps):
        if step is None or not isinstance(step.operator, BatchNorm) or not step.operator.plain:
            continue
        j = plan.only_reader(i)
        after = None if j is None else plan.steps[j]
        if after is not None and isinstance(after.operator, Scale) and len(after.bottoms) == 1:
            assert j is not None
            plan.merge((i, j), i, Normalisation(step.operator, after.operator))
