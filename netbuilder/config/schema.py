"""A JSON schema of config files, for editors: draft 07, which most editors support.

It is generated from the config dataclasses. It is less strict than `load`: only the dataclasses check ranges
and combinations of options.
"""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from netbuilder.config.accuracy import ACCURACY, NEEDED, PER_CENT
from netbuilder.config.layers import layer_fields
from netbuilder.config.load import EXPECTED, KEYS
from netbuilder.config.values import field_types, parses, tuple_items, without_none
from netbuilder.layers import RULES
from netbuilder.networks import Network
from netbuilder.networks.registry import flat_fields, group_of
from netbuilder.schema import LayerParameter
from netbuilder.schema.fields import is_repeated

__all__ = ["schema"]

_SIMPLE = {bool: "boolean", int: "integer", float: "number", str: "string"}
_ENUM, _MESSAGE = 14, 11  # FieldDescriptor.TYPE_ENUM, TYPE_MESSAGE
_BOOL, _TEXT = (8,), (9, 12)
_REAL = (1, 2)


def schema(networks: dict[str, Network]) -> dict[str, Any]:
    """The schema of a config of one of these networks.

    A file without `network` inherits it from its base, so it may have the options of any network.
    """
    common = _common(networks)
    every = {field.name for entry in networks.values() for field in _fields(entry)}
    every |= {group for entry in networks.values() for group in group_of(entry.config).values()}
    branches = [
        {
            "if": {"properties": {"network": {"const": name}}, "required": ["network"]},
            "then": _network(entry, common),
        }
        for name, entry in networks.items()
    ]
    without = {
        "if": {"not": {"required": ["network"]}},
        "then": {"required": ["base"], "propertyNames": {"enum": sorted({*common, *every})}},
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "netbuilder config",
        "type": "object",
        "properties": common,
        "allOf": [without, *branches],
        "definitions": _definitions(),
    }


def _common(networks: dict[str, Network]) -> dict[str, Any]:
    text = {"type": "string", "minLength": 1}
    count = {"type": "integer"}
    per_cent = {"type": "number", "exclusiveMinimum": 1, "maximum": 100}
    shapes: dict[str, Any] = {
        "network": {"enum": list(networks)},
        "base": text,
        "module": text,
        "source": {"type": ["string", "null"]},
        "expect": {
            "type": ["object", "null"],
            "properties": dict.fromkeys(EXPECTED, count),
            "additionalProperties": False,
        },
        "accuracy": {
            "type": ["object", "null"],
            "properties": {
                key: {"description": about, **(per_cent if key in PER_CENT else text)}
                for key, about in ACCURACY.items()
            },
            "required": list(NEEDED),
            "additionalProperties": False,
        },
        "defaults": {"$ref": "#/definitions/defaults"},
    }
    return {key: {"description": about, **shapes[key]} for key, about in KEYS.items()}


def _fields(entry: Network) -> list[dataclasses.Field[object]]:
    return [f for f in flat_fields(entry.config) if f.name != "defaults"]


def _network(entry: Network, common: dict[str, Any]) -> dict[str, Any]:
    """The keys that a file with this network may have, and those it must have unless it has a base."""
    hints = field_types(entry.config)
    needed = [
        f.name
        for f in _fields(entry)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    given = {f.name: _option(f, hints[f.name]) for f in _fields(entry)}
    result: dict[str, Any] = {
        "description": entry.about,
        "properties": dict.fromkeys(common, True)
        | given
        | {group: _group(entry, group, given) for group in group_of(entry.config).values()},
        "additionalProperties": False,
    }
    if needed:
        result["anyOf"] = [{"required": ["base"]}, {"required": needed}]
    return result


def _group(entry: Network, group: str, given: dict[str, Any]) -> dict[str, Any]:
    """A group of options as a mapping."""
    names = [name for name, owner in group_of(entry.config).items() if owner == group]
    return {"type": "object", "properties": {n: given[n] for n in names}, "additionalProperties": False}


def _option(field: dataclasses.Field[object], hint: object) -> dict[str, Any]:
    choices = field.metadata.get("choices") or ()
    result = _type(hint, choices)
    if parses(field):
        result = {"anyOf": [{"type": ["string", "number"]}, result]}
    if "help" in field.metadata:
        result = {"description": field.metadata["help"], **result}
    if field.default not in (dataclasses.MISSING, None):
        result["default"] = list(field.default) if isinstance(field.default, tuple) else field.default
    return result


def _type(hint: object, choices: typing.Sequence[str]) -> dict[str, Any]:
    base, optional = without_none(hint)
    if typing.get_origin(base) is tuple:
        items, length = tuple_items(base)
        result: dict[str, Any] = {"type": "array", "items": _type(items, choices)}
        if length is not None:
            result |= {"minItems": length, "maxItems": length}
    elif base is str and choices:
        # A word that looks like a number needs no quotes.
        result = {"enum": [*choices, *(int(word) for word in choices if word.isdigit())]}
    else:
        result = {"type": _SIMPLE[base]} if base in _SIMPLE else {}
    return {"anyOf": [result, {"type": "null"}]} if optional else result


def _definitions() -> dict[str, Any]:
    """`defaults`, with the fields of every layer type as Caffe's schema has them."""
    empty = LayerParameter()
    definitions: dict[str, Any] = {}
    types = {}
    for type, rule in sorted(RULES.items()):
        fields = {}
        for name, message in layer_fields(rule).items():
            owner = getattr(empty, message) if message else empty
            fields[name] = _field(owner.DESCRIPTOR.fields_by_name[name], definitions, null=True)
        types[type] = {"type": "object", "properties": fields, "additionalProperties": False}
    definitions["defaults"] = {"type": "object", "properties": types, "additionalProperties": False}
    return definitions


def _field(field: Any, definitions: dict[str, Any], *, null: bool = False) -> dict[str, Any]:
    """A field of a message; a repeated field accepts one value or a list."""
    if field.type == _MESSAGE:
        name = field.message_type.name
        one: dict[str, Any] = {"$ref": f"#/definitions/{name}"}
        if name not in definitions:
            definitions[name] = {}  # messages can be recursive
            inner = {f.name: _field(f, definitions) for f in field.message_type.fields}
            definitions[name] = {"type": "object", "properties": inner, "additionalProperties": False}
    elif field.type == _ENUM:
        one = {"enum": [*field.enum_type.values_by_name, *field.enum_type.values_by_number]}
    else:
        kinds = {"boolean": _BOOL, "string": _TEXT, "number": _REAL}
        one = {"type": next((kind for kind, numbers in kinds.items() if field.type in numbers), "integer")}
    ways = [one]
    if is_repeated(field):
        ways.append({"type": "array", "items": one})
    if null:
        ways.append({"type": "null"})
    return one if len(ways) == 1 else {"anyOf": ways}
