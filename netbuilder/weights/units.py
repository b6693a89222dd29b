"""A net as checkpoints know it: units, the modules of another framework, and the blobs that they fill.

A filter (a convolution, an inner product, and any other layer with parameters) is a unit of its own. A
BatchNorm and the Scale after it are one, since other frameworks make one module of the two. A unit is named
like its layer, the BatchNorm's of the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from netbuilder.layers import Shape
from netbuilder.layers.normalization import AFFINE
from netbuilder.net import Blob, Layer, Net
from netbuilder.weights.fill import is_fixed

__all__ = ["STATISTICS", "Slot", "Unit", "raw_units", "units_of"]

# The roles of BatchNorm's first two blobs; the third, their factor, is always written as 1.
STATISTICS = ("running_mean", "running_var")


@dataclass(frozen=True)
class Slot:
    """A blob of a layer: the role that its tensor has in a module, and its place."""

    role: str
    layer: Layer
    index: int

    @property
    def shape(self) -> Shape:
        """The shape of the blob."""
        return self.layer.params[self.index].shape


class Unit(NamedTuple):
    """A module as the net has it. `normed` is the unit of the BatchNorm that alone reads a filter's top."""

    name: str
    slots: tuple[Slot, ...]
    is_norm: bool = False
    normed: str = ""

    def slot(self, role: str) -> Slot | None:
        """The slot of this role."""
        return next((slot for slot in self.slots if slot.role == role), None)


def units_of(net: Net) -> list[Unit]:
    """The units of a net in its order, without fixed filters and layers that only share parameters."""
    readers = _readers(net)
    scales: dict[Layer, Layer] = {}
    for layer in net:
        if _is_norm(layer) and (scale := _scale_of(layer, readers)):
            scales[layer] = scale
    taken = set(scales.values())
    return [
        Unit(layer.name, _slots(layer, scales.get(layer)), _is_norm(layer), _norm_after(layer, readers))
        for layer in net
        if layer not in taken and _has_own(layer)
    ]


def raw_units(net: Net) -> list[Unit]:
    """Each layer by itself, its blobs by their numbers, as in the state_dict of our PyTorch engine."""
    return [
        Unit(layer.name, tuple(Slot(str(i), layer, i) for i in range(len(layer.params))))
        for layer in net
        if _has_own(layer)
    ]


def _has_own(layer: Layer) -> bool:
    shared = all(param.shared_with for param in layer.params)
    return bool(layer.params) and not is_fixed(layer) and not shared


def _is_norm(layer: Layer) -> bool:
    return len(layer.params) >= 3 and all(p.role == "statistic" for p in layer.params[:3])


def _slots(layer: Layer, scale: Layer | None) -> tuple[Slot, ...]:
    if _is_norm(layer):
        slots = [Slot(role, layer, i) for i, role in enumerate(STATISTICS)]
        own = _by_role(layer, range(3, len(layer.params)))  # of forks, which scale and shift themselves
        return (*slots, *own, *(_by_role(scale, range(len(scale.params))) if scale else ()))
    return tuple(_by_role(layer, range(len(layer.params))))


def _by_role(layer: Layer, numbers: Sequence[int]) -> list[Slot]:
    """A layer's slots as weight and bias; a further one of a role has its number in the name."""
    slots: list[Slot] = []
    for i in numbers:
        role = layer.params[i].role
        again = sum(slot.role.partition("_")[0] == role for slot in slots)
        slots.append(Slot(f"{role}_{again}" if again else role, layer, i))
    return slots


def _readers(net: Net) -> dict[Blob, list[Layer]]:
    readers: dict[Blob, list[Layer]] = {}
    for layer in net:
        for blob in layer.bottoms:
            readers.setdefault(blob, []).append(layer)
    return readers


def _reader(layer: Layer, readers: dict[Blob, list[Layer]]) -> Layer | None:
    """The only reader of a layer's only top."""
    found = readers.get(layer.tops[0], []) if len(layer.tops) == 1 else []
    return found[0] if len(found) == 1 else None


def _scale_of(norm: Layer, readers: dict[Blob, list[Layer]]) -> Layer | None:
    reader = _reader(norm, readers)
    if reader is None or reader.type not in AFFINE or len(reader.bottoms) != 1:
        return None
    return reader if all(p.shape == norm.params[0].shape for p in reader.params) else None


def _norm_after(layer: Layer, readers: dict[Blob, list[Layer]]) -> str:
    reader = _reader(layer, readers)
    return reader.name if reader is not None and _is_norm(reader) else ""
