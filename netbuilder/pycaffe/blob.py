"""`Blob`: data and diff, as NumPy arrays that can be written to; and the vectors that pycaffe has."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

from netbuilder.pycaffe.memory import Array, Memory, Shape

__all__ = ["Blob", "BlobVec", "IntVec", "StringVec", "Vector"]

T = TypeVar("T")


class IntVec(list[int]):
    """The shape of a blob."""


class StringVec(list[str]):
    """Names."""


class Blob:
    """Numbers and their gradients, float32. `data` and `diff` are arrays that look at them.

    Assign to their elements (`blob.data[...] = x`); the attributes themselves cannot be replaced. An array
    stays valid for as long as it is held, also after the net is gone.
    """

    def __init__(
        self, shape: Iterable[int] = (), data: Memory | None = None, diff: Memory | None = None
    ) -> None:
        self._shape: Shape = tuple(shape)
        self.data_memory = Memory() if data is None else data
        self.diff_memory = Memory() if diff is None else diff

    @property
    def data(self) -> Array:
        """The numbers."""
        self.data_memory.ready()  # which may change the shape
        return self.data_memory.array(self._shape)

    @property
    def diff(self) -> Array:
        """Their gradients."""
        return self.diff_memory.array(self._shape)

    @property
    def shape(self) -> IntVec:
        """The sizes of its axes."""
        return IntVec(self._shape)

    @property
    def axes(self) -> Shape:
        """The shape, as a tuple."""
        return self._shape

    @property
    def count(self) -> int:
        """How many numbers it has."""
        return math.prod(self._shape)

    @property
    def num(self) -> int:
        """The first of four axes."""
        return self._legacy(0)

    @property
    def channels(self) -> int:
        """The second of four axes."""
        return self._legacy(1)

    @property
    def height(self) -> int:
        """The third of four axes."""
        return self._legacy(2)

    @property
    def width(self) -> int:
        """The last of four axes."""
        return self._legacy(3)

    def _legacy(self, axis: int) -> int:
        if len(self._shape) > 4:
            raise ValueError(f"num, channels, height and width need at most 4 axes: {self._shape}")
        return self._shape[axis] if axis < len(self._shape) else 1

    def reshape(self, *dims: int) -> None:
        """Change the shape. Numbers that still fit in stay; of a blob that grows, all are 0 again."""
        shape = tuple(operator.index(n) for n in dims)
        if any(n < 0 for n in shape):
            raise ValueError(f"no axis can be negative: {shape}")
        self._shape = shape

    def __repr__(self) -> str:
        return f"<caffe.Blob {self._shape}>"


class Vector(Generic[T]):
    """A vector: what has a length and is read by number."""

    def __init__(self, content: Iterable[T] = ()) -> None:
        self._content = list(content)

    def __len__(self) -> int:
        return len(self._content)

    def __getitem__(self, index: Any) -> Any:
        return self._content[index]

    def __iter__(self) -> Iterator[T]:
        return iter(self._content)

    def __contains__(self, item: object) -> bool:
        return any(item is one for one in self._content)

    def append(self, item: T) -> None:
        """Add one at the end."""
        self._content.append(item)

    def extend(self, items: Iterable[T]) -> None:
        """Add several at the end."""
        self._content.extend(items)

    def __repr__(self) -> str:
        return f"<caffe.{type(self).__name__} {self._content!r}>"


class BlobVec(Vector[Blob]):
    """The parameter blobs of a layer."""

    def add_blob(self, *dims: int) -> None:
        """Add a blob of this shape, of zeros: in the `setup` of a Python layer, its parameters."""
        blob = Blob()
        blob.reshape(*dims)
        self.append(blob)
