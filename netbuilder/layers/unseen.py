"""Shapes that depend on data which a rule cannot see, and what is certain of them all the same.

A Data layer states its batch but not the size of its images. So it says what its tops may be, such as
(16, 1, 1009, 1013) or (16, 3, 307, 311); what a later layer makes of each of them alike does not depend on
the data: a label is (16,), and an InnerProduct with 8 outputs gives (16, 8).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from netbuilder.errors import NetBuilderError
from netbuilder.layers.base import Rule, Shape

if TYPE_CHECKING:
    from netbuilder.schema import LayerParameter
    from netbuilder.schema.messages import TransformationParameter

__all__ = ["Possible", "UnknownShape", "certain", "possible_images", "possible_tops", "resized_by_fork"]

# For each top the shapes that it may have: the nth of all blobs of a net go together, and a single one is
# certain. Nothing is known of a top without any.
Possible: TypeAlias = "Sequence[tuple[Shape, ...]]"


class UnknownShape(Exception):
    """The shape of a top depends on data that the rule cannot see; the text names it.

    `tops` has the shapes that each top may have, which differ in every size that the data determines.
    """

    def __init__(self, what: str, *tops: tuple[Shape, ...]) -> None:
        super().__init__(what)
        self.tops = tops


# Fork fields that change the size of an image, unless crop_size then cuts all images to one size.
_RESIZING = (
    "resize_param",
    "expand_param",
    "random_resize_param",
    "random_aspect_ratio_param",
    "img_rand_resize_lower",
    "img_rand_resize_upper",
    "var_sz_img_enabled",
)


def resized_by_fork(transform: TransformationParameter) -> str:
    """The fork field that determines the size of the transformed images, or ""."""
    names = ("crop_h", "crop_w") if transform.crop_size else ("crop_h", "crop_w", *_RESIZING)
    given = {field.name for field, _ in transform.ListFields()}
    return next((name for name in names if name in given), "")


# Images of different sizes and channels, large enough for any net, and prime so that no size divides another.
_IMAGES = ((1, 1009, 1013), (3, 307, 311), (5, 2003, 2011))


def possible_images(layer: LayerParameter, batch: int, channels: int = 0) -> tuple[Shape, ...]:
    """Shapes that a batch of images may have, by what the file says of it: crop_size, and maybe channels."""
    crop = layer.transform_param.crop_size
    if resized_by_fork(layer.transform_param):
        crop = 0
    return tuple(dict.fromkeys((batch, channels or c, crop or h, crop or w) for c, h, w in _IMAGES))


def possible_tops(rule: Rule, layer: LayerParameter, bottoms: Possible) -> Possible:
    """What a layer makes of each shape that its bottoms may have; nothing unless it takes all of them."""
    if not all(bottoms):
        return ()
    number = max(len(shapes) for shapes in bottoms)
    try:
        made = [
            rule.infer(layer, [shapes[i if len(shapes) > 1 else 0] for shapes in bottoms]).tops
            for i in range(number)
        ]
    except (NetBuilderError, UnknownShape):
        return ()
    return tuple(zip(*made, strict=True)) if len({len(tops) for tops in made}) == 1 else ()


def certain(tops: Possible) -> Shape | None:
    """The shape of the first top if there is only one that it may have."""
    return tops[0][0] if tops and len(set(tops[0])) == 1 else None
