"""The positions of a prototxt's fields in its text, for code that points at them or edits them in place.

`text.parse` must accept the text; it is not checked again here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Span", "spans"]

_SKIP = re.compile(r"(?:\s|#[^\n]*(?:\n|\Z)|[,;])*")
_NAME = re.compile(r"\w+")
# A string, with the whitespace and comments before a string that continues it.
_STRINGS = re.compile(
    r"(?:\"(?:[^\"\\\n]|\\[^\n])*\"|'(?:[^'\\\n]|\\[^\n])*')(?:(?:\s|#[^\n]*\n)*(?=[\"']))?"
)
_WORD = re.compile(r"-?\s*[A-Za-z0-9_.+-]+")
_PAST = r"\"(?:[^\"\\\n]|\\[^\n])*\"|'(?:[^'\\\n]|\\[^\n])*'|#[^\n]*"
_LIST = re.compile(rf"{_PAST}|[\[\]]")
_BLOCK = re.compile(rf"{_PAST}|[{{}}<>\[\]]")
_OPEN, _CLOSE = "{<", "}>"


class Span(NamedTuple):
    """One field: text[start:end] is the field, text[value:end] its value, brackets included.

    `fields` are the fields of a message, None for any other value.
    """

    name: str
    start: int
    value: int
    end: int
    fields: tuple[Span, ...] | None

    def all(self, *path: str) -> Iterator[Span]:
        """The fields at a path of names inside this one."""
        for field in self.fields or ():
            if field.name == path[0]:
                if len(path) == 1:
                    yield field
                else:
                    yield from field.all(*path[1:])

    def find(self, *path: str) -> Span | None:
        """The first field at a path of names inside this one."""
        return next(self.all(*path), None)


def spans(text: str) -> tuple[Span, ...]:
    """The fields of the top level, in order."""
    found, _ = _fields(text, 0)
    return found


def _fields(text: str, at: int) -> tuple[tuple[Span, ...], int]:
    """The fields from here to the closing bracket or the end, and where that is."""
    found: list[Span] = []
    while True:
        at = _skip(text, at)
        if at >= len(text) or text[at] in _CLOSE:
            return tuple(found), at
        start = at
        name = _match(_NAME, text, at)
        at = _skip(text, name.end())
        if text[at] == ":":
            at = _skip(text, at + 1)
        value, inner = at, None
        if text[at] in _OPEN:
            try:
                inner, at = _fields(text, at + 1)
                at += 1
            except (ValueError, IndexError):  # an unknown field, of which only the brackets are checked
                inner, at = (), _end_of_block(text, at)
        elif text[at] == "[":
            at = _end_of_list(text, at)
        elif text[at] in "\"'":
            while at < len(text) and text[at] in "\"'":
                at = _match(_STRINGS, text, at).end()
        else:
            at = _match(_WORD, text, at).end()
        found.append(Span(name[0], start, value, at, inner))


def _skip(text: str, at: int) -> int:
    return _match(_SKIP, text, at).end()


def _end_of_list(text: str, at: int) -> int:
    return _end_of(text, at, _LIST, "[", "]")


def _end_of_block(text: str, at: int) -> int:
    return _end_of(text, at, _BLOCK, "{<[", "}>]")


def _end_of(text: str, at: int, parts: re.Pattern[str], opening: str, closing: str) -> int:
    """Where the bracket at a position is closed, past strings and comments."""
    depth = 0
    for m in parts.finditer(text, at):
        depth += (m[0] in opening) - (m[0] in closing)
        if depth == 0:
            return m.end()
    raise ValueError(f"the bracket at {at} has no end")


def _match(pattern: re.Pattern[str], text: str, at: int) -> re.Match[str]:
    m = pattern.match(text, at)
    if m is None:
        raise ValueError(f"no prototxt at {at}")
    return m
