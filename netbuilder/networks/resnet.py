"""ResNet for ImageNet, with the four main branches.

Source: He et al. 2015 (arXiv 1512.03385), table 1; pynetbuilder's app/imagenet/build_resnet.py, whose layer
names are kept. Deviations from pynetbuilder, all off with conv_bias: convolutions before BatchNorm have no
bias; use_global_stats is not written, since BatchNorm follows the phase by itself. Rectangular kernels always
have both halves of kernel, pad and stride; pynetbuilder writes one pad, which OpenCV ignores. From the paper:
pool1 has no pad, and 18 and 34 layers project where the width changes (option B).

Options add elements of other nets, all off by default: attention, blurs, ResNet-D's stem and shortcut, the
groups of ResNeXt. With `layout torchvision` the nets are torchvision's and timm's to the last digit of their
logits: pool1 pads and rounds down, the stride of a bottleneck is in its 3x3. Their weights then fit:
`netbuilder weights import`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from legos.base import Lego, SequenceLego
from legos.main_branch import BRANCHES
from legos.merge import EltwiseReLULego
from legos.shortcut import ShortcutLego
from legos.stem import STEM_ENTRIES, ImageNetStemLego
from netbuilder.errors import ConfigError
from netbuilder.net import Net
from netbuilder.networks.elements import AVERAGES, StemElementOptions, block_parts
from netbuilder.networks.registry import group, network, option
from netbuilder.networks.residual import ImageNetConfig, number_list, residual_stages, source

__all__ = ["ResNetConfig", "stitch"]

STEM_WIDTH = 64
# How pool1 and the strides of the bottlenecks are laid out: as pynetbuilder and He et al., or as torchvision.
LAYOUTS = ("caffe", "torchvision")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ResNetConfig(ImageNetConfig):
    """`num_output_stage1` is the width of the first stage's blocks; it doubles at each stage.

    Raises ConfigError. With a main branch that keeps the stem's width (normal, inception_trick), the first
    stage has identity shortcuts only, so its width must be the stem's.
    """

    blocks: tuple[int, ...] = option(
        "-b", help="number of blocks in each stage", default=(3, 4, 6, 3), many=True
    )
    elements: StemElementOptions = group(StemElementOptions)
    shortcut_average: str = option(
        help="average before the projections of stride 2, which then have stride 1 (ResNet-D: 2x2)",
        default="none",
        choices=AVERAGES,
    )

    layout: str = option(
        help="torchvision: pool1 pads and rounds down, and the stride is in the 3x3, so that weights of "
        "torchvision and timm fit",
        default="caffe",
        choices=LAYOUTS,
    )
    cardinality: int = option(help="number of groups of the inner convolutions (ResNeXt: 32)", default=1)
    base_width: int = option(
        help="width of a group per 64 channels of the inner convolutions (ResNeXt: 4, wide ResNet: 128)",
        default=64,
    )

    option_order = (
        "layout", "cardinality", "base_width", "attention", "antialias", "stem", "shortcut_average", "se_gate"
    )  # fmt: skip

    def __post_init__(self) -> None:
        if self.layout == "torchvision" and self.main_branch in BRANCHES and self._takes_stride_in:
            object.__setattr__(self, "stride_in", "3x3")
        super().__post_init__()
        self.check_known("layout", LAYOUTS)
        self._check_groups()
        if self.shortcut_average != "none":
            self.check_known("shortcut_average", AVERAGES)
        self.elements.check_stride(self.stride_in if self._takes_stride_in else "3x3")
        if not self.blocks or min(self.blocks) < 1:
            raise ConfigError(
                f"blocks must be one number of at least 1 per stage, got {number_list(self.blocks)}",
                key="blocks",
            )
        n, expansion = self.num_output_stage1, self.branch.expansion
        if expansion == 1 and n != STEM_WIDTH:
            raise ConfigError(
                f"-m {self.main_branch} needs -n {STEM_WIDTH}, got {n}: the first block of stage 0 adds the "
                f"{STEM_WIDTH} channels of the stem to its own {n} through an identity shortcut",
                key="num_output_stage1",
                hint=f"use -n {STEM_WIDTH}, or a bottleneck branch, which projects there",
            )
        if n < expansion or n % expansion:
            raise ConfigError(
                f"-n must be a multiple of {expansion} for -m {self.main_branch}, got {n}: "
                "the inner convolutions have a quarter of the width",
                key="num_output_stage1",
                hint=f"use -n {max(1, round(n / expansion)) * expansion}",
            )

    def _check_groups(self) -> None:
        """Raise ConfigError for groups that the main branch lacks, or that have no channels."""
        for key in ("cardinality", "base_width"):
            self.check_at_least(key, 1)
        if (self.cardinality, self.base_width) == (1, 64):
            return
        if "group" not in self.branch.__dataclass_fields__:
            key = "cardinality" if self.cardinality != 1 else "base_width"
            raise ConfigError(
                f"{key} needs a bottleneck, whose inner convolutions it changes; main_branch "
                f"{self.main_branch} is not one",
                key=key,
                hint=f"remove {key}, or use main_branch bottleneck",
            )
        if self._inner_width(self.num_output_stage1) < self.cardinality:
            raise ConfigError(
                f"base_width {self.base_width} leaves the groups of a block of width "
                f"{self.num_output_stage1} without channels",
                key="base_width",
                hint=f"use a base_width of at least {-(-256 // self.num_output_stage1)}",
            )

    def _inner_width(self, num_output: int) -> int:
        """The width of the inner convolutions of a bottleneck. Source: torchvision, resnet.py, Bottleneck."""
        return num_output * self.base_width // 64 // 4 * self.cardinality

    @property
    def title(self) -> str:
        """The name of pynetbuilder's model folder: resnet_50, resnet_34_inception_trick, ..."""
        depth = self.branch.depth * sum(self.blocks) + (4 if self.fc_layers else 2)
        usual = STEM_WIDTH * self.branch.expansion
        n = self.num_output_stage1
        parts = [f"torchvision_resnet_{depth}" if self.layout == "torchvision" else f"resnet_{depth}"]
        if (self.cardinality, self.base_width) != (1, 64):
            parts.append(f"{self.cardinality}x{self.base_width}d")
        if n != usual:
            parts.append(f"1by{usual // n}" if usual % n == 0 else f"n{n}")
        if self.main_branch not in ("normal", "bottleneck"):
            parts.append(self.main_branch)
        elements = self.elements
        parts += [elements.stem] if elements.stem != "7x7" else []
        parts += [f"average{self.shortcut_average}"] if self.shortcut_average != "none" else []
        parts += [str(elements.attention)] if elements.attention != "none" else []
        parts += ["aa"] if elements.antialias != "none" else []
        if self.fc_layers:
            parts.append("with4k")
        return "_".join(parts)

    def residual_block(self, name: str, num_output: int, stride: int, *, first: bool, projects: bool) -> Lego:
        """One residual block, with the chosen elements."""
        elements = self.elements
        grouped = (self.cardinality, self.base_width) != (1, 64)
        if elements.attention == elements.antialias == self.shortcut_average == "none" and not grouped:
            return super().residual_block(name, num_output, stride, first=first, projects=projects)
        from legos.pool_shortcut import PoolProjectionLego  # few nets need these two
        from legos.resample import AVERAGES, RoundedUpAverageDownLego

        around, behind = block_parts(
            attention=str(elements.attention), antialias=str(elements.antialias), gate=elements.se_gate,
            phase="train",
        )  # fmt: skip
        groups = {"group": self.cardinality, "width": self._inner_width(num_output)} if grouped else {}
        main: Lego = self.main(name, num_output, stride, around=around, **groups)
        if behind:
            main = SequenceLego(name=name, parts=(main, behind(name=name)))
        average = AVERAGES[self.shortcut_average]
        if self.layout == "torchvision" and self.shortcut_average == "2x2":
            average = RoundedUpAverageDownLego  # of odd sizes, as timm
        shortcut = PoolProjectionLego(
            name=name, num_output=num_output, stride=stride, downsample=average, projects=True
        )
        merge = EltwiseReLULego(name=name)
        return ShortcutLego(name=name, main=main, shortcut=shortcut if projects else None, merge=merge)


@network("resnet", ResNetConfig)
def stitch(cfg: ResNetConfig, phase: str) -> Net:
    """ResNet for ImageNet with normal, bottleneck, or factored (1x3 and 3x1) main branches."""
    net = cfg.net(phase)
    elements = cfg.elements
    if elements.se_gate == "auto" and phase == "deploy" and elements.attention != "none":
        cfg = replace(cfg, elements=replace(elements, se_gate="concat"))
    x, label = source(cfg, net, phase)
    with net.scope("stem", comment="stem"):
        entry = STEM_ENTRIES[cfg.elements.stem]
        padded = cfg.layout == "torchvision"
        x = ImageNetStemLego(name="1", num_output=STEM_WIDTH, entry=entry, padded=padded).attach(net, x)
    first_projects = cfg.branch.expansion > 1
    x = residual_stages(
        cfg, net, x, cfg.blocks, cfg.num_output_stage1,
        projects=lambda stage, block: block == 0 and (stage > 0 or first_projects),
    )  # fmt: skip
    cfg.head(net, x, label)
    return net
