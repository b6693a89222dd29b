"""The nets of bench/torch_engine.py as one writes them in PyTorch by hand, without netbuilder.

Parameters are in the order of the layers of our nets, so that weights can be copied from one to the other.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["PLAIN"]


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution and its BatchNorm."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)
    )


class Block(nn.Module):
    """A residual block: two 3x3, or a bottleneck with a width inside; `relu` ends it."""

    def __init__(
        self, inputs: int, outputs: int, stride: int = 1, mid: int = 0, *, early: bool = False,
        pool: bool = False, relu: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        project = inputs != outputs or (stride > 1 and not pool)
        self.pool = nn.AvgPool2d(3, stride, 1) if pool and stride > 1 else nn.Identity()
        self.shortcut = conv(inputs, outputs, 1, 1 if pool else stride) if project else nn.Identity()
        if mid:
            strides = (stride, 1) if early else (1, stride)
            sizes = [(inputs, mid, 1, strides[0]), (mid, mid, 3, strides[1]), (mid, outputs, 1, 1)]
        else:
            sizes = [(inputs, outputs, 3, stride), (outputs, outputs, 3, 1)]
        self.branch = nn.ModuleList(conv(*size) for size in sizes)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """The shortcut plus the branch."""
        shortcut = self.shortcut(self.pool(x))
        for unit in self.branch[:-1]:
            x = functional.relu(unit(x), inplace=True)
        x = self.branch[-1](x)
        x += shortcut
        return functional.relu(x, inplace=True) if self.relu else x


class CifarResNet20(nn.Module):
    """ResNet-20 with projections."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 16)
        sizes = [(16, 16, 1), (16, 32, 2), (32, 64, 2)]
        self.blocks = nn.Sequential(
            *(Block(o if i else n, o, 1 if i else s) for n, o, s in sizes for i in range(3))
        )
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """The scores."""
        x = self.blocks(functional.relu(self.stem(x), inplace=True))
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))


class DavidNet(nn.Module):
    """David Page's net."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [(3, 64), (64, 128), (128, 128), (128, 128), (128, 256), (256, 512), (512, 512), (512, 512)]
        self.units = nn.ModuleList(conv(*size) for size in sizes)
        self.fc = nn.Linear(512, 10, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The scores."""

        def unit(i: int, x: Tensor) -> Tensor:
            return functional.relu(self.units[i](x), inplace=True)

        def residual(i: int, x: Tensor) -> Tensor:
            return x + unit(i + 1, unit(i, x))

        x = residual(2, functional.max_pool2d(unit(1, unit(0, x)), 2))
        x = functional.max_pool2d(unit(4, x), 2)
        x = residual(6, functional.max_pool2d(unit(5, x), 2))
        return self.fc(functional.adaptive_max_pool2d(x, 1).flatten(1)) * 0.125


class ResNet50(nn.Module):
    """ResNet-50 with the stride on the first 1x1."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 64, 7, 2)
        blocks: list[nn.Module] = []
        inputs = 64
        for stage, n in enumerate((3, 4, 6, 3)):
            mid = 64 << stage
            for i in range(n):
                blocks.append(Block(inputs, 4 * mid, 2 if stage and not i else 1, mid, early=True))
                inputs = 4 * mid
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(2048, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """The scores."""
        x = functional.relu(self.stem(x), inplace=True)
        x = self.blocks(functional.max_pool2d(x, 3, 2, ceil_mode=True))
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))


class Stage(nn.Module):
    """A big branch at half the size, a little one, and the block that fuses them."""

    def __init__(self, inputs: int, outputs: int, blocks: int, stride: int) -> None:
        super().__init__()
        mid = outputs // 4
        self.big = nn.Sequential(
            Block(inputs, outputs, 2, mid, pool=True),
            *(Block(outputs, outputs, 1, mid, relu=i < blocks - 2) for i in range(blocks - 1)),
        )
        self.little = Block(inputs, outputs // 2, 1, mid // 2)
        self.expand = conv(outputs // 2, outputs, 1)
        self.fusion = Block(outputs, outputs, stride, mid, pool=True)

    def forward(self, x: Tensor) -> Tensor:
        """Twice as small if the fusion has a stride of 2."""
        big = functional.interpolate(self.big(x), scale_factor=2.0, mode="nearest")
        big += self.expand(self.little(x))
        return self.fusion(functional.relu(big, inplace=True))


class BLResNet50(nn.Module):
    """bL-ResNet-50 of alpha 2 and beta 4."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 64, 7, 2)
        self.big = conv(64, 64, 3, 2)
        self.little = nn.ModuleList([conv(64, 32), conv(32, 32, 3, 2), conv(32, 64, 1)])
        self.fusion = conv(64, 64, 1)
        sizes = [(64, 256, 2, 2), (256, 512, 3, 2), (512, 1024, 5, 1)]
        self.stages = nn.Sequential(*(Stage(*size) for size in sizes))
        last = [Block(1024, 2048, 2, 512, pool=True), *(Block(2048, 2048, 1, 512) for _ in range(2))]
        self.last = nn.Sequential(*last)
        self.fc = nn.Linear(2048, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """The scores."""
        x = functional.relu(self.stem(x), inplace=True)
        little = x
        for unit in self.little[:-1]:
            little = functional.relu(unit(little), inplace=True)
        big = self.big(x)
        big += self.little[-1](little)
        x = functional.relu(self.fusion(functional.relu(big, inplace=True)), inplace=True)
        x = self.last(self.stages(x))
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))


PLAIN: dict[str, Callable[[], nn.Module]] = {
    "CIFAR ResNet-20": CifarResNet20,
    "DavidNet": DavidNet,
    "ResNet-50": ResNet50,
    "bL-ResNet-50": BLResNet50,
}
