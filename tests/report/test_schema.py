"""What the command prints as JSON, against the schema in the package and the contract's keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from netbuilder import report
from netbuilder.cli.main import main
from netbuilder.schema import NetParameter

Printed = pytest.CaptureFixture[str]

GROUND_TRUTH = Path(__file__).parents[1] / "ground_truth"
SCHEMA = json.loads(report.SCHEMA.read_text(encoding="utf-8"))
CHECKER = jsonschema.Draft202012Validator(SCHEMA)

NET = (
    'name: "net" layer { name: "data" type: "Input" top: "data" top: "im_info" input_param { '
    "shape { dim: 3 dim: 3 dim: 9 dim: 9 } shape { dim: 3 dim: 2 } } }\n"
    'layer { name: "c" type: "Convolution" bottom: "data" top: "c" param { name: "w" } '
    "convolution_param { num_output: 4 kernel_size: 3 stride: 2 } }\n"
    'layer { name: "grid" type: "DummyData" top: "grid" dummy_data_param { shape { dim: 1 dim: 2 } } }\n'
    'layer { name: "g" type: "InnerProduct" bottom: "grid" top: "g" inner_product_param { num_output: 2 } }\n'
    'layer { name: "w" type: "Warp" bottom: "c" top: "w" }\n'
    'layer { name: "fc" type: "InnerProduct" bottom: "w" top: "fc" inner_product_param { num_output: 2 } }\n'
)


def printed(capsys: Printed, *args: str) -> Any:
    main(["count", *args, "--json"])
    data = json.loads(capsys.readouterr().out, parse_constant=lambda word: pytest.fail(f"{word} in JSON"))
    CHECKER.validate(data)
    return data


@pytest.fixture
def net_file(tmp_path: Path) -> str:
    path = tmp_path / "net.prototxt"
    path.write_text(NET)
    return str(path)


def test_the_schema_itself_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_command_prints_the_schema(capsys: Printed) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["count", "--schema"])
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA


@pytest.mark.parametrize(
    "options", [[], ["--by-block"], ["--receptive-field"], ["--batch", "5"], ["--memory"]]
)
def test_a_net_fits_the_schema(options: list[str], net_file: str, capsys: Printed) -> None:
    data = printed(capsys, net_file, *options)
    assert ("blocks" in data) == ("--by-block" in options)
    assert all(("receptive_field" in x) == ("--receptive-field" in options) for x in data["layers"])


@pytest.mark.parametrize("name", ["batch_norm_v2", "groups_v0", "lenet_v0", "lenet_v1", "shared_v1"])
def test_files_of_all_formats_fit_the_schema(name: str, capsys: Printed) -> None:
    path = GROUND_TRUTH / "formats" / f"{name}.prototxt"
    assert printed(capsys, str(path), "--by-block", "--receptive-field")["layers"]


def test_the_contract_has_its_keys(net_file: str, capsys: Printed) -> None:
    # As the issue that asked for it spells them.
    data = printed(capsys, net_file)
    assert {"name", "phase", "batch", "totals", "layers", "uncounted"} <= data.keys()
    assert data["totals"].keys() >= {
        "learnable_params", "stored_params", "macs", "flops", "activations", "pynetbuilder_params",
        "pynetbuilder_flops",
    }  # fmt: skip
    layer = data["layers"][1]
    assert layer.keys() >= {"name", "type", "bottoms", "tops", "params", "macs", "flops"}
    assert layer["bottoms"] == [{"name": "data", "shape": [3, 3, 9, 9]}]
    assert layer["tops"] == [{"name": "c", "shape": [3, 4, 4, 4]}]
    assert layer["params"][0].items() >= {"shape": [4, 3, 3, 3], "learnable": True}.items()
    assert [p.keys() for p in layer["params"]] == [{"shape", "learnable"}] * 2
    assert data["layers"][4]["tops"] == [{"name": "w", "shape": None}]
    assert [x["name"] for x in data["uncounted"]] == ["w", "fc"]
    assert (data["name"], data["phase"], data["batch"], data["complete"]) == ("net", "TEST", 3, False)


def test_a_fraction_per_image_is_a_number(net_file: str, capsys: Printed) -> None:
    grid = printed(capsys, net_file)["layers"][3]
    assert grid["macs"] == pytest.approx(4 / 3)


def test_several_nets_and_errors_fit_the_schema(net_file: str, capsys: Printed) -> None:
    data = printed(capsys, net_file, "missing.prototxt", net_file)
    assert data.keys() == {"version", "nets", "errors"}
    assert [net["file"] for net in data["nets"]] == [net_file, net_file]
    assert data["errors"] == [
        {
            "file": "missing.prototxt",
            "error": "FileError: cannot read 'missing.prototxt': no such file or directory",
        }
    ]


def test_a_model_fits_the_schema(tmp_path: Path, capsys: Printed) -> None:
    proto = NetParameter(name="net")
    blob = proto.layer.add(name="conv", type="Convolution").blobs.add()
    blob.shape.dim.extend([1, 2])
    blob.data.extend([0.0] * 2)
    path = tmp_path / "net.caffemodel"
    path.write_bytes(proto.SerializeToString())
    assert printed(capsys, str(path))["totals"] == {"stored_params": 2}


@pytest.mark.parametrize(
    "broken",
    [
        {"version": 2},
        {"totals": {}},
        {"uncounted": [{"name": "x", "type": "X"}]},
        {"batch": 0},
        {"phase": "DEPLOY"},
        {"layers": [{"name": "x"}]},
    ],
)
def test_the_schema_refuses_what_is_not_such_a_net(broken: Any, net_file: str, capsys: Printed) -> None:
    data = printed(capsys, net_file)
    assert not CHECKER.is_valid(data | broken)


def test_a_built_net_fits_the_schema(tmp_path: Path, capsys: Printed) -> None:
    assert main(["build", "cifar_resnet", "-m", "normal", "-n", "1", "-o", str(tmp_path), "--json"]) == 0
    CHECKER.validate(json.loads(capsys.readouterr().out)["counts"])
