"""Where images are cut and mirrored: the rows and columns of the stored image that are used, in order.

The numbers drawn are between 0 and 1, and of a fixed count for each image, so that they do not depend on the
sizes of images, nor on where the cutting is done.
Source: data_transformer.cpp, Transform.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Draws = npt.NDArray[np.float64]
    Numbers = npt.NDArray[np.int64]

__all__ = ["DRAWS", "Frame", "Framing"]

DRAWS = 8  # for each image
MIRROR, TOP, LEFT = 0, 1, 2


class Frame(NamedTuple):
    """The rows (n, h) and the columns (n, w) of n stored images.

    It is `plain` if rows follow one another, and columns too, forwards or backwards.
    """

    rows: Numbers
    cols: Numbers
    plain: bool = True


@dataclass(frozen=True, kw_only=True)
class Framing:
    """How images are framed: `crop` 0 takes them whole; `random` crops anywhere, otherwise in the middle.

    Mirroring is random in any phase.
    """

    crop: int = 0
    random: bool = False
    mirror: bool = False

    def __call__(self, height: int, width: int, draws: Draws) -> Frame:
        """The frames of images of one size, by their draws (n, DRAWS). ValueError: the crop is larger."""
        import numpy as np

        h, w = self.crop or height, self.crop or width
        room = np.array([height - h, width - w])
        if room.min() < 0:
            raise ValueError(f"crop_size {self.crop} is larger than an image of {height}x{width}")
        if self.random and self.crop:
            first = (draws[:, TOP : LEFT + 1] * (room + 1)).astype(np.int64)
        else:
            first = np.broadcast_to(room // 2, (len(draws), 2))
        rows = first[:, :1] + np.arange(h)
        cols = first[:, 1:] + np.arange(w)
        if self.mirror:
            cols = np.where(draws[:, MIRROR, None] < 0.5, cols[:, ::-1], cols)
        return Frame(rows, cols)
