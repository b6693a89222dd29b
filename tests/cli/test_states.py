"""--level, --stage and the states of a solver, in every verb: Caffe's MNIST autoencoder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from netbuilder.cli.main import verb_parser
from netbuilder.engines.caffe import Caffe
from netbuilder.weights.model import read_model
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


def test_a_solver_is_reported_in_every_form(netbuilder: Command) -> None:
    text = autoencoder.SOLVER.replace('lr_policy: "step"', 'lr_policy: "setp"') + "device_id: [0, 1]\n"
    Path("solver.prototxt").write_text(text)
    ran = netbuilder("check", "solver.prototxt")
    assert ran.code == 1
    line = text.splitlines().index('lr_policy: "setp"') + 1
    assert (
        f"solver.prototxt:{line}: error: unknown lr_policy 'setp' [lr-policy]\n  fix: did you mean" in ran.out
    )
    found = json.loads(netbuilder("check", "solver.prototxt", "--json").out)["files"][0]
    assert [(f["code"], f["line"]) for f in found["findings"] if f["severity"] == "error"] == [
        ("lr-policy", line),
        ("solver-field", len(text.splitlines())),
    ]
    log = json.loads(netbuilder("check", "solver.prototxt", "--format", "sarif").out)
    assert {"lr-policy", "solver-field"} <= {r["id"] for r in log["runs"][0]["tool"]["driver"]["rules"]}
    assert netbuilder("check", "solver.prototxt", "--fix").code == 1
    assert not Path("solver.fixed.prototxt").exists()


@pytest.mark.parametrize("target", ["ssd", "nvcaffe"])
def test_fields_of_a_fork_are_for_that_fork(target: str, netbuilder: Command) -> None:
    more = {"ssd": 'eval_type: "detection"\n', "nvcaffe": 'larc: true\nlarc_policy: "clip"\nmin_lr: 0.1\n'}
    Path("solver.prototxt").write_text(autoencoder.SOLVER + more[target])
    assert netbuilder("check", "solver.prototxt", "--target", target).code == 0
    ran = netbuilder("check", "solver.prototxt")
    assert ran.code == 1
    assert f"fix: a field of {target}" in ran.out or "a field of ssd and nvcaffe" in ran.out
    assert netbuilder("count", "solver.prototxt").code == 0


def test_a_recipe_is_for_a_net_that_tests_in_stages(netbuilder: Command) -> None:
    ran = netbuilder("solver", "resnet", "--net", "mnist_autoencoder.prototxt", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["iterations_per_epoch"] == autoencoder.RECORDS["train_lmdb"] / 10


def test_a_label_map_is_named(netbuilder: Command) -> None:
    Path("labelmap.prototxt").write_text('item { name: "cat" label: 1 display_name: "cat" }\n')
    for verb in ("count", "check"):
        ran = netbuilder(verb, "labelmap.prototxt")
        assert ran.code == 2
        assert "a label map, item { name label display_name }, not a net" in ran.out + ran.err


@pytest.mark.parametrize("verb", ["count", "check", "diff", "train", "test", "time"])
def test_every_verb_says_that_caffe_upgrades_no_net_in_a_solver(verb: str, netbuilder: Command) -> None:
    old = 'layers { name: "x" type: DUMMY_DATA top: "x" dummy_data_param { num: 4 channels: 3 } }\n'
    Path("v1.prototxt").write_text(f'base_lr: 0.1 lr_policy: "fixed" max_iter: 1\nnet_param {{\n{old}}}\n')
    words = {"diff": ["v1.prototxt"], "test": ["--weights", "v1.prototxt"], "train": ["--no-draw"]}
    ran = netbuilder(verb, "v1.prototxt", *words.get(verb, []))
    assert ran.code == (1 if verb == "check" else 2)
    assert "Caffe does not upgrade the net of net_param: its 'layers' are ignored" in ran.out + ran.err


@pytest.mark.parametrize("verb", ["count", "check", "diff"])
def test_nets_inside_a_solver_are_looked_at(verb: str, netbuilder: Command) -> None:
    net = autoencoder.NET
    inline = autoencoder.SOLVER.replace('net: "mnist_autoencoder.prototxt"\n', "")
    train_only = (
        f'base_lr: 0.1 lr_policy: "fixed" max_iter: 1 snapshot_prefix: "s"\ntrain_net_param {{\n{net}}}\n'
    )
    for text in (f"net_param {{\n{net}}}\n{inline}", train_only):
        Path("inline.prototxt").write_text(text)
        words = {"count": ["--json"], "check": [], "diff": ["mnist_autoencoder.prototxt", "--phase", "TRAIN"]}
        ran = netbuilder(verb, "inline.prototxt", *words[verb])
        assert ran.code == 0, ran.out + ran.err
        if verb == "count":
            assert json.loads(ran.out)["totals"]["learnable_params"] == autoencoder.PARAMS
    Path("inline.prototxt").write_text(train_only.replace('bottom: "encode2"', 'bottom: "encode3"'))
    ran = netbuilder(verb, "inline.prototxt", *words[verb])
    assert ran.code > 0
    assert "encode3" in ran.out + ran.err
    assert "inline.prototxt" in ran.out + ran.err


EXTRA = (
    'layer { name: "extra" type: "InnerProduct" bottom: "decode1" top: "extra" include { RULE } '
    "inner_product_param { num_output: 2 } }\n"
    'layer { name: "silence" type: "Silence" bottom: "extra" include { RULE } }\n'
)


@pytest.mark.parametrize(
    ("rule", "words"),
    [('phase: TRAIN stage: "x"', ["--stage", "x"]), ("phase: TRAIN min_level: 2", ["--level", "2"])],
)
def test_a_state_chooses_the_layers_that_are_trained_and_timed(
    rule: str, words: list[str], netbuilder: Command, real_caffe: Caffe
) -> None:
    Path("mnist_autoencoder.prototxt").write_text(autoencoder.NET + EXTRA.replace("RULE", rule))
    for more, there in (([], False), (words, True)):
        ran = netbuilder("train", "solver.prototxt", "--no-draw", "--force", *more)
        assert ran.code == 0, ran.err
        model = read_model("snapshots/mnist_autoencoder_iter_20.caffemodel")
        assert ("extra" in [layer.name for layer in model.layers]) is there
        ran = netbuilder("time", "solver.prototxt", "--iterations=1", "--json", *more)
        assert ("extra" in [layer["name"] for layer in json.loads(ran.out)["layers"]]) is there
        ran = netbuilder("count", "solver.prototxt", "--phase", "TRAIN", "--json", *more)
        extra = 36 * 2 + 2 if there else 0
        assert json.loads(ran.out)["totals"]["learnable_params"] == autoencoder.PARAMS + extra


def test_a_net_from_a_pipe_is_read_once(netbuilder: Command) -> None:
    for verb in ("check", "count"):
        read, write = os.pipe()
        with os.fdopen(write, "w") as pipe:
            pipe.write(autoencoder.NET)
        ran = netbuilder(verb, f"/dev/fd/{read}")
        os.close(read)
        assert ran.code == 0, ran.err
        assert ran.out
