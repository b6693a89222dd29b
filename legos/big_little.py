"""Big-Little modules: branches of one blob with different resolutions and widths, then merged.

Source: Chen et al., "Big-Little Net", ICLR 2019 (arXiv 1807.03848), section 3, and the official code
(IBM/BigLittleNet), which decides where the paper is silent: nearest-neighbour upsampling, the block counts,
and the missing ReLU of a big branch's last block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from legos.base import Lego, SequenceLego
from legos.block import BlockLego, BlockStyle
from legos.conv import ConvBNLego, ConvBNReLULego
from legos.merge import EltwiseReLULego
from legos.resample import NearestUpLego, UpLego
from legos.stem import seven_by_seven
from netbuilder.net import Blob, Net

__all__ = ["BigLittleLego", "BigLittleStemLego", "ScaledBranch"]


@dataclass(frozen=True, kw_only=True)
class ScaledBranch(Lego):
    """A branch of a Big-Little module: blocks at 1/2^halvings of the size, of width / alpha and depth / beta.

    (n, c, h, w) -> (n, num_output, h/2^halvings, w/2^halvings). `blocks` is the depth of the module's stage;
    the branch has max(1, blocks // beta - 1). The big branch has halvings 1, and alpha and beta 1; the little
    one has halvings 0. A narrower branch (alpha above 1), and any at full size, ends in the 1x1 unit
    `X_expand` without ReLU; the others leave out the ReLU of their last block, unless it is their only one.
    Raises ConfigError if there are fewer blocks than halvings, or if alpha does not divide the width.
    """

    num_output: int
    blocks: int
    alpha: int = 1
    beta: int = 1
    halvings: int = 0
    style: BlockStyle = field(default_factory=BlockStyle)

    def __post_init__(self) -> None:
        for key in ("blocks", "alpha", "beta"):
            if getattr(self, key) < 1:
                raise self._refuse(f"{key} must be at least 1, got {getattr(self, key)}", key)
        if self.halvings < 0:
            raise self._refuse(f"halvings must be at least 0, got {self.halvings}", "halvings")
        if self.depth < self.halvings or (self.halvings and self.blocks // self.beta < 2):
            raise self._refuse(
                f"blocks {self.blocks} are too few for a branch at 1/{2**self.halvings} of the size",
                "blocks",
                hint=f"it needs {(max(1, self.halvings) + 1) * self.beta} blocks",
            )
        self._block(0)  # raises if alpha does not divide the width

    @property
    def depth(self) -> int:
        """The number of residual blocks."""
        return max(1, self.blocks // self.beta - 1)

    @property
    def expands(self) -> bool:
        """Whether the branch ends in a 1x1 unit that expands it to the module's width."""
        return self.halvings == 0 or self.alpha > 1

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        (x,) = bottoms
        for k in range(self.depth):
            x = self._block(k).attach(net, x)
        if self.expands:
            x = ConvBNLego(name=f"{self.name}_expand", num_output=self.num_output).attach(net, x)
        return x

    def _block(self, k: int) -> BlockLego:
        last = k == self.depth - 1
        return BlockLego(
            name=f"{self.name}_block{k}",
            num_output=self.num_output,
            stride=2 if k < self.halvings else 1,
            divisor=self.alpha,
            relu=self.expands or not last or k == 0,
            first=k == 0,
            style=self.style,
        )


@dataclass(frozen=True, kw_only=True)
class BigLittleLego(Lego):
    """A Big-Little module: parallel branches, each upsampled to the largest size, merged, then fused.

    (n, c, h, w) -> the top of `fusion` on (n, num_output, h, w). Any number of branches of any resolution;
    those smaller than the largest are upsampled by `upsample`. Raises ConfigError for fewer than two.
    """

    branches: tuple[Lego, ...]
    fusion: Lego
    upsample: type[UpLego] = NearestUpLego

    def __post_init__(self) -> None:
        if len(self.branches) < 2:
            raise self._refuse(f"branches must be two or more, got {len(self.branches)}", "branches")

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        (x,) = bottoms
        tops = [branch.attach(net, x) for branch in self.branches]
        largest = max(tops, key=lambda blob: blob.known_shape[2:])
        full = [
            self.upsample(name=branch.name).attach(net, [top, largest])
            for branch, top in zip(self.branches, tops, strict=True)
        ]
        x = EltwiseReLULego(name=self.name).attach(net, full)
        return self.fusion.attach(net, x)


@dataclass(frozen=True, kw_only=True)
class BigLittleStemLego(Lego):
    """The Big-Little stem: (n, 3, 224, 224) -> (n, num_output, 56, 56), without pooling.

    `entry` makes unit `1`, 7x7 of stride 2 (see `legos.stem`). On it stand `X_big`, 3x3 of stride 2, and in
    parallel `X_little_a`, `_b` (stride 2) and `_c` at 1/alpha of the width. Then come their sum, ReLU, and
    `X_fusion`, 1x1.
    Raises ConfigError if alpha does not divide num_output. Source: the official code's stem.
    """

    num_output: int = 64
    alpha: int = 2
    entry: Callable[..., Lego] = seven_by_seven

    def __post_init__(self) -> None:
        if self.alpha < 1 or self.num_output % self.alpha:
            raise self._refuse(
                f"alpha {self.alpha} does not divide the stem's width {self.num_output}", "alpha"
            )

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        n, narrow = self.num_output, self.num_output // self.alpha
        x = self.entry(name="1", num_output=n).attach(net, bottoms)
        big = ConvBNLego(name=f"{self.name}_big", num_output=n, kernel=3, stride=2)
        little = SequenceLego(
            name=f"{self.name}_little",
            parts=(
                ConvBNReLULego(name=f"{self.name}_little_a", num_output=narrow, kernel=3),
                ConvBNReLULego(name=f"{self.name}_little_b", num_output=narrow, kernel=3, stride=2),
                ConvBNLego(name=f"{self.name}_little_c", num_output=n),
            ),
        )
        x = EltwiseReLULego(name=self.name).attach(net, [big.attach(net, x), little.attach(net, x)])
        return ConvBNReLULego(name=f"{self.name}_fusion", num_output=n).attach(net, x)
