"""The scripts that submit a training: to a standalone cluster, to YARN, and to Kubernetes.

Each sets variables at the top, which may be edited, and runs spark-submit with the driver on this machine, so
that the progress reaches this terminal. What a barrier job needs is fixed: executors that neither come nor
go, and all their slots before the first task.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from netbuilder._version import __version__
from netbuilder.spark.job import Job
from netbuilder.spark.settings import defaults
from netbuilder.storage.files import MARK

__all__ = [
    "CLUSTERS",
    "DRIVER",
    "GPU_SCRIPT",
    "PACK",
    "driver",
    "find_gpus",
    "gpu_settings",
    "pack",
    "script",
]

CLUSTERS = {
    "standalone": "on a standalone cluster",
    "yarn": "on YARN",
    "kubernetes": "on Kubernetes, from a pod in it",
}
DRIVER, GPU_SCRIPT, PACK = "train.py", "find_gpus.sh", "pack_environment.sh"
_UNPACKED = "environment"


def script(job: Job, cluster: str) -> str:
    """The text of the script for one kind of cluster."""
    lines = [
        "#!/usr/bin/env bash",
        f"{MARK} {__version__}: trains this folder's solver {CLUSTERS[cluster]}",
        "set -eu",
        'cd -- "$(dirname -- "$0")"',
        "",
        "# Every machine sees this folder by this name, and the data of the net. With other ranks the solver",
        "# needs other numbers: see README.md.",
        f"RANKS={job.ranks}",
        f"SLOTS={job.cluster.slots} # ranks of one executor",
        f"MEMORY={shlex.quote(job.cluster.memory)} # of the ranks of one executor, outside of Java",
        *_VARIABLES[cluster],
    ]
    if cluster == "kubernetes":
        lines.append(f"IMAGE=${{IMAGE:-{shlex.quote(job.cluster.image) if job.cluster.image else ''}}}")
        lines.append(': "${IMAGE:?set it to an image with Spark, Python, netbuilder and PyTorch}"')
    else:
        archive = shlex.quote(job.cluster.environment) if job.cluster.environment else ""
        lines += ["", f"# An archive by {PACK}; empty where all machines have the same Python."]
        lines.append(f"ENVIRONMENT=${{ENVIRONMENT-{archive}}}")
    lines += ["", "# RESUME=latest, or a .solverstate, goes on from a snapshot.", "RESUME=${RESUME:-}", ""]
    words = [("spark-submit", "--master", _MASTERS[cluster], "--deploy-mode", "client"), *_SIZES[cluster]]
    words += [("--executor-memory", _HEAP)]
    words += [("--conf", f"{key}={value}") for key, value in _fixed(job).items()]
    if job.gpus:
        words += [("--conf", f"{key}={value}") for key, value in _gpus(cluster).items()]
    words += _MORE[cluster]
    groups = [" ".join(map(_quoted, group)) for group in words]
    groups += [f"--conf {shlex.quote(f'{key}={value}')}" for key, value in job.settings.items()]
    if cluster != "kubernetes":
        groups.append(f'${{ENVIRONMENT:+--archives "$ENVIRONMENT#{_UNPACKED}"}}')
        groups.append(f"${{ENVIRONMENT:+--conf spark.pyspark.python=./{_UNPACKED}/bin/python}}")
        python = "${PYSPARK_DRIVER_PYTHON:-python3}"
        groups.append(f'${{ENVIRONMENT:+--conf spark.pyspark.driver.python="{python}"}}')
    groups.append(f'{DRIVER} --processes "$RANKS" {shlex.join(_options(job))}')
    groups.append('${RESUME:+--resume "$RESUME"}')
    return "\n".join(lines) + "exec " + " \\\n  ".join(groups) + "\n"


def _quoted(word: str) -> str:
    """A word for bash, in which variables count."""
    return f'"{word}"' if "$" in word else shlex.quote(word)


_HEAP = "2g"  # of an executor's Java, which only starts the ranks
_MASTERS = {"standalone": "$MASTER", "yarn": "yarn", "kubernetes": "$MASTER"}
_VARIABLES = {
    "standalone": ["MASTER=${MASTER:?set it to the URL of the master, spark://HOST:7077}"],
    "yarn": [],
    "kubernetes": [
        "MASTER=${MASTER:?set it to the URL of the API server, k8s://https://HOST:6443}",
        "CLAIM=${CLAIM:?set it to the PersistentVolumeClaim with this folder}",
        "MOUNT=${MOUNT:?set it to the path at which the claim is mounted here, and in the executors}",
    ],
}
_SIZES: dict[str, list[tuple[str, ...]]] = {
    "standalone": [
        ("--conf", "spark.cores.max=$RANKS"),
        ("--conf", "spark.executor.cores=$SLOTS"),
    ],
    "yarn": [
        ("--num-executors", "$((RANKS / SLOTS))", "--executor-cores", "$SLOTS"),
        ("--conf", "spark.executor.memoryOverhead=$MEMORY"),
    ],
    "kubernetes": [
        ("--conf", "spark.executor.instances=$((RANKS / SLOTS))"),
        ("--conf", "spark.executor.cores=$SLOTS"),
        ("--conf", "spark.executor.memoryOverhead=$MEMORY"),
    ],
}
_CLAIM = "spark.kubernetes.executor.volumes.persistentVolumeClaim.shared"
_MORE: dict[str, list[tuple[str, ...]]] = {
    "standalone": [],
    "yarn": [],
    "kubernetes": [
        ("--conf", "spark.kubernetes.container.image=$IMAGE"),
        ("--conf", f"{_CLAIM}.options.claimName=$CLAIM"),
        ("--conf", f"{_CLAIM}.mount.path=$MOUNT"),
    ],
}


def _fixed(job: Job) -> dict[str, str]:
    """The settings that every barrier job needs."""
    return {
        **defaults(job),
        "spark.speculation": "false",
        "spark.scheduler.maxRegisteredResourcesWaitingTime": "1s",  # the barrier stage waits for its slots
    }


def gpu_settings(job: Job) -> dict[str, str]:
    """The settings for GPUs that only the executors' number decides."""
    return {"spark.executor.resource.gpu.amount": str(job.cluster.slots)} if job.gpus else {}


def _gpus(cluster: str) -> dict[str, str]:
    settings = {
        "spark.executor.resource.gpu.amount": "$SLOTS",
        "spark.executor.resource.gpu.discoveryScript": f"$PWD/{GPU_SCRIPT}",
    }
    if cluster == "kubernetes":
        settings["spark.executor.resource.gpu.vendor"] = "nvidia.com"
    return settings


def _options(job: Job) -> list[str]:
    """The words of the job's other options, as the command takes them."""
    words = ["--cuda"] if job.gpus else []
    words += ["--attempts", str(job.attempts), "--wait", str(job.wait)]
    for name, value in job.options.items():
        option = f"--{name.replace('_', '-')}"
        if name in ("folder", "device", "resume"):
            continue
        if value is True:
            words.append(option)
        else:
            for one in value if isinstance(value, list | tuple) else [value]:
                words += [option, str(one)]
    return words


def driver(files: Sequence[str]) -> str:
    """The program that spark-submit runs here."""
    return f'''{MARK} {__version__}: the driver of this folder's training
import sys

from netbuilder.cli.main import main

sys.exit(main(["spark", "{files[0]}", "--submitted", *sys.argv[1:]]))
'''


def find_gpus() -> str:
    """The script by which an executor finds its GPUs."""
    return f"""#!/usr/bin/env bash
{MARK} {__version__}: the GPUs of this machine, as Spark wants to know them
set -eu
gpus=$(nvidia-smi --query-gpu=index --format=csv,noheader | sed 's/.*/"&"/' | paste -sd, -)
echo "{{\\"name\\": \\"gpu\\", \\"addresses\\": [$gpus]}}"
"""


def pack() -> str:
    """The script that packs the virtual environment."""
    return f"""#!/usr/bin/env bash
{MARK} {__version__}: packs a virtual environment for executors that have the Python it was made from
#   pack_environment.sh VENV ARCHIVE.tar.gz
set -eu
VENV=${{1:?name the virtual environment}}
ARCHIVE=${{2:?name the archive to write}}
if ls "$VENV"/lib/python3*/site-packages/*editable*netbuilder* > /dev/null 2>&1; then
  echo "netbuilder is installed there by -e, which does not travel; install it without" >&2
  exit 2
fi
tar -C "$VENV" -czf "$ARCHIVE" .
echo "wrote $ARCHIVE; submit by ENVIRONMENT=$ARCHIVE bash submit_....sh"
"""
