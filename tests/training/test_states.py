"""What a run may resume from: the histories of its own net and solver, and no snapshot beyond its end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from netbuilder.engines.caffe import Caffe
from netbuilder.engines.caffe.engine import CaffeEngine
from netbuilder.errors import ConfigError
from netbuilder.training.plan import plan_training
from netbuilder.training.states import histories
from tests.command import Command

NET = """layer { name: "x" type: "DummyData" top: "x" top: "t" dummy_data_param {
  shape { dim: 2 dim: 3 } shape { dim: 2 dim: 4 } data_filler { type: "gaussian" } } }
layer { name: "y" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 4 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
"""
SOLVER = """net: "net.prototxt" base_lr: 0.001 lr_policy: "fixed" max_iter: 6 display: 1 snapshot: 2
snapshot_prefix: "out/x" random_seed: 1
"""


@pytest.fixture(params=["BINARYPROTO", "HDF5"])
def trained(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    real_caffe: Caffe,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """A training by real Caffe that has ended."""
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    Path("solver.prototxt").write_text(f"{SOLVER}snapshot_format: {request.param}\n")
    netbuilder = Command(capsys)
    assert netbuilder("train", "solver.prototxt", "--no-draw").code == 0
    return netbuilder


def resumed(**changes: str) -> str:
    """The error of a plan that resumes with another text of the solver and the net."""
    text = Path("solver.prototxt").read_text()
    for old, new in changes.items():
        text = text.replace(f"{old}:", f"{new} {old}:" if old == "net" else f"{new}\n#")
    Path("other.prototxt").write_text(text)
    with pytest.raises(ConfigError) as caught:
        plan_training("other.prototxt", CaffeEngine.snapshots, resume="latest")
    return str(caught.value)


def test_a_state_of_another_training_is_refused(trained: Command) -> None:
    state = next(Path("out").glob("x_iter_6.solverstate*"))
    assert histories(state) == [(4, 3), (4,)]
    assert json.loads(Path("out/x_run.json").read_text())["type"] == "SGD"
    plan_training("solver.prototxt", CaffeEngine.snapshots, resume="latest")  # its own is not
    # Another type with as many histories, of which the state says nothing.
    said = resumed(net='type: "AdaGrad"')
    assert "is of a solver of type SGD, and this one is AdaGrad" in said
    assert said.startswith("the snapshot does not fit: it is of another net, or of another type of solver\n")
    assert "--weights begins with its weights, without the history" in said
    # Without a record the number still tells.
    Path("out/x_run.json").unlink()
    said = resumed(net='type: "Adam"')
    assert "has 2 history blobs, and Adam has 2 for each of the 2 parameter blobs of this net" in said
    # Another net with as many parameters: Caffe takes any shape.
    other = NET.replace("dim: 2 dim: 3", "dim: 2 dim: 5")
    Path("net.prototxt").write_text(other.replace('name: "y"', 'name: "z"'))
    said = resumed()
    assert f"history 0 of '{state}' is (4,3), and the weight of layer 'z' is (4,5)" in said


def test_a_snapshot_beyond_the_end_is_refused(trained: Command) -> None:
    said = resumed(max_iter="max_iter: 5")
    assert "x_iter_6.solverstate" in said
    assert "is beyond the end of this training: max_iter is 5" in said
    assert "raise max_iter above 6; --resume out/x_iter_4.solverstate" in said
    ran = trained("train", "other.prototxt", "--resume", "latest")
    assert (ran.code, ran.out) == (2, "")
    # The last one is the end: nothing is left to do, and that is no mistake.
    assert trained("train", "solver.prototxt", "--resume", "latest", "--no-draw").code == 0
