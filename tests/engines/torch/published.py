"""The ResNets of torchvision and timm, stated in plain PyTorch from their papers and published names.

Written here, without code of either package or of ours; the names of the modules are an interface, by which
published weights are found. Sources: He et al. 2015; Xie et al. 2016; He et al. 2018 (ResNet-D); Hu et al.
2017 (SE). In torchvision the stride of a bottleneck is in its 3x3, and the maximum pads by 1 and rounds down;
timm's ResNet-D averages 2x2 before it projects, over pixels inside the image alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["PUBLISHED", "Design", "ResNet", "randomised"]


class Design(NamedTuple):
    """A published net, and the count of its learnable parameters."""

    params: int
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    bottleneck: bool = True
    groups: int = 1
    base_width: int = 64
    deep: bool = False
    averages: bool = False
    excites: bool = False


PUBLISHED = {
    "torchvision_resnet_18": Design(11_689_512, (2, 2, 2, 2), bottleneck=False),
    "torchvision_resnet_34": Design(21_797_672, bottleneck=False),
    "torchvision_resnet_50": Design(25_557_032),
    "torchvision_resnet_101": Design(44_549_160, (3, 4, 23, 3)),
    "torchvision_resnet_152": Design(60_192_808, (3, 8, 36, 3)),
    "torchvision_resnext_50_32x4d": Design(25_028_904, groups=32, base_width=4),
    "torchvision_resnext_101_32x8d": Design(88_791_336, (3, 4, 23, 3), groups=32, base_width=8),
    "torchvision_wide_resnet_50_2": Design(68_883_240, base_width=128),
    "timm_resnet_50_d": Design(25_576_264, deep=True, averages=True),
    "timm_seresnet_50": Design(28_088_024, excites=True),
    "timm_seresnext_50_32x4d": Design(27_559_896, groups=32, base_width=4, excites=True),
}


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)


class SE(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // 16, 1)
        self.fc2 = nn.Conv2d(channels // 16, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.fc2(torch.relu(self.fc1(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(gate)


class Block(nn.Module):
    def __init__(self, design: Design, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv3: nn.Module | None = None
        self.bn3: nn.Module | None = None
        if design.bottleneck:
            outputs = 4 * width
            inner = width * design.base_width // 64 * design.groups
            self.conv1, self.bn1 = conv(inputs, inner, 1), nn.BatchNorm2d(inner)
            self.conv2, self.bn2 = conv(inner, inner, 3, stride, design.groups), nn.BatchNorm2d(inner)
            self.conv3 = conv(inner, outputs, 1)
            self.bn3 = nn.BatchNorm2d(outputs)
        else:
            outputs = width
            self.conv1, self.bn1 = conv(inputs, width, 3, stride), nn.BatchNorm2d(width)
            self.conv2, self.bn2 = conv(width, width, 3), nn.BatchNorm2d(width)
        self.se = SE(outputs) if design.excites else None
        self.downsample = None
        if stride > 1 or inputs != outputs:
            project = [conv(inputs, outputs, 1, 1 if design.averages else stride), nn.BatchNorm2d(outputs)]
            if design.averages:
                mean = nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)
                project.insert(0, mean if stride > 1 else nn.Identity())
            self.downsample = nn.Sequential(*project)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.conv3 is not None and self.bn3 is not None:
            y = self.bn3(self.conv3(torch.relu(y)))
        if self.se is not None:
            y = self.se(y)
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """A net in the published layout; `width` is that of the first stage's inner convolutions."""

    def __init__(self, design: Design, classes: int = 1000, width: int = 64) -> None:
        super().__init__()
        self.conv1: nn.Module = conv(3, 64, 7, 2)
        if design.deep:
            self.conv1 = nn.Sequential(
                conv(3, 32, 3, 2), nn.BatchNorm2d(32), nn.ReLU(),
                conv(32, 32, 3), nn.BatchNorm2d(32), nn.ReLU(),
                conv(32, 64, 3),
            )  # fmt: skip
        self.bn1 = nn.BatchNorm2d(64)
        inputs = 64
        for stage, count in enumerate(design.blocks):
            planes, blocks = width * 2**stage, []
            for block in range(count):
                blocks.append(Block(design, inputs, planes, 2 if stage and not block else 1))
                inputs = planes * (4 if design.bottleneck else 1)
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(inputs, classes)
        self.stages = len(design.blocks)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in range(self.stages):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        scores: Tensor = self.fc(x.mean((2, 3)))
        return scores


def randomised(model: nn.Module, seed: int = 1) -> nn.Module:
    """The model, in test phase, with random weights and statistics that hide nothing, and scores near 1."""
    generator = torch.Generator().manual_seed(seed)

    def draw(like: Tensor, low: float, high: float) -> Tensor:
        return torch.rand(like.shape, generator=generator) * (high - low) + low

    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.weight.data = draw(module.weight, 0.4, 0.8)
            module.bias.data = draw(module.bias, -0.2, 0.2)
            module.running_mean.data = draw(module.running_mean, -0.2, 0.2)
            module.running_var.data = draw(module.running_var, 0.5, 1.5)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            spread = (1.5 / module.weight[0].numel()) ** 0.5
            module.weight.data = torch.randn(module.weight.shape, generator=generator) * spread
            if module.bias is not None:
                module.bias.data = draw(module.bias, -0.2, 0.2)
    return model.eval()
