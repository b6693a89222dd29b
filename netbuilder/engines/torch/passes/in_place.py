"""ReLU and sums written over a blob that nothing else reads, as in Caffe's layers in place."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from netbuilder.engines.torch.operator import Operator
from netbuilder.engines.torch.operators.activation import ReLU
from netbuilder.engines.torch.operators.combine import Eltwise
from netbuilder.engines.torch.passes.fusion import Fusion
from netbuilder.engines.torch.steps import Plan

__all__ = ["in_place"]


class Rectified(Fusion):
    """A ReLU that writes over its bottom."""

    def __init__(self, relu: ReLU) -> None:
        super().__init__(relu)
        self._slope = relu.slope

    def fused(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """The bottom, changed."""
        return functional.leaky_relu_(x, self._slope) if self._slope else functional.relu_(x)


class Summed(Fusion):
    """A sum of two bottoms that writes over one of them."""

    fresh = True

    def __init__(self, eltwise: Eltwise, over: int, coefficient: float) -> None:
        super().__init__(eltwise)
        self._over, self._coefficient = over, coefficient

    def fused(self, *bottoms: Tensor) -> Tensor:
        """One bottom, changed, unless the other is of another type."""
        x, y = bottoms[self._over], bottoms[1 - self._over]
        if x.dtype != y.dtype or x.shape != y.shape:
            return self.separate(*bottoms)  # type: ignore[return-value]
        return x.add_(y, alpha=self._coefficient)


def in_place(plan: Plan) -> None:
    """Let ReLUs and sums of two write over a bottom, if its maker allows and no other reads it."""
    for i, step in enumerate(plan.steps):
        operator = None if step is None else step.operator
        if step is None:
            continue
        if isinstance(operator, ReLU) and operator.slope >= 0 and _free(plan, i, 0):
            plan.replace(i, operator=Rectified(operator))
        elif isinstance(operator, Eltwise) and (coefficients := operator.sum_of_two()):
            for over in (0, 1):
                if coefficients[over] == 1 and _free(plan, i, over):
                    plan.replace(i, operator=Summed(operator, over, coefficients[1 - over]))
                    break


def _free(plan: Plan, i: int, bottom: int) -> bool:
    """Whether bottom b of step i is a new tensor that only this step reads."""
    step = plan.steps[i]
    assert step is not None
    maker = plan.maker(step.bottoms[bottom])
    made = None if maker is None else plan.steps[maker]
    if maker is None or made is None or len(made.bottoms) == 0:
        return False
    fresh = isinstance(made.operator, (Operator, Fusion)) and made.operator.fresh
    return fresh and plan.only_reader(maker) == i
