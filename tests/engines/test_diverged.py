"""Trainings that diverge, by every engine: how they end, what they write, what a test of them says."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netbuilder.cli.main import main
from netbuilder.engines.caffe import VARIABLE, Caffe
from netbuilder.schema import message
from tests.engines.case import start

DATA = """layer { name: "x" type: "DummyData" top: "x" top: "t" dummy_data_param {
  shape { dim: 4 dim: 3 } shape { dim: 4 } data_filler { type: "constant" value: 1 }
  data_filler { type: "constant" value: 1 } } }
"""
LEARNS = """layer { name: "y" type: "InnerProduct" bottom: "x" top: "y"
  inner_product_param { num_output: 2 weight_filler { type: "constant" value: 1 } } }
"""
STAYS = """layer { name: "y" type: "InnerProduct" bottom: "x" top: "y"
  param { lr_mult: 0 } param { lr_mult: 0 }
  inner_product_param { num_output: 1 weight_filler { type: "constant" value: 100 } } }
"""
EXPLODES = """layer { name: "y2" type: "Power" bottom: "y" top: "y2" power_param { power: 2 shift: 3 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y2" bottom: "y" top: "loss" }
"""
# Class 0 has a score of 300, class 1 none: the label, 1, has no probability.
SATURATED = """layer { name: "z" type: "Power" bottom: "y" top: "z" power_param { scale: 0 } }
layer { name: "both" type: "Concat" bottom: "y" bottom: "z" top: "both" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "both" bottom: "t" top: "loss" }
"""
SOLVER = """net: "net.prototxt" base_lr: %s lr_policy: "fixed" max_iter: 30 display: 10 snapshot: 1
snapshot_prefix: "out/x" random_seed: 1
"""
ENGINES = ("caffe", "binary", "torch")


@pytest.fixture(params=ENGINES)
def engine(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real_caffe: Caffe
) -> str:
    """The name of an engine to train with, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    if request.param == "binary":
        container: Callable[..., str] = request.getfixturevalue("container")
        monkeypatch.setenv(VARIABLE, container("caffe"))
        return "caffe"
    return str(request.param)


def trained(engine: str, net: str, rate: str) -> tuple[int, dict[str, Any]]:
    Path("net.prototxt").write_text(net)
    Path("solver.prototxt").write_text(SOLVER % rate)
    code = main(["train", "solver.prototxt", "--engine", engine, "--no-draw"])
    return code, json.loads(Path("out/x_run.json").read_text())


def test_a_loss_that_is_not_finite_fails(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, record = trained(engine, DATA + LEARNS + EXPLODES, "1e3")
    captured = capsys.readouterr()
    assert code == 1
    assert record["end"] == "diverged"
    assert "is not finite" in record["reason"] or record["reason"].startswith("the loss is ")
    assert record["iteration"] < 30
    assert "trained to the end" not in captured.out + captured.err
    assert f"error: {record['reason']}: nothing is learnt any more\nhint: " in captured.err
    # No snapshot is left whose weights are of no use.
    from netbuilder.training.health import finite_model

    assert all(finite_model(model) for model in Path("out").glob("*.caffemodel"))
    assert not list(Path("out").glob(".*"))


def test_a_saturated_softmax_fails_at_the_end(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, record = trained(engine, DATA + STAYS + SATURATED, "0.1")
    captured = capsys.readouterr()
    assert code == 1
    assert (record["end"], record["iteration"]) == ("diverged", 30)
    assert record["train"][-1]["loss"] == pytest.approx(87.3365, rel=1e-5)
    assert record["reason"].startswith("the loss stays at 87.3365: the softmax is saturated")
    head, reason, *_ = captured.out.splitlines()
    assert head.startswith("diverged: iteration 30 of 30, ")
    assert reason == record["reason"]


@pytest.mark.parametrize("loss", [True, False])
def test_a_test_of_such_weights_fails(
    engine: str, loss: bool, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    """Accuracy compares scores; every comparison with nan is false, which Caffe counts as a match."""
    net = DATA + LEARNS + 'layer { name: "a" type: "Accuracy" bottom: "y" bottom: "t" top: "a" }\n'
    if loss:
        net += 'layer { name: "l" type: "SoftmaxWithLoss" bottom: "y" bottom: "t" top: "l" }\n'
    Path("net.prototxt").write_text(net)
    model = message("NetParameter")()
    layer = model.layer.add(name="y", type="InnerProduct")
    for shape in ((2, 3), (2,)):
        blob = layer.blobs.add()
        blob.shape.dim.extend(shape)
        blob.data.extend([math.nan] * int(np.prod(shape)))
    Path("w.caffemodel").write_bytes(model.SerializeToString())
    words = ["test", "net.prototxt", "--weights", "w.caffemodel", "--iterations", "2", "--engine", engine]
    assert main(words) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1 - loss].split() == ["a", "nan"]
    assert "error: the results are not finite\nhint: " in captured.err
    assert main([*words, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["outputs"]["a"] == [None]


@pytest.mark.parametrize(("rate", "code", "end"), [("0.0001", 0, "done"), ("1e30", 1, "diverged")])
def test_a_training_outlives_its_readers(
    rate: str, code: int, end: str, real_caffe: Caffe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `netbuilder train solver.prototxt 2>&1 | head -1` leaves it."""
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(DATA + LEARNS + EXPLODES)
    Path("solver.prototxt").write_text(SOLVER % rate)
    process = start("solver.prototxt", "--engine", "caffe", "--set", "display=1")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stderr.readline()
    process.stderr.close()
    process.stdout.close()
    assert process.wait(60) == code
    assert json.loads(Path("out/x_run.json").read_text())["end"] == end
