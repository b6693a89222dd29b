"""What Caffe would refuse in a solver file, or silently ignore.

Source: BVLC's solver.cpp, sgd_solvers.hpp, solver_factory.hpp and upgrade_proto.cpp.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from netbuilder.errors import ConfigError, PrototxtError, did_you_mean
from netbuilder.findings import Code, Finding, dashed, find
from netbuilder.schema import SolverParameter
from netbuilder.schema.dialects import DIALECTS
from netbuilder.solvers.policies import NEEDS, Schedule, schedule_of
from netbuilder.storage.files import read_text

__all__ = ["CODES", "NEWER", "TYPES", "check", "read_solver", "require"]

TYPES = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")
_TRAIN = ("net", "net_param", "train_net", "train_net_param")
# Fields that came after a Caffe, or after its forks had left it.
NEWER = {
    "weights": ("caffe-master", "caffe-cudnn"),
    "layer_wise_reduce": ("caffe-1.0", "caffe-master", "caffe-cudnn"),
}


def _codes(severity: str, **titles: str) -> dict[str, Code]:
    return {name: Code(severity, title) for name, title in dashed(titles)}


# Codes are stable; docs/checking.md has the same list, and a test compares them.
CODES: dict[str, Code] = {
    **_codes(
        "error",
        net="The solver must name exactly one net to train.",
        test_iter="`test_iter` is not given once for each test net, or is below 0.",
        test_interval="`test_interval` is below 0, or 0 although there is a test net.",
        test_state="`test_state` is not given once for each test net.",
        max_iter="`max_iter` is not above 0.",
        lr_policy="The learning rate policy is unknown or malformed.",
        warm_up="The warm-up takes all iterations.",
        base_lr="`base_lr` is not above 0: nothing would be learnt.",
        policy_field="A field that the learning rate policy needs is missing.",
        value="A value is out of the range that Caffe takes.",
        solver_type="`type` is unknown, or given as `solver_type` too.",
        momentum="`momentum` is out of range, or the solver type takes none.",
        newer_field="The dialect lacks the field.",
    ),
    **_codes(
        "warning",
        stepvalue_order="The values of `stepvalue` do not rise: each takes effect late.",
        stepvalue_late="A `stepvalue` at or after `max_iter` has no effect.",
    ),
}


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


def require(solver: object, *, where: str = "", dialect: str = "caffe-master") -> tuple[Finding, ...]:
    """The warnings about a solver; raises ConfigError with its first error."""
    findings = check(solver, dialect=dialect)
    for f in findings:
        if f.severity == "error":
            raise ConfigError(f.text, key=f.field, path=where, hint=f.fix)
    return findings


def check(solver: object, *, dialect: str = "caffe-master") -> tuple[Finding, ...]:
    """The findings about a SolverParameter; the files it names need not exist."""
    return (*_nets(solver), *_rates(solver), *_method(solver), *_rest(solver, dialect))


def _found(code: str, field: str, text: str, fix: str = "") -> Finding:
    return find(CODES, code, text, fix, field=field)


def _nets(solver: Any) -> Iterator[Finding]:
    given = [name for name in _TRAIN if solver.HasField(name)]
    if len(given) != 1:
        what = " and ".join(given) or "none of them"
        yield _found("net", "net", f"exactly one of {', '.join(_TRAIN)} gives the net to train, got {what}")
        return
    own = len(solver.test_net) + len(solver.test_net_param)
    shared = given[0] in ("net", "net_param")
    tests = len(solver.test_iter)
    if tests < own or (tests > own and not shared):
        yield _found(
            "test-iter",
            "test_iter",
            f"test_iter must be given once for each test net: {own} nets, {tests} test_iter",
        )
        return
    for n in solver.test_iter:
        if n < 0:
            yield _found("test-iter", "test_iter", f"test_iter must be at least 0, got {n}")
    if tests and solver.test_interval <= 0:
        yield _found(
            "test-interval",
            "test_interval",
            "test_interval must be above 0 where there is a test net",
            "it is the number of iterations between two tests",
        )
    if solver.test_interval < 0:
        yield _found(
            "test-interval", "test_interval", f"test_interval must be at least 0, got {solver.test_interval}"
        )
    if solver.test_state and len(solver.test_state) != tests:
        yield _found(
            "test-state", "test_state", f"there are {len(solver.test_state)} test_state for {tests} test nets"
        )


def _rates(solver: Any) -> Iterator[Finding]:
    if solver.max_iter <= 0:
        yield _found("max-iter", "max_iter", f"max_iter must be above 0, got {solver.max_iter}")
    try:
        schedule: Schedule | None = schedule_of(solver)
    except ConfigError as error:
        yield _found("lr-policy", "lr_policy", error.text, error.hint)
        schedule = None
    if schedule is None:
        return
    if schedule.policy != "linear" and not solver.base_lr > 0:
        yield _found(
            "base-lr", "base_lr", f"base_lr must be above 0, got {solver.base_lr:g}: nothing would be learnt"
        )
    for name in NEEDS.get(schedule.policy, ()):
        missing = not solver.stepvalue if name == "stepvalue" else not solver.HasField(name)
        if missing:
            yield _found(
                "policy-field", name, f"lr_policy '{schedule.policy}' needs {name}, which is not set"
            )
    if "gamma" in NEEDS.get(schedule.policy, ()) and solver.HasField("gamma") and solver.gamma < 0:
        yield _found("value", "gamma", f"gamma must be at least 0, got {solver.gamma:g}")
    if schedule.policy == "step" and solver.HasField("stepsize") and solver.stepsize <= 0:
        yield _found("value", "stepsize", f"stepsize must be above 0, got {solver.stepsize}")
    if schedule.warmup >= solver.max_iter > 0:
        yield _found(
            "warm-up",
            "lr_policy",
            f"the warm-up of {schedule.warmup} iterations leaves none of {solver.max_iter}",
        )
    if schedule.policy == "multistep":
        steps = list(solver.stepvalue)
        if any(b <= a for a, b in itertools.pairwise(steps)):
            yield _found(
                "stepvalue-order",
                "stepvalue",
                "stepvalues that do not rise take effect late: one at each update",
            )
        if any(v >= solver.max_iter for v in steps):
            yield _found("stepvalue-late", "stepvalue", "a stepvalue at or after max_iter has no effect")


def _method(solver: Any) -> Iterator[Finding]:
    if solver.HasField("solver_type") and solver.HasField("type"):
        yield _found(
            "solver-type",
            "type",
            "type and solver_type are both given",
            "leave the older one, solver_type, out",
        )
    name = solver_type(solver)
    if name not in TYPES:
        yield _found(
            "solver-type",
            "type",
            f"unknown type '{name}': Caffe has {', '.join(TYPES)}",
            did_you_mean(name, TYPES),
        )
    if name in ("AdaGrad", "RMSProp") and solver.momentum:
        yield _found(
            "momentum", "momentum", f"{name} takes no momentum, got {solver.momentum:g}", "leave it out"
        )
    elif not 0 <= solver.momentum < 1:
        yield _found(
            "momentum", "momentum", f"momentum must be at least 0 and below 1, got {solver.momentum:g}"
        )
    if name == "RMSProp" and not 0 <= solver.rms_decay < 1:
        yield _found(
            "value", "rms_decay", f"rms_decay must be at least 0 and below 1, got {solver.rms_decay:g}"
        )
    if name == "Adam" and not 0 <= solver.momentum2 < 1:
        yield _found(
            "value", "momentum2", f"momentum2 must be at least 0 and below 1, got {solver.momentum2:g}"
        )
    if solver.weight_decay < 0:
        yield _found("value", "weight_decay", f"weight_decay must be at least 0, got {solver.weight_decay:g}")
    if solver.regularization_type not in ("L1", "L2"):
        yield _found(
            "value",
            "regularization_type",
            f"regularization_type must be L1 or L2, got '{solver.regularization_type}'",
        )
    if solver.clip_gradients == 0:
        yield _found(
            "value",
            "clip_gradients",
            "clip_gradients 0 makes every gradient 0",
            "a negative number turns it off",
        )


def _rest(solver: Any, dialect: str) -> Iterator[Finding]:
    for name in ("average_loss", "iter_size"):
        if getattr(solver, name) < 1:
            yield _found("value", name, f"{name} must be at least 1, got {getattr(solver, name)}")
    for name in ("snapshot", "display"):
        if getattr(solver, name) < 0:
            yield _found("value", name, f"{name} must be at least 0, got {getattr(solver, name)}")
    for name, homes in NEWER.items():
        there = len(solver.weights) if name == "weights" else solver.HasField(name)
        if there and dialect in DIALECTS and dialect not in (*homes, "any"):
            yield _found(
                "newer-field",
                name,
                f"dialect {dialect} has no field {name} in SolverParameter",
                "leave it out",
            )


def solver_type(solver: Any) -> str:
    """The `type` of a solver, also where it is given as the old `solver_type`."""
    if solver.HasField("solver_type") and not solver.HasField("type"):
        return TYPES[solver.solver_type]
    return str(solver.type)
