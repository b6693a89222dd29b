"""What a solver, its nets and their data would do wrong: one list, for `train` and for `check`.

The rules about the solver alone are in `netbuilder.solvers.checks`; how well a net is made is for
`netbuilder.checks`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from netbuilder.data.records import first_labels, looks_sorted, number_of_records
from netbuilder.errors import ConfigError, FileError, NetBuilderError, counted
from netbuilder.findings import Finding, find
from netbuilder.graph import has_loss
from netbuilder.layers import RULES, is_source
from netbuilder.net import Layer, Net
from netbuilder.prototxt.solver_file import SolverFile, SolverNet
from netbuilder.solvers.batch import data_batch, data_layer
from netbuilder.solvers.checks import CODES, check_file
from netbuilder.training.labels import check_labels
from netbuilder.training.sources import missing_files

__all__ = [
    "NetInUse",
    "error_of",
    "of_data",
    "of_inputs",
    "of_layers",
    "of_loss",
    "of_passes",
    "of_records",
    "preflight",
]


class NetInUse(NamedTuple):
    """A net of a solver that was read."""

    source: SolverNet
    net: Net


def preflight(
    read: SolverFile, nets: Iterable[NetInUse], *, dialect: str = "caffe-master"
) -> Iterator[Finding]:
    """The findings about a solver, and about the data of its nets."""
    yield from check_file(read, dialect=dialect)
    for name in (name for names in read.solver.weights for name in names.split(",")):
        if not Path(name).is_file():
            yield find(
                CODES, "data-file", f"there is no weights file '{name}'", "names are relative to the current "
                "directory", file=read.path, line=read.places["weights"][0][0], field="weights",
            )  # fmt: skip
    for use in nets:
        yield from of_layers(use)
        yield from of_inputs(use)
        yield from of_loss(use)
        yield from of_data(use)
        yield from of_records(use)


def error_of(finding: Finding) -> NetBuilderError:
    """The error that a finding is to whoever trains."""
    where = ":".join(str(part) for part in (finding.file, finding.line) if part)
    if finding.code == "net-file":
        return FileError(finding.text, where=where, hint=finding.fix)
    return ConfigError(finding.text, key=finding.field, path=where, hint=finding.fix)


def of_layers(use: NetInUse) -> Iterator[Finding]:
    """Whether a net that the solver makes has layers."""
    if not use.net.layers:
        yield find(
            CODES, "net-empty",
            f"'{use.source.where}' has no layers in {use.source.state()}: Caffe aborts",
            "give its layers this phase and these stages, or leave test_iter out",
            file=str(use.source.path),
        )  # fmt: skip


def of_inputs(use: NetInUse) -> Iterator[Finding]:
    """Whether a net reads data: a run fills no Input layers, unlike a program."""
    sources = [layer for layer in use.net if is_source(layer.proto)]
    if sources and all(layer.type == "Input" for layer in sources):
        names = ", ".join(f"'{top.name}'" for layer in sources for top in layer.tops)
        yield _found(
            "no-data", sources[0],
            f"nothing fills {names}: the net has Input layers and no data layer, and would get zeros",
            "give a net with data layers (netbuilder build --data); `netbuilder run` fills Input layers with "
            "images",
            str(use.source.path),
        )  # fmt: skip


def of_loss(use: NetInUse) -> Iterator[Finding]:
    """Whether the net to train has a loss."""
    if use.source.phase != "TRAIN" or not use.net.layers:
        return
    if not any(has_loss(layer) or layer.type not in RULES for layer in use.net):
        yield find(
            CODES, "no-loss",
            f"'{use.source.where}' has no loss in {use.source.state()}: nothing is learnt, and the loss is 0",
            "add a loss layer, such as SoftmaxWithLoss, or loss_weight: 1 to the layer that computes one",
            file=str(use.source.path),
        )  # fmt: skip


def of_data(use: NetInUse) -> Iterator[Finding]:
    """What the data of a net lacks: files, labels with a score, a random order."""
    where = str(use.source.path)
    lacking = False
    for layer, error in missing_files(use.net, where):
        lacking = True
        yield _found("data-file", layer, error.text, error.hint, where)
    if lacking:
        return
    try:
        check_labels(use.net, where)
    except FileError as error:
        yield find(CODES, "label", error.text, error.hint, file=where)


def of_records(use: NetInUse) -> Iterator[Finding]:
    """Whether the records of a net suit the way in which the solver reads them."""
    yield from of_order(use)
    if use.source.passes:
        yield from of_passes(use, use.source.passes, "test_iter")


def of_order(use: NetInUse) -> Iterator[Finding]:
    """Whether the records to train on are sorted by label, and read in that order."""
    for layer in use.net if use.source.phase == "TRAIN" else ():
        if _shuffled(layer) or not looks_sorted(first_labels(layer.proto, use.source.path.parent)):
            continue
        yield _found(
            "sorted-labels",
            layer,
            f"the records of layer '{layer.name}' are sorted by label, and it reads them in order: a batch "
            "has one class or few, and little is learnt",
            "make the database by `netbuilder data` with --shuffle, or give ImageData shuffle: true",
            str(use.source.path),
        )


def of_passes(use: NetInUse, passes: int, what: str) -> Iterator[Finding]:
    """Whether so many passes of a net to test read each record once."""
    layer = data_layer(use.net)
    if layer is None:
        return
    batch = data_batch(use.net)
    records = number_of_records(layer.proto, use.source.path.parent)
    if not batch or records is None:
        return
    read, all_of_them = passes * batch, -(-records // batch)
    if read == records:
        return
    said = f"{what} {passes} with batch {batch} reads {counted(read, 'record')}"
    said += f", and layer '{layer.name}' has {records}"
    if read < records:
        text, fix = f"{said}: {records - read} are not tested", f"{what}: {all_of_them} reads all"
    else:
        text = f"{said}: {_repeats(read, records)}"
        fix = f"{what}: {all_of_them} reads all" if passes > all_of_them else ""
        divisors = [n for n in range(1, min(records, 2 * batch) + 1) if records % n == 0]
        best = min(divisors, key=lambda n: abs(n - batch))
        if records % batch and 2 * best > batch:
            fix = f"batch_size: {best} and {what}: {records // best} read each once"
    yield _found("test-records", layer, text, fix, str(use.source.path))


def _repeats(read: int, records: int) -> str:
    whole, rest = divmod(read, records)
    if not rest:
        return f"each counts {whole} times"
    return f"{rest} of them count twice" if whole == 1 else f"each counts {whole} times, {rest} once more"


def _shuffled(layer: Layer) -> bool:
    """Whether a data layer reads its records in random order."""
    proto = layer.proto
    if proto.image_data_param.shuffle or proto.hdf5_data_param.shuffle:
        return True
    data = proto.data_param
    return "shuffle" in data.DESCRIPTOR.fields_by_name and bool(data.shuffle)


def _found(code: str, layer: Layer, text: str, fix: str, file: str) -> Finding:
    return find(CODES, code, text, fix, file=file, line=layer.origin.line, layer=layer.name)
