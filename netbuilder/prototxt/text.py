"""Protobuf text format, read and written for any message of the schema.

`parse` accepts what Caffe's own reader accepts and nothing else, and says of everything it refuses where it
stands, what was expected and what was found; asked to, it keeps fields and enum labels that the schema lacks
as they stand (see `unknown`). Given a dialect, it knows only that one's fields and labels of forks.
`format_fields` and `format_layer` write our layout.
Files, headers and nets are not here: they are built on top of this module, which knows descriptors only.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

from netbuilder.errors import PrototxtError, did_you_mean
from netbuilder.prototxt.unknown import keep, keeps_any, kept
from netbuilder.schema.dialects import FORK, Dialect, homes
from netbuilder.schema.fields import fork_label, has_label

__all__ = ["Parsed", "format_fields", "format_layer", "parse"]

_MAX_DEPTH = 100  # of messages in messages; Caffe's schema needs 8
_WIDTH = 120  # of a line; a convolution with its filler fits

# ---- the schema, prepared for the reader and the writer --------------------------------------------------

_TYPE_DOUBLE, _TYPE_FLOAT, _TYPE_BOOL, _TYPE_STRING, _TYPE_MESSAGE, _TYPE_BYTES, _TYPE_ENUM = (
    1,
    2,
    8,
    9,
    11,
    12,
    14,
)
_REPEATED, _REQUIRED = 3, 2
_INTEGERS = {
    3: (-(2**63), 2**63 - 1),
    4: (0, 2**64 - 1),
    5: (-(2**31), 2**31 - 1),
    13: (0, 2**32 - 1),
}


class _Field(NamedTuple):
    name: str
    repeated: bool
    children: _Fields | None  # of a message
    quoted: int  # _TYPE_STRING, _TYPE_BYTES, or 0 for what stands without quotes
    read: Callable[[str], Any]  # a word of the file as a value; raises ValueError
    write: Callable[[Any], str]
    expected: str  # for error texts
    words: tuple[str, ...]  # of an enum
    enum: Any  # its descriptor


class _Fields(dict[str, _Field]):
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
            read, write, expected = _scalar(f, labels)
            self[f.name] = _Field(
                name=f.name,
                repeated=f.is_repeated if new_api else f.label == _REPEATED,
                children=_fields_of(f.message_type, dialect) if f.type == _TYPE_MESSAGE else None,
                quoted=f.type if f.type in (_TYPE_STRING, _TYPE_BYTES) else 0,
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


_known: dict[tuple[Any, str], _Fields] = {}


def _fields_of(descriptor: Any, dialect: Dialect | None) -> _Fields:
    """The fields of a message type that a dialect has, None having all; not yet filled in."""
    key = descriptor, dialect.name if dialect else ""
    if key not in _known:
        _known[key] = _Fields(descriptor, dialect)
    return _known[key]


def _filled(descriptor: Any, dialect: Dialect | None = None) -> _Fields:
    fields = _fields_of(descriptor, dialect)
    if not fields:
        fields.fill()
    return fields


def _scalar(f: Any, enum: list[Any]) -> tuple[Callable[[str], Any], Callable[[Any], str], str]:
    """How a field's values are read and written, and what they are called."""
    if f.type == _TYPE_BOOL:
        return _read_bool, lambda v: "true" if v else "false", "true or false"
    if f.type == _TYPE_FLOAT:
        return _read_float, _float32_text, "a number"
    if f.type == _TYPE_DOUBLE:
        return _read_float, _float64_text, "a number"
    if f.type == _TYPE_STRING:
        return _read_nothing, _string_text, "a string in quotes"
    if f.type == _TYPE_BYTES:
        return _read_nothing, _bytes_text, "a string in quotes"
    if f.type == _TYPE_MESSAGE:
        return _read_nothing, str, "a message in braces"
    if f.type == _TYPE_ENUM:
        numbers = {v.name: v.number for v in enum}
        labels = {v.number: v.name for v in reversed(enum)}
        words = list(numbers) if len(numbers) <= 8 else [*list(numbers)[:6], "..."]
        return (
            lambda word: _read_enum(word, numbers, labels),
            lambda v: labels.get(v) or str(v),
            "one of " + ", ".join(words),
        )
    low, high = _INTEGERS[f.type]
    return lambda word: _read_integer(word, low, high), str, f"an integer from {low} to {high}"


# ---- words to values -------------------------------------------------------------------------------------

_INTEGER = re.compile(r"(-?)(?:(0[xX][0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*))")
_NUMBER = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?([fF]?)")
_SPECIAL = {sign + word: float(sign + word) for sign in ("", "-") for word in ("inf", "infinity", "nan")}
_BOOLS = {"true": True, "True": True, "t": True, "false": False, "False": False, "f": False}


def _read_nothing(word: str) -> NoReturn:
    """What a bare word is to a string or a message."""
    raise ValueError


def _read_integer(word: str, low: int, high: int) -> int:
    m = _INTEGER.fullmatch(word)
    if m is None or len(word) > 4000 or (low == 0 and m[1]):
        raise ValueError
    value = int(m[1] + m[2], 16) if m[2] else int(m[1] + m[3], 8) if m[3] else int(word)
    if not low <= value <= high:
        raise ValueError
    return value


def _read_float(word: str) -> float:
    m = _NUMBER.fullmatch(word)
    if m is None:
        if word.lower() in _SPECIAL:
            return _SPECIAL[word.lower()]
        raise ValueError
    return float(word[:-1] if m[1] else word)


def _read_bool(word: str) -> bool:
    known = _BOOLS.get(word)
    return bool(_read_integer(word, 0, 1)) if known is None else known


def _read_enum(word: str, numbers: dict[str, int], labels: dict[int, str]) -> int:
    known = numbers.get(word)
    if known is not None:
        return known
    number = _read_integer(word, *_INTEGERS[5])
    if number not in labels:
        raise ValueError
    return number


# ---- reading ---------------------------------------------------------------------------------------------


class Parsed(NamedTuple):
    """A message read from text, and where its parts stand.

    `locations["layer"][3]` is the (line, column), counted from 1, of the fourth `layer` of a net; every
    repeated message field of the top level has such a list.
    """

    message: Any
    locations: dict[str, list[tuple[int, int]]]


# No part of these can match one stretch of text in two ways, so that no file makes the search slow.
# Of comments it takes a hundred at most, as re keeps something for each; `skip` goes on.
_SKIP = r"\s*(?:#[^\n]*\n\s*){0,100}"
_WORD = r"[A-Za-z0-9_.]+(?:(?<=[eE])[+-][0-9]+[fF]?)?"
_END = rf"(?:[,;]{_SKIP})?"
# What files mostly consist of: name: "text", name: word, name {. The rest is left to _Reader.field.
_match_simple = re.compile(
    rf"([A-Za-z_]\w*){_SKIP}(?:"
    rf":{_SKIP}(?:\"([^\"\\\n]*)\"(?!{_SKIP}[\"'#])|(-?{_WORD})){_SKIP}{_END}"
    rf"|(?::{_SKIP})?(\{{){_SKIP})",
    re.ASCII,
).match
_match_skip = re.compile(_SKIP, re.ASCII).match
_match_end = re.compile(_END, re.ASCII).match
_match_close = re.compile(rf"[}}>]{_SKIP}{_END}", re.ASCII).match
_match_name = re.compile(r"[A-Za-z_]\w*", re.ASCII).match
_match_word = re.compile(_WORD, re.ASCII).match
_match_string = re.compile(r"\"((?:[^\"\\\n]|\\[^\n])*)\"|'((?:[^'\\\n]|\\[^\n])*)'").match
_search_bracket = re.compile(r"[\"'#{}<>\[\]\0]").search
_match_token = re.compile(rf"-?{_WORD}|\"[^\"\n]*\"?|'[^'\n]*'?|\w+|.", re.DOTALL).match
_END_OF_FILE = "\0"
_CLOSERS = {"{": "}", "<": ">", "[": "]"}


def parse(
    text: str, message_type: Any, *, path: str = "", lenient: bool = False, dialect: Dialect | None = None
) -> Parsed:
    """Read a message of a type from text; `path` is for error texts only.

    `lenient` keeps the text of fields and enum labels that the schema lacks, or the dialect
    (`unknown.kept`). Without a dialect those of all forks are known.
    Raises PrototxtError, with line and column, at the first thing that Caffe's reader would refuse.
    """
    return _Reader(text, path, lenient, dialect).read(message_type)


class _Open(NamedTuple):
    """A message that is being read."""

    message: Any
    fields: _Fields
    field: _Field | None  # that it is a value of; None at the top level
    start: int
    closer: str
    in_list: bool  # of the form name: [{...}, {...}]


class _Reader:
    """One pass over a text, without recursion; `at` is always an offset where a token begins."""

    def __init__(self, text: str, path: str, lenient: bool, dialect: Dialect | None) -> None:
        self.lenient = lenient
        self.dialect = dialect
        self.text = f"{text}\n{_END_OF_FILE}"  # the line end lets a last comment end like any other
        self.path = path
        self.stack: list[_Open] = []
        self.starts: dict[str, list[int]] = {}

    def read(self, message_type: Any) -> Parsed:
        self.refuse_odd_characters()
        message = root = message_type()
        fields = _filled(message.DESCRIPTOR, self.dialect)
        self.starts = {f.name: [] for f in fields.values() if f.repeated and f.children is not None}
        self.stack.append(_Open(message, fields, None, 0, "", False))
        text, simple, end = self.text, _match_simple, len(self.text) - 1
        at = self.skip(0)
        while at < end:
            m = simple(text, at)
            if m is None:
                if text[at] == "#":  # the match before took as many comments as it can
                    at = self.skip(at)
                    continue
                at = self.close(at) if text[at] in "}>" else self.field(at)
                message, fields = self.stack[-1][:2]
                continue
            name, string, word, brace = m.groups()
            f = fields.get(name)
            if f is None or (not f.repeated and message.HasField(name)):
                at = self.unknown_field(at, name)
                continue
            if brace:
                if f.children is None:
                    self.fail_value(m.start(4), f)
                message, fields = self.open(f, at, "}", False)
            else:
                if string is not None:
                    if not f.quoted:
                        self.fail_value(m.start(2) - 1, f)
                    value = string if f.quoted == _TYPE_STRING else string.encode()
                else:
                    try:
                        value = f.read(word)
                    except ValueError:
                        at = self.unknown_label(at, m.start(3), f)
                        continue
                if f.repeated:
                    getattr(message, name).append(value)
                else:
                    setattr(message, name, value)
            at = m.end()
        self.check_closed()
        return Parsed(root, {name: list(self.positions(starts)) for name, starts in self.starts.items()})

    # -- the parts of the grammar; each returns where the next token begins

    def skip(self, at: int) -> int:
        at = _match_skip(self.text, at).end()  # type: ignore[union-attr]  # matches the empty text too
        while self.text[at] == "#":
            at = _match_skip(self.text, at).end()  # type: ignore[union-attr]
        return at

    def end_of_field(self, at: int) -> int:
        at = _match_end(self.text, self.skip(at)).end()  # type: ignore[union-attr]  # likewise
        return self.skip(at) if self.text[at] == "#" else at

    def field(self, at: int) -> int:
        """A field in any spelling."""
        text, message = self.text, self.stack[-1].message
        m = _match_name(text, at)
        if m is None:
            self.fail(at, f"expected {self.expected_between()}, found {self.found(at)}")
        f = self.stack[-1].fields.get(m[0])
        if f is None or (not f.repeated and message.HasField(f.name)):
            return self.unknown_field(at, m[0])
        value_at = self.skip(m.end())
        if text[value_at] == ":":
            value_at = self.skip(value_at + 1)
        elif f.children is None:
            self.fail(value_at, f"expected ':' after '{f.name}', found {self.found(value_at)}")
        if text[value_at] == "[" and f.repeated:
            value_at = self.skip(value_at + 1)
            if text[value_at] == "]":
                return self.end_of_field(value_at + 1)
            if f.children is not None:
                return self.message_value(f, value_at, value_at, in_list=True)
            values = getattr(message, f.name)
            while True:
                value, value_at = self.scalar(f, value_at)
                values.append(value)
                if text[value_at] == "]":
                    return self.end_of_field(value_at + 1)
                value_at = self.comma(f, value_at)
        if f.children is not None:
            return self.message_value(f, at, value_at, in_list=False)
        if f.words and self.lenient and not self.is_label(f, value_at):
            return self.unknown_label(at, value_at, f)
        value, value_at = self.scalar(f, value_at)
        if f.repeated:
            getattr(message, f.name).append(value)
        else:
            setattr(message, f.name, value)
        return self.end_of_field(value_at)

    def message_value(self, f: _Field, start: int, at: int, *, in_list: bool) -> int:
        if self.text[at] not in "{<":
            self.fail_value(at, f)
        self.open(f, start, "}" if self.text[at] == "{" else ">", in_list)
        return self.skip(at + 1)

    def open(self, f: _Field, start: int, closer: str, in_list: bool) -> tuple[Any, _Fields]:
        message = self.stack[-1].message
        assert f.children is not None
        if not f.children:
            f.children.fill()
        if len(self.stack) > _MAX_DEPTH:
            self.fail(start, f"messages are nested more than {_MAX_DEPTH} deep")
        if f.repeated:
            inner = getattr(message, f.name).add()
            if len(self.stack) == 1:
                self.starts[f.name].append(start)
        else:
            inner = getattr(message, f.name)
            inner.SetInParent()
        self.stack.append(_Open(inner, f.children, f, start, closer, in_list))
        return inner, f.children

    def close(self, at: int) -> int:
        char, (message, fields, f, start, closer, in_list) = self.text[at], self.stack[-1]
        if f is None:
            self.fail(at, f"'{char}' closes nothing: every message is closed already")
        if char != closer:
            self.fail(at, f"expected '{closer}', which closes {self.place()}, found '{char}'")
        if fields.required:
            self.check_required(message, fields, start)
        self.stack.pop()
        if not in_list:
            at = _match_close(self.text, at).end()  # type: ignore[union-attr]  # a closer stands here
            return at if self.text[at] != "#" else self.end_of_field(at)
        at = self.skip(at + 1)
        if self.text[at] != "]":
            at = self.comma(f, at)
            return self.message_value(f, at, at, in_list=True)
        return self.end_of_field(at + 1)

    def comma(self, f: _Field, at: int) -> int:
        if self.text[at] != ",":
            self.fail(at, f"expected ',' or ']' in the list of '{f.name}', found {self.found(at)}")
        return self.skip(at + 1)

    def scalar(self, f: _Field, at: int) -> tuple[Any, int]:
        """A value that is no message, and where the next token begins."""
        text, start = self.text, at
        if f.quoted:
            joined = bytearray()
            while text[at] in "\"'":
                content, at = self.string(at)
                joined += content
            if at == start:
                self.fail_value(at, f)
            try:
                return joined.decode() if f.quoted == _TYPE_STRING else bytes(joined), at
            except UnicodeDecodeError:
                self.fail(start, f"'{f.name}' takes text, and the bytes given here are not UTF-8")
        sign = text[at] == "-"
        if sign:
            at = self.skip(at + 1)
        m = _match_word(text, at)
        try:
            if m is None:
                raise ValueError
            return f.read(f"-{m[0]}" if sign else m[0]), self.skip(m.end())
        except ValueError:
            self.fail_value(start, f)

    def string(self, at: int) -> tuple[bytes, int]:
        m = _match_string(self.text, at)
        if m is None:
            self.fail(at, "the string that begins here has no closing quote on its line")
        content = m[m.lastindex or 0]
        if "\\" not in content:
            return content.encode(), self.skip(m.end())
        parts, done = [], 0
        for e in _ESCAPES.finditer(content):
            decoded = _unescape(e)
            if decoded is None:
                self.fail(
                    at + 1 + e.start(), f"'{e[0]}' is no escape sequence", r"a backslash itself is written \\"
                )
            parts += [content[done : e.start()].encode(), decoded]
            done = e.end()
        return b"".join([*parts, content[done:].encode()]), self.skip(m.end())

    # -- what the schema lacks

    def unknown_field(self, at: int, name: str) -> int:
        """Keep a field of a fork as it stands, or refuse it, as one that is given twice."""
        fields = self.stack[-1].fields
        # A field of the message around it is no fork's: there, a brace is missing. Nor is a near miss of one
        # of Caffe's, unless it is a message: forks call theirs roi_pooling_param and the like.
        misspelt = (
            not name.endswith("_param")
            and name not in fields.descriptor.fields_by_name
            and bool(did_you_mean(name, fields, cutoff=0.85))
        )
        if not self.lenient or name in fields or misspelt or any(name in o.fields for o in self.stack[:-1]):
            self.fail_name(at, name)
        value_at = self.skip(at + len(name))
        colon = self.text[value_at] == ":"
        if colon:
            value_at = self.skip(value_at + 1)
        if self.text[value_at] in _CLOSERS:
            end = self.brackets(value_at)
        elif not colon:
            self.fail(value_at, f"expected ':' after {self.found(at)!r}, found {self.found(value_at)}")
        else:
            end = self.bare_value(value_at, name)
        return self.keep(at, end)

    def unknown_label(self, at: int, value_at: int, f: _Field) -> int:
        """Keep an enum field of a fork's label, or refuse it."""
        m = _match_name(self.text, value_at)
        if not (self.lenient and f.words and m):
            self.fail_value(value_at, f)
        return self.keep(at, m.end())

    def is_label(self, f: _Field, at: int) -> bool:
        """Whether a value of an enum is known, or so wrong that it is nobody's label."""
        m = _match_name(self.text, at)
        return m is None or m[0] in f.words

    def keep(self, at: int, end: int) -> int:
        """Keep a stretch of text in the open message, without the indentation of its first line."""
        text = self.text
        line = text[text.rfind("\n", 0, at) + 1 : at]
        margin = len(line) - len(line.lstrip())
        first, *others = text[at:end].split("\n")
        lines = [first.rstrip(), *(o[:margin].lstrip() + o[margin:].rstrip() for o in others)]
        keep(self.stack[-1].message, "\n".join(lines))
        return self.end_of_field(end)

    def bare_value(self, at: int, name: str) -> int:
        """Where a value without brackets ends."""
        if self.text[at] in "\"'":
            while self.text[at] in "\"'":
                m = _match_string(self.text, at)
                if m is None:
                    self.fail(at, "the string that begins here has no closing quote on its line")
                end, at = m.end(), self.skip(m.end())
            return end
        m = _match_word(self.text, self.skip(at + 1) if self.text[at] == "-" else at)
        if m is None:
            self.fail(at, f"expected a value for '{name[:60]}', found {self.found(at)}")
        return m.end()

    def brackets(self, at: int) -> int:
        """Where the bracket that opens here is closed, whatever stands in between."""
        text, opened = self.text, []
        while True:
            m = _search_bracket(text, at)
            assert m is not None  # the end of the file, at the latest
            char, at = m[0], m.end()
            if char in _CLOSERS:
                opened.append(m.start())
                if len(self.stack) + len(opened) > _MAX_DEPTH:
                    self.fail(m.start(), f"messages are nested more than {_MAX_DEPTH} deep")
            elif char in "\"'":
                string = _match_string(text, m.start())
                if string is None:
                    self.fail(m.start(), "the string that begins here has no closing quote on its line")
                at = string.end()
            elif char == "#":
                at = text.index("\n", at)
            elif char == _END_OF_FILE:
                self.fail(opened[-1], f"'{text[opened[-1]]}' is opened here and never closed")
            else:
                closer = _CLOSERS[text[opened.pop()]]
                if char != closer:
                    self.fail(m.start(), f"expected '{closer}', found '{char}'")
                if not opened:
                    return at

    # -- checks

    def refuse_odd_characters(self) -> None:
        text = self.text
        nul = text.index(_END_OF_FILE)
        if nul < len(text) - 1:
            self.fail(nul, "a NUL byte cannot stand in a prototxt", "is this a binary file, or UTF-16?")
        if text.startswith("\ufeff"):
            self.fail(
                0, "the file begins with a byte order mark, which Caffe refuses", "save it without the mark"
            )
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as e:
                self.fail(e.start, "this character cannot be written as UTF-8")

    def check_closed(self) -> None:
        message, fields, f, start, closer, _ = self.stack[-1]
        if f is not None:
            self.fail(
                start,
                f"'{f.name}' is opened here and never closed: expected '{closer}' before the end of the file",
            )
        self.check_required(message, fields, start)

    def check_required(self, message: Any, fields: _Fields, start: int) -> None:
        missing = [f"'{name}'" for name in fields.required if not message.HasField(name)]
        if missing:
            self.fail(start, f"{fields.message} needs {' and '.join(missing)}")

    # -- error texts

    def positions(self, offsets: list[int]) -> Iterator[tuple[int, int]]:
        """Line and column, from 1, of ascending offsets."""
        text, line, done = self.text, 1, 0
        for at in offsets:
            line += text.count("\n", done, at)
            done = at
            yield line, at - text.rfind("\n", 0, at)

    def fail(self, at: int, what: str, hint: str = "") -> NoReturn:
        ((line, column),) = self.positions([min(at, len(self.text) - 2)])  # not beyond the given text
        raise PrototxtError(what, path=self.path, line=line, column=column, hint=hint) from None

    def fail_name(self, at: int, name: str) -> NoReturn:
        """Refuse a field that is unknown, or given twice."""
        fields = self.stack[-1].fields
        if name in fields:
            self.fail(at, f"'{name}' is given a second time in {self.place()}, which takes it once")
        hint = did_you_mean(name, fields)
        if name in fields.descriptor.fields_by_name:
            hint = _where(f"{fields.message}.{name}")
        if any(name in outer.fields for outer in self.stack[:-1]):
            hint = f"is a '{self.stack[-1].closer}' missing? {self.place()} is still open"
        self.fail(at, f"{fields.message} has no field {self.found(at)!r}", hint)

    def fail_value(self, at: int, f: _Field) -> NoReturn:
        """Refuse a value that does not suit its field."""
        found = self.found(at)
        bare = found.strip("\"'")
        hint = ""
        if f.quoted and found == bare and _match_name(found) and at < len(self.text) - 2:
            hint = f'put it in quotes: {f.name}: "{found}"'
        elif f.words and bare not in f.words and bare in f.enum.values_by_name:
            hint = _where(fork_label(f.enum.values_by_name[bare]))
        elif f.words:
            hint = (
                f"write it without quotes: {f.name}: {bare}"
                if bare in f.words
                else did_you_mean(bare, f.words)
            )
        elif found != bare and not f.quoted and f.children is None and _reads(f, bare):
            hint = f"write it without quotes: {f.name}: {bare}"
        self.fail(at, f"'{f.name}' takes {f.expected}, found {found}", hint)

    def found(self, at: int) -> str:
        """What stands at a place, as error texts name it."""
        if at >= len(self.text) - 1:
            return "the end of the file"
        m = _match_token(self.text, at)
        assert m is not None
        token = m[0] if len(m[0]) <= 60 else m[0][:57] + "..."
        return token if token[0] in "\"'" or token[0].isalnum() or len(token) > 1 else f"'{token}'"

    def place(self) -> str:
        """The message that is open."""
        _, fields, f, start, _, _ = self.stack[-1]
        if f is None:
            return fields.message
        ((line, _column),) = self.positions([start])
        return f"'{f.name}' of line {line}"

    def expected_between(self) -> str:
        closer = self.stack[-1].closer
        return f"a field name or '{closer}'" if closer else "a field name"


_ESCAPES = re.compile(r"(?:\\u[0-9a-fA-F]{4})+|\\(?:U[0-9a-fA-F]{8}|[0-7]{1,3}|x[0-9a-fA-F]{1,2}|[^\n])")
_LETTERS = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, "?": 63, "'": 39, '"': 34}


def _unescape(e: re.Match[str]) -> bytes | None:
    """The bytes of an escape sequence, or None if there is no such sequence."""
    body = e[0][1:]
    if body in _LETTERS:
        return bytes((_LETTERS[body],))
    if body[0] in "01234567":
        return bytes((int(body, 8) & 255,))
    if len(body) == 1:
        return None
    if body[0] == "x":
        return bytes((int(body[1:], 16),))
    if body[0] == "U":
        code = int(body[1:], 16)
        return chr(code).encode("utf-8", "surrogatepass") if code <= 0x10FFFF else None
    units = b"".join(
        int(unit, 16).to_bytes(2, "little") for unit in body.split("\\u") for unit in [unit.lstrip("u")]
    )
    return units.decode("utf-16-le", "surrogatepass").encode("utf-8", "surrogatepass")


def _where(name: str) -> str:
    """Which dialects have a fork's field or label."""
    return f"dialects that have it: {homes(lambda d: name in d.adds)}"


def _reads(f: _Field, word: str) -> bool:
    try:
        f.read(word)
    except ValueError:
        return False
    return True


# ---- writing ---------------------------------------------------------------------------------------------


def format_layer(layer: Any) -> str:
    """A layer as a block of lines, one field each; short messages inside it stay on their line."""
    return f"layer {{\n{format_fields(layer, 1)}}}\n"


def format_fields(message: Any, indent: int = 0) -> str:
    """The set fields of a message as lines, indented by that many levels of two spaces.

    Fields follow their numbers; a layer begins with name, type, bottoms and tops. The same message gives the
    same text always.
    """
    lines: list[str] = []
    _add_lines(lines, message, "  " * indent, keeps_any(message))
    return "".join(lines)


def _values(message: Any) -> Iterator[tuple[_Field, Any]]:
    """The set fields in the order of writing, a repeated one value by value."""
    fields = _filled(message.DESCRIPTOR)
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


def _add_lines(lines: list[str], message: Any, margin: str, keeps: bool) -> None:
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


_BLOCKS = ("layer", "layers")  # never on one line, however short


def _inline(message: Any, room: int, keeps: bool) -> str | None:
    """A message in braces on one line, or None where it would not fit."""
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


@lru_cache(maxsize=4096)
def _short_float32(value: float) -> str:
    """The shortest decimal that is read back as this float32."""
    if value.is_integer() and abs(value) < 1e7:
        return str(int(value))
    bits = struct.pack("<f", value)
    for digits in range(1, 9):
        text = f"{value:.{digits}g}"
        try:
            if struct.pack("<f", float(text)) == bits:
                return text
        except OverflowError:  # rounded up beyond the largest float32
            continue
    return f"{value:.9g}"


def _float32_text(value: float) -> str:
    if value == 0 or not math.isfinite(value):  # -0 and 0 would share a place in the cache
        return _float64_text(value)
    return _short_float32(value)


def _float64_text(value: float) -> str:
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    return repr(value).removesuffix(".0")


_SHORT_ESCAPES = {'"': r"\"", "\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"}


def _string_text(value: str) -> str:
    """A string in quotes; what cannot be printed is escaped, byte by byte."""
    if value.isprintable() and '"' not in value and "\\" not in value:
        return f'"{value}"'
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else _escape(c) for c in value) + '"'


def _escape(char: str) -> str:
    return _SHORT_ESCAPES.get(char) or "".join(f"\\{byte:03o}" for byte in char.encode())


def _bytes_text(value: bytes) -> str:
    return '"' + "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else _octal(b) for b in value) + '"'


def _octal(byte: int) -> str:
    return _SHORT_ESCAPES.get(chr(byte)) or f"\\{byte:03o}"
