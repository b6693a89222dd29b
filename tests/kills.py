"""Commands killed at random moments: what they leave, and what the next run of the same command makes of it.

A `Case` has its input files and a command, which runs once undisturbed, then killed by SIGKILL and run again.
After the kill every visible file is whole, and what is unfinished is hidden; after the next run all is as in
the undisturbed one, and nothing is left of the killed one, in the system's temporary folder neither.
"""

from __future__ import annotations

import csv
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from netbuilder.engines.caffe.install import default_root
from tests.databases import noise, write_lmdb
from tests.engines.case import NET, ROOT, SOLVER

__all__ = ["CASES", "Case", "Undisturbed", "kill", "undisturbed"]

Tree = dict[str, object]

CONFIG = "network: resnet\nmain_branch: bottleneck\nblocks: [1, 1, 1, 1]\nclasses: 5\n"
SWEEP = CONFIG + "axes:\n  blocks: [[1..3, 1..3, 1..3, 1]]\nobjectives: [maximise depth, minimise macs]\n"
SHORT = (
    SOLVER.replace("max_iter: 200 snapshot: 60", "max_iter: 40 snapshot: 5").replace(
        "display: 25", "display: 3"
    )
).replace("test_interval: 40", "test_interval: 10 average_loss: 4")
COS = """name: "cos"
layer { name: "data" type: "MemoryData" top: "data" top: "label" include { phase: TRAIN }
  source_class: "com.yahoo.ml.caffe.LMDB"
  memory_data_param { source: "file:/db" batch_size: 8 channels: 3 height: 12 width: 12 } }
layer { name: "data" type: "MemoryData" top: "data" top: "label" include { phase: TEST }
  source_class: "com.yahoo.ml.caffe.LMDB"
  memory_data_param { source: "file:/db" batch_size: 8 channels: 3 height: 12 width: 12 } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 5
  weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""
DEPLOY = """layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 4000 } }
"""


def _images(folder: Path) -> None:
    from PIL import Image

    for i, pixels in enumerate(noise(120, 3, 12, 12)):
        place = folder / "images" / f"class{i % 3}" / f"{i:03d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.transpose(1, 2, 0)).save(place)


def _many_images(folder: Path) -> None:
    _images(folder)
    for source in sorted((folder / "images").rglob("*.png")):
        for i in range(10):
            os.link(source, source.with_name(f"{source.stem}-{i}.png"))


def _net(folder: Path) -> None:
    write_lmdb(folder / "db", noise(23, 3, 12, 12), (i % 5 for i in range(23)))
    (folder / "net.prototxt").write_text(NET, encoding="utf-8")
    (folder / "solver.prototxt").write_text(SHORT, encoding="utf-8")


def _model(folder: Path) -> None:
    from netbuilder.weights.write import write_layers

    (folder / "deploy.prototxt").write_text(DEPLOY, encoding="utf-8")
    from netbuilder import prototxt

    layer = prototxt.read(folder / "deploy.prototxt").layers[-1].proto
    arrays = [noise(4000, 3, 8, 8).reshape(4000, -1).astype(np.float32), np.zeros(4000, np.float32)]
    write_layers(folder / "x.caffemodel", "m", [(layer.SerializeToString(), arrays)])


def _text(**files: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for name, text in files.items():
            (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")

    return make


def _cos(folder: Path) -> None:
    _text(net_prototxt=COS, solver_prototxt=SHORT)(folder)
    text = SHORT.replace("out/x", "x").replace("warmup 20 from 0, cosine", "fixed")
    (folder / "solver.prototxt").write_text(text, encoding="utf-8")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A command in a folder of inputs that `make` fills."""

    words: tuple[str, ...]
    make: Callable[[Path], None]


_TRAIN = ("train", "solver.prototxt", "--no-draw", "--cpu", "--resume", "auto", "--engine")
CASES = {
    "data lmdb": Case(
        words=("data", "lmdb", "images", "-o", "out/db", "--jobs", "1", "--shuffle", "--resume", "--mean",
               "out/mean.binaryproto"),
        make=_many_images,
    ),
    "data parquet": Case(
        words=("data", "parquet", "images", "-o", "out/frame", "--rows", "100", "--force"), make=_many_images
    ),
    "sweep": Case(
        words=("sweep", "sweep.yaml", "-o", "out", "--jobs", "2", "--no-draw", "--build", "1"),
        make=_text(sweep_yaml=SWEEP),
    ),
    "fit": Case(
        words=("fit", "small.yaml", "--macs", "300M", "-o", "out/fitted.yaml"), make=_text(small_yaml=CONFIG)
    ),
    "build": Case(words=("build", "resnet_50", "-o", "out"), make=_text()),
    "solver": Case(
        words=("solver", "resnet", "--net", "net.prototxt", "--batch", "7", "-o", "out/solver.prototxt"),
        make=_net,
    ),
    "train caffe": Case(words=(*_TRAIN, "caffe"), make=_net),
    "train torch": Case(words=(*_TRAIN, "torch"), make=_net),
    "caffeonspark": Case(
        words=("caffeonspark", "solver.prototxt", "--model", "hdfs:///x.caffemodel", "-o", "out/job"),
        make=_cos,
    ),
    "export": Case(
        words=("export", "onnx", "deploy.prototxt", "--weights", "x.caffemodel", "-o", "out.onnx", "--force",
               "--no-verify"),
        make=_model,
    ),
    "draw": Case(words=("draw", "net.prototxt", "-o", "out.svg"), make=_net),
    "weights": Case(
        words=("weights", "export", "deploy.prototxt", "x.caffemodel", "-o", "out.npz", "--force", "--map",
               "layers"),
        make=_model,
    ),
}  # fmt: skip


# ---- what a file says --------------------------------------------------------------------------------------

# Of a training that was killed and resumed these differ: where it began again, and what it measured.
MEASURED = {"from", "seconds", "images_per_second", "memory"}


def _tree(folder: Path) -> Tree:
    """The content of every visible file by its name, without what is measured."""
    found: Tree = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        visible = not any(part.startswith(".") for part in name.split("/"))
        if visible and path.is_file() and path.name != "lock.mdb":
            found[name] = _content(path)
    return found


def _content(path: Path) -> object:
    if path.name.endswith("_run.json"):
        return _unmeasured(json.loads(path.read_text(encoding="utf-8")))
    if path.name == "data.mdb":
        from netbuilder.storage.lmdb_file import open_database

        return [(bytes(key), bytes(value)) for key, value in open_database(path.parent)]
    if path.name.endswith("_train.csv"):
        return [row[:-1] for row in csv.reader(io.StringIO(path.read_text(encoding="utf-8")))]
    if path.name.endswith("_test.csv"):
        return list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    if path.suffix == ".journal":
        return sorted(path.read_bytes().splitlines(keepends=True))
    if path.suffix == ".log":
        return "a log"
    return path.read_bytes()


def _unmeasured(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _unmeasured(value) for key, value in data.items() if key not in MEASURED}
    return [_unmeasured(item) for item in data] if isinstance(data, list) else data


def _grows(name: str) -> bool:
    """Whether a file is written line by line, or anew at each snapshot."""
    return name.endswith(("_train.csv", "_test.csv", ".log", ".journal", "_run.json"))


# ---- the runs ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Undisturbed:
    """What a case makes, from which files, and in which time."""

    folder: Path
    before: Tree
    after: Tree
    seconds: float


def _start(folder: Path, words: tuple[str, ...]) -> subprocess.Popen[bytes]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder / ".tmp"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "netbuilder.cli.main", *words]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def _made(case: Case, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / ".tmp").mkdir(parents=True)
    case.make(folder)


def undisturbed(case: Case, folder: Path) -> Undisturbed:
    """Run a case to its end in a folder."""
    _made(case, folder)
    before, begin = _tree(folder), time.monotonic()
    faults = _finished(_start(folder, case.words), folder)
    seconds = time.monotonic() - begin
    assert not faults, faults
    return Undisturbed(folder, before, _tree(folder), seconds)


def kill(case: Case, whole: Undisturbed, rng: random.Random) -> list[str]:
    """Kill a run of the case at a random moment and run it again; returns what was wrong."""
    folder = whole.folder
    _made(case, folder)
    process = _start(folder, case.words)
    try:
        process.wait(rng.uniform(0.1, whole.seconds))
    except subprocess.TimeoutExpired:
        pass
    family = _family(process.pid)
    # By a person, or by a system that is out of memory and picks one.
    if rng.random() < 0.5 and process.poll() is None:
        for pid in family:
            _signal(pid)
    else:
        _signal(process.pid)
    process.communicate()
    faults = _ended(family) + _whole(folder, whole)
    faults += _finished(_start(folder, case.words), folder)
    after = _tree(folder)
    for name in sorted(after.keys() | whole.after.keys()):
        if after.get(name) != whole.after.get(name):
            faults.append(
                f"after the next run '{name}' differs{_how(after.get(name), whole.after.get(name))}"
            )
    roots = [default_root() / "tmp", Path("/tmp")]
    left = [
        path for root in roots if root.is_dir() for pid in family for path in root.glob(f".*-{pid:07d}.*")
    ]
    return faults + [f"left: {path}" for path in left]


def _how(found: object, wanted: object) -> str:
    if found is None or wanted is None:
        return ": it is missing" if found is None else ": it is one more"
    if isinstance(found, dict) and isinstance(wanted, dict):
        return f": {sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))}"
    if isinstance(found, list) and isinstance(wanted, list):
        pairs = [(a, b) for a, b in zip(found, wanted, strict=False) if a != b]
        return f": {len(found)} and {len(wanted)} rows, {str(pairs[:1])[:300]}"
    return ""


def _finished(process: subprocess.Popen[bytes], folder: Path) -> list[str]:
    """Wait for a run that is not disturbed: it must succeed and leave nothing."""
    _, said = process.communicate(timeout=300)
    faults = [f"exit status {process.returncode}: {said.decode()[-500:]}"] if process.returncode else []
    hidden = [p for p in folder.rglob(".*") if p != folder / ".tmp" and p.name != ".tmp"]
    return faults + [f"left: {path}" for path in (*hidden, *(folder / ".tmp").iterdir())]


def _whole(folder: Path, whole: Undisturbed) -> list[str]:
    """What is visible is whole: as before, or as at the end; what is not is a temporary file of ours."""
    faults = []
    try:
        there = _tree(folder)
    except Exception as error:
        return [f"after the kill a file cannot be read: {error!r}"]
    for name, content in there.items():
        if content not in (whole.before.get(name), whole.after.get(name)) and not _grows(name):
            faults.append(f"after the kill '{name}' is not whole")
        if name.endswith(".csv") and _grows(name) and not (folder / name).read_bytes().endswith(b"\n"):
            faults.append(f"after the kill '{name}' has half a line")
    faults += [f"after the kill '{name}' is gone" for name in whole.before.keys() - there.keys()]
    for path in folder.rglob(".*"):
        name = path.relative_to(folder).as_posix()
        if name.partition("/")[0] != ".tmp" and not re.fullmatch(r"\..*\.partial", path.name):
            faults.append(f"after the kill there is '{name}'")
    return faults


# ---- processes ---------------------------------------------------------------------------------------------


def _family(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for parent in found:
        try:
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except OSError:
            pass
    return found


def _signal(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _ended(family: list[int]) -> list[str]:
    """Wait until descendants of a killed process have ended, too."""
    deadline = time.monotonic() + 20
    while alive := [pid for pid in family if _runs(pid)]:
        if time.monotonic() > deadline:
            return [f"after the kill a process goes on: {_command(pid)}" for pid in alive]
        time.sleep(0.02)
    return []


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")[:200]
    except OSError:
        return str(pid)
