"""Images held whole on the device, as they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from netbuilder.data.framing import Frame
from netbuilder.engines.torch.transform import cut

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Numbers = npt.NDArray[np.int64]
    Planes = npt.NDArray[np.uint8] | npt.NDArray[np.float32]

__all__ = ["Held"]


class Held:
    """So many images of one size (c, h, w) and their labels, put in as they are read."""

    def __init__(self, count: int, shape: Sequence[int], kind: torch.dtype, device: torch.device) -> None:
        import numpy as np

        self.planes = torch.empty((count, *shape), dtype=kind, device=device)
        self._labels = np.zeros(count, np.int64)
        self._there = np.zeros(count, bool)

    @classmethod
    def of(cls, planes: Planes, labels: Numbers, device: torch.device) -> Held:
        """A set that is complete."""
        held = cls(0, planes.shape[1:], torch.from_numpy(planes[:0]).dtype, device)
        held.planes = torch.from_numpy(planes).to(device)
        held._labels, held._there = labels, labels == labels
        return held

    def missing(self, numbers: Numbers) -> list[int]:
        """Which of these images are not there yet."""
        import numpy as np

        found: list[int] = np.unique(numbers[~self._there[numbers]]).tolist()
        return found

    def put(self, numbers: Sequence[int], planes: Sequence[Planes], labels: Sequence[int]) -> bool:
        """Put images in; False if one is of another size or kind."""
        import numpy as np

        if not len(numbers):
            return True
        shape = tuple(self.planes.shape[1:])
        if any(p.shape != shape for p in planes):
            return False
        stacked = torch.from_numpy(np.stack(planes))
        if stacked.dtype != self.planes.dtype:
            return False
        self.planes[torch.as_tensor(numbers, device=self.planes.device)] = stacked.to(self.planes.device)
        self._labels[numbers] = labels
        self._there[numbers] = True
        return True

    def take(self, numbers: Numbers, frame: Frame) -> tuple[Tensor, Numbers]:
        """The frames of these images, and their labels."""
        return cut(self.planes, numbers, frame), self._labels[numbers]
