"""Training by the `caffe` binary: the real one, as in a container, and one that fails on demand."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netbuilder.cli.main import main
from netbuilder.engines.caffe import VARIABLE, Caffe, find
from netbuilder.engines.caffe.install import Install
from netbuilder.errors import ConfigError, EngineError
from netbuilder.prototxt.text import parse
from netbuilder.schema import SolverParameter, message
from netbuilder.training.events import Ended, Event, Iteration, Snapshot, Started
from tests.engines.case import (
    SOLVER,
    logged_losses,
    prepare,
    refusal,
    start,
    state_of,
    wait_for,
    worker_of,
)

STOCK = SOLVER.replace('"warmup 20 from 0, cosine"', '"step" gamma: 0.5 stepsize: 60')


@pytest.fixture
def binary(container: Callable[..., str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The command line of the real binary, which is the Caffe to use; with a solver that it can run."""
    # One thread, as netbuilder sets it where the environment is passed on.
    command = container("env", "GLOG_logtostderr=1", "OPENBLAS_NUM_THREADS=1", "caffe")
    monkeypatch.setenv(VARIABLE, command)
    (folder / "solver.prototxt").write_text(STOCK)
    return command


def model_of(path: Path) -> dict[str, list[Any]]:
    """The params of each layer of a model."""
    model = message("NetParameter")()
    model.ParseFromString(path.read_bytes())
    return {layer.name: [list(blob.data) for blob in layer.blobs] for layer in model.layer}


def test_it_ends_with_the_weights_of_pycaffe_and_the_record_is_its_log(
    binary: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "solver.prototxt", "--json", "--no-draw"]) == 0
    data = json.loads(capsys.readouterr().out)
    monkeypatch.delenv(VARIABLE)
    (folder / "other.prototxt").write_text(STOCK.replace("out/x", "pycaffe/x"))
    assert main(["train", "other.prototxt", "--json", "--no-draw"]) == 0
    other = json.loads(capsys.readouterr().out)
    # The files differ by the path of the database, which Caffe writes down: pycaffe is given the whole one.
    for iteration in (60, 120, 180, 200):
        name = f"x_iter_{iteration}"
        assert model_of(folder / f"out/{name}.caffemodel") == model_of(folder / f"pycaffe/{name}.caffemodel")
        ours, theirs = (state_of(folder / place / f"{name}.solverstate") for place in ("out", "pycaffe"))
        assert (ours.iter, ours.learned_net) == (iteration, f"out/{name}.caffemodel")
        assert (ours.history, ours.current_step) == (theirs.history, theirs.current_step)
    without = ("seconds", "outputs")
    rows, expected = (
        [{k: v for k, v in row.items() if k not in without} for row in record["train"]]
        for record in (data, other)
    )
    assert rows == expected
    # Six digits of each test. The last one comes after one more pass, by which BatchNorm averages on.
    assert [(t["iteration"], t["passes"]) for t in data["tests"]] == [(40 * i, 3) for i in range(6)]
    for test, theirs in zip(data["tests"][:-1], other["tests"][:-1], strict=True):
        assert test["outputs"] == {k: pytest.approx(v, rel=1e-5) for k, v in theirs["outputs"].items()}
        assert test["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
    # And the words of Caffe.
    log = (folder / "out/x_caffe.log").read_text()
    losses = logged_losses(folder / "out/x_caffe.log")
    assert list(losses) == [*range(0, 200, 25), 199]  # as the solver displays them
    assert [(row["iteration"], row["loss"], row["lr"]) for row in data["train"]] == [
        (i, loss, pytest.approx(0.05 * 0.5 ** (i // 60), rel=1e-5)) for i, loss in losses.items()
    ]
    assert re.findall(r"Test net output #0: accuracy = (\S+)", log) == [
        f"{test['outputs']['accuracy'][0]:.6g}" for test in data["tests"]
    ]
    assert data["end"] == "done"
    assert not list((folder / "out").glob(".*"))


def test_killed_it_leaves_whole_snapshots_and_goes_on_from_the_last(
    binary: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "solver.prototxt").write_text(STOCK.replace("max_iter: 200", "max_iter: 100000"))
    process = start("solver.prototxt", "--no-draw")
    wait_for(folder / "out/x_iter_240.solverstate", process)
    os.kill(worker_of(process), signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "EngineError: Caffe was killed (SIGKILL), by hand or by the kernel for its memory" in err
    assert json.loads((folder / "out/x_run.json").read_text())["end"] == "failed"
    found = sorted(folder.glob("out/x_iter_*.solverstate"), key=lambda p: state_of(p).iter)
    last = state_of(found[-1]).iter
    assert [state_of(p).iter for p in found] == list(range(60, last + 1, 60))
    assert all(model_of(p.with_suffix(".caffemodel"))["fc"] for p in found)
    assert not list((folder / "out").glob(".*"))

    (folder / "solver.prototxt").write_text(STOCK.replace("max_iter: 200", f"max_iter: {last + 10}"))
    assert main(["train", "solver.prototxt", "--no-draw", "--resume", "latest", "--json"]) == 0
    captured = capsys.readouterr()
    assert (
        "warning: the caffe binary resumes with the first record of the data and other random numbers: "
        "only by pycaffe a resumed run equals one that was not stopped\n" in captured.err
    )
    data = json.loads(captured.out)
    assert (data["from"], data["iteration"]) == (last, last + 10)
    assert data["train"][-1]["iteration"] == last + 9
    assert state_of(folder / f"out/x_iter_{last + 10}.solverstate").current_step == (last + 9) // 60


def test_ctrl_c_gives_a_snapshot_and_130(binary: str, folder: Path) -> None:
    text = STOCK.replace("max_iter: 200", "max_iter: 100000 snapshot_after_train: false")
    (folder / "solver.prototxt").write_text(text)
    process = start("solver.prototxt", "--no-draw", "--json")
    wait_for(folder / "out/x_iter_60.solverstate", process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    data = json.loads(out)
    assert data["end"] == "stopped"
    assert data["snapshots"][-1] == f"out/x_iter_{data['iteration']}.solverstate"
    assert not list((folder / "out").glob(".*"))


def test_hdf5_snapshots_weights_and_a_solver_without_a_last_snapshot(binary: str, folder: Path) -> None:
    import h5py

    text = STOCK.replace("max_iter: 200", "max_iter: 30 snapshot_format: HDF5").replace(" 60 ", " 25 ")
    (folder / "solver.prototxt").write_text(text + "snapshot_after_train: false")
    assert main(["train", "solver.prototxt", "--no-draw"]) == 0
    made = sorted(path.name for path in folder.glob("out/x_iter_*"))
    assert made == ["x_iter_25.caffemodel.h5", "x_iter_25.solverstate.h5"]
    assert main(["train", "solver.prototxt", "--no-draw", "--resume", "latest"]) == 0
    (folder / "solver.prototxt").write_text(
        text.replace("max_iter: 30", "max_iter: 1").replace("0.05", "1e-30")
    )
    weights = ["--weights", "out/x_iter_25.caffemodel.h5", "--force"]
    assert main(["train", "solver.prototxt", "--no-draw", *weights]) == 0
    with h5py.File(folder / "out/x_iter_1.caffemodel.h5") as file:
        assert np.count_nonzero(file["data/fc/1"][...]) == 5  # zeros, where nothing was learnt


def test_test_and_time_say_what_the_log_says(
    binary: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "solver.prototxt").write_text(STOCK.replace("max_iter: 200", "max_iter: 20"))
    assert main(["train", "solver.prototxt", "--no-draw"]) == 0
    capsys.readouterr()
    model = "out/x_iter_20.caffemodel"
    words = ["test", "--engine", "caffe", "net.prototxt", "--weights", model, "--images", "50", "--json"]
    assert main(words) == 0
    tested = json.loads(capsys.readouterr().out)
    assert main(["time", "--engine", "caffe", "net.prototxt", "--iterations", "3", "--json"]) == 0
    timed = json.loads(capsys.readouterr().out)
    monkeypatch.delenv(VARIABLE)
    assert main(words) == 0
    assert tested["outputs"] == {
        name: pytest.approx(values, rel=1e-5)
        for name, values in json.loads(capsys.readouterr().out)["outputs"].items()
    }
    assert [(x["name"], x["type"], x["macs"]) for x in timed["layers"]] == [
        ("data", "Data", 0), ("conv", "Convolution", 7776), ("bn", "BatchNorm", 0), ("relu", "ReLU", 0),
        ("drop", "Dropout", 0), ("fc", "InnerProduct", 1440), ("loss", "SoftmaxWithLoss", 0),
    ]  # fmt: skip
    assert timed["totals"]["forward_ms"] > 0


def test_what_only_pycaffe_can_do_is_refused(
    binary: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "solver.prototxt").write_text(SOLVER)
    assert refusal(["train", "solver.prototxt"], capsys) == (
        "the caffe binary has no lr_policy 'warmup 20 from 0, cosine': netbuilder sets such rates "
        "by pycaffe\n"
        "hint:    `netbuilder solver RECIPE --stock` lists which of Caffe's own come near, and writes one; "
        "or name a Python that can import caffe by NETBUILDER_CAFFE\n"
    )
    assert not (folder / "out").exists()
    with pytest.raises(EngineError, match="is the caffe binary, and asking about nets needs pycaffe"):
        Caffe()


def test_a_missing_gpu_is_reported(binary: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for gpu in ("0", "all"):
        said = refusal(["train", "solver.prototxt", "--gpu", gpu], capsys)
        assert said.startswith("this Caffe is built for CPUs only, and a GPU was asked for\n")
    assert main(["train", "solver.prototxt", "--gpu", "0,1"]) == 2
    assert (
        "batch 7 on each GPU, 2 GPUs, iter_size 2: the global batch is 28 (NVIDIA's Caffe divides"
        in capsys.readouterr().err
    )
    assert not list((folder / "out").glob("*.solverstate"))


# -- one that fails on demand ----------------------------------------------------------------------------

FAKE = """#!{python}
import os, sys
if "--version" in sys.argv:
    print("caffe version 1.0.0")
    sys.exit()
if sys.argv[1] != "train":
    sys.exit(1)

def log(text, thread=7):
    os.write(2, f"I0102 15:04:05.678901 {{thread:5d}} solver.cpp:1] {{text}}\\n".encode())

print(*sys.argv[1:], file=open("arguments", "w"))
exec(open("does.py").read())
"""


# The folder in which snapshots of the prefix out/x are written.
BEGUN = r"\.x\.[0-9a-f]{8}-\d+\.[0-9a-f]{16}\.partial"


@pytest.fixture
def fake(folder: Path) -> Install:
    """A program that says it is Caffe, and does what does.py in the folder says."""
    path = folder / "bin" / "caffe"
    path.parent.mkdir()
    path.write_text(FAKE.format(python=sys.executable))
    path.chmod(0o755)
    (folder / "solver.prototxt").write_text(STOCK)
    return Install((str(path),), "a fake", kind="binary")


def told(install: Install, does: str, **options: Any) -> list[Event]:
    """What a training tells in which the fake does this."""
    Path("does.py").write_text(does)
    ready = prepare("solver.prototxt", install, **options)
    with ready.start() as worker:
        return [event for event in worker if not isinstance(event, Iteration)]


SNAPSHOT = """
import glob
begun = max(glob.glob("out/.x.*.partial"), key=os.path.getmtime)
log("Snapshotting to binary proto file " + begun + "/snapshot_iter_60.caffemodel")
open(begun + "/snapshot_iter_60.caffemodel", "wb").write(b"\\x0a\\x01x")
log("Snapshotting solver state to binary proto file " + begun + "/snapshot_iter_60.solverstate")
open(begun + "/snapshot_iter_60.solverstate", "wb").write(STATE)
"""
WHOLE = SNAPSHOT.replace("STATE", r'b"\x08\x3c\x12\x01m\x20\x00"')  # iter, learned_net, current_step


def test_a_snapshot_is_renamed_when_the_log_goes_on(fake: Install, folder: Path) -> None:
    # Another thread's line proves nothing.
    events = told(
        fake,
        WHOLE + 'log("Restarting data prefetching from start.", 8)\n'
        'assert not os.path.exists("out/x_iter_60.solverstate")\n'
        'log("Optimization Done.")',
    )
    assert events == [
        Snapshot(60, model="out/x_iter_60.caffemodel", state="out/x_iter_60.solverstate"),
        Ended("done", 200),
    ]
    assert state_of(folder / "out/x_iter_60.solverstate").learned_net == "out/x_iter_60.caffemodel"
    train, flag, solver, *rest = (folder / "arguments").read_text().split()
    assert (train, flag, *rest) == ("train", "-solver", "-sigint_effect", "stop")
    assert re.fullmatch(rf"out/{BEGUN}/solver\.prototxt", solver)


@pytest.mark.parametrize("state", [r'b"\x08\x3c\x12\x01m\x1a\x02"', r'b"\x08\x3c\x12\x01m"', 'b""'])
def test_a_snapshot_that_is_not_whole_never_gets_its_name(state: str, fake: Install, folder: Path) -> None:
    half = SNAPSHOT.replace("STATE", state)
    with pytest.raises(EngineError, match=r"the snapshot of iteration 60 could not be written: "):
        told(fake, half + 'log("Optimization Done.")')
    # Killed meanwhile, that is what is told.
    with pytest.raises(EngineError, match=r"Caffe was killed \(SIGKILL\)"):
        told(fake, half + "os.kill(os.getpid(), 9)")
    assert list(folder.glob("out/x_iter_*")) == []


def test_a_snapshot_that_was_whole_when_caffe_was_killed_is_kept(fake: Install, folder: Path) -> None:
    with pytest.raises(EngineError, match=r"Caffe was killed \(SIGKILL\)"):
        told(fake, WHOLE + "os.kill(os.getpid(), 9)")
    assert state_of(folder / "out/x_iter_60.solverstate").iter == 60


def test_several_gpus_are_a_flag_and_a_build_without_nccl_is_reported(fake: Install, folder: Path) -> None:
    does = """os.write(2, b"F0102 15:04:05.678901 7 caffe.cpp:256] "
b"Multi-GPU execution not available - rebuild with USE_NCCL\\n")
os.abort()"""
    with pytest.raises(EngineError) as caught:
        told(fake, does, devices=[0, 1])
    assert caught.value.text == "this Caffe is built without NCCL, which several GPUs need"
    assert (folder / "arguments").read_text().split()[-2:] == ["-gpu", "0,1"]
    (folder / "a,b.caffemodel").touch()
    with pytest.raises(ConfigError, match=r"takes 'a,b\.caffemodel' for two files: there is a comma in it"):
        told(fake, does, weights=("a,b.caffemodel",))


def test_what_is_sent_says_what_a_flag_or_a_default_would_change(fake: Install, folder: Path) -> None:
    (folder / "solver.prototxt").write_text(STOCK + "train_state { level: 3 } average_loss: 20")
    does = """import glob
(begun,) = glob.glob("out/.x.*.partial")
open("sent", "w").write(open(begun + "/solver.prototxt").read())
log("Optimization Done.")
"""
    assert told(fake, does) == [Ended("done", 200)]
    sent = parse((folder / "sent").read_text(), SolverParameter).message
    assert (folder / "arguments").read_text().split()[-2:] == ["-level", "3"]
    assert sent.HasField("solver_mode")
    assert sent.solver_mode == 0
    assert sent.net == "net.prototxt"
    assert re.fullmatch(rf"out/{BEGUN}/snapshot", sent.snapshot_prefix)
    assert (sent.display, sent.average_loss, sent.snapshot, sent.test_interval) == (1, 1, 60, 40)


def test_it_is_found_by_name_by_command_and_on_the_path(
    fake: Install, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = fake.command
    for named in (path, f"env A=b {path}"):
        monkeypatch.setenv(VARIABLE, named)
        found = find()
        assert found is not None
        assert (" ".join(found.command), found.kind) == (named, "binary")
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setenv("PATH", str(Path(path).parent))
    # The registry's package of that name is an empty module.
    (folder / "caffe.py").touch()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    assert find() == Install((path,), "on the PATH", kind="binary")


def test_a_wrapper_that_does_not_replace_itself_is_stopped_too(fake: Install, folder: Path) -> None:
    (folder / "does.py").write_text(
        "import signal, time\n"
        "def stop(*_):\n"
        '    log("Optimization stopped early.")\n'
        "    sys.exit()\n"
        "signal.signal(signal.SIGINT, stop)\n"
        'log("Starting Optimization")\n'
        "time.sleep(60)"
    )
    wrapped = Install(("sh", "-c", f'{fake.command[0]} "$@"; exit $?', "-"), "a fake", kind="binary")
    ready = prepare("solver.prototxt", wrapped)
    events = []
    with ready.start() as worker:
        for event in worker:
            events.append(event)
            worker.stop()
    assert events == [Started(0), Ended("stopped", 0)]


def test_no_iterations_only_test(binary: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "solver.prototxt").write_text(STOCK.replace("max_iter: 200", "max_iter: 20"))
    assert main(["train", "solver.prototxt", "--no-draw"]) == 0
    (folder / "out/x_iter_20.caffemodel").rename(folder / "w.caffemodel")
    (folder / "only.prototxt").write_text(
        'net: "net.prototxt" max_iter: 0 test_iter: 5 test_interval: 1 snapshot_prefix: "only/x"'
    )
    capsys.readouterr()
    assert main(["train", "only.prototxt", "--weights", "w.caffemodel", "--no-draw", "--json"]) == 0
    (tested,) = json.loads(capsys.readouterr().out)["tests"]
    assert main(["test", "net.prototxt", "--weights", "w.caffemodel", "--iterations", "5", "--json"]) == 0
    outputs = json.loads(capsys.readouterr().out)["outputs"]
    assert tested["outputs"]["accuracy"] == pytest.approx(outputs["accuracy"], rel=1e-4)


def test_a_stage_chooses_the_layers(binary: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = (folder / "net.prototxt").read_text()
    data = 'top: "label" include { phase: TEST }'
    (folder / "net.prototxt").write_text(net.replace(data, data.replace("TEST", 'TEST stage: "t"')))
    text = STOCK.replace("max_iter: 200", "max_iter: 20").replace("test_iter: 3 test_interval: 40", "")
    (folder / "solver.prototxt").write_text(text)
    assert main(["train", "solver.prototxt", "--no-draw"]) == 0
    words = ["test", "net.prototxt", "--weights", "out/x_iter_20.caffemodel", "--iterations", "2", "--json"]
    assert main(words) == 2
    capsys.readouterr()
    assert main([*words, "--stage", "t"]) == 0
    assert "accuracy" in json.loads(capsys.readouterr().out)["outputs"]
    assert main(["time", "net.prototxt", "--phase", "TEST", "--stage", "t", "--iterations", "1"]) == 0
