"""What Caffe would refuse in a solver file, or silently ignore.

Source: BVLC's solver.cpp, sgd_solvers.hpp, solver_factory.hpp and upgrade_proto.cpp.
"""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from netbuilder.errors import ConfigError, PrototxtError, did_you_mean
from netbuilder.findings import Code, Finding, dashed, find
from netbuilder.prototxt.reader import not_upgraded
from netbuilder.prototxt.solver_file import SolverFile, parse_solver
from netbuilder.prototxt.text_read import parse as parse_text
from netbuilder.schema import NetParameter
from netbuilder.schema.dialects import DIALECTS
from netbuilder.solvers.policies import NEEDS, Schedule, schedule_of
from netbuilder.storage.files import is_outside, read_text

__all__ = ["CODES", "NEWER", "TYPES", "check", "check_file", "read_solver", "require"]

TYPES = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")
_TRAIN = ("net", "net_param", "train_net", "train_net_param")
# Fields that came after a Caffe, or after its forks had left it.
NEWER = {
    "weights": ("caffe-master", "caffe-cudnn"),
    "layer_wise_reduce": ("caffe-1.0", "caffe-master", "caffe-cudnn"),
}


# What to do about a finding that says nothing itself, by its field.
_FIXES = {
    "average_loss": "the default is 1",
    "base_lr": "0.01 is a usual start",
    "device_id": "give the number of a GPU",
    "display": "0 turns it off",
    "gamma": "it is the factor of the rate, 0.1 for instance",
    "iter_size": "the default is 1",
    "lr_policy": "shorten the warm-up, or raise max_iter",
    "max_iter": "it is the number of iterations; 0 only tests",
    "momentum": "0.9 is usual",
    "momentum2": "the default is 0.999",
    "net": 'name one file, as in net: "train_val.prototxt"',
    "power": "it is the exponent, 1 for a straight line of poly",
    "regularization_type": "leave it out: L2 is the default",
    "rms_decay": "the default is 0.99",
    "snapshot": "0 turns it off",
    "stepsize": "it is the number of iterations between two steps",
    "stepvalue": "each is the iteration of a step: sort them, below max_iter",
    "test_interval": "it is the number of iterations between two tests",
    "test_iter": "it is the number of passes of a test, once for each net to test",
    "test_state": "give one for each test_iter, or none",
    "type": "leave it out: SGD is the default",
    "weight_decay": "0.0005 is usual",
}


def _codes(severity: str, **titles: str) -> dict[str, Code]:
    return {name: Code(severity, title) for name, title in dashed(titles)}


# Codes are stable; docs/checking.md has the same list, and a test compares them.
CODES: dict[str, Code] = {
    **_codes(
        "error",
        solver_field="Caffe cannot read a field: unknown, given twice, or with another type of value.",
        net="The solver must name exactly one net to train.",
        net_file="A net that the solver names does not exist.",
        net_empty="A net of the solver has no layers in its phase and state: Caffe aborts in its first pass.",
        net_format="A net inside a solver has an old format, which Caffe upgrades in files only.",
        test_iter="`test_iter` is not given once for each test net, or is below 0.",
        test_interval="`test_interval` is below 0, or 0 although there is a test net.",
        test_state="`test_state` is not given once for each test net.",
        max_iter="`max_iter` is not set, or below 0.",
        lr_policy="The learning rate policy is unknown or malformed.",
        warm_up="The warm-up takes all iterations.",
        base_lr="`base_lr` is not above 0: nothing would be learnt.",
        policy_field="A field that the learning rate policy needs is missing.",
        value="A value is out of the range that Caffe takes.",
        solver_type="`type` is unknown, or given as `solver_type` too.",
        momentum="`momentum` is out of range, or the solver type takes none.",
        newer_field="The dialect lacks the field.",
        label="A label has no score: Caffe reads outside its arrays.",
        no_data="All data of a net would come from Input layers, which nothing fills: they stay 0.",
    ),
    **_codes(
        "warning",
        stepvalue_order="The values of `stepvalue` do not rise: each takes effect late.",
        stepvalue_late="A `stepvalue` at or after `max_iter` has no effect.",
        no_tests="`test_interval` or `max_iter: 0` ask for tests, and no `test_iter` gives any.",
        no_snapshot="Nothing is saved: neither `snapshot` nor `snapshot_after_train` applies.",
        data_file="A file that `train` needs is not there: data, a mean, a list, or weights.",
        test_records="A test does not read each record once.",
        no_loss="The net to train has no loss: nothing is learnt, and the loss is 0 throughout.",
        snapshot_outside="Snapshots are written outside the current folder and that of the solver.",
        sorted_labels="The records to train on are sorted by label, and nothing shuffles them.",
    ),
    **_codes(
        "info",
        snapshot_folder="The folder of `snapshot_prefix` is not there; `netbuilder train` makes it.",
    ),
}
# What forks have besides.
_FORK_FIELDS = {
    "ssd": ("eval_type", "ap_version", "show_per_class_result", "plateau_winsize"),
    "nvcaffe": (
        "rampup_interval", "rampup_lr", "min_lr", "momentum_policy", "max_momentum", "momentum_power",
        "weight_decay_policy", "weight_decay_power", "larc", "larc_policy", "larc_eta", "global_grad_scale",
        "local_lr_auto", "local_gw_ratio",
        "eval_type", "ap_version", "show_per_class_result",
    ),
}  # fmt: skip
# Where a finding about a missing field points: the field that asks for it.
_RELATED = {
    "gamma": ("lr_policy",),
    "power": ("lr_policy",),
    "stepsize": ("lr_policy",),
    "stepvalue": ("lr_policy",),
    "net": ("net_param", "train_net", "train_net_param", "test_net"),
    "test_interval": ("test_iter", "max_iter"),
    "test_iter": ("test_net", "test_net_param", "test_interval"),
    "test_state": ("test_iter",),
    "type": ("solver_type",),
    "snapshot": ("snapshot_after_train",),
}


def read_solver(path: str | Path) -> Any:
    """The SolverParameter of a file.

    Raises FileError, and PrototxtError with line and column for what is not Caffe's schema.
    """
    read = parse_solver(read_text(path), str(path))
    require_fields(read)
    return read.solver


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


def check_file(read: SolverFile, *, dialect: str = "caffe-master") -> tuple[Finding, ...]:
    """The findings about a solver file, each at its line: those of `check`, and what its text shows.

    What it says of the data is in `netbuilder.training.preflight`.
    """
    found = [*_faults(read, dialect), *check(read.solver, dialect=dialect), *_files(read)]
    first = min((places[0] for places in read.places.values()), default=(1, 1))
    located = []
    for f in found:
        names = (f.field, *_RELATED.get(f.field, ()))
        line, column = next((read.places[n][0] for n in names if n in read.places), first)
        at = (f.line, f.column) if f.line else (line, column)
        fix = f.fix or _FIXES.get(f.field, "")
        located.append(replace(f, fix=fix, file=f.file or read.path, line=at[0], column=at[1]))
    return tuple(sorted(located, key=lambda f: (f.line, f.column)))


def _found(code: str, field: str, text: str, fix: str = "", line: int = 0, column: int = 0) -> Finding:
    return find(CODES, code, text, fix, field=field, line=line, column=column)


def _faults(read: SolverFile, dialect: str) -> Iterator[Finding]:
    """What Caffe's reader refuses. The fields of a fork are known to it."""
    own = _FORK_FIELDS.get(dialect, ())
    for error in read.faults:
        places = {place: name for name, many in read.places.items() for place in many}
        name = places.get((error.line, error.column), "")
        if name not in own:
            forks = [fork for fork, names in _FORK_FIELDS.items() if name in names]
            hint = f"a field of {' and '.join(forks)}: leave it out for BVLC's Caffe" if forks else error.hint
            hint = hint or "leave it out"
            yield _found("solver-field", name, error.text, hint, error.line, error.column)


def require_fields(read: SolverFile) -> None:
    """Raise PrototxtError for the first field that Caffe's reader refuses, with its true cause."""
    for f in _faults(read, ""):
        raise PrototxtError(f.text, path=read.path, line=f.line, column=f.column, hint=f.fix)


def how_to_find(read: SolverFile, name: str) -> str:
    """Where a net of a solver was looked for, and where a file of its name is."""
    folder = Path(read.path).parent
    beside = folder / Path(name).name
    places = " and in ".join(dict.fromkeys(f"'{place}'" for place in (Path.cwd(), Path.cwd() / folder)))
    fix = f"looked for it in {places}; Caffe looks in the current directory"
    if beside.is_file():
        fix += f"; '{beside}' has that name: `netbuilder train --set net={shlex.quote(str(beside))}` takes it"
    return fix


def _files(read: SolverFile) -> Iterator[Finding]:
    """What the files that it names show, and the nets that it holds."""
    for net in dict.fromkeys(n._replace(level=None, stages=(), number=0, passes=0) for n in read.nets()):
        if net.inline:
            try:
                parsed = parse_text(net.read_text(), NetParameter, lenient=True)
            except PrototxtError:
                continue  # whoever reads the net reports it
            error = not_upgraded(parsed, net.inline, read.path)
            if (error and net.phase == "TRAIN") or (error and net.field != "net_param"):
                yield _found("net-format", net.field, error.text, error.hint, error.line, error.column)
        elif not net.path.is_file() and (net.phase == "TRAIN" or net.field != "net"):
            names = getattr(read.solver, net.field)
            name = names if isinstance(names, str) else next(n for n in names if read.file(n) == net.path)
            yield _found(
                "net-file",
                net.field,
                f"the solver names a net that does not exist: '{name}'",
                how_to_find(read, name),
            )
    solver = read.solver
    folder = Path(solver.snapshot_prefix).parent
    if (solver.snapshot > 0 or solver.snapshot_after_train) and not folder.is_dir():
        yield _found(
            "snapshot-folder",
            "snapshot_prefix",
            f"the folder '{folder}' of the snapshots is not there: `caffe train` aborts where it writes one",
            "make it, or train by `netbuilder train`, which does",
        )
    if solver.snapshot_prefix and is_outside(solver.snapshot_prefix, read.path):
        yield _found(
            "snapshot-outside",
            "snapshot_prefix",
            f"the snapshots '{solver.snapshot_prefix}' lie outside the folder of the solver",
            "give a name in this folder, or `netbuilder train` needs --trust",
        )


def _nets(solver: Any) -> Iterator[Finding]:
    given = [name for name in _TRAIN if solver.HasField(name)]
    if len(given) != 1:
        what = " and ".join(given) or "none of them"
        yield _found(
            "net",
            "net",
            f"exactly one of {', '.join(_TRAIN)} gives the net to train, got {what}",
        )
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
            yield _found(
                "test-iter",
                "test_iter",
                f"test_iter must be at least 0, got {n}",
            )
    if tests and solver.test_interval <= 0:
        yield _found(
            "test-interval",
            "test_interval",
            "test_interval must be above 0 where there is a test net",
            "it is the number of iterations between two tests",
        )
    elif solver.test_interval < 0:
        yield _found(
            "test-interval",
            "test_interval",
            f"test_interval must be at least 0, got {solver.test_interval}",
        )
    elif not tests and solver.test_interval:
        yield _found(
            "no-tests",
            "test_interval",
            "test_interval is set, and nothing is tested: there is no test_iter",
            "give test_iter, the number of passes of a test",
        )
    if solver.test_state and len(solver.test_state) != tests:
        yield _found(
            "test-state",
            "test_state",
            f"there are {len(solver.test_state)} test_state for {tests} test nets",
        )


def _length(solver: Any) -> Iterator[Finding]:
    """How long it trains. Caffe takes any number, and trains nothing if it is not above 0."""
    if not solver.HasField("max_iter"):
        yield _found(
            "max-iter",
            "max_iter",
            "max_iter is not set: Caffe trains no iteration",
            _FIXES["max_iter"],
        )
    elif solver.max_iter < 0:
        yield _found(
            "max-iter",
            "max_iter",
            f"max_iter must be at least 0, got {solver.max_iter}",
            _FIXES["max_iter"],
        )
    elif solver.max_iter == 0 and not solver.test_iter and not solver.test_interval:
        yield _found(
            "no-tests",
            "max_iter",
            "max_iter: 0 trains nothing, and nothing is tested: there is no test_iter",
            "give test_iter and test_interval",
        )


def _rates(solver: Any) -> Iterator[Finding]:
    yield from _length(solver)
    if solver.HasField("max_iter") and solver.max_iter == 0:
        return  # Caffe never asks for a rate
    try:
        schedule: Schedule | None = schedule_of(solver)
    except ConfigError as error:
        yield _found("lr-policy", "lr_policy", error.text, error.hint)
        schedule = None
    if schedule is None:
        return
    if schedule.policy != "linear" and not solver.base_lr > 0:
        yield _found(
            "base-lr",
            "base_lr",
            f"base_lr must be above 0, got {solver.base_lr:g}: nothing would be learnt",
        )
    for name in NEEDS.get(schedule.policy, ()):
        missing = not solver.stepvalue if name == "stepvalue" else not solver.HasField(name)
        if missing:
            yield _found(
                "policy-field",
                name,
                f"lr_policy '{schedule.policy}' needs {name}, which is not set",
            )
    if "gamma" in NEEDS.get(schedule.policy, ()) and solver.HasField("gamma") and solver.gamma < 0:
        yield _found(
            "value",
            "gamma",
            f"gamma must be at least 0, got {solver.gamma:g}",
        )
    if "stepsize" in NEEDS.get(schedule.policy, ()) and solver.HasField("stepsize") and solver.stepsize <= 0:
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
            yield _found(
                "stepvalue-late",
                "stepvalue",
                "a stepvalue at or after max_iter has no effect",
            )


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
            "momentum",
            "momentum",
            f"momentum must be at least 0 and below 1, got {solver.momentum:g}",
        )
    if name == "RMSProp" and not 0 <= solver.rms_decay < 1:
        yield _found(
            "value",
            "rms_decay",
            f"rms_decay must be at least 0 and below 1, got {solver.rms_decay:g}",
        )
    if name == "Adam" and not 0 <= solver.momentum2 < 1:
        yield _found(
            "value",
            "momentum2",
            f"momentum2 must be at least 0 and below 1, got {solver.momentum2:g}",
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
    for name in ("snapshot", "display", "device_id"):
        if getattr(solver, name) < 0:
            yield _found("value", name, f"{name} must be at least 0, got {getattr(solver, name)}")
    saved = solver.snapshot_after_train or 0 < solver.snapshot <= solver.max_iter
    if solver.max_iter > 0 and not saved:
        yield _found(
            "no-snapshot",
            "snapshot",
            "nothing is saved: snapshot_after_train is false, and snapshot comes to none",
            "give snapshot, the number of iterations between two",
        )
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
