"""Layers that stay: real Caffe changes the others alone, and `count` counts those."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from netbuilder import counts, prototxt
from netbuilder.engines import caffe
from netbuilder.errors import ConfigError
from netbuilder.transforms.freeze import freeze
from netbuilder.weights.arrays import read_arrays
from tests.command import Command
from tests.databases import noise, write_lmdb
from tests.transforms.test_deploy import conv, data, ip, layer, relu

SHARED = 'param { name: "w" lr_mult: 2 } param { name: "b" }'
BN = layer("BatchNorm", "bn", "conv1", tops="conv1") + layer("Scale", "scale", "conv1", tops="conv1")
LMDB = ("--data", "lmdb", "--train_source", "images_lmdb", "--test_source", "images_lmdb", "--batch", "2")
LOSS = layer("SoftmaxWithLoss", "loss", "fc label")
NET = "# Made by netbuilder\n" + data("TRAIN") + data("TEST") + "\n# the first\n" + conv() + BN + relu()
NET += conv("conv2", "conv1") + relu("conv2") + ip(bottom="conv2") + LOSS
SOLVER = 'net: "%s" base_lr: 0.1 lr_policy: "fixed" max_iter: 2 weight_decay: 0.1 snapshot_prefix: "%s"'
SHAPE = ("--input", "data=2,3,6,6")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.chdir(tmp_path)
    write_lmdb("images_lmdb", noise(2, 3, 8, 8), [1, 4])
    Path("train_val.prototxt").write_text(NET)
    return Command(capsys)


def arrays(file: str) -> dict[str, list[np.ndarray]]:
    return {x.layer.name: list(x.arrays) for x in read_arrays(file)}


def trained(run: Command, net: str, *words: str) -> dict[str, list[np.ndarray]]:
    """The model after two iterations in real Caffe."""
    Path("solver.prototxt").write_text(SOLVER % (net, f"of_{Path(net).stem}"))
    assert run("train", "solver.prototxt", "--engine", "caffe", *words).code == 0
    return arrays(f"of_{Path(net).stem}_iter_2.caffemodel")


def test_real_caffe_changes_the_other_layers_alone(run: Command, real_caffe: caffe.Caffe) -> None:
    before = trained(run, "train_val.prototxt")
    start = ("--weights", "of_train_val_iter_2.caffemodel")
    words = ("freeze", "train_val.prototxt", "conv1", "sc*", "bn", *SHAPE)
    ran = run(*words, "-o", "frozen.prototxt")
    assert ran.out.splitlines() == [
        "frozen   conv1, scale, bn: 125 of 358 parameters",
        "moving   1 frozen layer with statistics that still follow the batches (--freeze-statistics)",
    ]
    after = trained(run, "frozen.prototxt", *start)
    stays = {name for name in before if all(map(np.array_equal, before[name], after[name]))}
    assert stays & {"conv1", "scale", "bn", "conv2", "fc"} == {"conv1", "scale"}
    assert run(*words, "-o", "still.prototxt", "--freeze-statistics").out.count("\n") == 1
    after = trained(run, "still.prototxt", *start)
    stays = {name for name in before if all(map(np.array_equal, before[name], after[name]))}
    assert stays & {"conv1", "scale", "bn", "conv2", "fc"} == {"conv1", "scale", "bn"}


def test_count_shows_what_is_learnt(run: Command) -> None:
    whole = counts.count(prototxt.read("train_val.prototxt", "TRAIN", inputs={"data": (2, 3, 6, 6)}))
    run("freeze", "train_val.prototxt", "conv*", "bn", *SHAPE, "-o", "frozen.prototxt")
    ran = run("count", "frozen.prototxt", "--phase", "TRAIN", *SHAPE, "--json")
    learnable = json.loads(ran.out)["totals"]["learnable_params"]
    assert whole.learnable_params - learnable == 4 * 3 * 9 + 4 + 4 * 4 * 9 + 4
    text = Path("frozen.prototxt").read_text()
    assert text.count("param { lr_mult: 0 decay_mult: 0 }") == 2 + 2 + 3
    assert "# the first\nlayer {" in text


def test_a_layer_is_frozen_though_its_shapes_are_not_known(run: Command) -> None:
    Path("train_val.prototxt").write_text(NET.replace("images_lmdb", "elsewhere"))
    ran = run("freeze", "train_val.prototxt", "conv1", "-o", "frozen.prototxt")
    assert "not counting 'conv1', whose shapes need --input" in ran.out
    (first,) = [x for x in prototxt.read("frozen.prototxt", unknown="keep") if x.name == "conv1"]
    assert [(spec.lr_mult, spec.decay_mult) for spec in first.proto.param] == [(0, 0), (0, 0)]


def test_a_shared_parameter_is_frozen_wherever_it_is_used(run: Command, real_caffe: caffe.Caffe) -> None:
    text = data() + conv("a", param=SHARED) + conv("b", param=SHARED) + layer("Eltwise", "sum", "a b")
    Path("train_val.prototxt").write_text(text + ip(bottom="sum") + LOSS)
    assert run("freeze", "train_val.prototxt", "a", *SHAPE, "-o", "frozen.prototxt").code == 0
    net = prototxt.read("frozen.prototxt", "TRAIN", inputs={"data": (2, 3, 6, 6)})
    assert [[spec.lr_mult for spec in net[name].proto.param] for name in "ab"] == [[0, 0], [0, 0]]
    assert counts.count(net).learnable_params == net["fc"].params[0].size + 5
    found = real_caffe.load(Path("frozen.prototxt").read_text(), phase="TRAIN", files=database())
    needs = dict(zip([x.name for x in found.layers], found.need_backward, strict=True))
    assert (needs["a"], needs["b"], needs["fc"]) == (False, False, True)


def database() -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in Path("images_lmdb").iterdir() if p.name != "lock.mdb"}


@pytest.mark.parametrize(
    ("pattern", "text", "hint"),
    [
        ("con1", "no layer matches 'con1'", "did you mean 'conv1'?"),
        ("zzz*", r"no layer matches 'zzz\*'", "layers with parameters: conv1, bn, scale, conv2, fc"),
        (
            "*_conv1",
            r"'\*_conv1' matches 'relu_conv1', which has no parameters",
            "only layers with parameters",
        ),
    ],
)
def test_a_pattern_without_a_layer_is_an_error(pattern: str, text: str, hint: str) -> None:
    net = prototxt.parse(NET, inputs={"data": (2, 3, 6, 6)})
    with pytest.raises(ConfigError, match=text) as error:
        freeze([net], ["conv1", pattern])
    assert hint in error.value.hint


def test_train_val_freezes_too(run: Command) -> None:
    run("deploy", "train_val.prototxt", "-o", "deploy.prototxt")
    words = ("train-val", "deploy.prototxt", *LMDB, "--freeze")
    ran = run(*words, "conv?", "fc", "bn", "-o", "again.prototxt")
    assert "frozen   conv1, conv2, fc and 1 more: 354 of 358 parameters" in ran.out
    text = Path("again.prototxt").read_text()
    assert text.count("param { lr_mult: 0 decay_mult: 0 }") == 2 + 2 + 2 + 3
    assert "use_global_stats" not in text
    run(*words, "bn", "--freeze-statistics", "-o", "again.prototxt")
    assert "use_global_stats: true" in Path("again.prototxt").read_text()
    ran = run(*words, "con1", "-o", "third.prototxt")
    assert (ran.code, Path("third.prototxt").exists()) == (2, False)
