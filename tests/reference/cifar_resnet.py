"""The CIFAR ResNets and their block variants, stated from their specifications, without any of our code.

He et al. 2015, section 4.2 (shortcuts A and B); torch-residual-networks (gcr) with its four variants; He et
al. 2016 with their code. Parameters are found by layer name, which is an interface; the rest is written out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tests.reference.tape import Tape, Var

Params = dict[str, list[Var]]


class Units(NamedTuple):
    """Convolution and BatchNorm with the parameters of a layer name; `train`: by the batch's statistics."""

    tape: Tape
    params: Params
    train: bool

    def conv(self, name: str, x: Var, stride: int = 1) -> Var:
        weight, *bias = self.params[f"conv_{name}"]
        return self.tape.conv(x, weight, stride, *bias)

    def bn(self, name: str, x: Var) -> Var:
        gamma, beta = self.params[f"scale_{name}"]
        mean, variance, factor = (p.value for p in self.params[f"bn_{name}"])
        stored = None if self.train else (mean / factor[0], variance / factor[0])
        return self.tape.batch_norm(x, gamma, beta, stored)

    def bn_relu(self, name: str, x: Var) -> Var:
        return self.tape.relu(self.bn(name, x))


def option_a(tape: Tape, x: Var, width: int) -> Var:
    """Every second pixel, and zero channels behind the real ones."""
    x = tape.every_other(x)
    n, channels, height, columns = x.value.shape
    return tape.concat(x, Var(np.zeros((n, width - channels, height, columns))))


def gcr_block(
    u: Units, name: str, x: Var, width: int, stride: int, shortcut: str, bn_after: bool, relu: bool
) -> Var:
    """conv, BN, ReLU, conv; then BN and addition in one order or the other; then ReLU or nothing."""
    skip = x
    if stride == 2 and shortcut == "A":
        skip = option_a(u.tape, x, width)
    elif stride == 2:
        skip = u.bn(f"{name}_proj_shortcut", u.conv(f"{name}_proj_shortcut", x, 2))
    y = u.bn_relu(f"{name}_branch2a", u.conv(f"{name}_branch2a", x, stride))
    y = u.conv(f"{name}_branch2b", y)
    if bn_after:
        y = u.bn(name, u.tape.add(skip, y))
    else:
        y = u.tape.add(skip, u.bn(f"{name}_branch2b", y))
    return u.tape.relu(y) if relu else y


def preactivation_block(
    u: Units, name: str, x: Var, width: int, stride: int, first: bool, shortcut: str
) -> Var:
    """BN, ReLU, conv, BN, ReLU, conv, add; in the first block of a stage the skip is behind BN, ReLU."""
    r = u.bn_relu(f"{name}_preact", x)
    skip = r if first else x
    if stride == 2 and shortcut == "A":
        skip = option_a(u.tape, r, width)
    elif stride == 2:
        skip = u.conv(f"{name}_proj_shortcut", r, 2)
    y = u.bn_relu(f"{name}_branch2a", u.conv(f"{name}_branch2a", r, stride))
    return u.tape.add(skip, u.conv(f"{name}_branch2b", y))


def scores(
    tape: Tape,
    params: Params,
    image: Var,
    n: int,
    *,
    train: bool,
    shortcut: str = "B",
    preactivation: bool = False,
    bn_after: bool = False,
    relu: bool = True,
) -> Var:
    """The ten scores of a net of depth 6n+2."""
    u = Units(tape, params, train)
    x = u.conv("1", image)
    if not preactivation:
        x = u.bn_relu("1", x)
    for stage, width in enumerate((16, 32, 64)):
        for block in range(n):
            name, stride = f"stage{stage}_block{block}", 2 if stage and not block else 1
            if preactivation:
                x = preactivation_block(u, name, x, width, stride, block == 0, shortcut)
            else:
                x = gcr_block(u, name, x, width, stride, shortcut, bn_after, relu)
    if preactivation:
        x = u.bn_relu("last", x)
    weight, bias = params["fc10"]
    return tape.linear(tape.image_mean(x), weight, bias)
