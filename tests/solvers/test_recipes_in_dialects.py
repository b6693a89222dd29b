"""Every recipe with its net, in every dialect: what its parser takes.

BVLC's is real Caffe, which builds the solver with its nets. CaffeOnSpark's is the list of its fork's fields
and its rules, NVCaffe's the list of its fields: neither runs here.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from netbuilder import prototxt
from netbuilder.caffeonspark import Cluster, Data, Job, Run, validate
from netbuilder.cli.main import main
from netbuilder.config.recipes import RECIPES, read_recipe
from netbuilder.engines.caffe import Caffe
from netbuilder.engines.caffe.install import environment
from netbuilder.solvers import check, plan, read_solver, schedule_of
from tests.databases import noise, write_lmdb

# Each with the net that it is the recipe of.
NETS = {
    "assemble_r50": "assemble_r50",
    "assemble_resnet": "assemble_resnet50",
    "bl_resnet": "bl_resnet_50_a2_b4",
    "cifar_94": "cifar_94",
    "cifar_resnet": "cifar_resnet_20_a",
    "cifar_resnet_110": "cifar_resnet_110_a",
    "davidnet": "davidnet",
    "davidnet_tricks": "davidnet_tricks",
    "dawnnet": "dawnnet",
    "gcr_resnet": "gcr_resnet_20",
    "gcr_resnet_110": "gcr_resnet_110",
    "resnet": "resnet_50",
}
SPARK = ("cos_lmdb", "cos_seq", "cos_image_df", "cos_df")
IMAGES = {"train": (1281167, 50000), "cifar": (50000, 10000)}


def test_every_recipe_is_tried() -> None:
    assert sorted(NETS) == sorted(path.stem for path in RECIPES.glob("*.yaml"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that one is in, with a database of two random images of 256x256."""
    monkeypatch.chdir(tmp_path)
    write_lmdb("db", noise(2, 3, 256, 256), range(2))
    return tmp_path


def build(recipe: str, kind: str, dialect: str, *more: str) -> None:
    words = ["--data", kind, "--train_source", "db", "--test_source", "db", "--batch", "2"]
    # A config takes its options by --set, a network by flags.
    config = NETS[recipe] not in ("davidnet", "dawnnet")
    chosen = ["--set", f"dialect={dialect}"] if config else ["--dialect", dialect]
    assert main(["build", NETS[recipe], *chosen, *words, *more, "-o", "."]) == 0


def solver(recipe: str, dialect: str, *more: str) -> None:
    words = ["--net", "train_val.prototxt", "--dialect", dialect, "-o", "solver.prototxt", "--force"]
    assert main(["solver", recipe, *words, *more]) == 0


# In Caffe's Python: each solver in a folder and a child of its own, since Caffe aborts.
IN_CAFFE = """
import json, os, shutil, sys, tempfile
import caffe
caffe.set_mode_cpu()
for recipe, files in json.load(sys.stdin).items():
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.mkdir("db")
    for name, data in files.items():
        open(name, "wb").write(bytes.fromhex(data))
    child = os.fork()
    if not child:
        s = caffe.get_solver("solver.prototxt")
        built = [s.param.max_iter, len(s.net.params), [list(n.outputs) for n in s.test_nets]]
        print(json.dumps([recipe, *built]), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    os.chdir("/")
    shutil.rmtree(folder)
"""


def test_real_caffe_builds_every_solver_and_its_nets(folder: Path, real_caffe: Caffe) -> None:
    sent, ours = {}, []
    for recipe in NETS:
        build(recipe, "lmdb", "caffe-1.0", "--force")
        solver(recipe, "caffe-1.0", "--set", "snapshot_prefix=x")
        # Caffe looks for files from the folder that it is in, which in a root is one of its own.
        files = ("solver.prototxt", "train_val.prototxt", "db/data.mdb")
        sent[recipe] = {name: Path(name).read_bytes().hex() for name in files}
        max_iter = read_solver("solver.prototxt").max_iter
        learning = sum(bool(layer.params) for layer in prototxt.read("train_val.prototxt", "TRAIN"))
        test = prototxt.read("train_val.prototxt", "TEST")
        ours.append([recipe, max_iter, learning, [sorted(blob.name for blob in test.outputs)]])
    done = subprocess.run(
        [*real_caffe.install.command, "-c", IN_CAFFE], input=json.dumps(sent), capture_output=True, text=True,
        env=environment(real_caffe.install), timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert [json.loads(line) for line in done.stdout.splitlines()] == ours, done.stderr[-2000:]


@pytest.mark.parametrize("recipe", NETS)
@pytest.mark.parametrize("kind", SPARK)
def test_caffeonspark_has_all_of_its_fields_and_breaks_none_of_its_rules(
    recipe: str, kind: str, folder: Path
) -> None:
    build(recipe, kind, "caffeonspark")
    net = Path("train_val.prototxt").read_text()
    Path("train_val.prototxt").write_text(net.replace('source: "db"', 'source: "file:/data/db"'))
    near = [] if has_stock_schedule(recipe) else ["--stock", "multistep"]
    solver(recipe, "caffeonspark", "--gpus", "16", *near)
    train, test = IMAGES["train" if "224" in net else "cifar"]
    job = Job(
        cluster=Cluster(executors=16),
        data=Data(train_images=train, test_images=test),
        run=Run(model="hdfs:///models/net.caffemodel"),
    )
    validated = validate("solver.prototxt", job)
    assert [str(f) for f in validated.findings if f.severity in ("error", "warning")] == []
    assert validated.loop == "interleaved"


def has_stock_schedule(recipe: str) -> bool:
    """Whether stock Caffe has the schedule of a recipe."""
    return schedule_of(plan(read_recipe(recipe), net="train_val.prototxt", batch=2).solver).stock


@pytest.mark.parametrize("recipe", NETS)
def test_nvcaffe_has_all_of_its_fields(recipe: str, folder: Path) -> None:
    build(recipe, "lmdb", "nvcaffe", "--gpus", "4")
    solver(recipe, "nvcaffe", "--gpus", "4", "--set", "snapshot_prefix=x")
    for phase in ("TRAIN", "TEST"):
        net = prototxt.read("train_val.prototxt", phase, dialect="nvcaffe")
        assert net.layers[0].proto.data_param.batch_size == (8 if phase == "TRAIN" else 2)
    assert [
        p for p in check(read_solver("solver.prototxt"), dialect="nvcaffe") if p.severity == "error"
    ] == []
