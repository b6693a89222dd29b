"""`Fusion`: several operators as one step; and `Derived`: what such a step computes from parameters once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from netbuilder.engines.torch.operator import Operator, Tops

__all__ = ["Derived", "Fusion", "graded", "leading"]

T = TypeVar("T")

_SAMPLE = 61  # the values of a large blob that are compared


class Fusion(nn.Module):
    """Operators that follow one another, computed by `fused` at once.

    They stay the children of the net, and their parameters with them: here they are parts. One with a hook of
    the user's is called itself, and so are its neighbours.
    """

    fresh = False  # see `Operator.fresh`
    operators: tuple[Operator, ...]  # of the layers, in their order

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = parts  # a tuple, which nn.Module does not take for children
        found: list[Operator] = []
        for part in parts:
            found += part.operators if isinstance(part, Fusion) else [part]  # type: ignore[list-item]
        self.operators = tuple(found)

    def forward(self, *bottoms: Tensor) -> Tops:
        """The tops of the last part."""
        if any(map(_watched, self.operators)):
            return self.separate(*bottoms)
        return self.fused(*bottoms)

    def fused(self, *bottoms: Tensor) -> Tops:
        """All parts at once, or what `separate` returns where that would not be the same."""
        raise NotImplementedError

    def separate(self, *bottoms: Tensor) -> Tops:
        """One part after another."""
        first, *rest = self.parts
        tops: Tops = first(*bottoms)
        for part in rest:
            tops = part(tops)
        return tops

    def blobs(self) -> list[Tensor]:
        """The parameter blobs of all parts."""
        return [operator.blob(i) for operator in self.operators for i in range(operator.number)]

    def extra_repr(self) -> str:
        """As the module prints itself."""
        return " + ".join(operator.extra_repr() for operator in self.operators)


def leading(operator: nn.Module) -> Operator:
    """The operator of the first layer that a step computes."""
    first = operator.operators[0] if isinstance(operator, Fusion) else operator
    assert isinstance(first, Operator)
    return first


def graded(tensors: Iterable[Tensor]) -> bool:
    """Whether a gradient of any of these tensors is asked for."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def _watched(part: nn.Module) -> bool:
    return bool(
        part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks
    )


class Derived(Generic[T]):
    """A value computed from parameter blobs, and computed again when one of them has changed.

    PyTorch counts the changes of a tensor, but not those through `.data` or a NumPy array; on the CPU some
    values of each blob are compared as well. The value is not copied or pickled.
    """

    def __init__(self) -> None:
        # Of which blobs it is; views of them, and what these held; the value.
        self._held: tuple[Any, list[Tensor], list[Tensor], T] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_held": None}

    def of(self, blobs: Sequence[Tensor], compute: Callable[[], T], *kind: object) -> T | None:
        """The value for these blobs and this kind; None while PyTorch traces, when tensors have no values."""
        traced = torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
        if traced or not all(map(_plain, blobs)):
            return None
        key = (kind, [(blob.data_ptr(), blob._version, blob.dtype) for blob in blobs])
        held = self._held
        if held is None or held[0] != key or not all(map(torch.equal, held[1], held[2])):
            # Not for inference only, in which the value could not take part in a gradient later.
            with torch.inference_mode(False), torch.no_grad():
                # The views keep the memory, so that no other tensor gets the addresses.
                views = [_sample(blob) for blob in blobs]
                held = key, views, [v.clone() if v.is_cpu else v for v in views], compute()
            self._held = held
        return held[3]


def _plain(blob: Tensor) -> bool:
    return (
        type(blob) in (Tensor, nn.Parameter)
        and not blob.is_meta
        and not blob.is_inference()
        and not torch._C._functorch.is_functorch_wrapped_tensor(blob)
    )


def _sample(blob: Tensor) -> Tensor:
    """A view of values spread over the memory of a blob, or of all; of none on a GPU, which would wait."""
    flat = blob.detach()
    if not blob.is_cpu:
        return flat.as_strided((0,), (1,))
    dense = blob.is_contiguous() or blob.is_contiguous(memory_format=torch.channels_last)
    step = max(1, blob.numel() // _SAMPLE)
    return flat.as_strided((-(-blob.numel() // step),), (step,)) if dense else flat
