"""Solver files: recognised by their fields, read field by field, with the nets that they give.

One field that Caffe would refuse (a fork's, or `device_id: [0, 1]`) does not hide the others: `parse_solver`
reads what it can and keeps the errors. A solver names its nets by file, or holds them (`net_param`); each has
a phase, and the state that `train_state` or `test_state` gives it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from netbuilder.errors import PrototxtError
from netbuilder.prototxt.spans import Span, spans
from netbuilder.prototxt.text_read import parse as parse_text
from netbuilder.prototxt.text_write import format_fields
from netbuilder.schema import NetParameter, SolverParameter
from netbuilder.schema.fields import is_repeated
from netbuilder.storage.files import read_text

if TYPE_CHECKING:
    from netbuilder.schema.messages import NetState

__all__ = ["INLINE", "SolverFile", "SolverNet", "is_solver", "parse_solver", "require_solver", "top_names"]

INLINE = ("net_param", "train_net_param", "test_net_param")
# One of these is in every solver that Caffe takes; nets have them in strings and comments at most.
_LIKELY = [
    re.compile(rf"{name}\s*[:{{<]") for name in ("net", "net_param", "base_lr", "lr_policy", "max_iter")
]
_TOKEN = re.compile(
    r"#[^\n]*|\"(?:[^\"\\\n]|\\[^\n])*\"?|'(?:[^'\\\n]|\\[^\n])*'?|[{}<>\[\]]"
    r"|\b(?P<name>[A-Za-z_]\w*)\b(?=\s*[:{<])"
)


# How a prototxt begins, after empty lines and comments: a field of a net, or nothing.
_FIELD = re.compile(
    r"\ufeff?(?:\s|#[^\n]*(?:\n|\Z))*"
    rf"(?:\Z|(?:{'|'.join(NetParameter.DESCRIPTOR.fields_by_name)})\s*[:{{<\[])"
)


class SolverNet(NamedTuple):
    """A net and the state to read it in; `field` of a solver gives it, "" if it is a file of its own.

    `path` is its file, the solver's own if it is inline. `text` is its text if that has been read already; an
    inline net has the lines and columns of the solver file. A `level` of None leaves the level to the net's
    own `state`. `number` counts the nets of a phase from 0, `passes` is the `test_iter` of a net. `used` is
    true if the solver makes the net: its `net` can be read for TEST even if it tests nothing.
    """

    field: str
    phase: str
    path: Path
    text: str | None
    level: int | None
    stages: tuple[str, ...]
    number: int = 0
    passes: int = 0
    used: bool = False

    @property
    def inline(self) -> str:
        """The field of the solver that holds the net, "" if it is in a file of its own."""
        return self.field if self.field in INLINE else ""

    @property
    def where(self) -> str:
        """The file and, of an inline net, the field."""
        return f"{self.path}, {self.field}" if self.inline else str(self.path)

    def read_text(self) -> str:
        """The text of the net. Raises FileError, and PrototxtError if a solver names a file of another kind.

        Errors quote the text of a net; a solver by a stranger may name any file.
        """
        if self.text is not None:
            return self.text
        text = read_text(self.path)
        if self.field and not _FIELD.match(text):
            raise PrototxtError(
                f"the solver names '{self.path}' as a net, which is no prototxt", hint=f"correct {self.field}"
            )
        return text

    def own_level(self) -> int:
        """The level, where Caffe takes it as a number: that of the net's own `state` if none is given."""
        if self.level is not None or not re.search(r"\bstate\s*[:{<]", self.read_text()):
            return self.level or 0
        return int(parse_text(self.read_text(), NetParameter, lenient=True).message.state.level)

    def state(self) -> str:
        """The phase, level and stages, as messages say them."""
        level = [f"level {self.level}"] if self.level else []
        return ", ".join([self.phase, *level, *(f"stage '{stage}'" for stage in self.stages if stage)])


@dataclass(frozen=True)
class SolverFile:
    """A solver file that was read as far as possible.

    `faults` are the fields that Caffe's reader refuses; `solver` lacks them. `places` has the (line, column)
    of each field by name.
    """

    path: str
    text: str
    solver: SolverParameter
    faults: tuple[PrototxtError, ...]
    places: Mapping[str, Sequence[tuple[int, int]]]
    inline: Mapping[str, Sequence[str]]

    def nets(self, *, level: int | None = None, stages: Sequence[str] = ()) -> tuple[SolverNet, ...]:
        """The nets in the order in which Caffe makes them: the one to train, then those to test.

        `level` and `stages` change `train_state` as `caffe train` does: the level replaces the solver's, and
        the stages come on top. For the nets to test they replace the state. Where the solver tests nothing,
        its `net` counts as a net to test, too.
        """
        nets = (*self._train(), *self._test())
        if level is None and not stages:
            return nets
        changed: dict[SolverNet, SolverNet] = {}
        for net in nets:
            if net.phase == "TRAIN":
                level_ = net.level if level is None else level
                net = net._replace(level=level_, stages=(*net.stages, *stages))
            else:
                net = net._replace(level=level, stages=tuple(stages))
            changed.setdefault(net._replace(number=0, passes=0), net)
        return tuple(changed.values())

    def with_state(self, level: int | None, stages: Sequence[str]) -> SolverFile:
        """The solver with another `train_state`, as `caffe train --level --stage` changes it."""
        if level is None and not stages:
            return self
        solver = SolverParameter()
        solver.CopyFrom(self.solver)
        if level is not None:
            solver.train_state.level = level
        solver.train_state.stage.extend(stages)
        return replace(self, solver=solver)

    def _train(self) -> Iterator[SolverNet]:
        for field in ("train_net_param", "train_net", "net_param", "net"):  # InitTrainNet
            if self.solver.HasField(field):
                yield self._net(field, 0, "TRAIN", 0, self.solver.train_state)
                return

    def _test(self) -> Iterator[SolverNet]:
        """Source: solver.cpp, InitTestNets."""
        solver = self.solver
        sources = [("test_net_param", i) for i in range(len(solver.test_net_param))]
        sources += [("test_net", i) for i in range(len(solver.test_net))]
        shared = next((f for f in ("net_param", "net") if solver.HasField(f)), "")
        if shared:
            sources += [(shared, 0)] * (len(solver.test_iter) - len(sources))
        for number, (field, i) in enumerate(sources):
            state = solver.test_state[number] if number < len(solver.test_state) else None
            passes = solver.test_iter[number] if number < len(solver.test_iter) else 0
            yield self._net(field, i, "TEST", number, state)._replace(passes=passes)
        if shared and not sources:
            yield self._net(shared, 0, "TEST", 0, None)._replace(used=False)

    def _net(self, field: str, i: int, phase: str, number: int, state: NetState | None) -> SolverNet:
        text, path = None, Path(self.path)
        if field in INLINE:
            text = self.inline[field][i]
        else:
            value = getattr(self.solver, field)
            path = self.file(value[i] if field == "test_net" else value)
        level: int | None = None
        stages: tuple[str, ...] = ()
        if state is not None:
            level = state.level if state.HasField("level") else None
            stages = tuple(state.stage)
        return SolverNet(field, phase, path, text, level, stages, number, used=True)

    def place_of(self, *fields: str) -> str:
        """The file, line and column of the first of these fields that the solver has."""
        found = next((self.places[field][0] for field in fields if field in self.places), ())
        return ":".join([self.path, *map(str, found)])

    def file(self, name: str) -> Path:
        """Caffe looks in the current directory; here, the solver's own folder comes second."""
        return Path(name) if Path(name).exists() else Path(self.path).parent / name


# ---- recognising -----------------------------------------------------------------------------------------


def is_solver(text: str) -> bool:
    """Whether a text is a solver's: it has fields of a solver at its top level, and no layers."""
    if not any(likely.search(text) for likely in _LIKELY):
        return False  # most nets
    names = set(top_names(text))
    nets = {f.name for f in NetParameter.DESCRIPTOR.fields}
    return not names & {"layer", "layers", "input"} and bool(
        names & ({f.name for f in SolverParameter.DESCRIPTOR.fields} - nets)
    )


def top_names(text: str) -> Iterator[str]:
    """The names of the fields at the top level of a text, whether it can be parsed or not."""
    depth = 0
    for m in _TOKEN.finditer(text):
        if m[0] in ("{", "<", "["):
            depth += 1
        elif m[0] in ("}", ">", "]"):
            depth -= 1
        elif m["name"] and depth == 0:
            yield m["name"]


# ---- reading ---------------------------------------------------------------------------------------------


def parse_solver(text: str, path: str = "") -> SolverFile:
    """Read a solver's text. Raises PrototxtError if its brackets or strings do not match."""
    try:
        fields: Sequence[Span] = spans(text)
    except (ValueError, IndexError):
        parse_text(text, SolverParameter, path=path)  # says where and why
        raise
    starts = list(_positions(text, [f.start for f in fields]))
    places: dict[str, list[tuple[int, int]]] = {}
    for field, place in zip(fields, starts, strict=True):
        places.setdefault(field.name, []).append(place)
    faults: list[PrototxtError] = []
    try:
        solver = parse_text(text, SolverParameter, path=path).message
    except PrototxtError:
        solver = SolverParameter()
        for field, place in zip(fields, starts, strict=True):
            faults += _merge(solver, field, text, place, path)
    return SolverFile(path, text, solver, tuple(faults), places, _inline(solver, fields, text))


def require_solver(text: str, path: str) -> SolverFile:
    """Read a solver's text. Raises PrototxtError as `parse_solver` does, and if the file is a net."""
    if not is_solver(text):
        words = set(top_names(text))
        if words & {"layer", "layers"}:
            raise PrototxtError(
                f"'{path}' is a net, not a solver", path=path,
                hint=f"netbuilder solver RECIPE --net {shlex.quote(path)} -o solver.prototxt writes a solver "
                "for it; netbuilder solver --list names the recipes",
            )  # fmt: skip
    return parse_solver(text, path)


def _merge(
    solver: SolverParameter, field: Span, text: str, place: tuple[int, int], path: str
) -> list[PrototxtError]:
    """Read one field into the solver; the error, if Caffe's reader refuses it."""
    line, column = place
    piece = "\n" * (line - 1) + " " * (column - 1) + text[field.start : field.end]
    known = SolverParameter.DESCRIPTOR.fields_by_name.get(field.name)
    if field.fields is not None and text[field.end - 1 : field.end] not in ("}", ">"):
        parse_text(text, SolverParameter, path=path, lenient=True)  # says what is not closed
    if known is not None and not is_repeated(known) and solver.HasField(field.name):
        what = f"'{field.name}' is given a second time in SolverParameter, which takes it once"
        return [PrototxtError(what, path=path, line=line, column=column, hint="leave one of them out")]
    try:
        solver.MergeFrom(parse_text(piece, SolverParameter, path=path).message)
    except PrototxtError as error:
        if field.name not in INLINE:
            if known is not None and text[field.value] == "[":
                error.hint = "Caffe takes one value here"
                error.hint += ": name the devices by `train --gpu`" if field.name == "device_id" else ""
            return [error]
        # Whoever reads the net reports what is wrong in it.
        inline = getattr(solver, field.name)
        inline.add() if field.name == "test_net_param" else inline.SetInParent()
    return []


def _inline(solver: SolverParameter, fields: Sequence[Span], text: str) -> dict[str, list[str]]:
    """The texts of the inline nets by field, each at its place in a text that is otherwise empty."""
    found: dict[str, list[str]] = {name: [] for name in INLINE}
    for field in fields:
        if field.name in found and field.fields is not None:
            inside = slice(field.value + 1, field.end - 1)
            found[field.name].append(re.sub(r"[^\n]", " ", text[: inside.start]) + text[inside])
    for name in INLINE:  # of the form test_net_param: [{...}, {...}]
        messages = [value for field, value in solver.ListFields() if field.name == name]
        messages = list(messages[0]) if name == "test_net_param" and messages else messages
        if len(found[name]) < len(messages):
            found[name] = [format_fields(message) for message in messages]
    return found


def _positions(text: str, offsets: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Line and column, from 1, of ascending offsets."""
    line, done = 1, 0
    for at in offsets:
        line += text.count("\n", done, at)
        done = at
        yield line, at - text.rfind("\n", 0, at)
