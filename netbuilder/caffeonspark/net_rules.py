"""Rules 3 and 11, and the outputs of rule 12: CaffeOnSpark's rules for the net besides its data layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from netbuilder.caffeonspark.codes import found
from netbuilder.caffeonspark.layer_rules import data_layers
from netbuilder.caffeonspark.sources import DIALECT, PHASES, NetFile
from netbuilder.errors import FieldError, NetBuilderError
from netbuilder.findings import Finding
from netbuilder.layers import source_of
from netbuilder.layers.traits import Form
from netbuilder.net import Layer
from netbuilder.schema.dialects import dialect

__all__ = ["check_net"]

# Fields of BVLC's schema that the fork also lacks; its dialect lists only fields of the layer types it has.
_NEWER = ("swish_param", "clip_param")
_STATISTICS = 3  # params of a BatchNorm: mean, variance, and the factor that divides both


def check_net(net: NetFile, earlier: Sequence[Finding]) -> Iterator[Finding]:
    """Check that the net parses, builds and trains; skip layers with an error in the `earlier` findings."""
    newer = set()
    for i, layer in enumerate(net.message.layer):
        for path in _newer_fields(layer):
            newer.add(layer.name)
            yield _found(
                net, i, "newer-field",
                f"CaffeOnSpark's Caffe lacks the field {path}: it refuses the whole file", "remove it",
            )  # fmt: skip
    known = newer | {f.layer for f in earlier if f.severity == "error" and f.layer}
    yield from _refused(net, known)
    yield from _batchnorms(net)
    yield from _other_data(net)
    yield from _outputs(net)


def _found(net: NetFile, i: int, code: str, text: str, fix: str = "") -> Finding:
    line, column = net.places[i]
    return found(
        code, text, fix, file=str(net.path), line=line, column=column, layer=net.message.layer[i].name
    )  # fmt: skip


def _newer_fields(layer: Any) -> Iterator[str]:
    paths = {path for fields in dialect(DIALECT).lacks.values() for path in fields}
    for path in sorted(paths):
        message, _, field = path.partition(".")
        if layer.HasField(message) and any(f.name == field for f, _ in getattr(layer, message).ListFields()):
            yield path
    for name in _NEWER:
        if layer.HasField(name):
            yield name


def _refused(net: NetFile, known: set[str]) -> Iterator[Finding]:
    """The layers on which Caffe aborts while it builds the net, each once, with its phases."""
    by_layer: dict[tuple[str, int, str], tuple[Layer, NetBuilderError, list[str]]] = {}
    for phase, layer, error in net.refused:
        if layer.name in known and (isinstance(error, FieldError) or not layer.proto.bottom):
            continue
        key = (layer.name, layer.origin.line, error.text)
        by_layer.setdefault(key, (layer, error, []))[2].append(phase)
    for layer, error, phases in by_layer.values():
        text = error.text.removeprefix(f"{layer.type} '{layer.name}': ")
        yield found(
            "net-build", f"in {' and '.join(phases)} Caffe aborts: {text}", error.hint,
            file=str(net.path), line=layer.origin.line, column=layer.origin.column, layer=layer.name,
            phases=phases,
        )  # fmt: skip


def _batchnorms(net: NetFile) -> Iterator[Finding]:
    for i, layer in enumerate(net.message.layer):
        if layer.type != "BatchNorm":
            continue
        rates = [param.lr_mult for param in layer.param]
        if len(rates) < _STATISTICS or any(rates):
            given = f"{len(rates)} param" if len(rates) < _STATISTICS else "an lr_mult above 0"
            yield _found(
                net, i, "batchnorm-trained",
                f"CaffeOnSpark's solver trains the statistics of a BatchNorm with {given}: weight decay "
                "shrinks them",
                "write param { lr_mult: 0 decay_mult: 0 } three times",
            )  # fmt: skip
        if layer.batch_norm_param.HasField("use_global_stats"):
            value = "true" if layer.batch_norm_param.use_global_stats else "false"
            what = "collects no statistics in TRAIN" if value == "true" else "uses those of the batch in TEST"
            yield _found(
                net, i, "batchnorm-global-stats",
                f"use_global_stats: {value} applies to both phases of the file: the layer {what}",
                "remove it: the default is true in TEST and false in TRAIN",
            )  # fmt: skip


def _from_outside(layer: Any) -> bool:
    """Whether this is a data layer that does not generate its data."""
    source = source_of(layer.type)
    return source is not None and source.form is not Form.MADE


def _other_data(net: NetFile) -> Iterator[Finding]:
    taken = set(data_layers(net).values())
    reported = len(taken) < len(PHASES) or not all(_from_outside(net.message.layer[i]) for i in taken)
    for i, layer in enumerate(net.message.layer):
        if _from_outside(layer) and i not in taken and not reported:
            yield _found(
                net, i, "other-data-layer",
                f"CaffeOnSpark feeds one data layer per phase, and this {layer.type} is another",
                "remove it; a CoSData layer can have a top for each column of the frame",
            )  # fmt: skip
    if net.message.input:
        yield found(
            "other-data-layer", "the net has input fields, which Caffe places before its data layers",
            "remove input, input_dim and input_shape", file=str(net.path),
        )  # fmt: skip


def _outputs(net: NetFile) -> Iterator[Finding]:
    """Report outputs of the TRAIN net that the TEST net lacks: CaffeOnSpark shows only the TEST net's."""
    if net.refused or len(net.nets) < len(PHASES):
        return
    train, test = ([blob.name for blob in net.nets[phase].outputs] for phase in PHASES)
    missing = [name for name in train if name not in test]
    if missing:
        yield found(
            "outputs-differ",
            f"the TRAIN net ends in {', '.join(train)}, the TEST net in {', '.join(test) or 'nothing'}: "
            f"CaffeOnSpark never shows {', '.join(missing)}",
            "end both phases in the same losses; the TEST net may have more outputs", file=str(net.path),
        )  # fmt: skip
