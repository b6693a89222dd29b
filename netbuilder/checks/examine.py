"""All findings about a prototxt file: `netbuilder check` in one function.

A file is read once per phase with the widest dialect. What Caffe refuses becomes findings, and reading
continues; then come the checks, the consumers, and a trained model.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from netbuilder import checks
from netbuilder.checks import CODES, Finding, found, weights
from netbuilder.checks import consumers as targets
from netbuilder.checks.fitting import Needs, fitting, meant, needs
from netbuilder.errors import FieldError, NameClash, NetBuilderError, PrototxtError, StaleBlob, did_you_mean
from netbuilder.graph import one_of_each
from netbuilder.layers import RULES, is_source
from netbuilder.net import PHASES, Layer, Net
from netbuilder.prototxt.inputs import givable
from netbuilder.prototxt.reader import Written, has_rules, net_of, nets_of, read_layers
from netbuilder.prototxt.solver_file import SolverNet
from netbuilder.prototxt.unknown import field_name, keeps_any, kept
from netbuilder.schema.dialects import ANY, DIALECTS, Dialect
from netbuilder.schema.fields import field_hint
from netbuilder.storage.files import read_text
from netbuilder.weights.model import Model

if TYPE_CHECKING:
    from google.protobuf.message import Message

__all__ = ["PHASES", "Examined", "Wanted", "examine", "examine_text", "phases_of"]

_OLD_FORMAT = re.compile(r"^[^\S\n]*layers\s*(?::\s*)?[{<]", re.MULTILINE)
_OLD_INPUT = re.compile(r"^[^\S\n]*input\s*:", re.MULTILINE)
# Findings about a consumer that repeat one about Caffe.
_SAME = {"statistics-trained": "batchnorm-trained"}


@dataclass(frozen=True)
class Wanted:
    """What to examine: phases (default: those that the file is for), consumers, a model, shapes of data.

    `level` and `stages` choose the layers of a net, and change the states of a solver. `states` has those of
    single phases, where a solver gives them.
    """

    phases: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    model: Model | None = None
    inputs: Mapping[str, Sequence[int]] | None = None
    level: int | None = None
    stages: tuple[str, ...] = ()
    states: Mapping[str, tuple[int | None, tuple[str, ...]]] = dataclasses.field(default_factory=dict)

    @property
    def caffes(self) -> tuple[str, ...]:
        """The Caffes that must load the file; by default BVLC's."""
        return tuple(t for t in self.targets if targets.find_target(t).dialect) or (targets.DEFAULT,)

    @property
    def dialects(self) -> tuple[Dialect, ...]:
        """The Caffes that were named."""
        return tuple(d for t in self.targets if (d := targets.find_target(t).dialect))

    @property
    def others(self) -> tuple[str, ...]:
        """The other consumers."""
        return tuple(t for t in self.targets if not targets.find_target(t).dialect)


@dataclass(frozen=True)
class Examined:
    """A file, its nets by phase, and the findings in the order of the file.

    A file that could not be parsed has no nets and one finding. `wanted` says in which states it was
    examined. `inline` is the field of the solver that holds the net, whose `text` is then empty around it.
    `fit` is what Caffe takes of a model.
    """

    path: str
    text: str
    nets: dict[str, Net]
    findings: tuple[Finding, ...]
    fit: weights.Fit | None = None
    wanted: Wanted = Wanted()
    inline: str = ""


def examine(path: str | Path, wanted: Wanted) -> list[Examined]:
    """Examine a file, or the nets of a solver file that exist; `solvers.check_file` has findings about that.

    Raises FileError if a file cannot be read, FieldError for an unknown input, ConfigError for an unknown
    target.
    """
    try:
        nets = nets_of(path, level=wanted.level, stages=wanted.stages)
    except PrototxtError as error:
        return [Examined(str(path), read_text(path), {}, (_syntax(error, str(path)),), wanted=wanted)]
    by_source: dict[object, list[SolverNet]] = {}
    for net in nets:
        if net.field and not net.path.is_file():
            continue
        if net.phase in (wanted.phases or PHASES):
            by_source.setdefault((net.path, net.inline), []).append(net)
    done = []
    for group in by_source.values():
        first = {net.phase: net for net in reversed(group)}  # examined together; others have another state
        done.append(_examine_nets(first, wanted))
        for net in group:
            if net != first[net.phase]:
                done.append(_only_new(_examine_nets({net.phase: net}, wanted), done[-1]))
    return done


def examine_text(text: str, path: str, wanted: Wanted) -> Examined:
    """Examine the text of a file; `path` is what findings call it. Raises like `examine`."""
    state = wanted.level or 0, wanted.stages
    states = {p: wanted.states.get(p, state) for p in PHASES}
    return _examine_nets({p: SolverNet("", p, Path(path), text, *states[p]) for p in PHASES}, wanted)


def _only_new(examined: Examined, before: Examined) -> Examined:
    """What was examined, without the findings that the same net has in another state."""
    known = {(f.code, f.target, f.layer, f.line, f.text) for f in before.findings}
    new = (f for f in examined.findings if (f.code, f.target, f.layer, f.line, f.text) not in known)
    return replace(examined, findings=tuple(new))


def _examine_nets(sources: Mapping[str, SolverNet], wanted: Wanted) -> Examined:
    """Examine the net of one text, by phase."""
    source = next(iter(sources.values()))
    path, text = str(source.path), source.read_text()
    computes = wanted.caffes[0]
    try:
        nets, refused = _read(sources, text, path, wanted, computes)
        asked = needs(nets.values())
        fits = fitting(asked)
        dialects = meant(asked, wanted.dialects, DIALECTS[targets.DEFAULT])
        only = dialects[0].name if len(dialects) == 1 else computes
        if only != computes and {only, computes} & _differing():
            nets, refused = _read(sources, text, path, wanted, only)
    except PrototxtError as error:
        syntax = (_syntax(error, path),)
        return Examined(path, text, {}, syntax, wanted=wanted, inline=source.inline)
    if source.field:
        phases = wanted.phases or tuple(p for p in nets if sources[p].used)
        states = {p: (sources[p].level, sources[p].stages) for p in nets}
        wanted = replace(wanted, phases=phases, states=states)
    by_phase = {}
    last = "TEST" if "TEST" in nets else "TRAIN"
    for phase, net in nets.items():
        findings = [*refused[phase], *_unknown(net), *checks.check(net, dialects)]
        for name in (*wanted.caffes, *(wanted.others if phase == last else ())):
            findings += targets.check(net, name, fits)
        if wanted.model is not None:
            findings = weights.replaced(findings, wanted.model) + weights.fits(net, wanted.model)
            for name in wanted.others if phase == last else ():
                if not targets.find_target(name).sources:  # it was run
                    findings += weights.crashes(net, wanted.model, name)
        by_phase[phase] = findings
    findings = _merged(by_phase)
    if len(nets) == 2:
        findings += checks.between(nets["TRAIN"], nets["TEST"])
    fit = None
    if wanted.model is not None:
        findings += weights.unused(nets.values(), wanted.model, path)
        fit = weights.fit(nets.values(), wanted.model)
    findings += _file(text, path, nets, wanted)
    findings += _of_net(asked, path, wanted)
    order = _order(findings, nets)
    ordered = tuple(sorted(_without_repeats(findings, wanted), key=order))
    return Examined(path, text, nets, ordered, fit, wanted, source.inline)


# -- reading -------------------------------------------------------------------------------------------------


def _differing() -> set[str]:
    """The Caffes in which some layer type has other shapes than in BVLC's."""
    return {name for rule in RULES.values() for name in rule.variants}


def _read(
    sources: Mapping[str, SolverNet], text: str, path: str, wanted: Wanted, computes: str
) -> tuple[dict[str, Net], dict[str, list[Finding]]]:
    """The nets of the requested phases, or of those that the file is for, and what Caffe refuses in them.

    Their shapes are those of the Caffe that `computes` names.
    """
    nets: dict[str, Net] = {}
    refused = {}
    errors: list[tuple[Layer, NetBuilderError]] = []
    inline = next(iter(sources.values())).inline
    written = read_layers(text, dialect=ANY.name, path=path, lenient=True, inline=inline)
    for phase, source in sources.items():
        if phase not in (wanted.phases or PHASES):
            continue
        other = next(iter(nets.values()), None)
        if other is None or has_rules(written):
            nets[phase], errors = _net(written, source, None, computes)
        else:
            nets[phase] = other.in_phase(source.phase)
        if wanted.inputs:
            known = givable(nets[phase])
            given = {name: shape for name, shape in wanted.inputs.items() if name in known}
            if given:
                own = read_layers(text, dialect=ANY.name, path=path, lenient=True, inline=inline)
                nets[phase], errors = _net(own, source, given, computes)
        refused[phase] = [_refusal(layer, error) for layer, error in errors]
    _check_inputs(wanted, nets, path)
    phases = {*wanted.phases, *(p for p, source in sources.items() if source.used)}
    if not wanted.phases:
        phases |= {*phases_of(nets)} if len(nets) > 1 else {*nets}
    return {phase: nets[phase] for phase in PHASES if phase in nets and phase in phases}, refused


def _net(
    written: Written, source: SolverNet, inputs: Mapping[str, Sequence[int]] | None, computes: str
) -> tuple[Net, list[tuple[Layer, NetBuilderError]]]:
    errors: list[tuple[Layer, NetBuilderError]] = []
    net = net_of(
        written, source.phase, level=source.level, stages=source.stages, refused=errors, inputs=inputs,
        computes=computes,
    )  # fmt: skip
    return net, errors


def _check_inputs(wanted: Wanted, nets: Mapping[str, Net], path: str) -> None:
    known = {name for net in nets.values() for name in givable(net)} if wanted.inputs else set()
    for name in wanted.inputs or ():
        if name not in known:
            error = FieldError(f"'{name}' is not an input of this net", hint=did_you_mean(name, known))
            error.where = path
            raise error


def phases_of(nets: Mapping[str, Net]) -> tuple[str, ...]:
    """The phases that a file is for, from its nets in both; TEST if nothing decides."""
    return tuple(phase for phase in PHASES if _is_for(phase, nets)) or PHASES[1:]


def _is_for(phase: str, nets: Mapping[str, Net]) -> bool:
    """Whether a file is for this phase: it has data in it and, for TRAIN, a loss or layers for TRAIN only."""
    sources = {p: any(is_source(x.proto) and x.tops for x in n) for p, n in nets.items()}
    if not sources[phase] and any(sources.values()):
        return False
    if phase == "TEST":
        return True
    net = nets[phase]
    kinds = one_of_each(net.layers)
    return any(map(checks.has_loss, kinds)) or any(
        rule.HasField("phase") and rule.phase == PHASES.index(phase)
        for x in kinds
        for rule in x.proto.include
    )


# -- what becomes a finding ----------------------------------------------------------------------------------


def _syntax(error: PrototxtError, path: str) -> Finding:
    return Finding(
        CODES["syntax"].severity, "syntax", "", error.text, error.hint, error.line, error.column, path
    )


def _refusal(layer: Layer, error: NetBuilderError) -> Finding:
    code = "shape"
    if isinstance(error, StaleBlob):
        code = "missing-bottom"
    elif isinstance(error, NameClash):
        code = "name-clash"
    elif isinstance(error, FieldError):
        code = "field" if layer.type else "unknown-type"
    elif "cannot write over" in error.text:
        code = "in-place-refused"
    text = error.text.removeprefix(f"{layer.type} '{layer.name}': ")
    return found(code, layer, text, "write its type" if code == "unknown-type" else error.hint)


def _unknown(net: Net) -> Iterator[Finding]:
    """Findings about layer types, fields and labels that no Caffe has."""
    fine: set[int] = set()  # kinds
    for layer in net:
        if id(layer.kind) in fine:
            continue
        if layer.type and layer.type not in ANY.types:
            yield found(
                "unknown-type", layer, f"no Caffe that netbuilder knows has a layer type {layer.type}",
                did_you_mean(layer.type, ANY.types),
            )  # fmt: skip
        if keeps_any(layer.proto):
            for name, text, hint in _kept_fields(layer.proto):
                yield found(
                    "unknown-field", layer, f"no Caffe that netbuilder knows has {name}: {text}", hint
                )
        elif layer.kind is not None:
            fine.add(id(layer.kind))


def _kept_fields(message: Message) -> Iterator[tuple[str, str, str]]:
    """What a message and those inside keep although the schema lacks it: its kind, its text, a hint."""
    of = message.DESCRIPTOR
    fields = of.fields_by_name
    for text in kept(message):
        name, short = field_name(text), " ".join(text.split())
        short = short if len(short) <= 60 else short[:57] + "..."
        if name in fields:
            yield f"this label of {name}", short, ""
        else:
            yield (
                f"a field {name} in {of.name}",
                short,
                field_hint(message.DESCRIPTOR, name, fields),
            )
    for field, value in message.ListFields():
        if field.message_type is not None and field.name != "blobs":
            for inner in value if hasattr(value, "append") or hasattr(value, "add") else (value,):
                yield from _kept_fields(inner)


def _file(text: str, path: str, nets: Mapping[str, Net], wanted: Wanted) -> Iterator[Finding]:
    """Findings about the whole file."""
    if not any(net.layers for net in nets.values()):
        yield Finding(CODES["no-layers"].severity, "no-layers", "", "the net has no layers", file=path)
    for net in nets.values():
        for name, kept_text, hint in _kept_fields(net.proto) if keeps_any(net.proto) else ():
            text_ = f"no Caffe that netbuilder knows has {name}: {kept_text}"
            yield Finding("error", "unknown-field", "", text_, hint, file=path)
        break
    for name in wanted.others:
        target = targets.find_target(name)
        for code, pattern, says, fix in (
            ("old-format", _OLD_FORMAT, target.old_format,
             "write it in today's format, as Caffe's upgrade_net_proto_text does"),
            ("old-input", _OLD_INPUT, target.old_input, "write an Input layer"),
        ):  # fmt: skip
            m = pattern.search(text) if says else None
            if m:
                line = text.count("\n", 0, m.end()) + 1
                yield Finding(
                    CODES[code].severity, code, "", f"{name}: {says}", fix, line, file=path, target=name
                )


def _of_net(asked: Needs, path: str, wanted: Wanted) -> Iterator[Finding]:
    """Findings about fields outside of layers that a Caffe lacks."""
    for name in wanted.caffes:
        dialect = targets.find_target(name).dialect
        for field in sorted(asked.net_fields - dialect.adds) if dialect else ():
            text = f"{name}: there is no {field}; the whole file is refused"
            fix = f"leave it out; {targets.owners(partial(targets.adds, field), fitting(asked))}"
            yield Finding(
                CODES["no-such-field"].severity, "no-such-field", "", text, fix, file=path, target=name
            )


# -- putting findings together -------------------------------------------------------------------------------


def _merged(by_phase: Mapping[str, Sequence[Finding]]) -> list[Finding]:
    """The findings of all phases, each once with its phases; the nth of a code about a layer is the same."""
    merged: dict[object, Finding] = {}
    for phase, findings in by_phase.items():
        count: dict[object, int] = {}
        for f in findings:
            key = (f.code, f.target, f.layer, f.line, f.column)
            count[key] = nth = count.get(key, 0) + 1
            old = merged.get((key, nth))
            phases = (phase,) if old is None else (*old.phases, phase)
            merged[key, nth] = replace(f if old is None else old, phases=phases)
    return list(merged.values())


def _without_repeats(findings: Sequence[Finding], wanted: Wanted) -> Iterator[Finding]:
    """Drop findings that repeat another one about a consumer or about the layer's type."""
    of_targets = {(_SAME.get(f.code, f.code), f.layer, f.line) for f in findings if f.target}
    nobodys = {(f.layer, f.line) for f in findings if f.code == "unknown-type"}
    cudnn = all((d := targets.find_target(name).dialect) and d.cudnn for name in wanted.caffes)
    for f in findings:
        if not f.target and (f.code, f.layer, f.line) in of_targets:
            continue
        if f.code == "engine-cudnn" and cudnn:
            continue
        if f.code == "no-such-type" and (f.layer, f.line) in nobodys and f.target in wanted.caffes:
            continue
        yield f


def _order(
    findings: Sequence[Finding], nets: Mapping[str, Net]
) -> Callable[[Finding], tuple[bool, int, int, int]]:
    """Sort by position in the file; findings about the file come first, those without a position last."""
    places = {id(f): i for i, f in enumerate(findings)}
    return lambda f: (f.line == 0 and bool(f.layer), f.line, f.column, places.get(id(f), 0))
