"""ResNet for CIFAR: three stages of 16, 32 and 64 channels at 32, 16 and 8 pixels.

Source: He et al. 2015 (arXiv 1512.03385), section 4.2; pynetbuilder's app/cifar10/build_resnet.py, whose
layer names are kept. Deviations from the paper: stages 1 and 2 begin with a projection (option B), where
the paper pads with zero channels (option A). The bottleneck keeps the widths 16, 32, 64 and so has 4, 8 and
16 channels inside. Depth is 6N+2 for normal and 9N+2 for bottleneck.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.networks.registry import network, option, parse_size
from app.networks.residual import ResidualConfig, finish, residual_stages, source
from legos.conv import ConvBNReLULego
from legos.head import ClassifierLego
from netbuilder.net import Net

__all__ = ["CifarResNetConfig", "stitch"]

STEM_WIDTH = 16
STAGES = 3


@dataclass(frozen=True, kw_only=True)
class CifarResNetConfig(ResidualConfig):
    """`N` is the number of blocks in each of the three stages. Raises ConfigError."""

    N: int = option("-n", help="number of blocks in each of the three stages")
    classes: int = option(help="number of classes", default=10)
    input_size: tuple[int, int] = option(
        help="size of the images: a number, or HEIGHTxWIDTH", default=(32, 32), parse=parse_size
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least("N", 1)

    @property
    def title(self) -> str:
        """The depth and the branch: cifar_resnet_110, cifar_resnet_326_bottleneck, ..."""
        depth = STAGES * self.branch.depth * self.N + 2
        branch = "" if self.main_branch == "normal" else f"_{self.main_branch}"
        return f"cifar_resnet_{depth}{branch}"


@network("cifar_resnet", CifarResNetConfig)
def stitch(cfg: CifarResNetConfig, phase: str) -> Net:
    """ResNet for CIFAR-10 and the like: small images, three stages of N blocks."""
    net = cfg.net(phase)
    x, label = source(cfg, net, phase)
    with net.scope("stem", comment="stem"):
        x = ConvBNReLULego(name="1", num_output=STEM_WIDTH, kernel=3).attach(net, x)
    x = residual_stages(
        cfg, net, x, (cfg.N,) * STAGES, STEM_WIDTH, projects=lambda stage, block: stage > 0 and block == 0
    )
    with net.scope("head", comment="head"):
        x = ClassifierLego(name=f"fc{cfg.classes}", num_output=cfg.classes).attach(net, x)
        finish(net, x, label)
    return net
