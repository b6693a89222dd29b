"""The errors of the text format reader: the position, what it expected and what it found."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from netbuilder.errors import PrototxtError, did_you_mean
from netbuilder.prototxt.text_fields import Field, Fields
from netbuilder.schema.dialects import homes
from netbuilder.schema.fields import field_hint, fork_label

if TYPE_CHECKING:
    from google.protobuf.message import Message

__all__ = ["END_OF_FILE", "WORD", "Open", "Reports", "match_name", "not_prototxt"]

END_OF_FILE = "\0"
WORD = r"[A-Za-z0-9_.]+(?:(?<=[eE])[+-][0-9]+[fF]?)?"
match_name = re.compile(r"[A-Za-z_]\w*", re.ASCII).match
_match_token = re.compile(rf"-?{WORD}|\"[^\"\n]*\"?|'[^'\n]*'?|\w+|.", re.DOTALL).match


# The first key of these in a YAML file says what it is.
_YAML = (
    ("axes", "the file of a sweep", "netbuilder sweep {0} -o FOLDER counts its nets"),
    ("network|base", "a config", "netbuilder build {0} -o FOLDER writes its prototxt files, and counts them"),
    ("base_lr|rates|epochs", "the recipe of a solver", "netbuilder solver {0} --net FILE writes the solver"),
)


def not_prototxt(text: str, path: str) -> PrototxtError:
    """The error for a YAML file that was given as a prototxt."""
    for keys, what, hint in _YAML:
        if re.search(rf"^(?:{keys})\s*:", text, re.MULTILINE):
            return PrototxtError(f"this is {what} in YAML, not a prototxt", path=path, hint=hint.format(path))
    return PrototxtError("this is YAML by its name, not a prototxt", path=path, hint="rename it if it is one")


class Open(NamedTuple):
    """A message that is being read."""

    message: Message
    fields: Fields
    field: Field | None  # whose value it is; None at the top level
    start: int
    closer: str
    in_list: bool  # of the form name: [{...}, {...}]


class Reports:
    """A text that is being read, and the errors about positions in it."""

    def __init__(self, text: str, path: str) -> None:
        self.text = f"{text}\n{END_OF_FILE}"  # the line end lets a last comment end like any other
        self.path = path
        self.stack: list[Open] = []

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
        """Refuse a field that is unknown or given twice."""
        fields = self.stack[-1].fields
        if name in fields:
            self.fail(at, f"'{name}' is given a second time in {self.place()}, which takes it once")
        hint = field_hint(fields.descriptor, name, fields)
        if name in fields.descriptor.fields_by_name:
            hint = _where(f"{fields.message}.{name}")
        if any(name in outer.fields for outer in self.stack[:-1]):
            hint = f"is a '{self.stack[-1].closer}' missing? {self.place()} is still open"
        self.fail(at, f"{fields.message} has no field {self.found(at)!r}", hint)

    def fail_value(self, at: int, f: Field) -> NoReturn:
        """Refuse a value that does not suit its field."""
        found = self.found(at)
        bare = found.strip("\"'")
        hint = ""
        if f.quoted and found == bare and match_name(found) and at < len(self.text) - 2:
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
        """The token at an offset, as error texts name it."""
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


def _where(name: str) -> str:
    """Which dialects have a fork's field or label."""
    return f"dialects that have it: {homes(lambda d: name in d.adds)}"


def _reads(f: Field, word: str) -> bool:
    try:
        f.read(word)
    except ValueError:
        return False
    return True
