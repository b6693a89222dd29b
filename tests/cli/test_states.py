"""--level, --stage and the states of a solver, in every verb: Caffe's MNIST autoencoder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from netbuilder.cli.main import verb_parser
from netbuilder.engines.caffe import Caffe
from tests.cli.test_options import _leaves
from tests.command import Command
from tests.solvers import autoencoder

VERBS_WITH_A_STATE = ("check", "count", "diff", "test", "time", "train")


@pytest.fixture
def netbuilder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    monkeypatch.chdir(tmp_path)
    autoencoder.write(tmp_path)
    return Command(capsys)


@pytest.mark.parametrize("verb", VERBS_WITH_A_STATE)
def test_every_verb_that_reads_nets_takes_a_state(verb: str) -> None:
    (leaf,) = _leaves(verb_parser([verb]))
    assert {"--level", "--stage"} <= set(leaf._option_string_actions)


@pytest.mark.parametrize("words", [[], ["--stage", "test-on-test"], ["--phase", "TRAIN"]])
def test_the_autoencoder_is_counted_by_its_solver(netbuilder: Command, words: list[str]) -> None:
    ran = netbuilder("count", "solver.prototxt", "--json", *words)
    assert ran.code == 0
    assert json.loads(ran.out)["totals"]["learnable_params"] == autoencoder.PARAMS


def test_the_net_alone_needs_the_stage(netbuilder: Command) -> None:
    assert netbuilder("count", "mnist_autoencoder.prototxt", "--phase", "TEST").code == 2
    assert netbuilder("count", "mnist_autoencoder.prototxt").code == 0  # in TRAIN
    ran = netbuilder("count", "mnist_autoencoder.prototxt", "--stage", "test-on-train", "--phase", "TEST")
    assert (ran.code, "TEST" in ran.out) == (0, True)
    both = netbuilder("count", "mnist_autoencoder.prototxt", "--stage=test-on-train", "--stage=test-on-test")
    assert both.code == 2  # two layers give the blob
    assert "data" in both.err


def test_the_autoencoder_is_checked_in_all_its_states(netbuilder: Command) -> None:
    ran = netbuilder("check", "solver.prototxt", "--json")
    files = json.loads(ran.out)["files"]
    of_net = [f["phases"] for f in files if f["file"] == "mnist_autoencoder.prototxt"]
    assert of_net == [["TRAIN", "TEST"], ["TEST"]]
    assert [f["code"] for file in files for f in file["findings"] if f["severity"] == "error"] == []
    text = Path("solver.prototxt").read_text()
    Path("solver.prototxt").write_text(text.replace("test-on-test", "test-on-tset"))
    ran = netbuilder("check", "solver.prototxt")
    assert ran.code == 1
    assert "missing-bottom" in ran.out


def test_two_nets_are_compared_in_a_state(netbuilder: Command) -> None:
    ran = netbuilder("diff", "solver.prototxt", "mnist_autoencoder.prototxt", "--stage", "test-on-test")
    assert (ran.code, ran.out.splitlines()[0]) == (0, "the nets are the same")
    other = autoencoder.SOLVER.replace("test-on-train", "other").replace("test-on-test", "test-on-train")
    Path("b.prototxt").write_text(other.replace("other", "test-on-test"))
    assert "test_lmdb" in netbuilder("diff", "solver.prototxt", "b.prototxt", "--phase", "TEST").out


def test_the_autoencoder_is_trained_tested_and_timed(netbuilder: Command, real_caffe: Caffe) -> None:
    ran = netbuilder("train", "solver.prototxt", "--no-draw", "--json")
    assert ran.code == 0, ran.err
    last = {t["net"]: t["outputs"] for t in json.loads(ran.out)["tests"][-2:]}
    model = "snapshots/mnist_autoencoder_iter_20.caffemodel"
    for i, stage in enumerate(("test-on-train", "test-on-test")):
        ran = netbuilder("test", "solver.prototxt", "--weights", model, "--stage", stage, "--json",
                         "--iterations", str((4, 2)[i]))  # fmt: skip
        assert ran.code == 0, ran.err
        outputs = json.loads(ran.out)["outputs"]
        for name in ("cross_entropy_loss", "l2_error"):
            assert outputs[name] == pytest.approx(last[i][name], rel=1e-6)
    ran = netbuilder("test", "solver.prototxt", "--weights", model, "--json")
    assert json.loads(ran.out)["passes"] == 4  # its test_iter
    assert "the first of 2 test nets, TEST, stage 'test-on-train'" in ran.err
    ran = netbuilder(
        "time", "solver.prototxt", "--phase", "TEST", "--stage", "test-on-test", "--iterations=1"
    )
    assert ran.code == 0, ran.err
    assert netbuilder("time", "mnist_autoencoder.prototxt", "--phase", "TEST", "--iterations=1").code == 2
