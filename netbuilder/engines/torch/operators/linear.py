"""InnerProduct and Embed."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from netbuilder.engines.torch.operator import Operator, canonical
from netbuilder.net import Layer

__all__ = ["COVERED", "REFUSED"]


class InnerProduct(Operator):
    """A product with a matrix; the axes from `axis` on are the inputs."""

    def __init__(self, layer: Layer, phase: str) -> None:
        super().__init__(layer, phase)
        p = self.proto.inner_product_param
        self._axis = p.axis
        self._bias = p.bias_term
        self._transposed = p.transpose

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """The top has the axes before `axis`, and num_output."""
        axis = canonical(self._axis, x.shape)
        if axis < x.dim() - 1:
            x = x.flatten(axis)
        weight = self.blob(0).t() if self._transposed else self.blob(0)
        return functional.linear(x, weight, self.blob(1) if self._bias else None)


class Embed(Operator):
    """A row of a matrix for each index; what follows the point of an index is cut off.

    An index out of range, which Caffe does not check, is an error.
    """

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """The top has the axes of the bottom, and num_output."""
        top = functional.embedding(x.long(), self.blob(0))
        return top + self.blob(1) if self.message.bias_term else top


COVERED: dict[str, type[Operator]] = {"InnerProduct": InnerProduct, "Embed": Embed}
REFUSED: dict[str, str] = {}
