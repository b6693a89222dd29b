"""What the tests of trainings share: a small net with all that is random, its solver, and how one is run."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from netbuilder.cli.main import main
from netbuilder.engines.caffe.engine import CaffeEngine, CaffeJob
from netbuilder.engines.caffe.install import Install
from netbuilder.schema import message
from netbuilder.training.plan import plan_training

ROOT = Path(__file__).parents[2]

# Random crops and mirroring, Dropout, an epoch that is no whole number of batches, in TRAIN and in TEST.
NET = """name: "noisy"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { crop_size: 8 mirror: true scale: 0.01 }
  data_param { source: "db" backend: LMDB batch_size: 7 } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { crop_size: 8 scale: 0.01 } data_param { source: "db" backend: LMDB batch_size: 10 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 8 kernel_size: 3 weight_filler { type: "msra" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "drop" type: "Dropout" bottom: "conv" top: "conv" dropout_param { dropout_ratio: 0.3 } }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
  inner_product_param { num_output: 5 weight_filler { type: "msra" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy"
  include { phase: TEST } }
"""
SOLVER = """net: "net.prototxt"
base_lr: 0.05 lr_policy: "warmup 20 from 0, cosine" momentum: 0.9 weight_decay: 0.0005
iter_size: 2 display: 25 test_iter: 3 test_interval: 40 random_seed: 3
max_iter: 200 snapshot: 60 snapshot_prefix: "out/x"
"""


def start(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "netbuilder.cli.main", "train", *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def prepare(solver: str, install: Install, **options: Any) -> CaffeJob:
    """A training of this Caffe, ready to start."""
    engine = CaffeEngine(install)
    plan = plan_training(solver, engine.snapshots, **options)
    job = engine.train(plan)
    plan.make_folder()
    return job


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    limit = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit, f"{path} did not come"
        time.sleep(0.005)


def wait_for_snapshot(prefix: Path, iteration: int, process: subprocess.Popen[str]) -> None:
    """Wait until netbuilder has taken notice of a snapshot, and of all that came before it."""
    record = prefix.with_name(f"{prefix.name}_run.json")
    wait_for(record, process)
    limit = time.monotonic() + 60
    while f"_iter_{iteration}." not in str(json.loads(record.read_text())["snapshots"]):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.005)


def wait_for_end(pid: int) -> None:
    """Wait until a process that is not our child has ended."""
    limit = time.monotonic() + 60
    while True:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except (FileNotFoundError, ProcessLookupError):
            return
        assert time.monotonic() < limit, f"process {pid} does not end"
        time.sleep(0.005)


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, without the times."""
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def logged_losses(log: Path) -> dict[int, float]:
    """The losses in a log of Caffe's, by iteration."""
    found = re.findall(r"Iteration (\d+) \(.*\), loss = (\S+)", log.read_text())
    return {int(iteration): float(loss) for iteration, loss in found}


def worker_of(process: subprocess.Popen[str]) -> int:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(children[0])


def state_of(path: Path) -> Any:
    state = message("SolverState")()
    state.ParseFromString(path.read_bytes())
    return state


def refusal(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 2
    return capsys.readouterr().err.replace("\n  ", "\n").split("Error: ")[1]
