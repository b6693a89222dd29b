"""The `defaults` of a config: values for fields of a layer type that the network does not set.

They are checked against Caffe's schema here, so that an error names their line.
"""

from __future__ import annotations

from typing import Any

from netbuilder.config.items import Item, refusal
from netbuilder.errors import FieldError, did_you_mean
from netbuilder.layers import RULES, Rule
from netbuilder.layers.fillers import FILLERS, check_filler_type
from netbuilder.schema import LayerParameter
from netbuilder.schema.fields import assign

__all__ = ["layer_defaults", "layer_fields"]

BOOL = 8  # FieldDescriptor.TYPE_BOOL; the next are TYPE_DOUBLE, _FLOAT, _STRING, _BYTES and _ENUM
WANTED = {BOOL: "true or false", 1: "a number", 2: "a number", 9: "text", 12: "text", 14: "a label"}

# The fields common to all layers that may have a default for a whole type.
COMMON = ("loss_weight", "param", "propagate_down", "transform_param")


def layer_defaults(item: Item) -> dict[str, dict[str, Any]]:
    """The default fields by layer type, for `Net(defaults=...)`; null leaves a field to Caffe.

    Raises ConfigError for an unknown type, field, filler or label, or a value of the wrong type.
    """
    defaults: dict[str, dict[str, Any]] = {}
    for type, fields in _mapping(item, "defaults", "layer types to their fields").items():
        key = f"defaults.{type}"
        if type not in RULES:
            raise refusal(f"unknown layer type '{type}'", fields.place, key, did_you_mean(type, RULES))
        known = layer_fields(RULES[type])
        defaults[type] = {}
        for name, value in _mapping(fields, key, "fields to their values").items():
            if name not in known:
                raise refusal(
                    f"no field '{name}' in layer type {type}", value.place, f"{key}.{name}",
                    did_you_mean(name, known),
                )  # fmt: skip
            if value.value is None:
                defaults[type][name] = None
            else:
                message = LayerParameter()
                owner = message if known[name] == "" else getattr(message, known[name])
                defaults[type][name] = _assigned(owner, name, value, f"{key}.{name}")
    return defaults


def layer_fields(rule: Rule) -> dict[str, str]:
    """The fields that can have a default, each with the field of LayerParameter that holds it, or ""."""
    empty = LayerParameter()
    fields: dict[str, str] = {}
    for message in rule.params:
        for name in getattr(empty, message).DESCRIPTOR.fields_by_name:
            fields.setdefault(name, message)
    return fields | dict.fromkeys(COMMON, "")


def _mapping(item: Item, key: str, what: str) -> dict[str, Item]:
    if not isinstance(item.value, dict):
        raise refusal(f"{key} must be a mapping of {what}, got {item.shown}", item.place, key)
    return item.value


def _assigned(message: Any, name: str, item: Item, key: str) -> Any:
    """The plain value of an item, checked by assigning it to a field of this message."""
    known = message.DESCRIPTOR.fields_by_name
    if name not in known:
        text = f"no field '{name}' in {message.DESCRIPTOR.name}"
        raise refusal(text, item.place, key, did_you_mean(name, known))
    field, value = known[name], item.value
    if isinstance(value, list):
        value = [_assigned(type(message)(), name, one, f"{key}[{i}]") for i, one in enumerate(value)]
    elif field.message_type is not None:
        kind = field.message_type.name
        if not isinstance(value, dict):
            hint = f"write {{type: {value}}}" if kind == "FillerParameter" and value in FILLERS else ""
            text = f"{name} must be a mapping of {kind}'s fields, got {item.shown}"
            raise refusal(text, item.place, key, hint)
        value = {k: _assigned(_child(message, name), k, one, f"{key}.{k}") for k, one in value.items()}
    elif isinstance(value, dict) or value is None or isinstance(value, bool) != (field.type == BOOL):
        # `assign` refuses the rest, but it would accept true as 1.
        text = f"{name} must be {WANTED.get(field.type, 'an integer')}, got {item.shown}"
        raise refusal(text, item.place, key)
    try:
        assign(message, name, value)
        if field.message_type is not None and field.message_type.name == "FillerParameter":
            check_filler_type(getattr(message, name), name)
    except FieldError as error:
        raise refusal(error.text, item.place, key, error.hint) from None
    return value


def _child(message: object, name: str) -> Any:
    """An empty message of the type of a field, which may be repeated."""
    held = getattr(type(message)(), name)
    return held.add() if hasattr(held, "add") else held
