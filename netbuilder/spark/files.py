"""The files of a training: what its solver and nets name, and a copy of both in which no name is relative."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from netbuilder.errors import ConfigError, FileError
from netbuilder.prototxt import text as text_format
from netbuilder.prototxt.spans import Span, spans
from netbuilder.schema import NetParameter
from netbuilder.solvers import read_solver
from netbuilder.storage.files import read_text

__all__ = ["Copied", "copied", "files_of", "local_path"]

_URL = re.compile(r"(?!file:)\w[\w+.-]*:/")
_NAMES = ("source", "mean_file")
_NETS = ("net", "train_net", "test_net")


def local_path(source: str) -> str:
    """The path of a source as a file of this machine: CaffeOnSpark's nets write file:/PATH."""
    if not source.startswith("file:"):
        return source
    path = source.removeprefix("file:")
    return "/" + path.lstrip("/") if path.startswith("/") else path


def files_of(solver: str | Path) -> Iterator[str]:
    """The absolute paths of a solver, its nets, and what their data layers read. Raises NetBuilderError."""
    message = read_solver(solver)
    yield os.path.abspath(solver)
    for name in _nets(message):
        place = Path(name)
        yield os.path.abspath(place)
        text = read_text(place)
        for _, span in _named(text):
            value = _value(text, span)
            if value and not _URL.match(value):  # the engine says what it thinks of others
                yield os.path.abspath(local_path(value))


def _nets(solver: Any) -> list[str]:
    named = [*([solver.net] if solver.net else []), *([solver.train_net] if solver.train_net else [])]
    return list(dict.fromkeys([*named, *solver.test_net]))


@dataclass(frozen=True)
class Copied:
    """The texts of a solver and its nets by bare name, and the names that were changed."""

    solver: str
    texts: dict[str, str]
    notes: tuple[str, ...]


def copied(path: str | Path) -> Copied:
    """A solver and its nets for a folder of their own: nets by bare name, data by absolute path."""
    message, notes, texts = read_solver(path), [], {}
    solver = read_text(path)
    names = _nets(message)
    if not names:
        raise ConfigError("the solver names no net", key="net", path=str(path))
    for name in names:
        bare = PurePosixPath(name).name
        if bare in texts or bare == Path(path).name:
            raise ConfigError(f"two files of the job are called '{bare}'", key="net", hint="rename one")
        text = read_text(name)
        for _, span in reversed(list(_named(text))):
            value = _value(text, span)
            here = os.path.abspath(local_path(value))
            if not value or here == local_path(value):
                continue
            if not os.path.exists(here):
                raise FileError(
                    f"'{value}' is not here, so that its place on the machines of the cluster is not known",
                    where=name, hint="name it by an absolute path, which is the same on all of them",
                )  # fmt: skip
            text = _replaced(text, span, here)
            notes.append(f"{name}: '{value}' is written as '{here}'")
        texts[bare] = text
    for span in reversed([span for span in spans(solver) if span.name in _NETS]):
        value = _value(solver, span)
        bare = PurePosixPath(value).name
        if bare != value:
            solver = _replaced(solver, span, bare)
            notes.append(f"net: '{value}' is written as '{bare}'")
    return Copied(solver, texts, tuple(dict.fromkeys(reversed(notes))))


def _named(text: str) -> Iterator[tuple[str, Span]]:
    """The fields of a net's data layers that name files, in the order of the text."""
    for layer in spans(text):
        if layer.name not in ("layer", "layers"):
            continue
        found = [
            (field.name, field)
            for block in layer.fields or ()
            for field in (*(block.fields or ()), *block.all("top", "transform_param", "mean_file"))
            if block.name.endswith("_param") and field.name in _NAMES
        ]
        yield from sorted(found, key=lambda pair: pair[1].start)


def _value(text: str, span: Span) -> str:
    net = text_format.parse(f"name: {text[span.value : span.end]}", NetParameter).message
    return str(net.name)


def _replaced(text: str, span: Span, value: str) -> str:
    quoted = text_format.format_fields(NetParameter(name=value)).partition(": ")[2].rstrip("\n")
    return text[: span.value] + quoted + text[span.end :]
