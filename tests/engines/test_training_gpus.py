"""Several GPUs: the calls that BVLC's own train.py makes, in its order, by a pycaffe that writes them down.

No GPU takes part: this holds the worker to the protocol, not to what NCCL computes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from netbuilder.engines.caffe.install import Install
from netbuilder.errors import EngineError
from netbuilder.training.events import Ended, Started
from netbuilder.training.plan import parse_devices
from tests.engines.case import prepare

# One line for each call; `wait` stands for the all-reduce, at which the ranks meet.
FAKE = """
import os, sys, time
RANK = [0]

def note(text):
    with open(os.environ["CALLS"], "a") as file:
        file.write(f"{os.getpid()} {text}\\n")

def set_mode_gpu(): note("set_mode_gpu")
def set_mode_cpu(): note("set_mode_cpu")
def set_device(i): note(f"set_device {i}")
def set_solver_count(n): note(f"set_solver_count {n}")
def set_multiprocess(on): note(f"set_multiprocess {on}")
def set_solver_rank(r):
    RANK[0] = r
    note(f"set_solver_rank {r}")

class Param:
    layer_wise_reduce = True
    base_lr = 0.0

class Net:
    layers, outputs, params = [], ["loss"], {}
    def after_backward(self, nccl): note("after_backward")

class NCCL:
    @staticmethod
    def new_uid(): return "uid"
    def __init__(self, solver, uid): note(f"NCCL {uid}")
    def bcast(self): note("bcast")

class Solver:
    def __init__(self): self.iter, self.net, self.test_nets, self.param = 0, Net(), [], Param()
    def add_callback(self, nccl): note("add_callback")
    def step(self, n):
        self.iter += n
        if RANK[0] == 1 and os.environ.get("DIES"):
            reason = "Check failed: error == cudaSuccess (2 vs. 0)  out of memory"
            os.write(2, f"F1122 22:00:00.000000  1 math.cu:1] {reason}\\n".encode())
            os.abort()
        if RANK[0] == 0 and os.environ.get("DIES"):
            time.sleep(60)
        note(f"step {self.iter}")
        open(os.environ["CALLS"] + f".{RANK[0]}.{self.iter}", "w").close()
        while not os.path.exists(os.environ["CALLS"] + f".{1 - RANK[0]}.{self.iter}"):
            time.sleep(0.002)

def get_solver(path):
    note("get_solver")
    return Solver()
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """An install whose pycaffe is the fake."""
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake/caffe.py").write_text(FAKE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "x" type: "DummyData" top: "x" dummy_data_param { shape { dim: 1 } } }'
    )
    (tmp_path / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 3 random_seed: 1 '
        'snapshot_after_train: false snapshot_prefix: "s/x"'
    )
    return Install((sys.executable,), "a fake")


def test_every_gpu_has_a_process_and_they_are_joined_by_nccl(install: Install, tmp_path: Path) -> None:
    ready = prepare("solver.prototxt", install, devices=parse_devices("2,5"))
    with ready.start() as worker:
        told = list(worker)
    assert told[-1] == Ended("done", 3)
    assert [e for e in told if isinstance(e, Started)] == [Started(0, ("loss",))]  # rank 0 alone tells
    calls: dict[str, list[str]] = {}
    for line in (tmp_path / "calls").read_text().splitlines():
        process, _, call = line.partition(" ")
        calls.setdefault(process, []).append(call)
    expected = [
        f"set_mode_gpu; set_device {device}; set_solver_count 2; set_solver_rank {rank}; "
        "set_multiprocess True; get_solver; NCCL uid; bcast; add_callback; after_backward; "
        "step 1; step 2; step 3"
        for rank, device in ((0, 2), (1, 5))
    ]
    assert sorted("; ".join(own) for own in calls.values()) == expected


def test_a_gpu_that_fails_ends_the_others(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIES", "1")
    monkeypatch.setattr("netbuilder.engines.caffe.process._GRACE", 0.2)
    ready = prepare("solver.prototxt", install, devices=[0, 1])
    with ready.start() as worker, pytest.raises(EngineError) as caught:
        list(worker)
    assert caught.value.text == "the GPU has too little memory"
