"""`netbuilder time NET`: how long each layer takes, beside what it computes."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping
from typing import Any

from netbuilder.cli.options import Verbs, add_state
from netbuilder.cli.progress import Progress
from netbuilder.cli.training_options import (
    add_net,
    chosen_engine,
    one_device,
    require_trust,
    stopping,
    with_python_layers,
)
from netbuilder.errors import ConfigError, printable
from netbuilder.errors import counted as number_of

__all__ = ["add_parser"]


def add_parser(verbs: Verbs) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "time",
        description="Forward and backward time of each layer, the median of some passes (the mean, where it "
        "is the caffe binary that times), beside its multiply-accumulates.",
        epilog="example: netbuilder time deploy.prototxt --phase TEST --top 10",
    )
    add_net(parser, "the device (default: the CPU); of Caffe, only by its binary, which waits for it")
    parser.add_argument(
        "--phase", choices=("TRAIN", "TEST"), default="TRAIN", help="default: TRAIN, as in Caffe"
    )
    add_state(parser)
    parser.add_argument("--iterations", type=int, default=10, metavar="N", help="passes (default: 10)")
    parser.add_argument("--top", type=int, metavar="N", help="the N slowest layers only")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from netbuilder.measure import counts
    from netbuilder.prototxt.reader import nets_of, read_net
    from netbuilder.training.events import Timed, Timing
    from netbuilder.training.plan import plan_net

    for name in ("iterations", "top"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name} must be at least 1, got {value}", key=name)
    source = nets_of(args.net, args.phase, level=args.level, stages=args.stage)[0]
    net, path = read_net(source, dialect="any", unknown="keep"), str(source.path)
    net = with_python_layers(args, net)
    counted = counts.count(net)
    engine = chosen_engine(args)
    devices = one_device(args.gpu)
    plan = plan_net(
        path, net, source=source, iterations=args.iterations, devices=devices, threads=args.threads,
        dtype=args.dtype,
    )  # fmt: skip
    require_trust(args, [(path, net)])
    progress, timed = Progress("passes", args.iterations), None
    with engine.time(plan).start() as run, stopping(run):
        for event in run:
            if isinstance(event, Timing):
                progress.bar(f"timing: pass {event.done} of {event.of}")
            elif isinstance(event, Timed):
                timed = event
    progress.close()
    if timed is None:
        print("stopped", file=sys.stderr)
        return 130
    macs = {row.layer.name: row.figure("macs") for row in counted.layers}
    layers: list[dict[str, Any]] = [
        {
            "name": layer.name,
            "type": layer.type,
            "forward_ms": 1000 * statistics.median(layer.forward),
            "backward_ms": 1000 * statistics.median(layer.backward),
            "macs": macs.get(layer.name, 0),  # an engine's own layers are in no file
        }
        for layer in timed.layers
    ]
    for row in layers:
        row["gflops_forward"] = _speed(row["macs"], counted.batch, row["forward_ms"])
    if args.json:
        _print_json(args, path, counted.batch, layers, timed.memory)
    else:
        _print_table(args, counted.batch, layers)
        passes = f"the {timed.figure} of {number_of(args.iterations, 'pass', 'passes')}"
        print(printable(f"batch {counted.batch}, {args.phase}, {passes}, {_where(args)}"), file=sys.stderr)
        if timed.memory:
            sizes = (f"{what} {size / 2**20:,.1f} MiB" for what, size in timed.memory.items())
            print(printable(f"memory: {', '.join(sizes)}"), file=sys.stderr)
    return 0


def _speed(macs: float | None, batch: int, milliseconds: float) -> float | None:
    """The achieved GFLOP/s, two to a multiply-accumulate; None if nothing is counted."""
    return 2 * macs * batch / milliseconds / 1e6 if macs and milliseconds else None


def _print_json(
    args: argparse.Namespace, path: str, batch: int, layers: list[dict[str, Any]], memory: Mapping[str, int]
) -> None:
    import json

    data = {"version": 1, "net": path, "phase": args.phase, "batch": batch, "iterations": args.iterations}
    totals = {key: sum(layer[key] for layer in layers) for key in ("forward_ms", "backward_ms")}
    how = {"engine": args.engine, "dtype": args.dtype, "threads": args.threads, "memory": dict(memory)}
    print(json.dumps({**data, **how, "totals": totals, "layers": layers}, indent=2))


def _print_table(args: argparse.Namespace, batch: int, layers: list[dict[str, Any]]) -> None:
    from netbuilder.cli.terminal import columns_text

    def cells(name: str, type: str, forward: float, backward: float, macs: float | None) -> tuple[str, ...]:
        part = (forward + backward) / whole if whole else 0.0
        gflops = _speed(macs, batch, forward)
        speed = "" if gflops is None else f"{gflops:.1f}"
        return (
            name, type, f"{forward:.3f}", f"{backward:.3f}", f"{part:.1%}",
            "?" if macs is None else f"{macs:,}", speed,
        )  # fmt: skip

    whole = sum(x["forward_ms"] + x["backward_ms"] for x in layers)
    shown = layers
    if args.top is not None:
        shown = sorted(layers, key=lambda x: -(x["forward_ms"] + x["backward_ms"]))[: args.top]
    rest = [x for x in layers if not any(x is y for y in shown)]

    def total(name: str, some: list[dict[str, Any]]) -> tuple[str, ...]:
        known = None if any(x["macs"] is None for x in some) else sum(x["macs"] for x in some)
        forward, backward = (sum(x[key] for x in some) for key in ("forward_ms", "backward_ms"))
        return cells(name, "", forward, backward, known)

    rows = [cells(x["name"], x["type"], x["forward_ms"], x["backward_ms"], x["macs"]) for x in shown]
    rows += [total(f"{len(rest)} others", rest)] if rest else []
    rows.append(total("total", layers))
    head = ("layer", "type", "forward ms", "backward ms", "part", "MACs an image", "GFLOP/s forward")
    print(columns_text(head, rows, right=(2, 3, 4, 5, 6), rank={1: 3, 6: 2, 3: 1}))


def _where(args: argparse.Namespace) -> str:
    if args.gpu:
        return f"GPU {args.gpu}, {args.engine}, {args.dtype}"
    return f"{args.threads} thread{'s' if args.threads > 1 else ''}, {args.engine}, {args.dtype}"
