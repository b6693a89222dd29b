"""Where images are cut and mirrored: the rows and columns of the stored image that are used, in order.

The numbers drawn are between 0 and 1, and of a fixed count for each image, so that they do not depend on the
sizes of images, nor on where the cutting is done.
Source: data_transformer.cpp, Transform; what Caffe lacks is named in `Framing`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Draws = npt.NDArray[np.float64]
    Numbers = npt.NDArray[np.int64]
    Shares = npt.NDArray[np.float32]

__all__ = ["Between", "Frame", "Framing"]

MIRROR, TOP, LEFT = 0, 1, 2
_TRIES = 10  # of a box of random area and shape; then the middle is taken, as by torchvision


class Between(NamedTuple):
    """For values between pixels: the second row and column of each, and its share."""

    rows: Numbers
    cols: Numbers
    down: Shares
    right: Shares


class Frame(NamedTuple):
    """The rows (n, h) and the columns (n, w) of n stored images.

    It is `plain` if rows follow one another, and columns too, forwards or backwards.
    """

    rows: Numbers
    cols: Numbers
    plain: bool = True
    between: Between | None = None


@dataclass(frozen=True, kw_only=True)
class Framing:
    """How images are framed: `crop` 0 takes them whole; `random` crops anywhere, otherwise in the middle.

    Mirroring is random in any phase. What Caffe lacks: `move` reflects the image at its borders, so many
    pixels on each side, before a random part of its former size, or a crop, is taken; `area` and `shape`
    bound the share of the area and the ratio of width to height of a box that is resized to the crop.
    """

    crop: int = 0
    random: bool = False
    mirror: bool = False
    move: int = 0
    area: tuple[float, float] | None = None
    shape: tuple[float, float] = (3 / 4, 4 / 3)

    @property
    def draws(self) -> int:
        """How many numbers it takes for each image."""
        return 3 + 2 * _TRIES if self.area else 3

    def __call__(self, height: int, width: int, draws: Draws, mirrored: Any = None) -> Frame:
        """The frames of images of one size, by their draws (n, `draws`). ValueError: the crop is larger.

        `mirrored` says which are mirrored instead of a draw.
        """
        import numpy as np

        frame = self._boxes(height, width, draws) if self.area else self._cropped(height, width, draws)
        if not self.mirror:
            return frame
        flip = (draws[:, MIRROR] < 0.5 if mirrored is None else mirrored)[:, None]
        between = frame.between
        if between is not None:
            between = between._replace(
                cols=np.where(flip, between.cols[:, ::-1], between.cols),
                right=np.where(flip, between.right[:, ::-1], between.right),
            )
        return frame._replace(cols=np.where(flip, frame.cols[:, ::-1], frame.cols), between=between)

    def _cropped(self, height: int, width: int, draws: Draws) -> Frame:
        import numpy as np

        h, w = self.crop or height, self.crop or width
        room = np.array([height - h, width - w]) + 2 * self.move
        if room.min() < 0:
            raise ValueError(f"crop_size {self.crop} is larger than an image of {height}x{width}")
        if self.random:
            first = (draws[:, TOP : LEFT + 1] * (room + 1)).astype(np.int64)
        else:
            first = np.broadcast_to(room // 2, (len(draws), 2))
        rows = first[:, :1] + np.arange(h) - self.move
        cols = first[:, 1:] + np.arange(w) - self.move
        if not self.move:
            return Frame(rows, cols)
        if self.move >= min(height, width):
            raise ValueError(f"an image of {height}x{width} cannot be moved by {self.move} pixels")
        return Frame(_reflected(rows, height), _reflected(cols, width), plain=False)

    def _boxes(self, height: int, width: int, draws: Draws) -> Frame:
        """Boxes of random area and shape, resized to the crop. Source: torchvision, RandomResizedCrop."""
        import numpy as np

        h, w = self.crop or height, self.crop or width
        boxes = np.array([self._box(height, width, row) for row in draws.tolist()])
        top, left, tall, wide = boxes.T[:, :, None]
        rows, lower, down = _taps(top, tall, h)
        cols, later, right = _taps(left, wide, w)
        return Frame(rows, cols, False, Between(lower, later, down, right))

    def _box(self, height: int, width: int, draws: list[float]) -> tuple[int, int, int, int]:
        assert self.area is not None
        (least, most), (narrow, broad) = self.area, self.shape
        low, high = math.log(narrow), math.log(broad)
        for i in range(3, 3 + 2 * _TRIES, 2):
            area = height * width * (least + draws[i] * (most - least))
            ratio = math.exp(low + draws[i + 1] * (high - low))
            wide, tall = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < wide <= width and 0 < tall <= height:
                return (
                    int(draws[TOP] * (height - tall + 1)),
                    int(draws[LEFT] * (width - wide + 1)),
                    tall,
                    wide,
                )
        tall = min(height, round(width / narrow)) if width < narrow * height else height
        wide = min(width, round(height * broad)) if width > broad * height else width
        return (height - tall) // 2, (width - wide) // 2, tall, wide


def _reflected(places: Numbers, size: int) -> Numbers:
    """Places beyond the border, as in a mirror that stands on the outermost pixel."""
    import numpy as np

    places = np.abs(places)
    found: Numbers = np.where(places >= size, 2 * (size - 1) - places, places)
    return found


def _taps(first: Numbers, length: Numbers, count: int) -> tuple[Numbers, Numbers, Shares]:
    """The two pixels between which each of `count` values lies, spread over `length`, and the second's share.

    Source: OpenCV's resize, INTER_LINEAR: pixels are squares, and the outermost repeat.
    """
    import numpy as np

    places = np.clip((np.arange(count) + 0.5) * length / count - 0.5, 0, length - 1)
    low = np.floor(places).astype(np.int64)
    high = np.minimum(low + 1, length - 1)
    return first + low, first + high, (places - low).astype(np.float32)
