"""A product with learnt weights, and the normalisation by stored statistics after it, with other weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netbuilder.engines.torch.operator import Operator
from netbuilder.engines.torch.operators.convolution import Convolution, Deconvolution
from netbuilder.engines.torch.operators.linear import InnerProduct
from netbuilder.engines.torch.operators.normalization import BatchNorm, Scale
from netbuilder.engines.torch.passes.batch_norm import Normalisation, scales_channels
from netbuilder.engines.torch.passes.fusion import Derived, Fusion, graded
from netbuilder.engines.torch.steps import Plan

__all__ = ["Folded", "fold"]

_Product = Convolution | Deconvolution | InnerProduct


class Folded(Fusion):
    """A convolution, Deconvolution or InnerProduct with BatchNorm and Scale in its weights.

    While a gradient of any of their parameters is asked for, the layers are computed one after another.
    """

    fresh = True

    def __init__(self, product: _Product, *after: nn.Module) -> None:
        super().__init__(product, *after)
        self._product = product
        self._folded: Derived[tuple[Tensor, Tensor]] = Derived()

    def fused(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """One product."""
        blobs = self.blobs()
        if graded(blobs):
            return self.separate(x)  # type: ignore[return-value]
        low = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else None
        found = self._folded.of(blobs, lambda: self.folded(low), low)
        if found is None:
            return self.separate(x)  # type: ignore[return-value]
        product = self._product
        return product.product(x, *found) if isinstance(product, InnerProduct) else product.slide(x, *found)

    def folded(self, low: torch.dtype | None) -> tuple[Tensor, Tensor]:
        """The weight and the bias of the one product, in their own precision or a lower one."""
        product = self._product
        weight, bias = product.learnt()
        dtype = torch.float32 if weight.device.type == "mps" else torch.float64
        factor: Tensor | None = None
        shift = torch.zeros((), dtype=dtype, device=weight.device) if bias is None else bias.to(dtype)
        for operator in self.operators[1:]:
            times, plus = _by_channel(operator, dtype)
            factor = times if factor is None else factor * times
            shift = shift * times if plus is None else shift * times + plus
        assert factor is not None
        kind = weight.dtype if low is None else low
        return _scaled(product, weight.to(dtype), factor).to(kind), shift.to(kind)


def _by_channel(operator: Operator, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """The factor and the summand of each channel."""
    if isinstance(operator, Scale):
        factor, bias = operator.learnt()
        return factor.to(dtype), None if bias is None else bias.to(dtype)
    assert isinstance(operator, BatchNorm)
    mean, variance = (value.to(dtype) for value in operator.statistics())
    factor = (variance + operator.eps).rsqrt()
    return factor, -mean * factor


def _scaled(product: _Product, weight: Tensor, factor: Tensor) -> Tensor:
    if isinstance(product, Deconvolution):  # (inputs, outputs of a group, ...)
        groups = factor.view(product.group, 1, -1, *(1,) * (weight.dim() - 2))
        return (weight.view(product.group, -1, *weight.shape[1:]) * groups).reshape(weight.shape)
    if isinstance(product, InnerProduct) and product.transposed:
        return weight * factor
    return weight * factor.view(-1, *(1,) * (weight.dim() - 1))


def fold(plan: Plan) -> None:
    """Merge each product with the BatchNorm and Scale that alone read it, if the statistics are stored."""
    for i, step in enumerate(plan.steps):
        if step is None or len(step.bottoms) != 1 or not _foldable(step.operator):
            continue
        axes = _axes(step.operator)
        chain = [i]
        while (j := plan.only_reader(chain[-1])) is not None and _by_channels(plan, j, axes):
            chain.append(j)
        if len(chain) > 1:
            parts = [plan.steps[k].operator for k in chain]  # type: ignore[union-attr]
            plan.merge(chain, chain[1], Folded(*parts))  # type: ignore[arg-type]


def _foldable(operator: nn.Module) -> bool:
    if isinstance(operator, InnerProduct):
        return bool(operator.axis == 1)
    if isinstance(operator, (Convolution, Deconvolution)):
        return operator.slope is None and operator.message.axis == 1
    return False


def _axes(operator: nn.Module) -> int:
    assert isinstance(operator, Operator)
    return operator.blob(0).dim()


def _by_channels(plan: Plan, j: int, axes: int) -> bool:
    step = plan.steps[j]
    assert step is not None
    operator = step.operator
    if isinstance(operator, Normalisation):
        return operator.norm.stored and scales_channels(operator.scale, axes)
    if isinstance(operator, BatchNorm):
        return operator.plain and operator.stored
    return isinstance(operator, Scale) and len(step.bottoms) == 1 and scales_channels(operator, axes)
