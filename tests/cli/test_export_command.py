"""`netbuilder export onnx`: what it writes and prints, and what it says of wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from netbuilder import prototxt
from netbuilder.cli.main import main
from netbuilder.export.onnx.verify import run
from netbuilder.weights.write import write_model
from tests.export.onnx.nets import inputs, layer, random_arrays
from tests.installation import require_onnx, require_torch

Printed = pytest.CaptureFixture[str]
DATA = (
    'layer { name: "data" type: "Data" top: "data" top: "label" data_param { source: "db" batch_size: 8 } '
    "transform_param { crop_size: 8 mean_value: 104 mean_value: 117 mean_value: 123 scale: 0.5 } }\n"
)
NET = (
    layer("Convolution", "convolution_param { num_output: 4 kernel_size: 3 }", "data", "conv")
    + layer("BatchNorm", "", "conv", "bn", "conv")
    + layer("InnerProduct", "inner_product_param { num_output: 5 }", "conv", "fc")
    + layer("SoftmaxWithLoss", "", "fc label", "loss")
)
WORDS = ["export", "onnx", "train_val.prototxt", "--weights", "net.caffemodel", "-o", "net.onnx"]


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a train_val file and its model."""
    require_onnx()
    monkeypatch.chdir(tmp_path)
    Path("train_val.prototxt").write_text(DATA + NET)
    net = prototxt.parse(DATA + NET, "TEST", inputs={"data": (1, 3, 8, 8), "label": (1,)})
    write_model("net.caffemodel", random_arrays(net))
    return tmp_path


def test_it_writes_the_net_to_hand_over_and_prints_the_difference(trained: Path, capsys: Printed) -> None:
    require_torch()
    assert main([*WORDS, "--dynamic", "batch", "--fold"]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[:3] == ["inputs   data (N,3,8,8)", "outputs  prob (N,5)", "nodes    4, opset 17"]
    assert lines[3].startswith("largest difference to PyTorch: ")
    assert printed.err == "wrote net.onnx\n"
    assert run(Path("net.onnx"), {"data": np.zeros((7, 3, 8, 8), np.float32)})["prob"].shape == (7, 5)


def test_the_file_says_how_images_are_prepared(trained: Path, capsys: Printed) -> None:
    import onnx

    assert main([*WORDS, "--json", "--no-verify"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["files"], found["engine"], found["difference"]) == (["net.onnx"], "", None)
    props = {prop.key: prop.value for prop in onnx.load("net.onnx").metadata_props}
    assert (props["source"], props["weights"]) == ("train_val.prototxt", "net.caffemodel")
    assert json.loads(props["preprocessing"]) == {
        "input": "data", "channels": "BGR", "crop_size": 8, "mean_value": [104, 117, 123], "scale": 0.5,
    }  # fmt: skip


def test_real_caffe_can_be_the_judge(trained: Path, capsys: Printed, real_caffe: object) -> None:
    assert main([*WORDS, "--engine", "caffe", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["engine"] == "caffe"
    assert found["difference"] <= 1e-5


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([*WORDS[:3], "-o", "net.onnx"], "the net has weights: give its model"),
        ([*WORDS, "--opset", "5"], "opset 5 cannot be written"),
        ([*WORDS, "--dynamic", "size"], "the weights of InnerProduct 'fc' fit only this one"),
        ([*WORDS, "--outputs", "nothing"], "the net computes no 'nothing'"),
        ([*WORDS[:4], "none.caffemodel", *WORDS[5:]], "cannot read 'none.caffemodel'"),
        ([*WORDS[:4], "cut.caffemodel", *WORDS[5:]], "cut short"),
        ([*WORDS[:4], "other.caffemodel", *WORDS[5:]], "has no weights for layer 'fc'"),
        ([*WORDS[:-1], "none/net.onnx"], "cannot write 'none/net.onnx': no such file or directory"),
        ([*WORDS[:-1], "."], "it exists already"),
    ],
)
def test_wrong_input_is_an_error_and_nothing_is_written(
    words: list[str], error: str, trained: Path, capsys: Printed
) -> None:
    model = Path("net.caffemodel").read_bytes()
    Path("cut.caffemodel").write_bytes(model[:-100])
    net = prototxt.read("train_val.prototxt", "TEST", inputs={"data": (1, 3, 8, 8), "label": (1,)})
    arrays = random_arrays(net)
    write_model("other.caffemodel", {"conv": arrays["conv"], "bn": arrays["bn"]})
    before = sorted(trained.iterdir())
    assert main([*words, "--no-verify"]) == 2
    assert error in capsys.readouterr().err
    assert sorted(trained.iterdir()) == before


def test_a_file_for_training_alone_is_read_as_by_deploy(trained: Path, capsys: Printed) -> None:
    text = (DATA + NET).replace('name: "data"', 'name: "data" include { phase: TRAIN }')
    Path("train_val.prototxt").write_text(text)
    assert main([*WORDS, "--no-verify"]) == 0
    assert "note: assumed the layers of TRAIN" in capsys.readouterr().err


def test_a_net_without_weights_needs_no_model(tmp_path: Path, capsys: Printed) -> None:
    require_onnx()
    net = tmp_path / "net.prototxt"
    net.write_text(inputs((1, 4)) + layer("Softmax"))
    assert main(["export", "onnx", str(net), "-o", str(tmp_path / "net.onnx"), "--no-verify"]) == 0
    capsys.readouterr()


def test_a_layer_without_a_form_is_named(tmp_path: Path, capsys: Printed) -> None:
    require_onnx()
    net = tmp_path / "net.prototxt"
    net.write_text(
        inputs((1, 8, 9, 9), (3, 5))
        + layer("PSROIPooling", "psroi_pooling_param { spatial_scale: 1 output_dim: 2 group_size: 2 }", "a b")
    )
    assert main(["export", "onnx", str(net), "-o", str(tmp_path / "net.onnx")]) == 2
    assert "PSROIPooling 't' has no ONNX form: ONNX has no operator" in capsys.readouterr().err
