"""Assign Python values to the fields of a protobuf message; errors name the field and the nearest match."""

from __future__ import annotations

import marshal
from collections.abc import Hashable, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from netbuilder.errors import FieldError, did_you_mean
from netbuilder.schema.dialects import DIALECTS, FORK, Dialect, homes
from netbuilder.schema.messages import LayerParameter

if TYPE_CHECKING:
    from google.protobuf.message import Message

__all__ = [
    "Unnamed",
    "assign",
    "fill",
    "fork_label",
    "fork_names",
    "has_field",
    "has_label",
    "is_repeated",
    "field_hint",
    "known_fields",
    "refuse_fork",
    "unnamed",
]

_ENUM, _MESSAGE = 14, 11  # FieldDescriptor.TYPE_ENUM, TYPE_MESSAGE
_FORKS = 1  # a result of `_kind`: a fork's field that is neither an enum nor a message
_TYPES = {1: "a number", 2: "a number", 3: "an integer", 4: "an integer of at least 0", 5: "an integer"}
_TYPES |= {8: "True or False", 9: "text", 12: "bytes", 13: "an integer of at least 0"}


def has_field(message: Message, name: str) -> bool:
    """Whether the message type has a field with this name."""
    return name in message.DESCRIPTOR.fields_by_name


# Fields of a layer of Caffe's old format, and what today's has instead.
_OLD = {"blobs_lr": "lr_mult", "weight_decay": "decay_mult", "blob_share_mode": "share_mode"}
_MOST = 3  # messages to name
_WHOLE = ("LayerParameter", "NetParameter", "SolverParameter")


def field_hint(descriptor: Any, name: str, known: Iterable[str]) -> str:
    """How to write a field that a message lacks: where it belongs, or which one was meant; else ""."""
    pool, layer = descriptor.file.message_types_by_name, "LayerParameter"
    if descriptor.name == layer and name in _OLD:
        return f"it is of Caffe's old format: write param {{ {_OLD[name]}: ... }}, once for each blob"
    within = [f.name for f in descriptor.fields if f.message_type and name in f.message_type.fields_by_name]
    within = [field for field in within if field.endswith("_param")]
    if descriptor.name == layer and 0 < len(within) <= _MOST:
        return f"it belongs in {' or '.join(within)}"
    if descriptor.name == layer and within:
        return "it belongs in the parameters of the layer's type, such as convolution_param"
    if descriptor.name.endswith("Parameter") and descriptor.name not in (
        layer,
        "NetParameter",
        "SolverParameter",
    ):
        if name in pool["ParamSpec"].fields_by_name and name != "name":
            return f"it belongs in the layer itself: param {{ {name}: ... }}"
        if name in ("bottom", "top", "include", "exclude", "loss_weight", "phase", "propagate_down"):
            return "it belongs in the layer itself"
    return did_you_mean(name, known)


def known_fields(message: Message, dialect: Dialect | None) -> list[str]:
    """The names of a message type's fields in one dialect, or in any dialect if it is None."""
    descriptor = message.DESCRIPTOR
    return [
        f.name
        for f in descriptor.fields
        if f.number < FORK or dialect is None or f"{descriptor.name}.{f.name}" in dialect.adds
    ]


def fill(
    layer: LayerParameter, own: tuple[str, ...], fields: Mapping[str, object], dialect: Dialect
) -> Hashable:
    """Set a layer's fields: each in the first of its messages `own` that has it, else in the layer itself.

    None leaves a field unset. Returns a key that is equal for equal fields, None if there is none.
    Raises FieldError, also for a field that none of them has.
    """
    if not all(map(_is_plain, fields.values())):
        _fill(layer, own, fields, dialect)
        return None
    key = layer.type, own, marshal.dumps(fields, 2), dialect.name  # type: ignore[arg-type]
    layer.MergeFrom(_filled(*key))
    return key


# The tags of these fields on the wire.
_NAME, _TYPE, _BOTTOM, _TOP = tuple(
    LayerParameter.DESCRIPTOR.fields_by_name[name].number << 3 | 2
    for name in ("name", "type", "bottom", "top")
)
_LONGEST = 127 + 2  # bytes of such a field, so that its size takes one byte


class Unnamed(NamedTuple):
    """A layer's fields as bytes, equal for layers that differ only in names; and its bottoms and tops."""

    fields: bytes
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]


def unnamed(layer: LayerParameter) -> Unnamed | None:
    """The fields of a layer without its names; None if a name is longer than 127 bytes."""
    data = layer.SerializePartialToString() + b"\0\0"  # a tag that ends it
    at, type = 0, b""
    bottoms: list[str] = []
    tops: list[str] = []
    # The first fields on the wire, as they have the lowest numbers; a tag, a size, and the text.
    if data[0] == _NAME:
        at = data[1] + 2
        if at > _LONGEST:
            return None
    if data[at] == _TYPE:
        end = at + 2 + data[at + 1]
        if end - at > _LONGEST:
            return None
        type = data[at:end]
        at = end
    while (tag := data[at]) == _BOTTOM or tag == _TOP:
        end = at + 2 + data[at + 1]
        if end - at > _LONGEST:
            return None
        if tag == _BOTTOM:
            bottoms.append(data[at + 2 : end].decode())
        else:
            tops.append(data[at + 2 : end].decode())
        at = end
    return Unnamed(type + data[at:], tuple(bottoms), tuple(tops))


def _is_plain(value: object) -> bool:
    kind = type(value)
    if kind is dict:
        return all(map(_is_plain, value.values()))  # type: ignore[attr-defined]
    return kind in _PLAIN or (kind in (list, tuple) and all(map(_is_plain, value)))  # type: ignore[call-overload]


_PLAIN = {int, float, bool, str, type(None)}


@lru_cache(maxsize=1024)  # the blocks of a net repeat each other
def _filled(type: str, own: tuple[str, ...], fields: bytes, dialect: str) -> LayerParameter:
    layer = LayerParameter(type=type)
    _fill(layer, own, marshal.loads(fields), DIALECTS[dialect])
    return layer


def _fill(
    layer: LayerParameter, own: tuple[str, ...], fields: Mapping[str, object], dialect: Dialect
) -> None:
    messages = [getattr(layer, name) for name in own]
    for key, value in fields.items():
        if value is None:
            continue
        for target in (*messages, layer):
            if has_field(target, key):
                break
        else:
            known = [f for m in (*messages, layer) for f in known_fields(m, dialect)]
            raise FieldError(f"no field '{key}' in layer type {layer.type}", hint=did_you_mean(key, known))
        assign(target, key, value, dialect)


def assign(message: Message, name: str, value: object, dialect: Dialect | None = None) -> None:
    """Set one field: a scalar, an enum by label, a dict for a message, a list for a repeated field.

    A repeated field also accepts a single value. Raises FieldError for an unknown field (with the nearest
    name), a fork's field that the dialect lacks, a wrong type, and an unknown label.
    """
    field = _field(message.DESCRIPTOR, name)
    if field is None:
        raise FieldError(
            f"no field '{name}' in {message.DESCRIPTOR.name}",
            hint=did_you_mean(name, known_fields(message, dialect)),
        )
    if dialect and field.number >= FORK:
        refuse_fork(f"{message.DESCRIPTOR.name}.{name}", dialect)
    repeated = is_repeated(field)
    if not repeated and isinstance(value, (list, tuple)):
        raise FieldError(f"{name} takes one value, got {value!r}")
    values = value if isinstance(value, (list, tuple)) else (value,)
    if field.type == _MESSAGE:
        for item in values:
            child = getattr(message, name).add() if repeated else getattr(message, name)
            _assign_message(child, name, item, dialect)
        return
    try:
        if field.type == _ENUM:
            values = [_enum_number(field, v, dialect) for v in values]
        if repeated:
            getattr(message, name).extend(values)
        else:
            setattr(message, name, values[0])
    except (TypeError, ValueError):
        wanted = "a label" if field.type == _ENUM else _TYPES.get(field.type, "another type")
        raise FieldError(f"{name} must be {wanted}, got {value!r}") from None


@lru_cache(maxsize=4096)  # descriptors are slow
def _field(descriptor: Any, name: str) -> Any:
    """The descriptor of a field, None if there is none."""
    return descriptor.fields_by_name.get(name)


def fork_names(message: Message) -> list[str]:
    """The forks' fields and labels that a message sets, named as in `Dialect.adds`; `blobs` are skipped."""
    found: list[str] = []
    field: Any
    for field, value in message.ListFields():
        kind = _KINDS.get(field)
        if kind is None:
            kind = _KINDS[field] = _kind(field)
        if not kind:
            continue
        if field.number >= FORK:
            found.append(f"{message.DESCRIPTOR.name}.{field.name}")
        for item in value if is_repeated(field) else (value,):
            if kind == _MESSAGE:
                found += fork_names(item)
            elif kind == _ENUM and item >= FORK:
                found.append(fork_label(field.enum_type.values_by_number[item]))
    return found


# What `fork_names` looks for in a field, 0 if nothing. Cached, since descriptors are slow.
_KINDS: dict[Any, int] = {}


def _kind(field: Any) -> int:
    own = _FORKS if field.number >= FORK else 0
    if field.type == _ENUM and any(value.number >= FORK for value in field.enum_type.values):
        return _ENUM
    if field.type == _MESSAGE and field.name != "blobs":
        return _MESSAGE if own or any(map(_kind, field.message_type.fields)) else 0
    return own


def refuse_fork(name: str, dialect: Dialect) -> None:
    """Raise FieldError if the dialect lacks this fork's field or label."""
    if name not in dialect.adds:
        owner, _, own = name.rpartition(".")
        what = "label" if "." in owner else "field"
        raise FieldError(
            f"dialect {dialect.name} has no {what} {own} in {owner}",
            hint=f"leave it out, or use {homes(lambda d: name in d.adds)}",
        )


def has_label(value: Any, dialect: Dialect | None) -> bool:
    """Whether a dialect has an enum value, or any dialect if it is None."""
    return value.number < FORK or dialect is None or fork_label(value) in dialect.adds


def fork_label(value: Any) -> str:
    """The name of a fork's enum value, `Message.Enum.LABEL`."""
    owner: str = value.type.containing_type.name
    return f"{owner}.{value.type.name}.{value.name}"


def _assign_message(message: Message, name: str, value: object, dialect: Dialect | None) -> None:
    if isinstance(value, type(message)):
        message.CopyFrom(value)
        if dialect:
            for fork in fork_names(value):
                refuse_fork(fork, dialect)
        return
    if not isinstance(value, Mapping):
        raise FieldError(f"{name} takes a dict of {message.DESCRIPTOR.name}'s fields, got {value!r}")
    message.SetInParent()
    for key, item in value.items():
        assign(message, key, item, dialect)


def _enum_number(field: Any, value: object, dialect: Dialect | None) -> int:
    labels = field.enum_type.values_by_name
    known = labels.get(value) if isinstance(value, str) else field.enum_type.values_by_number.get(value)
    if known is None:
        own = [v.name for v in labels.values() if has_label(v, dialect)]
        got = f"'{value}'" if isinstance(value, str) else repr(value)
        raise FieldError(
            f"{field.name} must be one of {', '.join(own)}, got {got}",
            hint=did_you_mean(value, own) if isinstance(value, str) else "",
        )
    if dialect and known.number >= FORK:
        refuse_fork(fork_label(known), dialect)
    return int(known.number)


def is_repeated(field: Any) -> bool:
    """Whether a field, given by its descriptor, is repeated."""
    try:
        return bool(field.is_repeated)
    except AttributeError:  # protobuf before 6
        return bool(field.label == 3)
