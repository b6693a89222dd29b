"""The tensors of two files compared by name."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from netbuilder.errors import shape_text
from netbuilder.net import Net
from netbuilder.weights.importing import imported
from netbuilder.weights.matching import Match
from netbuilder.weights.tensors import Checkpoint, Tensor

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

__all__ = ["Row", "as_model", "compare"]


class Row(NamedTuple):
    """A tensor of one file or both: what is different, and the largest difference of its values."""

    name: str
    what: str
    largest: float

    @property
    def number(self) -> float | None:
        """The largest difference, None where the tensors cannot be compared."""
        return self.largest if math.isfinite(self.largest) else None


def compare(first: Checkpoint, second: Checkpoint) -> list[Row]:
    """Each tensor of the two files, in the order of the first.

    The statistics of a BatchNorm (three blobs of a layer, the last of one number) count divided by their
    factor, as Caffe uses them.
    """
    rows = []
    for name in dict.fromkeys([*first.tensors, *second.tensors]):
        if name not in second.tensors or name not in first.tensors:
            rows.append(Row(name, f"only in {(first if name in first.tensors else second).path}", math.inf))
            continue
        one, other = first.tensors[name], second.tensors[name]
        if one.shape != other.shape:
            what = f"{shape_text(one.shape)} and {shape_text(other.shape)}"
            rows.append(Row(name, what, math.inf))
        elif not (_is_factor(first, name) and _is_factor(second, name)):
            largest = _largest(_values(first, one), _values(second, other))
            rows.append(Row(name, "values differ" if largest else "", largest))
    return rows


def as_model(net: Net, found: Match, file: str) -> Checkpoint:
    """A checkpoint as the model that its import gives, held in memory."""
    tensors = {}
    for layer, arrays in imported(net, found):
        for i, array in enumerate(arrays if layer else []):
            name = f"{layer.name if layer else ''}.{i}"
            tensors[name] = Tensor(name, array.shape, "float32", lambda a=array: a)  # type: ignore[misc]
    return Checkpoint(file, tensors)


def _factor(file: Checkpoint, name: str) -> Tensor | None:
    """The factor of a BatchNorm's blob: the third of its layer, one number beside two of one shape."""
    layer, _, number = name.rpartition(".")
    blobs = [file.tensors[blob] for i in range(3) if (blob := f"{layer}.{i}") in file.tensors]
    if number not in ("0", "1", "2") or len(blobs) < 3:
        return None
    mean, variance, factor = blobs
    return factor if factor.size == 1 and mean.shape == variance.shape and len(mean.shape) == 1 else None


def _is_factor(file: Checkpoint, name: str) -> bool:
    return name.endswith(".2") and _factor(file, name) is not None


def _values(file: Checkpoint, tensor: Tensor) -> Array:
    factor = _factor(file, tensor.name)
    values = tensor.read()
    if factor is None:
        return values
    number = float(factor.read().reshape(-1)[0])
    return values * (1 / number if number else 0)


def _largest(one: Array, other: Array) -> float:
    import numpy as np

    if not one.size:
        return 0
    with np.errstate(invalid="ignore"):
        difference = np.abs(one.astype(np.float64) - other)
    difference[(one == other) | (np.isnan(one) & np.isnan(other))] = 0  # infinite, and no number, in both
    return float(np.nan_to_num(difference, nan=math.inf).max())
