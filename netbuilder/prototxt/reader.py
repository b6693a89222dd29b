"""Prototxt text into a `Net`: parse it, upgrade it, drop the layers of other phases, replay the rest."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from netbuilder.errors import FieldError, NetBuilderError, PrototxtError, ShapeError, StaleBlob
from netbuilder.layers import RULES, Facts, UnknownShape, is_source
from netbuilder.net import PHASES, Layer, Net, Origin, as_phase
from netbuilder.prototxt import inputs as given_inputs
from netbuilder.prototxt.comments import above_layers
from netbuilder.prototxt.solver_file import SolverNet, is_solver, parse_solver, top_names
from netbuilder.prototxt.text_read import Parsed
from netbuilder.prototxt.text_read import parse as parse_text
from netbuilder.prototxt.text_write import format_fields
from netbuilder.prototxt.unknown import field_name, keep, kept
from netbuilder.prototxt.upgrade import upgrade
from netbuilder.schema import NetParameter
from netbuilder.schema.dialects import FORK
from netbuilder.schema.dialects import dialect as find_dialect
from netbuilder.schema.fields import Unnamed, assign, unnamed
from netbuilder.storage.files import read_text

if TYPE_CHECKING:
    from netbuilder.layers import Shape
    from netbuilder.schema import LayerParameter
    from netbuilder.schema.messages import NetStateRule

__all__ = [
    "Written",
    "has_rules",
    "net_of",
    "nets_of",
    "not_a_net",
    "not_upgraded",
    "parse",
    "read",
    "read_for",
    "read_layers",
    "read_net",
]

PHASE_NUMBER = {"TRAIN": 0, "TEST": 1}
# Fork fields that change how a layer is computed but not what.
_HARMLESS = frozenset({"engine"})
_MOST_PLAIN = 4096
_MOST_MAKERS = 8  # of a blob that is left out
# Other kinds of prototxt, by a field of their top level.
_OTHERS = {
    "item": "a label map, item { name label display_name }, not a net",
    "node": "a graph of TensorFlow, not a net of Caffe",
}


class Written(NamedTuple):
    """A text whose layers are read: all phases' of it."""

    text: str
    path: str
    dialect: str
    lenient: bool
    proto: NetParameter
    layers: list[LayerParameter]
    places: list[tuple[int, int]]
    unnamed: list[Unnamed | None]
    old_inputs: list[str]


def read(
    path: str | Path,
    phase: str = "TEST",
    *,
    level: int | None = None,
    stages: Sequence[str] = (),
    dialect: str = "caffe-master",
    unknown: str = "refuse",
    inputs: Mapping[str, Sequence[int]] | None = None,
) -> Net:
    """Read a prototxt file as Caffe would for this phase, level and stages; older formats are upgraded.

    Of a solver file, its first net for this phase is read, in the state that the solver gives it; `level` and
    `stages` change that state (`SolverFile.nets`).
    `unknown` is "refuse" or "keep", for layer types, fields and enum labels that the dialect or the schema
    lacks. Kept ones stay as written, and the shapes that depend on them are unknown.
    `inputs` gives the shapes of data layers by top name: shapes that depend on the data, or new ones for
    Input layers. The second top of a data layer for images follows as (n,).
    Raises FileError (no such file), PrototxtError (line and column), FieldError (an unknown input), and
    whatever `Net.append` raises, located at the layer's line.
    """
    nets = nets_of(path, phase, level=level, stages=stages)
    return read_net(nets[0], dialect=dialect, unknown=unknown, inputs=inputs)


def nets_of(
    path: str | Path, phase: str | None = None, *, level: int | None = None, stages: Sequence[str] = ()
) -> tuple[SolverNet, ...]:
    """The nets of a file, in one phase or in both: the file itself, or those that a solver file gives.

    Of a .caffemodel it is the net that it carries.
    Raises FileError, and PrototxtError for a solver that has no net (for the phase).
    """
    from netbuilder.prototxt.from_model import text_of_file

    path = Path(path)
    text = text_of_file(path, read_text)
    if is_solver(text):
        nets = parse_solver(text, str(path)).nets(level=level, stages=stages)
    else:
        nets = tuple(SolverNet("", p, path, text, level or 0, tuple(stages)) for p in PHASES)
    wanted = tuple(net for net in nets if phase in (None, net.phase))
    if not wanted:
        what = f" for phase {phase}" if phase else ""
        raise PrototxtError(f"this solver names no net{what}", path=str(path))
    return wanted


def read_for(
    path: str | Path,
    phase: str | None,
    *,
    level: int | None = None,
    stages: Sequence[str] = (),
    dialect: str = "caffe-master",
    unknown: str = "refuse",
    inputs: Mapping[str, Sequence[int]] | None = None,
) -> tuple[Net, SolverNet]:
    """Like `read`, and which net of a solver it is; with `phase` None, in the phase that the file is for.

    That is TEST, unless only TRAIN has data.
    """
    first: NetBuilderError | None = None
    fallback: tuple[Net, SolverNet] | None = None
    nets = {net.phase: net for net in reversed(nets_of(path, phase, level=level, stages=stages))}
    for net in (nets[p] for p in reversed(PHASES) if p in nets):
        try:
            found = read_net(net, dialect=dialect, unknown=unknown, inputs=inputs), net
        except (StaleBlob, FieldError) as error:  # no data in this phase, or other inputs
            first = first or error
            continue
        if any(is_source(layer.proto) and layer.tops for layer in found[0]):
            return found
        fallback = fallback or found
    if fallback is None:
        assert first is not None
        raise first
    return fallback


def read_net(
    net: SolverNet,
    *,
    dialect: str = "caffe-master",
    unknown: str = "refuse",
    inputs: Mapping[str, Sequence[int]] | None = None,
) -> Net:
    """Read one of the nets that `nets_of` or `SolverFile.nets` returned. Raises like `read`."""
    return parse(
        net.read_text(), net.phase, level=net.level, stages=net.stages, dialect=dialect, path=str(net.path),
        unknown=unknown, inputs=inputs, inline=net.inline,
    )  # fmt: skip


def parse(
    text: str,
    phase: str = "TEST",
    *,
    level: int | None = 0,
    stages: Sequence[str] = (),
    dialect: str = "caffe-master",
    path: str = "",
    unknown: str = "refuse",
    inputs: Mapping[str, Sequence[int]] | None = None,
    refused: list[tuple[Layer, NetBuilderError]] | None = None,
    computes: str = "",
    inline: str = "",
) -> Net:
    """Like `read`, from text; `path` is what errors call it.

    A `level` of None is that of the net's own `state`, as in a solver that gives none. `inline` is the field
    of the solver that holds the net: Caffe upgrades no old format there. `computes` names the Caffe whose
    shapes the net has, by default the dialect.

    With a list as `refused`, a layer that `Net.append` refuses is added to it with the error, and reading
    continues: the layer stays in the net, and its tops have unknown shapes.
    """
    if unknown not in ("refuse", "keep"):
        raise FieldError(f"unknown must be 'refuse' or 'keep', got {unknown!r}")
    written = read_layers(text, dialect=dialect, path=path, lenient=unknown == "keep", inline=inline)
    return net_of(
        written, phase, level=level, stages=stages, inputs=inputs, refused=refused, computes=computes
    )


def read_layers(
    text: str, *, dialect: str = "caffe-master", path: str = "", lenient: bool = False, inline: str = ""
) -> Written:
    """The layers of a text, for `net_of`. Parameters and errors are those of `parse`."""
    parsed = parse_text(text, NetParameter, path=path, lenient=lenient, dialect=find_dialect(dialect))
    if inline and (old := not_upgraded(parsed, inline, path)):
        raise old
    proto, layers, places, alike = upgrade(parsed, text, path=path, lenient=lenient)
    if not layers and (other := not_a_net(text)):
        raise PrototxtError(f"this is {other}", path=path)
    return Written(text, path, dialect, lenient, proto, layers, places, alike, list(parsed.message.input))


def net_of(
    written: Written,
    phase: str,
    *,
    level: int | None = 0,
    stages: Sequence[str] = (),
    inputs: Mapping[str, Sequence[int]] | None = None,
    refused: list[tuple[Layer, NetBuilderError]] | None = None,
    computes: str = "",
) -> Net:
    """The net of one phase. Nets of one text share their layers, unless `inputs` give them other shapes."""
    text, path, dialect, lenient, proto, layers, places, all_unnamed, old_inputs = written
    active = {*stages, *proto.state.stage}
    level = proto.state.level if level is None else level
    wanted, left_out = [], []
    for layer, (line, column), alike in zip(layers, places, all_unnamed, strict=True):
        include, exclude = layer.include, layer.exclude
        if include and exclude and refused is None:
            raise PrototxtError(f"layer '{layer.name}' has both include and exclude", path=path, line=line)
        both = include and exclude  # Caffe refuses it in any phase
        ruled = include or exclude
        if not ruled or both or _kept(layer, PHASE_NUMBER.get(phase, 1), level, active):
            wanted.append((layer, Origin(path or "<text>", line, (), column), alike))
        else:
            left_out.append(layer)
    net = Net(proto.name, as_phase(phase), dialect=dialect, computes=computes)
    for field, value in proto.ListFields():
        if field.name in ("force_backward", "debug_info") or field.number >= FORK:
            assign(net.proto, field.name, value)
    for kept_text in kept(proto):
        keep(net.proto, kept_text)
    shapes = given_inputs.checked(inputs or {}, [layer for layer, *_ in wanted], path) if inputs else {}
    folder = Path(path).parent
    makers: dict[str, list[LayerParameter]] = {}
    for layer in left_out:
        for top in layer.top:
            makers.setdefault(top, []).append(layer)
    inputs_of_old = frozenset(old_inputs)
    plain: set[bytes] = set()
    comments = above_layers(text, (origin.line for _, origin, _ in wanted))
    for layer, origin, alike in wanted:
        try:
            if origin.line in comments:
                with net.scope("", comments[origin.line]):
                    _append(net, layer, origin, shapes, folder, lenient, plain, alike)
            else:
                _append(net, layer, origin, shapes, folder, lenient, plain, alike)
        except NetBuilderError as error:
            if isinstance(error, StaleBlob):
                _explain(error, net, layer, makers, inputs_of_old)
            if refused is None:
                raise
            refused.append((net.keep(layer, origin), error))
    return net


def has_rules(written: Written) -> bool:
    """Whether any layer is only in nets of some phase, level or stage."""
    return any(layer.include or layer.exclude for layer in written.layers)


def _append(
    net: Net,
    layer: LayerParameter,
    origin: Origin,
    shapes: Mapping[str, Shape],
    folder: Path,
    lenient: bool,
    plain: set[bytes],
    alike: Unnamed | None,
) -> None:
    """Append a layer of the file, with the shapes of its tops that `inputs` or its data provide.

    `plain` remembers the fields of layers that need nothing but to be appended.
    """
    alike = alike or unnamed(layer)
    if alike and (not alike.bottoms or (shapes and not shapes.keys().isdisjoint(alike.tops))):
        alike = None
    if alike and alike.fields in plain:
        net.append(layer, origin=origin, of_dialect=True, alike=alike)
        return
    why = _why_unknown(net, layer) if lenient else ""
    facts = _facts_despite(net, layer) if why else None
    if facts and not facts.params:
        why, facts = "", None  # whatever the unknown field is about, it changes no figure
    # An unknown field may change the shape, so the data does not determine it.
    top_shapes, unread = given_inputs.find(layer, shapes, None if why else folder, origin)
    if not lenient and layer.type not in net.dialect.types:
        top_shapes = None  # with shapes, `append` would take it for a custom type of the user's
    if top_shapes and len(top_shapes) < len(layer.top) and not _has_too_many_tops(layer):
        why = why or f"the shape of its top '{layer.top[len(top_shapes)]}' is not given"
    if facts:
        top_shapes = list(facts.tops)
    if why or top_shapes is not None:
        alike = None
    elif alike is not None and len(plain) < _MOST_PLAIN:
        plain.add(alike.fields)
    appended = net.append(
        layer, origin=origin, top_shapes=top_shapes, unknown=why, of_dialect=True, alike=alike
    )
    if unread and appended.unknown:
        appended.unknown += f" ({unread})"
    if appended.unknown and appended.in_place:
        for bottom, top in zip(appended.bottoms, appended.tops, strict=False):
            if bottom.name == top.name and top.shape is None:
                top.shape = bottom.shape  # one blob, which its own layer does not reshape
    if shapes:
        given_inputs.complete(appended, shapes)


def _has_too_many_tops(layer: LayerParameter) -> bool:
    """Whether its type has fewer tops, so that `Net.append` refuses it."""
    rule = RULES.get(layer.type)
    return rule is not None and rule.tops[1] is not None and len(layer.top) > rule.tops[1]


def _facts_despite(net: Net, layer: LayerParameter) -> Facts | None:
    """The facts of a layer with an unknown field, if its type keeps the shape of its bottoms; else None."""
    rule = RULES.get(layer.type) if layer.type in net.dialect.types else None
    if rule is None or not (rule.auto_top or rule.traits.keeps_shape is True):
        return None
    bottoms = [net.blobs[name].shape for name in layer.bottom if name in net.blobs]
    known = [shape for shape in bottoms if shape is not None]
    if len(known) < len(layer.bottom):
        return None
    try:
        return rule.infer(layer, known)
    except (ShapeError, UnknownShape, IndexError, ValueError):
        return None  # the fork's layer may take what ours refuses


def not_a_net(text: str) -> str:
    """What a text without layers is, if it is known: "a label map, ..."; else ""."""
    names = set(top_names(text))
    return next((what for name, what in _OTHERS.items() if name in names), "")


def not_upgraded(parsed: Parsed, field: str, path: str) -> PrototxtError | None:
    """The error for what Caffe upgrades in a file, and not in a net inside a solver.

    Source: solver.cpp, InitTrainNet, which copies the message; `UpgradeNetAsNeeded` is called for files only.
    """
    proto, what, places, hint = parsed.message, "", parsed.locations, ""
    line, column = 0, 0
    if proto.layers:
        what = f"Caffe does not upgrade the net of {field}: its 'layers' are ignored"
        (line, column), hint = places["layers"][0], "write 'layer', or move the net to a file of its own"
    elif proto.input:
        what = f"Caffe does not upgrade the net of {field}: its 'input' is ignored"
        hint = "write an Input layer, or move the net to a file of its own"
    for layer, place in zip(proto.layer, places["layer"], strict=True):
        if not what and layer.type == "BatchNorm" and any(spec.lr_mult for spec in layer.param):
            what = f"Caffe does not upgrade the net of {field}, and takes no lr_mult but 0 in a BatchNorm"
            (line, column), hint = place, "leave the three param { } of the BatchNorm out"
    return PrototxtError(what, path=path, line=line, column=column, hint=hint) if what else None


def _explain(
    error: NetBuilderError, net: Net, layer: LayerParameter,
    makers: Mapping[str, Sequence[LayerParameter]], inputs: Collection[str],
) -> None:  # fmt: skip
    """Say of a missing bottom that this phase leaves out the layers which produce it, or that it is an input
    whose shape Caffe does not find."""
    missing = next((name for name in layer.bottom if name not in net.blobs), "")
    if missing in makers:
        names = [f"'{maker.name}' ({_rules(maker)})" for maker in makers[missing][:_MOST_MAKERS]]
        if more := len(makers[missing]) - len(names):
            names.append(f"and {more} more")
        error.hint = f"left out in this phase, at this level and with these stages: {', '.join(names)}"
    elif missing in inputs:
        error.hint = (
            f"Caffe drops input '{missing}', which has no shape: give it four input_dim or, but for files of "
            "V0, an input_shape"
        )


def _rules(layer: LayerParameter) -> str:
    """The include and exclude rules of a layer, as text."""
    lines = format_fields(layer).splitlines()
    return " ".join(line for line in lines if line.startswith(("include", "exclude")))


def _kept(layer: LayerParameter, phase: int, level: int, stages: set[str]) -> bool:
    """Whether the layer is part of the net in this state. Source: net.cpp, FilterNet and StateMeetsRule."""
    if layer.include:
        return any(_met(rule, phase, level, stages) for rule in layer.include)
    return not any(_met(rule, phase, level, stages) for rule in layer.exclude)


def _met(rule: NetStateRule, phase: int, level: int, stages: set[str]) -> bool:
    return not (
        (rule.HasField("phase") and rule.phase != phase)
        or (rule.HasField("min_level") and level < rule.min_level)
        or (rule.HasField("max_level") and level > rule.max_level)
        or not stages.issuperset(rule.stage)
        or not stages.isdisjoint(rule.not_stage)
    )


# ---- unknown layer types and fields ----------------------------------------------------------------------


def _why_unknown(net: Net, layer: LayerParameter) -> str:
    """Why the shapes of a layer cannot be known; "" if they can, or if `Net.append` finds out."""
    types = net.dialect.types
    if layer.type and layer.type not in types:
        near = next((f": did you mean {t}?" for t in types if t.lower() == layer.type.lower()), "")
        return f"dialect {net.dialect.name} has no layer type {layer.type}{near}"
    rule = RULES.get(layer.type)
    for name in rule.params if rule else ():
        if not layer.HasField(name):
            continue
        for text in kept(getattr(layer, name)):
            if field_name(text) not in _HARMLESS:
                what = " ".join(text.split())
                what = what if len(what) < 40 else field_name(text)
                return f"'{what}' in {name} is not known, and may change its shape"
    return ""
