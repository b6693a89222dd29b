"""A job as a folder: its files, its scripts as bash runs them, and that nobody's work is lost."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from netbuilder import __version__, prototxt
from netbuilder.caffeonspark import Validated, bundle, command, load, shipped, validate_sources
from netbuilder.errors import ConfigError, FileError
from netbuilder.prototxt import text as text_format
from netbuilder.schema import SolverParameter, message
from netbuilder.storage.files import MARK
from tests.caffeonspark.job_files import EXAMPLES, RESUMABLE, Edit, example, job, make

MODEL = "hdfs:///models/r50.caffemodel"
HOME = "/opt/caffe on spark"
LIBRARIES = f"{HOME}/caffe-public/distribute/lib:{HOME}/caffe-distri/distribute/lib:/usr/local/cuda/lib64"
JAR = f"{HOME}/caffe-grid/target/caffe-grid-0.1-SNAPSHOT-jar-with-dependencies.jar"
NAMES = [
    "README.md",
    "resnet50_cos_lmdb.prototxt",
    "solver.prototxt",
    "submit_standalone.sh",
    "submit_yarn.sh",
]
FRAME: tuple[Edit, ...] = (
    ("net", "com.yahoo.ml.caffe.LMDB", "com.yahoo.ml.caffe.ImageDataFrame"),
    ("net", "com.yahoo.ml.caffe.LMDB", "com.yahoo.ml.caffe.ImageDataFrame"),
)
MEANS = "    mean_value: 104\n    mean_value: 117\n    mean_value: 123\n"


def ready(folder: Path, kind: str = "cos_lmdb", edits: tuple[Edit, ...] = (), **changed: object) -> Validated:
    """An edited example, ready to be written as a bundle."""
    path = make(folder / "from", kind, edits)
    return validate_sources(load(path, bundle=True), job(**{"model": MODEL, **changed}))


def submitted(script: Path, **environment: str) -> tuple[list[str], str]:
    """The words that a script passes to spark-submit, and the folder in which it runs."""
    fake = script.parent.parent / "bin"
    fake.mkdir(exist_ok=True)
    (fake / "spark-submit").write_text('#!/bin/sh\npwd\nprintf "%s\\0" "$@"\n', encoding="utf-8")
    (fake / "spark-submit").chmod(0o755)
    env = {"PATH": f"{fake}:{os.environ['PATH']}", "CAFFE_ON_SPARK": HOME, **environment}
    done = subprocess.run(["bash", str(script)], env=env, cwd="/", capture_output=True, text=True, check=True)
    folder, _, words = done.stdout.partition("\n")
    return words.split("\0")[:-1], folder


YARN = [
    *("--master", "yarn", "--deploy-mode", "cluster"),
    *("--num-executors", "16", "--executor-cores", "1", "--executor-memory", "16g"),
    *("--files", "solver.prototxt,resnet50_cos_lmdb.prototxt"),
    *("--conf", "spark.dynamicAllocation.enabled=false", "--conf", "spark.speculation=false"),
    *("--conf", "spark.scheduler.maxRegisteredResourcesWaitingTime=600s"),
    *("--conf", f"spark.driver.extraLibraryPath={LIBRARIES}"),
    *("--conf", f"spark.executorEnv.LD_LIBRARY_PATH={LIBRARIES}"),
    *("--class", "com.yahoo.ml.caffe.CaffeOnSpark", JAR),
    *("-train", "-conf", "solver.prototxt", "-devices", "1", "-connection", "ethernet"),
    *("-model", MODEL),
]
STANDALONE = [
    *("--master", "spark://head:7077", "--conf", "spark.cores.max=64", "--conf", "spark.task.cpus=4"),
    *("--executor-memory", "16g"),
    *YARN[YARN.index("--files") : YARN.index("-model")],
    *("-clusterSize", "16", "-model", MODEL),
]


def test_a_bundle_has_all_files_of_a_job(tmp_path: Path) -> None:
    written = bundle(ready(tmp_path), tmp_path / "job")
    assert sorted(path.name for path in (tmp_path / "job").iterdir()) == NAMES
    assert sorted(written) == sorted((tmp_path / "job").iterdir())


def test_solver_and_net_are_copied_below_netbuilders_mark(tmp_path: Path) -> None:
    bundle(ready(tmp_path), tmp_path / "job")
    for name, text in zip(
        ("solver.prototxt", "resnet50_cos_lmdb.prototxt"), example("cos_lmdb"), strict=True
    ):
        first, _, rest = (tmp_path / "job" / name).read_text(encoding="utf-8").partition("\n")
        assert first == f"{MARK} {__version__} from {name}, for CaffeOnSpark"
        assert rest == text.replace("snapshot: 5000", RESUMABLE)


def test_a_text_that_netbuilder_wrote_is_copied_unchanged(tmp_path: Path) -> None:
    edit = ("solver", "net:", f"{MARK} 0.0.1\n# solver: resnet\nnet:")
    bundle(ready(tmp_path, edits=(edit,)), tmp_path / "job")
    assert (tmp_path / "job" / "solver.prototxt").read_bytes() == (
        tmp_path / "from" / "solver.prototxt"
    ).read_bytes()


@pytest.mark.parametrize("kind", ["cos_lmdb", "cos_seq", "cos_df"])
def test_bash_parses_the_scripts_of_every_example(kind: str, tmp_path: Path) -> None:
    path = EXAMPLES / f"solver_{kind}.prototxt"
    bundle(validate_sources(load(path, bundle=True), job(model=MODEL)), tmp_path / "job")
    for script in sorted((tmp_path / "job").glob("*.sh")):
        assert script.read_text(encoding="utf-8").startswith(f"#!/usr/bin/env bash\n{MARK} {__version__}")
        assert subprocess.run(["bash", "-n", str(script)], capture_output=True, check=True).stderr == b""


def test_the_words_that_spark_submit_receives_on_yarn(tmp_path: Path) -> None:
    bundle(ready(tmp_path), tmp_path / "job")
    words, folder = submitted(tmp_path / "job" / "submit_yarn.sh")
    assert words == YARN
    assert folder == str(tmp_path / "job")  # where --files finds its names


def test_the_words_that_spark_submit_receives_on_a_standalone_cluster(tmp_path: Path) -> None:
    bundle(ready(tmp_path, master="spark://head:7077", cores=4), tmp_path / "job")
    assert submitted(tmp_path / "job" / "submit_standalone.sh")[0] == STANDALONE


def test_every_option_is_passed_on(tmp_path: Path) -> None:
    validated = ready(
        tmp_path, executors=4, devices=2, memory="40g", features=("accuracy", "loss"), label="label",
        results="hdfs:///r50_features", results_format="parquet", lmdb_partitions=8, persistent=True,
        snapshot="hdfs:///m/r_iter_5.solverstate", weights="hdfs:///m/r_iter_5.caffemodel",
    )  # fmt: skip
    bundle(validated, tmp_path / "job")
    words, _ = submitted(tmp_path / "job" / "submit_yarn.sh")
    assert words[words.index("--executor-memory") + 1] == "40g"
    assert words[words.index(JAR) + 1 :] == [
        *("-train", "-features", "accuracy,loss", "-label", "label", "-conf", "solver.prototxt"),
        *("-devices", "2", "-connection", "ethernet", "-lmdb_partitions", "8", "-persistent"),
        *("-model", MODEL, "-output", "hdfs:///r50_features", "-outputFormat", "parquet"),
        *("-snapshot", "hdfs:///m/r_iter_5.solverstate", "-weights", "hdfs:///m/r_iter_5.caffemodel"),
    ]


@pytest.mark.parametrize("model", ["hdfs:///m/a b.caffemodel", "hdfs:///m/$(id)'\"`x`;&.caffemodel"])
def test_user_values_reach_the_program_unchanged(model: str, tmp_path: Path) -> None:
    bundle(ready(tmp_path, model=model, weights=model), tmp_path / "job")
    words, _ = submitted(tmp_path / "job" / "submit_yarn.sh")
    assert words[words.index("-model") :] == ["-model", model, "-weights", model]


@pytest.mark.parametrize("cluster", ["yarn", "standalone"])
def test_the_command_as_words_matches_the_script(cluster: str, tmp_path: Path) -> None:
    validated = ready(tmp_path, test=True, results="hdfs:///r", weights="hdfs:///m/w.caffemodel", cores=2)
    bundle(validated, tmp_path / "job")
    said = command(validated.job, shipped(validated), cluster)
    assert shlex.split(shlex.join(said)) == said
    words, _ = submitted(tmp_path / "job" / f"submit_{cluster}.sh", MASTER="spark://m:7077")
    known = {"$CAFFE_ON_SPARK": HOME, "$MASTER": "spark://m:7077"}
    for name, value in known.items():
        said = [word.replace(name, value) for word in said]
    assert said == ["spark-submit", *words]


def test_a_job_is_resumed_by_two_variables(tmp_path: Path) -> None:
    bundle(ready(tmp_path), tmp_path / "job")
    script = tmp_path / "job" / "submit_yarn.sh"
    assert submitted(script, SNAPSHOT="hdfs:///m/s", WEIGHTS="hdfs:///m/a b")[0] == [
        *YARN, "-snapshot", "hdfs:///m/s", "-weights", "hdfs:///m/a b",
    ]  # fmt: skip
    assert submitted(script, WEIGHTS="w")[0] == [*YARN, "-weights", "w"]
    with pytest.raises(subprocess.CalledProcessError) as caught:
        submitted(script, SNAPSHOT="hdfs:///m/s")
    assert caught.value.returncode == 2
    assert caught.value.stderr == "SNAPSHOT needs WEIGHTS, the .caffemodel of the same iteration\n"


@pytest.mark.parametrize("missing", ["CAFFE_ON_SPARK", "MASTER"])
def test_a_script_names_a_missing_variable(missing: str, tmp_path: Path) -> None:
    bundle(ready(tmp_path), tmp_path / "job")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        submitted(tmp_path / "job" / "submit_standalone.sh", **{"MASTER": "m", missing: ""})
    assert f"{missing}: set it to the " in caught.value.stderr


def test_files_of_other_folders_are_copied_under_bare_names(tmp_path: Path) -> None:
    edits: tuple[Edit, ...] = (
        ("solver", 'net: "', 'net: "nets/'),
        ("net", MEANS, '    mean_file: "means/train.binaryproto"\n'),
        ("net", MEANS, '    mean_file: "means/train.binaryproto"\n'),
    )
    path = make(tmp_path / "from", edits=edits)
    blob = message("BlobProto")(num=1, channels=3, height=224, width=224, data=[0.5] * (3 * 224 * 224))
    mean = blob.SerializeToString()
    (path.parent / "nets" / "means").mkdir(parents=True)
    (path.parent / "nets" / "means" / "train.binaryproto").write_bytes(mean)
    net = path.parent / "resnet50_cos_lmdb.prototxt"
    net.rename(path.parent / "nets" / net.name)
    validated = validate_sources(load(path, bundle=True), job(model=MODEL))
    assert validated.findings == ()
    bundle(validated, tmp_path / "job")
    solver = text_format.parse((tmp_path / "job" / "solver.prototxt").read_text(), SolverParameter).message
    assert solver.net == net.name
    train = prototxt.read(tmp_path / "job" / net.name, "TRAIN", dialect="caffeonspark")
    assert train["data"].proto.transform_param.mean_file == "train.binaryproto"
    assert (tmp_path / "job" / "train.binaryproto").read_bytes() == mean
    words, _ = submitted(tmp_path / "job" / "submit_yarn.sh")
    assert words[words.index("--files") + 1] == f"solver.prototxt,{net.name},train.binaryproto"
    readme = (tmp_path / "job" / "README.md").read_text(encoding="utf-8")
    assert f"* net: 'nets/{net.name}' is written as '{net.name}'\n" in readme
    assert "* mean_file: 'means/train.binaryproto' is written as 'train.binaryproto'\n" in readme
    # A second time: a mean file has no first line for netbuilder's mark.
    bundle(validated, tmp_path / "job")


def test_a_bundle_is_replaced_by_the_next_one(tmp_path: Path) -> None:
    bundle(ready(tmp_path), tmp_path / "job")
    bundle(ready(tmp_path, executors=8), tmp_path / "job")
    assert "EXECUTORS=8\n" in (tmp_path / "job" / "submit_yarn.sh").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["submit_yarn.sh", "README.md", "solver.prototxt"])
def test_a_foreign_file_is_refused_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    other = tmp_path / "job" / name
    other.write_text("#!/bin/sh\nmine\n", encoding="utf-8")
    with pytest.raises(FileError) as caught:
        bundle(ready(tmp_path), tmp_path / "job")
    assert str(caught.value) == (
        f"'{other}' is in the way, and netbuilder did not write it\n"
        "  hint:    choose another output folder, or use --force to replace it"
    )
    assert [path.name for path in (tmp_path / "job").iterdir()] == [name]
    bundle(ready(tmp_path), tmp_path / "job", force=True)
    assert sorted(path.name for path in (tmp_path / "job").iterdir()) == NAMES


def test_a_job_with_errors_or_without_a_model_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot write a bundle for a job with errors"):
        bundle(ready(tmp_path, edits=(("solver", "test_iter: 2000\n", ""),)), tmp_path / "job")
    with pytest.raises(ConfigError, match="a job needs a model"):
        bundle(ready(tmp_path, model=""), tmp_path / "job")
    assert not (tmp_path / "job").exists()


def test_a_net_named_like_a_file_of_the_bundle_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "from", edits=[("solver", "resnet50_cos_lmdb.prototxt", "README.md")])
    (path.parent / "resnet50_cos_lmdb.prototxt").rename(path.parent / "README.md")
    with pytest.raises(ConfigError, match=r"the bundle contains a generated file 'README\.md'"):
        bundle(validate_sources(load(path, bundle=True), job(model=MODEL)), tmp_path / "job")


# -- the README ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("cos_lmdb", ["**LMDB.**", "writable"]),
        ("cos_seq", ["com.yahoo.ml.caffe.tools.Binary2Sequence", "-labelFile"]),
        ("cos_df", ["**Data frame of columns.**", "as many files of equal size"]),
    ],
)
def test_the_readme_explains_how_to_make_the_data(kind: str, words: list[str], tmp_path: Path) -> None:
    bundle(ready(tmp_path, kind), tmp_path / "job")
    readme = (tmp_path / "job" / "README.md").read_text(encoding="utf-8")
    assert [word for word in words if word not in readme] == []
    others = {"**LMDB.**", "**SequenceFile.**", "**Data frame of columns.**", "**Data frame of images.**"}
    assert sum(word in readme for word in others) == 1


def test_the_readme_has_numbers_warnings_and_how_to_resume(tmp_path: Path) -> None:
    edits: tuple[Edit, ...] = (
        ("net", "    share_in_parallel: false\n", ""),
        ("solver", RESUMABLE, "snapshot: 10002"),
    )
    bundle(ready(tmp_path, edits=edits), tmp_path / "job")
    readme = (tmp_path / "job" / "README.md").read_text(encoding="utf-8")
    assert readme.startswith(f"{MARK} {__version__}: ResNet-50 on CaffeOnSpark\n")
    assert "| global batch | 16 a device \\* 1 device \\* 16 executors | 256 |\n" in readme
    assert "* warning: data: share_in_parallel defaults to true" in readme
    assert "every\n10002 iterations" in readme
    assert "SNAPSHOT=hdfs:///models/resnet50_iter_N.solverstate \\\n" in readme
    assert "WEIGHTS=hdfs:///models/resnet50_iter_N.caffemodel \\\n  bash submit_yarn.sh" in readme


def test_a_script_refuses_a_snapshot_that_hangs_until_the_solver_has_no_tests(tmp_path: Path) -> None:
    bundle(ready(tmp_path), tmp_path / "job")
    for cluster in ("yarn", "standalone"):
        script = tmp_path / "job" / f"submit_{cluster}.sh"
        where = {"WEIGHTS": "w", "MASTER": "m"}
        for left in (67, 5000 + 67):  # 67 * 16 = 1,072 images
            words, _ = submitted(script, SNAPSHOT=f"hdfs:///m/r_iter_{left}.solverstate", **where)
            assert words[-4:-2] == ["-snapshot", f"hdfs:///m/r_iter_{left}.solverstate"]
        for left, images in ((68, 1088), (5000, 80000)):
            with pytest.raises(subprocess.CalledProcessError) as caught:
                submitted(script, SNAPSHOT=f"hdfs:///m/r_iter_{left}.solverstate.h5", **where)
            assert caught.value.returncode == 2
            assert caught.value.stderr == (
                f"a resume of r_iter_{left}.solverstate.h5 hangs: {images} training images are left over "
                "before a test; write test_iter: 0 into solver.prototxt to resume without tests\n"
            )
    solver = tmp_path / "job" / "solver.prototxt"
    solver.write_text(solver.read_text(encoding="utf-8").replace("test_iter: 2000", "test_iter: 0"))
    assert "-snapshot" in submitted(script, SNAPSHOT="hdfs:///m/r_iter_68.solverstate", **where)[0]


def test_a_script_of_plain_training_resumes_any_snapshot(tmp_path: Path) -> None:
    bundle(ready(tmp_path, edits=(("solver", "test_iter: 2000", "test_iter: 0"),)), tmp_path / "job")
    script = tmp_path / "job" / "submit_yarn.sh"
    assert "-snapshot" in submitted(script, SNAPSHOT="m/r_iter_5000.solverstate", WEIGHTS="w")[0]
    assert "hang" not in script.read_text(encoding="utf-8")


def test_the_readme_says_how_caffeonspark_failed_when_it_was_run(tmp_path: Path) -> None:
    bundle(ready(tmp_path), tmp_path / "job")
    readme = " ".join((tmp_path / "job" / "README.md").read_text(encoding="utf-8").split())
    for said in (
        "write `test_iter: 0` into the solver",
        "The exit code proves nothing: it can be 0 without a result. Look for `hdfs:///models/r50.caffemodel`.",
        "Its folder must exist before the job starts",
        "only in the **stderr of the executors**",
        "| `NullPointerException`, `Lost executor ... 134` | Caffe aborted",
        "There is no test after the last iteration",
        "with two partitions at batch 10, 190 of 200 images",
        "Each executor tests the weights that it has",
        "overwrite each other's",
        "On a CPU an executor wants about three cores",
    ):
        assert said in readme


@pytest.mark.parametrize("kind", ["cos_df", "cos_image_df"])
def test_the_readme_of_a_data_frame_limits_its_row_groups(kind: str, tmp_path: Path) -> None:
    bundle(ready(tmp_path, *((kind, ()) if kind == "cos_df" else ("cos_lmdb", FRAME))), tmp_path / "job")
    text = (tmp_path / "job" / "README.md").read_text(encoding="utf-8")
    assert "keep each file, or else each row group, below that size" in " ".join(text.split())
    assert '"empty.reduceLeft"' in text
    if kind == "cos_image_df":
        assert "three words a line, `FILE LABEL ID`" in text
        assert "-output hdfs:///train_df -outputFormat parquet\n" in text


def test_the_readme_gives_hdf5_snapshots_their_suffix(tmp_path: Path) -> None:
    bundle(
        ready(tmp_path, edits=(("solver", RESUMABLE, f"{RESUMABLE} snapshot_format: HDF5"),)),
        tmp_path / "job",
    )
    readme = (tmp_path / "job" / "README.md").read_text(encoding="utf-8")
    assert "resnet50_iter_N.solverstate.h5 \\" in readme
    assert "resnet50_iter_N.caffemodel.h5 \\" in readme
