"""What reference papers do to images in training and Caffe's transform cannot. All of it is off by default.

All of it is done in batches, and drawn from the feed's seed. Images have values 0 to 255 until the mean is
subtracted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from netbuilder.data.policies import Policy
from netbuilder.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Extras", "Mix", "cut_out", "is_number", "recoloured"]

_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a name"}
_GREY = (0.299, 0.587, 0.114)  # of R, G, B
# The colours of ImageNet, R, G, B in 0 to 1: Krizhevsky 2012, with the values of fb.resnet.torch.
_PCA_VALUES = (0.2175, 0.0188, 0.0045)
_PCA_VECTORS = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)


@dataclass(frozen=True, kw_only=True)
class Extras:
    """The names are those of a recipe.

    `shuffle`: a Data layer reads its records in another order each epoch. `move`: the image is reflected at
    its borders by so many pixels, and a random part of its former size, or of crop_size, is taken.
    `alternate_mirror`: an image is mirrored every second epoch, instead of by chance (needs mirror: true).
    `resized_crop`: least and most share of the area of a random box that is resized to crop_size, with
    `resized_shape`, the ratio of its width to its height. `brightness`, `contrast`, `saturation`: each is
    multiplied by 1 +- up to so much, in this order; `lighting`: the deviation of the noise along the colours
    of ImageNet. `autoaugment`: the data set whose policy changes each image; `randaugment`: how many random
    operations do, and their magnitude. `rgb`: channels are stored R, G, B, not B, G, R. `cutout`: the side of
    a square of 0; it is inside the image, or centred anywhere in it with `cutout_over_border`. `mixup`: alpha
    of the beta distribution. `label_smoothing`: the share of a label that is spread over all classes.
    """

    shuffle: bool = False
    move: int = 0
    alternate_mirror: bool = False
    resized_crop: tuple[float, float] | None = None
    resized_shape: tuple[float, float] = (3 / 4, 4 / 3)
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    lighting: float = 0.0
    autoaugment: str = ""
    randaugment: tuple[int, int] | None = None
    rgb: bool = False
    cutout: int = 0
    cutout_over_border: bool = False
    mixup: float = 0.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        for name in ("move", "cutout", "lighting", "mixup"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} cannot be negative, got {getattr(self, name)}", key=name)
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must be between 0 and 1, got {getattr(self, name)}", key=name)
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(
                f"label_smoothing must be at least 0 and below 1, got {self.label_smoothing}",
                key="label_smoothing",
            )
        for name, most in (("resized_crop", 1.0), ("resized_shape", float("inf"))):
            pair = getattr(self, name)
            if pair is not None and not (len(pair) == 2 and 0 < pair[0] <= pair[1] <= most):
                example = "[0.08, 1]" if most == 1 else "[0.75, 1.33]"
                raise ConfigError(
                    f"{name} takes the least and the most, as in {example}, got {list(pair)}", key=name
                )
        Policy(self.autoaugment, self.randaugment)
        if self.resized_crop and self.move:
            raise ConfigError("resized_crop and move both place the image: choose one", key="move")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Extras:
        """The extras of a mapping. Raises ConfigError for an unknown name or a value of another type."""
        for name, value in given.items():
            if name not in cls.names():
                raise ConfigError(
                    f"there is no '{name}' of the data", key=name, hint=did_you_mean(name, cls.names())
                )
            kind = type(getattr(cls, name))
            if not _fits(value, kind):
                what = _KINDS.get(kind, "two numbers, as in [1, 2]")
                raise ConfigError(f"{name} takes {what}, got {value!r}", key=name)
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
        return cls(**values)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """What can be given."""
        return tuple(field.name for field in fields(cls))

    @property
    def recolours(self) -> bool:
        """Whether colours change."""
        return any((self.brightness, self.contrast, self.saturation, self.lighting))

    @property
    def policy(self) -> Policy | None:
        """The one that changes each image."""
        return Policy(self.autoaugment, self.randaugment) if self.autoaugment or self.randaugment else None

    def lines(self) -> list[str]:
        """What is done, a line each, for a log."""
        default = Extras()
        changed = [name for name in self.names() if getattr(self, name) != getattr(default, name)]
        return [f"{name}: {getattr(self, name)}" for name in changed]


def _fits(value: object, kind: type) -> bool:
    """Whether a value is of the type of a field's default; a pair's is None or a tuple."""
    if kind is float:
        return is_number(value)
    if kind in _KINDS:
        return type(value) is kind
    return isinstance(value, list | tuple) and all(map(is_number, value))


def is_number(value: object) -> bool:
    """Whether a value of a file is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True)
class Mix:
    """Two images in one: the label of the second, and the share of the first."""

    other: Tensor
    share: Tensor  # a scalar on the device, so that compiled code does not depend on it


def recoloured(data: Tensor, extras: Extras, rng: np.random.Generator) -> Tensor:
    """Images (n, 3, h, w) with other brightness, contrast, saturation and lighting, in place."""
    n = len(data)
    grey = torch.tensor(_GREY if extras.rgb else _GREY[::-1], device=data.device)[:, None, None]

    def factors(strength: float) -> Tensor:
        drawn = 1 + strength * (2 * rng.random((n, 1, 1, 1)) - 1)
        return torch.from_numpy(drawn.astype("float32")).to(data.device)

    if extras.brightness:
        data.mul_(factors(extras.brightness)).clamp_(0, 255)
    if extras.contrast:
        mean = (data * grey).sum(1, keepdim=True).mean((2, 3), keepdim=True)
        data.sub_(mean).mul_(factors(extras.contrast)).add_(mean).clamp_(0, 255)
    if extras.saturation:
        own = (data * grey).sum(1, keepdim=True)
        data.sub_(own).mul_(factors(extras.saturation)).add_(own).clamp_(0, 255)
    if extras.lighting:
        along = torch.from_numpy(rng.normal(0, extras.lighting, (n, 3)).astype("float32"))
        shift = (along * torch.tensor(_PCA_VALUES)) @ torch.tensor(_PCA_VECTORS).T * 255
        shift = shift if extras.rgb else shift.flip(1)
        data.add_(shift.to(data.device)[:, :, None, None])
    return data


def cut_out(data: Tensor, side: int, over_border: bool, rng: np.random.Generator) -> Tensor:
    """Images (n, c, h, w), centred, with a square of 0 in each, in place.

    Source: DeVries and Taylor 2017, whose squares may lie over the border; DavidNet's are inside.
    """
    n, _, h, w = data.shape
    inside = []
    for size, drawn in zip((h, w), rng.random((2, n)), strict=True):
        if over_border:
            first = (drawn * size).astype("int64") - side // 2
        else:
            first = (drawn * (size - min(side, size) + 1)).astype("int64")
        places = torch.arange(size, device=data.device) - torch.from_numpy(first).to(data.device)[:, None]
        inside.append((places >= 0) & (places < side))
    return data.masked_fill_((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0)
