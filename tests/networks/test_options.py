"""The options of the networks: configs stay small, and a text or check stands once."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

import netbuilder.networks
from netbuilder.errors import ConfigError
from netbuilder.networks import NetConfig, all_networks, group, option, options
from netbuilder.networks.registry import OptionSet, with_default

LIMIT = 10
MODULES = sorted(Path(netbuilder.networks.__path__[0]).glob("*.py"))
CONFIGS = [
    entry.config for entry in all_networks().values() if entry.config.__module__.startswith("netbuilder.")
]


def classes(config: type[Any]) -> Iterator[type[Any]]:
    """A config, what it inherits from, and the groups of all of them."""
    for kind in config.__mro__:
        if not dataclasses.is_dataclass(kind):
            continue
        yield kind
        for field in dataclasses.fields(kind):
            if "group" in field.metadata:
                yield from classes(field.metadata["group"])


def own_fields(kind: type[Any]) -> list[str]:
    """The fields of a class that none of its bases has."""
    inherited = {
        f.name for base in kind.__bases__ if dataclasses.is_dataclass(base) for f in dataclasses.fields(base)
    }
    return [f.name for f in dataclasses.fields(kind) if f.name not in inherited]


def helps(path: Path) -> list[str]:
    """The help texts in the source of a module, without what stands in parentheses at their end."""
    calls = [
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
    ]
    named = [(k.value, c) for c in calls for k in c.keywords if k.arg == "help"]
    named += [
        (c.args[0], c) for c in calls if isinstance(c.func, ast.Name) and c.func.id == "_given" and c.args
    ]
    texts = [value.value for value, _ in named if isinstance(value, ast.Constant)]
    return [re.sub(r" \([^()]*\)$", "", str(text)) for text in texts]


def test_no_config_has_more_than_ten_fields_of_its_own() -> None:
    seen = {kind for config in CONFIGS for kind in classes(config)}
    assert len(seen) > len(CONFIGS) + 5  # bases and groups, too
    large = {kind.__name__: own_fields(kind) for kind in seen if len(own_fields(kind)) > LIMIT}
    assert large == {}, "put options that belong together into a group"


def test_no_help_text_stands_twice() -> None:
    places = defaultdict(list)
    for path in MODULES:
        for text in helps(path):
            places[text].append(path.name)
    assert len(places) > 50
    twice = {text: names for text, names in places.items() if len(names) > 1}
    assert twice == {}, "share the option: a group, a base class, or with_default"


def test_a_note_and_a_default_of_a_config_leave_the_other_configs_alone() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Blur(OptionSet):
        size: int | None = option(help="size of the blur", default=3)

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Plain(NetConfig):
        blur: Blur = group(Blur)

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Noted(NetConfig):
        blur: Blur = group(Blur, notes={"size": "default: the preset's"}, size=None)
        classes: int = with_default(NetConfig, "classes", 10)

    last = options(Noted)[-1]
    assert (last.metadata["help"], last.default) == ("size of the blur (default: the preset's)", None)
    last = options(Plain)[-1]
    assert (last.metadata["help"], last.default) == ("size of the blur", 3)
    (own, base) = (next(f for f in options(c) if f.name == "classes") for c in (Noted, NetConfig))
    assert (own.metadata["help"], own.default, base.default) == (base.metadata["help"], 10, 1000)


def test_option_order_moves_only_what_it_names() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Pair(OptionSet):
        first: int = option(help="first", default=1)
        third: int = option(help="third", default=3)

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Config(NetConfig):
        pair: Pair = group(Pair)
        second: int = option(help="second", default=2)
        option_order: ClassVar[tuple[str, ...]] = ("first", "second", "third")

    shared = [f.name for f in options(NetConfig)]
    assert [f.name for f in options(Config)] == [*shared, "first", "second", "third"]

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Wrong(Config):
        option_order = ("frst", "second")

    with pytest.raises(ConfigError, match="option_order of Wrong names 'frst'") as caught:
        options(Wrong)
    assert "first" in caught.value.hint
