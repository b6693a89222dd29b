"""Caffe as an engine: solver files trained, nets tested and timed, by pycaffe or by the `caffe` binary.

Caffe runs in a separate process, from the installation that `install` finds. With pycaffe, the worker runs
one iteration at a time, so it can set learning rates that stock Caffe lacks and stops at once. With the
binary, netbuilder follows its log. Both write snapshots under temporary names and rename complete ones.

A run that pycaffe resumes first reads the data and draws the random numbers of the iterations before the
snapshot; Caffe itself begins again with the first record. With a `random_seed`, on the CPU and on one thread,
the resumed run therefore ends with the same weights, bit for bit, as a run that was never stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING

from netbuilder.engines.caffe.install import VARIABLE, Install, find, how_to_get, missing
from netbuilder.engines.caffe.jobs import NET_JOBS, TRAIN_JOBS, JobFields
from netbuilder.engines.caffe.worker import Worker
from netbuilder.errors import ConfigError, EngineError
from netbuilder.training.plan import NetPlan, TrainingPlan
from netbuilder.training.snapshots import SNAPSHOTS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from netbuilder.engines.caffe.binary_worker import BinaryWorker

    Array = npt.NDArray[np.float32]

__all__ = ["CaffeEngine", "CaffeJob"]

_ONLY_TORCH = "leave --dtype out, or use --engine torch"
_NVIDIA = " (NVIDIA's Caffe divides the batch of the file instead)"


@dataclass(frozen=True, kw_only=True)
class CaffeJob:
    """A job for one kind of Caffe; `fields` are sent to its worker."""

    install: Install
    fields: JobFields
    threads: int
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def start(self, log: IO[bytes] | None = None) -> Worker | BinaryWorker:
        """Start the worker; `log` receives Caffe's own lines. Raises EngineError if it does not start."""
        if self.install.kind == "pycaffe":
            return Worker(self.install, self.fields, log, self.threads)
        from netbuilder.engines.caffe.binary_worker import BinaryWorker

        return BinaryWorker(self.install, self.fields, log, self.threads)


class CaffeEngine:
    """Real Caffe: the given installation, or the one that `install.find` finds."""

    snapshots = SNAPSHOTS

    def __init__(self, install: Install | None = None) -> None:
        self._install = install

    @property
    def install(self) -> Install:
        """The Caffe to use. Raises EngineError if there is none."""
        if self._install is None:
            self._install = find()
        if self._install is None:
            raise EngineError(missing(), hint=how_to_get())
        return self._install

    def describe(self) -> str:
        """Which Caffe is used. Raises EngineError if there is none."""
        return str(self.install)

    def train(self, plan: TrainingPlan) -> CaffeJob:
        """The job for a training. Raises ConfigError or EngineError for what this Caffe cannot do."""
        self._refuse_dtype(plan)
        if plan.compile:
            raise ConfigError(
                "Caffe compiles nothing", key="compile", hint="leave --compile out, or use --engine torch"
            )
        fields, warnings = TRAIN_JOBS[self.install.kind](plan, self.install)
        if plan.extras:
            warnings = [*warnings, f"Caffe leaves these extras out: {', '.join(plan.extras)}"]
        several = len(plan.devices) > 1 or "all" in plan.devices
        return CaffeJob(
            install=self.install,
            fields=fields,
            threads=plan.threads,
            warnings=tuple(warnings),
            notes=_batches(plan) if plan.nets and several else (),
        )

    def test(self, plan: NetPlan) -> CaffeJob:
        """The job for a test. Raises ConfigError or EngineError for what this Caffe cannot do."""
        return self._net_job("test", plan)

    def time(self, plan: NetPlan) -> CaffeJob:
        """The job for a timing. Raises ConfigError or EngineError for what this Caffe cannot do."""
        return self._net_job("time", plan)

    def compute(
        self, plan: NetPlan, inputs: Iterable[Mapping[str, Array]], blobs: Sequence[str]
    ) -> Iterator[dict[str, Array]]:
        """The values of these blobs after each pass, in pycaffe on the CPU."""
        from netbuilder.prototxt import dumps

        self._refuse_dtype(plan)
        if plan.devices:
            raise ConfigError("with Caffe, nets run on the CPU", key="gpu", hint="leave the device out")
        if self.install.kind != "pycaffe":
            raise EngineError(
                f"{self.install} is the caffe binary, and running nets on images needs pycaffe",
                hint=f"name a Python that can import caffe by {VARIABLE}",
            )
        fields = NET_JOBS["pycaffe"]("compute", replace(plan, inline=dumps(plan.net)), self.install)
        worker = Worker(self.install, {**fields, "blobs": list(blobs)}, None, plan.threads)
        with worker:
            for arrays in inputs:
                yield worker.compute(arrays)

    def _refuse_dtype(self, plan: NetPlan | TrainingPlan) -> None:
        if plan.dtype != "float32":
            raise ConfigError(f"Caffe computes in float32, not {plan.dtype}", key="dtype", hint=_ONLY_TORCH)

    def _net_job(self, do: str, plan: NetPlan) -> CaffeJob:
        self._refuse_dtype(plan)
        fields = NET_JOBS[self.install.kind](do, plan, self.install)
        return CaffeJob(install=self.install, fields=fields, threads=plan.threads)


def _batches(plan: TrainingPlan) -> tuple[str, ...]:
    """Notes on the global batch that results from several GPUs."""
    from netbuilder.measure.counts import batch_size

    batch, passes = batch_size(plan.nets[0][1]), plan.solver.iter_size
    each = f"batch {batch} on each GPU"
    if "all" in plan.devices:
        return (f"{each}: the global batch is {batch * passes} times their number{_NVIDIA}",)
    text = f"{each}, {len(plan.devices)} GPUs" + (f", iter_size {passes}" if passes > 1 else "")
    return (f"{text}: the global batch is {batch * passes * len(plan.devices)}{_NVIDIA}",)
