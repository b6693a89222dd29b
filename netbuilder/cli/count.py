"""`netbuilder count FILE...`: parameters, operations and memory of prototxt files, or what a model stores."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from netbuilder import prototxt, report
from netbuilder.cli.net_files import NET, net_files
from netbuilder.cli.options import (
    Options,
    Verbs,
    add_bytes,
    add_debug,
    add_format,
    add_input,
    add_state,
    given_inputs,
)
from netbuilder.cli.terminal import (
    add_color,
    add_exact,
    fitted_lines,
    painted_table,
    say,
    say_error,
    table_text,
    width,
)
from netbuilder.errors import ConfigError, NetBuilderError, PrototxtError, printable
from netbuilder.errors import counted as number_of
from netbuilder.measure import counts
from netbuilder.measure.counts import Counts
from netbuilder.net import Net
from netbuilder.prototxt.inputs import how_to_give, unknown_makers
from netbuilder.prototxt.reader import read_for
from netbuilder.report import table
from netbuilder.report.formats import Table
from netbuilder.schema.dialects import DIALECTS
from netbuilder.weights.model import is_binary

__all__ = ["add_parser"]


class _Counted(NamedTuple):
    """A file that was read and counted; `label` is what its column or rows are called.

    `state` is the one that a solver gives the net.
    """

    file: str
    net: Net
    counts: Counts
    label: str = ""
    state: str = ""


def add_parser(verbs: Verbs) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "count",
        description="Parameters, operations and memory of prototxt files, several of them side by side; the "
        "stored parameters of a .caffemodel.",
        epilog="example: netbuilder count train_val.prototxt --input data=1,3,224,224 --sort macs. "
        "Exit code: 0, or 2 if a file cannot be read; of several files the others are counted all the same.",
    )
    parser.add_argument("files", metavar="FILE", nargs="+", help=f"{NET}, or a folder; or one .caffemodel")
    parser.add_argument(
        "--phase", choices=("TRAIN", "TEST"), help="default: TEST, unless the file has data for TRAIN only"
    )
    add_state(parser)
    add_input(parser)
    parser.add_argument(
        "--batch", type=_positive, metavar="N", help="count with this batch size in place of the file's"
    )
    parser.add_argument(
        "--dialect",
        choices=tuple(DIALECTS),
        default="any",
        metavar="DIALECT",
        help="the Caffe that the file is for; layer types it lacks are not counted (default: %(default)s): "
        + ", ".join(DIALECTS),
    )
    rows = parser.add_mutually_exclusive_group()
    rows.add_argument("--per-layer", action="store_true", help="a row for each layer")
    rows.add_argument("--by-block", action="store_true", help="a row for each block of layers")
    rows.add_argument(
        "--memory", action="store_true", help="a row for each layer: what it works on, and what is alive then"
    )
    add_bytes(parser)
    _add_training(parser)
    parser.add_argument(
        "--sort", metavar="FIGURE", choices=tuple(table.SORT_KEYS),
        help=f"sort the rows by this figure: {', '.join(table.SORT_KEYS)}",
    )  # fmt: skip
    parser.add_argument("--top", type=_positive, metavar="N", help="only the first N rows, the others in one")
    parser.add_argument(
        "--receptive-field", action="store_true", help="what each layer sees of the image, per layer"
    )
    add_format(parser, (*report.TEXT_FORMATS, "json"))
    add_exact(parser)
    add_color(parser)
    parser.add_argument("--schema", action=_PrintSchema, help="print the JSON Schema of --json, and end")
    add_debug(parser)
    parser.set_defaults(run=_run)


def _add_training(parser: Options) -> None:
    parser.add_argument(
        "--training", action="store_true",
        help="the memory of a whole training: the nets to train and to test, gradients, the solver's history",
    )  # fmt: skip
    parser.add_argument(
        "--solver-type", metavar="TYPE",
        help="with --training: SGD, Nesterov, AdaGrad, RMSProp, AdaDelta or Adam (default: that of a solver "
        "file, else SGD)",
    )  # fmt: skip
    parser.add_argument(
        "--fit-memory", metavar="SIZE",
        help="the largest batch whose training fits into so much memory: 16G, or 15.5GiB",
    )  # fmt: skip


class _PrintSchema(argparse.Action):
    def __init__(self, option_strings: Any, dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(report.SCHEMA.read_text(encoding="utf-8"), end="")
        parser.exit()


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"takes a whole number from 1 on, got '{text}'")
    return int(text)


def _run(args: argparse.Namespace) -> int:
    if args.format == "json" and (args.sort or args.top):
        raise ConfigError("--sort and --top are for tables: JSON has every layer, in file order")
    if args.by_block and args.receptive_field and args.format != "json":
        raise ConfigError("--receptive-field is a figure of layers: give --per-layer, not --by-block")
    if args.training or args.fit_memory or args.solver_type:
        from netbuilder.cli.training_memory import print_training

        return print_training(args)
    args.files = net_files(args.files, solvers=False)
    if len(args.files) == 1 and is_binary(args.files[0]):
        return _count_model(args)
    sorts_memory = args.sort in table.MEMORY_KEYS[1:]
    if args.sort and args.sort != "name" and sorts_memory != args.memory:
        raise ConfigError(
            f"--sort {args.sort} is for {'--memory' if sorts_memory else 'tables without --memory'}"
        )
    if args.memory and args.receptive_field:
        raise ConfigError("--memory and --receptive-field are two tables: give one of them")
    if not (args.by_block or args.memory):
        args.per_layer = bool(args.per_layer or args.sort or args.top or args.receptive_field)
    inputs = given_inputs(args)
    found: list[_Counted] = []
    errors: dict[str, str] = {}
    for file in args.files:
        try:
            net, state = _read(file, args, inputs)
        except NetBuilderError as error:
            if len(args.files) == 1:
                raise
            errors[file] = f"{type(error).__name__}: {error}"
            continue
        figures = counts.count(net)
        if args.bytes != counts.FLOAT_BYTES:
            from netbuilder.measure.memory import with_bytes

            figures = with_bytes(figures, args.bytes)
        found.append(_Counted(file, net, figures, state=state))
    found = _labelled(found)
    if found or args.format == "json":
        print(_text(args, found, errors))
        sys.stdout.flush()
    for file, text in errors.items():
        say_error(file, text)
    for counted in found:
        _talk(args, counted, several=len(args.files) > 1)
    return 2 if errors else 0


def _read(file: str, args: argparse.Namespace, inputs: dict[str, tuple[int, ...]]) -> tuple[Net, str]:
    """The net to count, and the state that a solver gives it, "" if none."""
    if is_binary(file):
        raise ConfigError(
            f"'{file}' is not text; a .caffemodel holds stored parameters, and no net to set beside others",
            hint=f"give it alone: netbuilder count {shlex.quote(file)}",
        )
    net, source = read_for(
        file, args.phase, level=args.level, stages=args.stage, dialect=args.dialect, unknown="keep",
        inputs=inputs,
    )  # fmt: skip
    if not net.layers:
        raise PrototxtError(f"there is no layer for phase {net.phase} in this file", path=file)
    state = source.state() if source.field and (source.level or source.stages) else ""
    if args.batch is None:
        return net, state
    missing = how_to_give(net)
    if missing and not any(top.shape for top in net.inputs):
        raise ConfigError(
            "--batch needs the shapes of the data, which are not in the file",
            path=file,
            hint=f"give them too, as in {_as_options(missing)}",
        )
    from netbuilder.transforms.rebatch import rebatched

    return rebatched(net, args.batch), state


def _labelled(found: list[_Counted]) -> list[_Counted]:
    """With the names of the nets as labels, or those of the files where nets have none, or the same."""
    names = [counted.net.name for counted in found]
    if not all(names) or len(set(names)) < len(names):
        names = [counted.file for counted in found]
    return [counted._replace(label=name) for counted, name in zip(found, names, strict=True)]


def _talk(args: argparse.Namespace, counted: _Counted, *, several: bool) -> None:
    """What is to be said besides the figures, on stderr."""
    about = f"{counted.file}: " if several else ""
    if counted.state:
        say(f"{about}counted in {counted.state}")
    missing = how_to_give(counted.net)
    if missing:
        given = f"give them, as in {_as_options(missing)}"
        say(f"{about}the shapes of its data are not in the file: {given}")
    unknown = unknown_makers(counted.net)
    if unknown:
        text = f"{about}what comes after unknown layers is not counted: give the shapes of their tops, as in"
        say(f"{text} {_as_options(unknown)}")
    if args.format in ("markdown", "latex", "csv") and counted.counts.uncounted:
        print(
            "\n".join([f"{about}figures are at least", *table.not_counted(counted.counts)]), file=sys.stderr
        )
    if args.by_block:
        from netbuilder.measure.blocks import blocks, named

        if not named(blocks(counted.net)):
            say(f"{about}the file names no blocks: a row is a layer, and what works on it in place")


def _as_options(inputs: list[str]) -> str:
    return " ".join(f"--input {text}" for text in inputs)


# ---- what is printed -------------------------------------------------------------------------------------


def _text(args: argparse.Namespace, found: list[_Counted], errors: Mapping[str, str]) -> str:
    several = len(args.files) > 1
    if args.format == "json":
        import json

        nets = [(counted.file, _data(args, counted)) for counted in found]
        data = report.several_as_data(nets, errors) if several else nets[0][1]
        return json.dumps(data, indent=2)
    named = {counted.label: counted.counts for counted in found}
    if args.format == "table":
        parts = []
        if args.per_layer or args.by_block or args.memory:
            for counted in found:
                text = _fitted(args, table.slim(_rows(args, counted)))
                parts.append(f"{_title(counted)}\n{text}" if several else text)
        if several:
            parts.append(_compared(args, table.comparison(named)))
            lists = [(c.label, _not_counted(c.counts)) for c in found]
            parts += ["\n".join([f"{label}: {lines[0]}", *lines[1:]]) for label, lines in lists if lines]
        else:
            (only,) = found
            parts.append(report.headline(only.counts))
            totals = _fitted(args, table.total_rows(only.counts))
            parts.append("\n".join([_title(only), totals, *_not_counted(only.counts)]))
        return "\n\n".join(parts)
    if args.per_layer or args.by_block or args.memory:
        tables = [(counted.label, _rows(args, counted)) for counted in found]
        rows = table.joined(tables, sums=args.format != "csv") if len(found) > 1 else tables[0][1]
        return report.render(rows if args.format == "csv" else table.slim(rows), args.format)
    if args.format == "csv":
        return report.render(table.plain_totals(named), "csv")
    figures = table.comparison(named) if several else table.total_rows(found[0].counts)
    return report.render(figures, args.format)


def _not_counted(counted: Counts) -> list[str]:
    return [part for line in table.not_counted(counted) for part in fitted_lines(line, " " * 4)]


def _fitted(args: argparse.Namespace, rows: Table) -> str:
    return table_text(
        rows,
        exact=args.exact,
        keep=[table.SORT_KEYS[args.sort]] if args.sort else (),
        args=args,
    )


def _compared(args: argparse.Namespace, totals: Table) -> str:
    columns = width()
    if columns is None:
        return report.render(totals, "table")
    from netbuilder.report.terminal import compared

    return painted_table(compared(totals, columns, exact=args.exact), args)


def _title(counted: _Counted) -> str:
    name = printable(counted.net.name or counted.file)
    return f"{name}, {counted.net.phase}, {number_of(len(counted.net), 'layer')}"


def _rows(args: argparse.Namespace, counted: _Counted) -> Table:
    if args.by_block:
        from netbuilder.measure.blocks import blocks

        rows = table.block_rows(counted.counts, blocks(counted.net))
    elif args.memory:
        from netbuilder.measure.memory import memory

        complete = not counted.counts.uncounted
        rows = table.memory_rows(memory(counted.net, args.bytes), complete=complete)
    else:
        rows = table.layer_rows(counted.counts, _fields(args, counted))
    return table.arranged(rows, args.sort, args.top)


def _fields(args: argparse.Namespace, counted: _Counted) -> Any:
    if not args.receptive_field:
        return None
    from netbuilder.measure.geometry import receptive_fields

    return receptive_fields(counted.net)


def _data(args: argparse.Namespace, counted: _Counted) -> dict[str, Any]:
    found = None
    if args.by_block:
        from netbuilder.measure.blocks import blocks

        found = blocks(counted.net)
    rows = None
    if args.memory:
        from netbuilder.measure.memory import memory

        rows = memory(counted.net, args.bytes)
    fields = _fields(args, counted)
    return report.as_data(counted.net, counted.counts, fields=fields, blocks=found, memory=rows)


def _count_model(args: argparse.Namespace) -> int:
    """What a trained model stores."""
    model = prototxt.read_model(args.files[0])
    for option, given in (
        ("--input", args.input),
        ("--batch", args.batch),
        ("--by-block", args.by_block),
        ("--memory", args.memory),
        ("--receptive-field", args.receptive_field),
    ):
        if given:
            raise ConfigError(f"{option} is for a prototxt file: a .caffemodel stores no input shapes")
    if args.sort not in (None, "name", "stored", "params"):
        raise ConfigError(f"--sort {args.sort} is for a prototxt file: a .caffemodel stores parameters only")
    if args.format == "json":
        import json

        print(json.dumps(report.model_as_data(model), indent=2))
        return 0
    sort = "stored" if args.sort == "params" else args.sort
    rows = table.arranged(table.model_rows(model), sort, args.top)
    if args.format == "table":
        stored = sum(bool(x.blobs) for x in model.layers)
        layers = f"{stored} of {number_of(len(model.layers), 'layer')}"
        print(f"{printable(model.name or args.files[0])}, {layers} with stored params\n")
    print(_fitted(args, rows) if args.format == "table" else report.render(rows, args.format))
    return 0
