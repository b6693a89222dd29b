"""Tensors of a file by name, which are read when their numbers are asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from netbuilder.layers import Shape, elements

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

__all__ = ["Checkpoint", "Tensor"]


class Tensor(NamedTuple):
    """A tensor of a file: `kind` is the type of its numbers, and `read` gives them as float32."""

    name: str
    shape: Shape
    kind: str
    read: Callable[[], Array]

    @property
    def is_real(self) -> bool:
        """Whether it holds real numbers: integers are counters and indices, never weights."""
        return self.kind.startswith(("float", "bfloat"))

    @property
    def size(self) -> int:
        """The number of its values."""
        return elements(self.shape)


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file, in its order, and what is to be said of how they were found."""

    path: str
    tensors: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()
