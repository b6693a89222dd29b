"""The command that submits a job, as words and as scripts for YARN and for a standalone cluster.

A script sets variables at the top and builds the command from them; the words are the same command with the
values substituted. Only the folder of CaffeOnSpark, and a master that the job does not state, come from the
shell. Source: CaffeOnSpark, Config.scala (its own options).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from netbuilder._version import __version__
from netbuilder.caffeonspark.arithmetic import Numbers
from netbuilder.caffeonspark.job import Job
from netbuilder.solvers import spark_resume
from netbuilder.storage.files import MARK

__all__ = ["CLUSTERS", "HOME", "JAR", "MAIN", "command", "script"]

CLUSTERS = ("yarn", "standalone")
HOME = "CAFFE_ON_SPARK"
MAIN = "com.yahoo.ml.caffe.CaffeOnSpark"
JAR = f"${HOME}/caffe-grid/target/caffe-grid-0.1-SNAPSHOT-jar-with-dependencies.jar"
_LIBRARIES = f"${HOME}/caffe-public/distribute/lib:${HOME}/caffe-distri/distribute/lib:/usr/local/cuda/lib64"
_VARIABLE = re.compile(r"\$([A-Z_]+)")


def command(job: Job, files: Sequence[str], cluster: str) -> list[str]:
    """The words of the command for a job; `files` are the solver, the net and any others.

    Every word is final except `$CAFFE_ON_SPARK`, and `$MASTER` if the job states no master.
    """
    values = dict(_variables(job, files, cluster))
    values["LD_LIBRARY_PATH"] = _LIBRARIES
    values["TOTAL_CORES"] = str(job.cluster.executors * job.cluster.cores)
    if not values.get("MASTER"):
        values.pop("MASTER", None)
    groups = [*_spark(cluster), *_arguments(job, cluster)]
    groups += [(f"-{name.lower()}", f"${name}") for name in ("SNAPSHOT", "WEIGHTS") if values[name]]
    return [_VARIABLE.sub(lambda m: values.get(m[1], m[0]), word) for group in groups for word in group]


def script(job: Job, files: Sequence[str], cluster: str, numbers: Numbers | None = None) -> str:
    """The text of the bash script that submits the job; by its numbers it refuses a resume that hangs."""
    lines = [
        "#!/usr/bin/env bash",
        f"{MARK} {__version__}: submits this folder's job to CaffeOnSpark, {_PLACES[cluster]}",
        "set -eu",
        'cd -- "$(dirname -- "$0")"',
        "",
        "# Where CaffeOnSpark is built: the same folder on every machine.",
        f"{HOME}=${{{HOME}:?set it to the folder in which CaffeOnSpark is built}}",
        f'export LD_LIBRARY_PATH="{_LIBRARIES}"',
        "",
        "# Other executors, devices or files need other numbers in the solver: let netbuilder check them.",
    ]
    for name, value in _variables(job, files, cluster):
        if name == "MASTER" and not value:
            lines.append("MASTER=${MASTER:?set it to the URL of the master, spark://HOST:7077}")
        elif name == "SNAPSHOT":
            lines += ["", "# Both, to resume; WEIGHTS alone, to begin with a model.", _default(name, value)]
        elif name in ("WEIGHTS", "MASTER"):
            lines.append(_default(name, value))
        else:
            lines.append(f"{name}={shlex.quote(value)}")
    if cluster == "standalone":
        lines.append("TOTAL_CORES=$((EXECUTORS * CORES))")
    lines += [
        'if [ -n "$SNAPSHOT" ] && [ -z "$WEIGHTS" ]; then',
        '  echo "SNAPSHOT needs WEIGHTS, the .caffemodel of the same iteration" >&2',
        "  exit 2",
        "fi",
        *(_hanging(numbers) if numbers and numbers.loop == "interleaved" else []),
        "",
    ]
    groups = [
        " ".join(f'"{word}"' if "$" in word else shlex.quote(word) for word in group)
        for group in (*_spark(cluster), *_arguments(job, cluster))
    ]
    groups += [f'${{{name}:+-{name.lower()} "${name}"}}' for name in ("SNAPSHOT", "WEIGHTS")]
    return "\n".join(lines) + "\nexec " + " \\\n  ".join(groups) + "\n"


def _hanging(n: Numbers) -> list[str]:
    """The lines that refuse a snapshot from which a training with tests hangs."""
    return [
        "",
        "# The images left over before the next test must fit the queues of an executor.",
        f"TEST_INTERVAL={n.test_interval}",
        f"BATCH={n.batch}",
        "if [[ $SNAPSHOT =~ _iter_([0-9]+)\\.solverstate ]] &&",
        "  ! grep -Eq '(^|[[:space:]])test_iter:[[:space:]]*0([[:space:]]|$)' \"$SOLVER\"; then",
        "  SINCE=$((10#${BASH_REMATCH[1]} % TEST_INTERVAL))",
        "  LEFT=$(((SINCE ? SINCE : TEST_INTERVAL) * BATCH * DEVICES))",
        f"  if ((LEFT > {spark_resume.queued(0)} + {spark_resume.BATCHES} * BATCH * DEVICES)); then",
        '    echo "a resume of ${SNAPSHOT##*/} hangs: $LEFT training images are left over before a test;" \\',
        '      "write test_iter: 0 into $SOLVER to resume without tests" >&2',
        "    exit 2",
        "  fi",
        "fi",
    ]


_PLACES = {"yarn": "on YARN", "standalone": "on a standalone cluster of Spark"}


def _default(name: str, value: str) -> str:
    """The line of a variable that the environment can override."""
    return f"{name}=${{{name}:-{shlex.quote(value) if value else ''}}}"


def _variables(job: Job, files: Sequence[str], cluster: str) -> list[tuple[str, str]]:
    """The variables of the script, in order; they hold everything the user gave."""
    c, run, data = job.cluster, job.run, job.data
    given = [("EXECUTORS", str(c.executors)), ("DEVICES", str(c.devices)), ("EXECUTOR_MEMORY", c.memory)]
    if cluster == "standalone":
        given += [("MASTER", c.master), ("CORES", str(c.cores))]
    given += [("SOLVER", files[0]), ("FILES", ",".join(files)), ("MODEL", run.model)]
    for name, value in (
        ("RESULTS", run.results),
        ("FEATURES", ",".join(run.features)),
        ("LABEL", run.label),
        ("LMDB_PARTITIONS", str(data.lmdb_partitions or "")),
    ):
        given += [(name, value)] if value else []
    return [*given, ("SNAPSHOT", run.snapshot), ("WEIGHTS", run.weights)]


def _spark(cluster: str) -> list[tuple[str, ...]]:
    """spark-submit and its options: one task at a time per executor, all executors present from the start."""
    if cluster == "yarn":
        place: list[tuple[str, ...]] = [
            ("--master", "yarn", "--deploy-mode", "cluster"),
            ("--num-executors", "$EXECUTORS", "--executor-cores", "1"),
        ]
    else:
        place = [
            ("--master", "$MASTER"),
            ("--conf", "spark.cores.max=$TOTAL_CORES", "--conf", "spark.task.cpus=$CORES"),
        ]
    return [
        ("spark-submit",),
        *place,
        ("--executor-memory", "$EXECUTOR_MEMORY"),
        ("--files", "$FILES"),
        ("--conf", "spark.dynamicAllocation.enabled=false"),
        ("--conf", "spark.speculation=false"),
        ("--conf", "spark.scheduler.maxRegisteredResourcesWaitingTime=600s"),
        ("--conf", "spark.driver.extraLibraryPath=$LD_LIBRARY_PATH"),
        ("--conf", "spark.executorEnv.LD_LIBRARY_PATH=$LD_LIBRARY_PATH"),
        ("--class", MAIN),
        (JAR,),
    ]


def _arguments(job: Job, cluster: str) -> list[tuple[str, ...]]:
    """CaffeOnSpark's own options, without those for resuming."""
    run, data = job.run, job.data
    modes = [*(["-train"] if run.train else []), *(["-test"] if run.test else [])]
    modes += ["-features", "$FEATURES"] if run.features else []
    modes += ["-label", "$LABEL"] if run.label else []
    groups: list[tuple[str, ...]] = [tuple(modes), ("-conf", "$SOLVER"), ("-devices", "$DEVICES")]
    if job.cluster.connection:
        groups.append(("-connection", job.cluster.connection))
    if cluster == "standalone":  # YARN reports the size itself
        groups.append(("-clusterSize", "$EXECUTORS"))
    if data.lmdb_partitions:
        groups.append(("-lmdb_partitions", "$LMDB_PARTITIONS"))
    groups += [(f"-{name}",) for name in ("persistent", "resize") if getattr(data, name)]
    groups.append(("-model", "$MODEL"))
    if run.results:
        groups.append(("-output", "$RESULTS"))
    if run.results_format:
        groups.append(("-outputFormat", run.results_format))
    return groups
