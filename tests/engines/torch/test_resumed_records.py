"""The record of a training that was killed and resumed is that of one that nobody disturbed."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from netbuilder.cli.main import main
from netbuilder.engines.caffe import Caffe
from tests.engines.case import SOLVER

# Means over more iterations than lie between a snapshot and a row, and tests between snapshots.
SHORT = (
    SOLVER.replace("max_iter: 200 snapshot: 60", "max_iter: 24 snapshot: 5")
    .replace("display: 25", "display: 3 average_loss: 8 test_compute_loss: true")
    .replace("test_interval: 40", "test_interval: 4")
)
# Ends itself as the kernel would, when the record has taken this event.
KILLED = """
import os, signal, sys
from netbuilder.cli.main import main
from netbuilder.training.record import Record

take = Record.take

def killed(self, event, last):
    row = take(self, event, last)
    if [type(event).__name__, str(event.iteration if hasattr(event, "iteration") else "")] == sys.argv[1:3]:
        os.kill(os.getpid(), signal.SIGKILL)
    return row

Record.take = killed
main(sys.argv[3:])
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


@pytest.mark.parametrize("engine", ["torch", "caffe"])
def test_the_records_of_a_killed_and_of_an_undisturbed_training_are_equal(
    folder: Path, real_caffe: Caffe, engine: str
) -> None:
    words = ["train", "solver.prototxt", "--engine", engine, "--no-draw", "--resume", "auto"]
    (folder / "solver.prototxt").write_text(SHORT)
    assert main(words) == 0
    whole, rows = record(folder / "out"), tables(folder / "out")
    assert all(test["loss"] is not None for test in whole["tests"])
    assert [len(losses) for losses in whole["last_losses"].values()] == [5, 8, 8, 8, 8]
    (folder / "out").rename(folder / "whole")
    # Before the files of a snapshot have their names, and as soon as they have.
    for event, iteration in (("Saving", 10), ("Snapshot", 15)):
        done = subprocess.run([sys.executable, "-c", KILLED, event, str(iteration), *words], check=False)
        assert done.returncode == -9
    assert main(words) == 0
    assert tables(folder / "out") == rows
    assert record(folder / "out") == whole
