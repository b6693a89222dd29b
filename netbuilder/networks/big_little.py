"""What the Big-Little networks share: their modules, and the checks of alpha, beta and block counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from legos.big_little import BigLittleLego, ScaledBranch
from legos.block import BlockLego, BlockStyle
from legos.main_branch import MainBranch
from legos.resample import DOWNSAMPLINGS, NearestUpLego, UpLego
from netbuilder.errors import ConfigError
from netbuilder.networks.registry import OptionSet, option, with_default
from netbuilder.networks.residual import ImageNetConfig
from netbuilder.schema.dialects import dialect

__all__ = [
    "STEM_WIDTH",
    "BigLittleOptions",
    "BottleneckConfig",
    "GammaOptions",
    "big_little_module",
    "check_big_little",
]

STEM_WIDTH = 64


@dataclass(frozen=True, kw_only=True)
class BottleneckConfig(ImageNetConfig):
    """A net whose default blocks are those of ResNet-50, with the stride in the 3x3."""

    main_branch: str = with_default(ImageNetConfig, "main_branch", "bottleneck")
    stride_in: str = with_default(ImageNetConfig, "stride_in", "3x3")
    num_output_stage1: int = with_default(ImageNetConfig, "num_output_stage1", 256)


@dataclass(frozen=True, kw_only=True)
class GammaOptions(OptionSet):
    """The initial gammas of the last Scale of each block."""

    zero_gamma: bool | None = option(
        help="start the last Scale of each block at 0 (default: unless the main branch ends in ReLU)",
        default=None,
        switch=True,
    )

    def start_at_zero(self, branch: type[MainBranch]) -> bool:
        """Whether the gammas of blocks with this main branch start at 0."""
        return not branch.ends_in_relu if self.zero_gamma is None else self.zero_gamma


@dataclass(frozen=True, kw_only=True)
class BigLittleOptions(OptionSet):
    """The little branch and the shortcuts. Raises ConfigError."""

    alpha: int | None = option(help="width divisor of the little branch", default=2)
    beta: int | None = option(help="depth divisor of the little branch", default=4)
    pooling: str = option(
        help="how the shortcuts' average is rounded down; auto is floor where the dialect has it, else crop",
        default="auto",
        choices=tuple(DOWNSAMPLINGS),
    )

    def __post_init__(self) -> None:
        self.check_known("pooling", DOWNSAMPLINGS)
        for key in ("alpha", "beta"):
            if getattr(self, key) is not None:
                self.check_at_least(key, 1)

    @property
    def divisors(self) -> tuple[int, int]:
        """alpha and beta."""
        return self.alpha or 2, self.beta or 4

    def check_dialect(self, name: str) -> None:
        """Raise ConfigError for a pooling that the dialect of this name lacks."""
        if self.pooling == "floor" and not dialect(name).has_field("Pooling", "pooling_param.round_mode"):
            raise ConfigError(
                f"pooling floor needs round_mode, which dialect {name} lacks",
                key="pooling",
                hint="leave pooling out, or take dialect caffe-master or caffe-cudnn",
            )


@lru_cache(maxsize=512)  # a sweep needs the same module many times
def big_little_module(
    *,
    name: str,
    num_output: int,
    blocks: int,
    alpha: int,
    beta: int,
    stride: int,
    style: BlockStyle,
    upsample: type[UpLego] = NearestUpLego,
) -> BigLittleLego:
    """The module of a stage of `blocks` blocks: big and little branch, their merge, and a fusion block."""
    return BigLittleLego(
        name=name,
        branches=(
            ScaledBranch(name=f"{name}_big", num_output=num_output, blocks=blocks, halvings=1, style=style),
            ScaledBranch(
                name=f"{name}_little", num_output=num_output, blocks=blocks, alpha=alpha, beta=beta,
                style=style,
            ),
        ),
        fusion=BlockLego(
            name=f"{name}_fusion", num_output=num_output, stride=stride, first=True, style=style
        ),
        upsample=upsample,
    )  # fmt: skip


def check_big_little(
    cfg: ImageNetConfig, big_little: BigLittleOptions, *, stages: Sequence[int], style: BlockStyle
) -> None:
    """Raise ConfigError, in terms of the options, for values that the legos would refuse."""
    alpha, beta = big_little.divisors
    n, expansion = cfg.num_output_stage1, cfg.branch.expansion
    step = expansion * alpha
    if STEM_WIDTH % alpha:
        raise ConfigError(
            f"alpha {alpha} does not divide the stem's width {STEM_WIDTH}",
            key="alpha",
            hint="give a power of 2, such as 1, 2 or 4",
        )
    if n % step:
        inside = f"{expansion} x alpha" if expansion > 1 else "alpha"
        raise ConfigError(
            f"num_output_stage1 must be a multiple of {step} ({inside}), got {n}",
            key="num_output_stage1",
            hint=f"give {max(1, round(n / step)) * step}, or another alpha",
        )
    groups = style.cardinality
    if groups > 1 and groups % alpha:
        raise ConfigError(
            f"alpha {alpha} does not divide the cardinality {groups}",
            key="alpha",
            hint=f"give a cardinality that is a multiple of {alpha}",
        )
    for stage, count in enumerate(stages[:-1]):
        if count < 2:
            raise ConfigError(
                f"stage {stage} has 1 block, which leaves none for its big branch",
                key="blocks",
                hint="give every stage but the last at least 2 blocks",
            )
        big_little_module(
            name=f"stage{stage}", num_output=cfg.width(stage), blocks=count, alpha=alpha, beta=beta, stride=1,
            style=style,
        )  # fmt: skip
