"""Rules 1 and 2: CaffeOnSpark's rules for a solver.

Source: CaffeOnSpark, Config.scala (the driver), CaffeNet.cpp and CaffeProcessor.scala (the executors).
`netbuilder.solvers.check` reports what Caffe itself refuses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from netbuilder import solvers
from netbuilder.caffeonspark.codes import found
from netbuilder.caffeonspark.job import Job
from netbuilder.caffeonspark.sources import DIALECT, SolverFile, solver_line
from netbuilder.errors import ConfigError
from netbuilder.findings import Finding
from netbuilder.solvers.checks import NEWER

__all__ = ["check_solver"]

_CPU = 0
_OTHER_NETS = ("train_net", "test_net", "net_param", "train_net_param", "test_net_param")
# Fields that CaffeOnSpark's own rules cover instead of `solvers.check`.
_OWN = ("net", "test_iter", "test_interval", "test_state", "max_iter", "lr_policy")


def check_solver(solver: SolverFile, job: Job) -> Iterator[Finding]:
    """Report what CaffeOnSpark or Caffe refuses in a parsed solver."""
    for code, key, text, fix in (
        *_nets(solver.message),
        *_required(solver.message),
        *_schedule(solver.message),
        *_values(solver.message),
        *_device(solver.message, job),
    ):
        keys = ("test_net", "train_net") if key == "net" else ()
        yield found(
            code, text, fix, file=str(solver.path), line=solver_line(solver.text, key, *keys)
        )  # fmt: skip


_Results = Iterator[tuple[str, str, str, str]]  # code, field, text, fix


def _nets(solver: Any) -> _Results:
    for name in _OTHER_NETS:
        if any(f.name == name for f, _ in solver.ListFields()):
            yield (
                "train-net", name, f"{name} is given, but CaffeOnSpark reads only net",
                "write both phases into one file, and name it in net",
            )  # fmt: skip
    if not solver.net:
        yield (
            "no-net", "net", "net is not set: the driver looks for a file with an empty name",
            "name in net the file of the net, with both phases",
        )  # fmt: skip


def _required(solver: Any) -> _Results:
    count = len(solver.test_iter)
    if count != 1:
        yield (
            "test-iter", "test_iter", f"test_iter must be given exactly once, got {count}",
            "write test_iter: N; 0 trains without tests",
        )  # fmt: skip
    if any(n < 0 for n in solver.test_iter) or solver.test_interval < 0:
        yield (
            "solver-value", "test_interval",
            f"test_iter and test_interval must be at least 0, got {', '.join(map(str, solver.test_iter))} "
            f"and {solver.test_interval}", "",
        )  # fmt: skip
    prefix = solver.snapshot_prefix
    if not prefix or "/" in prefix:
        what = f"snapshot_prefix '{prefix}' has a folder" if prefix else "snapshot_prefix is not set"
        yield (
            "snapshot-prefix", "snapshot_prefix",
            f"{what}: executors write snapshots to their working folder and copy them beside -model",
            f'write a bare name, snapshot_prefix: "{prefix.rpartition("/")[2] or "net"}"',
        )  # fmt: skip
    if solver.max_iter <= 0:
        yield "max-iter", "max_iter", f"max_iter must be above 0, got {solver.max_iter}", ""
    elif not 0 < solver.snapshot <= solver.max_iter:
        yield (
            "no-snapshot", "snapshot",
            f"snapshot is {solver.snapshot} at max_iter {solver.max_iter}: nothing is written before the "
            "end, and a job that loses an executor cannot resume",
            "write snapshot: N, the number of iterations between two snapshots",
        )  # fmt: skip


def _schedule(solver: Any) -> _Results:
    try:
        schedule = solvers.schedule_of(solver)
    except ConfigError as error:
        yield "lr-policy", "lr_policy", error.text, error.hint
        return
    if not schedule.stock:
        yield (
            "lr-policy", "lr_policy",
            f"stock Caffe has no lr_policy '{solver.lr_policy}': executors abort at the first update",
            "netbuilder solver RECIPE --stock lists the closest stock policies and writes one",
        )  # fmt: skip


def _values(solver: Any) -> _Results:
    for finding in solvers.check(solver, dialect=DIALECT):
        if finding.field in NEWER:
            fix = "remove it"
            if finding.field == "weights":
                fix += "; to start from a model, pass -weights to the job"
            yield (
                "solver-field", finding.field,
                f"CaffeOnSpark's SolverParameter lacks the field '{finding.field}': it refuses the whole "
                "file",
                fix,
            )  # fmt: skip
        elif finding.field not in _OWN:
            code = "solver-value" if finding.severity == "error" else "solver-odd"
            yield code, finding.field, finding.text, finding.fix
    if solver.iter_size > 1:
        yield (
            "iter-size", "iter_size",
            f"iter_size {solver.iter_size}: CaffeOnSpark supplies one batch per iteration, and all "
            f"{solver.iter_size} passes use the same images",
            "remove it, and use more devices or executors for a larger batch",
        )  # fmt: skip


def _device(solver: Any, job: Job) -> _Results:
    if solver.solver_mode != _CPU:
        return
    cluster = job.cluster
    if cluster.devices > 1:
        yield (
            "cpu-devices", "solver_mode",
            f"solver_mode CPU allows 1 device per executor, got {cluster.devices}",
            "use one device and more executors, or solver_mode: GPU",
        )  # fmt: skip
    if cluster.executors > 1 and cluster.connection != "ethernet":
        yield (
            "cpu-connection", "solver_mode",
            f"solver_mode CPU connects {cluster.executors} executors over ethernet only, got "
            f"{cluster.connection or 'no -connection, which means infiniband'}",
            "use -connection ethernet",
        )  # fmt: skip
