"""What the residual recipes share: the branch options and the loop over stages and blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from legos.base import Lego
from legos.data import InputLego, LossLego, MemoryDataLego, ProbabilityLego
from legos.head import ClassifierLego, FCStageLego
from legos.main_branch import BRANCHES, MainBranch
from legos.merge import EltwiseReLULego
from legos.shortcut import ProjectionLego, ShortcutLego
from netbuilder.errors import ConfigError
from netbuilder.net import Blob, Net
from netbuilder.networks.registry import NetConfig, option

__all__ = ["ImageNetConfig", "ResidualConfig", "finish", "number_list", "residual_stages", "source"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ResidualConfig(NetConfig):
    """A net of residual blocks with a choice of main branch."""

    main_branch: str = option("-m", help="main branch of the blocks", choices=tuple(BRANCHES))
    stride_in: str = option(
        help="which convolution of a bottleneck has the block's stride", default="1x1", choices=("1x1", "3x3")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_known("main_branch", BRANCHES)
        self.check_known("stride_in", ("1x1", "3x3"))
        usual = type(self).__dataclass_fields__["stride_in"].default
        if self.stride_in != usual and not self._takes_stride_in:
            bottlenecks = " or ".join(name for name, branch in BRANCHES.items() if branch.expansion > 1)
            raise ConfigError(
                f"stride_in {self.stride_in} needs a bottleneck; main_branch {self.main_branch} has no 1x1",
                key="stride_in",
                hint=f"leave stride_in out, or take main_branch {bottlenecks}",
            )

    @property
    def branch(self) -> type[MainBranch]:
        """The class of the main branch."""
        return BRANCHES[self.main_branch]

    @property
    def _takes_stride_in(self) -> bool:
        return "stride_in" in self.branch.__dataclass_fields__

    def main(self, name: str, num_output: int, stride: int, **fields: Any) -> MainBranch:
        """The main branch of one block."""
        if self._takes_stride_in:
            fields["stride_in"] = self.stride_in
        return self.branch(name=name, num_output=num_output, stride=stride, **fields)

    def residual_block(self, name: str, num_output: int, stride: int, *, first: bool, projects: bool) -> Lego:
        """One residual block, the `first` of its stage or not; its shortcut `projects` or is the identity."""
        fields = {"stride_in": self.stride_in} if self._takes_stride_in else {}
        # The type checker takes the hash of a class for that of its instances.
        return _plain_block(self.branch, name, num_output, stride, projects, **fields)  # type: ignore[arg-type]


@lru_cache(maxsize=4096)  # a sweep asks for the same block many times
def _plain_block(
    main: type[MainBranch], name: str, num_output: int, stride: int, projects: bool, **fields: Any
) -> Lego:
    return ShortcutLego(
        name=name,
        main=main(name=name, num_output=num_output, stride=stride, **fields),
        shortcut=ProjectionLego(name=name, num_output=num_output, stride=stride) if projects else None,
        merge=EltwiseReLULego(name=name),
    )


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ImageNetConfig(ResidualConfig):
    """A residual net for ImageNet: widths that double from stage to stage, and one of two heads."""

    num_output_stage1: int = option(
        "-n", help="width of the first stage's blocks; it doubles at each stage", default=128
    )
    fc_layers: bool = option(
        help="end in three 1x1 convolution units (2048, 4096, classes)", default=False, switch=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fc_layers and self.classes in (2048, 4096):
            raise ConfigError(
                f"with fc_layers, classes {self.classes} would give two layers the name "
                f"conv_1by1_{self.classes}",
                key="classes",
                hint="leave fc_layers out, or take another number of classes",
            )

    def width(self, stage: int) -> int:
        """The width of a stage's blocks."""
        return self.num_output_stage1 * int(2**stage)

    def head(self, net: Net, x: Blob, label: Blob | None) -> None:
        """The classifier or the fc stage, and the loss or the probabilities."""
        with net.scope("head", comment="head"):
            if self.fc_layers:
                x = FCStageLego(name="1by1", num_output=self.classes).attach(net, x)
            else:
                x = ClassifierLego(name=f"fc{self.classes}", num_output=self.classes).attach(net, x)
            finish(net, x, label)


def residual_stages(
    cfg: ResidualConfig,
    net: Net,
    x: Blob,
    blocks: Sequence[int],
    num_output: int,
    projects: Callable[[int, int], bool],
) -> Blob:
    """Stages of residual blocks; the width doubles and the image halves at each stage but the first.

    `projects(stage, block)` says where the shortcut is a projection; elsewhere it is the identity.
    """
    for stage, count in enumerate(blocks):
        width = num_output * 2**stage
        about = f"stage {stage}: {count} x {cfg.main_branch}, {width} channels"
        with net.scope(f"stage{stage}", comment=about):
            for block in range(count):
                name = f"stage{stage}_block{block}"
                stride = 2 if stage > 0 and block == 0 else 1
                lego = cfg.residual_block(
                    name, width, stride, first=block == 0, projects=projects(stage, block)
                )
                with net.scope(name, comment=name):
                    x = lego.attach(net, x)
    return x


def source(cfg: NetConfig, net: Net, phase: str, batch: int | None = None) -> tuple[Blob, Blob | None]:
    """The data, one image or `batch` images, and the labels, which are None in the deploy net."""
    shape = cfg.input_shape if batch is None else (batch, *cfg.input_shape[1:])
    if phase == "deploy":
        return InputLego(name="data", shape=shape).attach(net, []), None
    data, label = MemoryDataLego(name="data", shape=shape).attach_many(net, [])
    return data, label


def finish(net: Net, scores: Blob, label: Blob | None, loss: Lego | None = None) -> None:
    """Add the loss (`loss`, or the plain one with accuracy), or the probabilities in the deploy net."""
    if label is None:
        ProbabilityLego(name="prob").attach(net, scores)
    else:
        (loss or LossLego(name="loss")).attach(net, [scores, label])


def number_list(numbers: Sequence[int]) -> str:
    """Numbers as on the command line."""
    return " ".join(str(n) for n in numbers) or "none"
