"""Messages written as text format, in our layout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from netbuilder.prototxt.text_fields import Field, filled
from netbuilder.prototxt.unknown import keeps_any, kept

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from netbuilder.schema import LayerParameter

__all__ = ["format_fields", "format_layer"]

_WIDTH = 120  # of a line, enough for a convolution with its filler
_BLOCKS = ("layer", "layers")  # never on one line, however short


def format_layer(layer: LayerParameter) -> str:
    """A layer as a block of lines, one field each; short messages inside it stay on their line."""
    return f"layer {{\n{format_fields(layer, 1)}}}\n"


def format_fields(message: Message, indent: int = 0) -> str:
    """The set fields of a message as lines, indented by that many levels of two spaces.

    Fields are in the order of their numbers; a layer begins with name, type, bottoms and tops. Equal messages
    always give the same text.
    """
    lines: list[str] = []
    _add_lines(lines, message, "  " * indent, keeps_any(message))
    return "".join(lines)


def _values(message: Message) -> Iterator[tuple[Field, Any]]:
    """The set fields in the order of writing, a repeated one value by value."""
    fields = filled(message.DESCRIPTOR)
    found = [(f.name, value) for f, value in message.ListFields() if f.name in fields]
    if fields.message == "LayerParameter":
        found.sort(key=lambda item: fields.order[item[0]])
    for name, value in found:
        f = fields[name]
        if f.repeated:
            for v in value:
                yield f, v
        else:
            yield f, value


def _add_lines(lines: list[str], message: Message, margin: str, keeps: bool) -> None:
    for f, value in _values(message):
        if f.children is None:
            lines.append(f"{margin}{f.name}: {f.write(value)}\n")
            continue
        inline = None if f.name in _BLOCKS else _inline(value, _WIDTH - len(margin) - len(f.name) - 3, keeps)
        if inline is not None:
            lines.append(f"{margin}{f.name} {inline}\n")
        else:
            lines.append(f"{margin}{f.name} {{\n")
            _add_lines(lines, value, margin + "  ", keeps)
            lines.append(f"{margin}}}\n")
    for text in kept(message) if keeps else ():
        lines += [f"{margin}{line}".rstrip() + "\n" for line in text.split("\n")]


def _inline(message: Message, room: int, keeps: bool) -> str | None:
    """A message in braces on one line, or None if it does not fit."""
    parts = ["{"]
    for f, value in _values(message):
        if f.children is None:
            part = f"{f.name}: {f.write(value)}"
        else:
            inner = _inline(value, room, keeps)
            if inner is None:
                return None
            part = f"{f.name} {inner}"
        parts.append(part)
        room -= len(part) + 1
        if room < 1:
            return None
    for text in kept(message) if keeps else ():
        room -= len(text) + 1
        if room < 1 or "\n" in text:
            return None
        parts.append(text)
    return "{}" if len(parts) == 1 else " ".join([*parts, "}"])
