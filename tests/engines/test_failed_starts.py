"""A start that fails leaves the files of an earlier training as they are."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from pathlib import Path

import pytest

from netbuilder.cli.main import main
from netbuilder.engines.caffe import Caffe
from tests.engines.case import SOLVER, logged_losses, refusal, start, worker_of

SHORT = (
    SOLVER.replace("max_iter: 200", "max_iter: 12")
    .replace("snapshot: 60", "snapshot: 6")
    .replace("20 from", "2 from")
)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.fixture
def trained(folder: Path, real_caffe: Caffe, capsys: pytest.CaptureFixture[str]) -> Path:
    """A folder with a training that has ended."""
    (folder / "solver.prototxt").write_text(SHORT)
    assert main(["train", "solver.prototxt"]) == 0
    capsys.readouterr()
    return folder


def test_a_start_that_fails_touches_nothing_of_an_earlier_training(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = trained / "out"
    before = contents(out)
    for words in (["--gpu", "0", "--force"], ["--gpu", "0", "--resume", "out/x_iter_6.solverstate"]):
        assert main(["train", "solver.prototxt", *words]) == 2
        said = capsys.readouterr().err
        assert "this Caffe is built for CPUs only" in said
        assert "the record of the earlier training is kept; wrote out/x_start_caffe.log\n" in said
        assert "Cannot use GPU in CPU-only Caffe" in (out / "x_start_caffe.log").read_text()
        (out / "x_start_caffe.log").unlink()
        assert contents(out) == before
    # A record that fails in the first iteration, in another process: a decoder's error.
    net = (trained / "net.prototxt").read_text()
    (trained / "net.prototxt").write_text(net.replace("crop_size: 8 mirror: true", "crop_size: 11"))
    refusal(["train", "solver.prototxt", "--force"], capsys)
    (out / "x_start_caffe.log").unlink(missing_ok=True)
    assert contents(out) == before


def test_a_first_start_that_fails_leaves_its_record(
    folder: Path, real_caffe: Caffe, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal(["train", "solver.prototxt", "--gpu", "0"], capsys)
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        "x_caffe.log", "x_run.json", "x_test.csv", "x_train.csv",
    ]  # fmt: skip


def begun_logs(folder: Path) -> list[Path]:
    return list((folder / "out").glob(".x.*.partial/record_caffe.log"))


def test_what_is_killed_before_its_first_iteration_touches_nothing(trained: Path) -> None:
    """The test before the first iteration is no iteration."""
    before = contents(trained / "out")
    text = SHORT.replace("test_iter: 3", "test_iter: 1000000")
    (trained / "solver.prototxt").write_text(text)
    process = start("solver.prototxt", "--force", "--no-draw")
    limit = time.monotonic() + 60
    while not any("Network initialization done" in log.read_text() for log in begun_logs(trained)):
        assert time.monotonic() < limit
        time.sleep(0.01)
    os.kill(worker_of(process), signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == 2
    (trained / "out/x_start_caffe.log").unlink()
    assert contents(trained / "out") == before


def test_a_new_training_replaces_the_files_after_its_first_iteration(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A snapshot of the first iteration has the name of an old one, and stays."""
    (trained / "solver.prototxt").write_text(SHORT.replace("snapshot: 6", "snapshot: 1").replace("12", "6"))
    assert main(["train", "solver.prototxt", "--force", "--no-draw"]) == 0
    states = sorted(path.name for path in (trained / "out").glob("*.solverstate"))
    assert states == [f"x_iter_{i}.solverstate" for i in range(1, 7)]
    assert list(logged_losses(trained / "out/x_caffe.log")) == [0, 5]
    assert not (trained / "out/x_start_caffe.log").exists()
