"""Text format read into messages: what Caffe's own reader accepts, and nothing else."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from netbuilder.errors import did_you_mean
from netbuilder.prototxt.text_errors import END_OF_FILE, WORD, Open, Reports, match_name, not_prototxt
from netbuilder.prototxt.text_fields import TYPE_STRING, Field, Fields, filled
from netbuilder.prototxt.text_values import ESCAPES, unescape
from netbuilder.prototxt.unknown import keep
from netbuilder.schema.dialects import Dialect
from netbuilder.schema.fields import Unnamed, unnamed

__all__ = ["Parsed", "parse"]

_MAX_DEPTH = 100  # of messages in messages; Caffe's schema needs 8


class Parsed(NamedTuple):
    """A message read from text, and the positions of its parts.

    `locations["layer"][3]` is the (line, column), counted from 1, of the fourth `layer` of a net; every
    repeated message field of the top level has such a list. `unnamed` has each `layer` of a net without its
    names, None where reading did not yield that.
    """

    message: Any
    locations: dict[str, list[tuple[int, int]]]
    unnamed: list[Unnamed | None]


# No part of these matches the same text in two ways, so no file can make the search slow. re keeps state for
# each comment, hence at most a hundred at a time; `skip` continues.
_SKIP = r"\s*(?:#[^\n]*\n\s*){0,100}"
_END = rf"(?:[,;]{_SKIP})?"
# The bulk of every file: name: "text", name: word, name {. _Reader.field handles the rest.
_match_simple = re.compile(
    rf"([A-Za-z_]\w*){_SKIP}(?:"
    rf":{_SKIP}(?:\"([^\"\\\n]*)\"(?!{_SKIP}[\"'#])|(-?{WORD})){_SKIP}{_END}"
    rf"|(?::{_SKIP})?(\{{){_SKIP})",
    re.ASCII,
).match
_match_skip = re.compile(_SKIP, re.ASCII).match
_match_end = re.compile(_END, re.ASCII).match
_match_close = re.compile(rf"[}}>]{_SKIP}{_END}", re.ASCII).match
_match_word = re.compile(WORD, re.ASCII).match
_match_string = re.compile(r"\"((?:[^\"\\\n]|\\[^\n])*)\"|'((?:[^'\\\n]|\\[^\n])*)'").match
_search_bracket = re.compile(r"[\"'#{}<>\[\]\0]").search
_CLOSERS = {"{": "}", "<": ">", "[": "]"}

# How nearly all layers begin: with their names. What follows is the same in many layers of a net.
_TEXT = r"\s*:\s*\"([^\"\\\n]*)\"\s*"
_match_names = re.compile(
    rf"(layers?)\s*(?::\s*)?\{{\s*(?:name{_TEXT})?(?:type\s*:\s*(\"[^\"\\\n]*\"|\w+)\s*)?"
    rf"(?:bottom{_TEXT})?(?:bottom{_TEXT})?(?:top{_TEXT})?",
    re.ASCII,
).match
_MOST_LIKES, _LONGEST_LIKE = 4096, 2048  # in number, and in characters


def parse(
    text: str, message_type: object, *, path: str = "", lenient: bool = False, dialect: Dialect | None = None
) -> Parsed:
    """Read a message of a type from text; `path` is for error texts only.

    `lenient` keeps the text of fields and enum labels that the schema lacks, or the dialect
    (`unknown.kept`). Without a dialect those of all forks are known.
    Raises PrototxtError, with line and column, at the first thing that Caffe's reader would refuse.
    """
    if path.endswith((".yaml", ".yml")):
        raise not_prototxt(text, path)
    return _Reader(text, path, lenient, dialect).read(message_type)


class _Likes(NamedTuple):
    """A layer under way, to be remembered without its names: its kind, and where the other text begins."""

    kind: tuple[str, bool, str | None]  # the field, whether a name was left out, the type
    at: int
    bottoms: int  # before `at`
    tops: int
    kept: int  # how many unknown fields were kept before


class _Reader(Reports):
    """One pass over a text, without recursion; `at` is always an offset where a token begins."""

    def __init__(self, text: str, path: str, lenient: bool, dialect: Dialect | None) -> None:
        super().__init__(text, path)
        self.lenient = lenient
        self.dialect = dialect
        self.starts: dict[str, list[int]] = {}
        # Layers without their names, as messages and as bytes.
        self.likes: dict[tuple[str, bool, str | None, str], tuple[Any, bytes]] = {}
        self.unnamed: list[Unnamed | None] = []
        self.open_layer: _Likes | None = None
        self.kept = 0

    def read(self, message_type: Any) -> Parsed:
        self.refuse_odd_characters()
        message = root = message_type()
        fields = filled(message.DESCRIPTOR, self.dialect)
        self.starts = {f.name: [] for f in fields.values() if f.repeated and f.children is not None}
        self.stack.append(Open(message, fields, None, 0, "", False))
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
                if f.repeated and len(self.stack) == 1 and (next_at := self.repeated_layers(at)) > at:
                    at = next_at
                    continue
                message, fields = self.open(f, at, "}", False)
            else:
                if string is not None:
                    if not f.quoted:
                        self.fail_value(m.start(2) - 1, f)
                    value = string if f.quoted == TYPE_STRING else string.encode()
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
        places = {name: list(self.positions(starts)) for name, starts in self.starts.items()}
        return Parsed(root, places, self.unnamed)

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
        m = match_name(text, at)
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

    def message_value(self, f: Field, start: int, at: int, *, in_list: bool) -> int:
        if self.text[at] not in "{<":
            self.fail_value(at, f)
        self.open(f, start, "}" if self.text[at] == "{" else ">", in_list)
        return self.skip(at + 1)

    def open(self, f: Field, start: int, closer: str, in_list: bool) -> tuple[Any, Fields]:
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
                if f.name == "layer":
                    self.unnamed.append(None)
        else:
            inner = getattr(message, f.name)
            inner.SetInParent()
        self.stack.append(Open(inner, f.children, f, start, closer, in_list))
        return inner, f.children

    def repeated_layers(self, at: int) -> int:
        """Read layers as long as each has the same text as an earlier one, except for its names."""
        text, likes, root = self.text, self.likes, self.stack[0].message
        self.open_layer = None
        while m := _match_names(text, at):
            field, name, type, first, second, top = m.groups()
            rest = m.end()
            like = None
            most = rest + _LONGEST_LIKE
            for end in (text.find("\n}", rest, most) + 2, text.find("}\n", rest, most) + 1):
                like = likes.get((field, name is None, type, text[rest:end]))
                if like is not None:
                    break
            else:
                if text[rest] not in "\"'#":  # a string may continue there
                    given = (first is not None) + (second is not None)
                    kind = field, name is None, type
                    self.open_layer = _Likes(kind, rest, given, int(top is not None), self.kept)
                return at
            layers = getattr(root, field)
            message, fields = like
            layers.append(message)
            layer = layers[-1]
            if name is not None:
                layer.name = name
            bottoms = () if first is None else (first,) if second is None else (first, second)
            if bottoms:
                layer.bottom.extend(bottoms)
            tops = () if top is None else (top,)
            if tops:
                layer.top.append(top)
            if field == "layer":
                self.unnamed.append(Unnamed(fields, bottoms, tops))
            self.starts[field].append(at)
            at = self.end_of_message(end - 1)
        return at

    def remember(self, layer: Any, likes: _Likes, end: int) -> None:
        """Keep a layer without its names, for later ones with the same text."""
        self.open_layer = None
        if end - likes.at > _LONGEST_LIKE or len(self.likes) == _MOST_LIKES or self.kept > likes.kept:
            return
        if len(layer.bottom) > likes.bottoms or len(layer.top) > likes.tops:
            return  # the remaining text has more names, whose order counts
        key = (*likes.kind, self.text[likes.at : end])
        like = type(layer)()
        like.CopyFrom(layer)
        for names in ("bottom", "top", "name")[: 2 if likes.kind[1] else 3]:
            like.ClearField(names)
        alike = unnamed(like)
        if alike is not None:
            self.likes[key] = like, alike.fields

    def end_of_message(self, at: int) -> int:
        at = _match_close(self.text, at).end()  # type: ignore[union-attr]  # a closer stands here
        return at if self.text[at] != "#" else self.end_of_field(at)

    def close(self, at: int) -> int:
        char, (message, fields, f, start, closer, in_list) = self.text[at], self.stack[-1]
        if f is None:
            self.fail(at, f"'{char}' closes nothing: every message is closed already")
        if char != closer:
            self.fail(at, f"expected '{closer}', which closes {self.place()}, found '{char}'")
        if fields.required:
            self.check_required(message, fields, start)
        self.stack.pop()
        if len(self.stack) == 1 and self.open_layer is not None:
            self.remember(message, self.open_layer, at + 1)
        if not in_list:
            return self.end_of_message(at)
        at = self.skip(at + 1)
        if self.text[at] != "]":
            at = self.comma(f, at)
            return self.message_value(f, at, at, in_list=True)
        return self.end_of_field(at + 1)

    def comma(self, f: Field, at: int) -> int:
        if self.text[at] != ",":
            self.fail(at, f"expected ',' or ']' in the list of '{f.name}', found {self.found(at)}")
        return self.skip(at + 1)

    def scalar(self, f: Field, at: int) -> tuple[Any, int]:
        """A value other than a message, and where the next token begins."""
        text, start = self.text, at
        if f.quoted:
            joined = bytearray()
            while text[at] in "\"'":
                content, at = self.string(at)
                joined += content
            if at == start:
                self.fail_value(at, f)
            try:
                return joined.decode() if f.quoted == TYPE_STRING else bytes(joined), at
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
        for e in ESCAPES.finditer(content):
            decoded = unescape(e)
            if decoded is None:
                self.fail(
                    at + 1 + e.start(),
                    f"'{e[0]}' is not an escape sequence",
                    r"a backslash itself is written \\",
                )
            parts += [content[done : e.start()].encode(), decoded]
            done = e.end()
        return b"".join([*parts, content[done:].encode()]), self.skip(m.end())

    # -- what the schema lacks

    def unknown_field(self, at: int, name: str) -> int:
        """Keep a field of a fork unchanged, or refuse it, as a field given twice is."""
        fields = self.stack[-1].fields
        # A field of an enclosing message is not a fork's: a brace is missing. A near miss of a Caffe field is
        # a typo, unless it is a message: forks have names such as roi_pooling_param.
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

    def unknown_label(self, at: int, value_at: int, f: Field) -> int:
        """Keep an enum field with a fork's label, or refuse it."""
        m = match_name(self.text, value_at)
        if not (self.lenient and f.words and m):
            self.fail_value(value_at, f)
        return self.keep(at, m.end())

    def is_label(self, f: Field, at: int) -> bool:
        """Whether a value of an enum is known, or cannot be a label at all."""
        m = match_name(self.text, at)
        return m is None or m[0] in f.words

    def keep(self, at: int, end: int) -> int:
        """Keep a stretch of text in the open message, without the indentation of its first line."""
        text = self.text
        self.kept += 1
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
        """Where the bracket that opens here is closed, whatever is in between."""
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
            elif char == END_OF_FILE:
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
        nul = text.index(END_OF_FILE)
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

    def check_required(self, message: Any, fields: Fields, start: int) -> None:
        missing = [f"'{name}'" for name in fields.required if not message.HasField(name)]
        if missing:
            self.fail(start, f"{fields.message} needs {' and '.join(missing)}")
