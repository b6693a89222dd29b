"""ResNet for CIFAR: three stages of 16, 32 and 64 channels at 32, 16 and 8 pixels.

Source: He et al. 2015 (arXiv 1512.03385), section 4.2; pynetbuilder's app/cifar10/build_resnet.py, whose
layer names are kept; torch-residual-networks (gcr) for BatchNorm after the addition and for blocks without
their last ReLU; He et al. 2016 (arXiv 1603.05027) and their code for pre-activation. Depth is 6N+2 for normal
and 9N+2 for bottleneck. Deviations: the default shortcut is B, a projection, as in pynetbuilder, while the
paper has A, zero channels. The bottleneck keeps the widths 16, 32, 64 and so has 4, 8 and 16 inner channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from legos.base import Lego, SequenceLego
from legos.conv import ConvBNReLULego, ConvLego
from legos.head import ClassifierLego
from legos.merge import EltwiseBNReLULego, EltwiseReLULego
from legos.normalization import BNReLULego
from legos.padding_shortcut import PREACTIVATION_SHORTCUTS, SHORTCUTS
from legos.shortcut import ShortcutLego
from netbuilder.errors import ConfigError
from netbuilder.net import Net
from netbuilder.networks.registry import network, option, with_default
from netbuilder.networks.residual import ResidualConfig, finish, residual_stages, source

__all__ = ["CifarResNetConfig", "stitch"]

STEM_WIDTH = 16
STAGES = 3
MERGES = {"before": EltwiseReLULego, "after": EltwiseBNReLULego}


@dataclass(frozen=True, kw_only=True)
class CifarResNetConfig(ResidualConfig):
    """`N` is the number of blocks in each of the three stages; `depth` states it in another way.

    Raises ConfigError, for example for a depth that no N gives, or an option of the other kind of block.
    """

    main_branch: str = with_default(ResidualConfig, "main_branch", "normal")
    N: int | None = option(
        "-n", help="number of blocks in each of the three stages (or use --depth)", default=None
    )
    depth: int | None = option(
        help="number of layers: 6N+2 for normal, 9N+2 for bottleneck (or use -n)", default=None
    )
    shortcut: str = option(
        help="the shortcut where the shape changes: B projects; A takes every second pixel and adds zero "
        "channels",
        default="B",
        choices=tuple(SHORTCUTS),
    )
    block: str = option(
        help="BatchNorm and ReLU after the convolutions, or before them",
        default="postactivation",
        choices=("postactivation", "preactivation"),
    )
    bn: str | None = option(
        help="put the last BatchNorm of a block before or after the addition (default: before)",
        default=None,
        choices=tuple(MERGES),
    )
    final_relu: bool | None = option(
        help="end each block in ReLU (default: yes in postactivation)", default=None, switch=True
    )
    classes: int = with_default(ResidualConfig, "classes", 10)
    input_size: tuple[int, int] = with_default(ResidualConfig, "input_size", (32, 32))

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_known("shortcut", SHORTCUTS)
        self.check_known("block", STYLES)
        if self.bn is not None:
            self.check_known("bn", MERGES)
        if self.N is not None:
            self.check_at_least("N", 1)
        self._check_depth()
        self._check_block()

    def _check_depth(self) -> None:
        each = STAGES * self.branch.depth
        if self.depth is None:
            if self.N is None:
                raise ConfigError(
                    "the number of blocks is missing", key="N",
                    hint="use -n, the blocks of each of the three stages, or --depth, for example 20",
                )  # fmt: skip
            return
        n, rest = divmod(self.depth - 2, each)
        if rest or n < 1:
            low = max(1, n)
            raise ConfigError(
                f"depth must be {each} * N + 2 with main_branch {self.main_branch}, got {self.depth}",
                key="depth",
                hint=f"give {each * low + 2} or {each * (low + 1) + 2}",
            )
        if self.N not in (None, n):
            raise ConfigError(
                f"depth {self.depth} has {n} blocks in each stage with main_branch {self.main_branch}, "
                f"but N is {self.N}",
                key="depth",
                hint="give one of the two",
            )

    def _check_block(self) -> None:
        preactivation = self.block == "preactivation"
        for key, about in (("bn", "a place for BatchNorm"), ("final_relu", "a ReLU at its end")):
            if preactivation and getattr(self, key) is not None:
                raise ConfigError(
                    f"{key} chooses {about}, which a preactivation block lacks", key=key,
                    hint=f"remove {key}, or use block postactivation",
                )  # fmt: skip
        if self.branch.ends_in_relu and (preactivation or self.bn == "after"):
            what = "block preactivation" if preactivation else "bn after"
            raise ConfigError(
                f"{what} needs a main branch whose last convolution can stand alone; "
                f"main_branch {self.main_branch} ends in ReLU",
                key="main_branch",
                hint="use main_branch normal or a bottleneck",
            )

    @property
    def blocks(self) -> int:
        """The number of blocks in each stage."""
        if self.N is not None:
            return self.N
        assert self.depth is not None
        return (self.depth - 2) // (STAGES * self.branch.depth)

    @property
    def title(self) -> str:
        """The depth and the options that differ: cifar_resnet_110, cifar_resnet_326_bottleneck, ..."""
        parts = [f"cifar_resnet_{STAGES * self.branch.depth * self.blocks + 2}"]
        parts += [self.main_branch] if self.main_branch != "normal" else []
        parts += ["a"] if self.shortcut == "A" else []
        parts += ["preactivation"] if self.block == "preactivation" else []
        parts += ["bn_after"] if self.bn == "after" else []
        parts += ["no_final_relu"] if self.final_relu is False else []
        return "_".join(parts)

    def residual_block(self, name: str, num_output: int, stride: int, *, first: bool, projects: bool) -> Lego:
        """One residual block of the chosen style; if it `projects`, with the chosen shortcut."""
        return STYLES[self.block].block(self, name, num_output, stride, first, projects)


def _postactivation(
    cfg: CifarResNetConfig, name: str, num_output: int, stride: int, first: bool, projects: bool
) -> Lego:
    bn = cfg.bn or "before"
    shortcut = SHORTCUTS[cfg.shortcut](name=name, num_output=num_output, stride=stride) if projects else None
    return ShortcutLego(
        name=name,
        main=cfg.main(name, num_output, stride, normalize=bn == "before"),
        shortcut=shortcut,
        merge=MERGES[bn](name=name, relu=cfg.final_relu is not False),
    )


def _preactivation(
    cfg: CifarResNetConfig, name: str, num_output: int, stride: int, first: bool, projects: bool
) -> Lego:
    """In the first block of a stage, the first BatchNorm and ReLU also precede the shortcut."""
    shortcut = PREACTIVATION_SHORTCUTS[cfg.shortcut]
    skip = shortcut(name=name, num_output=num_output, stride=stride) if projects else None
    activation = BNReLULego(name=f"{name}_preact")
    main: Lego = cfg.main(name, num_output, stride, normalize=False)
    merge = EltwiseReLULego(name=name, relu=False)
    if first:
        block = ShortcutLego(name=name, main=main, shortcut=skip, merge=merge)
        return SequenceLego(name=name, parts=(activation, block))
    main = SequenceLego(name=name, parts=(activation, main))
    return ShortcutLego(name=name, main=main, shortcut=skip, merge=merge)


class Style(NamedTuple):
    """The stem, a block, and the layers between the last block and the head."""

    stem: Callable[..., Lego]
    block: Callable[..., Lego]
    tail: Callable[..., Lego] | None


STYLES = {
    "postactivation": Style(ConvBNReLULego, _postactivation, None),
    "preactivation": Style(ConvLego, _preactivation, BNReLULego),
}


@network("cifar_resnet", CifarResNetConfig)
def stitch(cfg: CifarResNetConfig, phase: str) -> Net:
    """ResNet for CIFAR-10 and similar data: small images, three stages of N blocks."""
    net = cfg.net(phase)
    style = STYLES[cfg.block]
    x, label = source(cfg, net, phase)
    with net.scope("stem", comment="stem"):
        x = style.stem(name="1", num_output=STEM_WIDTH, kernel=3).attach(net, x)
    x = residual_stages(
        cfg, net, x, (cfg.blocks,) * STAGES, STEM_WIDTH,
        projects=lambda stage, block: stage > 0 and block == 0,
    )  # fmt: skip
    with net.scope("head", comment="head"):
        if style.tail:
            x = style.tail(name="last").attach(net, x)
        x = ClassifierLego(name=f"fc{cfg.classes}", num_output=cfg.classes).attach(net, x)
        finish(net, x, label)
    return net
