"""What several ranks change in a plan: their place, the batch, the snapshot that a restart goes on from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from netbuilder.errors import ConfigError, EngineError
from netbuilder.solvers.batch import data_batch
from netbuilder.training.plan import plan_training
from netbuilder.training.ranks import ALONE, Ranks
from netbuilder.training.sharing import resumed
from netbuilder.training.snapshots import SNAPSHOTS

HERE = {"RANK": "5", "WORLD_SIZE": "8", "MASTER_ADDR": "node1", "MASTER_PORT": "29500"}
NET = """layer { name: "data" type: "DummyData" top: "data" top: "label" include { phase: TRAIN }
  dummy_data_param { shape { dim: 10 dim: 3 } shape { dim: 10 } } }
layer { name: "data" type: "DummyData" top: "data" top: "label" include { phase: TEST }
  dummy_data_param { shape { dim: 6 dim: 3 } shape { dim: 6 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 2 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""


@pytest.fixture
def solver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    Path("solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 9 test_iter: 1 test_interval: 3 '
        'random_seed: 1 snapshot_prefix: "x"'
    )
    return "solver.prototxt"


def environment(monkeypatch: pytest.MonkeyPatch, **names: str) -> Ranks:
    for name, value in {**HERE, **names}.items():
        monkeypatch.setenv(name, value)
    return Ranks.of_environment()


def test_the_environment_of_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Ranks.of_environment() == ALONE
    ranks = environment(
        monkeypatch, LOCAL_RANK="1", LOCAL_WORLD_SIZE="4", TORCHELASTIC_RUN_ID="job7",
        TORCHELASTIC_RESTART_COUNT="2", TORCHELASTIC_MAX_RESTARTS="3",
    )  # fmt: skip
    assert ranks == Ranks(
        rank=5, size=8, local=1, local_size=4, restarts=2, most_restarts=3, run="job7", launched=True
    )
    assert not ranks.first
    assert environment(monkeypatch, TORCHELASTIC_RUN_ID="none").run == ""  # what torchrun says without an id
    with pytest.raises(ConfigError, match="WORLD_SIZE in the environment must be a whole number, got 'many'"):
        environment(monkeypatch, WORLD_SIZE="many")


@pytest.mark.parametrize(
    ("own", "dialect", "divided"),
    [(False, None, False), (False, "nvcaffe", True), (False, "caffeonspark", False), (True, None, True),
     (True, "caffe-1.0", False)],
)  # fmt: skip
def test_nvcaffe_divides_the_batch_of_the_file_and_rounds_it_up(
    solver: str, own: bool, dialect: str | None, divided: bool
) -> None:
    """A net with a field that only NVCaffe has is NVCaffe's."""
    if own:
        Path("net.prototxt").write_text(NET.replace('top: "fc"', 'top: "fc" forward_type: FLOAT16'))
    plan = plan_training(solver, SNAPSHOTS, ranks=Ranks(size=3), dialect=dialect)
    assert [data_batch(net) for _, net in plan.nets] == [4 if divided else 10, 6]
    assert plan.file_batch == (10 if divided else None)
    alone = plan_training(solver, SNAPSHOTS, dialect=dialect)
    assert [data_batch(net) for _, net in alone.nets] == [10, 6]


def written(**record: Any) -> None:
    Path("x_run.json").write_text(json.dumps(record))
    for iteration in (3, 6, 9):
        for ending in ("solverstate", "caffemodel"):
            Path(f"x_iter_{iteration}.{ending}").touch()


def began(resume: str | None = None, *, force: bool = False, **ranks: Any) -> str | None:
    found = resumed("x", SNAPSHOTS, resume, Ranks(size=2, launched=True, **ranks), force)
    return None if found is None else found.name


def test_a_restart_goes_on_from_what_its_own_launch_wrote(solver: str) -> None:
    """Snapshots 6 and 9 are of an earlier training."""
    written(run="job7", end="failed", snapshot="x_iter_3.solverstate")
    last = "x_iter_3.solverstate"
    assert began(run="job7", restarts=1) == last
    assert began(run="job7", restarts=1, force=True) == last
    assert began("x_iter_6.solverstate", run="job7", restarts=1) == last
    assert began(run="job7") == last  # on a machine that has just joined
    assert began(run="job7", force=True) is None  # as the user says, at the start
    assert began("x_iter_6.solverstate", run="job7") == "x_iter_6.solverstate"
    assert began(run="job8", restarts=1) is None  # another launch, which has written nothing yet
    assert began("latest", run="job8", restarts=1) == "x_iter_9.solverstate"
    assert began(run="", restarts=1) is None


def test_a_training_that_is_done_or_has_no_snapshot_is_not_gone_on_with(solver: str) -> None:
    written(run="job7", end="done", snapshot="x_iter_9.solverstate")
    assert began(run="job7") is None
    written(run="job7", end="running")
    assert began(run="job7", restarts=1) is None


def test_a_training_that_diverged_is_not_restarted(solver: str) -> None:
    written(run="job7", end="diverged", iteration=4, snapshot="x_iter_3.solverstate")
    with pytest.raises(EngineError, match="the training diverged at iteration 4, and would do so again"):
        began(run="job7", restarts=1)


def test_auto_is_the_latest_or_nothing(solver: str) -> None:
    assert resumed("x", SNAPSHOTS, "auto", ALONE, False) is None
    written()
    assert resumed("x", SNAPSHOTS, "auto", ALONE, False) == Path("x_iter_9.solverstate")
