"""The README.md of a folder that trains on Spark: what to put where, the numbers, what fails."""

from __future__ import annotations

from netbuilder._version import __version__
from netbuilder.errors import counted
from netbuilder.spark.files import Copied
from netbuilder.spark.job import Job
from netbuilder.spark.submit import GPU_SCRIPT, PACK
from netbuilder.storage.files import MARK

__all__ = ["readme"]


def readme(job: Job, files: Copied, solver: str) -> str:
    """The text; `solver` is the name of the solver in the folder."""
    parts = [
        f"{MARK} {__version__}: {solver} on Spark\n",
        _contents(job, files, solver),
        _cluster(job),
        _ENVIRONMENT,
        _DATA,
        _numbers(job, files, solver),
        _SUBMIT.format(wait=job.wait),
        _AFTER.format(attempts=counted(job.attempts, "job")),
        _GPUS if job.gpus else "",
    ]
    return "\n".join(part for part in parts if part)


def _contents(job: Job, files: Copied, solver: str) -> str:
    rows = [
        (solver, "the solver"),
        *((name, "its net") for name in files.texts),
        ("submit_standalone.sh, submit_yarn.sh, submit_kubernetes.sh", "submit the training"),
        ("train.py", "the driver's program"),
        (PACK, "packs a virtual environment for machines that lack netbuilder"),
    ]
    if job.gpus:
        rows.append((GPU_SCRIPT, "tells an executor its GPUs"))
    table = "\n".join(["| file | what it is |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows)])
    notes = "".join(f"* {note}\n" for note in files.notes)
    return table + "\n" + (f"\nNames that were changed for this folder:\n\n{notes}" if notes else "")


def _cluster(job: Job) -> str:
    executors = job.ranks // job.cluster.slots
    what = "GPU" if job.gpus else "core"
    sizes = f"{counted(executors, 'executor')} of {counted(job.cluster.slots, 'slot')}"
    return f"""\
## The cluster

{counted(job.ranks, "rank")} in {sizes}, with a {what} for each rank. All start at once and stay: dynamic
allocation and speculation are off. Ranks exchange gradients among themselves, in the clear, on ports that
they choose. Java takes 2 GB of each executor. **This folder must be on storage that all machines share, by
the same name**: rank 0 writes the snapshots here, and after a failure another machine may read them.
"""


_ENVIRONMENT = f"""\
## The environment

All machines need the same Python, netbuilder, PyTorch, pandas and pyarrow, and Java 17. Either install
`caffe-netbuilder[spark,torch]` everywhere, and set `PYSPARK_PYTHON` to that Python; or send a virtual
environment along, which is unpacked on each executor. It needs, at the same path, the Python that it was made
from:

```sh
python3 -m venv venv && venv/bin/pip install 'caffe-netbuilder[spark,torch]'
bash {PACK} venv environment.tar.gz
PYSPARK_DRIVER_PYTHON=venv/bin/python ENVIRONMENT=environment.tar.gz bash submit_yarn.sh
```

On Kubernetes the image has it. The driver runs here: `PYSPARK_DRIVER_PYTHON` is its Python.
"""


_DATA = """\
## The data

Each rank reads its own share of the records, straight from the files of the net: no data goes through Spark.
A database or a Parquet folder is on the shared storage, or copied to every machine by the same name, which is
faster. `netbuilder data lmdb` and `netbuilder data parquet` make them. Spark writes Parquet too, with the
columns of the net's CoSData layer: an image file, and a whole number as label. Shuffle the rows when they
are written.
"""


def _numbers(job: Job, files: Copied, solver: str) -> str:
    from netbuilder.errors import NetBuilderError
    from netbuilder.prototxt import parse
    from netbuilder.prototxt.solver_file import parse_solver
    from netbuilder.solvers.batch import data_batch
    from netbuilder.training.sharing import arithmetic

    try:
        message = parse_solver(files.solver, path=solver).solver
        batch = data_batch(parse(next(iter(files.texts.values())), "TRAIN", dialect="any", unknown="keep"))
    except NetBuilderError:
        return ""  # the training says what is wrong
    if not batch:
        return ""
    lines = "".join(f"* {line}\n" for line in arithmetic(message, batch=batch, ranks=job.ranks))
    return f"## The numbers\n\n{lines}"


_SUBMIT = """\
## Submit

```sh
MASTER=spark://HOST:7077 bash submit_standalone.sh        # or: bash submit_yarn.sh
```

What rank 0 says appears here. A cluster without as many free slots as ranks ends the job after {wait} s with
"does not have as many free slots", and does not wait for ever.
"""

_AFTER = """\
## Snapshots, failures, and going on

Rank 0 writes the solver's snapshots into this folder. If a rank dies, its barrier job fails as a whole, and
the driver starts another one from the last snapshot: up to {attempts}. The result is that of an undisturbed
training, bit for bit on CPUs. A mistake that a rank reports ends the training with exit code 2, without
another try. If the driver itself is lost, submit again:

```sh
RESUME=latest bash submit_yarn.sh
```

Exit code 0 means trained to the end, 1 that the loss was no number, 2 an error.
"""

_GPUS = f"""\
## GPUs

A rank has one GPU. Each executor finds its GPUs by `{GPU_SCRIPT}`, which calls nvidia-smi. A standalone
worker must offer them itself, in its `spark-env.sh`:

```sh
SPARK_WORKER_OPTS="-Dspark.worker.resource.gpu.amount=8 \\
  -Dspark.worker.resource.gpu.discoveryScript=FOLDER/{GPU_SCRIPT}"
```
"""
