"""The net that is handed over computes what the TEST phase of the original computes, in real Caffe."""

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
from netbuilder.errors import ConfigError
from netbuilder.transforms.deploy import deployed
from tests.databases import noise, write_lmdb

Printed = pytest.CaptureFixture[str]


class Case(NamedTuple):
    """A file, its data, and what its deploy net gives: by output, the blob of the original and a function."""

    text: str
    gives: dict[str, tuple[str, str]]
    inputs: tuple[str, ...] = ("data",)
    given: tuple[str, ...] = ()  # further words of the command
    stages: tuple[str, ...] = ()
    phase: str = "TEST"  # whose blobs are the right ones


def data(phase: str = "", crop: str = "crop_size: 6", **also: str) -> str:
    """A Data layer of the images below."""
    rule = f"include {{ phase: {phase} }}" if phase else also.get("rule", "")
    return f"""layer {{ name: "{also.get("name", "data")}" type: "Data" top: "data" top: "label" {rule}
      transform_param {{ {crop} scale: 0.01 }}
      data_param {{ source: "images_lmdb" batch_size: 2 backend: LMDB }} }}
"""


def conv(name: str = "conv1", bottom: str = "data", outputs: int = 4, param: str = "") -> str:
    return f"""layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" {param}
      convolution_param {{ num_output: {outputs} kernel_size: 3 weight_filler {{ type: "xavier" }} }} }}
"""


def relu(blob: str = "conv1") -> str:
    return f'layer {{ name: "relu_{blob}" type: "ReLU" bottom: "{blob}" top: "{blob}" }}\n'


def ip(name: str = "fc", bottom: str = "conv1", outputs: int = 5) -> str:
    return f"""layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}"
      inner_product_param {{ num_output: {outputs} weight_filler {{ type: "xavier" }} }} }}
"""


def layer(type: str, name: str, bottoms: str, fields: str = "", tops: str | None = None) -> str:
    """A layer whose top has its name, unless `tops` are given."""
    blobs = [f'bottom: "{bottom}"' for bottom in bottoms.split()]
    blobs += [f'top: "{top}"' for top in (name if tops is None else tops).split()]
    return f'layer {{ name: "{name}" type: "{type}" {" ".join(blobs)} {fields} }}\n'


LOSS = layer("SoftmaxWithLoss", "loss", "fc label")
ACCURACY = layer("Accuracy", "accuracy", "fc label", "include { phase: TEST }")
SOFTMAX = {"prob": ("fc", "softmax")}
TRAIN, TEST = "include { phase: TRAIN }", "include { phase: TEST }"
BODY = conv() + relu() + ip()
V1 = """
layers { name: "data" type: DATA top: "data" top: "label" data_param { source: "images_lmdb" backend: LMDB
  batch_size: 2 scale: 0.01 crop_size: 6 } include { phase: TEST } }
layers { name: "conv1" type: CONVOLUTION bottom: "data" top: "conv1" blobs_lr: 1 blobs_lr: 2
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layers { name: "relu1" type: RELU bottom: "conv1" top: "conv1" }
layers { name: "fc" type: INNER_PRODUCT bottom: "conv1" top: "fc"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layers { name: "accuracy" type: ACCURACY bottom: "fc" bottom: "label" top: "accuracy" }
layers { name: "loss" type: SOFTMAX_LOSS bottom: "fc" bottom: "label" top: "loss" }
"""
V0 = """
layers { layer { name: "data" type: "images" source: "list.txt" batchsize: 2 new_height: 6 new_width: 6 }
  top: "data" top: "label" }
layers { layer { name: "conv1" type: "conv" num_output: 4 kernelsize: 3 weight_filler { type: "xavier" } }
  bottom: "data" top: "conv1" }
layers { layer { name: "fc" type: "innerproduct" num_output: 5 weight_filler { type: "xavier" } }
  bottom: "conv1" top: "fc" }
layers { layer { name: "loss" type: "softmax_loss" } bottom: "fc" bottom: "label" }
"""
NVCAFFE = "forward_type: FLOAT backward_type: FLOAT"
HDF5 = """layer { name: "features" type: "HDF5Data" top: "data" top: "cont" top: "target"
  hdf5_data_param { source: "features.txt" batch_size: 2 } }
"""
IMAGES = """layer { name: "data" type: "ImageData" top: "data" top: "label"
  image_data_param { source: "list.txt" batch_size: 2 new_height: 6 new_width: 6 } }
"""
AXIS = """layer { name: "map" type: "DummyData" top: "map"
  dummy_data_param { shape { dim: 2 dim: 5 dim: 1 dim: 4 } data_filler { value: 1 } } }
"""

ONES = "dummy_data_param { shape { dim: %d dim: 1 dim: %d dim: %d } data_filler { value: 1 } }"
MATRIX = layer("DummyData", "matrix", "", ONES % (1, 5, 5))
MAP = layer("DummyData", "map", "", ONES % (2, 4, 4))
HDF5_LABELS = """layer { name: "targets" type: "HDF5Data" top: "target"
  hdf5_data_param { source: "features.txt" batch_size: 2 } }
"""

SIZES = "input_param { shape { dim: 2 dim: 3 dim: 6 dim: 6 } }"

CASES = {
    "BVLC": Case(data("TRAIN", "crop_size: 6 mirror: true") + data("TEST") + BODY + ACCURACY + LOSS, SOFTMAX),
    "V1": Case(V1, SOFTMAX),
    "V0": Case(V0, SOFTMAX),
    "NVCaffe": Case(
        "default_forward_type: FLOAT default_backward_type: FLOAT\n" + data() + BODY
        + layer("SoftmaxWithLoss", "loss", "fc label", NVCAFFE) + ACCURACY, SOFTMAX,
    ),
    "a layer that is in TRAIN in either phase": Case(
        data() + conv() + layer("BatchNorm", "bn", "conv1", "phase: TRAIN") + ip(bottom="bn") + LOSS, SOFTMAX
    ),
    "layers that say TEST": Case(
        data() + conv() + layer("BatchNorm", "bn", "conv1", "phase: TEST") + ip(bottom="bn") + LOSS, SOFTMAX
    ),
    "for TRAIN alone": Case(data("TRAIN") + BODY + LOSS, SOFTMAX, phase="TRAIN"),
    "InfogainLoss": Case(
        data() + MATRIX + BODY + layer("InfogainLoss", "loss", "fc label matrix"), SOFTMAX
    ),
    "a map of classes": Case(
        data() + MAP + conv(outputs=5) + layer("SoftmaxWithLoss", "loss", "conv1 map",
                                               "loss_param { ignore_label: 255 normalize: true }"),
        {"prob": ("conv1", "softmax")},
    ),
    "two losses of one head": Case(
        data() + BODY + LOSS + layer("HingeLoss", "hinge", "fc label", "loss_weight: 0.5") + ACCURACY, SOFTMAX
    ),
    "three heads of two kinds": Case(
        data() + HDF5_LABELS + BODY + LOSS + ip("fc_b")
        + layer("SigmoidCrossEntropyLoss", "loss_b", "fc_b target") + ip("fc_c")
        + layer("EuclideanLoss", "loss_c", "fc_c target"),
        {"fc_prob": ("fc", "softmax"), "fc_b_prob": ("fc_b", "sigmoid"), "fc_c": ("fc_c", "same")},
    ),
    "Dropout and BatchNorm": Case(
        data() + conv() + layer("BatchNorm", "bn", "conv1") + layer("Scale", "scale", "bn", tops="bn")
        + layer("Dropout", "drop", "bn", tops="bn") + ip(bottom="bn") + LOSS, SOFTMAX,
    ),
    "a loss in TRAIN alone": Case(
        data() + BODY + ACCURACY + layer("SoftmaxWithLoss", "loss", "fc label", TRAIN), SOFTMAX
    ),
    "probabilities in TEST": Case(
        data() + BODY + layer("Softmax", "prob", "fc", TEST) + layer("Accuracy", "a", "prob label")
        + layer("SoftmaxWithLoss", "loss", "fc label", TRAIN), SOFTMAX,
    ),
    "loss and Softmax": Case(
        data() + BODY + LOSS + layer("Softmax", "out", "fc"), {"out": ("fc", "softmax")}
    ),
    "MultinomialLogisticLoss": Case(
        data() + BODY + layer("Softmax", "p", "fc") + layer("MultinomialLogisticLoss", "loss", "p label"),
        {"p": ("fc", "softmax")},
    ),
    "HingeLoss": Case(data() + BODY + layer("HingeLoss", "loss", "fc label"), {"fc": ("fc", "same")}),
    "metrics alone": Case(
        data() + BODY + layer("Accuracy", "top1", "fc label")
        + layer("Accuracy", "top5", "fc label", "accuracy_param { top_k: 5 }"), {"fc": ("fc", "same")},
    ),
    "an axis": Case(
        data() + AXIS + conv(outputs=5)
        + layer("SoftmaxWithLoss", "loss", "conv1 map", "softmax_param { axis: 2 }"),
        {"prob": ("conv1", "softmax2")},
    ),
    "heads of GoogLeNet": Case(
        data() + BODY + LOSS + ip("fc_aux", "data")
        + layer("SoftmaxWithLoss", "loss_aux", "fc_aux label", "loss_weight: 0.3"),
        {"fc_prob": ("fc", "softmax"), "fc_aux_prob": ("fc_aux", "softmax")},
    ),
    "one head of two": Case(
        data() + BODY + LOSS + conv("conv_aux") + ip("fc_aux", "conv_aux")
        + layer("SoftmaxWithLoss", "loss_aux", "fc_aux label", "loss_weight: 0.3"),
        {"fc_prob": ("fc", "softmax")}, given=("--outputs", "fc_prob"),
    ),
    "layers of labels": Case(
        data() + BODY + layer("Concat", "pair", "label label", "concat_param { axis: 0 }")
        + layer("Slice", "cut", "pair", "slice_param { axis: 0 }", "a b")
        + layer("SoftmaxWithLoss", "loss", "fc a") + layer("Silence", "silence", "b", tops=""), SOFTMAX,
    ),
    "regression": Case(
        HDF5 + ip("fc", "data") + layer("EuclideanLoss", "loss", "fc target"), {"fc": ("fc", "same")}
    ),
    "several labels": Case(
        HDF5 + ip("fc", "data") + layer("SigmoidCrossEntropyLoss", "loss", "fc target"),
        {"prob": ("fc", "sigmoid")},
    ),
    "a loss of layers": Case(
        HDF5 + ip("fc", "data")
        + layer("Eltwise", "off", "fc target", "eltwise_param { operation: SUM coeff: 1 coeff: -1 }")
        + layer("Reduction", "loss", "off", "reduction_param { operation: SUMSQ } loss_weight: 0.5"),
        {"fc": ("fc", "same")}, given=("--label", "target"),
    ),
    "an autoencoder": Case(
        HDF5.replace('top: "cont" top: "target"', "") + ip("code", "data", 3) + ip("decode", "code", 5)
        + layer("SigmoidCrossEntropyLoss", "loss", "decode data")
        + layer("Sigmoid", "seen", "decode") + layer("EuclideanLoss", "l2", "seen data"),
        {"seen": ("decode", "sigmoid")},
    ),
    "siamese": Case(
        data() + layer("Slice", "cut", "data", "slice_param { axis: 1 slice_point: 1 }", "a b")
        + ip("one", "a", 2) + ip("two", "b", 2) + layer("ContrastiveLoss", "loss", "one two label"),
        {"one": ("one", "same"), "two": ("two", "same")},
    ),
    "a list of images": Case(IMAGES + BODY + LOSS, SOFTMAX),
    "DIGITS": Case(
        data(name="train-data", rule='include { stage: "train" }')
        + data(name="val-data", rule='include { stage: "val" }')
        + layer("Input", "data", "", SIZES + 'include { stage: "deploy" }')
        + layer("Power", "scaled", "data", "power_param { scale: 0.5 }") + conv(bottom="scaled") + ip()
        + layer("SoftmaxWithLoss", "loss", "fc label", 'exclude { stage: "deploy" }')
        + layer("Softmax", "softmax", "fc", 'include { stage: "deploy" }'),
        {"softmax": ("fc", "softmax")}, stages=("val",),
    ),
    "shared towers": Case(
        data() + conv("c_a", param='param { name: "w" } param { name: "b" }')
        + conv("c_b", param='param { name: "w" } param { name: "b" }')
        + layer("Eltwise", "sum", "c_a c_b") + ip(bottom="sum") + LOSS, SOFTMAX,
    ),
}  # fmt: skip


FUNCTIONS = {
    "same": lambda x: x,
    "softmax": lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True),
    "softmax2": lambda x: np.exp(x) / np.exp(x).sum(2, keepdims=True),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data that the files name."""
    place = tmp_path_factory.mktemp("deploy")
    write_lmdb(place / "images_lmdb", noise(2, 3, 8, 8), [1, 4])
    random = np.random.default_rng(1)
    with h5py.File(place / "features.h5", "w") as out:
        out["data"] = random.random((2, 5), np.float32)
        out["cont"] = np.ones((2, 1), "f4")
        out["target"] = random.integers(0, 2, (2, 5)).astype("f4")
    (place / "features.txt").write_text("features.h5\n")
    for i in range(2):
        Image.fromarray(random.integers(0, 256, (9, 7, 3), np.uint8)).save(place / f"{i}.png")
    (place / "list.txt").write_text("0.png 3\n1.png 0\n")
    return place


def bvlc(text: str) -> str:
    """The text without NVCaffe's fields, which the judge does not know."""
    return re.sub(r"(default_)?(forward|backward)_type: FLOAT", "", text)


def files(folder: Path) -> dict[str, bytes]:
    paths = [
        p for p in folder.rglob("*") if p.is_file() and p.name != "lock.mdb" and "prototxt" not in p.name
    ]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.parametrize("name", CASES)
def test_the_deploy_net_gives_the_probabilities_of_the_original(
    name: str, folder: Path, real_caffe: caffe.Caffe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    case = CASES[name]
    Path("train_val.prototxt").write_text(case.text)
    assert main(["deploy", "train_val.prototxt", "-o", "deploy.prototxt", "--force", *case.given]) == 0
    text = Path("deploy.prototxt").read_text()
    net = prototxt.parse(text, dialect="any")
    blobs = sorted({blob for blob, _ in case.gives.values()} | set(case.inputs))
    original = real_caffe.run(
        bvlc(case.text),
        phase=case.phase,
        stages=case.stages,
        files=files(folder),
        outputs=blobs,
        fetch_params=True,
        seed=3,
    )
    named = {layer.name for layer in net if layer.params}
    params = {key: values for key, values in original.params.items() if key in named}
    assert params.keys() == named
    inputs = {blob: original.outputs[blob] for blob in case.inputs}
    found = real_caffe.run(bvlc(text), inputs=inputs, params=params)
    assert found.outputs.keys() == case.gives.keys()
    for output, (blob, function) in case.gives.items():
        wanted: Any = FUNCTIONS[function](original.outputs[blob].astype(np.float64))
        np.testing.assert_allclose(found.outputs[output], wanted, rtol=1e-5, atol=1e-6)
    types = {layer.type for layer in net}
    assert not types & {"Data", "HDF5Data", "ImageData", "Accuracy", "Silence"}
    assert "label" not in net.blobs
    assert not re.search("include|exclude|loss_weight|phase: TEST", text)


def test_the_file_of_a_training_is_turned_into_that_of_its_user(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train_val.prototxt").write_text(CASES["BVLC"].text)
    Path("solver.prototxt").write_text(
        'net: "train_val.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 1'
    )
    assert main(["deploy", "solver.prototxt", "-o", "deploy.prototxt", "--batch", "4"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "inputs   data (4,3,6,6)",
        "outputs  prob (made of a loss)",
        "layers   5, of 6",
        "dropped  metric, loss",
        "assumed  'data' has 3 channels: its data is not at hand (--input data=1,1,6,6)",
    ]
    assert (
        main(["deploy", "solver.prototxt", "-o", "other.prototxt", "--json", "--input", "data=2,3,6,6"]) == 0
    )
    assert json.loads(capsys.readouterr().out) == {
        "version": 1,
        "file": "other.prototxt",
        "inputs": {"data": [1, 3, 6, 6]},
        "outputs": {"prob": [1, 5]},
        "made": ["prob"],
        "removed": {"accuracy": "metric", "loss": "loss"},
        "assumed": [],
    }


def test_a_net_without_a_shape_asks_for_it(tmp_path: Path, capsys: Printed) -> None:
    file = tmp_path / "train_val.prototxt"
    file.write_text(data(crop="") + BODY + LOSS)
    assert main(["deploy", str(file), "-o", str(tmp_path / "deploy.prototxt")]) == 2
    assert "give the shape, as in --input data=1,3,224,224" in capsys.readouterr().err
    assert not (tmp_path / "deploy.prototxt").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"outputs": ["fc2"]}, "the net computes no 'fc2' without labels"),
        ({"outputs": ["loss"]}, "the net computes no 'loss' without labels"),
        ({"labels": ["lable"]}, "'lable' is no top of a data layer"),
        ({"labels": ["data"]}, "nothing of the net is left without its labels"),
    ],
)
def test_names_that_cannot_be_kept_are_refused(options: dict[str, Any], words: str) -> None:
    net = prototxt.parse(data() + BODY + LOSS, inputs={"data": (2, 3, 6, 6)})
    with pytest.raises(ConfigError, match=words):
        deployed(net, **options)


def test_inner_blobs_can_be_the_outputs() -> None:
    net = prototxt.parse(data() + BODY + LOSS, inputs={"data": (2, 3, 6, 6)})
    found = deployed(net, outputs=["conv1"])
    assert [layer.name for layer in found.net] == ["data", "conv1", "relu_conv1"]
    assert found.removed == {"fc": "no output needs it", "loss": "loss"}


def test_a_deploy_net_stays_as_it_is() -> None:
    text = layer("Input", "data", "", SIZES) + BODY + layer("Softmax", "prob", "fc")
    net = prototxt.parse(text)
    assert [x.proto for x in deployed(net).net] == [x.proto for x in net]
