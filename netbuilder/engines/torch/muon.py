"""`Muon`: the update of filters by their orthogonalised momentum, an extra of recipes that Caffe lacks.

Source: Keller Jordan, airbench94_muon.py of github.com/KellerJordan/cifar10-airbench, and "Muon: An optimizer
for hidden layers in neural networks" (2024). There it computes in bfloat16; here, in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from netbuilder.engines.torch.updates import Batch, Scale, Update

__all__ = ["Muon", "orthogonalised"]

_QUINTIC = (3.4445, -4.7750, 2.0315)  # a * s + b * s^3 + c * s^5 brings singular values in 0..1 near 1


class Muon(Update):
    """b = momentum * b + g, w = w * sqrt(n) / |w| - rate * orthogonalised(g + momentum * b), n filters.

    `share` turns the rate of the solver into that of these weights. They have no decay: their norm is fixed,
    which changes nothing in front of a BatchNorm. b has the place of the history in Caffe's state.
    """

    def __init__(self, share: float, momentum: float, steps: int) -> None:
        self.share, self.momentum, self.steps = share, momentum, steps

    def apply(self, batch: Batch, rate: float, decay: float, scale: Scale, iteration: int) -> None:
        """Update the weights at the rate of their multiplier."""
        if isinstance(scale, Tensor) or scale != 1:
            torch._foreach_mul_(batch.grads, scale)
        for weight, grad, history in zip(batch.weights, batch.grads, batch.histories[0], strict=True):
            history.mul_(self.momentum).add_(grad)
            along = orthogonalised(grad.add_(history, alpha=self.momentum).flatten(1), self.steps)
            weight.mul_(len(weight) ** 0.5 / weight.norm().clamp_(min=1e-7))
            weight.sub_(along.view(weight.shape), alpha=rate * self.share)


def orthogonalised(matrix: Tensor, steps: int) -> Tensor:
    """Nearly the orthogonal matrix that is nearest: singular values come near 1, small ones after more steps.

    Newton-Schulz's iteration, with a polynomial that is steep at 0.
    """
    a, b, c = _QUINTIC
    wide: Tensor = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x: Tensor = wide / (wide.norm() + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x if wide is matrix else x.T
