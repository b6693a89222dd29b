"""Residual blocks with a style that is chosen once for a whole net."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from legos.base import Lego, SequenceLego
from legos.main_branch import BottleneckBranch, MainBranch
from legos.merge import EltwiseReLULego
from legos.pool_shortcut import PoolProjectionLego
from legos.resample import AverageDownLego
from legos.shortcut import ShortcutLego
from netbuilder.net import Blob, Net

__all__ = ["BlockLego", "BlockStyle"]


@dataclass(frozen=True, kw_only=True)
class BlockStyle:
    """The style of all residual blocks of a net.

    `cardinality` groups of `base_width` channels per 64 of a block's width make the inner convolutions of a
    ResNeXt; cardinality 1 is the plain main branch. `attention` comes after the main branch, before the sum;
    `around` and `after` belong to the main branch (see `MainBranch`). `downsample` is the first part of a
    shortcut of stride 2; `first_shortcut` makes the shortcut of the first block of each branch or stage, if
    that differs.
    """

    main: type[MainBranch] = BottleneckBranch
    stride_in: str = "3x3"
    cardinality: int = 1
    base_width: int = 64
    zero_gamma: bool = True
    attention: Callable[..., Lego] | None = None
    downsample: type[AverageDownLego] = AverageDownLego
    around: tuple[Callable[..., Lego], ...] = ()
    after: Callable[..., Lego] | None = None
    first_shortcut: Callable[..., Lego] | None = None


@dataclass(frozen=True, kw_only=True)
class BlockLego(Lego):
    """A residual block in a style: main branch (and attention), pooled shortcut, sum, ReLU.

    (n, c, h, w) -> (n, num_output / divisor, h/stride, w/stride). `divisor` is the alpha of the branch in
    which the block stands: it divides the width and the number of groups, so a group keeps its width. `first`
    marks the first block of a branch or stage.
    Raises ConfigError unless it divides both.
    """

    num_output: int
    stride: int = 1
    divisor: int = 1
    relu: bool = True
    first: bool = False
    style: BlockStyle = BlockStyle()

    def __post_init__(self) -> None:
        if self.divisor < 1:
            raise self._refuse(f"alpha must be at least 1, got {self.divisor}", "alpha")
        groups = self.style.cardinality
        if self.num_output % (self.divisor * self.style.main.expansion):
            raise self._refuse(
                f"alpha {self.divisor} does not divide the width {self.num_output} "
                f"into multiples of {self.style.main.expansion}",
                "alpha",
            )
        if groups > 1 and groups % self.divisor:
            raise self._refuse(f"alpha {self.divisor} does not divide the cardinality {groups}", "alpha")
        if groups > 1 and "group" not in self._known:
            raise self._refuse(
                f"cardinality {groups} needs a main branch with groups, "
                f"but {self.style.main.__name__} has none",
                "cardinality",
            )
        if groups > 1 and self._group_width < 1:
            raise self._refuse(
                f"base_width {self.style.base_width} leaves the groups of a block of width {self.num_output} "
                f"without channels",
                "base_width",
                hint=f"use a base_width of at least {-(-256 // self.num_output)}",
            )

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        name, style = self.name, self.style
        num_output = self.num_output // self.divisor
        main: Lego = style.main(
            name=name,
            num_output=num_output,
            stride=self.stride,
            zero_gamma=style.zero_gamma,
            around=style.around,
            after=style.after,
            **self._inside(),
        )
        if style.attention:
            main = SequenceLego(name=name, parts=(main, style.attention(name=name)))
        make = style.first_shortcut if self.first else None
        make = make or partial(PoolProjectionLego, downsample=style.downsample)
        shortcut = make(name=name, num_output=num_output, stride=self.stride)
        merge = EltwiseReLULego(name=name, relu=self.relu)
        return ShortcutLego(name=name, main=main, shortcut=shortcut, merge=merge).attach(net, bottoms)

    def _inside(self) -> dict[str, Any]:
        """The fields that only some main branches have: the place of the stride, inner width, groups."""
        style = self.style
        values: dict[str, Any] = {"stride_in": style.stride_in}
        if style.cardinality > 1:
            values["group"] = style.cardinality // self.divisor
            values["width"] = values["group"] * self._group_width
        return {key: value for key, value in values.items() if key in self._known}

    @property
    def _known(self) -> set[str]:
        return {f.name for f in fields(self.style.main)}

    @property
    def _group_width(self) -> int:
        return self.num_output * self.style.base_width // 64 // 4
