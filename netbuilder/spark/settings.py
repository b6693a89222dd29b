"""Spark's settings for a training, and the mistakes in them with which a job waits for ever or fails late.

A barrier stage needs all its slots at once, from executors that neither come nor go. Source: SPARK-24817,
SPARK-24819, SPARK-24942; pyspark.ml.torch.distributor.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from netbuilder.errors import ConfigError, counted
from netbuilder.spark.job import SUBMITTED, Job

__all__ = ["GPUS", "check_settings", "defaults", "tasks"]

GPUS = "spark.task.resource.gpu.amount"
_OF_EXECUTOR = "spark.executor.resource.gpu.amount"
_INTERVAL = 5  # seconds between two looks for enough slots
_LOOPBACK = "127.0.0.1"


def defaults(job: Job) -> dict[str, str]:
    """The settings of a job that nobody else has given."""
    looks = "spark.scheduler.barrier.maxConcurrentTasksCheck"
    given = {
        f"{looks}.interval": f"{_INTERVAL}s",
        f"{looks}.maxFailures": str(max(1, job.wait // _INTERVAL)),
        "spark.dynamicAllocation.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    if job.gpus and job.barrier:
        given[GPUS] = "1"
    if not job.barrier or job.master.startswith("local"):
        # Nothing of a training on one machine is open to others.
        given |= {
            "spark.driver.host": _LOOPBACK,
            "spark.driver.bindAddress": _LOOPBACK,
            "spark.ui.enabled": "false",
        }
    return given


def tasks(job: Job, settings: Mapping[str, str]) -> int:
    """The tasks of the barrier stage: one for each rank, or for the GPUs of a task."""
    return job.ranks // int(settings.get(GPUS, "1")) if job.gpus else job.ranks


def check_settings(job: Job, settings: Mapping[str, str]) -> None:
    """Raise ConfigError for settings with which the job cannot run; `settings` are all of the session."""
    for key, text, hint in _faults(job, settings):
        raise ConfigError(text, key=key, hint=hint)


def _faults(job: Job, settings: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    if not job.barrier:
        return
    for name, what in (
        ("dynamicAllocation", "executors that come and go"),
        ("speculation", "tasks that run twice"),
    ):
        key = f"spark.{name}" if name == "speculation" else f"spark.{name}.enabled"
        if settings.get(key, "false").lower() == "true":
            yield key, f"{key} is true, but a barrier job cannot have {what}", f"give --conf {key}=false"
    if settings.get("spark.ssl.enabled", "false").lower() == "true":
        yield (
            "spark.ssl.enabled", "the cluster encrypts its traffic, which the ranks do not",
            "--conf pytorch.spark.distributor.ignoreSsl=true trains anyway, with gradients in the clear",
        )  # fmt: skip
    if job.gpus:
        yield from _gpus(job, settings)
    slots = _slots(job, settings)
    needed = tasks(job, settings) if not job.gpus or settings.get(GPUS, "").isdecimal() else job.ranks
    if slots is not None and slots < needed:
        yield (
            "processes", f"the ranks need {counted(needed, 'slot')} at once, and {_where(job)} has {slots}",
            "use fewer processes, or give Spark more cores or executors",
        )  # fmt: skip


def _gpus(job: Job, settings: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    amount, executor = settings.get(GPUS, ""), settings.get(_OF_EXECUTOR, "")
    if not amount.isdecimal() or int(amount) < 1:
        yield (
            GPUS, f"{GPUS} must be a whole number of GPUs, got {amount or 'nothing'}",
            f"give --conf {GPUS}=1, a GPU for each rank",
        )  # fmt: skip
        return
    if job.ranks % int(amount):
        yield (
            "processes", f"{counted(job.ranks, 'rank')} cannot be dealt to tasks with {amount} GPUs each",
            f"use a multiple of {amount}",
        )  # fmt: skip
    if job.master.startswith("local"):
        return
    if not executor.isdecimal() or int(executor) < int(amount):
        yield (
            _OF_EXECUTOR, f"{_OF_EXECUTOR} is {executor or 'not set'}, and a task needs {amount}",
            f"give --conf {_OF_EXECUTOR}=N, the GPUs of an executor",
        )  # fmt: skip
    elif int(executor) % int(amount):
        yield (
            _OF_EXECUTOR, f"an executor has {executor} GPUs, of which tasks with {amount} leave some idle",
            f"make it a multiple of {amount}",
        )  # fmt: skip
    cores, cpus = settings.get("spark.executor.cores", ""), int(settings.get("spark.task.cpus", "1"))
    if executor.isdecimal() and cores.isdecimal() and int(cores) // cpus < int(executor) // int(amount):
        yield (
            "spark.executor.cores",
            f"an executor has {executor} GPUs, but cores for {int(cores) // cpus} tasks at once",
            "give it a core for each task, --conf spark.executor.cores=N",
        )  # fmt: skip


def _slots(job: Job, settings: Mapping[str, str]) -> int | None:
    """The tasks that run at once by the settings alone; None if only the cluster knows."""
    cpus = int(settings.get("spark.task.cpus", "1"))
    if local := re.fullmatch(r"local(?:\[(\d+)(?:,\d+)?\])?", job.master):
        return int(local[1] or 1) // cpus
    if most := settings.get("spark.cores.max"):
        return int(most) // cpus
    executors, cores = settings.get("spark.executor.instances"), settings.get("spark.executor.cores", "1")
    return int(executors) * (int(cores) // cpus) if executors else None


def _where(job: Job) -> str:
    return "Spark's settings" if job.master == SUBMITTED else job.master
