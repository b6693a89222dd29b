"""Images as a net's data layer gives them: decoded, resized, cropped in the middle, centred, scaled.

Source: data_transformer.cpp, Transform, in the TEST phase; mirroring, which is random, is left out.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netbuilder.data import images
from netbuilder.errors import ConfigError, FileError, shape_text
from netbuilder.schema import message

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

__all__ = ["Preprocessing", "read_mean"]

Size = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """From an image file to a blob (1, c, h, w), float32.

    The image is resized to `size`, then its middle is taken in `crop`. `mean` is one value, one a channel, or
    an image (c, h, w) in either size; then follows `scale`. `channels` is 1, in grey, or 3, in the order
    B, G, R unless `rgb`. A mean is in the order of the channels.
    """

    size: Size
    crop: Size
    channels: int = 3
    mean: Any = None
    scale: float = 1.0
    rgb: bool = False

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise ConfigError(f"an image has 1 or 3 channels, and the net takes {self.channels}")
        if self.crop[0] > self.size[0] or self.crop[1] > self.size[1]:
            raise ConfigError(
                f"a crop of {_text(self.crop)} is larger than the image, {_text(self.size)}", key="crop",
                hint="give a larger --size",
            )  # fmt: skip
        shape = () if self.mean is None else self.mean.shape
        fits = [(), (1,), (self.channels,), (self.channels, *self.size), (self.channels, *self.crop)]
        if shape not in fits:
            raise ConfigError(
                f"the mean has shape {shape_text(shape)}, and the image {self.channels} channels of "
                f"{_text(self.size)}, {_text(self.crop)} after the crop",
                key="mean", hint="give one value a channel, or a --size that fits the mean's",
            )  # fmt: skip

    def read(self, path: str | Path) -> Array:
        """The blob of an image file. Raises FileError."""
        import numpy as np

        try:
            with open(path, "rb") as file:
                pixels = images.decode(file, gray=self.channels == 1)
        except OSError as error:
            raise FileError(f"cannot read '{path}': {(error.strerror or str(error)).lower()}") from None
        except images.Unreadable as error:
            raise FileError(f"cannot read '{path}': {error}") from None
        pixels = images.resize(pixels, *self.size)
        planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        values = planes[::-1] if self.rgb else planes
        values, mean = self._cropped(values).astype(np.float32), self.mean
        if mean is not None and mean.ndim == 3:
            values -= self._cropped(mean) if mean.shape[1:] == self.size else mean
        elif mean is not None:
            values -= mean.reshape(-1, 1, 1)
        blob: Array = values[None] * np.float32(self.scale)
        return blob

    def _cropped(self, planes: Any) -> Any:
        top, left = ((whole - part) // 2 for whole, part in zip(self.size, self.crop, strict=True))
        return planes[:, top : top + self.crop[0], left : left + self.crop[1]]


def read_mean(text: str) -> Any:
    """A mean from values, as in 104,117,123, or from a .binaryproto or .npy file.

    Raises ConfigError, FileError.
    """
    import numpy as np

    try:
        return np.array([float(word) for word in text.split(",")], np.float32)
    except ValueError:
        pass
    try:
        content = Path(text).read_bytes()
        if text.endswith(".npy"):
            values = np.asarray(np.load(io.BytesIO(content)), np.float32)
            return values if values.ndim in (1, 3) else values.reshape(values.shape[-3:])
    except Exception as error:  # NumPy parses the header of a .npy as Python: errors of many kinds
        raise FileError(
            f"cannot read the mean '{text}': {str(getattr(error, 'strerror', None) or error).lower()}",
            hint="a mean is one value a channel, as in 104,117,123, or a .binaryproto or .npy file",
        ) from None
    blob = message("BlobProto")()
    try:
        blob.ParseFromString(content)
        shape = tuple(blob.shape.dim) or (blob.num, blob.channels, blob.height, blob.width)
        return np.array(blob.data or blob.double_data, np.float32).reshape(shape[-3:])
    except Exception:  # protobuf's DecodeError has no common base; a shape that does not fit is a ValueError
        raise FileError(
            f"'{text}' is not a mean image",
            hint="compute_image_mean and `netbuilder data lmdb --mean` write one",
        ) from None


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
