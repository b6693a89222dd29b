"""A training on Spark as a folder: solver, nets, the scripts that submit it, and a README.md."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from netbuilder._version import __version__
from netbuilder.errors import ConfigError
from netbuilder.spark import submit
from netbuilder.spark.files import copied
from netbuilder.spark.job import SUBMITTED, Job
from netbuilder.spark.readme import readme
from netbuilder.spark.settings import check_settings, defaults
from netbuilder.storage.files import MARK, write_files

__all__ = ["Written", "bundle"]


@dataclass(frozen=True)
class Written:
    """The files of a folder, and the names in solver and nets that were changed for it."""

    paths: tuple[Path, ...]
    notes: tuple[str, ...]


def bundle(job: Job, folder: str | Path, *, force: bool = False) -> Written:
    """Write the folder of a job, all of it or nothing. Raises ConfigError and FileError."""
    if job.ranks % job.cluster.slots:
        raise ConfigError(
            f"{job.ranks} processes cannot be dealt to executors with {job.cluster.slots} slots each",
            key="slots", hint="all executors have as many",
        )  # fmt: skip
    if job.master:
        raise ConfigError("the scripts of a job take the master from MASTER", key="master", hint="omit it")
    job = replace(job, master=SUBMITTED)
    check_settings(job, {**defaults(job), **job.settings, **submit.gpu_settings(job)})
    name = PurePosixPath(job.solver).name
    files = copied(job.solver)
    made = {
        submit.DRIVER: submit.driver([name]),
        submit.PACK: submit.pack(),
        **{f"submit_{cluster}.sh": submit.script(job, cluster) for cluster in submit.CLUSTERS},
        **({submit.GPU_SCRIPT: submit.find_gpus()} if job.gpus else {}),
    }
    texts = {name: files.solver, **files.texts}
    if clash := sorted({*made, "README.md"} & set(texts)):
        raise ConfigError(
            f"the folder contains a generated file '{clash[0]}'", key="net", hint="rename yours"
        )
    made["README.md"] = readme(job, files, name)
    for file, text in texts.items():
        mark = f"{MARK} {__version__} from {file}, for Spark\n"
        made[file] = text if text.startswith(MARK) else mark + text
    paths = {Path(folder) / file: text for file, text in made.items()}
    write_files(paths, force=force)
    if job.gpus:
        (Path(folder) / submit.GPU_SCRIPT).chmod(0o755)  # which the executors run
    return Written(tuple(paths), files.notes)
