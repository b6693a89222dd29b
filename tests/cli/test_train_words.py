"""`netbuilder train` on published files: other values for fields, the CPU, and a net in a solver's place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from netbuilder.engines.caffe import Caffe
from tests.command import Command
from tests.databases import noise, write_lmdb

NET = """name: "small"
layer { name: "data" type: "Data" top: "data" top: "label"
  transform_param { scale: 0.01 } data_param { source: "db" backend: LMDB batch_size: 4 } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy"
  include { phase: TEST } }
"""
# As published: names from Caffe's own folder, and a GPU.
SOLVER = """net: "examples/small/net.prototxt"
test_iter: 2 test_interval: 500 base_lr: 0.01 lr_policy: "step" gamma: 0.1 stepsize: 100
max_iter: 450000 solver_mode: GPU snapshot_prefix: "examples/small/net" random_seed: 1
"""


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small").mkdir()
    (tmp_path / "small/net.prototxt").write_text(NET, encoding="utf-8")
    (tmp_path / "small/solver.prototxt").write_text(SOLVER, encoding="utf-8")
    write_lmdb(tmp_path / "db", noise(8, 1, 6, 6), [i % 2 for i in range(8)])
    return Command(capsys, "train", "--no-draw")


def test_a_published_solver_trains_by_options_alone(train: Command, real_caffe: Caffe) -> None:
    settings = ("net=small/net.prototxt", "snapshot_prefix=out/a", "max_iter=4", "test_iter=2", "stepsize=2")
    words = [word for setting in settings for word in ("--set", setting)]
    ran = train("small/solver.prototxt", "--cpu", *words, "--json")
    assert ran.code == 0, ran
    assert json.loads(ran.out)["max_iter"] == 4
    assert [row.split(",")[2] for row in Path("out/a_train.csv").read_text().splitlines()[1:]][-1] == "0.001"
    untested = train("small/solver.prototxt", "--cpu", "--force", *words, "--set", "test_iter=")
    assert untested.code == 0, untested
    assert "test accuracy" not in untested.err


@pytest.mark.parametrize(
    ("setting", "error", "hint"),
    [
        ("max_itr=4", "FieldError: no field 'max_itr' in SolverParameter", "did you mean 'max_iter'?"),
        ("max_itr=", "FieldError: no field 'max_itr' in SolverParameter", "did you mean 'max_iter'?"),
        ("max_iter=many", "FieldError: solver: max_iter must be an integer, got 'many'", ""),
        ("max_iter", "ConfigError: --set takes FIELD=VALUE, got 'max_iter'", "as in --set display=20"),
    ],
)
def test_a_field_that_there_is_not_or_a_wrong_value_is_refused(
    setting: str, error: str, hint: str, train: Command, real_caffe: Caffe
) -> None:
    said = "\n".join([error, *([f"  hint:    {hint}"] if hint else []), ""])
    assert train("small/solver.prototxt", "--set", setting) == (2, "", said)


def test_a_net_that_is_not_there_is_looked_for_in_places_that_are_named(
    train: Command, real_caffe: Caffe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    looked = f"looked for it in '{tmp_path}' and in '{tmp_path}/small'; Caffe looks in the current directory"
    offer = "'small/net.prototxt' has that name: `netbuilder train --set net=small/net.prototxt` takes it"
    what = "the solver names a net that does not exist: 'examples/small/net.prototxt'"
    where = "  where:   small/solver.prototxt:1:1\n"
    error = f"FileError: {what}\n{where}  hint:    {looked}; {offer}\n"
    assert train("small/solver.prototxt") == (2, "", error)
    checked = Command(capsys, "check")("small/solver.prototxt")
    assert f"small/solver.prototxt:1: error: {what} [net-file]\n  fix: {looked}; {offer}\n" in checked.out


def test_a_net_in_place_of_a_solver_is_called_one(train: Command, real_caffe: Caffe) -> None:
    Path("a net.prototxt").write_text(NET, encoding="utf-8")
    hint = (
        "netbuilder solver RECIPE --net 'a net.prototxt' -o solver.prototxt writes a solver for it; "
        "netbuilder solver --list names the recipes"
    )
    what = "PrototxtError: 'a net.prototxt' is a net, not a solver\n  where:   a net.prototxt\n"
    assert train("a net.prototxt") == (2, "", f"{what}  hint:    {hint}\n")
