"""Stock policies that come near a schedule that stock Caffe lacks, and how near.

Stock Caffe cannot warm up, so an approximation begins at the peak; the difference is told, never hidden. The
first part can be run by hand as a solver of its own, whose weights the second one starts from.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from netbuilder.errors import ConfigError, did_you_mean
from netbuilder.solvers.policies import Schedule, schedule_of

__all__ = ["Stock", "approximations", "stock"]

_SAMPLES = 2000
_GAMMA = 0.8  # of the staircase: 21 steps down to a hundredth
_FLOOR = 0.01


class Stock(NamedTuple):
    """A stock policy in place of another: the solver, and the differences from the wanted rates.

    `mean` and `most` are parts of the highest wanted rate; `worst` is the iteration of the largest.
    """

    name: str
    solver: Any
    mean: float
    most: float
    worst: int


def approximations(solver: object) -> tuple[Stock, ...]:
    """The stock policies that come near a solver's schedule, the nearest (by the mean difference) first.

    None if it has a stock policy already.
    """
    wanted = schedule_of(solver)
    made = [_near(solver, wanted, name) for name in _names(wanted)]
    return tuple(sorted(made, key=lambda a: a.mean))


def stock(solver: Any, name: str) -> Stock:
    """The approximation of this name; raises ConfigError for one that is not offered."""
    wanted = schedule_of(solver)
    if name in _names(wanted):
        return _near(solver, wanted, name)
    if wanted.stock:
        raise ConfigError(
            f"stock Caffe has lr_policy '{solver.lr_policy}': nothing to approximate", key="stock"
        )
    offered = [a.name for a in approximations(solver)]
    raise ConfigError(
        f"there is no stock approximation '{name}' of '{solver.lr_policy}', only {', '.join(offered)}",
        key="stock", hint=did_you_mean(name, offered),
    )  # fmt: skip


def _names(wanted: Schedule) -> tuple[str, ...]:
    """The stock policies that are offered: after a warm-up, the one that Caffe has."""
    if wanted.stock:
        return ()
    return ("poly", "multistep") if wanted.policy in ("cosine", "linear") else (wanted.policy,)


def _near(solver: object, wanted: Schedule, name: str) -> Stock:
    samples = [(i, wanted.rate(i)) for i in _samples(wanted)]
    if wanted.policy not in ("cosine", "linear"):
        made = _same(solver, wanted.policy)
    elif name == "poly":
        made = _poly(solver, wanted, samples[::10])
    else:
        made = _staircase(solver, wanted)
    return _measured(name, made, samples)


def _same(solver: object, policy: str) -> Any:
    made = _copy(solver)
    made.lr_policy = policy
    return made


def _poly(solver: object, wanted: Schedule, samples: list[tuple[int, float]]) -> Any:
    """poly falls over the whole of max_iter; its power is the best of 0.25 to 3 in steps of 0.05."""
    made = _copy(solver)
    made.lr_policy, made.base_lr = "poly", _peak(wanted)[0]
    best = []
    for hundredths in range(25, 301, 5):
        made.power = hundredths / 100
        best.append((_measured("poly", made, samples).mean, hundredths / 100))
    made.power = min(best)[1]
    return made


def _staircase(solver: object, wanted: Schedule) -> Any:
    """multistep: a step of 0.8 wherever the wanted rate has fallen by half of one, down to a hundredth."""
    made = _copy(solver)
    peak, at = _peak(wanted)
    made.lr_policy, made.base_lr, made.gamma = "multistep", peak, _GAMMA
    level = peak
    for i in range(at, wanted.max_iter, max(1, wanted.max_iter // _SAMPLES)):
        while level > _FLOOR * peak and wanted.rate(i) <= level * (1 + _GAMMA) / 2:
            level *= _GAMMA
            last = made.stepvalue[-1] if made.stepvalue else -1
            made.stepvalue.append(max(i, last + 1))
    return made


def _copy(solver: Any) -> Any:
    made = type(solver)()
    made.CopyFrom(solver)
    return made


def _samples(wanted: Schedule) -> range:
    return range(0, wanted.max_iter, max(1, wanted.max_iter // _SAMPLES))


def _peak(wanted: Schedule) -> tuple[float, int]:
    """The highest rate, and the first iteration that has it."""
    tried = {*_samples(wanted), wanted.warmup, *(i for i, _ in wanted.points if 0 <= i < wanted.max_iter)}
    rate, late = max((wanted.rate(i), -i) for i in tried)
    return rate, -late


def _measured(name: str, solver: object, samples: list[tuple[int, float]]) -> Stock:
    made, peak = schedule_of(solver), max(rate for _, rate in samples)
    apart = [(abs(made.rate(i) - rate) / peak, i) for i, rate in samples]
    most, worst = max(apart)
    return Stock(name, solver, sum(d for d, _ in apart) / len(apart), most, worst)
