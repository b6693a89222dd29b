"""Spatial units, which a main branch has between its 1x1 convolutions, and wrappers around them.

A unit takes `name`, `num_output`, `stride` and `group`, and returns a lego that maps its bottom to
(n, num_output, h/stride, w/stride), without negative values. A wrapper also takes another unit, as `unit`,
and is itself a unit. So they nest: `blurred` around `followed` around a
selective kernel (`legos.attention`) around `factored`.
"""

from __future__ import annotations

from collections.abc import Callable

from legos.base import Lego, SequenceLego
from legos.conv import ConvBNReLULego

__all__ = ["Unit", "blurred", "factored", "followed", "square"]

Unit = Callable[..., Lego]


def square(*, name: str, num_output: int, stride: int = 1, group: int = 1) -> Lego:
    """3x3 convolution, BatchNorm, Scale and ReLU."""
    return ConvBNReLULego(name=name, num_output=num_output, kernel=3, stride=stride, group=group)


def factored(*, name: str, num_output: int, stride: int = 1, group: int = 1, letter: str = "") -> Lego:
    """The 3x3 unit split into two: 1x3 `X_3by1` with the stride along the width, then 3x1 `X_1by3`.

    `letter` is appended to these names, for a branch with several such units.
    """
    wide = ConvBNReLULego(
        name=f"{name}_3by1{letter}", num_output=num_output, kernel=(1, 3), stride=(1, stride), group=group
    )
    high = ConvBNReLULego(
        name=f"{name}_1by3{letter}", num_output=num_output, kernel=(3, 1), stride=(stride, 1), group=group
    )
    return SequenceLego(name=f"{name}_{letter}" if letter else name, parts=(wide, high))


def followed(
    *, unit: Unit, by: Callable[..., Lego], name: str, num_output: int, stride: int = 1, group: int = 1
) -> Lego:
    """A unit followed by the lego `by(name=...)`."""
    inner = unit(name=name, num_output=num_output, stride=stride, group=group)
    return SequenceLego(name=name, parts=(inner, by(name=name)))


def blurred(
    *, unit: Unit, blur: Callable[..., Lego], name: str, num_output: int, stride: int = 1, group: int = 1
) -> Lego:
    """Anti-aliased downsampling: a unit of stride 2 runs at stride 1, and `blur(name=...)` halves its top.

    A unit of stride 1 is unchanged. Source: Zhang 2019 (arXiv 1904.11486), section 3.2.
    """
    if stride == 1:
        return unit(name=name, num_output=num_output, stride=1, group=group)
    return followed(unit=unit, by=blur, name=name, num_output=num_output, group=group)
