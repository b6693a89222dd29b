"""A deploy net of others trains in real Caffe after `train-val`, and `deploy` of that gives its outputs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
from PIL import Image

from netbuilder import prototxt
from netbuilder.cli.main import main
from netbuilder.engines import caffe
from tests.command import Command
from tests.databases import noise, write_lmdb
from tests.transforms.test_deploy import FUNCTIONS, bvlc, conv, files, ip, layer, relu
from tests.transforms.test_deploy import data as data_layer

LMDB = ("--data", "lmdb", "--train_source", "images_lmdb", "--test_source", "images_lmdb")
HDF5 = ("--data", "hdf5", "--train_source", "features.txt", "--test_source", "features.txt")
LABELS = ("--train_labels", "labels_lmdb", "--test_labels", "labels_lmdb")
WHOLE = ("--data", "lmdb", "--train_source", "whole_lmdb", "--test_source", "whole_lmdb")
OF_MAPS = (*WHOLE, "--train_labels", "maps_lmdb", "--test_labels", "maps_lmdb")


class Case(NamedTuple):
    """A deploy file, the words of the command, the losses that are put back, and the metrics of TEST."""

    text: str
    losses: dict[str, str] = {"fc": "SoftmaxWithLoss"}  # noqa: RUF012
    words: tuple[str, ...] = LMDB
    metrics: int = 1
    # Of the deploy net made again: the original's names if they are others, and a function of them.
    outputs: dict[str, str] | None = None


def source(name: str = "data", shape: str = "1 3 6 6") -> str:
    dims = " ".join(f"dim: {n}" for n in shape.split())
    return layer("Input", name, "", f"input_param {{ shape {{ {dims} }} }}")


SHAPE = "input_param { shape { dim: 1 dim: 3 dim: 6 dim: 6 } }"
INPUT_DIM = 'name: "old" input: "data" input_dim: 10 input_dim: 3 input_dim: 6 input_dim: 6\n'
BODY = conv() + relu() + ip()
PROB = layer("Softmax", "prob", "fc")
V1 = """
layers { name: "conv1" type: CONVOLUTION bottom: "data" top: "conv1" blobs_lr: 1 blobs_lr: 2
  convolution_param { num_output: 4 kernel_size: 3 } }
layers { name: "relu1" type: RELU bottom: "conv1" top: "conv1" }
layers { name: "fc" type: INNER_PRODUCT bottom: "conv1" top: "fc" inner_product_param { num_output: 5 } }
layers { name: "prob" type: SOFTMAX bottom: "fc" top: "prob" }
"""
V0 = """
layers { layer { name: "conv1" type: "conv" num_output: 4 kernelsize: 3 } bottom: "data" top: "conv1" }
layers { layer { name: "fc" type: "innerproduct" num_output: 5 } bottom: "conv1" top: "fc" }
layers { layer { name: "prob" type: "softmax" } bottom: "fc" top: "prob" }
"""
NVCAFFE = "forward_type: FLOAT backward_type: FLOAT"
GLOBAL = "pooling_param { pool: AVE global_pooling: true }"
STATS = "batch_norm_param { use_global_stats: true }"
TWICE = layer("Softmax", "prob_a", "fc") + ip("fc_b") + layer("Softmax", "prob_b", "fc_b")
TWO = {"fc": "SoftmaxWithLoss", "fc_b": "SoftmaxWithLoss"}
TWO_OUTPUTS = {"fc_prob": "prob_a", "fc_b_prob": "prob_b"}

CASES = {
    "BVLC": Case(source() + BODY + PROB),
    "input_dim": Case(INPUT_DIM + BODY + PROB),
    "input_shape": Case(
        'input: "data" input_shape { dim: 1 dim: 3 dim: 6 dim: 6 }\n' + BODY + layer("Softmax", "out", "fc"),
        outputs={"prob": "out"},
    ),
    "V1": Case(INPUT_DIM + V1),
    "V0": Case(INPUT_DIM + V0),
    "NVCaffe": Case(
        'default_forward_type: FLOAT\n' + source() + BODY + layer("Softmax", "prob", "fc", NVCAFFE)
    ),
    "DIGITS": Case(
        data_layer(name="train-data", rule='include { stage: "train" }')
        + data_layer(name="val-data", rule='include { stage: "val" }')
        + layer("Input", "data", "", f'{SHAPE} include {{ stage: "deploy" }}')
        + BODY + layer("SoftmaxWithLoss", "loss", "fc label", 'exclude { stage: "deploy" }')
        + layer("Softmax", "softmax", "fc", 'include { stage: "deploy" }'),
        outputs={"prob": "softmax"},
    ),
    "a train_val": Case(
        layer("Input", "data", "", f"{SHAPE} include {{ phase: TEST }}")
        + data_layer(rule="include { phase: TRAIN }") + BODY
        + layer("SoftmaxWithLoss", "loss", "fc label", "include { phase: TRAIN }") + PROB
    ),
    "grey": Case(
        source(shape="64 1 6 6") + BODY + PROB,
        words=("--data", "lmdb", "--train_source", "grey_lmdb", "--test_source", "grey_lmdb"),
    ),
    "a list of images": Case(
        source() + BODY + PROB,
        words=("--data", "image", "--train_source", "list.txt", "--test_source", "list.txt", "--resize", "8"),
    ),
    "scores": Case(source() + BODY, outputs={"prob": "fc softmax"}),
    "scores, hinge": Case(source() + BODY, {"fc": "HingeLoss"}, (*LMDB, "--loss", "hinge")),
    "more than five classes": Case(source() + conv() + ip(outputs=7) + PROB, metrics=2),
    "scores of a convolution": Case(
        source() + conv(outputs=5) + relu() + layer("Pooling", "pool", "conv1", GLOBAL)
        + layer("Softmax", "prob", "pool"), {"pool": "SoftmaxWithLoss"},
    ),
    "Softmax in place": Case(
        source() + BODY + layer("Softmax", "prob", "fc", tops="fc"), outputs={"prob": "fc"}
    ),
    "Softmax and ArgMax": Case(
        source() + BODY + PROB + layer("ArgMax", "class", "prob"), outputs={"prob": "prob"}
    ),
    "Softmax and Flatten": Case(
        source() + conv(outputs=5) + layer("Pooling", "pool", "conv1", GLOBAL)
        + layer("Softmax", "p", "pool") + layer("Flatten", "flat", "p"), {"pool": "SoftmaxWithLoss"},
        outputs={"prob": "p"},
    ),
    "BatchNorm with its statistics": Case(
        source() + conv() + layer("BatchNorm", "bn", "conv1", STATS, "conv1")
        + layer("Scale", "scale", "conv1", tops="conv1") + ip() + PROB,
    ),
    "two heads, one label": Case(source() + BODY + TWICE, TWO, metrics=2, outputs=TWO_OUTPUTS),
    "two heads, two labels": Case(source() + BODY + TWICE, TWO, (*LMDB, *LABELS), 2, TWO_OUTPUTS),
    "heads of two kinds": Case(
        source() + BODY + PROB + ip("fc_b", outputs=1) + layer("Sigmoid", "on", "fc_b"),
        {"fc": "SoftmaxWithLoss", "fc_b": "SigmoidCrossEntropyLoss"}, (*LMDB, *LABELS),
        outputs={"fc_prob": "prob", "fc_b_prob": "on"},
    ),
    "one head of two": Case(
        source() + BODY + TWICE, words=(*LMDB, "--outputs", "prob_a"), outputs={"prob": "prob_a"}
    ),
    "several labels": Case(
        source() + conv() + ip(outputs=2) + layer("Sigmoid", "prob", "fc"), {"fc": "SigmoidCrossEntropyLoss"},
        (*LMDB, *LABELS), 0,
    ),
    "a score, 0 or 1": Case(
        source() + conv() + ip(outputs=1), {"fc": "SigmoidCrossEntropyLoss"}, (*LMDB, "--loss", "sigmoid"), 0,
        {"prob": "fc sigmoid"},
    ),
    "regression": Case(
        source("data", "7 5") + ip(bottom="data"), {"fc": "EuclideanLoss"}, (*HDF5, "--loss", "euclidean"), 0
    ),
    "two inputs": Case(
        source("cont", "1 1") + source("data", "1 5") + layer("Concat", "both", "data cont")
        + ip(bottom="both") + layer("Sigmoid", "prob", "fc"), {"fc": "SigmoidCrossEntropyLoss"}, HDF5, 0,
    ),
    "a map of classes": Case(
        source() + conv(outputs=5) + layer("Softmax", "prob", "conv1"), {"conv1": "SoftmaxWithLoss"},
        OF_MAPS,
    ),
    "an axis": Case(
        source() + conv(outputs=2) + layer("Softmax", "prob", "conv1", "softmax_param { axis: -3 }"),
        {"conv1": "SoftmaxWithLoss"}, OF_MAPS,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data that the commands name."""
    place = tmp_path_factory.mktemp("training")
    random = np.random.default_rng(1)
    write_lmdb(place / "images_lmdb", noise(4, 3, 8, 8), [1, 4, 0, 2])
    write_lmdb(place / "whole_lmdb", noise(4, 3, 6, 6), [0] * 4)
    write_lmdb(place / "grey_lmdb", noise(4, 1, 8, 8), [1, 4, 0, 2])
    write_lmdb(place / "labels_lmdb", random.integers(0, 2, (4, 2, 1, 1), np.uint8), [0] * 4)
    write_lmdb(place / "maps_lmdb", random.integers(0, 2, (4, 1, 4, 4), np.uint8), [0] * 4)
    with h5py.File(place / "features.h5", "w") as out:
        out["data"] = random.random((4, 5), np.float32)
        out["cont"] = np.ones((4, 1), "f4")
        out["label"] = random.integers(0, 2, (4, 5)).astype("f4")
    (place / "features.txt").write_text("features.h5\n")
    for i in range(2):
        Image.fromarray(random.integers(0, 256, (9, 7, 3), np.uint8)).save(place / f"{i}.png")
    (place / "list.txt").write_text("0.png 3\n1.png 0\n")
    return place


@pytest.mark.parametrize("name", CASES)
def test_a_deploy_net_trains_and_deploys_to_itself(
    name: str, folder: Path, real_caffe: caffe.Caffe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    case = CASES[name]
    Path("deploy.prototxt").write_text(case.text)
    words = ["train-val", "deploy.prototxt", *case.words, "--batch", "2", "-o", "train_val.prototxt"]
    assert main([*words, "--scale", "0.01", "--force"] if "hdf5" not in words else [*words, "--force"]) == 0
    text = Path("train_val.prototxt").read_text()
    trained = real_caffe.run(
        bvlc(text), phase="TRAIN", files=files(folder), outputs=None, backward=True, seed=3
    )
    net = prototxt.parse(text, "TRAIN", dialect="any", unknown="keep")
    losses = {x.bottoms[0].name: x.type for x in net if x.type.endswith("Loss")}
    assert losses == case.losses
    assert np.isfinite(trained.loss)
    assert trained.loss > 0
    for each in net:
        if each.params and each.type in ("Convolution", "InnerProduct"):
            assert np.abs(trained.param_diffs[each.name][0]).max() > 0, each.name
    tested = real_caffe.run(bvlc(text), files=files(folder), params=trained.params)
    assert len(tested.outputs) == len(case.losses) + case.metrics
    assert all(np.isfinite(value).all() for value in tested.outputs.values())

    assert main(["deploy", "train_val.prototxt", "-o", "again.prototxt", "--force"]) == 0
    again = bvlc(Path("again.prototxt").read_text())
    compare(real_caffe, bvlc(case.text), again, trained.params, case)


def compare(real_caffe: caffe.Caffe, text: str, again: str, params: dict[str, list[Any]], case: Case) -> None:
    """The deploy net of the train_val gives what the original deploy net gives."""
    random = np.random.default_rng(4)
    original = prototxt.parse(text, stages=("deploy",), dialect="any", unknown="keep")
    params = {x.name: params[x.name] for x in original if x.name in params}
    inputs = {b.name: random.normal(size=(2, *b.known_shape[1:])) for b in original.inputs}
    names = case.outputs or {b.name: b.name for b in original.outputs}
    wanted = real_caffe.run(
        text, stages=("deploy",), inputs=inputs, params=params,
        outputs=[theirs.split()[0] for theirs in names.values()],
    ).outputs  # fmt: skip
    kept = {x.name: params[x.name] for x in prototxt.parse(again) if x.params}
    found = real_caffe.run(again, inputs=inputs, params=kept).outputs
    assert found.keys() == names.keys()
    for ours, theirs in names.items():
        blob, *function = theirs.split()
        value = FUNCTIONS[function[0] if function else "same"](wanted[blob].astype(np.float64))
        np.testing.assert_allclose(found[ours].reshape(value.shape), value, rtol=1e-5, atol=1e-6)


# -- the command -------------------------------------------------------------------------------------------


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.chdir(folder)
    return Command(capsys, "train-val", "deploy.prototxt", "-o", "out.prototxt", "--force")


def test_the_report_says_what_was_put_back(run: Command) -> None:
    Path("deploy.prototxt").write_text(source() + BODY + layer("Softmax", "prob", "fc") + ip("fc_b"))
    Path("deploy.prototxt").write_text(
        source()
        + conv()
        + ip(outputs=9)
        + PROB
        + layer("InnerProduct", "fc_b", "conv1", "inner_product_param { num_output: 2 }")
    )
    ran = run(*LMDB, "--batch", "2", "--test_batch", "1", *LABELS)
    assert ran.out == (
        "head     fc (2,9): SoftmaxWithLoss, Accuracy top-1, Accuracy top-5\n"
        "head     fc_b (2,2): SoftmaxWithLoss, Accuracy top-1\n"
        "labels   (2,1,1) for each image, 1 and 1 by head\n"
        "fillers  msra for fc_b, which had none\n"
        "assumed  SoftmaxWithLoss for 'fc_b' (--loss)\n"
        "\n"
        "data: lmdb  TRAIN              TEST\n"
        "----------  -----------------  -----------------\n"
        "source      images_lmdb        images_lmdb\n"
        "batch       2                  1\n"
        "labels      labels_lmdb        labels_lmdb\n"
        "crop        6x6 at random      6x6 in the middle\n"
        "mirror      every other image  no\n"
        "mean        none               none\n"
        "scale       1                  1\n"
    )
    ran = run(*LMDB, "--batch", "2", *LABELS, "--json")
    found = json.loads(ran.out)
    assert found["heads"] == {"fc": "SoftmaxWithLoss", "fc_b": "SoftmaxWithLoss"}
    assert found["labels"] == {"shape": [2, 1, 1], "parts": {"fc": 1, "fc_b": 1}}
    assert found["learnable"] == 4 * 27 + 4 + 9 * 64 + 9 + 2 * 64 + 2


def test_a_batchnorm_is_trained_unless_it_is_frozen(run: Command) -> None:
    Path("deploy.prototxt").write_text(CASES["BatchNorm with its statistics"].text)
    run(*LMDB, "--batch", "2")
    for phase in ("TRAIN", "TEST"):
        net = prototxt.read("out.prototxt", phase, inputs={"data": (2, 3, 6, 6)})
        assert not net["bn"].proto.batch_norm_param.HasField("use_global_stats")


def test_a_head_that_train_alone_has_is_trained_and_not_tested(
    run: Command, folder: Path, real_caffe: caffe.Caffe
) -> None:
    aux = layer(
        "InnerProduct", "aux", "conv1", "include { phase: TRAIN } inner_product_param { num_output: 3 }"
    )
    text = data_layer(crop="") + BODY + layer("SoftmaxWithLoss", "loss", "fc label") + aux
    Path("deploy.prototxt").write_text(
        text + layer("SoftmaxWithLoss", "a", "aux label", "include { phase: TRAIN }")
    )
    ran = run("--input", "data=2,3,6,6", *LMDB, "--batch", "2", *LABELS)
    assert "labels   (2,1,1) for each image, 1 and 1 by head" in ran.out
    found = Path("out.prototxt").read_text()
    trained = real_caffe.run(found, phase="TRAIN", files=files(folder), backward=True)
    assert trained.outputs.keys() == {"loss_fc", "loss_aux"}
    assert np.abs(trained.param_diffs["aux"][0]).max() > 0
    assert real_caffe.run(found, files=files(folder)).outputs.keys() == {"loss_fc", "accuracy_fc"}


def test_images_with_maps_of_labels_are_neither_mirrored_nor_cropped(run: Command) -> None:
    Path("deploy.prototxt").write_text(MAP)
    ran = run(*OF_MAPS, "--batch", "2")
    assert re.search(r"crop +none +none\nmirror +no +no\n", ran.out)
    assert not re.search("mirror|crop_size", Path("out.prototxt").read_text())
    ran = run(*OF_MAPS, "--batch", "2", "--mirror")
    assert (ran.code, "mirror changes images, and not the maps" in ran.err) == (2, True)


def test_data_that_is_there_is_compared_with_the_net(run: Command) -> None:
    Path("deploy.prototxt").write_text(source(shape="1 1 6 6") + BODY + PROB)
    ran = run(*LMDB, "--batch", "2")
    assert ran.code == 2
    assert "the data of the TRAIN net gives images of (3,6,6), and the net takes (1,6,6)" in ran.err


TWO_INPUTS = source() + source("info", "1 3") + conv() + ip() + ip("more", "info")
TWO_INPUTS += layer("Eltwise", "sum", "fc more")
MAP = source() + conv(outputs=5) + layer("Softmax", "prob", "conv1")


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        (source() + BODY + PROB, ("--batch", "2"), "--batch is about the data layers, which --data asks for"),
        (source() + BODY + PROB, (), "no data layers are given"),
        (source() + BODY + PROB, (*LMDB,), "--data lmdb needs batch"),
        (source() + BODY + PROB, (*LMDB, "--batch", "2", "--loss", "hinge"), "those of this net are prob"),
        (source() + BODY, (*LMDB, "--batch", "2", "--loss", "hing"), "did you mean 'hinge'?"),
        (TWO_INPUTS, (*LMDB, "--batch", "2"), "the net has 2 inputs, data, info, and --data lmdb gives"),
        (MAP, (*LMDB, "--batch", "2"), "labels of (1,4,4) for each image, and --data lmdb gives a single"),
        (source() + conv() + ip(outputs=1), (*LMDB, "--batch", "2"), "'fc' has one score for each image"),
        (source() + BODY + PROB, (*LMDB, "--batch", "2", *LABELS[:2]), "test_labels is missing"),
        (source() + BODY + PROB, (*LMDB, "--batch", "2", "--outputs", "pro"), "did you mean 'prob'?"),
        (source(shape="1 5") + ip(bottom="data"), (*LMDB, "--batch", "2"), "is (1,5), no batch of images"),
        (source(), (*LMDB, "--batch", "2"), "nothing of the net is left"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_refused(
    text: str, words: tuple[str, ...], said: str, run: Command
) -> None:
    Path("deploy.prototxt").write_text(text)
    Path("out.prototxt").unlink(missing_ok=True)
    ran = run(*words)
    assert ran.code == 2
    assert said in ran.err
    assert not Path("out.prototxt").exists()
