"""The solver and the net of a job, found as CaffeOnSpark finds them and parsed by its schema.

CaffeOnSpark opens both files by the given names in the working folders of the driver and of every executor,
to which `--files` ships them under their bare names. So the net must lie beside the solver. The driver uses
protobuf's strict parser for Java, which refuses a field that the schema lacks, and upgrades nothing. Source:
CaffeOnSpark, Config.scala and Utils.java.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from netbuilder.caffeonspark.codes import found
from netbuilder.errors import FileError, NetBuilderError, PrototxtError
from netbuilder.findings import Finding
from netbuilder.net import PHASES, Layer, Net
from netbuilder.prototxt import text as text_format
from netbuilder.prototxt.reader import parse
from netbuilder.prototxt.spans import Span, spans
from netbuilder.prototxt.text import Parsed
from netbuilder.schema import NetParameter, SolverParameter
from netbuilder.schema.dialects import dialect
from netbuilder.storage.files import read_text

__all__ = ["PHASES", "NetFile", "SolverFile", "Sources", "load", "solver_line"]

DIALECT = "caffeonspark"


@dataclass(frozen=True)
class SolverFile:
    """A solver: its path, its text, and its message (None if the text cannot be parsed)."""

    path: Path
    text: str
    message: Any


@dataclass(frozen=True)
class NetFile:
    """A net: its parsed message, the places of its layers in the text, and the nets of the phases that build.

    `message` is None if the text cannot be parsed or has an old format. `means` holds the names of the mean
    files and their paths.
    """

    path: Path
    text: str
    message: Any = None
    places: tuple[tuple[int, int], ...] = ()
    nets: Mapping[str, Net] = field(default_factory=dict)
    refused: tuple[tuple[str, Layer, NetBuilderError], ...] = ()
    means: tuple[tuple[str, Path], ...] = ()


@dataclass(frozen=True)
class Sources:
    """The files of a job, the findings of reading them, and the names that a bundle changes."""

    solver: SolverFile
    net: NetFile | None
    findings: tuple[Finding, ...]
    renamed: tuple[str, ...] = ()


def load(path: str | Path, *, bundle: bool = False) -> Sources:
    """Read a solver file and its net.

    With `bundle`, the net and the mean files may lie in other folders: `text` is then the text that the
    bundle writes, with bare names. Raises FileError if the solver cannot be read.
    """
    path = Path(path)
    text = read_text(path)
    findings: list[Finding] = []
    parsed = _parsed(text, SolverParameter, str(path), ("solver-syntax", "solver-field"), findings)
    message = parsed and parsed.message
    renamed: list[str] = []
    if message is None or not message.net:
        return Sources(SolverFile(path, text, message), None, tuple(findings))
    name, bare = message.net, PurePosixPath(message.net).name
    net_path = path.parent / name
    if name != bare:
        net_path = Path(name) if Path(name).exists() else net_path
        if bundle and bare:
            text = _replaced(text, _fields(text, "net"), bare)
            message.net = bare
            renamed.append(f"net: '{name}' is written as '{bare}'")
        else:
            findings.append(
                found(
                    "net-path",
                    f"net '{name}' is not a bare file name: executors receive files without folders",
                    f"put the net beside the solver, and write net: \"{bare or 'net.prototxt'}\"",
                    file=str(path), line=solver_line(text, "net"),
                )
            )  # fmt: skip
    solver = SolverFile(path, text, message)
    try:
        net_text = read_text(net_path)
    except FileError:
        findings.append(
            found(
                "net-file",
                f"the net '{name}' cannot be read: '{net_path}' is missing or not a text file",
                "put the net into the folder of the solver, and ship both with --files",
                file=str(path), line=solver_line(text, "net"),
            )
        )  # fmt: skip
        return Sources(solver, None, tuple(findings), tuple(renamed))
    net = _net(net_path, net_text, bundle, findings, renamed)
    return Sources(solver, net, tuple(findings), tuple(renamed))


def solver_line(text: str, *names: str) -> int:
    """The line of the first of these fields in a solver's text, 0 if the text has none of them."""
    for span in spans(text):
        if span.name in names:
            return text.count("\n", 0, span.start) + 1
    return 0


# -- the net -------------------------------------------------------------------------------------------------


def _net(path: Path, text: str, bundle: bool, findings: list[Finding], renamed: list[str]) -> NetFile:
    before = len(findings)
    parsed = _parsed(text, NetParameter, str(path), ("net-syntax", "unknown-field"), findings)
    if parsed is None:
        return NetFile(path, text)
    lenient = len(findings) > before
    if parsed.message.layers:
        line, column = parsed.locations["layers"][0]
        findings.append(
            found(
                "old-format",
                "'layers' is the format of 2014, which CaffeOnSpark's driver does not upgrade",
                "write each as layer { type: \"ReLU\" ... }, as Caffe's upgrade_net_proto_text does",
                file=str(path), line=line, column=column,
            )
        )  # fmt: skip
        return NetFile(path, text)
    text, means = _means(path, text, parsed.message, bundle, renamed)
    nets: dict[str, Net] = {}
    refused: list[tuple[str, Layer, NetBuilderError]] = []
    for phase in PHASES:
        errors: list[tuple[Layer, NetBuilderError]] = []
        try:
            nets[phase] = parse(
                text, phase, dialect=DIALECT, path=str(path), unknown="keep" if lenient else "refuse",
                refused=errors,
            )  # fmt: skip
        except PrototxtError as error:  # about the whole file, for example `input` fields that do not match
            findings.append(
                found("net-build", error.text, error.hint, file=str(path), line=error.line, phases=(phase,))
            )
        refused += [(phase, layer, error) for layer, error in errors]
    places = tuple(parsed.locations["layer"])
    return NetFile(path, text, parsed.message, places, nets, tuple(refused), means)


def _means(
    path: Path, text: str, message: object, bundle: bool, renamed: list[str]
) -> tuple[str, tuple[tuple[str, Path], ...]]:
    """The text, with bare names of mean files for a bundle; and the names and paths of the mean files."""
    means: dict[tuple[str, Path], None] = {}
    for transform in _transforms(message):
        name = transform.mean_file
        if not name:
            continue
        bare = PurePosixPath(name).name
        place = Path(name) if name != bare and Path(name).exists() else path.parent / name
        if bundle and bare and name != bare:
            text = _replaced(text, [f for f in _mean_fields(text) if _string(text, f) == name], bare)
            transform.mean_file = bare
            note = f"mean_file: '{name}' is written as '{bare}'"
            renamed += [] if note in renamed else [note]
        means[transform.mean_file, place] = None
    return text, tuple(means)


def _transforms(message: Any) -> Iterator[Any]:
    for layer in message.layer:
        if layer.HasField("transform_param"):
            yield layer.transform_param
        for block in layer.cos_data_param.top:
            if block.HasField("transform_param"):
                yield block.transform_param


def _mean_fields(text: str) -> Iterator[Span]:
    for layer in spans(text):
        yield from layer.all("transform_param", "mean_file")
        yield from layer.all("cos_data_param", "top", "transform_param", "mean_file")


# -- text ----------------------------------------------------------------------------------------------------


def _parsed(
    text: str, message_type: object, path: str, codes: tuple[str, str], findings: list[Finding]
) -> Parsed | None:
    """A text as a message, None if it does not parse; fields that the schema lacks are dropped."""
    schema = dialect(DIALECT)
    try:
        return text_format.parse(text, message_type, path=path, dialect=schema)
    except PrototxtError as error:
        unknown = " has no field " in error.text
        findings.append(
            found(
                codes[unknown],
                f"{error.text}: CaffeOnSpark refuses the whole file" if unknown else error.text,
                error.hint, file=path, line=error.line, column=error.column,
            )
        )  # fmt: skip
        if not unknown:
            return None
    try:
        return text_format.parse(text, message_type, path=path, lenient=True, dialect=schema)
    except PrototxtError:
        return None  # a misspelt field, which even the lenient parser refuses


def _fields(text: str, name: str) -> list[Span]:
    return [span for span in spans(text) if span.name == name]


def _string(text: str, span: Span) -> str:
    """The value of a string field."""
    net = text_format.parse(f"name: {text[span.value : span.end]}", NetParameter).message
    return str(net.name)


def _replaced(text: str, fields: list[Span], value: str) -> str:
    """The text with `value` as the value of these fields."""
    quoted = text_format.format_fields(NetParameter(name=value)).partition(": ")[2].rstrip("\n")
    for span in reversed(fields):
        text = text[: span.value] + quoted + text[span.end :]
    return text
