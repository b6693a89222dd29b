"""The message types of the schema, prepared for the reader and the writer of text format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from netbuilder.prototxt.text_values import (
    INTEGERS,
    bool_text,
    bytes_text,
    float32_text,
    float64_text,
    read_bool,
    read_enum,
    read_float,
    read_integer,
    read_nothing,
    string_text,
)
from netbuilder.schema.dialects import FORK, Dialect
from netbuilder.schema.fields import has_label

__all__ = ["TYPE_BYTES", "TYPE_STRING", "Field", "Fields", "filled"]

# Protobuf's numbers of types and labels.
_TYPE_DOUBLE, _TYPE_FLOAT, _TYPE_BOOL = 1, 2, 8
TYPE_STRING, _TYPE_MESSAGE, TYPE_BYTES, _TYPE_ENUM = 9, 11, 12, 14
_REPEATED, _REQUIRED = 3, 2


class Field(NamedTuple):
    """A field as text format needs to know it."""

    name: str
    repeated: bool
    children: Fields | None  # of a message
    quoted: int  # TYPE_STRING, TYPE_BYTES, or 0 for values without quotes
    read: Callable[[str], Any]  # a word of the file as a value; raises ValueError
    write: Callable[[Any], str]
    expected: str  # for error texts
    words: tuple[str, ...]  # of an enum
    enum: Any  # its descriptor


class Fields(dict[str, Field]):
    """The fields of one message type by name. They are filled in when the first such message is met."""

    def __init__(self, descriptor: Any, dialect: Dialect | None) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.dialect = dialect
        self.message: str = descriptor.name
        self.required: list[str] = []
        self.order: dict[str, int] = {}  # in which the fields are written

    def fill(self) -> None:
        dialect = self.dialect
        for f in sorted(self.descriptor.fields, key=lambda f: f.number):
            if f.number >= FORK and dialect and f"{self.message}.{f.name}" not in dialect.adds:
                continue
            new_api = hasattr(f, "is_repeated")  # of protobuf 6.31; the label is gone from 7
            if f.is_required if new_api else f.label == _REQUIRED:
                self.required.append(f.name)
            labels = [v for v in f.enum_type.values if has_label(v, dialect)] if f.type == _TYPE_ENUM else []
            named = labels if dialect else [v for v in labels if v.number < FORK] or labels
            read, write, expected = _scalar(f, labels, named)
            self[f.name] = Field(
                name=f.name,
                repeated=f.is_repeated if new_api else f.label == _REPEATED,
                children=_fields_of(f.message_type, dialect) if f.type == _TYPE_MESSAGE else None,
                quoted=f.type if f.type in (TYPE_STRING, TYPE_BYTES) else 0,
                read=read,
                write=write,
                expected=expected,
                words=tuple(v.name for v in labels),
                enum=f.enum_type,
            )
        names = list(self)
        if self.message == "LayerParameter":  # people look for the wiring right after the name
            names = ["name", "type", "bottom", "top"] + [
                n for n in names if n not in ("name", "type", "bottom", "top")
            ]
        self.order = {n: i for i, n in enumerate(names)}


_known: dict[tuple[Any, str], Fields] = {}


def _fields_of(descriptor: object, dialect: Dialect | None) -> Fields:
    """The fields of a message type that a dialect has, None having all; not yet filled in."""
    key = descriptor, dialect.name if dialect else ""
    if key not in _known:
        _known[key] = Fields(descriptor, dialect)
    return _known[key]


def filled(descriptor: object, dialect: Dialect | None = None) -> Fields:
    fields = _fields_of(descriptor, dialect)
    if not fields:
        fields.fill()
    return fields


def _scalar(
    f: Any, enum: list[Any], named: list[Any]
) -> tuple[Callable[[str], Any], Callable[[Any], str], str]:
    """How a field's values are read and written, and what they are called; `named` are the labels to name."""
    if f.type == _TYPE_BOOL:
        return read_bool, bool_text, "true or false"
    if f.type == _TYPE_FLOAT:
        return read_float, float32_text, "a number"
    if f.type == _TYPE_DOUBLE:
        return read_float, float64_text, "a number"
    if f.type == TYPE_STRING:
        return read_nothing, string_text, "a string in quotes"
    if f.type == TYPE_BYTES:
        return read_nothing, bytes_text, "a string in quotes"
    if f.type == _TYPE_MESSAGE:
        return read_nothing, str, "a message in braces"
    if f.type == _TYPE_ENUM:
        numbers = {v.name: v.number for v in enum}
        labels = {v.number: v.name for v in reversed(enum)}
        words = [v.name for v in named]
        words = words if len(words) <= 8 else [*words[:6], "..."]
        return (
            lambda word: read_enum(word, numbers, labels),
            lambda v: labels.get(v) or str(v),
            "one of " + ", ".join(words),
        )
    low, high = INTEGERS[f.type]
    return lambda word: read_integer(word, low, high), str, f"an integer from {low} to {high}"
