"""DavidNet, its studies and tricks, and its pre-activation baseline, stated from their specification.

Without any of our code. Parameters are found by layer name, which is an interface; the rest is written out.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.reference.tape import Tape, Var

Params = dict[str, list[Var]]


@dataclass
class David:
    """One net of the search space; the defaults are the final net."""

    tape: Tape
    params: Params
    train: bool
    width: int = 64
    widths: tuple[int, int, int] = (2, 4, 8)
    pooled: bool = True
    concat: bool = False
    factor: float = 0.125
    residual: tuple[str, ...] = ("layer1", "layer3")
    extra: tuple[str, ...] = ()
    pool_first: bool = False
    celu: float | None = None
    ghost: int = 0
    whitening: bool = False

    def norm(self, name: str, x: Var) -> Var:
        gamma, beta = self.params[f"scale_{name}"]
        if self.train and self.ghost:
            parts = [self.tape.every_nth_image(x, self.ghost, s) for s in range(self.ghost)]
            return self.tape.interleave(*(self.tape.batch_norm(part, gamma, beta) for part in parts))
        if self.train:
            return self.tape.batch_norm(x, gamma, beta)
        mean, variance, factor = (p.value for p in self.params[f"bn_{name}"])
        return self.tape.batch_norm(x, gamma, beta, (mean / factor[0], variance / factor[0]))

    def act(self, x: Var) -> Var:
        return self.tape.relu(x) if self.celu is None else self.tape.celu(x, self.celu)

    def unit(self, name: str, x: Var, stride: int = 1, pooled: bool = False) -> Var:
        x = self.tape.conv(x, self.params[f"conv_{name}"][0], stride)
        if pooled and self.pool_first:
            return self.act(self.norm(name, self.tape.max_pool(x)))
        x = self.act(self.norm(name, x))
        return self.tape.max_pool(x) if pooled else x

    def scores(self, x: Var) -> Var:
        if self.whitening:
            x = self.tape.conv(x, self.params["whiten_prep"][0])
        x = self.unit("prep", x)
        for name in ("layer1", "layer2", "layer3"):
            x = self.unit(name, x, 1 if self.pooled else 2, self.pooled)
            if name in self.residual:
                y = self.unit(f"{name}_residual_res1", x)
                x = self.tape.add(x, self.unit(f"{name}_residual_res2", y))
            if name in self.extra:
                x = self.unit(f"{name}_extra", x)
        y = self.tape.image_max(x)
        if self.concat:
            y = self.tape.concat(y, self.tape.image_mean(x))
        return self.tape.scale(self.tape.linear(y, *self.params["fc10"]), self.factor)


def dawn_scores(
    tape: Tape, params: Params, x: Var, *, train: bool, prep_bn: bool = False, branches: bool = True
) -> Var:
    """The baseline: four layers of two blocks; shortcuts start behind the first BN and ReLU of the block."""

    def conv(name: str, x: Var, stride: int = 1) -> Var:
        return tape.conv(x, params[f"conv_{name}"][0], stride)

    def bn_relu(name: str, x: Var) -> Var:
        gamma, beta = params[f"scale_{name}"]
        mean, variance, factor = (p.value for p in params[f"bn_{name}"])
        stored = None if train else (mean / factor[0], variance / factor[0])
        return tape.relu(tape.batch_norm(x, gamma, beta, stored))

    x = conv("prep", x)
    if prep_bn:
        x = bn_relu("prep", x)
    for layer in (1, 2, 3, 4):
        for block in (0, 1):
            name, first = f"layer{layer}_block{block}", layer > 1 and block == 0
            stride = 2 if first else 1
            r = bn_relu(f"{name}_preact", x)
            x = conv(f"{name}_proj_shortcut", r, stride) if first else r
            if branches:
                y = bn_relu(f"{name}_branch2a", conv(f"{name}_branch2a", r, stride))
                x = tape.add(x, conv(f"{name}_branch2b", y))
    pooled = tape.concat(tape.image_max(x), tape.image_mean(x))
    return tape.linear(pooled, *params["fc10"])
