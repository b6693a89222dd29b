"""DAWN net: the pre-activation net from which DavidNet was developed, with four layers of two blocks.

Source: David Page, "How to Train Your ResNet"; the code cifar10-fast (`dawn.ipynb`), after Ben Johnson's
DAWNBench entry. A block is BatchNorm and ReLU, then a branch (3x3, BatchNorm, ReLU, 3x3) beside a shortcut.
Unlike in He et al. 2016, every shortcut starts after that first ReLU and is a plain 1x1 convolution where the
shape changes, no BatchNorm precedes the head, and the last layer has as many channels as the one before.
"""

from __future__ import annotations

from dataclasses import dataclass

from legos.activation import ReLULego
from legos.base import Lego, SequenceLego
from legos.conv import ConvLego
from legos.head import ClassifierLego, ConcatPoolLego
from legos.merge import EltwiseReLULego
from legos.normalization import BNLego, BNReLULego
from legos.shortcut import ShortcutLego
from netbuilder.net import Net
from netbuilder.networks.davidnet import PageConfig
from netbuilder.networks.registry import network, option
from netbuilder.networks.residual import finish, source

__all__ = ["DawnNetConfig", "stitch"]

# (width as a multiple of the first convolution's, stride) of each layer.
LAYERS = {"layer1": (1, 1), "layer2": (2, 2), "layer3": (4, 2), "layer4": (4, 2)}
BLOCKS = 2


@dataclass(frozen=True, kw_only=True)
class DawnNetConfig(PageConfig):
    """The options; the defaults give the tuned baseline. Raises ConfigError."""

    prep_bn: bool = option(
        help="BatchNorm and ReLU after the first convolution, as before the tuning",
        default=False,
        switch=True,
    )
    branches: bool = option(
        help="residual branches; --no-branches leaves only the shortcuts, the first of the backbone studies",
        default=True,
        switch=True,
    )

    @property
    def features(self) -> int:
        """The number of inputs of the inner product: maxima and averages."""
        return 2 * LAYERS["layer4"][0] * self.width

    @property
    def title(self) -> str:
        """dawnnet, and the options that differ."""
        parts = ["dawnnet"]
        parts += [f"w{self.width}"] if self.width != 64 else []
        parts += ["prep_bn"] if self.prep_bn else []
        parts += [] if self.branches else ["no_branches"]
        return "_".join(parts)

    def block(self, name: str, num_output: int, stride: int, projects: bool) -> Lego:
        """One block; it `projects` where the shape changes."""
        skip = _conv(f"{name}_proj_shortcut", num_output, 1, stride) if projects else None
        activation = BNReLULego(name=f"{name}_preact")
        if not self.branches:
            return SequenceLego(name=name, parts=(activation, skip) if skip else (activation,))
        first, second = f"{name}_branch2a", f"{name}_branch2b"
        main = (
            _conv(first, num_output, 3, stride), BNLego(name=first), ReLULego(name=first),
            _conv(second, num_output, 3, 1),
        )  # fmt: skip
        block = ShortcutLego(
            name=name,
            main=SequenceLego(name=name, parts=main),
            shortcut=skip,
            merge=EltwiseReLULego(name=name, relu=False),
        )
        return SequenceLego(name=name, parts=(activation, block))


@network("dawnnet", DawnNetConfig)
def stitch(cfg: DawnNetConfig, phase: str) -> Net:
    """DAWN net for CIFAR-10: the pre-activation baseline of DavidNet."""
    net = cfg.net(phase)
    x, label = source(cfg, net, phase)
    with net.scope("prep", comment="prep"):
        x = _conv("prep", cfg.width, 3, 1).attach(net, x)
        if cfg.prep_bn:
            x = BNReLULego(name="prep").attach(net, x)
    channels = cfg.width
    for layer, (times, stride) in LAYERS.items():
        width = times * cfg.width
        with net.scope(layer, comment=f"{layer}: {BLOCKS} x preactivation, {width} channels"):
            for k in range(BLOCKS):
                step = stride if k == 0 else 1
                projects = step != 1 or channels != width
                x = cfg.block(f"{layer}_block{k}", width, step, projects).attach(net, x)
                channels = width
    with net.scope("head", comment="head"):
        head = ClassifierLego(name=f"fc{cfg.classes}", num_output=cfg.classes, pooling=ConcatPoolLego)
        x = head.attach(net, x)
        finish(net, x, label)
    return net


def _conv(name: str, num_output: int, kernel: int, stride: int) -> ConvLego:
    return ConvLego(name=name, num_output=num_output, kernel=kernel, stride=stride, fan_in_uniform=True)
