"""What a net is fed: the order of its colours, their range and their normalisation.

A net is trained on images of one kind (a map says which), and may be fed another, if its first convolution
makes up for it: `input_change` gives the factor of each channel, the order, and the shift.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from netbuilder.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

__all__ = ["INPUTS", "InputChange", "Normalisation", "input_change"]

# The words of --input: what the net is fed. With "-mean", the caller subtracts the mean himself.
INPUTS = tuple(
    f"{order}{top}{mean}" for mean in ("", "-mean") for order in ("rgb", "bgr") for top in ("01", "255")
)
_RANGES = {"01": 1.0, "255": 255.0}


@dataclass(frozen=True)
class Normalisation:
    """What a published net is fed: (x - mean) / std, of colours in an order and from 0 to `range`."""

    order: str
    range: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Normalisation:
        """From a map's `input`. Raises ConfigError."""
        try:
            mean, std = (tuple(float(x) for x in data[key]) for key in ("mean", "std"))
            found = cls(str(data.get("order", "rgb")), float(data.get("range", 1)), mean, std)
        except (KeyError, TypeError, ValueError):
            found = cls("", 0, (), ())
        if found.order not in ("rgb", "bgr") or len(found.mean) != len(found.std) or not found.mean:
            raise ConfigError("a map's input needs order (rgb or bgr), range, mean and std", key="input")
        if not found.range or not all(found.std):
            raise ConfigError("a map's input needs a range and stds other than 0", key="input")
        return found


@dataclass(frozen=True)
class InputChange:
    """Channel `c` of what the published net is fed is `scale[c] * (x[order[c]] - mean[order[c]])`.

    `mean` is in the order of the new input x. The scale and the order go into the first convolution's
    weights; so does the mean, where that is exact.
    """

    scale: tuple[float, ...]
    order: tuple[int, ...]
    mean: tuple[float, ...]
    subtracts_mean: bool

    def weights(self, weight: Array) -> Array:
        """The first convolution's weights (o, i, h, w) for the new input."""
        import numpy as np

        scaled = weight.astype(np.float64) * np.asarray(self.scale).reshape(1, -1, 1, 1)
        new: Array = scaled[:, list(self.order)].astype(np.float32)  # the order is its own inverse
        return new

    def shift(self, weight: Array) -> Array:
        """What the new weights give too much for each output, because nobody subtracts the mean."""
        import numpy as np

        shift: Array = (
            (weight.astype(np.float64) * np.asarray(self.mean).reshape(1, -1, 1, 1))
            .sum((1, 2, 3), dtype=np.float64)
            .astype(np.float32)
        )
        return shift

    def undone(self, image: Array) -> Array:
        """The new kind of input that stands for an image (n, c, h, w) as the published net takes it."""
        import numpy as np

        scale, mean = (np.asarray(x, np.float64).reshape(1, -1, 1, 1) for x in (self.scale, self.mean))
        new = (image / scale)[:, list(self.order)] + (mean if self.subtracts_mean else 0)
        given: Array = new.astype(np.float32)
        return given


def input_change(word: str, published: Normalisation) -> InputChange:
    """The change from what a published net is fed to what `word` says. Raises ConfigError."""
    if word not in INPUTS:
        raise ConfigError(f"--input must be one of {', '.join(INPUTS)}, got '{word}'", key="input")
    kind, _, by_caller = word.partition("-")
    factor = published.range / _RANGES[kind[3:]]  # from the new numbers to the published ones
    channels = len(published.mean)
    turned = kind[:3] != published.order
    order: Sequence[int] = range(channels)[::-1] if turned else range(channels)
    return InputChange(
        scale=tuple(factor / std for std in published.std),
        order=tuple(order),
        mean=tuple(published.mean[c] / factor for c in order),
        subtracts_mean=not by_caller,
    )
