"""Airbench: the plain net of eight layers that learns CIFAR-10 fastest, of stock Caffe layers.

Source: Keller Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (arXiv 2404.00498), and
airbench94_muon.py of its code. Kept: the frozen whitening of 2x2 patches and its learnt bias, the widths, the
order in a block (convolution, pooling, BatchNorm, activation, convolution, BatchNorm, activation), gammas
frozen at 1, running averages with fraction 0.6, scores divided by the width. Different, for want of Caffe
layers: ReLU instead of GELU; maxima of 3x3 instead of 2x2 pixels, because Caffe rounds 31 / 2 up; BatchNorm's
eps of 1e-5. Filters start as identities there: `app/cifar10/whiten.py --for cifar_94` writes them.

The multipliers of biases are those of the recipe `cifar_94`, whose base_lr is for the last weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from legos.activation import ReLULego
from legos.base import Lego, SequenceLego
from legos.conv import ConvLego
from legos.head import ClassifierLego, MaxPoolLego
from legos.loss import LogitsScaleLego
from legos.normalization import BNLego
from legos.pooling import OverlappingMaxPoolLego
from legos.whitening import SignedWhiteningLego
from netbuilder.errors import ConfigError
from netbuilder.net import Net
from netbuilder.networks.registry import NetConfig, network, option, with_default
from netbuilder.networks.residual import finish, source

__all__ = ["AirbenchConfig", "stitch"]

# The widths of the blocks, as multiples of the first one's.
BLOCKS = {"block1": 1, "block2": 4, "block3": 4}
# Rates of 0.053 for biases and 0.67 for the last weights, and an equal decay in each update.
BIAS_LR = 0.053 / 0.67
BIAS_DECAY = 0.67 / 0.053


@dataclass(frozen=True, kw_only=True)
class AirbenchConfig(NetConfig):
    """The options; the defaults give the net of airbench94. Raises ConfigError."""

    classes: int = with_default(NetConfig, "classes", 10)
    input_size: tuple[int, int] = with_default(NetConfig, "input_size", (32, 32))
    block_width: int = option(
        help="channels of the first block; the others have four times as many", default=64
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least("block_width", 1)
        if any(n % 8 or n < 16 for n in self.input_size):
            height, width = self.input_size
            raise ConfigError(
                f"input_size must be a multiple of 8, at least 16, got {height}x{width}", key="input_size",
                hint="after the first convolution, 31 pixels become 15, 7 and 3",
            )  # fmt: skip

    @property
    def title(self) -> str:
        """airbench, and the width if it differs."""
        return "airbench" if self.block_width == 64 else f"airbench_w{self.block_width}"

    def layer_defaults(self, phase: str) -> dict[str, dict[str, Any]]:
        """The source's initial values, averages and rates; see the module docstring."""
        own: dict[str, dict[str, Any]] = {
            "BatchNorm": {"moving_average_fraction": 0.6},
            # Uniform with a deviation of 1.
            "InnerProduct": {
                "weight_filler": {"type": "uniform", "min": -(3**0.5), "max": 3**0.5},
                "param": [{"lr_mult": 1, "decay_mult": 1}],
            },
            "Scale": {
                "param": [
                    {"lr_mult": 0, "decay_mult": 0},
                    {"lr_mult": BIAS_LR, "decay_mult": BIAS_DECAY},
                ]
            },
        }
        shared = super().layer_defaults(phase)
        return {type: {**own.get(type, {}), **shared.get(type, {})} for type in {**own, **shared}}

    def block(self, name: str, num_output: int) -> Lego:
        """One of the three blocks."""
        parts = (
            _conv(f"{name}_1", num_output),
            OverlappingMaxPoolLego(name=name),
            BNLego(name=f"{name}_1", in_place=False),
            ReLULego(name=f"{name}_1"),
            _conv(f"{name}_2", num_output),
            BNLego(name=f"{name}_2"),
            ReLULego(name=f"{name}_2"),
        )
        return SequenceLego(name=name, parts=parts)


@network("airbench", AirbenchConfig)
def stitch(cfg: AirbenchConfig, phase: str) -> Net:
    """Jordan's net for CIFAR-10, whose training takes the fewest operations, of stock Caffe layers."""
    net = cfg.net(phase)
    x, label = source(cfg, net, phase)
    with net.scope("prep", comment="prep: whitened patches of 2x2 pixels"):
        x = SignedWhiteningLego(name="prep", bias_lr_mult=BIAS_LR, bias_decay_mult=BIAS_DECAY).attach(net, x)
        x = ReLULego(name="prep").attach(net, x)
    for name, times in BLOCKS.items():
        with net.scope(name, comment=f"{name}: {times * cfg.block_width} channels"):
            x = cfg.block(name, times * cfg.block_width).attach(net, x)
    with net.scope("head", comment="head"):
        head = ClassifierLego(
            name=f"fc{cfg.classes}", num_output=cfg.classes, pooling=MaxPoolLego, bias=False
        )
        x = head.attach(net, x)
        x = LogitsScaleLego(name="logits", factor=1 / (4 * cfg.block_width)).attach(net, x)
        finish(net, x, label)
    return net


def _conv(name: str, num_output: int) -> ConvLego:
    return ConvLego(name=name, num_output=num_output, kernel=3, fan_in_uniform=True)
