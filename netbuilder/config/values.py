"""Convert items to the annotated types of a config's fields; the annotations are the only schema."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from typing import Any

from netbuilder.config.items import Item, refusal
from netbuilder.errors import ConfigError
from netbuilder.networks.registry import flat_fields, group_of

__all__ = ["convert", "field_types", "parses", "tuple_items", "without_none"]

# The words for a type in errors: singular and plural.
_WORDS: dict[Any, tuple[str, str]] = {
    bool: ("true or false", "true or false"),
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    str: ("text", "texts"),
}


def field_types(config: type[Any]) -> dict[str, Any]:
    """The annotated type of each field of a config and of its groups, by name.

    An option of a group accepts null if that is its default, whatever the group's annotation.
    """
    hints = typing.get_type_hints(config)
    types: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        if "group" in field.metadata:
            types |= field_types(field.metadata["group"])
        elif field.init:
            types[field.name] = hints[field.name]
    groups = group_of(config)
    for field in flat_fields(config):
        if field.name in groups:
            base, _ = without_none(types[field.name])
            types[field.name] = base | None if field.default is None else base
    return types


def parses(field: dataclasses.Field[object]) -> bool:
    """Whether one word of text is enough for a value of this field, as on the command line."""
    simple = (int, float, str)
    return field.metadata.get("parse", int) not in simple and not field.metadata.get("many", False)


def convert(item: Item, type: object, field: dataclasses.Field[object]) -> Any:
    """The value of a field; raises ConfigError with the place, the expected type and the given value."""
    key = field.name
    if parses(field) and isinstance(item.value, (str, int, float)) and not isinstance(item.value, bool):
        parse: Callable[[str], Any] = field.metadata["parse"]
        try:
            return parse(item.text)
        except ConfigError as error:
            raise refusal(error.text, item.place, key, error.hint) from None
        except ValueError:
            raise refusal(f"{key} cannot be {item.shown}", item.place, key) from None
    return _value(item, type, key, field.metadata.get("choices") or ())


def _wanted(type: object) -> str:
    """A type in the words of an error: "an integer", "a list of 2 integers", ..."""
    base, optional = without_none(type)
    if typing.get_origin(base) is tuple:
        items, length = tuple_items(base)
        number = "" if length is None else f"{length} "
        text = f"a list of {number}{_WORDS.get(items, ('', 'values'))[1]}"
    else:
        text = _WORDS.get(base, (f"a {getattr(base, '__name__', base)}", ""))[0]
    return f"{text}, or null" if optional else text


def _value(item: Item, type: object, key: str, choices: typing.Sequence[str]) -> Any:
    base, optional = without_none(type)
    value = item.value
    if value is None and optional:
        return None
    if typing.get_origin(base) is tuple:
        items, length = tuple_items(base)
        if not isinstance(value, list) or length not in (None, len(value)):
            got = f"{len(value)} of them" if isinstance(value, list) else item.shown
            hint = ""
            if not isinstance(value, (list, dict)) and value is not None:
                hint = f"write it in brackets: [{', '.join(item.text.replace(',', ' ').split())}]"
            raise refusal(f"{key} must be {_wanted(type)}, got {got}", item.place, key, hint)
        return tuple(_value(one, items, f"{key}[{i}]", choices) for i, one in enumerate(value))
    if base is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if base in _WORDS and isinstance(value, base) and isinstance(value, bool) == (base is bool):
        return value
    if base is str and isinstance(value, int) and not isinstance(value, bool) and item.text in choices:
        return item.text  # a word that looks like a number, for example depth: 50
    wanted = f"one of {', '.join(choices)}" if base is str and choices else _wanted(type)
    raise refusal(f"{key} must be {wanted}, got {item.shown}", item.place, key, _hint(item, base, choices))


def _hint(item: Item, base: object, choices: typing.Sequence[str]) -> str:
    if base is str and isinstance(item.value, (bool, int, float)) and item.text in (choices or [item.text]):
        why = f"{item.text} is a truth value in YAML: " if isinstance(item.value, bool) else ""
        return f'{why}write "{item.text}" in quotes'
    if base in (int, float, bool) and isinstance(item.value, str) and _bare(item.text):
        return "remove the quotes"
    return ""


def _bare(text: str) -> bool:
    """Whether this text, without quotes, would be a number or a truth value."""
    return text.lower() in ("true", "false", "yes", "no", "on", "off") or text.isdigit()


def without_none(type: object) -> tuple[Any, bool]:
    """`X | None` as (X, True); another type as (type, False)."""
    if typing.get_origin(type) in (typing.Union, types.UnionType):
        others = [t for t in typing.get_args(type) if t is not types.NoneType]
        if len(others) == 1:
            return others[0], True
    return type, False


def tuple_items(type: object) -> tuple[Any, int | None]:
    """The type of a tuple's items and their number; None for any number."""
    args = typing.get_args(type)
    return (args[0], None) if args[-1] is Ellipsis else (args[0], len(args))
