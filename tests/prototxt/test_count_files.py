"""`netbuilder count` on files of every kind: what it prints, what it could not count, and how to help it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from netbuilder.cli.main import main
from netbuilder.schema import NetParameter

TRAIN = (
    'layer { name: "data" type: "Data" top: "data" top: "label" data_param { source: "db" batch_size: 64 } '
    "transform_param { crop_size: 24 } }\n"
)
CONV = (
    'layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" '
    "convolution_param { num_output: 2 kernel_size: 3 engine: CUDNN } }\n"
)
FORK = (
    'layer { name: "i" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }\n'
    + CONV
    + 'layer { name: "perm" type: "Permuted" bottom: "conv" top: "perm" permuted_param { order: 0 } }\n'
)

Printed = pytest.CaptureFixture[str]


def file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    return str(path)


def test_what_was_not_counted_is_listed_with_the_reason(tmp_path: Path, capsys: Printed) -> None:
    assert main(["count", file(tmp_path, FORK)]) == 0
    printed = capsys.readouterr()
    assert printed.out.endswith("not counted: 1 layer\n  perm: dialect any has no layer type Permuted\n")
    assert "Number of flops: 0.001944 Million" in printed.out
    assert printed.err == ""


def test_a_net_without_data_says_how_to_give_its_shape(tmp_path: Path, capsys: Printed) -> None:
    said = "the shapes of its data are not in the file: give them, as in --input data=64,C,24,24\n"
    assert main(["count", file(tmp_path, TRAIN + CONV)]) == 0
    printed = capsys.readouterr()
    assert printed.err == said
    assert said not in printed.out
    assert main(["count", file(tmp_path, TRAIN + CONV), "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.err == said
    assert [row["name"] for row in json.loads(printed.out)["uncounted"]] == ["data", "conv"]


def test_a_given_shape_counts_everything(tmp_path: Path, capsys: Printed) -> None:
    path = file(tmp_path, TRAIN + CONV)
    assert main(["count", path, "--input", "data=2,3,24,24", "--input", "label=2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["uncounted"], found["batch"], found["totals"]["macs"]) == ([], 2, 2 * 22 * 22 * 27)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("data:1,3", "ConfigError: --input takes a name and a shape, got 'data:1,3'\n"),
        ("data=1,x", "ConfigError: --input takes a name and a shape, got 'data=1,x'\n"),
        ("dat=1", "FieldError: 'dat' is not an input of this net: they are 'data', 'label'\n"),
    ],
)
def test_a_wrong_input_is_refused(given: str, said: str, tmp_path: Path, capsys: Printed) -> None:
    assert main(["count", file(tmp_path, TRAIN), "--input", given]) == 2
    assert capsys.readouterr().err.startswith(said)


def test_a_model_is_listed_with_its_total(tmp_path: Path, capsys: Printed) -> None:
    proto = NetParameter(name="net")
    blob = proto.layer.add(name="conv", type="Convolution").blobs.add()
    blob.shape.dim.extend([40, 3, 5, 5])
    blob.data.extend([0.0] * 3000)
    proto.layer.add(name="relu", type="ReLU")
    path = tmp_path / "net.caffemodel"
    path.write_bytes(proto.SerializeToString())
    assert main(["count", str(path)]) == 0
    assert capsys.readouterr().out == (
        "net, 1 of 2 layers with stored params\n"
        "\n"
        "layer  type         blobs       stored params\n"
        "-----  -----------  ----------  -------------\n"
        "conv   Convolution  (40,3,5,5)          3,000\n"
        "total                                   3,000\n"
    )
    assert main(["count", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "version": 1,
        "name": "net",
        "totals": {"stored_params": 3000},
        "layers": [
            {"name": "conv", "type": "Convolution", "params": [{"shape": [40, 3, 5, 5]}]},
            {"name": "relu", "type": "ReLU", "params": []},
        ],
    }
    assert main(["count", str(path), "--input", "data=1"]) == 2
