"""Training in PyTorch: Caffe's loop, snapshots that Caffe and PyTorch exchange, and the record."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netbuilder.cli.main import main
from netbuilder.engines.caffe import Caffe
from netbuilder.schema import message
from netbuilder.weights.arrays import read_arrays
from tests.databases import noise, write_lmdb
from tests.engines.case import NET, ROOT, SOLVER, refusal, rows, start, state_of, wait_for

# Nothing random, so that both engines see the same. The bias before BatchNorm is left out: its gradient is 0
# up to rounding, which Adam would divide by itself.
PLAIN = (
    NET.replace("crop_size: 8 mirror: true", "crop_size: 0")
    .replace("crop_size: 8 ", "")
    .replace("num_output: 8", "num_output: 8 bias_term: false")
    .replace(
        'layer { name: "drop" type: "Dropout" bottom: "conv" top: "conv" '
        "dropout_param { dropout_ratio: 0.3 } }\n",
        "",
    )
)
TORCH = ("--engine", "torch", "--no-draw")


def plain(folder: Path, more: str = "", **fields: Any) -> None:
    """A net and a solver without anything random, and initial weights that both engines load."""
    from netbuilder.engines.torch import module

    (folder / "net.prototxt").write_text(PLAIN)
    values: dict[str, object] = {
        "net": '"net.prototxt"', "base_lr": 0.001, "lr_policy": '"fixed"', "momentum": 0.9,
        "weight_decay": 0.0005, "max_iter": 20, "display": 5, "average_loss": 3, "iter_size": 2,
        "test_iter": 3, "test_interval": 8, "random_seed": 3, "snapshot": 10,
        "snapshot_prefix": '"out/x"',
    } | fields  # fmt: skip
    text = "\n".join(f"{name}: {value}" for name, value in values.items())
    (folder / "solver.prototxt").write_text(f"{text}\n{more}\n")
    module("net.prototxt", phase="TRAIN", seed=1).save_caffemodel("start.caffemodel", force=True)


def trained(engine: str, *words: str, prefix: str = "out/x") -> dict[str, Any]:
    """Train, and return the record."""
    assert main(["train", "solver.prototxt", "--engine", engine, "--no-draw", *words]) == 0
    data: dict[str, Any] = json.loads(Path(f"{prefix}_run.json").read_text())
    return data


def arrays_of(path: Path | str) -> dict[str, list[Any]]:
    return {stored.layer.name: list(stored.arrays) for stored in read_arrays(path) if stored.arrays}


def assert_near(ours: Path | str, caffes: Path | str, tolerance: float) -> None:
    """Compare all parameters of two models, each on the scale of its largest value."""
    a, b = arrays_of(ours), arrays_of(caffes)
    assert list(a) == list(b)
    for name in a:
        for x, y in zip(a[name], b[name], strict=True):
            assert np.abs(x - y).max() <= tolerance * max(np.abs(y).max(), 1e-3), name


# -- the loop --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"test_initialization": "false", "test_interval": 7, "snapshot_after_train": "false", "snapshot": 0},
        {"max_iter": 16, "display": 0, "iter_size": 1, "average_loss": 1},
    ],
)
def test_the_record_is_that_of_caffe(
    folder: Path, real_caffe: Caffe, fields: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Losses, rates and tests at the same iterations, with the same values while rounding does not tell."""
    plain(folder, **fields)
    caffes = trained("caffe", "--weights", "start.caffemodel")
    ours = trained("torch", "--weights", "start.caffemodel", "--force")
    assert [(r["iteration"], r["lr"]) for r in ours["train"]] == [
        (r["iteration"], pytest.approx(r["lr"], rel=1e-5)) for r in caffes["train"]
    ]
    assert [(t["iteration"], t["net"], t["passes"]) for t in ours["tests"]] == [
        (t["iteration"], t["net"], t["passes"]) for t in caffes["tests"]
    ]
    for mine, theirs in zip(ours["train"], caffes["train"], strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
        assert mine["outputs"] == {k: pytest.approx(v, rel=1e-4) for k, v in theirs["outputs"].items()}
    for mine, theirs in zip(ours["tests"], caffes["tests"], strict=True):
        assert mine["outputs"] == {k: pytest.approx(v, rel=1e-4) for k, v in theirs["outputs"].items()}
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
    assert ours["snapshots"] == caffes["snapshots"]
    assert ours["end"] == "done"
    assert ours["images_per_second"] > 0
    assert ours["memory"] > 2**20
    assert {k: ours["model"][k] for k in ("taken", "new", "unused")} == {
        "taken": ["conv", "bn", "fc"], "new": [], "unused": [],
    }  # fmt: skip


def test_several_test_nets_share_the_weights(folder: Path, real_caffe: Caffe) -> None:
    """Nets of other files and stages: their data layers differ, and a layer that only one of them has."""
    plain(
        folder,
        'test_net: "a.prototxt" test_net: "b.prototxt" test_state { } test_state { stage: "deep" } '
        'test_state { level: 1 }',
        net="", test_iter="3 test_iter: 1 test_iter: 0",
    )  # fmt: skip
    text = (folder / "solver.prototxt").read_text()
    (folder / "solver.prototxt").write_text(
        text.replace("net: \n", "").replace("test_iter: 0", "test_iter: 2") + 'net: "net.prototxt"\n'
    )
    (folder / "a.prototxt").write_text(PLAIN.replace("batch_size: 10", "batch_size: 5"))
    more = """layer { name: "mean" type: "Reduction" bottom: "fc" top: "mean"
  reduction_param { operation: MEAN } include { phase: TEST stage: "deep" } }
"""
    (folder / "b.prototxt").write_text(PLAIN + more)
    caffes = trained("caffe", "--weights", "start.caffemodel")
    ours = trained("torch", "--weights", "start.caffemodel", "--force")
    assert len(ours["tests"]) == len(caffes["tests"]) == 12
    for mine, theirs in zip(ours["tests"], caffes["tests"], strict=True):
        assert (mine["iteration"], mine["net"]) == (theirs["iteration"], theirs["net"])
        assert mine["outputs"] == {k: pytest.approx(v, rel=2e-4) for k, v in theirs["outputs"].items()}


# -- snapshots -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("type_", ["SGD", "Adam"])
@pytest.mark.parametrize("hdf5", [False, True])
def test_each_engine_goes_on_from_the_snapshots_of_the_other(
    folder: Path, real_caffe: Caffe, type_: str, hdf5: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    ending = ".h5" if hdf5 else ""
    form = "HDF5" if hdf5 else "BINARYPROTO"
    momentum = {"SGD": 0.9, "Adam": 0.9}[type_]
    plain(folder, f'type: "{type_}" snapshot_format: {form}', momentum=momentum, base_lr=0.0005)
    trained("caffe", "--weights", "start.caffemodel")
    last, first = (f"_iter_{i}.caffemodel{ending}" for i in (20, 10))
    for name in (last, first):
        Path(f"out/x{name}").rename(f"caffe{name}")
    for i in (20, 10):
        Path(f"out/x_iter_{i}.solverstate{ending}").rename(f"caffe_iter_{i}.solverstate{ending}")
    trained("torch", "--weights", "start.caffemodel")
    assert_near(f"out/x{first}", f"caffe{first}", 1e-4)
    assert_near(f"out/x{last}", f"caffe{last}", 1e-4)
    # PyTorch from Caffe's: the data goes on at the record where Caffe was.
    capsys.readouterr()
    trained("torch", "--resume", f"caffe_iter_10.solverstate{ending}")
    assert "has no .runstate of PyTorch's beside it" in capsys.readouterr().err
    assert_near(f"out/x{last}", f"caffe{last}", 1e-4)
    # And Caffe from PyTorch's.
    trained("caffe", "--resume", f"out/x_iter_10.solverstate{ending}")
    assert_near(f"out/x{last}", f"caffe{last}", 1e-4)


def test_a_runstate_of_another_run_is_not_taken(
    folder: Path, real_caffe: Caffe, capsys: pytest.CaptureFixture[str]
) -> None:
    plain(folder)
    trained("torch")
    keep = Path("out/x_iter_10.runstate").read_bytes()
    trained("caffe", "--force")
    assert not Path("out/x_iter_10.runstate").exists()
    Path("out/x_iter_10.runstate").write_bytes(keep)
    capsys.readouterr()
    trained("torch", "--resume", "out/x_iter_10.solverstate")
    assert "has no .runstate of PyTorch's beside it" in capsys.readouterr().err
    assert not [p for p in Path("out").iterdir() if "partial" in p.name]


def test_the_model_says_what_the_layers_are(folder: Path) -> None:
    """As Caffe's models do, so that programs read the net from it."""
    plain(folder)
    trained("torch")
    model = message("NetParameter")()
    model.ParseFromString(Path("out/x_iter_20.caffemodel").read_bytes())
    assert model.name == "noisy"
    assert [(x.name, x.type, x.phase, len(x.blobs)) for x in model.layer] == [
        ("data", "Data", 0, 0), ("conv", "Convolution", 0, 1), ("bn", "BatchNorm", 0, 3),
        ("relu", "ReLU", 0, 0), ("fc", "InnerProduct", 0, 2), ("loss", "SoftmaxWithLoss", 0, 0),
    ]  # fmt: skip
    assert model.layer[1].convolution_param.num_output == 8


# -- the end ---------------------------------------------------------------------------------------------


def test_ctrl_c_gives_a_snapshot_and_130(folder: Path) -> None:
    (folder / "long.prototxt").write_text(SOLVER.replace("max_iter: 200", "max_iter: 100000"))
    process = start("long.prototxt", *TORCH, "--json")
    wait_for(folder / "out/x_iter_60.solverstate", process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    data = json.loads(out)
    assert data["end"] == "stopped"
    assert data["snapshots"][-1] == f"out/x_iter_{data['iteration']}.solverstate"
    assert "stopping after this iteration; once more ends at once" in err
    assert not list((folder / "out").glob(".*"))

    shorter = SOLVER.replace("max_iter: 200", f"max_iter: {data['iteration'] + 20}")
    (folder / "long.prototxt").write_text(shorter)
    (printed,) = [line for line in err.splitlines() if line.startswith("to go on: ")]
    done = subprocess.run(printed.removeprefix("to go on: "), shell=True, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    gone_on = json.loads(done.stdout)
    assert (gone_on["from"], gone_on["end"]) == (data["iteration"], "done")


def test_a_stopped_run_that_is_resumed_ends_with_the_same_bytes(folder: Path) -> None:
    """Stopped in the middle of an epoch, not at a snapshot; crops, mirroring and Dropout are random."""
    solver = SOLVER.replace("max_iter: 200", "max_iter: 120")
    (folder / "solver.prototxt").write_text(solver)
    assert main(["train", "solver.prototxt", *TORCH]) == 0
    (folder / "half.prototxt").write_text(
        solver.replace("max_iter: 120", "max_iter: 51").replace("out", "half")
    )
    # The rates are those of 120 iterations.
    text = (folder / "half.prototxt").read_text().replace("warmup 20 from 0, cosine", "fixed")
    (folder / "half.prototxt").write_text(text)
    whole = text.replace("max_iter: 51", "max_iter: 120").replace("half/x", "whole/x")
    (folder / "whole.prototxt").write_text(whole)
    assert main(["train", "whole.prototxt", *TORCH]) == 0
    assert main(["train", "half.prototxt", *TORCH]) == 0
    (folder / "half.prototxt").write_text(text.replace("max_iter: 51", "max_iter: 120"))
    assert main(["train", "half.prototxt", *TORCH, "--resume", "latest"]) == 0
    name = "x_iter_120.caffemodel"
    assert (folder / "half" / name).read_bytes() == (folder / "whole" / name).read_bytes()
    assert (folder / "half" / name).read_bytes() != (folder / "out" / name).read_bytes()
    states = [state_of(folder / place / "x_iter_120.solverstate") for place in ("half", "whole")]
    assert states[0].history == states[1].history
    assert rows(folder / "half/x_test.csv")[-2:] == rows(folder / "whole/x_test.csv")[-2:]


def test_a_loss_that_is_no_number_ends_the_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain(folder, base_lr=1e30, max_iter=2000, snapshot=1000)
    assert main(["train", "solver.prototxt", *TORCH]) == 1
    data = json.loads(Path("out/x_run.json").read_text())
    assert data["end"] == "diverged"
    assert data["iteration"] < 100
    assert data["snapshots"] == []
    captured = capsys.readouterr()
    assert captured.out.startswith("diverged: iteration ")
    assert ": nothing is learnt any more" in captured.err


def test_nothing_is_trained_with_max_iter_0(folder: Path) -> None:
    plain(folder, max_iter=0)
    data = trained("torch", "--weights", "start.caffemodel")
    assert [t["iteration"] for t in data["tests"]] == [0]
    assert data["snapshots"] == []


# -- mistakes --------------------------------------------------------------------------------------------


def test_what_this_engine_lacks_is_refused_by_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain(folder, "snapshot_diff: true")
    assert refusal(["train", "solver.prototxt", *TORCH], capsys).startswith(
        "the PyTorch engine keeps no gradients for snapshot_diff\n"
    )
    plain(folder)
    assert refusal(["train", "solver.prototxt", *TORCH, "--gpu", "0,1"], capsys).startswith(
        "the PyTorch engine trains on one device\n"
    )
    assert refusal(["train", "solver.prototxt", *TORCH, "--device", "cuda:0"], capsys) == (
        "there is no GPU 0: PyTorch finds no GPU\nhint:    use --device cpu\n"
    )
    assert not (folder / "out").exists()


def test_a_mistake_leaves_an_earlier_run_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain(folder)
    trained("torch")
    before = {path: path.read_bytes() for path in Path("out").iterdir()}
    assert len(before) == 10

    def refused(*words: str) -> str:
        text = refusal(["train", "solver.prototxt", *TORCH, "--force", *words], capsys)
        assert {path: path.read_bytes() for path in Path("out").iterdir()} == before
        return text

    assert "there is no GPU 7" in refused("--device", "cuda:7")
    net = (folder / "net.prototxt").read_text()
    (folder / "net.prototxt").write_text(net.replace("num_output: 5", "num_output: 4"))
    assert "is out of range: SoftmaxWithLoss 'loss' takes 0 to 3" in refused()
    (folder / "net.prototxt").write_text(net.replace('"db"', '"nothing"'))
    assert refused().startswith("layer 'data' reads 'nothing', which is not there\n")
    from netbuilder.weights.write import write_blob

    write_blob("mean.binaryproto", np.zeros((1, 3, 9, 9)))
    (folder / "net.prototxt").write_text(net.replace("scale: 0.01", 'mean_file: "mean.binaryproto"'))
    assert "'mean.binaryproto' is 3x9x9, and the images are 3x10x10 (channels x" in refused()
    Path("mean.binaryproto").write_bytes(b"\xff\xff")
    assert "mean_file 'mean.binaryproto' is not a mean image" in refused()
    Path("mean.binaryproto").unlink()
    assert "mean_file 'mean.binaryproto' is not there" in refused()
    test_only = net.replace('"db" backend: LMDB batch_size: 10', '"nothing" backend: LMDB batch_size: 10')
    (folder / "net.prototxt").write_text(test_only)
    assert refused().startswith("layer 'data' reads 'nothing', which is not there\n")
    write_lmdb("signed", noise(3, 3, 10, 10), [0, -1, 1])
    (folder / "net.prototxt").write_text(net.replace('"db"', '"signed"'))
    assert refused().startswith(
        "label -1 of record '00001' of 'signed' is out of range: SoftmaxWithLoss 'loss'"
    )
    (folder / "net.prototxt").write_text(net.replace('type: "ReLU"', 'type: "Pooling3D"'))
    assert "Pooling3D" in refused()
    memory = 'layer { name: "m" type: "MemoryData" top: "m" top: "l" memory_data_param { batch_size: 2 '
    (folder / "net.prototxt").write_text(f"{memory} channels: 1 height: 1 width: 1 }} }}\n{net}")
    assert refused().startswith("MemoryData 'm' gets its rows from a program: a training has none\n")
    (folder / "net.prototxt").write_text(net)
    Path("cut.caffemodel").write_bytes(Path("start.caffemodel").read_bytes()[:-40])
    assert refused("--weights", "cut.caffemodel").startswith("'cut.caffemodel' is cut short or damaged")
    for kind in ("caffemodel", "solverstate", "runstate"):
        Path("cut").mkdir()
        for path in Path("out").glob("x_iter_20.*"):
            whole = path.read_bytes()
            (Path("cut") / path.name).write_bytes(whole[:-30] if path.name.endswith(kind) else whole)
        words = ["train", "solver.prototxt", *TORCH, "--resume", "cut/x_iter_20.solverstate"]
        assert "x_iter_20" in refusal(words, capsys)
        shutil.rmtree("cut")
    (folder / "db/data.mdb").write_bytes((folder / "db/data.mdb").read_bytes()[:9000])
    assert refused().startswith("the data of Data 'data' cannot be used: ")


def test_a_training_imports_no_compiler(folder: Path) -> None:
    """PyTorch's optimizers import it when they are made: two seconds of processor time at every start."""
    Path("short.prototxt").write_text(SOLVER.replace("max_iter: 200", "max_iter: 21"))
    code = (
        "import sys\nfrom netbuilder.cli.main import main\n"
        f"assert main(['train', 'short.prototxt', *{TORCH}]) == 0\n"
        "print(sorted({'torch._dynamo', 'sympy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
