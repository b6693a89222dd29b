"""Convolutions of a TEST net take their weights laid out once, as the processor reads them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netbuilder.engines.torch.operators.convolution import Convolution
from netbuilder.engines.torch.passes.filters import Filter
from netbuilder.engines.torch.passes.fold import Folded
from netbuilder.engines.torch.passes.fusion import Derived, Fusion, graded
from netbuilder.engines.torch.steps import Plan

__all__ = ["Packed", "packed"]


class Packed(Fusion):
    """A convolution of images on the CPU, in float32, by oneDNN with weights in its own layout.

    PyTorch's functions bring the weights into that layout in each call: for one image ResNet-50 took a fifth
    longer. The operations are those of PyTorch's compiler; they have no gradient. Its fused ReLU is not used,
    since it turns NaN into 0.
    """

    fresh = True

    def __init__(self, product: Convolution | Folded | Filter, layer: Convolution) -> None:
        super().__init__(product)
        self._product, self._layer = product, layer
        self._held: Derived[tuple[Tensor, Tensor | None]] = Derived()

    def fused(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """One product, if nothing asks for a gradient."""
        blobs = self.blobs()
        fits = self._fits(x) and not graded((x, *blobs))
        found = self._held.of(blobs, lambda: self._pack(x)) if fits else None
        if found is None:
            return self.separate(x)  # type: ignore[return-value]
        _, stride, pad, dilation = self._layer.window
        run = torch.ops.mkldnn._convolution_pointwise
        top: Tensor = run(x, *found, pad, stride, dilation, self._layer.group, "none", [], "")
        return top

    def _fits(self, x: Tensor) -> bool:
        return (
            not torch.compiler.is_compiling()
            and x.is_cpu
            and x.dtype == self._layer.blob(0).dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
            and torch._C._has_mkldnn
            and torch._C._get_mkldnn_enabled()
            and x.numel() > 0
            and self._layer.whole(x)
            and not torch._C._functorch.is_functorch_wrapped_tensor(x)
            and not (isinstance(self._product, Filter) and self._product.operation(x))
        )

    def _pack(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        product, layer = self._product, self._layer
        weight, bias = product.folded(None) if isinstance(product, Folded) else layer.learnt()
        _, stride, pad, dilation = layer.window
        lay_out = torch.ops.mkldnn._reorder_convolution_weight
        return lay_out(weight, pad, stride, dilation, layer.group, list(x.shape)), bias


def packed(plan: Plan) -> None:
    """Let each convolution of images in phase TEST, folded or not, decide when the net runs."""
    for i, step in enumerate(plan.steps):
        if step is None or len(step.bottoms) != 1:
            continue
        product: nn.Module = step.operator
        if isinstance(product, (Convolution, Folded, Filter)):
            layer = product.operators[0] if isinstance(product, Fusion) else product
            if type(layer) is Convolution and not layer.trains and _plain(layer):
                plan.replace(i, operator=Packed(product, layer))


def _plain(layer: Convolution) -> bool:
    return layer.blob(0).dim() == 4 and layer.slope is None and not layer.sides and layer.message.axis == 1
