"""What Caffe would refuse in a solver file, or silently ignore.

Source: BVLC's solver.cpp, sgd_solvers.hpp, solver_factory.hpp and upgrade_proto.cpp.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, NamedTuple

from netbuilder.errors import ConfigError, PrototxtError, did_you_mean
from netbuilder.schema import SolverParameter
from netbuilder.schema.dialects import DIALECTS
from netbuilder.solvers.policies import NEEDS, Schedule, schedule_of
from netbuilder.storage.files import read_text

__all__ = ["NEWER", "TYPES", "Problem", "check", "read_solver", "require"]

TYPES = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")
_TRAIN = ("net", "net_param", "train_net", "train_net_param")
# Fields that came after a Caffe, or after its forks had left it.
NEWER = {
    "weights": ("caffe-master", "caffe-cudnn"),
    "layer_wise_reduce": ("caffe-1.0", "caffe-master", "caffe-cudnn"),
}


class Problem(NamedTuple):
    """A fault of a solver: an "error" (Caffe aborts, or nothing is learnt) or a "warning"."""

    severity: str
    key: str
    text: str
    hint: str = ""


def read_solver(path: str | Path) -> Any:
    """The SolverParameter of a file, with `type` set where the old `solver_type` is.

    Raises FileError, and PrototxtError with line and column for what is not Caffe's schema.
    """
    from netbuilder.prototxt import text as text_format

    text = read_text(path)
    try:
        solver = text_format.parse(text, SolverParameter).message
    except PrototxtError as error:
        where = ":".join([str(path), *(str(n) for n in (error.line, error.column) if n)])
        error.where, error.path = where, str(path)
        raise
    return solver


def require(solver: Any, *, where: str = "", dialect: str = "caffe-master") -> tuple[Problem, ...]:
    """The warnings about a solver; raises ConfigError with its first error."""
    problems = check(solver, dialect=dialect)
    for p in problems:
        if p.severity == "error":
            raise ConfigError(p.text, key=p.key, path=where, hint=p.hint)
    return problems


def check(solver: Any, *, dialect: str = "caffe-master") -> tuple[Problem, ...]:
    """All faults of a SolverParameter, as text; the files it names need not exist."""
    found: list[Problem] = []
    _nets(solver, found)
    _rates(solver, found)
    _method(solver, found)
    _rest(solver, found, dialect)
    return tuple(found)


def _error(found: list[Problem], key: str, text: str, hint: str = "") -> None:
    found.append(Problem("error", key, text, hint))


def _nets(solver: Any, found: list[Problem]) -> None:
    given = [name for name in _TRAIN if solver.HasField(name)]
    if len(given) != 1:
        what = " and ".join(given) or "none of them"
        _error(found, "net", f"exactly one of {', '.join(_TRAIN)} gives the net to train, got {what}")
        return
    own = len(solver.test_net) + len(solver.test_net_param)
    shared = given[0] in ("net", "net_param")
    tests = len(solver.test_iter)
    if tests < own or (tests > own and not shared):
        _error(
            found,
            "test_iter",
            f"test_iter must be given once for each test net: {own} nets, {tests} test_iter",
        )
        return
    for n in solver.test_iter:
        if n < 0:
            _error(found, "test_iter", f"test_iter must be at least 0, got {n}")
    if tests and solver.test_interval <= 0:
        _error(
            found,
            "test_interval",
            "test_interval must be above 0 where there is a test net",
            "it is the number of iterations between two tests",
        )
    if solver.test_interval < 0:
        _error(found, "test_interval", f"test_interval must be at least 0, got {solver.test_interval}")
    if solver.test_state and len(solver.test_state) != tests:
        _error(found, "test_state", f"there are {len(solver.test_state)} test_state for {tests} test nets")


def _rates(solver: Any, found: list[Problem]) -> None:
    if solver.max_iter <= 0:
        _error(found, "max_iter", f"max_iter must be above 0, got {solver.max_iter}")
    try:
        schedule: Schedule | None = schedule_of(solver)
    except ConfigError as error:
        _error(found, "lr_policy", error.text, error.hint)
        schedule = None
    if schedule is None:
        return
    if schedule.policy != "linear" and not solver.base_lr > 0:
        _error(found, "base_lr", f"base_lr must be above 0, got {solver.base_lr:g}: nothing would be learnt")
    for name in NEEDS.get(schedule.policy, ()):
        missing = not solver.stepvalue if name == "stepvalue" else not solver.HasField(name)
        if missing:
            _error(found, name, f"lr_policy '{schedule.policy}' needs {name}, which is not set")
    if "gamma" in NEEDS.get(schedule.policy, ()) and solver.HasField("gamma") and solver.gamma < 0:
        _error(found, "gamma", f"gamma must be at least 0, got {solver.gamma:g}")
    if schedule.policy == "step" and solver.HasField("stepsize") and solver.stepsize <= 0:
        _error(found, "stepsize", f"stepsize must be above 0, got {solver.stepsize}")
    if schedule.warmup >= solver.max_iter > 0:
        _error(
            found,
            "lr_policy",
            f"the warm-up of {schedule.warmup} iterations leaves none of {solver.max_iter}",
        )
    if schedule.policy == "multistep":
        steps = list(solver.stepvalue)
        if any(b <= a for a, b in itertools.pairwise(steps)):
            found.append(
                Problem(
                    "warning", "stepvalue", "stepvalues that do not rise take effect late: one at each update"
                )
            )
        if any(v >= solver.max_iter for v in steps):
            found.append(Problem("warning", "stepvalue", "a stepvalue at or after max_iter has no effect"))


def _method(solver: Any, found: list[Problem]) -> None:
    if solver.HasField("solver_type") and solver.HasField("type"):
        _error(found, "type", "type and solver_type are both given", "leave the older one, solver_type, out")
    name = solver_type(solver)
    if name not in TYPES:
        _error(
            found, "type", f"unknown type '{name}': Caffe has {', '.join(TYPES)}", did_you_mean(name, TYPES)
        )
    if name in ("AdaGrad", "RMSProp") and solver.momentum:
        _error(found, "momentum", f"{name} takes no momentum, got {solver.momentum:g}", "leave it out")
    elif not 0 <= solver.momentum < 1:
        _error(found, "momentum", f"momentum must be at least 0 and below 1, got {solver.momentum:g}")
    if name == "RMSProp" and not 0 <= solver.rms_decay < 1:
        _error(found, "rms_decay", f"rms_decay must be at least 0 and below 1, got {solver.rms_decay:g}")
    if name == "Adam" and not 0 <= solver.momentum2 < 1:
        _error(found, "momentum2", f"momentum2 must be at least 0 and below 1, got {solver.momentum2:g}")
    if solver.weight_decay < 0:
        _error(found, "weight_decay", f"weight_decay must be at least 0, got {solver.weight_decay:g}")
    if solver.regularization_type not in ("L1", "L2"):
        _error(
            found,
            "regularization_type",
            f"regularization_type must be L1 or L2, got '{solver.regularization_type}'",
        )
    if solver.clip_gradients == 0:
        _error(
            found,
            "clip_gradients",
            "clip_gradients 0 makes every gradient 0",
            "a negative number turns it off",
        )


def _rest(solver: Any, found: list[Problem], dialect: str) -> None:
    for name in ("average_loss", "iter_size"):
        if getattr(solver, name) < 1:
            _error(found, name, f"{name} must be at least 1, got {getattr(solver, name)}")
    for name in ("snapshot", "display"):
        if getattr(solver, name) < 0:
            _error(found, name, f"{name} must be at least 0, got {getattr(solver, name)}")
    for name, homes in NEWER.items():
        there = len(solver.weights) if name == "weights" else solver.HasField(name)
        if there and dialect in DIALECTS and dialect not in (*homes, "any"):
            _error(found, name, f"dialect {dialect} has no field {name} in SolverParameter", "leave it out")


def solver_type(solver: Any) -> str:
    """The `type` of a solver, also where it is given as the old `solver_type`."""
    if solver.HasField("solver_type") and not solver.HasField("type"):
        return TYPES[solver.solver_type]
    return str(solver.type)
