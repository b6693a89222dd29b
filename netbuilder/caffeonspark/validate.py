"""`validate` applies all rules to a job, and returns findings, the loop that will run, and the arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from netbuilder.caffeonspark.arithmetic import arithmetic, check_numbers, loop_of, numbers
from netbuilder.caffeonspark.codes import found
from netbuilder.caffeonspark.data_rules import check_data
from netbuilder.caffeonspark.job import Job
from netbuilder.caffeonspark.layer_rules import check_data_layers
from netbuilder.caffeonspark.net_rules import check_net
from netbuilder.caffeonspark.solver_rules import check_solver
from netbuilder.caffeonspark.sources import NetFile, SolverFile, Sources, load
from netbuilder.findings import Finding

__all__ = ["Validated", "validate", "validate_sources"]

_ORDER = ("error", "warning", "info")


@dataclass(frozen=True)
class Validated:
    """A checked job: its files, the findings, the loop ("" if unknown), and the rows of arithmetic."""

    sources: Sources
    job: Job
    findings: tuple[Finding, ...]
    loop: str
    arithmetic: tuple[tuple[str, str, str], ...]

    @property
    def fits(self) -> bool:
        """Whether no finding is an error."""
        return not any(f.severity == "error" for f in self.findings)


def validate(path: str | Path, job: Job) -> Validated:
    """Check a solver, its net and a job; raises FileError if a file cannot be read."""
    return validate_sources(load(path), job)


def validate_sources(sources: Sources, job: Job) -> Validated:
    """Like `validate`, for files already read; those of a bundle are checked as the bundle writes them."""
    solver, net = sources.solver, sources.net
    findings = list(sources.findings)
    loop, rows = "", []
    if solver.message is not None:
        findings += check_solver(solver, job)
        loop = loop_of(solver.message, job)
        if net is not None and net.message is not None:
            findings += [*check_data_layers(net, solver.message), *check_data(net, job)]
            findings += check_net(net, findings)
            n = numbers(solver.message, net, job)
            findings += check_numbers(n, solver, job)
            rows = arithmetic(n, job)
    findings += _submitted(solver, net, job)
    return Validated(sources, job, tuple(sorted(findings, key=_order(solver))), loop, tuple(rows))


def _order(solver: SolverFile) -> Callable[[Finding], tuple[int, bool, int]]:
    """Order by severity, then the solver before the net, then by line."""
    return lambda f: (_ORDER.index(f.severity), f.file != str(solver.path), f.line)


# -- rule 13: the command ------------------------------------------------------------------------------------


def _submitted(solver: SolverFile, net: NetFile | None, job: Job) -> Iterator[Finding]:
    cluster, run = job.cluster, job.run
    if cluster.executors > 1 and not cluster.connection:
        yield found(
            "connection",
            f"{cluster.executors} executors need -connection; without it CaffeOnSpark uses InfiniBand, and a "
            "build that lacks it ends with \"Failed to create CaffeNet object\"",
            "use -connection ethernet",
        )  # fmt: skip
    elif cluster.executors > 1 and cluster.connection == "infiniband":
        yield found(
            "infiniband", "without InfiniBand in its build, CaffeOnSpark ends with \"Failed to create "
            "CaffeNet object\"",
            "use -connection ethernet, unless yours was built with it",
        )  # fmt: skip
    if run.model:
        yield from _model(run.model)
    if run.snapshot and not run.weights:
        yield found(
            "snapshot-weights", "-snapshot is given without -weights: the driver refuses to resume",
            "give both files of the snapshot: -snapshot X.solverstate -weights X.caffemodel",
        )  # fmt: skip
    if run.test and run.features:
        yield found(
            "features-and-test", "-test and -features are both given: CaffeOnSpark only writes features",
            "remove one, and run it as a second job",
        )  # fmt: skip
    yield from _features(net, job)
    yield from _names(solver, net)


def _model(model: str) -> Iterator[Finding]:
    if "/" not in model:
        yield found(
            "model-url", f"-model '{model}' lacks a folder; CaffeOnSpark copies the snapshots there",
            "give a URL with a folder, for example hdfs:///models/net.caffemodel",
        )  # fmt: skip
    elif model.startswith("file:"):
        yield found(
            "model-local",
            f"-model '{model}' is on whichever machine runs the executor of rank 0; if its folder is missing "
            "there, the job writes no model and still ends with exit code 0",
            "make the folder on every machine, or give a URL that all machines can reach, for example hdfs:///models/net.caffemodel",
        )  # fmt: skip


def _features(net: NetFile | None, job: Job) -> Iterator[Finding]:
    test = net.nets.get("TEST") if net is not None else None
    if test is None:
        return
    for name in (*job.run.features, *([job.run.label] if job.run.label else [])):
        if name not in test.blobs:
            yield found(
                "features-blob", f"the TEST net has no blob '{name}'",
                f"its outputs are {', '.join(blob.name for blob in test.outputs)}",
                file=str(net.path) if net else "",
            )  # fmt: skip


def _names(solver: SolverFile, net: NetFile | None) -> Iterator[Finding]:
    """Report file names that --files cannot ship: with a comma, or the same as another."""
    if net is None:
        return
    files = dict.fromkeys([solver.path, net.path, *(place for _, place in net.means)])
    by_name: dict[str, list[Path]] = {}
    for file in files:
        by_name.setdefault(PurePosixPath(file).name, []).append(file)
    for name, places in by_name.items():
        if "," in name:
            yield found(
                "file-name",
                f"spark-submit splits '{name}' at the comma into several files",
                "rename it",
            )
        if len(places) > 1:
            clash = " and ".join(f"'{place}'" for place in places)
            yield found(
                "name-clash", f"{clash} have the same name on the executors, '{name}'", "rename one of them"
            )
