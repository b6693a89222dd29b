"""The JSON schema of configs, as editors use it: what it refuses, the command refuses too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from netbuilder.cli.main import main
from netbuilder.config import all_configs, load
from netbuilder.config.places import ENVIRONMENT
from netbuilder.errors import ConfigError


@pytest.fixture(scope="module")
def schema() -> Any:
    from netbuilder.config.schema import schema
    from netbuilder.networks import all_networks

    return json.loads(json.dumps(schema(all_networks())))


@pytest.fixture(scope="module")
def validator(schema: Any) -> Any:
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


def test_the_command_prints_the_schema(schema: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show-config", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == schema


@pytest.mark.parametrize("found", all_configs(), ids=lambda found: found.name)
def test_every_shipped_config_fits_the_schema(validator: Any, found: Any) -> None:
    data = yaml.safe_load(found.path.read_text(encoding="utf-8"))
    assert [error.message for error in validator.iter_errors(data)] == []


NET = "network: resnet\nmain_branch: bottleneck\n"
TAKEN = [
    NET + "input_size: 224x320\n",
    NET + "input_size: [224, 320]\nclasses: 10\nfc_layers: true\nblocks: [3, 4, 6, 3]\n",
    "network: bl_resnet\ndepth: 50\n",
    "network: bl_resnet\ndepth: '50'\n",
    "network: bl_resnet\ndepth: null\nblocks: [2, 2]\n",
    "network: davidnet\ncelu: 0.3\nresidual: [layer1]\n",
    "base: resnet_50\nclasses: 10\n",
    "base: resnet_50\nnetwork: resnet\n",
    NET + "defaults: {Convolution: {weight_filler: {type: msra, variance_norm: FAN_OUT}, "
    "param: [{lr_mult: 1, decay_mult: 1}]}, BatchNorm: {eps: 1.0e-4, moving_average_fraction: null}}\n",
]
REFUSED = [
    NET + "blokcs: [1]\n",
    NET + "classes: ten\n",
    NET + "classes: 1.5\n",
    NET + "fc_layers: 1\n",
    NET + "blocks: 3\n",
    NET + "input_size: [224, 224, 3]\n",
    NET + "source: 2015\n",
    NET + "expect: {learnable: 3}\n",
    NET + "expect: {macs: many}\n",
    NET + "defaults: {Convolutoin: {}}\n",
    NET + "defaults: {BatchNorm: {epz: 1}}\n",
    NET + "defaults: {BatchNorm: {eps: small}}\n",
    NET + "defaults: {BatchNorm: {name: x}}\n",
    NET + "defaults: {Convolution: {weight_filler: {typ: msra}}}\n",
    NET + "defaults: {Convolution: {weight_filler: msra}}\n",
    NET + "defaults: {Convolution: {weight_filler: {type: msra, variance_norm: FANOUT}}}\n",
    "network: resnet\n",
    "network: resnet\nmain_branch: botleneck\n",
    "network: resnt\nmain_branch: bottleneck\n",
    "main_branch: bottleneck\n",
    "base: resnet_50\nblokcs: [1]\n",
    "base: 3\n",
    "[network, resnet]\n",
]


@pytest.mark.parametrize("text", TAKEN)
def test_what_the_schema_takes_is_loaded(
    validator: Any, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    assert validator.is_valid(yaml.safe_load(text))
    (tmp_path / "case.yaml").write_text(text, encoding="utf-8")
    load(str(tmp_path / "case.yaml"))


@pytest.mark.parametrize("text", REFUSED)
def test_what_the_schema_refuses_is_refused_by_the_command_too(
    validator: Any, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    assert not validator.is_valid(yaml.safe_load(text))
    (tmp_path / "case.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError):
        load(str(tmp_path / "case.yaml"))


def test_an_option_has_its_help_its_default_and_its_words(schema: Any) -> None:
    (resnet,) = (
        b["then"] for b in schema["allOf"] if b["if"].get("properties") == {"network": {"const": "resnet"}}
    )
    assert resnet["properties"]["stride_in"] == {
        "description": "which convolution of a bottleneck has the block's stride",
        "enum": ["1x1", "3x3"],
        "default": "1x1",
    }
    assert resnet["anyOf"] == [{"required": ["base"]}, {"required": ["main_branch"]}]
