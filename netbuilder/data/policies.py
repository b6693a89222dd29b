"""Searched augmentation: AutoAugment's policies, and RandAugment. Pillow computes the operations.

Sources: Cubuk 2018 (arXiv 1805.09501), tables 7 to 9 with the policies of 25 pairs (operation, probability,
magnitude of 0 to 9), of which each image gets one; Cubuk 2019 (arXiv 1909.13719), n of 14 operations, with
one magnitude of 0 to 30. The ranges of the operations are those of the papers and begin with no change at
magnitude 0; the direction of a signed one is drawn. What comes from outside the image is grey, as in the
authors' code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from netbuilder.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Planes = npt.NDArray[np.uint8] | npt.NDArray[np.float32]

__all__ = ["POLICIES", "Change", "Policy", "applied"]

_MOST = 30  # the largest magnitude of RandAugment
_BINS = 9  # the largest magnitude of AutoAugment
_GREY = (128, 128, 128)

POLICIES = {
    "imagenet": """
posterize .4 8, rotate .6 9 | solarize .6 5, autocontrast .6 5 | equalize .8 8, equalize .6 3
posterize .6 7, posterize .6 6 | equalize .4 7, solarize .2 4 | equalize .4 4, rotate .8 8
solarize .6 3, equalize .6 7 | posterize .8 5, equalize 1 2 | rotate .2 3, solarize .6 8
equalize .6 8, posterize .4 6 | rotate .8 8, color .4 0 | rotate .4 9, equalize .6 2
equalize 0 7, equalize .8 8 | invert .6 4, equalize 1 8 | color .6 4, contrast 1 8
rotate .8 8, color 1 2 | color .8 8, solarize .8 7 | sharpness .4 7, invert .6 8
shear_x .6 5, equalize 1 9 | color .4 0, equalize .6 3 | equalize .4 7, solarize .2 4
solarize .6 5, autocontrast .6 5 | invert .6 4, equalize 1 8 | color .6 4, contrast 1 8
equalize .8 8, equalize .6 3
""",
    "cifar10": """
invert .1 7, contrast .2 6 | rotate .7 2, translate_x .3 9 | sharpness .8 1, sharpness .9 3
shear_y .5 8, translate_y .7 9 | autocontrast .5 8, equalize .9 2 | shear_y .2 7, posterize .3 7
color .4 3, brightness .6 7 | sharpness .3 9, brightness .7 9 | equalize .6 5, equalize .5 1
contrast .6 7, sharpness .6 5 | color .7 7, translate_x .5 8 | equalize .3 7, autocontrast .4 8
translate_y .4 3, sharpness .2 6 | brightness .9 6, color .2 8 | solarize .5 2, invert 0 3
equalize .2 0, autocontrast .6 0 | equalize .2 8, equalize .6 4 | color .9 9, equalize .6 6
autocontrast .8 4, solarize .2 8 | brightness .1 3, color .7 0 | solarize .4 5, autocontrast .9 3
translate_y .9 9, translate_y .7 9 | autocontrast .9 2, solarize .8 3 | equalize .8 8, invert .1 3
translate_y .7 9, autocontrast .9 1
""",
    "svhn": """
shear_x .9 4, invert .2 3 | shear_y .9 8, invert .7 5 | equalize .6 5, solarize .6 6
invert .9 3, equalize .6 3 | equalize .6 1, rotate .9 3 | shear_x .9 4, autocontrast .8 3
shear_y .9 8, invert .4 5 | shear_y .9 5, solarize .2 6 | invert .9 6, autocontrast .8 1
equalize .6 3, rotate .9 3 | shear_x .9 4, solarize .3 3 | shear_y .8 8, invert .7 4
equalize .9 5, translate_y .6 6 | invert .9 4, equalize .6 7 | contrast .3 3, rotate .8 4
invert .8 5, translate_y 0 2 | shear_y .7 6, solarize .4 8 | invert .6 4, rotate .8 4
shear_y .3 7, translate_x .9 3 | shear_x .1 6, invert .6 5 | solarize .7 2, translate_y .6 7
shear_y .8 4, invert .8 8 | shear_x .7 9, translate_y .8 3 | shear_y .8 5, autocontrast .7 3
shear_x .7 2, invert .1 5
""",
}

# By operation, what its greatest magnitude is: a slope, a share of the image, degrees, a change of a factor.
_SIGNED = {
    "shear_x": 0.3, "shear_y": 0.3, "translate_x": 150 / 331, "translate_y": 150 / 331, "rotate": 30.0,
    "brightness": 0.9, "color": 0.9, "contrast": 0.9, "sharpness": 0.9,
}  # fmt: skip
_OPERATIONS = ("identity", *_SIGNED, "posterize", "solarize", "autocontrast", "equalize")  # RandAugment's


class Change(NamedTuple):
    """One operation on one image, and how far it goes: see `_SIGNED`; bits that stay, the least inverted."""

    operation: str
    amount: float


class Policy:
    """AutoAugment's policy for a data set, or RandAugment(n, magnitude). Raises ConfigError."""

    def __init__(self, name: str = "", rand: Sequence[int] | None = None) -> None:
        if name and name not in POLICIES:
            raise ConfigError(
                f"autoaugment has no policy '{name}'", key="autoaugment",
                hint=did_you_mean(name, POLICIES) or f"there are {', '.join(POLICIES)}",
            )  # fmt: skip
        if rand is not None and not _is_rand(rand):
            raise ConfigError(
                f"randaugment takes a number of operations and a magnitude of 0 to {_MOST}, got "
                f"{list(rand) if isinstance(rand, Sequence) else rand}",
                key="randaugment", hint="as in randaugment: [2, 9]",
            )  # fmt: skip
        if name and rand is not None:
            raise ConfigError("autoaugment and randaugment do the same: choose one", key="randaugment")
        pairs = [
            [
                (operation, float(chance), int(level) / _BINS)
                for operation, chance, level in map(str.split, pair)
            ]
            for line in POLICIES.get(name, "").strip().splitlines()
            for pair in (pair.split(",") for pair in line.split("|"))
        ]
        # What is chosen from, and how often for an image: operations, their chances and shares of the range.
        self._choices = [[(one, 1.0, rand[1] / _MOST)] for one in _OPERATIONS] if rand else pairs
        self._times = rand[0] if rand else 1

    def draw(self, images: int, rng: np.random.Generator) -> list[tuple[Change, ...]]:
        """What is done to each of so many images."""
        chosen = rng.integers(len(self._choices), size=(images, self._times)).tolist()
        operations = self._times * len(self._choices[0])
        chances = rng.random((images, operations)).tolist()
        sides = rng.integers(2, size=(images, operations)).tolist()
        return [
            tuple(
                _change(operation, share, side)
                for (operation, chance, share), drawn, side in zip(
                    chain.from_iterable(self._choices[i] for i in row), *others, strict=True
                )
                if drawn < chance
            )
            for row, *others in zip(chosen, chances, sides, strict=True)
        ]


def _is_rand(rand: object) -> bool:
    return (
        isinstance(rand, Sequence)
        and len(rand) == 2
        and all(isinstance(n, int) and not isinstance(n, bool) for n in rand)
        and rand[0] >= 1
        and 0 <= rand[1] <= _MOST
    )


def _change(operation: str, share: float, side: int) -> Change:
    """An operation at this share of its range, to one of the two sides."""
    if operation in _SIGNED:
        return Change(operation, (1 if side else -1) * share * _SIGNED[operation])
    if operation == "posterize":
        return Change(operation, 8 - round(4 * share))
    return Change(operation, 256 * (1 - share) if operation == "solarize" else 0)


def applied(planes: Planes, changes: Sequence[Change], *, rgb: bool) -> Planes:
    """An image (3, height, width) of bytes, changed. Raises ValueError for one of another kind.

    `rgb`: the channels are R, G, B, not B, G, R.
    """
    import numpy as np

    from netbuilder.data.images import pillow

    if planes.dtype != np.uint8 or len(planes) != 3:
        kind = "numbers" if planes.dtype != np.uint8 else f"{len(planes)} channels"
        raise ValueError(f"autoaugment and randaugment change images of 3 channels of bytes, not of {kind}")
    if not changes:
        return planes
    order = planes if rgb else planes[::-1]
    image = pillow().fromarray(np.ascontiguousarray(order.transpose(1, 2, 0)))
    for operation, amount in changes:
        image = _operated(image, operation, amount)
    changed = np.asarray(image).transpose(2, 0, 1)
    return np.ascontiguousarray(changed if rgb else changed[::-1])


def _operated(image: Any, operation: str, amount: float) -> Any:
    from PIL import Image, ImageEnhance, ImageOps

    def moved(*matrix: float) -> Any:
        return image.transform(image.size, Image.Transform.AFFINE, matrix, fillcolor=_GREY)

    match operation:
        case "shear_x":
            return moved(1, amount, 0, 0, 1, 0)
        case "shear_y":
            return moved(1, 0, 0, amount, 1, 0)
        case "translate_x":
            return moved(1, 0, int(amount * image.width), 0, 1, 0)
        case "translate_y":
            return moved(1, 0, 0, 0, 1, int(amount * image.height))
        case "rotate":
            return image.rotate(amount, fillcolor=_GREY)
        case "posterize":
            return ImageOps.posterize(image, int(amount))
        case "solarize":
            return ImageOps.solarize(image, math.ceil(amount))
        case "invert" | "autocontrast" | "equalize":
            return getattr(ImageOps, operation)(image)
        case "identity":
            return image
    return getattr(ImageEnhance, operation.capitalize())(image).enhance(1 + amount)
