"""Images transformed as Caffe does it: cropped, mean subtracted, scaled, mirrored.

Source: data_transformer.cpp, Transform.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from netbuilder.engines.torch.files import find

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from netbuilder.engines.torch.operator import Operator

__all__ = ["Transform"]


class Transform:
    """The transform of a data layer, which in TRAIN crops at random places; mirroring is random in any phase.

    The mean image is read with the first batch.
    """

    def __init__(self, layer: Operator) -> None:
        self.layer = layer
        self._mean: npt.NDArray[np.float32] | None = None

    def __call__(self, planes: Sequence[npt.NDArray[np.uint8] | npt.NDArray[np.float32]]) -> Tensor:
        """A batch (n, c, h, w) of images (c, h, w). Raises ValueError for images that do not fit."""
        import numpy as np

        t = self.layer.proto.transform_param
        mean = self._mean_image() if t.HasField("mean_file") else None
        crop = t.crop_size
        channels, height, width = planes[0].shape
        batch = np.empty((len(planes), channels, crop or height, crop or width), np.float32)
        # One draw for the batch: mirroring, then the place of the crop, for each image.
        drawn = torch.rand(len(planes), 3).tolist() if t.mirror or crop else [()] * len(planes)
        for i, image in enumerate(planes):
            if not crop and image.shape != planes[0].shape:
                raise ValueError(
                    f"images of {image.shape} and {planes[0].shape} in one batch: give crop_size"
                )
            if mean is not None and mean.shape != image.shape:
                raise ValueError(f"mean_file is {mean.shape}, and an image {image.shape}")
            window, mirrored = self._window(image.shape, drawn[i])
            values = image[window]
            if mean is not None:
                values = values - mean[window]
            batch[i] = values[:, :, ::-1] if mirrored else values
        data = torch.from_numpy(batch)
        if t.mean_value:
            values_of = list(t.mean_value)
            if t.HasField("mean_file") or len(values_of) not in (1, channels):
                raise ValueError(f"give mean_file, or mean_value once or for each of {channels} channels")
            data -= torch.tensor(values_of, dtype=torch.float32)[:, None, None]
        return data.mul_(t.scale) if t.scale != 1 else data

    def _window(self, shape: tuple[int, ...], drawn: Sequence[float]) -> tuple[tuple[slice, ...], bool]:
        """The part of an image that is used, and whether it is mirrored."""
        t = self.layer.proto.transform_param
        mirrored = bool(t.mirror) and drawn[0] < 0.5
        crop = t.crop_size
        if not crop:
            return (slice(None),) * 3, mirrored
        room = [size - crop for size in shape[1:]]
        if min(room) < 0:
            raise ValueError(f"crop_size {crop} is larger than an image of {shape[1]}x{shape[2]}")
        if self.layer.trains:
            first = [int(place * (size + 1)) for place, size in zip(drawn[1:], room, strict=True)]
        else:
            first = [size // 2 for size in room]
        return (slice(None), *(slice(at, at + crop) for at in first)), mirrored

    def _mean_image(self) -> npt.NDArray[np.float32]:
        import numpy as np

        if self._mean is None:
            from netbuilder.schema import message

            name = self.layer.proto.transform_param.mean_file
            blob = message("BlobProto").FromString(find(name, self.layer, "its mean_file").read_bytes())
            shape = tuple(blob.shape.dim) or (blob.num, blob.channels, blob.height, blob.width)
            values = np.array(blob.double_data or blob.data, np.float32)
            self._mean = values.reshape(shape[-3:])
        return self._mean
