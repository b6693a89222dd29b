"""Trainings that Spark starts on this machine: the same weights as torchrun's, and errors that come back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.spark.processes import environment, run

TORCHRUN = (
    "-m",
    "torch.distributed.run",
    "--standalone",
    "--nproc-per-node",
    "2",
    "-m",
    "netbuilder",
    "train",
)


def results(text: str) -> list[dict[str, Any]]:
    """The JSON objects that commands printed one after another."""
    found, decoder = [], json.JSONDecoder()
    at = text.find("{")
    while at >= 0:
        data, end = decoder.raw_decode(text, at)
        found.append(data)
        at = text.find("{", end)
    return found


@pytest.mark.usefixtures("spark")
def test_torchrun_local_mode_and_a_barrier_job_give_the_same_weights(folder: Path) -> None:
    words = [sys.executable, *TORCHRUN, "solver.prototxt", "--engine", "torch", "--no-draw", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, env=environment(folder), timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    (by_torchrun,) = results(done.stdout)
    model = folder / "out" / "tiny_iter_20.caffemodel"
    weights = model.read_bytes()
    spark = ["spark", "solver.prototxt", "--processes", "2", "--force", "--no-draw", "--json"]
    ran = run(folder, "commands", [spark, [*spark, "--master", "local[2]"]])
    assert ran.stdout.count("exit code 0") == 2, ran.stderr[-3000:]
    local, barrier = results(ran.stdout)
    assert by_torchrun["ranks"] == local["ranks"] == barrier["ranks"] == 2
    assert by_torchrun["iteration"] == local["iteration"] == barrier["iteration"] == 20
    assert local["weights"] == barrier["weights"]
    assert model.read_bytes() == weights  # those of torchrun and of the barrier job
    # What rank 0 says reaches the driver's terminal, in both ways, once.
    assert ran.stderr.count("wrote out/tiny_iter_10.*") == 2
    assert sorted(os.listdir(folder)) == ["net.prototxt", "out", "solver.prototxt", "tmp", "train_lmdb"]


@pytest.mark.usefixtures("spark")
def test_the_error_of_a_rank_is_the_drivers_and_is_not_tried_again(folder: Path) -> None:
    (data,) = results(run(folder, "raising", {"ranks": 2}).stdout)
    assert data == {
        "error": "ConfigError", "text": "rank 1 does not like this", "hint": "like it", "said": [],
    }  # fmt: skip
    assert (folder / "tries").read_text() == "x"
