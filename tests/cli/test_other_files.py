"""A config, a sweep or a recipe in place of a prototxt, and a sweep in place of a config."""

from __future__ import annotations

from pathlib import Path

import pytest

from netbuilder.cli.main import main
from netbuilder.config import load
from netbuilder.designing.writing import distinct_name

CONFIG = "network: resnet\nblocks: [1, 1, 1, 1]\n"
SWEEP = f"{CONFIG}axes: {{num_output_stage1: [64, 128]}}\n"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.yaml").write_text(CONFIG)
    Path("sweep.yml").write_text(SWEEP)
    Path("based.yaml").write_text("# my net\nbase: resnet_50\nclasses: 10\n")


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("words", "file", "what", "verb"),
    [(["train"], "net.yaml", "a config", "build")],
)
def test_yaml_is_not_read_as_a_prototxt(
    words: list[str], file: str, what: str, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, file]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"PrototxtError: this is {what} in YAML, not a prototxt\n  where:   {file}\n" in captured.err
    assert f"hint:    netbuilder {verb} {file}" in captured.err


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("verb", ["count", "check", "diff", "deploy"])
def test_a_config_stands_for_its_net_where_nets_are_read(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    more = {"diff": ["based.yaml"], "deploy": ["-o", "x.prototxt"]}.get(verb, [])
    assert main([verb, "based.yaml", *more]) == 0
    capsys.readouterr()
    assert main([verb, "net.yaml", *more]) == 2
    assert "ConfigError: main_branch is missing: network resnet needs it\n" in capsys.readouterr().err
    assert main([verb, "sweep.yml", *more]) == 2
    said = capsys.readouterr().err
    assert "ConfigError: this is the file of a sweep, over many nets, not a config: it has axes\n" in said
    assert "netbuilder sweep sweep.yml -o FOLDER" in said


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("words", [["show-config", "sweep.yml"], ["build", "sweep.yml", "-o", "x"]])
def test_a_sweep_is_not_a_config(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    err = capsys.readouterr().err
    assert "ConfigError: this is the file of a sweep, over many nets, not a config: it has axes\n" in err
    assert "where:   sweep.yml:3, axes\n" in err
    assert "netbuilder sweep sweep.yml -o FOLDER" in err


@pytest.mark.parametrize(
    ("config", "sets", "name"),
    [
        ("resnet_50", [], "resnet_50"),
        ("resnet_50", ["num_output_stage1=120"], "resnet_50_n120"),
        ("resnet_50", ["blocks=[2, 3, 4, 1]"], "resnet_32_blocks_2_3_4_1"),
        ("resnet_50", ["blocks=[3, 2, 4, 1]"], "resnet_32_blocks_3_2_4_1"),
        ("cifar_resnet_110", ["depth=62"], "cifar_resnet_62"),
        ("cifar_resnet_110", ["depth=62", "classes=5"], "cifar_resnet_62_classes_5"),
    ],
)
def test_nets_that_differ_get_names_that_differ(config: str, sets: list[str], name: str) -> None:
    """The title of a net, which is in its prototxt, leaves some options out."""
    assert distinct_name(load(config, sets).config) == name
