"""Big-Little ResNet, ResNeXt and SE-ResNeXt for ImageNet.

Source: Chen et al., ICLR 2019 (arXiv 1807.03848), and the official code (IBM/BigLittleNet, models blresnet,
blresnext, blseresnext). With its weights these nets give its logits. Kept from it: nearest-neighbour
upsampling; stride on the 3x3; shortcuts that pool, and project only where channels change; depths 101 and 152
with their own block lists; the last gamma of each block at 0; msra by fan-out; fc uniform in +-1/sqrt(2048);
running averages with fraction 0.9 (PyTorch's momentum 0.1); equal decay of all parameters. In a stage of two
blocks the big branch has one, which keeps its ReLU, as in the official code. Layer names are our own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from legos.big_little import BigLittleLego, BigLittleStemLego
from legos.block import BlockLego, BlockStyle
from legos.resample import DOWNSAMPLINGS, UPSAMPLINGS
from legos.stem import STEM_ENTRIES
from netbuilder.errors import ConfigError
from netbuilder.net import Net
from netbuilder.networks.big_little import (
    STEM_WIDTH,
    BigLittleOptions,
    BottleneckConfig,
    GammaOptions,
    big_little_module,
    check_big_little,
)
from netbuilder.networks.elements import StemElementOptions, block_parts
from netbuilder.networks.registry import group, network, option
from netbuilder.networks.residual import number_list, source

__all__ = ["DEPTHS", "FAMILIES", "BLResNetConfig", "stitch"]


class Family(NamedTuple):
    """The differences of the families: groups inside the blocks, squeeze-and-excitation after them."""

    grouped: bool
    excites: bool


FAMILIES = {
    "resnet": Family(grouped=False, excites=False),
    "resnext": Family(grouped=True, excites=False),
    "seresnext": Family(grouped=True, excites=True),
}
# Blocks per stage by depth; those of 101 and 152 differ from ResNet's.
DEPTHS = {"50": (3, 4, 6, 3), "101": (4, 8, 18, 3), "152": (5, 12, 30, 3)}


@dataclass(frozen=True, kw_only=True)
class BLResNetConfig(BottleneckConfig):
    """A Big-Little net: all stages except the last are Big-Little modules.

    Raises ConfigError, for example if alpha does not divide a width or the cardinality, or if a
    stage is too short for a big branch.
    """

    family: str = option(
        help="plain, grouped, or grouped with squeeze-and-excitation",
        default="resnet",
        choices=tuple(FAMILIES),
    )
    depth: str | None = option(
        help="number of layers, which selects the numbers of blocks (default: 50)",
        default=None,
        choices=tuple(DEPTHS),
    )
    blocks: tuple[int, ...] | None = option(
        "-b", help="number of blocks in each stage, instead of a depth", default=None, many=True
    )
    big_little: BigLittleOptions = group(BigLittleOptions)
    cardinality: int | None = option(help="number of groups in a grouped family (default: 32)", default=None)
    base_width: int | None = option(help="width of a group in the first stage (default: 4)", default=None)
    upsample: str = option(
        help="the upsampling of the big branch", default="nearest", choices=tuple(UPSAMPLINGS)
    )
    elements: StemElementOptions = group(
        StemElementOptions, notes={"attention": "default: se in family seresnext, else none"}, attention=None
    )
    gammas: GammaOptions = group(GammaOptions)

    option_order = (
        "alpha", "beta", "cardinality", "base_width", "upsample", "pooling", "se_gate", "attention",
        "antialias", "stem",
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, known in (
            ("family", FAMILIES),
            ("upsample", UPSAMPLINGS),
        ):
            self.check_known(key, known)
        self.elements.check_stride(self.stride_in)
        if FAMILIES[self.family].excites and self.elements.attention not in (None, "se", "sk_se"):
            raise ConfigError(
                f"family {self.family} has squeeze-and-excitation, attention {self.elements.attention} "
                "has not",
                key="attention",
                hint="use family resnet or resnext, or remove attention",
            )
        if self.depth is not None:
            self.check_known("depth", DEPTHS)
            if self.blocks is not None:
                raise ConfigError(
                    f"depth {self.depth} and blocks {number_list(self.blocks)} are both given", key="blocks",
                    hint="give one of them",
                )  # fmt: skip
        self.check_at_least("num_output_stage1", 1)
        for key in ("cardinality", "base_width"):
            if getattr(self, key) is None:
                continue
            self.check_at_least(key, 1)
            if not FAMILIES[self.family].grouped:
                raise ConfigError(
                    f"{key} needs a grouped family, which {self.family} is not", key=key,
                    hint=f"remove {key}, or use family resnext or seresnext",
                )  # fmt: skip
        if self.branch.expansion == 1 and FAMILIES[self.family].grouped:
            raise ConfigError(
                f"family {self.family} needs a bottleneck, whose inner convolutions it groups; "
                f"main_branch {self.main_branch} is not one",
                key="main_branch",
            )
        self.big_little.check_dialect(self.dialect)
        if len(self.stages) < 2 or min(self.stages) < 1:
            raise ConfigError(
                "blocks must be two or more numbers of at least 1, one per stage, "
                f"got {number_list(self.stages)}",
                key="blocks",
            )
        check_big_little(self, self.big_little, stages=self.stages, style=self.style("train"))

    @property
    def stages(self) -> tuple[int, ...]:
        """The number of blocks in each stage."""
        return self.blocks if self.blocks is not None else DEPTHS[self.depth or "50"]

    @property
    def _attention(self) -> str:
        return self.elements.attention or ("se" if FAMILIES[self.family].excites else "none")

    def style(self, phase: str) -> BlockStyle:
        """The style of the residual blocks."""
        grouped = FAMILIES[self.family].grouped
        around, behind = block_parts(
            attention=self._attention,
            antialias=str(self.elements.antialias),
            gate=self.elements.se_gate,
            phase=phase,
        )
        zero_gamma = self.gammas.start_at_zero(self.branch)
        return BlockStyle(
            main=self.branch,
            stride_in=self.stride_in,
            cardinality=(self.cardinality or 32) if grouped else 1,
            base_width=(self.base_width or 4) if grouped else 64,
            zero_gamma=zero_gamma,
            attention=behind,
            around=around,
            downsample=DOWNSAMPLINGS[self.big_little.pooling],
        )

    def module(self, stage: int, style: BlockStyle) -> BigLittleLego:
        """The Big-Little module of a stage; the last of them keeps the size, the others halve it."""
        last = stage == len(self.stages) - 2
        alpha, beta = self.big_little.divisors
        return big_little_module(
            name=f"stage{stage}", num_output=self.width(stage), blocks=self.stages[stage],
            alpha=alpha, beta=beta, stride=1 if last else 2, style=style,
            upsample=UPSAMPLINGS[self.upsample],  # type: ignore[arg-type]  # a class can be hashed
        )  # fmt: skip

    @property
    def title(self) -> str:
        """Family, depth (or block list), groups, alpha and beta: bl_resnext_50_32x4d_a2_b4."""
        depth = "_".join(str(n) for n in self.blocks) if self.blocks else (self.depth or "50")
        parts = [f"bl_{self.family}_{depth}"]
        if FAMILIES[self.family].grouped:
            parts.append(f"{self.cardinality or 32}x{self.base_width or 4}d")
        alpha, beta = self.big_little.divisors
        parts.append(f"a{alpha}_b{beta}")
        if self.main_branch != "bottleneck":
            parts.append(self.main_branch)
        if self.elements.stem != "7x7":
            parts.append(self.elements.stem)
        if self._attention != ("se" if FAMILIES[self.family].excites else "none"):
            parts.append(self._attention)
        if self.elements.antialias != "none":
            parts.append("aa")
        return "_".join(parts)

    def layer_defaults(self, phase: str) -> dict[str, dict[str, Any]]:
        """Initialisation and normalisation as in the official code; see the module's docstring."""
        last = self.width(len(self.stages) - 1)
        uniform = {"type": "uniform", "min": -(last**-0.5), "max": last**-0.5}
        own: dict[str, dict[str, Any]] = {
            "Convolution": {"weight_filler": {"type": "msra", "variance_norm": "FAN_OUT"}},
            "BatchNorm": {"moving_average_fraction": 0.9},
            "InnerProduct": {
                "weight_filler": uniform,
                "bias_filler": uniform,
                "param": [{"lr_mult": 1, "decay_mult": 1}] * 2,
            },
        }
        shared = super().layer_defaults(phase)
        return {type: {**own.get(type, {}), **shared.get(type, {})} for type in {**own, **shared}}


@network("bl_resnet", BLResNetConfig)
def stitch(cfg: BLResNetConfig, phase: str) -> Net:
    """Big-Little ResNet, ResNeXt and SE-ResNeXt for ImageNet (bL-Net, ICLR 2019)."""
    net = cfg.net(phase)
    x, label = source(cfg, net, phase)
    with net.scope("stem", comment="stem"):
        entry = STEM_ENTRIES[cfg.elements.stem]
        alpha, _ = cfg.big_little.divisors
        x = BigLittleStemLego(name="stem", num_output=STEM_WIDTH, alpha=alpha, entry=entry).attach(net, x)
    last, style = len(cfg.stages) - 1, cfg.style(phase)
    for stage in range(last):
        about = f"stage {stage}: Big-Little module, {cfg.width(stage)} channels"
        with net.scope(f"stage{stage}", comment=about):
            x = cfg.module(stage, style).attach(net, x)
    about = f"stage {last}: {cfg.stages[last]} x {cfg.main_branch}, {cfg.width(last)} channels"
    with net.scope(f"stage{last}", comment=about):
        for block in range(cfg.stages[last]):
            name = f"stage{last}_block{block}"
            stride = 2 if block == 0 else 1
            lego = BlockLego(name=name, num_output=cfg.width(last), stride=stride, style=style)
            x = lego.attach(net, x)
    cfg.head(net, x, label)
    return net
