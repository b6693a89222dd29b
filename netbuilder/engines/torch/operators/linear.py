"""InnerProduct and Embed."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from netbuilder.engines.torch.operator import Operator, canonical
from netbuilder.net import Layer

__all__ = ["COVERED", "REFUSED"]


class InnerProduct(Operator):
    """A product with a matrix; the axes from `axis` on are the inputs."""

    fresh = True

    def __init__(self, layer: Layer, phase: str) -> None:
        super().__init__(layer, phase)
        p = self.proto.inner_product_param
        self.axis = p.axis
        self.transposed = p.transpose
        self._bias = p.bias_term

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """The top has the axes before `axis`, and num_output."""
        return self.product(x, *self.learnt())

    def learnt(self) -> tuple[Tensor, Tensor | None]:
        """The weight and the bias."""
        return self.blob(0), self.blob(1) if self._bias else None

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The top for this weight and bias, in the shapes of the layer's own."""
        axis = canonical(self.axis, x.shape)
        if axis < x.dim() - 1:
            x = x.flatten(axis)
        return functional.linear(x, weight.t() if self.transposed else weight, bias)


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
