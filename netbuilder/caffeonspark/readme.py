"""The README.md of a bundle: its contents, what to put where, the numbers, and how to resume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from netbuilder._version import __version__
from netbuilder.caffeonspark.job import Job
from netbuilder.caffeonspark.layer_rules import PREFIX, data_layers, data_of
from netbuilder.caffeonspark.sources import PHASES
from netbuilder.caffeonspark.submit import HOME, JAR
from netbuilder.caffeonspark.validate import Validated
from netbuilder.errors import counted
from netbuilder.net import Phase
from netbuilder.report.formats import Column, Table, render
from netbuilder.storage.files import MARK

__all__ = ["readme"]

_HDF5 = 0


def readme(validated: Validated, names: Sequence[str]) -> str:
    """The text for a job without errors; `names` are the files that executors need."""
    sources, job = validated.sources, validated.job
    assert sources.net is not None
    net, solver = sources.net.message, sources.solver.message
    layers = {phase: net.layer[i] for phase, i in sorted(data_layers(sources.net).items(), reverse=True)}
    parts = [
        f"{MARK} {__version__}: {net.name or names[1]} on CaffeOnSpark\n",
        _contents(names, sources.renamed),
        _cluster(job),
        _data(layers, job),
        _numbers(validated),
        _submit(),
        _after(solver, job, validated.loop),
        _watch(job),
        _DIFFERENCES,
        _findings(validated),
    ]
    return "\n".join(part for part in parts if part)


def _contents(names: Sequence[str], renamed: Sequence[str]) -> str:
    rows = [(names[0], "the solver"), (names[1], "the net, with both phases")]
    rows += [(name, "a mean image") for name in names[2:]]
    rows += [
        ("submit_yarn.sh", "submits the job to YARN"),
        ("submit_standalone.sh", "submits it to a standalone cluster of Spark"),
    ]
    text = render(Table((Column("file", "file"), Column("what", "what it is")), tuple(rows)), "markdown")
    if not renamed:
        return text + "\n"
    notes = "".join(f"* {note}\n" for note in renamed)
    return f"{text}\n\nThe files are in one folder here, under bare names:\n\n{notes}"


def _cluster(job: Job) -> str:
    c = job.cluster
    lines = [
        "## The cluster\n",
        f"{counted(c.executors, 'executor')} with {counted(c.devices, 'device')} each.\n",
        "All must be there at the start, each with one task at a time: dynamic allocation and speculation",
        "are off. On a standalone cluster these are as many workers, of which Spark may use",
        f"{counted(c.cores, 'core')} each (`CORES`).\n",
        f"CaffeOnSpark must be built in the same folder of every machine; `{HOME}` names it.",
    ]
    lines.append("On a CPU an executor wants about three cores, because its threads spin as they wait.")
    if c.executors > 1 and c.connection == "ethernet":
        lines.append("The executors exchange gradients and weights among themselves, over ethernet.")
    return "\n".join(lines) + "\n"


# -- data ----------------------------------------------------------------------------------------------------


def _data(layers: Mapping[Phase, Any], job: Job) -> str:
    rows = []
    for phase in PHASES:
        data = data_of(layers[phase])
        kind = layers[phase].source_class.removeprefix(PREFIX)
        images = job.data.train_images if phase == "TRAIN" else job.data.test_images
        rows.append((phase, kind, data.source, data.batch_size, images))
    columns = (
        Column("phase", "phase"),
        Column("kind", "source class"),
        Column("source", "source"),
        Column("batch", "batch", True),
        Column("images", "images", True),
    )
    kinds = dict.fromkeys(layer.source_class.removeprefix(PREFIX) for layer in layers.values())
    how = "\n".join(_HOW[kind] for kind in kinds)
    crop = _crop(layers["TRAIN"])
    size = f"Images must be at least {crop} pixels in both directions, or Caffe aborts.\n" if crop else ""
    return f"## The data\n\n{render(Table(columns, tuple(rows)), 'markdown')}\n\n{how}\n{size}{_ORDER}"


def _crop(layer: Any) -> int:
    crops = [layer.transform_param.crop_size]
    crops += [block.transform_param.crop_size for block in layer.cos_data_param.top]
    return int(max(crops))


_ORDER = """\
No epoch is shuffled: shuffle once, when the data is made. Channels are in the order B, G, R.
"""

_LMDB = """\
**LMDB.** `netbuilder data lmdb LIST -o DB --shuffle` makes one, or Caffe's `convert_imageset`. With `file:`
it must be on every machine under that path, and writable: CaffeOnSpark opens it to write. Without `file:`
Spark copies all of it to every machine.
"""

_SEQUENCE = f"""\
**SequenceFile.** CaffeOnSpark's own tool makes one of image files and a list with lines `FILE LABEL`:

```sh
spark-submit --class com.yahoo.ml.caffe.tools.Binary2Sequence \\
  "{JAR}" \\
  -imageRoot hdfs:///images -labelFile hdfs:///labels.txt -output hdfs:///train_seq
```

Shuffle the list: training does not.
"""

_ROW_GROUPS = """
No partition may be empty, or the job ends with "empty.reduceLeft": training at once, `-test` after the
training. Spark cuts a file into partitions of 128 MB (`spark.sql.files.maxPartitionBytes`), and a row group
is read in one of them only. So keep each file, or else each row group, below that size.
"""

_FRAME = f"""\
**Data frame of images.** Columns: `data` (bytes of an image file), `label` (text), `encoded` (true). Any
Spark writes it, and so does CaffeOnSpark's tool; but that one writes labels as integers and no `encoded`, so
the net must select them by `dataframe_column_select`. Its list has three words a line, `FILE LABEL ID`, and
it writes JSON unless told otherwise, on which the job ends with "is not a Parquet file".

```sh
spark-submit --class com.yahoo.ml.caffe.tools.Binary2DataFrame \\
  "{JAR}" \\
  -imageRoot hdfs:///images -labelFile hdfs:///labels.txt -output hdfs:///train_df -outputFormat parquet
```
{_ROW_GROUPS}"""

_COLUMNS = f"""\
**Data frame of columns.** One column for each top, by its name: an image is the bytes of its file, a label an
integer. Any Spark writes it, and so does pyarrow (Parquet). Shuffle the rows as it is written, into at least
as many files of equal size as there are executors.
{_ROW_GROUPS}"""

_HOW = {
    "LMDB": _LMDB,
    "SeqImageDataSource": _SEQUENCE,
    "ImageDataFrame": _FRAME,
    "DataFrameSource": _COLUMNS,
}

# -- numbers -------------------------------------------------------------------------------------------------


def _numbers(validated: Validated) -> str:
    if not validated.arithmetic:
        return ""
    columns = (Column("what", "what"), Column("how", "how"), Column("value", "value"))
    table = render(Table(columns, validated.arithmetic), "markdown")
    told = _LOOPS.get(validated.loop, "")
    return f"## The numbers\n\n{table}\n\n{told}"


_LOOPS = {
    "interleaved": """\
Between two tests each executor takes one part; then all of them test the same images, on their first device,
and the result of one is kept. Parts that do not fill a round are never trained on.
""",
    "plain": """\
There are no tests. Each executor goes through its own partitions again and again, each only as far as the
smallest of all; what is beyond is never trained on. So make partitions of equal size.
""",
}

# -- running -------------------------------------------------------------------------------------------------


def _submit() -> str:
    return f"""\
## Submit

```sh
export {HOME}=/path/to/CaffeOnSpark
bash submit_yarn.sh          # or: MASTER=spark://HOST:7077 bash submit_standalone.sh
```

"Actual number of executors is not as expected": the cluster gave fewer, or some were not there in time.
"""


def _watch(job: Job) -> str:
    made = job.run.model if job.run.train else job.run.results or "output"
    return _WATCH.format(made=made, folder=_FOLDER if job.run.train else "")


_FOLDER = """
Its folder must exist before the job starts; otherwise the first snapshot fails in the executor of rank 0, and
the driver does not notice."""

_WATCH = """\
## Whether it worked

The exit code proves nothing: it can be 0 without a result. Look for `{made}`.{folder}

Loss, accuracy and the reason of each abort of Caffe are only in the **stderr of the executors**: on YARN
`yarn logs -applicationId ID`, on a standalone cluster `work/APP/EXECUTOR/stderr` of each worker. The driver
shows only consequences:

| the driver says | the cause |
|---|---|
| `NullPointerException`, `Lost executor ... 134` | Caffe aborted: see that stderr |
| `Failed to create CaffeNet object` | `-connection infiniband`, or none, in a build without it |
| `empty.reduceLeft` | a partition has no images |
| nothing, minutes after a resume | the training hangs: resume with `test_iter: 0`, see above |
"""


def _after(solver: Any, job: Job, loop: str) -> str:
    suffix = ".h5" if solver.snapshot_format == _HDF5 and solver.HasField("snapshot_format") else ""
    folder = job.run.model.rpartition("/")[0]
    prefix = f"{folder}/{solver.snapshot_prefix}_iter_N"
    lines = ["## Results, and going on\n"]
    if not job.run.train:
        return "\n".join([*lines, f"The model is read from `{job.run.model}`.\n"])
    lines += [
        f"The model goes to `{job.run.model}` at the end. The executor of rank 0 writes a snapshot every",
        f"{solver.snapshot} iterations in its working folder, and copies it to `{folder}`.\n",
        "A job that has lost an executor is lost. Start it again from its last snapshot, N:\n",
        "```sh",
        f"SNAPSHOT={prefix}.solverstate{suffix} \\",
        f"WEIGHTS={prefix}.caffemodel{suffix} \\",
        "  bash submit_yarn.sh",
        "```\n",
        "It begins with the first images of the data again. `WEIGHTS` alone begins a new training with a",
        "model.\n",
    ]
    if loop == "interleaved":
        lines.append(_HANGING)
    return "\n".join(lines)


_HANGING = """\
A training with tests can hang for ever after a resume: where too many images are left over before the next
test, solver and driver wait for each other. The scripts refuse such a snapshot. To resume it, write
`test_iter: 0` into the solver, and test the model afterwards.
"""

_DIFFERENCES = """\
## What differs from one machine

* The gradient is the mean over all devices. The learning rate is taken as it is written: nothing scales it.
* BatchNorm sees the images of one device. Of several machines, each owns a share of the weights, and those
  statistics that are in it; what is stored is put together from all.
* A snapshot is taken before the machines exchange what they have learnt: weights of other machines are at
  most one step off, and their momentum is not the true one. Expect a small step in the loss after resuming.
* `random_seed` is offset by the number of the device, so machines with one device each draw the same numbers.
* No epoch is shuffled.
* There is no test after the last iteration: use -test. Each executor tests the weights that it has, and the
  result of one is kept.
* -test and -features read up to max_iter batches, whatever test_iter says, and leave the last batch of each
  partition out if it is not whole: with two partitions at batch 10, 190 of 200 images. A blob with one number
  a batch, as accuracy, is written once for each image of the batch.
* Snapshots are called by `snapshot_prefix`, which `netbuilder solver` takes from the net. Two jobs with the
  same one and the same folder of `-model` overwrite each other's: give each job its own folder.
"""


def _findings(validated: Validated) -> str:
    if not validated.findings:
        return ""
    lines = ["## What netbuilder found\n"]
    for f in validated.findings:
        place = f"{f.layer}: " if f.layer else ""
        lines.append(f"* {f.severity}: {place}{f.text} [{f.code}]" + (f"  \n  {f.fix}" if f.fix else ""))
    return "\n".join(lines) + "\n"
