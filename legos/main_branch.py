"""The main branches of a residual block, and `BRANCHES`, the classes by name.

Units are named as in pynetbuilder, because trained weights are matched by these names; there "3by1" is the
kernel of width 3 and height 1. `num_output` is the width of the block, `stride` its stride.

Classes that add no fields have no decorator: each would cost a millisecond at every start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from legos.base import Lego, Pair
from legos.conv import ConvBNLego, ConvBNReLULego, ConvLego
from legos.unit import Unit, factored, square
from netbuilder.net import Blob, Net

__all__ = [
    "BRANCHES",
    "BottleneckBranch",
    "InceptionTrickBottleneckBranch",
    "InceptionTrickBranch",
    "MainBranch",
    "NormalBranch",
]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MainBranch(Lego):
    """The base of the main branches: (n, c, h, w) -> (n, num_output, h/stride, w/stride).

    `expansion` is the width of the block over that of its inner convolutions; `depth` counts the
    convolutions. With `zero_gamma` the last Scale starts at 0, so that the block starts as its shortcut alone
    (Goyal et al. 2017, section 5.1). Without `normalize` the last unit is the convolution alone.

    `spatial` is the unit with the stride (see `legos.unit`), None in a branch in which it cannot be
    separated; `around` are wrappers around it, the innermost first. `after` makes the lego that follows each
    of the other units, given its name. Raises ConfigError if there is no unit to wrap.
    """

    expansion: ClassVar[int] = 1
    depth: ClassVar[int] = 4
    ends_in_relu: ClassVar[bool] = False
    spatial: ClassVar[Unit | None] = None

    num_output: int
    stride: int = 1
    zero_gamma: bool = False
    normalize: bool = True
    around: tuple[Callable[..., Lego], ...] = ()
    after: Callable[..., Lego] | None = None

    def __post_init__(self) -> None:
        if (self.around or self.after) and self.spatial is None:
            raise self._refuse("this branch has no spatial unit to wrap", "around")
        if not self.normalize and (self.ends_in_relu or self.zero_gamma):
            needs = "the ReLU at its end" if self.ends_in_relu else "zero_gamma"
            raise self._refuse(f"{needs} needs the last BatchNorm, which normalize leaves out", "normalize")

    def _spatial(self, suffix: str, num_output: int, stride: int, group: int = 1) -> Lego:
        unit = self.spatial
        assert unit
        for wrapper in self.around:
            unit = partial(wrapper, unit=unit)
        return unit(name=f"{self.name}_{suffix}", num_output=num_output, stride=stride, group=group)

    def _unit(
        self, suffix: str, num_output: int, kernel: Pair, stride: Pair = 1, group: int = 1
    ) -> ConvBNReLULego:
        name = f"{self.name}_{suffix}"
        return ConvBNReLULego(name=name, num_output=num_output, kernel=kernel, stride=stride, group=group)

    def _last(self, suffix: str, kernel: Pair) -> ConvLego:
        name, gamma = f"{self.name}_{suffix}", 0 if self.zero_gamma else 1
        if not self.normalize:
            return ConvLego(name=name, num_output=self.num_output, kernel=kernel)
        return ConvBNLego(name=name, num_output=self.num_output, kernel=kernel, gamma=gamma)

    def _attach(self, net: Net, x: Blob, unit: Lego) -> Blob:
        """One of the other units, and the lego after it."""
        parts = (unit, self.after(name=unit.name)) if self.after else (unit,)
        for part in parts:
            x = part.attach(net, x)
        return x


class NormalBranch(MainBranch):
    """Two 3x3 convolutions, the first with the stride. Source: He et al. 2015, section 4.1."""

    depth: ClassVar[int] = 2
    spatial: ClassVar[Unit | None] = staticmethod(square)

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        x = self._spatial("branch2a", self.num_output, self.stride).attach(net, bottoms)
        return self._attach(net, x, self._last("branch2b", 3))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class _Bottleneck(MainBranch):
    """The base of both bottlenecks: 1x1 to the inner width, the spatial unit, 1x1 to the block's width.

    The inner width is a quarter of the block's unless `width` gives it; the inner convolutions have `group`
    groups (ResNeXt, Xie et al. 2016, figure 3c).

    `stride_in` says which convolution has the stride: "1x1", the first one (He et al., pynetbuilder), or
    "3x3", the middle one (torchvision, Big-Little nets). Weights do not carry over between the two.
    Raises ConfigError unless num_output is a multiple of 4.
    """

    expansion: ClassVar[int] = 4
    suffix: ClassVar[str] = ""

    stride_in: str = "1x1"
    width: int | None = None
    group: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width is None and (self.num_output < 4 or self.num_output % 4):
            raise self._refuse(
                f"num_output must be a multiple of 4, four times the width of the inner convolutions, "
                f"got {self.num_output}",
                "num_output",
            )
        if self.stride_in not in ("1x1", "3x3"):
            raise self._refuse(f"stride_in must be 1x1 or 3x3, got {self.stride_in!r}", "stride_in")

    @property
    def inner_width(self) -> int:
        """The width of the inner convolutions."""
        return self.num_output // 4 if self.width is None else self.width

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        (x,) = bottoms
        outer, inner = (self.stride, 1) if self.stride_in == "1x1" else (1, self.stride)
        x = self._attach(net, x, self._unit("branch2a", self.inner_width, 1, outer))
        x = self._spatial(self.suffix, self.inner_width, inner, self.group).attach(net, x)
        return self._attach(net, x, self._last("branch2c", 1))


class BottleneckBranch(_Bottleneck):
    """1x1, 3x3, 1x1. Source: He et al. 2015, figure 5."""

    depth: ClassVar[int] = 3
    spatial: ClassVar[Unit | None] = staticmethod(square)
    suffix: ClassVar[str] = "branch2b"


class InceptionTrickBranch(MainBranch):
    """1x3, 3x1, 1x3, 3x1, each followed by ReLU: two 3x3 convolutions, each split into two.

    The stride is split too: the first convolution halves the width, the second the height. The last ReLU
    precedes the sum, unlike in the other branches (kept because published weights were trained with it).
    Raises ConfigError for zero_gamma: after a Scale of 0 that ReLU never passes a gradient.
    Source: pynetbuilder; the factoring is that of Szegedy et al. 2015, section 3.2.
    """

    ends_in_relu: ClassVar[bool] = True
    spatial: ClassVar[Unit | None] = staticmethod(partial(factored, letter="a"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.zero_gamma:
            raise self._refuse(
                "zero_gamma would disable this branch forever: its last Scale is followed by a ReLU, "
                "which passes no gradient at 0",
                "zero_gamma",
                hint="remove zero_gamma, or use another main branch",
            )

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        x = self._spatial("branch", self.num_output, self.stride).attach(net, bottoms)
        second = factored(name=f"{self.name}_branch", num_output=self.num_output, letter="b")
        return self._attach(net, x, second)


class InceptionTrickBottleneckBranch(_Bottleneck):
    """A bottleneck whose 3x3 is factored into 1x3 and 3x1. With stride_in "3x3" each takes its own axis.

    Source: pynetbuilder.
    """

    spatial: ClassVar[Unit | None] = staticmethod(factored)
    suffix: ClassVar[str] = "branch_b"


# By the names used on the command line and in configs.
BRANCHES: dict[str, type[MainBranch]] = {
    "normal": NormalBranch,
    "bottleneck": BottleneckBranch,
    "inception_trick": InceptionTrickBranch,
    "inception_trick_bottleneck": InceptionTrickBottleneckBranch,
}
