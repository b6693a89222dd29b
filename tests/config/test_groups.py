"""Options held in groups: given flat or nested, they are the same options."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from netbuilder.config import load
from netbuilder.config.schema import schema
from netbuilder.errors import ConfigError
from netbuilder.net import Net
from netbuilder.networks import NETWORKS, NetConfig, group, network, option, options
from netbuilder.networks.data_layers import DataOptions, TransformOptions
from netbuilder.networks.registry import OptionSet


@dataclass(frozen=True, kw_only=True)
class Extras(OptionSet):
    blur: str | None = option(help="blur", default="none")
    size: int = option(help="size", default=3)


@dataclass(frozen=True, kw_only=True)
class Config(NetConfig):
    extras: Extras = group(Extras, size=5)
    width: int = option(help="width", default=8)


FLAT: Any = Config  # to mypy, a config takes its fields only


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netbuilder.networks.registry.NETWORKS", NETWORKS)

    def stitch(cfg: Config, phase: str) -> Net:
        """A net with a group."""
        return cfg.net(phase)

    monkeypatch.setitem(NETWORKS, "grouped", None)  # put back after the test
    del NETWORKS["grouped"]
    network("grouped", Config)(stitch)


def config_of(folder: Path, text: str, *sets: str) -> NetConfig:
    path = folder / "net.yaml"
    path.write_text(f"network: grouped\n{text}")
    return load(str(path), sets).config


@pytest.mark.parametrize("text", ["blur: reflect\nsize: 4\n", "extras: {blur: reflect, size: 4}\n"])
def test_flat_and_nested_keys_are_the_same_options(tmp_path: Path, text: str) -> None:
    assert config_of(tmp_path, text) == Config(extras=Extras(blur="reflect", size=4))


@pytest.mark.parametrize("key", ["size", "extras.size"])
def test_set_takes_both_paths(tmp_path: Path, key: str) -> None:
    assert config_of(tmp_path, "extras: {blur: reflect}\n", f"{key}=7") == FLAT(blur="reflect", size=7)


def test_an_option_given_flat_lies_over_a_nested_one_of_the_base(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("network: grouped\nextras: {blur: reflect, size: 4}\n")
    (tmp_path / "own.yaml").write_text("base: base.yaml\nsize: 9\n")
    assert load(str(tmp_path / "own.yaml")).config == FLAT(blur="reflect", size=9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("size: 4\nextras: {size: 5}\n", "'size' and 'extras.size' are the same option"),
        ("extras: {sise: 5}\n", "unknown key 'extras.sise'"),
        ("extras: 5\n", "extras must be a mapping of options to values, got 5"),
        ("extras: {blur: null}\n", "blur must be text, got null"),
    ],
)
def test_mistakes_in_a_group_are_refused_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=r"net\.yaml:") as caught:
        config_of(tmp_path, text)
    assert message in str(caught.value)


def test_a_group_stands_in_place_with_the_defaults_of_its_config() -> None:
    own = [(f.name, f.default) for f in options(Config)]
    assert own[-3:] == [("blur", "none"), ("size", 5), ("width", 8)]
    assert Config().extras == Extras(size=5)
    assert FLAT(blur="x").extras == Extras(blur="x", size=5)


def test_replace_takes_options_of_a_group() -> None:
    changed = replace(FLAT(blur="x"), size=6, width=4)
    assert changed == Config(extras=Extras(blur="x", size=6), width=4)


def test_an_option_in_two_groups_is_refused() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Twice(NetConfig):
        extras: Extras = group(Extras)
        size: int = option(help="size", default=1)

    with pytest.raises(ConfigError, match="Twice has two options 'size'"):
        options(Twice)


def test_the_schema_has_both_forms() -> None:
    (then,) = [part["then"] for part in schema({"grouped": NETWORKS["grouped"]})["allOf"][1:]]
    assert then["properties"]["size"]["default"] == 5
    assert then["properties"]["extras"]["properties"]["size"] == then["properties"]["size"]


def test_data_options_nest() -> None:
    given = {"data": "lmdb", "batch": 2, "train_source": "a", "test_source": "b"}
    make: Any = DataOptions
    assert make(**given, scale=0.5) == make(**given, transform=TransformOptions(scale=0.5))
