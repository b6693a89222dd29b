"""Choices for random deploy nets: sizes, axes, fields, and blobs to read."""

from __future__ import annotations

import random
from typing import Any

from netbuilder import Net
from netbuilder.layers import Shape
from netbuilder.schema import LayerParameter

__all__ = ["Choices"]


class Choices:
    """A random net that grows, and what is drawn for its layers."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.net = Net("fuzz", "TEST", dialect="caffe-master")
        self.layers: list[Any] = []

    def append(self, layer: Any) -> None:
        self.net.append(layer)
        self.layers.append(layer)

    # -- choices -------------------------------------------------------------------------------------

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    def pick(self, *values: Any) -> Any:
        return self.rng.choice(values)

    def size(self) -> int:
        return int(self.pick(1, 2, 2, 3, 3, 4, 4, 5, 6, 7, 8, 9))

    def shape(self, *ranks: int) -> Shape:
        return tuple(self.size() for _ in range(self.pick(*(ranks or (4, 4, 4, 4, 4, 2, 2, 3, 3, 1, 5)))))

    def axis(self, rank: int) -> int:
        """An axis of a blob, from either end."""
        return int(self.rng.randint(-rank, rank - 1)) if rank else 0

    def fields(self, message: Any, p: float, **values: Any) -> None:
        """Set each field with probability p, to a value or to one of a tuple of values."""
        for name, value in values.items():
            if self.chance(p):
                setattr(message, name, self.pick(*value) if isinstance(value, tuple) else value)

    # -- blobs ---------------------------------------------------------------------------------------

    def blob(self, shape: Shape) -> str:
        """A blob of this shape: an existing one, else a new input."""
        there = [b.name for b in self.net.blobs.values() if b.shape == shape]
        if there and self.chance(0.5):
            return str(self.rng.choice(there))
        name = f"in{len(self.layers)}"
        layer = LayerParameter(name=name, type="Input", top=[name])
        layer.input_param.shape.add(dim=shape)
        self.append(layer)
        return name

    def any(self, *ranks: int) -> tuple[str, Shape]:
        """Some blob of one of these ranks, most likely the last one."""
        fitting = [b for b in self.net.blobs.values() if not ranks or len(b.known_shape) in ranks]
        if fitting and self.chance(0.85):
            found = fitting[-1] if self.chance(0.7) else self.rng.choice(fitting)
            return found.name, found.known_shape
        shape = self.shape(*ranks)
        return self.blob(shape), shape
