"""Starts a training on Spark, looks after it, and starts it again from the last snapshot if a job fails.

TorchDistributor gets a function and not a script: with a script it ignores how the ranks ended. One failed
task fails a barrier job, which Spark does not repeat, and restarts of torchrun inside a barrier job hang, so
the driver repeats the job.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from netbuilder import errors
from netbuilder.errors import ConfigError, EngineError, FileError, NetBuilderError, counted
from netbuilder.solvers import read_solver
from netbuilder.spark import ranks, settings
from netbuilder.spark.job import SUBMITTED, Job
from netbuilder.storage.files import read_record, reason
from netbuilder.training.snapshots import RUN_RECORD, prefix_of

__all__ = ["launch"]

_JAVA = 17
_BEGUN = "begun"  # a file as old as the job
_NO_SLOTS = ("SPARK-24819", "SPARK-24818", "BARRIER_STAGE_RUN_WITH_DYN_ALLOCATION", "requires more slots")
# What ranks say when another one is gone: engines.torch.peers, and PyTorch itself.
_LOST = re.compile(
    "the connection to another rank is lost|[Cc]onnection (closed|reset|refused)|NCCL|[Tt]imed out"
)
_MASTER = re.compile(rf"local(\[(\d+|\*)(,\d+)?\])?|spark://.+|yarn|k8s://.+|{SUBMITTED}")
_EXIT = re.compile(r"rank\s*: (\d+) \(local_rank: \d+\)\s*exitcode\s*: (-?\d+)")

Say = Callable[[str], None]


def launch(job: Job, train: ranks.Train, *, say: Say, wanted: tuple[str, ...] = ()) -> dict[str, Any]:
    """Train; returns what rank 0 returned. `train` is `train_rank`, found by name in the executors.

    `wanted` are files that every machine must have. What ranks print goes to stderr. Raises ConfigError for a
    cluster that cannot run the job, the error of a rank, or EngineError if the job failed at every attempt.
    """
    _check_programs()
    if job.barrier:
        _check_master(job.master)
        settings.check_settings(job, {**settings.defaults(job), **job.settings})
    folder = os.path.abspath(job.options.get("folder") or os.curdir)
    with _place(Path(folder)) as place, _session(job) as spark:
        settings.check_settings(job, dict(spark.sparkContext.getConf().getAll()))
        if job.barrier:
            _look(job, spark, place, wanted)
        return _attempts(job, train, spark, folder, place, say)


def _attempts(job: Job, train: ranks.Train, spark: Any, folder: str, place: Path, say: Say) -> dict[str, Any]:
    options = {**job.options, "folder": folder}
    for attempt in range(1, job.attempts + 1):
        try:
            with contextlib.redirect_stdout(sys.stderr):  # stdout is for the result
                return _distributor(job, spark).run(ranks.work, train, job.solver, options, str(place))  # type: ignore[no-any-return]
        except KeyboardInterrupt:
            spark.sparkContext.cancelAllJobs()
            raise
        except Exception as error:  # of TorchDistributor, of Spark, or of a rank
            failure, again = _failure(error, place)
        if not again:
            raise failure
        if snapshot := _snapshot(job, folder, place):
            options = {name: value for name, value in options.items() if name not in ("weights", "force")}
            options["resume"] = snapshot
        if attempt < job.attempts:
            how = "goes on from the last snapshot" if snapshot else "begins as this one"
            say(f"attempt {attempt} of {job.attempts} failed: {failure.text}; the next one {how}")
    failure.text = f"the job failed {counted(job.attempts, 'time')}: {failure.text}"
    raise failure


def _snapshot(job: Job, folder: str, place: Path) -> str | None:
    """The last snapshot that this job has written; None if it has none, whatever an earlier one left."""
    solver = os.path.join(folder, job.solver)
    record = Path(folder) / f"{prefix_of(solver, read_solver(solver))}{RUN_RECORD}"
    try:
        if record.stat().st_mtime_ns < (place / _BEGUN).stat().st_mtime_ns:
            return None
    except OSError:
        return None
    return read_record(record).get("snapshot")


def _distributor(job: Job, spark: Any) -> Any:
    from pyspark.ml.torch.distributor import TorchDistributor

    return TorchDistributor(num_processes=job.ranks, local_mode=not job.barrier, use_gpu=job.gpus)


# -- errors --------------------------------------------------------------------------------------------------


def _failure(error: Exception, place: Path) -> tuple[NetBuilderError, bool]:
    """Why a job failed, and whether another attempt can help: not after an error that a rank reported.

    What a rank reports of a lost peer is a consequence: how the peer died counts more.
    """
    text = str(error)
    said = [_as_error(data) for data in ranks.errors_in(place)]
    lost = [e for e in said if _LOST.search(e.text)]
    if reported := [e for e in said if e not in lost]:
        return reported[0], False
    if any(name in text for name in _NO_SLOTS):
        return _no_slots(), False
    for rank, code in _EXIT.findall(text):
        if int(code) < 0:
            hint = "signal 9 is often the system's, for memory"
            return EngineError(f"rank {rank} was killed by signal {-int(code)}", hint=hint), True
    if lost:
        return lost[0], True
    return EngineError(f"Spark's job failed: {_told(error)}"), True


def _told(error: Exception) -> str:
    """The line of an error that names its cause: the last one by Java or Python, else the first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    causes = [line for line in lines if re.match(r"[\w.: ]*(Error|Exception): ", line)]
    return (causes or lines)[-1 if causes else 0][:500]


def _as_error(data: dict[str, Any]) -> NetBuilderError:
    kind = getattr(errors, data["kind"], EngineError)  # another one is a fault of netbuilder or PyTorch
    made: NetBuilderError = kind(data["text"], hint=data["hint"])
    made.where = data["where"]
    return made


def _no_slots() -> ConfigError:
    return ConfigError(
        "the cluster does not have as many free slots as the job has ranks, which must start at once",
        key="processes",
        hint="use fewer processes, add workers, or end what else runs there; --wait gives it more time",
    )


# -- before the training -------------------------------------------------------------------------------------


def _check_programs() -> None:
    """Raise FileError if Spark or what it needs is missing."""
    found = ranks.versions()
    try:
        import pyspark  # noqa: F401
    except ImportError:
        found["pyspark"] = ""
    if missing := [name for name, version in found.items() if not version]:
        raise FileError(
            f"training on Spark needs {', '.join(missing)}, which this Python lacks",
            hint="pip install 'caffe-netbuilder[spark,torch]'",
        )
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    hint = f"install Java {_JAVA}, on Debian openjdk-{_JAVA}-jre-headless, or set JAVA_HOME"
    if java is None:
        raise FileError("Spark needs Java, which is not installed", hint=hint)
    done = subprocess.run([java, "-version"], capture_output=True, text=True)
    version = re.search(r'version "(\d+)', done.stderr)
    if version and int(version[1]) < _JAVA:
        raise FileError(f"Spark needs Java {_JAVA} or newer, and '{java}' is Java {version[1]}", hint=hint)


def _check_master(master: str) -> None:
    """Raise ConfigError if there is no such master, or none of a standalone cluster answers."""
    if not _MASTER.fullmatch(master):
        raise ConfigError(
            f"'{master}' is not a master of Spark", key="master",
            hint="local[N], spark://HOST:7077, yarn, or k8s://https://HOST:PORT",
        )  # fmt: skip
    if master == "yarn" and not {"HADOOP_CONF_DIR", "YARN_CONF_DIR"} & set(os.environ):
        raise ConfigError(
            "YARN is not known: neither HADOOP_CONF_DIR nor YARN_CONF_DIR is set", key="master",
            hint="set one to the folder with yarn-site.xml",
        )  # fmt: skip
    if not master.startswith("spark://"):
        return
    tried = []
    for address in master.removeprefix("spark://").split(","):
        host, _, port = address.rpartition(":")
        try:
            with socket.create_connection((host, int(port)), timeout=5):
                return
        except ValueError:
            tried.append(f"'{address}' is not HOST:PORT")
        except OSError as error:
            tried.append(f"{address}: {reason(error)}")
    raise ConfigError(
        f"no master answers at {master}: {', '.join(tried)}", key="master",
        hint="start it, or give the URL that its page shows",
    )  # fmt: skip


def _look(job: Job, spark: Any, place: Path, wanted: tuple[str, ...]) -> None:
    """Raise ConfigError if a machine of the cluster lacks something, or there are too few slots."""
    context, token = spark.sparkContext, "token"
    (place / token).write_text("", encoding="utf-8")
    count = settings.tasks(job, dict(context.getConf().getAll()))
    try:
        # As TorchDistributor does it, so that the same Python processes serve both.
        rows = spark.range(start=0, end=count, step=1, numPartitions=count)
        look = ranks.looking(str(place), token, wanted)
        found = [json.loads(row.seen) for row in rows.mapInArrow(look, "seen string", barrier=True).collect()]
    except Exception as error:
        if "No module named 'netbuilder'" in str(error):
            raise ConfigError(
                "an executor lacks netbuilder", key="environment",
                hint="install it in the Python of every machine, or send an environment: docs/spark.md",
            ) from None  # fmt: skip
        raise _failure(error, place)[0] from None
    here = ranks.versions()
    for machine in found:
        host = machine["host"]
        for name, version in here.items():
            if machine["versions"][name] != version:
                raise ConfigError(
                    f"{host} has {name} {machine['versions'][name] or 'missing'}, and the driver {version}",
                    key="environment", hint="send one environment to all machines: docs/spark.md",
                )  # fmt: skip
        if not machine["shared"]:
            raise ConfigError(
                f"{host} does not see '{place.parent}'", key="folder",
                hint="solver, net and snapshots belong into a folder that all machines share, by one name",
            )  # fmt: skip
        if machine["missing"]:
            raise ConfigError(
                f"{host} lacks '{machine['missing'][0]}', which the job reads", key="data",
                hint="copy it to every machine, or to the shared folder, by the same name",
            )  # fmt: skip
    if len(list(place.glob(f"{token}-*"))) < count:
        raise ConfigError(
            f"an executor cannot write into '{place.parent}'", key="folder",
            hint="the executors' user must write snapshots there",
        )  # fmt: skip


# -- the session ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _place(folder: Path) -> Iterator[Path]:
    """A folder of this job in the shared one, for what the ranks leave to the driver."""
    place = folder / f".netbuilder-spark-{uuid.uuid4().hex[:12]}"
    try:
        place.mkdir()
        (place / _BEGUN).touch()
    except OSError as error:
        raise FileError(f"cannot write into '{folder}': {reason(error)}") from None
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def _session(job: Job) -> Iterator[Any]:
    """A session of Spark with the settings of the job, which ends with it."""
    from pyspark import SparkConf
    from pyspark.sql import SparkSession

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if not job.barrier or job.master.startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        if "lo" in (name for _, name in socket.if_nameindex()):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    conf = SparkConf()
    conf.setIfMissing("spark.app.name", f"netbuilder {Path(job.solver).name}")
    if job.master != SUBMITTED:
        conf.setMaster(job.master or "local[1]")
    for key, value in job.settings.items():
        conf.set(key, value)
    for key, value in settings.defaults(job).items():
        conf.setIfMissing(key, value)
    try:
        spark = SparkSession.builder.config(conf=conf).getOrCreate()
    except Exception as error:
        raise EngineError(f"Spark does not start: {_told(error)}") from None
    spark.sparkContext.setLogLevel("ERROR")
    try:
        yield spark
    finally:
        spark.stop()
