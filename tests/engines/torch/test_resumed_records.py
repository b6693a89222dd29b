"""The record of a training that was killed and resumed is that of one that nobody disturbed."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from netbuilder.engines.caffe import Caffe
from tests.engines.case import SOLVER

# Means over more iterations than lie between a snapshot and a row, and tests between snapshots.
SHORT = (
    SOLVER.replace("max_iter: 200 snapshot: 60", "max_iter: 24 snapshot: 5")
    .replace("display: 25", "display: 3 average_loss: 8 test_compute_loss: true")
    .replace("test_interval: 40", "test_interval: 4")
)
# Trains in a process for each of these events of iteration 10, forked from one that has imported the engine.
# It ends itself as the kernel would, when the record has taken its event. Prints how they ended.
DRIVER = """
import importlib, os, signal, sys
from netbuilder.cli.main import main
from netbuilder.training.record import Record

take, engine = Record.take, sys.argv[1]
importlib.import_module({"torch": "netbuilder.engines.torch.train", "caffe": "netbuilder.engines"}[engine])

def killed(self, event, last):
    row = take(self, event, last)
    if [type(event).__name__, getattr(event, "iteration", None)] == [awaited, 10]:
        os.kill(os.getpid(), signal.SIGKILL)
    return row

Record.take = killed
for number, awaited in enumerate(sys.argv[2:]):
    pid = os.fork()
    if not pid:
        os.dup2(2, 1)
        os._exit(main(["train", "solver.prototxt", "--engine", engine, "--no-draw", "--resume", "auto"]))
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    if awaited == "never":
        os.rename("out", f"out{number}")
"""
# What is measured, and where the last run began.
DIFFERS = {"from", "seconds", "images_per_second", "memory"}


def record(folder: Path) -> dict[str, Any]:
    data = json.loads((folder / "x_run.json").read_text())
    for row in data["train"]:
        del row["seconds"]
    return {key: value for key, value in data.items() if key not in DIFFERS}


def tables(folder: Path) -> list[list[str]]:
    with (folder / "x_train.csv").open() as train, (folder / "x_test.csv").open() as test:
        return [*(row[:-1] for row in csv.reader(train)), *csv.reader(test)]


# Before the files of a snapshot have their names.
@pytest.mark.parametrize(("engine", "event"), [("torch", "Saving"), ("caffe", "Saving")])
def test_the_records_of_a_killed_and_of_an_undisturbed_training_are_equal(
    folder: Path, real_caffe: Caffe, engine: str, event: str
) -> None:
    (folder / "solver.prototxt").write_text(SHORT)
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, engine, "never", event, "never"], stdout=subprocess.PIPE, text=True
    )
    assert done.stdout.split() == ["0", "-9", "0"]
    whole, rows = record(folder / "out0"), tables(folder / "out0")
    assert all(test["loss"] is not None for test in whole["tests"])
    assert [len(losses) for losses in whole["last_losses"].values()] == [5, 8, 8, 8, 8]
    assert tables(folder / "out2") == rows
    assert record(folder / "out2") == whole
