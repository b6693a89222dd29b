"""Rules 12 and 14: which training loop runs, how much data it uses, and the learning rate for it.

With tests, CaffeOnSpark cuts the training set into parts of `test_interval` batches per device of an
executor. In each round every executor trains on one part, and then CaffeOnSpark tests. It drops an incomplete
part and an incomplete round. Without tests, each executor repeats its own partitions and reads from each as
many images as the smallest one has. Source: CaffeOnSpark, CaffeOnSpark.scala, train and trainWithValidation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from netbuilder import solvers
from netbuilder.caffeonspark.codes import found
from netbuilder.caffeonspark.job import Cluster, Job
from netbuilder.caffeonspark.layer_rules import PREFIX, batch_of, data_layers
from netbuilder.caffeonspark.sources import NetFile, SolverFile, solver_line
from netbuilder.errors import ConfigError, counted
from netbuilder.findings import Finding
from netbuilder.solvers import spark_resume

__all__ = ["Numbers", "arithmetic", "check_numbers", "loop_of", "numbers"]

_ITERATION = re.compile(r"_iter_(\d+)\.solverstate")
_NEAR = 1e-4  # relative difference below which rates are equal: a solver stores float32


def loop_of(solver: Any, job: Job) -> str:
    """Which loop CaffeOnSpark runs: "interleaved" with tests, "plain", or "none" if it does not train."""
    if not job.run.train:
        return "none"
    tests = solver.test_interval != 0 and len(solver.test_iter) > 0 and solver.test_iter[0] != 0
    return "interleaved" if tests else "plain"


@dataclass(frozen=True)
class Numbers:
    """The numbers of images, batches and iterations that decide how the data is distributed."""

    loop: str
    batch: int
    test_batch: int
    test_interval: int
    test_iter: int
    max_iter: int
    lmdb: bool

    def global_batch(self, job: Job) -> int:
        """Images of one iteration on all devices."""
        return self.batch * job.cluster.total_devices

    def part(self, job: Job) -> int:
        """Images on which one executor trains between two tests."""
        return self.test_interval * self.batch * job.cluster.devices


def numbers(solver: Any, net: NetFile, job: Job) -> Numbers:
    """The numbers of a solver and a net; an unknown batch is 0."""
    train = data_layers(net).get("TRAIN")
    return Numbers(
        loop_of(solver, job), batch_of(net, "TRAIN"), batch_of(net, "TEST"), solver.test_interval,
        solver.test_iter[0] if solver.test_iter else 0, solver.max_iter,
        train is not None and net.message.layer[train].source_class == f"{PREFIX}LMDB",
    )  # fmt: skip


def _machines(cluster: Cluster) -> str:
    """The factors of the global batch, as text: `1 device * 16 executors`."""
    return f"{counted(cluster.devices, 'device')} * {counted(cluster.executors, 'executor')}"


# -- the table -----------------------------------------------------------------------------------------------


def arithmetic(n: Numbers, job: Job) -> list[tuple[str, str, str]]:
    """Rows of (what, how, value). All data is counted in images."""
    if n.loop == "none" or not n.batch:
        return _test_rows(n, job) if n.test_batch else []
    cluster = job.cluster
    whole = n.global_batch(job)
    tests = f"test_interval {n.test_interval} and test_iter {n.test_iter}"
    how = "both above 0" if n.loop == "interleaved" else "one of them 0"
    rows = [
        ("loop", f"{tests}, {how}", "training with tests" if n.loop == "interleaved" else "plain training"),
        (
            "global batch",
            f"{n.batch} a device * {_machines(cluster)}",
            str(whole),
        ),
    ]
    images = job.data.train_images
    if images:
        rows.append(("an epoch", f"{images} images / {whole}", f"{images / whole:.1f} iterations"))
        epochs = f"{n.max_iter * whole / images:.1f} epochs"
        rows.append(("max_iter", f"{n.max_iter} * {whole} / {images} images", epochs))
    rows += _interleaved(n, job) if n.loop == "interleaved" else _plain(n, job)
    return rows


def _interleaved(n: Numbers, job: Job) -> list[tuple[str, str, str]]:
    part, executors = n.part(job), job.cluster.executors
    devices = counted(job.cluster.devices, "device")
    each = f"a part for each of {counted(executors, 'executor')}"
    rows = [
        ("a part", f"test_interval {n.test_interval} * {n.batch} a device * {devices}", f"{part} images"),
        ("between two tests", each, f"{part * executors} images"),
    ]
    images = job.data.train_images
    if images:
        rounds = images // part // executors if part else 0
        used = rounds * executors * part
        rows.append(
            ("rounds in the data", f"{images} images / {part * executors}, rounded down", str(rounds))
        )
        rows.append(("training images used", f"{rounds} * {part * executors} of {images}", str(used)))
    return rows + _test_rows(n, job)


def _plain(n: Numbers, job: Job) -> list[tuple[str, str, str]]:
    executors = job.cluster.executors
    if not n.lmdb:
        return [("partitions", f"set by the data set; at least {executors}, of equal size", "unknown")]
    given = job.data.lmdb_partitions or executors
    used = given // executors * executors
    return [("partitions", f"{given} of the LMDB, a multiple of {executors} executors", str(used))]


def _test_rows(n: Numbers, job: Job) -> list[tuple[str, str, str]]:
    if n.loop != "interleaved":
        return []
    of = f", of {job.data.test_images}" if job.data.test_images else ""
    takes = f"{n.test_iter * n.test_batch} images"
    return [("a test", f"test_iter {n.test_iter} * {n.test_batch}{of}", takes)]


# -- the rules -----------------------------------------------------------------------------------------------


def check_numbers(n: Numbers, solver: SolverFile, job: Job) -> Iterator[Finding]:
    """Check that the data suffices for the loop, and that the learning rate is that of the recipe."""
    if n.loop == "interleaved":
        yield from _enough(n, solver, job)
        yield from _resumes(n, solver, job)
    if n.loop == "plain" and n.lmdb:
        given = job.data.lmdb_partitions or job.cluster.executors
        if given < job.cluster.executors:
            yield found(
                "partitions",
                f"plain training needs a partition for each of {job.cluster.executors} executors, got "
                f"-lmdb_partitions {given}",
                f"use -lmdb_partitions {job.cluster.executors} or a multiple of it", file=str(solver.path),
            )  # fmt: skip
    if n.loop != "none" and job.recipe is not None and n.batch:
        yield from _rate(n, solver, job)


def _enough(n: Numbers, solver: SolverFile, job: Job) -> Iterator[Finding]:
    cluster, file = job.cluster, str(solver.path)
    unknown = [name for name in ("train_images", "test_images") if getattr(job.data, name) is None]
    if unknown:
        yield found(
            "sizes-unknown", f"{' and '.join(unknown)} not given: cannot check that the data suffices",
            f"give {' and '.join(unknown)}", file=file,
        )  # fmt: skip
    train, takes = job.data.train_images, n.part(job) * cluster.executors
    if train is not None and takes > train:
        most = train // n.global_batch(job) if n.batch else 0
        yield found(
            "train-images",
            f"test_interval {n.test_interval} * batch {n.batch} * {_machines(cluster)} = {takes} images, but "
            f"the training set has {train}: the job ends without training",
            f"write test_interval: {most}, or less" if most else "use a smaller batch or fewer executors",
            file=file, line=solver_line(solver.text, "test_interval"),
        )  # fmt: skip
    test, takes = job.data.test_images, n.test_iter * n.test_batch
    if test is None or not n.test_batch:
        return
    line = solver_line(solver.text, "test_iter")
    if takes > test:
        yield found(
            "test-images",
            f"test_iter {n.test_iter} * batch {n.test_batch} = {takes} images, but the test set has {test}: "
            "the job ends without training",
            f"write test_iter: {test // n.test_batch}", file=file, line=line,
        )  # fmt: skip
    elif takes < test and test // n.test_batch > n.test_iter:
        yield found(
            "test-part", f"a test uses {takes} of {test} images; the next test continues after them",
            f"write test_iter: {test // n.test_batch} to use all of them", file=file, line=line,
        )  # fmt: skip
    elif takes < test:
        yield found(
            "test-part", f"a test uses {takes} of {test} images: the rest do not fill a batch and are "
            "dropped",
            f"use a test batch that divides {test}", file=file, line=line,
        )  # fmt: skip


def _resumes(n: Numbers, solver: SolverFile, job: Job) -> Iterator[Finding]:
    """Report a given snapshot, and later ones of the solver, from which a resume hangs."""
    if not n.batch:
        return
    devices, interval, file = job.cluster.devices, n.test_interval, str(solver.path)
    room = spark_resume.queued(n.batch, devices)
    named = _ITERATION.search(job.run.snapshot)
    if named and spark_resume.left_over(int(named[1]), interval, n.batch, devices) > room:
        left = spark_resume.left_over(int(named[1]), interval, n.batch, devices)
        yield found(
            "resume-hangs",
            f"a resume at iteration {named[1]} leaves over {left} training images before a test "
            f"({left // n.batch // devices} iterations since the last one), and an executor queues {room}: "
            "solver and driver wait for each other for ever",
            "write test_iter: 0 to resume without tests, or resume from another snapshot", file=file,
            line=solver_line(solver.text, "test_iter"),
        )  # fmt: skip
    snapshot, last = solver.message.snapshot, n.max_iter
    hangs = spark_resume.first_hanging(snapshot, interval, last, n.batch, devices)
    if hangs is not None:
        safe = spark_resume.safe_snapshot(snapshot, interval, last, n.batch * devices)
        yield found(
            "snapshot-hangs",
            f"snapshot {snapshot} with test_interval {interval}: a job that resumes from iteration {hangs} "
            f"waits for ever, because more than {room} training images are left over before a test",
            f"write snapshot: {safe}, from which each resume runs, or resume with test_iter: 0", file=file,
            line=solver_line(solver.text, "snapshot"),
        )  # fmt: skip


def _rate(n: Numbers, solver: SolverFile, job: Job) -> Iterator[Finding]:
    """Compare base_lr with what `netbuilder solver` writes: the recipe's rate, scaled with the batch."""
    assert job.recipe is not None
    try:
        planned = solvers.plan(
            job.recipe, net=solver.message.net, batch=n.batch, devices=job.cluster.total_devices
        )
    except ConfigError:
        return  # the batch is larger than the recipe's data set
    wanted, got = planned.solver.base_lr, solver.message.base_lr
    if abs(got - wanted) > _NEAR * wanted:
        whole = n.global_batch(job)
        yield found(
            "learning-rate",
            f"base_lr is {got:g}; the recipe's {job.recipe.base_lr:g} for a batch of {job.recipe.batch} "
            "scales to "
            f"{wanted:g} for {whole}. CaffeOnSpark does not scale the rate",
            f"write base_lr: {wanted:g}, or write the solver again: netbuilder solver RECIPE --gpus "
            f"{job.cluster.total_devices}",
            file=str(solver.path), line=solver_line(solver.text, "base_lr"),
        )  # fmt: skip
