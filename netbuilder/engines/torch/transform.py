"""Batches of images transformed as Caffe does it: cropped, mirrored, mean subtracted, scaled.

Pixels stay uint8 on the device until they are cut; the same numbers follow from images that a process has
cut. Source: data_transformer.cpp, Transform.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from netbuilder.data.framing import Frame, Framing
from netbuilder.data.preprocess import read_mean
from netbuilder.engines.torch.files import find

if TYPE_CHECKING:
    from netbuilder.engines.torch.operators.data import Source

__all__ = ["Centring", "cut", "framing_of"]


def framing_of(layer: Source) -> Framing:
    """How the transform of a data layer frames images: in TRAIN it crops at random places."""
    t = layer.proto.transform_param
    return Framing(crop=t.crop_size, random=layer.trains, mirror=bool(t.mirror))


def cut(planes: Tensor, numbers: Tensor, frame: Frame) -> Tensor:
    """The frames (n, c, h, w) of the images with these numbers among the planes (N, c, H, W)."""
    width = planes.shape[3]
    device = planes.device
    rows = torch.from_numpy(frame.rows).to(device)
    cols = torch.from_numpy(frame.cols).to(device)
    (n, h), w, c = rows.shape, cols.shape[1], planes.shape[1]
    places = (rows[:, :, None] * width + cols[:, None, :]).view(n, 1, h * w)
    whole = planes[numbers].view(n, c, -1)
    return torch.gather(whole, 2, places.expand(n, c, h * w)).view(n, c, h, w)


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

    def __call__(self, pixels: Tensor, frame: Frame) -> Tensor:
        """Images (n, c, h, w) less the mean at their place in the stored image, times the scale."""
        data = pixels.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
        if self.image is not None:
            first = torch.zeros(len(pixels), dtype=torch.int64, device=self._device)
            data -= cut(self.image[None], first, frame)
        elif self._values is not None:
            data -= self._values
        scale = self._layer.proto.transform_param.scale
        return data.mul_(scale) if scale != 1 else data
