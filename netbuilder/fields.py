"""Python values into the fields of a protobuf message; errors name the field and the nearest match."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netbuilder.errors import FieldError, did_you_mean

__all__ = ["assign", "has_field"]

_ENUM, _MESSAGE = 14, 11  # FieldDescriptor.TYPE_ENUM, TYPE_MESSAGE
_TYPES = {1: "a number", 2: "a number", 3: "an integer", 4: "an integer of at least 0", 5: "an integer"}
_TYPES |= {8: "True or False", 9: "text", 12: "bytes", 13: "an integer of at least 0"}


def has_field(message: Any, name: str) -> bool:
    """Whether the message type has a field of this name."""
    return name in message.DESCRIPTOR.fields_by_name


def assign(message: Any, name: str, value: Any) -> None:
    """Set one field: a scalar, an enum by label, a dict for a message, a list for a repeated field.

    A single value is accepted for a repeated field. Raises FieldError: no such field (with the nearest
    one), a wrong type, an unknown label.
    """
    field = message.DESCRIPTOR.fields_by_name.get(name)
    if field is None:
        raise FieldError(
            f"no field '{name}' in {message.DESCRIPTOR.name}",
            hint=did_you_mean(name, message.DESCRIPTOR.fields_by_name),
        )
    repeated = _is_repeated(field)
    if not repeated and isinstance(value, (list, tuple)):
        raise FieldError(f"{name} takes one value, got {value!r}")
    values = value if isinstance(value, (list, tuple)) else (value,)
    if field.type == _MESSAGE:
        for item in values:
            child = getattr(message, name).add() if repeated else getattr(message, name)
            _assign_message(child, name, item)
        return
    try:
        if field.type == _ENUM:
            values = [_enum_number(field, v) for v in values]
        if repeated:
            getattr(message, name).extend(values)
        else:
            setattr(message, name, values[0])
    except (TypeError, ValueError):
        wanted = "a label" if field.type == _ENUM else _TYPES.get(field.type, "another type")
        raise FieldError(f"{name} must be {wanted}, got {value!r}") from None


def _assign_message(message: Any, name: str, value: Any) -> None:
    if isinstance(value, type(message)):
        message.CopyFrom(value)
        return
    if not isinstance(value, Mapping):
        raise FieldError(f"{name} takes a dict of {message.DESCRIPTOR.name}'s fields, got {value!r}")
    message.SetInParent()
    for key, item in value.items():
        assign(message, key, item)


def _enum_number(field: Any, value: Any) -> int:
    labels = field.enum_type.values_by_name
    if isinstance(value, str):
        if value not in labels:
            raise FieldError(
                f"{field.name} must be one of {', '.join(labels)}, got '{value}'",
                hint=did_you_mean(value, labels),
            )
        return int(labels[value].number)
    if value not in field.enum_type.values_by_number:
        raise FieldError(f"{field.name} must be one of {', '.join(labels)}, got {value!r}")
    return int(value)


def _is_repeated(field: Any) -> bool:
    try:
        return bool(field.is_repeated)
    except AttributeError:  # protobuf before 6
        return bool(field.label == 3)
