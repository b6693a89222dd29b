"""Assembled ResNets for ImageNet, and the steps that lead to them from ResNet-50.

Source: Lee et al. 2020, "Compounding the Performance Improvements of Assembled Techniques" (arXiv
2001.06268), and the official code (clovaai/assembled-cnn), which takes precedence where the two differ. With
its weights these nets give its logits. Kept from it: the first block of each stage and branch always projects
(in IBM's Big-Little nets it projects only where channels change); ResNet-D also averages the first stage's
shortcut, at stride 1; with Big-Little, ResNet-D changes only the stem and the last stage's shortcut;
attention has no biases; xavier by fan-in; fc Glorot uniform; running averages with fraction 0.997; gammas and
betas are not decayed, the bias of fc is. Deviations: 1000 classes by default, not 1001; input sizes are
multiples of 32, since the official paddings equal Caffe's only on even maps. Layer names are our own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from legos.antialias import BLURS
from legos.base import Lego
from legos.big_little import BigLittleStemLego
from legos.block import BlockLego, BlockStyle
from legos.dropblock import DropBlockLego
from legos.pool_shortcut import PoolProjectionLego
from legos.resample import DOWNSAMPLINGS, EdgeAverageLego, SquareAverageDownLego
from legos.stem import STEM_ENTRIES, ImageNetStemLego
from netbuilder.errors import ConfigError
from netbuilder.net import Blob, Net
from netbuilder.networks.big_little import (
    STEM_WIDTH,
    BigLittleOptions,
    BottleneckConfig,
    GammaOptions,
    big_little_module,
    check_big_little,
)
from netbuilder.networks.elements import ElementOptions, block_parts
from netbuilder.networks.registry import OptionSet, group, network, option
from netbuilder.networks.residual import source

__all__ = ["PRESETS", "AssembleResNetConfig", "stitch"]

# Blocks per stage by depth, without and with the Big-Little layout.
DEPTHS = {
    False: {"50": (3, 4, 6, 3), "101": (3, 4, 23, 3), "152": (3, 8, 36, 3), "200": (3, 24, 36, 3)},
    True: {"50": (3, 4, 6, 3), "101": (4, 8, 18, 3), "152": (5, 12, 30, 3)},
}
# The factor of DropBlock's probability by stage. The other stages have no DropBlock.
DROPBLOCK_SCALES = {2: 0.25, 3: 1.0}
BLURRED = ("main", "shortcut", "both")

_PLAIN = {"depth": "50", "resnet_d": False, "big_little": False, "attention": "none", "antialias": "none"}
_BIG_LITTLE = {**_PLAIN, "big_little": True, "alpha": 2, "beta": 4}
_ASSEMBLED = {**_BIG_LITTLE, "attention": "sk", "antialias": "reflect"}
# The two nets of the paper, and the steps towards them, as values of the options.
PRESETS: dict[str, dict[str, Any]] = {
    "resnet50": _PLAIN,
    "resnet50_d": {**_PLAIN, "resnet_d": True},
    "resnet50_se": {**_PLAIN, "attention": "se"},
    "resnet50_sk": {**_PLAIN, "attention": "sk"},
    "resnet50_aa": {**_PLAIN, "antialias": "reflect"},
    "resnet50_d_se": {**_PLAIN, "resnet_d": True, "attention": "se"},
    "resnet50_d_sk": {**_PLAIN, "resnet_d": True, "attention": "sk"},
    "resnet50_bl": _BIG_LITTLE,
    "resnet50_bl_sk": {**_BIG_LITTLE, "attention": "sk"},
    "resnet50_bl_aa": {**_BIG_LITTLE, "antialias": "reflect"},
    "resnet152": {**_PLAIN, "depth": "152"},
    "assemble_resnet50": _ASSEMBLED,
    "assemble_resnet152": {**_ASSEMBLED, "depth": "152", "alpha": 1, "beta": 2},
}


@dataclass(frozen=True, kw_only=True)
class AssembledElementOptions(ElementOptions):
    """The elements, and the size and place of the blur. Raises ConfigError."""

    antialias_size: int = option(help="size of the blur, 2 to 7", default=3)
    antialias_in: str = option(
        help="where to blur: after the 3x3 (sconv), before the shortcut's 1x1 (proj), or both",
        default="main",
        choices=BLURRED,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_known("antialias_in", BLURRED)
        if not 2 <= self.antialias_size <= 7:
            raise ConfigError(
                f"antialias_size must be 2 to 7, got {self.antialias_size}", key="antialias_size"
            )


@dataclass(frozen=True, kw_only=True)
class ScaleOptions(GammaOptions):
    """The initial values and decay of Scale layers."""

    decay_scale: bool = option(help="also decay gammas and betas (default: no)", default=False, switch=True)


@dataclass(frozen=True, kw_only=True)
class DropBlockOptions(OptionSet):
    """DropBlock in the train net. Raises ConfigError."""

    dropblock: float | None = option(
        help="DropBlock in the last two stages of the train net, with this probability to keep a pixel",
        default=None,
        parse=float,
    )
    dropblock_driven: bool = option(
        help="DropBlock with a probability that a driver sets during training (default: no)",
        default=False,
        switch=True,
    )

    def __post_init__(self) -> None:
        if self.dropblock is not None and not 0 < self.dropblock <= 1:
            raise ConfigError(
                f"dropblock must be a number above 0 and at most 1, got {self.dropblock:g}", key="dropblock"
            )
        if self.dropblock_driven and self.dropblock is None:
            raise ConfigError(
                "dropblock_driven needs dropblock, the initial probability",
                key="dropblock_driven",
                hint="use dropblock 1 to start without dropping",
            )


@dataclass(frozen=True, kw_only=True)
class AssembleResNetConfig(BottleneckConfig):
    """A preset, and options that override it; after construction all options have values.

    Raises ConfigError, for example for a size that is not a multiple of 32, or an option without effect.
    """

    preset: str = option(
        help="the net that provides the values of the next options unless they are given",
        default="assemble_resnet50",
        choices=tuple(PRESETS),
    )
    depth: str | None = option(
        help="number of layers (default: the preset's)", default=None, choices=tuple(DEPTHS[False])
    )
    resnet_d: bool | None = option(
        help="ResNet-D: a stem of three 3x3, and 2x2 averages in the shortcuts (default: the preset's)",
        default=None,
        switch=True,
    )
    big_little: bool | None = option(
        help="stages with a big and a little branch (default: the preset's)", default=None, switch=True
    )
    branches: BigLittleOptions = group(
        BigLittleOptions,
        notes={"alpha": "default: the preset's, or 2", "beta": "default: the preset's, or 4"},
        alpha=None,
        beta=None,
    )
    elements: AssembledElementOptions = group(
        AssembledElementOptions,
        notes={"attention": "default: the preset's", "antialias": "default: the preset's"},
        attention=None,
        antialias=None,
    )
    no_downsample: bool = option(help="keep the image size in the last stage", default=False, switch=True)
    average_stride1: bool = option(
        help="resnet_d: also average before projections of stride 1, as the official code does (default: "
        "yes)",
        default=True,
        switch=True,
    )
    gammas: ScaleOptions = group(ScaleOptions)
    drop: DropBlockOptions = group(DropBlockOptions)

    option_order = (
        "alpha", "beta", "attention", "antialias", "antialias_size", "antialias_in", "no_downsample",
        "average_stride1", "pooling", "se_gate",
    )  # fmt: skip

    def __post_init__(self) -> None:
        self.check_known("preset", PRESETS)
        self._apply(PRESETS[self.preset])
        super().__post_init__()
        self._check_words()
        self._check_combinations()
        if min(self.input_size) < 32 or any(n % 32 for n in self.input_size):
            height, width = self.input_size
            raise ConfigError(
                f"input_size must be a multiple of 32 in height and width, got {height}x{width}: "
                "on odd maps the official code's paddings differ from Caffe's",
                key="input_size",
            )
        if self.num_output_stage1 % self.branch.expansion or self.num_output_stage1 < 1:
            raise ConfigError(
                f"num_output_stage1 must be a multiple of {self.branch.expansion}, "
                f"got {self.num_output_stage1}",
                key="num_output_stage1",
            )
        if self.big_little:
            check_big_little(self, self.branches, stages=self.stages, style=self.style("train", 0))

    def _apply(self, preset: Mapping[str, Any]) -> None:
        """Give unset options the preset's values."""
        for key in ("depth", "resnet_d", "big_little"):
            if getattr(self, key) is None:
                object.__setattr__(self, key, preset[key])
        object.__setattr__(self, "elements", _filled(self.elements, preset, "attention", "antialias"))
        if self.big_little:
            usual = {"alpha": 2, "beta": 4, **preset}
            object.__setattr__(self, "branches", _filled(self.branches, usual, "alpha", "beta"))

    def _check_words(self) -> None:
        assert self.depth is not None
        depths = DEPTHS[bool(self.big_little)]
        if self.depth in DEPTHS[False] and self.depth not in depths:
            raise ConfigError(
                f"depth {self.depth} has no Big-Little version: the depths are {', '.join(depths)}",
                key="depth",
                hint="use --no-big_little, or another depth",
            )
        self.check_known("depth", depths)
        self.elements.check_stride(self.stride_in if self._takes_stride_in else "3x3")
        self.branches.check_dialect(self.dialect)

    def _check_combinations(self) -> None:
        for key in ("alpha", "beta"):
            if getattr(self.branches, key) is not None and not self.big_little:
                raise ConfigError(
                    f"{key} needs big_little", key=key, hint=f"use --big_little, or remove {key}"
                )
        if self.elements.antialias_in != "main" and (self.resnet_d or self.big_little):
            pooled = "resnet_d" if self.resnet_d else "big_little"
            raise ConfigError(
                f"antialias_in {self.elements.antialias_in}: the shortcuts of {pooled} are averaged already, "
                "and the official code does not blur them",
                key="antialias_in",
                hint="remove antialias_in",
            )

    @property
    def stages(self) -> tuple[int, ...]:
        """The number of blocks in each stage."""
        return DEPTHS[bool(self.big_little)][self.depth or "50"]

    def style(self, phase: str, stage: int) -> BlockStyle:
        """The style of a stage's residual blocks."""
        drop: Callable[..., Lego] | None = None
        if self.drop.dropblock is not None and phase == "train" and stage in DROPBLOCK_SCALES:
            drop = partial(
                DropBlockLego, keep_prob=self.drop.dropblock, scale=DROPBLOCK_SCALES[stage],
                driven=self.drop.dropblock_driven,
            )  # fmt: skip
        in_main = self.elements.antialias_in != "shortcut"
        around, behind = block_parts(
            attention=self.elements.attention or "none",
            antialias=(self.elements.antialias or "none") if in_main else "none",
            gate=self.elements.se_gate, phase=phase, bias=False, size=self.elements.antialias_size, drop=drop,
        )  # fmt: skip
        return BlockStyle(
            main=self.branch,
            stride_in=self.stride_in,
            zero_gamma=self.gammas.start_at_zero(self.branch),
            attention=behind,
            around=around,
            after=drop,
            first_shortcut=partial(self._first_shortcut(stage), projects=True, after=drop),
        )

    def _first_shortcut(self, stage: int) -> Callable[..., Lego]:
        last = stage == len(self.stages) - 1
        if self.resnet_d and (last or not self.big_little):
            keep = EdgeAverageLego if self.average_stride1 else None
            return partial(PoolProjectionLego, downsample=SquareAverageDownLego, keep=keep)
        if self.big_little:
            return partial(PoolProjectionLego, downsample=DOWNSAMPLINGS[self.branches.pooling])
        blur: Callable[..., Lego] | None = None
        if self.elements.antialias not in (None, "none") and self.elements.antialias_in != "main":
            blur = partial(BLURS[str(self.elements.antialias)], size=self.elements.antialias_size)
        return partial(PoolProjectionLego, downsample=blur)

    @property
    def title(self) -> str:
        """The paper's name, or depth and elements: assemble_resnet50, resnet50_d_sk, resnet101_bl_a2_b4."""
        chosen = {key: getattr(self, key) for key in ("depth", "resnet_d", "big_little")}
        chosen |= {"attention": self.elements.attention, "antialias": self.elements.antialias}
        chosen |= {"alpha": self.branches.alpha, "beta": self.branches.beta} if self.big_little else {}
        usual = self.main_branch == "bottleneck" and self.num_output_stage1 == 256 and not self.no_downsample
        for name, values in PRESETS.items():
            if values == chosen and usual and name.startswith("assemble"):
                return name
        parts = [f"resnet{self.depth}"]
        parts += ["d"] if self.resnet_d else []
        parts += [f"bl_a{self.branches.alpha}_b{self.branches.beta}"] if self.big_little else []
        parts += [str(self.elements.attention)] if self.elements.attention != "none" else []
        parts += ["aa"] if self.elements.antialias != "none" else []
        parts += ["no_downsample"] if self.no_downsample else []
        parts += [] if self.num_output_stage1 == 256 else [f"n{self.num_output_stage1}"]
        parts += [] if self.main_branch == "bottleneck" else [self.main_branch]
        return "_".join(parts)

    def layer_defaults(self, phase: str) -> dict[str, dict[str, Any]]:
        """Initialisation, normalisation and decay as in the official code; see the module's docstring."""
        decayed = {"lr_mult": 1, "decay_mult": 1}
        own: dict[str, dict[str, Any]] = {
            "Convolution": {"weight_filler": {"type": "xavier"}},
            "BatchNorm": {"moving_average_fraction": 0.997},
            "InnerProduct": {
                "weight_filler": {"type": "xavier", "variance_norm": "AVERAGE"},
                "bias_filler": {"type": "constant", "value": 0},
                "param": [decayed] * 2,
            },
        }
        if not self.gammas.decay_scale:
            own["Scale"] = {"param": [{"lr_mult": 1, "decay_mult": 0}] * 2}
        shared = super().layer_defaults(phase)
        return {type: {**own.get(type, {}), **shared.get(type, {})} for type in {**own, **shared}}


@network("assemble_resnet", AssembleResNetConfig)
def stitch(cfg: AssembleResNetConfig, phase: str) -> Net:
    """Assembled ResNets for ImageNet: ResNet-D, SK or SE, Big-Little, blurs (Assembled-CNN, 2020)."""
    net = cfg.net(phase)
    x, label = source(cfg, net, phase)
    entry = STEM_ENTRIES["deep" if cfg.resnet_d else "7x7"]
    layout = _big_little if cfg.big_little else _plain
    cfg.head(net, layout(cfg, net, x, phase, entry), label)
    return net


def _plain(cfg: AssembleResNetConfig, net: Net, x: Blob, phase: str, entry: Callable[..., Lego]) -> Blob:
    """A ResNet's stem and stages."""
    with net.scope("stem", comment="stem"):
        x = ImageNetStemLego(name="1", num_output=STEM_WIDTH, entry=entry).attach(net, x)
    for stage in range(len(cfg.stages)):
        x = _stage(cfg, net, x, phase, stage)
    return x


def _big_little(cfg: AssembleResNetConfig, net: Net, x: Blob, phase: str, entry: Callable[..., Lego]) -> Blob:
    """The Big-Little stem, the modules, and a plain last stage; the last module keeps the size."""
    alpha, beta = cfg.branches.divisors
    with net.scope("stem", comment="stem"):
        stem = BigLittleStemLego(name="stem", num_output=STEM_WIDTH, alpha=alpha, entry=entry)
        x = stem.attach(net, x)
    last = len(cfg.stages) - 1
    for stage in range(last):
        about = f"stage {stage}: Big-Little module, {cfg.width(stage)} channels"
        with net.scope(f"stage{stage}", comment=about):
            module = big_little_module(
                name=f"stage{stage}", num_output=cfg.width(stage), blocks=cfg.stages[stage],
                alpha=alpha, beta=beta, stride=1 if stage == last - 1 else 2,
                style=cfg.style(phase, stage),
            )  # fmt: skip
            x = module.attach(net, x)
    return _stage(cfg, net, x, phase, last)


def _stage(cfg: AssembleResNetConfig, net: Net, x: Blob, phase: str, stage: int) -> Blob:
    """A stage of residual blocks; its first block halves the image, except in the first stage."""
    last, width = stage == len(cfg.stages) - 1, cfg.width(stage)
    stride = 1 if stage == 0 or (last and cfg.no_downsample) else 2
    style = cfg.style(phase, stage)
    about = f"stage {stage}: {cfg.stages[stage]} x {cfg.main_branch}, {width} channels"
    with net.scope(f"stage{stage}", comment=about):
        for k in range(cfg.stages[stage]):
            name = f"stage{stage}_block{k}"
            lego = BlockLego(
                name=name, num_output=width, stride=stride if k == 0 else 1, first=k == 0, style=style
            )
            with net.scope(name, comment=name):
                x = lego.attach(net, x)
    return x


def _filled(options: Any, values: Mapping[str, Any], *keys: str) -> Any:
    """The options, in which these values replace None."""
    given = {key: values[key] for key in keys if getattr(options, key) is None}
    return replace(options, **given) if given else options
