"""What the Big-Little networks share: their modules, and the checks of alpha, beta and block counts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from legos.big_little import BigLittleLego, ScaledBranch
from legos.block import BlockLego, BlockStyle
from legos.resample import NearestUpLego, UpLego
from netbuilder.errors import ConfigError
from netbuilder.networks.residual import ImageNetConfig

__all__ = ["STEM_WIDTH", "big_little_module", "check_big_little"]

STEM_WIDTH = 64


@lru_cache(maxsize=512)  # a sweep asks for the same module many times
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
    cfg: ImageNetConfig, *, stages: Sequence[int], alpha: int, beta: int, style: BlockStyle
) -> None:
    """Raise ConfigError for what the legos would refuse too, in terms of the options."""
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
