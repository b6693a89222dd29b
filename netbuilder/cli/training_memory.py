"""`netbuilder count FILE --training`: the memory of a whole training, and the largest batch that fits."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping
from typing import Any

from netbuilder import report
from netbuilder.cli.net_files import net_file
from netbuilder.cli.options import given_inputs
from netbuilder.cli.terminal import table_text
from netbuilder.engines.memory import (
    PARTS,
    Fitting,
    Nets,
    TrainingMemory,
    largest_batch,
    training_memory,
)
from netbuilder.errors import ConfigError, FieldError, StaleBlob, printable
from netbuilder.errors import counted as number_of
from netbuilder.layers import is_source
from netbuilder.measure.counts import batch_size
from netbuilder.net import Net
from netbuilder.prototxt.inputs import how_to_give
from netbuilder.prototxt.reader import nets_of, read_net
from netbuilder.prototxt.solver_file import SolverNet, is_solver, parse_solver
from netbuilder.report.data import FORMAT_VERSION
from netbuilder.report.formats import Bytes, Cell, Column, Table
from netbuilder.schema import SolverParameter
from netbuilder.solvers.batch import data_batch
from netbuilder.solvers.checks import solver_type
from netbuilder.storage.files import read_text

__all__ = ["print_training"]

_ENGINES = {"caffe": "Caffe", "torch": "PyTorch"}
_OTHER_TABLES = ("per_layer", "by_block", "memory", "receptive_field", "sort", "top", "phase")


def print_training(args: argparse.Namespace) -> int:
    """Print the memory of the training of one file."""
    limit = _limit(args.fit_memory)
    if len(args.files) > 1:
        raise ConfigError(f"--training is for one file, got {len(args.files)}")
    for option in _OTHER_TABLES:
        if getattr(args, option):
            raise ConfigError(f"--training is a table of its own: leave out --{option.replace('_', '-')}")
    file = net_file(args.files[0])
    nets = _nets(file, args)
    if args.batch:
        nets = nets.with_batch(args.batch)
    found = {engine: training_memory(nets, engine, args.bytes) for engine in _ENGINES}
    fits = {engine: largest_batch(nets, engine, limit, args.bytes) for engine in _ENGINES} if limit else {}
    if args.format == "json":
        import json

        print(json.dumps(_as_data(nets, found, fits, limit), indent=2))
        return 0
    rows = _rows(found, fits, args.fit_memory)
    if args.format != "table":
        print(report.render(rows, args.format))
        return 0
    print(f"{_title(file, nets)}\n")
    print(table_text(rows, exact=args.exact))
    for name, why in found["caffe"].uncounted.items():
        print(printable(f"not all counted: {name}, {why}"))
    return 0


def _limit(text: str | None) -> int | float | None:
    from netbuilder.designing.expressions import number

    if text is None:
        return None
    try:
        limit = number(text)
    except ConfigError as error:
        raise ConfigError(f"--fit-memory: {error.text}", hint="for example 16G or 15.5GiB") from None
    if limit <= 0:
        raise ConfigError(f"--fit-memory must be above 0, got {text}", key="fit-memory")
    return limit


# ---- the nets --------------------------------------------------------------------------------------------


def _nets(file: str, args: argparse.Namespace) -> Nets:
    """The nets of a solver with its type; of another file the net of each phase."""
    text = read_text(file)
    solver = SolverParameter()
    if is_solver(text):
        read = parse_solver(text, file)
        sources = [net for net in read.nets(level=args.level, stages=args.stage) if net.used]
        solver = read.solver
    else:
        sources = list(nets_of(file, None, level=args.level, stages=args.stage))
    train = [_read(net, args) for net in sources if net.phase == "TRAIN"]
    if not train:
        raise ConfigError("this solver names no net to train", path=file)
    tested = [net for net in sources if net.phase == "TEST"]
    tests = [_read(net, args) for net in tested] if solver.ListFields() else _tested(tested, args)
    l1 = solver.regularization_type == "L1" and solver.weight_decay > 0
    return Nets(train[0], tuple(tests), args.solver_type or solver_type(solver), l1)


def _tested(sources: list[SolverNet], args: argparse.Namespace) -> list[Net]:
    """The net for TEST of a file without a solver, if it has data for one."""
    try:
        found = [_read(net, args) for net in sources]
    except (StaleBlob, FieldError):
        return []
    return [net for net in found if any(is_source(layer.proto) and layer.tops for layer in net)]


def _read(source: SolverNet, args: argparse.Namespace) -> Net:
    """A net in the batch of its own file, whatever batch `--input` has."""
    net = read_net(source, dialect=args.dialect, unknown="keep", inputs=given_inputs(args))
    if missing := how_to_give(net):
        given = " ".join(f"--input {shlex.quote(text)}" for text in missing)
        raise ConfigError(
            "the shapes of the data are not in the file, and memory is that of blobs", path=source.where,
            hint=f"give them, as in {given}",
        )  # fmt: skip
    batch = data_batch(net)
    if batch and args.input and batch != batch_size(net):
        from netbuilder.transforms.rebatch import rebatched

        return rebatched(net, batch)
    return net


# ---- what is printed -------------------------------------------------------------------------------------


def _title(file: str, nets: Nets) -> str:
    name = printable(nets.train.name or file)
    tests = ", ".join(str(batch_size(net)) for net in nets.tests)
    tested = f"{number_of(len(nets.tests), 'test net')} of batch {tests}" if tests else "no test net"
    return f"{name}, training by {nets.solver}: batch {batch_size(nets.train)}, {tested}"


def _rows(found: Mapping[str, TrainingMemory], fits: Mapping[str, Fitting], limit: str | None) -> Table:
    least = bool(found["caffe"].uncounted)
    rows: list[tuple[Cell, ...]] = [
        (caption, *(Bytes(memory.parts[key]) for memory in found.values())) for key, caption in PARTS.items()
    ]
    rows.append(("all", *(Bytes(memory.total, least=least) for memory in found.values())))
    if fits:
        rows += [
            (f"largest batch in {limit}", *(fit.batch for fit in fits.values())),
            ("its memory", *(Bytes(fit.total, least=least) for fit in fits.values())),
            ("with one image more", *(Bytes(fit.next, least=least) for fit in fits.values())),
        ]
    columns = (Column("part", "memory"), *(Column(e, name, True) for e, name in _ENGINES.items()))
    return Table(columns, tuple(rows))


def _as_data(
    nets: Nets, found: Mapping[str, TrainingMemory], fits: Mapping[str, Fitting], limit: int | float | None
) -> dict[str, Any]:
    fitted = {
        engine: {"batch": fit.batch, "total_bytes": fit.total, "next_bytes": fit.next}
        for engine, fit in fits.items()
    }
    return {
        "version": FORMAT_VERSION,
        "name": nets.train.name,
        "solver": nets.solver,
        "batch": batch_size(nets.train),
        "test_batches": [batch_size(net) for net in nets.tests],
        "training": {
            engine: {
                **{f"{key}_bytes": size for key, size in memory.parts.items()},
                "total_bytes": memory.total,
                "uncounted": dict(memory.uncounted),
            }
            for engine, memory in found.items()
        },
        **({"fit": {"limit_bytes": limit, **fitted}} if fits else {}),
    }
