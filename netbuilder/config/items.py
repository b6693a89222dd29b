"""YAML text as `Item`s: values that know the file and line they come from.

The result is that of `yaml.safe_load`, without its surprises: aliases, Python tags, repeated keys, and
numbers that YAML 1.1 reads differently from a human (010 is 8, 1:30 is 90) are refused. 1e-5 is a number, as
in YAML 1.2 and JSON. Yes, no, on and off are true or false, and are refused where text is expected.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from netbuilder.errors import ConfigError
from netbuilder.storage.files import read_text

__all__ = ["Item", "Place", "read_file", "read_setting", "refusal"]

_TAG = "tag:yaml.org,2002:"
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9_]+)([eE][-+]?[0-9]+)?")
_POWER = re.compile(
    r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+"
)  # in YAML 1.1 this is text, without a dot and a sign
_TRUE = ("true", "yes", "on")
_NUMBERS = yaml.constructor.SafeConstructor()


class Place(NamedTuple):
    """Where a value comes from: a line of a file or, with `line` 0, a --set, the network or the project."""

    kind: str  # "file", "base", "set", "network" or "project"
    path: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else self.path


class Item(NamedTuple):
    """A value: None, a bool, int, float or str, a list of Items, or a dict of Items by key.

    `text` is a scalar as written, without quotes.
    """

    value: Any
    text: str
    place: Place

    @property
    def shown(self) -> str:
        """The value as error texts show it."""
        if isinstance(self.value, str):
            return f"'{self.value}'"
        if isinstance(self.value, (list, dict)):
            return f"a {'list' if isinstance(self.value, list) else 'mapping'}"
        return self.text or "nothing"


def refusal(text: str, place: Place, key: str = "", hint: str = "") -> ConfigError:
    """An error about the value at a place, under a dotted key."""
    error = ConfigError(text, key=key, path=place.path, hint=hint)
    error.where = f"{place}, {key}" if key and place.kind != "set" else str(place)
    return error


def read_file(path: Path, shown: str, kind: str = "file") -> dict[str, Item]:
    """Read the keys and values of a config file; `shown` is its name in errors.

    Raises FileError if it cannot be read, and ConfigError if it is not a config.
    """
    item = _parse(read_text(path), Place(kind, shown, 1))
    if not isinstance(item.value, dict):
        what = item.shown if item.value is not None else "nothing"
        raise refusal(
            f"a config must be a mapping of keys to values, got {what}", item.place,
            hint="for example `network: resnet`, one key per line",
        )  # fmt: skip
    return item.value


def read_setting(text: str) -> tuple[list[str], Item]:
    """The dotted key and the value of `--set KEY=VALUE`; raises ConfigError."""
    place = Place("set", f"--set {text}")
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"--set takes KEY=VALUE, got '{text}'", hint="for example --set classes=10")
    return parts, _parse(value, place, key)


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                problem=f"alias *{event.anchor}: write the value out, or use base",
                problem_mark=event.start_mark,
            )
        return super().compose_node(parent, index)


def _parse(text: str, place: Place, key: str = "") -> Item:
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
        return Item(None, "", place) if node is None else _item(node, place, key)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        if mark is not None and place.line:
            place = place._replace(path=f"{place.path}:{mark.line + 1}", line=mark.column + 1)
        problem = error.problem or ""
        if problem.startswith("but "):
            problem = f"{error.context}, {problem}"
        raise refusal(f"this is not YAML for a config: {problem}", place) from None
    except yaml.YAMLError as error:  # a character that YAML forbids
        reason = getattr(error, "reason", "") or "unreadable"
        raise refusal(f"this is not YAML for a config: {reason}", place._replace(line=0)) from None
    except RecursionError:
        raise refusal("this is nested too deeply for a config", place._replace(line=0)) from None


def _item(node: Any, place: Place, key: str) -> Item:
    """A node of PyYAML as an Item; `place` is the place of its dotted key, or of the whole text."""
    if isinstance(node, yaml.ScalarNode):
        return Item(_scalar(node, place, key), node.value, place)
    if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
        items = [_item(child, _at(child, place), f"{key}[{i}]") for i, child in enumerate(node.value)]
        return Item(items, "", place)
    if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
        entries: dict[str, Item] = {}
        for word, value in node.value:
            at = _at(word, place)
            if not isinstance(word, yaml.ScalarNode):
                raise refusal("a key must be a word, got a list or a mapping", at, key)
            name, dotted = word.value, f"{key}.{word.value}" if key else word.value
            if name in entries:
                first = f" in line {entries[name].place.line}" if place.line else ""
                raise refusal(f"key '{name}' is given twice: already{first}", at, dotted)
            entries[name] = _item(value, at, dotted)
        return Item(entries, "", place)
    raise refusal(f"tag {_short(node.tag)} has no meaning in a config", place, key)


def _at(node: Any, place: Place) -> Place:
    return place._replace(line=node.start_mark.line + 1) if place.line else place


def _scalar(node: Any, place: Place, key: str) -> bool | int | float | str | None:
    kind, text = node.tag.removeprefix(_TAG), node.value
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() in _TRUE
    if kind == "int":
        try:
            value = _NUMBERS.construct_yaml_int(node)
            if _DECIMAL.fullmatch(text):
                return value
        except ValueError:
            raise refusal(f"{_cut(text)} is not a valid number in a config", place, key) from None
        raise refusal(
            f"{text} means {value} in YAML, which is easy to misread", place, key,
            f"write {value}, or '{text}' in quotes if it is text",
        )  # fmt: skip
    if kind == "float" or (kind == "str" and node.style is None and _POWER.fullmatch(text)):
        number = float(text.replace("_", "")) if _FLOAT.fullmatch(text) else float("nan")
        if not abs(number) < float("inf"):
            raise refusal(f"{_cut(text)} is not a valid number in a config", place, key)
        return number
    if kind in ("str", "timestamp", "value", "merge"):
        return str(text)
    raise refusal(f"tag {_short(node.tag)} has no meaning in a config", place, key)


def _short(tag: str) -> str:
    return f"!!{tag.removeprefix(_TAG)}" if tag.startswith(_TAG) else tag


def _cut(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."
