"""Batches of images transformed as Caffe does it: cropped, mirrored, mean subtracted, scaled.

Pixels stay uint8 on the device until they are cut; the same numbers follow from images that a process has
cut. Source: data_transformer.cpp, Transform.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from netbuilder.data.framing import Frame, Framing
from netbuilder.data.preprocess import read_mean
from netbuilder.engines.torch.files import find

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from netbuilder.engines.torch.operators.data import Source

    Numbers = npt.NDArray[np.int64]

__all__ = ["Centring", "cut", "framing_of"]


def framing_of(layer: Source, **more: Any) -> Framing:
    """How the transform of a data layer frames images: in TRAIN it crops at random places."""
    t = layer.proto.transform_param
    return Framing(crop=t.crop_size, random=layer.trains, mirror=bool(t.mirror), **more)


def cut(planes: Tensor, numbers: Numbers | None, frame: Frame) -> Tensor:
    """The frames (n, c, h, w) of the images with these numbers among (N, c, H, W); None: of all, in order."""
    if planes.device.type == "cpu" and frame.plain:
        return _cut_one_by_one(planes, numbers, frame)
    if numbers is not None:
        planes = planes[torch.from_numpy(numbers).to(planes.device)]
    if frame.between is None:
        return _gathered(planes, frame.rows, frame.cols)
    near = [
        [_gathered(planes, rows, cols).float() for cols in (frame.cols, frame.between.cols)]
        for rows in (frame.rows, frame.between.rows)
    ]
    right = torch.from_numpy(frame.between.right).to(planes.device)[:, None, None, :]
    down = torch.from_numpy(frame.between.down).to(planes.device)[:, None, :, None]
    above, below = (first + (second - first) * right for first, second in near)
    values = above + (below - above) * down
    return values if planes.is_floating_point() else (values + 0.5).to(planes.dtype)


def _gathered(planes: Tensor, rows: Numbers, cols: Numbers) -> Tensor:
    """The pixels (n, c, h, w) in these rows (n, h) and columns (n, w) of images (n, c, H, W)."""
    (n, h), w, c = rows.shape, cols.shape[1], planes.shape[1]
    places = torch.from_numpy(rows[:, :, None] * planes.shape[3] + cols[:, None, :]).to(planes.device)
    return torch.gather(planes.flatten(2), 2, places.view(n, 1, h * w).expand(n, c, h * w)).view(n, c, h, w)


def _cut_one_by_one(planes: Tensor, numbers: Numbers | None, frame: Frame) -> Tensor:
    """The same on a CPU, where copies of rows are three times as fast as a gather of pixels."""
    import numpy as np

    n, h, w = len(frame.rows), frame.rows.shape[1], frame.cols.shape[1]
    source = planes.numpy()
    whole = np.empty((n, planes.shape[1], h, w), source.dtype)
    which = range(n) if numbers is None else numbers.tolist()
    tops, left, right = (x.tolist() for x in (frame.rows[:, 0], frame.cols[:, 0], frame.cols[:, -1]))
    for out, i, top, first, last in zip(whole, which, tops, left, right, strict=True):
        if first <= last:
            out[...] = source[i, :, top : top + h, first : last + 1]
        else:
            out[...] = source[i, :, top : top + h, last : first + 1][:, :, ::-1]
    return torch.from_numpy(whole)


class Centring:
    """Subtracts the mean and scales. Raises EngineError for a mean that does not fit."""

    def __init__(self, layer: Source, device: torch.device) -> None:
        self._layer, self._device = layer, device
        t = layer.proto.transform_param
        self.image: Tensor | None = None
        self._values: Tensor | None = None
        if t.HasField("mean_file"):
            if t.mean_value:
                raise layer.error("mean_file and mean_value are both given: choose one")
            path = find(t.mean_file, layer, "its mean_file")
            self.image = torch.from_numpy(read_mean(str(path)).copy()).to(device)
        elif t.mean_value:
            self._values = torch.tensor(list(t.mean_value), device=device)[:, None, None]

    def check(self, channels: int, height: int, width: int) -> None:
        """Whether an image of this size can be centred."""
        t = self._layer.proto.transform_param
        if self.image is not None and tuple(self.image.shape) != (channels, height, width):
            mean = "x".join(map(str, self.image.shape))
            raise self._layer.error(
                f"the mean in '{t.mean_file}' is {mean}, and an image {channels}x{height}x{width}",
                hint="make the mean of the stored images: netbuilder data lmdb --mean, or compute_image_mean",
            )
        if len(t.mean_value) not in (0, 1, channels):
            raise self._layer.error(
                f"it has {len(t.mean_value)} mean_values, and images of {channels} channels",
                hint=f"give mean_value once, or {channels} times",
            )

    def __call__(self, data: Tensor, frame: Frame) -> Tensor:
        """Images (n, c, h, w) less the mean at their place in the stored image, times the scale; in place."""
        if self.image is not None:
            data -= cut(self.image.expand(len(data), -1, -1, -1), None, frame)
        elif self._values is not None:
            data -= self._values
        scale = self._layer.proto.transform_param.scale
        return data.mul_(scale) if scale != 1 else data
