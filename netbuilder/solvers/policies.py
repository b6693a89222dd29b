"""The learning rate of every iteration: Caffe's seven policies, and those that only our driver has.

Iterations count from 0: the rate of iteration i is the one of update i + 1. Caffe computes in float32, and so
do we, operation by operation as its source does (SGDSolver::GetLearningRate).

Caffe refuses a policy that it does not know, at the first update. The schedules that it lacks are therefore
written as the text of `lr_policy`, which stock Caffe cannot take for something else:

    cosine                              base_lr * (1 + cos(pi * t)) / 2, t from 0 to 1 at max_iter
    cosine every 5005                   the same, held for 5005 iterations each (an epoch, say)
    linear -1:0 484:0.4 2327:0          piecewise linear between ITERATION:RATE, constant outside
    warmup 500 from 0.01, REST          rises linearly from 0.01 at iteration 0 to base_lr at 500; REST is one
                                        of Caffe's policies or cosine
    warmup 400 hold 0.01, REST          stays at 0.01 for 400 iterations

A cosine after a warm-up starts where the warm-up ends. Caffe's policies go on counting from iteration 0.
"""

from __future__ import annotations

import itertools
import math
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from netbuilder.errors import ConfigError, did_you_mean

__all__ = ["DRIVER", "NEEDS", "STOCK", "Schedule", "float32", "schedule_of"]

# Caffe's policies, and the fields that each must have; an unset one is 0, and the rate with it.
NEEDS = {
    "fixed": (),
    "step": ("gamma", "stepsize"),
    "exp": ("gamma",),
    "inv": ("gamma", "power"),
    "multistep": ("gamma", "stepvalue"),
    "poly": ("power", "max_iter"),
    "sigmoid": ("gamma", "stepsize"),
}
STOCK = tuple(NEEDS)
DRIVER = ("cosine", "linear", "warmup")

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_WARMUP = re.compile(rf"warmup (\d+) (from|hold) ({_NUMBER}), *(.+)")
_COSINE = re.compile(r"cosine(?: every ([1-9]\d*))?")
_POINTS = re.compile(rf"linear((?: -?\d+:{_NUMBER})+)")


_FLOAT32 = struct.Struct("<f")


def float32(value: float) -> float:
    """The float32 that is nearest to a number; infinite if it is too large."""
    try:
        return _FLOAT32.unpack(_FLOAT32.pack(value))[0]  # type: ignore[no-any-return]
    except OverflowError:
        return math.copysign(math.inf, value)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The learning rates of a solver. `text` is its lr_policy; made by `schedule_of`."""

    text: str
    base: float
    policy: str
    gamma: float = 0.0
    power: float = 0.0
    stepsize: int = 0
    stepvalue: tuple[int, ...] = ()
    fires: tuple[int, ...] = ()  # of multistep: the iteration from which each step holds
    max_iter: int = 0
    every: int = 1
    points: tuple[tuple[int, float], ...] = ()
    warmup: int = 0
    start: float = 0.0
    hold: bool = False

    @property
    def stock(self) -> bool:
        """Whether stock Caffe has it; if not, it needs the Python driver."""
        return self.text in NEEDS

    def step(self, iteration: int, before: int) -> int:
        """Caffe's `current_step` in an iteration, from the one before: of multistep, at most one more."""
        if self.text == "step":
            return iteration // self.stepsize
        if self.policy != "multistep":
            return before
        if not self.stock:
            return sum(fire <= iteration for fire in self.fires)
        return before + (before < len(self.stepvalue) and iteration >= self.stepvalue[before])

    def rate(self, iteration: int, step: int | None = None) -> float:
        """The rate of an iteration, as the float32 that Caffe uses.

        `step` is that of multistep; by default the one that training from iteration 0 gives.
        """
        if step is not None and self.text == "multistep":
            return float32(self.base * _power(self.gamma, step))
        if iteration < self.warmup:
            part = 0.0 if self.hold else iteration / self.warmup
            return float32(self.start + (self.base - self.start) * part)
        return _RATES[self.policy](self, iteration)

    def rates(self, start: int = 0, stop: int | None = None) -> Iterator[float]:
        """The rates from one iteration up to another, by default all."""
        return map(self.rate, range(start, self.max_iter if stop is None else stop))


def schedule_of(solver: Any) -> Schedule:
    """The schedule of a SolverParameter; raises ConfigError if its lr_policy is none.

    Whether the fields that a policy needs are set, `solvers.check` says.
    """
    text = str(solver.lr_policy)
    rest, warmup, start, hold = text, 0, 0.0, False
    if m := _WARMUP.fullmatch(text):
        warmup, hold, start, rest = int(m[1]), m[2] == "hold", float(m[3]), m[4]
    every, policy, points = 1, rest, _knots("")
    if m := _COSINE.fullmatch(rest):
        policy, every = "cosine", int(m[1] or 1)
    elif (m := _POINTS.fullmatch(rest)) and not warmup:
        policy, points = "linear", _knots(m[1])
    elif rest not in NEEDS:
        raise ConfigError(_unknown(text), key="lr_policy", hint=_hint(text))
    return Schedule(
        text=text,
        base=float32(solver.base_lr),
        policy=policy,
        gamma=float32(solver.gamma),
        power=float32(solver.power),
        stepsize=solver.stepsize,
        stepvalue=tuple(solver.stepvalue),
        fires=_fires(solver.stepvalue),
        max_iter=solver.max_iter,
        every=every,
        points=points,
        warmup=warmup,
        start=start,
        hold=hold,
    )


def _knots(text: str) -> tuple[tuple[int, float], ...]:
    pairs = [word.split(":") for word in text.split()]
    points = tuple((int(i), float(rate)) for i, rate in pairs)
    if any(b[0] <= a[0] for a, b in itertools.pairwise(points)):
        raise ConfigError(f"the points of lr_policy 'linear{text}' must rise", key="lr_policy")
    return points


def _unknown(text: str) -> str:
    if not text:
        return "lr_policy is not set: Caffe refuses the first update"
    return f"unknown lr_policy '{text}'"


def _hint(text: str) -> str:
    return (
        did_you_mean(text.split(" ")[0], (*STOCK, *DRIVER))
        or f"Caffe has {', '.join(STOCK)}; the Python driver also 'cosine', 'cosine every N', "
        "'linear ITERATION:RATE ...' and 'warmup N from RATE, POLICY'"
    )


def _fires(values: Sequence[int]) -> tuple[int, ...]:
    """When the steps of multistep hold: at most one more at each update, so that late ones wait."""
    fires: list[int] = []
    for value in values:
        fires.append(max(value, 0 if not fires else fires[-1] + 1))
    return tuple(fires)


# -- the policies, in the precision of Caffe's source: pow(float, int) is computed in double there -----------


def _power(base: float, exponent: float) -> float:
    """pow, where C gives infinity or NaN instead of an error."""
    try:
        value = math.pow(base, exponent)
    except OverflowError:
        return math.inf
    except ValueError:
        return math.inf if base == 0 else math.nan
    return value


def _fixed(s: Schedule, i: int) -> float:
    return s.base


def _step(s: Schedule, i: int) -> float:
    return float32(s.base * _power(s.gamma, i // s.stepsize))


def _exp(s: Schedule, i: int) -> float:
    return float32(s.base * _power(s.gamma, i))


def _inv(s: Schedule, i: int) -> float:
    grown = float32(1 + float32(s.gamma * i))
    return float32(s.base * float32(_power(grown, -s.power)))


def _multistep(s: Schedule, i: int) -> float:
    return float32(s.base * _power(s.gamma, sum(fire <= i for fire in s.fires)))


def _poly(s: Schedule, i: int) -> float:
    left = float32(1 - float32(float32(i) / float32(s.max_iter)))
    return float32(s.base * float32(_power(left, s.power)))


def _sigmoid(s: Schedule, i: int) -> float:
    exponent = float32(-s.gamma * float32(float32(i) - float32(s.stepsize)))
    grown = float32(math.exp(exponent)) if exponent < 89 else math.inf
    return float32(s.base * float32(1 / float32(1 + grown)))


def _cosine(s: Schedule, i: int) -> float:
    done = (i - s.warmup) // s.every * s.every
    return float32(s.base * (1 + math.cos(math.pi * done / (s.max_iter - s.warmup))) / 2)


def _linear(s: Schedule, i: int) -> float:
    before = [p for p in s.points if p[0] <= i]
    after = [p for p in s.points if p[0] > i]
    if not before or not after:
        return float32((before[-1:] or after[:1])[0][1])
    (i0, rate0), (i1, rate1) = before[-1], after[0]
    return float32(rate0 + (rate1 - rate0) * (i - i0) / (i1 - i0))


_RATES = {
    "fixed": _fixed,
    "step": _step,
    "exp": _exp,
    "inv": _inv,
    "multistep": _multistep,
    "poly": _poly,
    "sigmoid": _sigmoid,
    "cosine": _cosine,
    "linear": _linear,
}
