"""Rules 4 to 6: which layers CaffeOnSpark treats as the data layers, and where these read their data.

The driver walks the layers of the file and remembers the last one with an `include` rule for TRAIN and the
last one for TEST, until it has both. A rule without a phase counts as TRAIN, the first value of the enum. The
driver ignores layer types and the other fields of a rule. In the executors, Caffe filters the net of each
phase, and CaffeOnSpark feeds its layer 0. Source: CaffeOnSpark, Config.scala and CaffeNet.cpp.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from netbuilder.caffeonspark.codes import found
from netbuilder.caffeonspark.sources import PHASES, NetFile
from netbuilder.errors import did_you_mean
from netbuilder.findings import Finding
from netbuilder.layers import source_of
from netbuilder.net import Phase

__all__ = ["DATA_TYPES", "PREFIX", "SOURCES", "batch_of", "check_data_layers", "data_layers", "data_of"]

PREFIX = "com.yahoo.ml.caffe."
# The data sources, and the layer type that each one feeds.
SOURCES = {
    "LMDB": "MemoryData",
    "SeqImageDataSource": "MemoryData",
    "ImageDataFrame": "MemoryData",
    "DataFrameSource": "CoSData",
}
_LOCAL = re.compile(r"(?!\w[\w+.-]*:)|local:")  # the URLs that Spark takes for files of the driver
DATA_TYPES = ("MemoryData", "CoSData")


def data_layers(net: NetFile) -> dict[Phase, int]:
    """The layers that the driver treats as the data layers, by phase; a phase without one is missing."""
    taken: dict[Phase, int] = {}
    for i, layer in enumerate(net.message.layer):
        for rule in layer.include:
            taken[PHASES[rule.phase]] = i
        if len(taken) == len(PHASES):
            break
    return taken


def data_of(layer: Any) -> Any:
    """The message of a data layer that holds its source and batch size."""
    return layer.cos_data_param if layer.type == "CoSData" else layer.memory_data_param


def batch_of(net: NetFile, phase: Phase) -> int:
    """The images per batch and device of a phase; 0 if the driver finds no valid data layer."""
    i = data_layers(net).get(phase)
    layer = None if i is None else net.message.layer[i]
    return int(data_of(layer).batch_size) if layer is not None and layer.type in DATA_TYPES else 0


def check_data_layers(net: NetFile, solver: Any) -> Iterator[Finding]:
    """Check the choice of the data layers, and the source of each; the solver states stages and levels."""
    taken = data_layers(net)
    for phase in PHASES:
        if phase not in taken:
            yield from _missing(net, phase)
    whole = len(taken) == len(PHASES)
    wrong = [i for i in taken.values() if source_of(net.message.layer[i].type) is None]
    for phase, i in taken.items():
        if whole and i in wrong:
            yield _wrong(net, phase, i)
    if whole and not wrong and sorted(taken.values()) != [0, 1]:
        places = " and ".join(str(i) for i in sorted(set(taken.values())))
        first = net.message.layer[0]
        yield _found(
            net, 0, "data-layer-place",
            f"the data layers, one per phase, must be layers 0 and 1 of the file, not {places}",
            f"move '{first.name}' after them" if 0 not in taken.values() else "give each phase its own",
        )  # fmt: skip
    for i in sorted(set(taken.values()) - set(wrong)):
        yield from _rule(net, i, solver)
        yield from _type(net, i)
        yield from _source(net, i)


# -- which layers --------------------------------------------------------------------------------------------


def _found(net: NetFile, i: int, code: str, text: str, fix: str = "") -> Finding:
    """A finding about layer i of the file."""
    line, column = net.places[i] if i < len(net.places) else (0, 0)
    layer = net.message.layer[i].name if i < len(net.message.layer) else ""
    return found(code, text, fix, file=str(net.path), line=line, column=column, layer=layer)


def _candidates(net: NetFile) -> list[int]:
    """The layers that look like data layers."""
    return [i for i, layer in enumerate(net.message.layer) if source_of(layer.type) and not layer.bottom]


def _missing(net: NetFile, phase: Phase) -> Iterator[Finding]:
    """Say why the driver finds no data layer for a phase."""
    excluding = [i for i in _candidates(net) if net.message.layer[i].exclude]
    for i in excluding:
        layer = net.message.layer[i]
        other = PHASES[1 - layer.exclude[0].phase]
        yield _found(
            net, i, "exclude-ignored",
            f"the driver ignores exclude and finds no layer for {phase}: it runs off the end of the net "
            "(IndexOutOfBoundsException)",
            f"replace exclude with include {{ phase: {other} }}",
        )  # fmt: skip
    if not excluding:
        yield found(
            "phase-missing",
            f"no layer has include {{ phase: {phase} }}: the driver runs off the end of the net "
            "(IndexOutOfBoundsException)",
            f"add a data layer for {phase} as layer {PHASES.index(phase)}; one file holds both phases",
            file=str(net.path),
        )  # fmt: skip


def _wrong(net: NetFile, phase: str, i: int) -> Finding:
    layer = net.message.layer[i]
    return _found(
        net, i, "wrong-data-layer",
        f"the driver treats this {layer.type} as the data layer of {phase}: it is the last one with include "
        f"{{ phase: {phase} }} before the driver has found both phases",
        "make the data layers of TRAIN and TEST the first two layers of the file",
    )  # fmt: skip


def _rule(net: NetFile, i: int, solver: Any) -> Iterator[Finding]:
    layer = net.message.layer[i]
    if len(layer.include) != 1 or layer.exclude:
        yield _found(
            net, i, "data-layer-rule",
            f"a data layer must have exactly one include rule and no exclude, got {len(layer.include)} and "
            f"{len(layer.exclude)}",
            "write include { phase: TRAIN } or include { phase: TEST }",
        )  # fmt: skip
        return
    rule = layer.include[0]
    if not rule.HasField("phase"):
        yield _found(
            net, i, "data-layer-rule",
            "the driver reads only the phase of an include rule, and this rule has none",
            "write include { phase: TRAIN } or include { phase: TEST }",
        )  # fmt: skip
        return
    unmet = _unmet(rule, _state(solver, PHASES[rule.phase]))
    if unmet:
        yield _found(
            net, i, "data-layer-rule",
            f"the driver reads only the phase of an include rule, and this rule has {', '.join(unmet)}, by "
            "which Caffe leaves the layer out",
            "write include { phase: TRAIN } or include { phase: TEST }",
        )  # fmt: skip


def _state(solver: Any, phase: Phase) -> Any:
    """The solver's state of a phase: its level and stages."""
    if phase == "TRAIN":
        return solver.train_state
    return solver.test_state[0] if solver.test_state else type(solver.train_state)()


def _unmet(rule: Any, state: Any) -> list[str]:
    """The fields of a rule that a state does not meet, as Caffe's Net::StateMeetsRule decides."""
    unmet = {
        "min_level": rule.HasField("min_level") and state.level < rule.min_level,
        "max_level": rule.HasField("max_level") and state.level > rule.max_level,
        "stage": not set(rule.stage) <= set(state.stage),
        "not_stage": bool(set(rule.not_stage) & set(state.stage)),
    }
    return [name for name, fails in unmet.items() if fails]


# -- where the data comes from -------------------------------------------------------------------------------


def _type(net: NetFile, i: int) -> Iterator[Finding]:
    layer = net.message.layer[i]
    if layer.type not in DATA_TYPES:
        yield _found(
            net, i, "data-type",
            f"{layer.type} reads its own data, but CaffeOnSpark feeds only MemoryData and CoSData: "
            "executors abort",
            "use MemoryData with a source_class: netbuilder build NET --data cos_lmdb",
        )  # fmt: skip
        return
    known = [PREFIX + name for name, type_ in SOURCES.items() if type_ == layer.type]
    if not layer.source_class:
        yield _found(
            net, i, "source-class-missing",
            "source_class is missing: the driver continues without a data source and fails later",
            f"{layer.type} takes {', '.join(known)}",
        )  # fmt: skip
    elif layer.source_class not in known:
        other = SOURCES.get(layer.source_class.removeprefix(PREFIX))
        text = (
            f"source_class {layer.source_class} feeds {other} layers"
            if other and layer.source_class.startswith(PREFIX)
            else f"source_class {layer.source_class} does not exist (ClassNotFoundException)"
        )
        near = did_you_mean(layer.source_class, known)
        yield _found(net, i, "source-class", text, near or f"{layer.type} takes {', '.join(known)}")


def _source(net: NetFile, i: int) -> Iterator[Finding]:
    layer = net.message.layer[i]
    if layer.type not in DATA_TYPES:
        return
    data = data_of(layer)
    if not data.source:
        yield _found(
            net, i, "source",
            f"{layer.type} lacks a source: the data source does not start, and the job fails in the "
            "executors",
            "name the data set: a folder or URL that every executor can reach",
        )  # fmt: skip
    if data.batch_size < 1:
        yield _found(
            net, i, "batch-size", "batch_size is missing or 0", "state the images per pass on one device"
        )  # fmt: skip
    if data.source and layer.source_class == f"{PREFIX}LMDB":
        yield from _lmdb(net, i, data.source)


def _lmdb(net: NetFile, i: int, source: str) -> Iterator[Finding]:
    if _LOCAL.match(source):
        yield _found(
            net, i, "lmdb-local",
            f"'{source}' is a local folder to the driver, which refuses to copy it to the nodes",
            "put it on every node and write file:/PATH",
        )  # fmt: skip
    elif not source.startswith("file:"):
        yield _found(
            net, i, "lmdb-copied",
            f"'{source}' does not start with 'file:': Spark copies the whole LMDB to every node",
            "put it on every node and write file:/PATH, or use a SequenceFile or a data frame",
        )  # fmt: skip
    elif not source.removeprefix("file:").startswith("/"):
        yield _found(
            net, i, "lmdb-relative",
            f"'{source}' is relative to the working folder of each executor",
            "write file:/PATH, with the same folder on every node",
        )  # fmt: skip
