"""Each code: an example with the fault, and the complete text of its finding."""

# ruff: noqa: E501 (texts of findings stay on one line)

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from netbuilder.caffeonspark import CODES
from netbuilder.solvers import Recipe
from tests.caffeonspark.job_files import RESUMABLE, Edit, example, found, job, validated
from tests.caffeonspark.test_verdicts import TRAIN_RULE, VERDICTS, layer

TRAIN = layer("cos_lmdb", "TRAIN")
FRAME_CLASS = ("net", "com.yahoo.ml.caffe.LMDB", "com.yahoo.ml.caffe.ImageDataFrame")
RECIPE = Recipe(source="a test", images=1281167, batch=256, base_lr=0.1, epochs=90)


class Case(NamedTuple):
    """An example with a fault; the finding's text, and its layer and line in the solver or the net."""

    text: str
    edits: tuple[Edit, ...] = ()
    kind: str = "cos_lmdb"
    layer: str = ""
    line: int = 0
    job: dict[str, Any] = {}  # noqa: RUF012 (never changed)


def net(old: str, new: str) -> Edit:
    return ("net", old, new)


def solver(old: str, new: str) -> Edit:
    return ("solver", old, new)


def said(severity: str, code: str, text: str, fix: str = "") -> str:
    return f"{severity}: {text} [{code}]" + (f"\n  fix: {fix}" if fix else "")


CASES: dict[str, Case] = {
    # 1
    "solver-syntax": Case(
        said("error", "solver-syntax", "'max_iter' takes an integer from -2147483648 to 2147483647, found many"),
        (solver("max_iter: 600000", "max_iter: many"),), line=10,
    ),
    "solver-field": Case(
        said("error", "solver-field", "CaffeOnSpark's SolverParameter lacks the field 'weights': it refuses the whole file",
             "remove it; to start from a model, pass -weights to the job"),
        VERDICTS["s_weightsfield"].edits, line=18,
    ),
    "no-net": Case(
        said("error", "no-net", "net is not set: the driver looks for a file with an empty name",
             "name in net the file of the net, with both phases"),
        (solver('net: "resnet50_cos_lmdb.prototxt"\n', ""),),
    ),
    "train-net": Case(
        said("error", "train-net", "train_net is given, but CaffeOnSpark reads only net",
             "write both phases into one file, and name it in net"),
        VERDICTS["s_trainnet"].edits, line=1,
    ),
    "net-path": Case(
        said("error", "net-path", "net 'nets/resnet50_cos_lmdb.prototxt' is not a bare file name: executors receive files without folders",
             'put the net beside the solver, and write net: "resnet50_cos_lmdb.prototxt"'),
        (solver('net: "', 'net: "nets/'),), line=1,
    ),
    "net-file": Case(
        said("error", "net-file", "the net 'other.prototxt' cannot be read: '{folder}/other.prototxt' is missing or not a text file",
             "put the net into the folder of the solver, and ship both with --files"),
        (solver("resnet50_cos_lmdb.prototxt", "other.prototxt"),), line=1,
    ),
    # 2
    "test-iter": Case(
        said("error", "test-iter", "test_iter must be given exactly once, got 2", "write test_iter: N; 0 trains without tests"),
        (solver("test_iter: 2000", "test_iter: 2000 test_iter: 10"),), line=2,
    ),
    "snapshot-prefix": Case(
        said("error", "snapshot-prefix", "snapshot_prefix 'snapshots/resnet50' has a folder: executors write snapshots to their working folder and copy them beside -model",
             'write a bare name, snapshot_prefix: "resnet50"'),
        (solver('"resnet50"', '"snapshots/resnet50"'),), line=15,
    ),
    "max-iter": Case(
        said("error", "max-iter", "max_iter must be above 0, got 0"), (solver("max_iter: 600000", "max_iter: 0"),), line=10
    ),
    "cpu-devices": Case(
        said("error", "cpu-devices", "solver_mode CPU allows 1 device per executor, got 2",
             "use one device and more executors, or solver_mode: GPU"),
        (solver("GPU", "CPU"),), line=17, job={"devices": 2, "train_images": None},
    ),
    "lr-policy": Case(
        said("error", "lr-policy", "stock Caffe has no lr_policy 'cosine every 5005': executors abort at the first update",
             "netbuilder solver RECIPE --stock lists the closest stock policies and writes one"),
        (solver('"multistep"', '"cosine every 5005"'),), line=5,
    ),
    "solver-value": Case(
        said("error", "solver-value", "momentum must be at least 0 and below 1, got 9"),
        (solver("momentum: 0.9", "momentum: 9"),), line=11,
    ),
    "solver-odd": Case(
        said("warning", "solver-odd", "stepvalues that do not rise take effect late: one at each update"),
        (solver("stepvalue: 300000", "stepvalue: 150000"),), line=6,
    ),
    "iter-size": Case(
        said("warning", "iter-size", "iter_size 2: CaffeOnSpark supplies one batch per iteration, and all 2 passes use the same images",
             "remove it, and use more devices or executors for a larger batch"),
        (solver("momentum: 0.9", "momentum: 0.9 iter_size: 2"),), line=11,
    ),
    "no-snapshot": Case(
        said("warning", "no-snapshot", "snapshot is 0 at max_iter 600000: nothing is written before the end, and a job that loses an executor cannot resume",
             "write snapshot: N, the number of iterations between two snapshots"),
        (solver("snapshot: 10001\n", ""),),
    ),
    # 3
    "net-syntax": Case(
        said("error", "net-syntax", "expected ':' after 'batch_size', found 16"),
        (net("batch_size: 16", "batch_size 16"),), line=11,
    ),
    "unknown-field": Case(
        said("error", "unknown-field", "TransformationParameter has no field 'crop_h': CaffeOnSpark refuses the whole file",
             "dialects that have it: nvcaffe, intel, ssd, any"),
        (net("crop_size: 224", "crop_size: 224 crop_h: 224"),), line=19,
    ),
    "newer-field": Case(
        said("error", "newer-field", "pool1: CaffeOnSpark's Caffe lacks the field pooling_param.round_mode: it refuses the whole file", "remove it"),
        VERDICTS["s_roundmode"].edits, layer="pool1", line=75,
    ),
    "old-format": Case(
        said("error", "old-format", "'layers' is the format of 2014, which CaffeOnSpark's driver does not upgrade",
             'write each as layer { type: "ReLU" ... }, as Caffe\'s upgrade_net_proto_text does'),
        VERDICTS["s_v1"].edits, line=2,
    ),
    "net-build": Case(
        said("error", "net-build", "fc: in TRAIN and TEST Caffe aborts: num_output is missing or 0"),
        (net("num_output: 1000", "num_output: 0"),), layer="fc", line=1493,
    ),
    # 4
    "phase-missing": Case(
        said("error", "phase-missing", "no layer has include { phase: TEST }: the driver runs off the end of the net (IndexOutOfBoundsException)",
             "add a data layer for TEST as layer 1; one file holds both phases"),
        VERDICTS["s_trainonly"].edits,
    ),
    "exclude-ignored": Case(
        said("error", "exclude-ignored", "data: the driver ignores exclude and finds no layer for TRAIN: it runs off the end of the net (IndexOutOfBoundsException)",
             "replace exclude with include { phase: TRAIN }"),
        (net(TRAIN_RULE, "  exclude { phase: TEST }\n"),), layer="data", line=2,
    ),
    "wrong-data-layer": Case(
        said("error", "wrong-data-layer", "between: the driver treats this Dropout as the data layer of TRAIN: it is the last one with include { phase: TRAIN } before the driver has found both phases",
             "make the data layers of TRAIN and TEST the first two layers of the file"),
        VERDICTS["s_trainlayerbetween"].edits, layer="between", line=25,
    ),
    "data-layer-place": Case(
        said("error", "data-layer-place", "zeros: the data layers, one per phase, must be layers 0 and 1 of the file, not 1 and 2",
             "move 'zeros' after them"),
        (net(TRAIN, 'layer { name: "zeros" type: "DummyData" top: "zeros" dummy_data_param { shape { dim: 1 } } }\n' + TRAIN),),
        layer="zeros", line=2,
    ),
    "data-layer-rule": Case(
        said("error", "data-layer-rule", "data: the driver reads only the phase of an include rule, and this rule has stage, by which Caffe leaves the layer out",
             "write include { phase: TRAIN } or include { phase: TEST }"),
        (net("include { phase: TEST }", 'include { phase: TEST stage: "val" }'),), layer="data", line=25,
    ),
    # 5
    "data-type": Case(
        said("error", "data-type", "data: Data reads its own data, but CaffeOnSpark feeds only MemoryData and CoSData: executors abort",
             "use MemoryData with a source_class: netbuilder build NET --data cos_lmdb"),
        kind="bvlc", layer="data", line=2,
    ),
    "source-class-missing": Case(
        said("error", "source-class-missing", "data: source_class is missing: the driver continues without a data source and fails later",
             "MemoryData takes com.yahoo.ml.caffe.LMDB, com.yahoo.ml.caffe.SeqImageDataSource, com.yahoo.ml.caffe.ImageDataFrame"),
        (net('  source_class: "com.yahoo.ml.caffe.LMDB"\n', ""),), layer="data", line=2,
    ),
    "source-class": Case(
        said("error", "source-class", "data: source_class com.yahoo.ml.caffe.Lmdb does not exist (ClassNotFoundException)",
             "did you mean 'com.yahoo.ml.caffe.LMDB'?"),
        (net("com.yahoo.ml.caffe.LMDB", "com.yahoo.ml.caffe.Lmdb"),), layer="data", line=2,
    ),
    # 6
    "source": Case(
        said("error", "source", "data: MemoryData lacks a source: the data source does not start, and the job fails in the executors",
             "name the data set: a folder or URL that every executor can reach"),
        VERDICTS["s_nomemsource"].edits, layer="data", line=2,
    ),
    "batch-size": Case(
        said("error", "batch-size", "data: batch_size is missing or 0", "state the images per pass on one device"),
        (net("    batch_size: 16\n", ""),), layer="data", line=2,
    ),
    "lmdb-local": Case(
        said("error", "lmdb-local", "data: '/data/ilsvrc12_train_lmdb' is a local folder to the driver, which refuses to copy it to the nodes",
             "put it on every node and write file:/PATH"),
        (net("file:/data/ilsvrc12_train_lmdb", "/data/ilsvrc12_train_lmdb"),), layer="data", line=2,
    ),
    "lmdb-copied": Case(
        said("warning", "lmdb-copied", "data: 'hdfs:///data/ilsvrc12_train_lmdb' does not start with 'file:': Spark copies the whole LMDB to every node",
             "put it on every node and write file:/PATH, or use a SequenceFile or a data frame"),
        (net("file:/data/ilsvrc12_train_lmdb", "hdfs:///data/ilsvrc12_train_lmdb"),), layer="data", line=2,
    ),
    "lmdb-relative": Case(
        said("warning", "lmdb-relative", "data: 'file:data/ilsvrc12_val_lmdb' is relative to the working folder of each executor",
             "write file:/PATH, with the same folder on every node"),
        (net("file:/data/ilsvrc12_val_lmdb", "file:data/ilsvrc12_val_lmdb"),), layer="data", line=25,
    ),
    # 7
    "memory-size": Case(
        said("error", "memory-size", "data: channels, width of memory_data_param must be given and positive",
             "state the size of an image as the net receives it, after the crop"),
        (net("    channels: 3\n", ""), net("    width: 224\n", "    width: 0\n")), layer="data", line=2,
    ),
    "memory-tops": Case(
        said("error", "memory-tops", "data: MemoryData needs two tops, images and labels, got 3", 'write top: "data" top: "label"'),
        (net('  top: "label"\n', '  top: "label"\n  top: "id"\n'),), layer="data", line=2,
    ),
    "share-in-parallel": Case(
        said("warning", "share-in-parallel", "data: share_in_parallel defaults to true, which CaffeOnSpark's manual forbids",
             "write share_in_parallel: false in memory_data_param"),
        (net("    share_in_parallel: false\n", ""),), layer="data", line=2,
    ),
    "tops-differ": Case(
        said("warning", "tops-differ", "data: the tops are image and label in TEST and data and label in TRAIN",
             "give both data layers the same tops"),
        (net(layer("cos_lmdb", "TEST"), layer("cos_lmdb", "TEST").replace('top: "data"', 'top: "image"')),), layer="data", line=25,
    ),
    # 8
    "crop-size": Case(
        said("error", "crop-size", "data: crop_size 224 gives images of 224x224, but memory_data_param states 256x256",
             "write height: 224 width: 224, the size after the crop"),
        (net("    height: 224\n    width: 224\n", "    height: 256\n    width: 256\n"),), layer="data", line=2,
    ),
    "mean-values": Case(
        said("error", "mean-values", "data: mean_value must be given once or 3 times (one per channel), got 2", "give them in the order B, G, R"),
        (net("    mean_value: 104\n", ""),), layer="data", line=2,
    ),
    "mean-file": Case(
        said("error", "mean-file", "mean_file 'data/mean.binaryproto' is not a bare file name: executors receive files without folders",
             "put it beside the net and write its bare name, or use mean_value"),
        (net("    mean_value: 104\n    mean_value: 117\n    mean_value: 123\n", '    mean_file: "data/mean.binaryproto"\n'),),
    ),
    "resize-crop": Case(
        said("warning", "resize-crop", "data: -resize makes the images as small as the crop, so every crop is the whole image",
             "remove -resize, and resize the images when you make the data set"),
        layer="data", line=2, job={"resize": True},
    ),
    "image-size": Case(
        said("info", "image-size", "data: without crop_size every image must be exactly 224x224",
             "crop them with crop_size, or resize them to 224x224 with -resize"),
        (net("    crop_size: 224\n", ""),), layer="data", line=2,
    ),
    # 9
    "data-column": Case(
        said("error", "data-column", "data: dataframe_column_select drops every column that it does not name, including data",
             'add dataframe_column_select: "data"'),
        (FRAME_CLASS, net("    channels: 3\n", '    channels: 3 dataframe_column_select: "cast(label as string) as label"\n')),
        layer="data", line=2,
    ),
    "label-type": Case(
        said("warning", "label-type", "data: ImageDataFrame accepts labels only as text: an integer column, as Binary2DataFrame writes it, fails in the executors (ClassCastException)",
             'select it as text, dataframe_column_select: "cast(label as string) as label"'),
        (FRAME_CLASS,), layer="data", line=2,
    ),
    "encoded-column": Case(
        said("warning", "encoded-column", "data: ImageDataFrame without a column 'encoded' fails in the executors (NullPointerException); image_encoded does not reach the executors",
             'add it, dataframe_column_select: "true as encoded"'),
        (FRAME_CLASS, net("    channels: 3\n", "    channels: 3 image_encoded: true\n")), layer="data", line=2,
    ),
    # 10
    "cos-tops": Case(
        said("error", "cos-tops", "data: the top blocks of cos_data_param must match the tops in order: label, data; got data, label",
             "write one block top { name ... } per top"),
        (net('  top: "data"\n  top: "label"\n', '  top: "label"\n  top: "data"\n'),), kind="cos_df", layer="data", line=2,
    ),
    "cos-size": Case(
        said("error", "cos-size", "data: crop_size 224 gives images of 224x224 for 'data', but the block states 256x256",
             "write out_height: 224 out_width: 224"),
        (net("      out_height: 224\n      out_width: 224\n", ""),), kind="cos_df", layer="data", line=2,
    ),
    "cos-transform": Case(
        said("error", "cos-transform", "data: 'label' is not an image, but has a transform_param: CaffeOnSpark does not implement that",
             "remove transform_param from its block"),
        (net("      type: INT\n", "      type: INT transform_param { scale: 2 }\n"),), kind="cos_df", layer="data", line=2,
    ),
    "cos-axes": Case(
        said("error", "cos-axes", "data: transpose of 'label' needs sample_num_axes 1, got 0",
             "write sample_num_axes: 1, or remove transpose"),
        (net("sample_num_axes: 0", "sample_num_axes: 0 transpose: true"),), kind="cos_df", layer="data", line=2,
    ),
    "cos-shuffle": Case(
        said("warning", "cos-shuffle", "data: shuffle has no effect: every epoch reads the frame in its own order",
             "remove it, and shuffle the rows when you write the frame"),
        (net("    batch_size: 16\n", "    batch_size: 16 shuffle: true\n"),), kind="cos_df", layer="data", line=2,
    ),
    # 11
    "batchnorm-trained": Case(
        said("error", "batchnorm-trained", "bn_conv1: CaffeOnSpark's solver trains the statistics of a BatchNorm with 2 param: weight decay shrinks them",
             "write param { lr_mult: 0 decay_mult: 0 } three times"),
        (net("  param { lr_mult: 0 decay_mult: 0 }\n", ""),), layer="bn_conv1", line=56,
    ),
    "batchnorm-global-stats": Case(
        said("error", "batchnorm-global-stats", "bn_conv1: use_global_stats: false applies to both phases of the file: the layer uses those of the batch in TEST",
             "remove it: the default is true in TEST and false in TRAIN"),
        (net('  name: "bn_conv1"\n', '  name: "bn_conv1" batch_norm_param { use_global_stats: false }\n'),), layer="bn_conv1", line=56,
    ),
    "other-data-layer": Case(
        said("error", "other-data-layer", "more: CaffeOnSpark feeds one data layer per phase, and this HDF5Data is another",
             "remove it; a CoSData layer can have a top for each column of the frame"),
        (net('layer {\n  name: "conv1"\n', 'layer { name: "more" type: "HDF5Data" top: "more" hdf5_data_param { source: "x" batch_size: 1 } }\nlayer {\n  name: "conv1"\n'),),
        layer="more", line=48,
    ),
    # 12
    "train-images": Case(
        said("error", "train-images", "test_interval 5005 * batch 16 * 1 device * 16 executors = 1281280 images, but the training set has 1281167: the job ends without training",
             "write test_interval: 5004, or less"),
        (solver("test_interval: 5000", "test_interval: 5005"),), line=3,
    ),
    "test-images": Case(
        said("error", "test-images", "test_iter 2001 * batch 25 = 50025 images, but the test set has 50000: the job ends without training",
             "write test_iter: 2000"),
        (solver("test_iter: 2000", "test_iter: 2001"),), line=2,
    ),
    "partitions": Case(
        said("error", "partitions", "plain training needs a partition for each of 16 executors, got -lmdb_partitions 8",
             "use -lmdb_partitions 16 or a multiple of it"),
        (solver("test_iter: 2000", "test_iter: 0"),), job={"lmdb_partitions": 8},
    ),
    "outputs-differ": Case(
        said("warning", "outputs-differ", "the TRAIN net ends in extra, loss, the TEST net in loss, accuracy: CaffeOnSpark never shows extra",
             "end both phases in the same losses; the TEST net may have more outputs"),
        (net('layer { name: "loss"', 'layer { name: "extra" type: "Softmax" bottom: "fc" top: "extra" include { phase: TRAIN } }\nlayer { name: "loss"'),),
    ),
    "test-part": Case(
        said("info", "test-part", "a test uses 25000 of 50000 images; the next test continues after them",
             "write test_iter: 2000 to use all of them"),
        (solver("test_iter: 2000", "test_iter: 1000"),), line=2,
    ),
    "sizes-unknown": Case(
        said("info", "sizes-unknown", "test_images not given: cannot check that the data suffices", "give test_images"),
        job={"test_images": None},
    ),
    "resume-hangs": Case(
        said("error", "resume-hangs", "a resume at iteration 5068 leaves over 1088 training images before a test (68 iterations since the last one), and an executor queues 1072: solver and driver wait for each other for ever",
             "write test_iter: 0 to resume without tests, or resume from another snapshot"),
        line=2, job={"snapshot": "hdfs:///m/r_iter_5068.solverstate", "weights": "hdfs:///m/r_iter_5068.caffemodel"},
    ),
    "snapshot-hangs": Case(
        said("warning", "snapshot-hangs", "snapshot 5001 with test_interval 5000: a job that resumes from iteration 340068 waits for ever, because more than 1072 training images are left over before a test",
             "write snapshot: 10001, from which each resume runs, or resume with test_iter: 0"),
        (solver(RESUMABLE, "snapshot: 5001"),), line=14,
    ),
    # 13
    "snapshot-weights": Case(
        said("error", "snapshot-weights", "-snapshot is given without -weights: the driver refuses to resume",
             "give both files of the snapshot: -snapshot X.solverstate -weights X.caffemodel"),
        job={"snapshot": "hdfs:///m/r_iter_5.solverstate"},
    ),
    "name-clash": Case(
        said("error", "name-clash", "'{folder}/a/mean.binaryproto' and '{folder}/b/mean.binaryproto' have the same name on the executors, 'mean.binaryproto'",
             "rename one of them"),
        (
            net("    mean_value: 104\n    mean_value: 117\n    mean_value: 123\n", '    mean_file: "a/mean.binaryproto"\n'),
            net("    mean_value: 104\n    mean_value: 117\n    mean_value: 123\n", '    mean_file: "b/mean.binaryproto"\n'),
        ),
    ),
    "file-name": Case(
        said("error", "file-name", "spark-submit splits 'a,b.binaryproto' at the comma into several files", "rename it"),
        (net("    mean_value: 104\n    mean_value: 117\n    mean_value: 123\n", '    mean_file: "a,b.binaryproto"\n'),),
    ),
    "connection": Case(
        said("error", "connection", "16 executors need -connection; without it CaffeOnSpark uses InfiniBand, and a build that lacks it ends with \"Failed to create CaffeNet object\"", "use -connection ethernet"),
        job={"connection": ""},
    ),
    "cpu-connection": Case(
        said("error", "cpu-connection", "solver_mode CPU connects 16 executors over ethernet only, got infiniband", "use -connection ethernet"),
        (solver("GPU", "CPU"),), line=17, job={"connection": "infiniband"},
    ),
    "model-url": Case(
        said("error", "model-url", "-model 'net.caffemodel' lacks a folder; CaffeOnSpark copies the snapshots there",
             "give a URL with a folder, for example hdfs:///models/net.caffemodel"),
        job={"model": "net.caffemodel"},
    ),
    "features-blob": Case(
        said("error", "features-blob", "the TEST net has no blob 'prob'", "its outputs are loss, accuracy"),
        job={"features": ("accuracy", "prob")},
    ),
    "infiniband": Case(
        said("warning", "infiniband", "without InfiniBand in its build, CaffeOnSpark ends with \"Failed to create CaffeNet object\"",
             "use -connection ethernet, unless yours was built with it"),
        job={"connection": "infiniband"},
    ),
    "model-local": Case(
        said("warning", "model-local", "-model 'file:/models/net.caffemodel' is on whichever machine runs the executor of rank 0; if its folder is missing there, the job writes no model and still ends with exit code 0",
             "make the folder on every machine, or give a URL that all machines can reach, for example hdfs:///models/net.caffemodel"),
        job={"model": "file:/models/net.caffemodel"},
    ),
    "features-and-test": Case(
        said("warning", "features-and-test", "-test and -features are both given: CaffeOnSpark only writes features",
             "remove one, and run it as a second job"),
        job={"features": ("accuracy",), "test": True},
    ),
    # 14
    "learning-rate": Case(
        said("warning", "learning-rate", "base_lr is 0.1; the recipe's 0.1 for a batch of 256 scales to 0.2 for 512. CaffeOnSpark does not scale the rate",
             "write base_lr: 0.2, or write the solver again: netbuilder solver RECIPE --gpus 32"),
        (solver("test_interval: 5000", "test_interval: 2500"),), line=4, job={"devices": 2, "recipe": RECIPE},
    ),
}  # fmt: skip


@pytest.mark.parametrize("code", CASES)
def test_a_fault_is_reported_with_its_place_and_fix(code: str, tmp_path: Path) -> None:
    case = CASES[code]
    result = validated(tmp_path, case.kind, case.edits, **case.job)
    findings = found(result, code)
    assert findings, [str(f) for f in result.findings]
    first = findings[0]
    assert str(first) == case.text.replace("{folder}", str(tmp_path))
    assert (first.layer, first.line, first.severity) == (case.layer, case.line, CODES[code].severity)


@pytest.mark.parametrize("code", CASES)
def test_a_fault_causes_no_other_errors_except_its_consequences(code: str, tmp_path: Path) -> None:
    follows = {
        "train-net": {"no-net"},
        "net-path": {"net-file"},
        "name-clash": {"mean-file"},
        "file-name": {"mean-file"},
        "cpu-connection": {"infiniband"},
        "phase-missing": {"net-build"},  # TEST has no data
        "data-layer-rule": {"net-build"},  # likewise, without the stage
        "tops-differ": {"net-build"},
        "cos-tops": {"net-build"},
        "cos-size": {"net-build"},
    }
    case = CASES[code]
    result = validated(tmp_path, case.kind, case.edits, **case.job)
    errors = {f.code for f in result.findings if f.severity == "error"}
    assert errors - {code} <= follows.get(code, set())


def test_every_code_and_every_rule_has_a_case() -> None:
    assert sorted(CASES) == sorted(CODES)
    assert {code.rule for code in CODES.values()} == set(range(1, 15))


@pytest.mark.parametrize(
    ("field", "paths"),
    [
        ("swish_param { beta: 2 }", ["swish_param"]),
        ("clip_param { min: 0 max: 1 }", ["clip_param"]),
        ("infogain_loss_param { axis: 1 }", ["infogain_loss_param.axis"]),
        ("pooling_param { round_mode: CEIL }", ["pooling_param.round_mode"]),
        ("pooling_param { pool: MAX }", []),
    ],
)
def test_a_newer_field_is_refused_in_a_layer_of_any_type(
    field: str, paths: list[str], tmp_path: Path
) -> None:
    edit = net('layer { name: "relu_conv1"', f'layer {{ {field} name: "relu_conv1"')
    texts = [f.text for f in found(validated(tmp_path, edits=[edit]), "newer-field")]
    assert texts == [
        f"CaffeOnSpark's Caffe lacks the field {path}: it refuses the whole file" for path in paths
    ]


def test_an_include_rule_without_a_phase_counts_as_train(tmp_path: Path) -> None:
    # Without a phase, getPhase returns the first value of the enum, TRAIN.
    edits = [
        net(
            layer("cos_lmdb", "TEST"),
            'layer { name: "odd" type: "ReLU" bottom: "data" top: "data" include { stage: "x" } }\n'
            + layer("cos_lmdb", "TEST"),
        )
    ]
    (finding,) = found(validated(tmp_path, edits=edits), "wrong-data-layer")
    assert (finding.layer, finding.line) == ("odd", 25)


def test_a_batchnorm_needs_rates_of_0_which_disable_decay(tmp_path: Path) -> None:
    zero = "  param { lr_mult: 0 decay_mult: 0 }\n"
    trained = validated(tmp_path / "a", edits=[net(zero, "  param { lr_mult: 1 decay_mult: 0 }\n")])
    assert [f.text for f in found(trained, "batchnorm-trained")] == [
        "CaffeOnSpark's solver trains the statistics of a BatchNorm with an lr_mult above 0: weight decay shrinks them"
    ]
    assert validated(tmp_path / "b", edits=[net(zero, "  param { lr_mult: 0 }\n")]).findings == ()


def test_use_global_stats_true_collects_no_statistics(tmp_path: Path) -> None:
    edit = net('  name: "bn_conv1"\n', '  name: "bn_conv1" batch_norm_param { use_global_stats: true }\n')
    (finding,) = found(validated(tmp_path, edits=[edit]), "batchnorm-global-stats")
    assert finding.text.endswith(
        "applies to both phases of the file: the layer collects no statistics in TRAIN"
    )


def test_mean_value_and_mean_file_together_are_refused(tmp_path: Path) -> None:
    edit = net("    mean_value: 104\n", '    mean_value: 104 mean_file: "mean.binaryproto"\n')
    result = validated(tmp_path, edits=[edit])
    assert [f.text for f in found(result, "mean-values")] == [
        "mean_value and mean_file are both given: Caffe aborts"
    ]
    assert [f.text for f in found(result, "mean-file")] == [
        f"mean_file '{tmp_path}/mean.binaryproto' does not exist"
    ]


def test_one_mean_value_is_enough(tmp_path: Path) -> None:
    edit = net("    mean_value: 104\n    mean_value: 117\n    mean_value: 123\n", "    mean_value: 120\n")
    assert validated(tmp_path, edits=[edit]).findings == ()


def test_a_frame_that_supplies_text_labels_and_encoded_is_accepted(tmp_path: Path) -> None:
    select = " ".join(
        f'dataframe_column_select: "{text}"'
        for text in ("data", "CAST(label AS STRING) AS label", "true as encoded")
    )
    edits = [FRAME_CLASS, net("    channels: 3\n", f"    channels: 3 {select}\n")]
    assert validated(tmp_path, edits=edits).findings == ()


def test_a_selection_of_everything_drops_no_column(tmp_path: Path) -> None:
    select = 'dataframe_column_select: "*" dataframe_column_select: "true as encoded"'
    edits = [FRAME_CLASS, net("    channels: 3\n", f"    channels: 3 {select}\n")]
    assert [f.code for f in validated(tmp_path, edits=edits).findings] == ["label-type"]


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("sample_num_axes: 0", "sample_num_axes: 4", "sample_num_axes of 'label' must be at most 3, got 4"),
        (
            "crop_size: 224\n",
            "crop_size: 300\n",
            "crop_size 300 gives images of 300x300 for 'data', but the block states 224x224",
        ),
        (
            "      height: 256\n",
            "      height: 200\n",
            "crop_size 224 is larger than the images of 'data', 200x256",
        ),
        (
            "crop_size: 224\n",
            "\n",
            "the transformation without crop_size gives images of 256x256 for 'data', but the block states 224x224",
        ),
    ],
)
def test_sizes_of_cos_data(old: str, new: str, text: str, tmp_path: Path) -> None:
    result = validated(tmp_path, "cos_df", [net(old, new)])
    assert text in [f.text for f in result.findings]


def test_an_image_of_cos_data_needs_a_transformation(tmp_path: Path) -> None:
    _, text = example("cos_df")
    start = text.index("      transform_param {")
    block = text[start : text.index("      }\n", start) + len("      }\n")]
    (finding,) = found(validated(tmp_path, "cos_df", [net(block, "")]), "cos-transform")
    assert finding.text == "the images of 'data' need a transformation, which turns them into numbers"


@pytest.mark.parametrize(
    ("rule", "state", "unmet"),
    [
        ('not_stage: "a"', "", ""),  # ran, on CaffeOnSpark itself
        ('not_stage: "a"', 'stage: "a"', "not_stage"),
        ('stage: "a"', "", "stage"),
        ('stage: "a"', 'stage: "a" stage: "b"', ""),
        ("min_level: 1", "", "min_level"),
        ("min_level: 1", "level: 1", ""),
        ("max_level: 2", "", ""),
        ("max_level: 2", "level: 3", "max_level"),
    ],
)
@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
def test_a_rule_may_state_more_than_a_phase_if_caffe_keeps_the_layer(
    rule: str, state: str, unmet: str, phase: str, tmp_path: Path
) -> None:
    edits = [
        net(f"include {{ phase: {phase} }}", f"include {{ phase: {phase} {rule} }}"),
        solver("solver_mode", f"{phase.lower()}_state {{ {state} }} solver_mode"),
    ]
    findings = found(validated(tmp_path, edits=edits), "data-layer-rule")
    assert [f.text.partition("this rule has ")[2].partition(",")[0] for f in findings] == [unmet] * bool(
        unmet
    )


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("data/lmdb", "lmdb-local"),
        ("/data/lmdb", "lmdb-local"),
        ("local:/data/lmdb", "lmdb-local"),
        ("hdfs://host/data/lmdb", "lmdb-copied"),
        ("s3a://bucket/lmdb", "lmdb-copied"),
        ("file:data/lmdb", "lmdb-relative"),
        ("file:/data/lmdb", ""),
        ("file:///data/lmdb", ""),
    ],
)
def test_where_an_lmdb_is(source: str, code: str, tmp_path: Path) -> None:
    result = validated(tmp_path, edits=[net("file:/data/ilsvrc12_train_lmdb", source)])
    assert [f.code for f in result.findings] == [code] * bool(code)


def test_a_class_for_the_other_layer_type_is_refused(tmp_path: Path) -> None:
    edit = net("com.yahoo.ml.caffe.LMDB", "com.yahoo.ml.caffe.DataFrameSource")
    (finding,) = found(validated(tmp_path, edits=[edit]), "source-class")
    assert finding.text == "source_class com.yahoo.ml.caffe.DataFrameSource feeds CoSData layers"


def test_the_cpu_takes_one_device_and_ethernet(tmp_path: Path) -> None:
    edit = solver("GPU", "CPU")
    assert validated(tmp_path, edits=[edit]).findings == ()
    assert [f.text for f in found(validated(tmp_path, edits=[edit], connection=""), "cpu-connection")] == [
        "solver_mode CPU connects 16 executors over ethernet only, got no -connection, which means infiniband"
    ]


def test_one_executor_needs_no_connection(tmp_path: Path) -> None:
    assert validated(tmp_path, executors=1, connection="").findings == ()


def test_an_unknown_policy_is_reported_once(tmp_path: Path) -> None:
    result = validated(tmp_path, edits=[solver('"multistep"', '"multistp"')])
    assert [str(f) for f in result.findings] == [
        "error: unknown lr_policy 'multistp' [lr-policy]\n  fix: did you mean 'multistep'?"
    ]


def test_a_missing_snapshot_prefix_is_refused(tmp_path: Path) -> None:
    (finding,) = validated(tmp_path, edits=[solver('snapshot_prefix: "resnet50"\n', "")]).findings
    assert finding.text.startswith("snapshot_prefix is not set: executors write snapshots")


def test_all_faults_are_reported_errors_first_and_the_solver_before_the_net(tmp_path: Path) -> None:
    edits = [
        solver("max_iter: 600000", "max_iter: 600000 iter_size: 2"),
        solver("test_iter: 2000\n", ""),
        net("    crop_size: 224\n", "    crop_size: 224\n    blur: 1\n"),
        net("kernel_size: 3 stride: 2 }", "kernel_size: 3 stride: 2 round_mode: FLOOR }"),
    ]
    result = validated(tmp_path, edits=edits)
    assert [(f.code, Path(f.file).name, f.line) for f in result.findings] == [
        ("test-iter", "solver.prototxt", 0),
        ("unknown-field", "resnet50_cos_lmdb.prototxt", 20),
        ("newer-field", "resnet50_cos_lmdb.prototxt", 76),
        ("iter-size", "solver.prototxt", 9),
    ]


def test_a_job_that_does_not_train_needs_no_training_data(tmp_path: Path) -> None:
    result = validated(
        tmp_path, edits=[solver("test_interval: 5000", "test_interval: 9999")], train=False, test=True
    )
    assert result.findings == ()
    assert (result.loop, result.arithmetic) == ("none", ())


def test_jobs_with_equal_values_are_equal(tmp_path: Path) -> None:
    assert job() == job(executors=16)
