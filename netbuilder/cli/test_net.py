"""`netbuilder test NET --weights MODEL`: a net's mean outputs on its test data, or how often it is right."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from netbuilder.cli import evaluating
from netbuilder.cli.options import Verbs, add_state
from netbuilder.cli.progress import Progress
from netbuilder.cli.terminal import say
from netbuilder.cli.training_options import (
    add_net,
    add_weights,
    chosen_engine,
    one_device,
    report_weights,
    require_trust,
    stopping,
    weights_files,
    with_python_layers,
)
from netbuilder.errors import ConfigError, counted

if TYPE_CHECKING:
    from netbuilder.prototxt.solver_file import SolverNet

__all__ = ["add_parser"]


def add_parser(verbs: Verbs) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "test",
        description="The mean accuracy, loss and other outputs of the TEST net over so many passes; or "
        "top-1, top-5 and more from its scores, over each record of its test set once.",
        epilog="example: netbuilder test train_val.prototxt --weights net.caffemodel --images 10000; "
        "netbuilder test train_val.prototxt --weights a.caffemodel b.caffemodel --resize 256 --crop 224. "
        "Exit code: 0 tested, 1 the results are not finite, 2 a mistake, or the engine failed, 130 stopped "
        "by Ctrl-C",
    )
    add_net(parser)
    add_weights(parser, "to test", required=True)
    parser.add_argument(
        "--iterations",
        type=int,
        metavar="N",
        help="passes (default: a solver's test_iter, else 50)",
    )
    parser.add_argument(
        "--images",
        type=int,
        metavar="N",
        help="the same as images: N / batch passes; the first N, if scores are counted",
    )
    add_state(parser)
    evaluating.add_options(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from netbuilder.cli.terminal import columns_text
    from netbuilder.prototxt.reader import nets_of, read_net
    from netbuilder.training.events import Tested, Testing
    from netbuilder.training.health import honest, is_finite, metrics
    from netbuilder.training.plan import plan_net
    from netbuilder.training.preflight import NetInUse, error_of, of_inputs, of_passes

    source, *others = nets_of(args.net, "TEST", level=args.level, stages=args.stage)
    net, path = read_net(source, dialect="any", unknown="keep"), str(source.path)
    net = with_python_layers(args, net)
    counts = evaluating.wanted(args)
    passes = 1 if counts else _passes(args, net, source.passes)
    if others:
        more = "--stage chooses another" if source.stages else "the file of another can be given"
        which = f"the first of {len(others) + 1} test nets, {source.state()}"
        print(
            f"note: this is {which}; {more}",
            file=sys.stderr,
        )
    devices = one_device(args.gpu)
    weights = weights_files(args)
    engine = chosen_engine(args)
    plan = plan_net(
        path, net, source=source, weights=weights, iterations=passes, devices=devices, threads=args.threads,
        dtype=args.dtype,
    )  # fmt: skip
    require_trust(args, [(path, net)])
    for finding in of_inputs(NetInUse(source, net)):
        raise error_of(finding)
    if counts:
        return evaluating.run(args, engine, plan)
    for finding in of_passes(NetInUse(source, net), passes, _what(args, source)):
        say(f"warning: {finding.text}" + (f" ({finding.fix})" if finding.fix else ""))
    taken = report_weights([net], weights)
    progress, tested = Progress("passes", passes), None
    with engine.test(plan).start() as run, stopping(run):
        for event in run:
            if isinstance(event, Testing):
                progress.bar(f"testing: {event.done} of {event.of}")
            elif isinstance(event, Tested):
                tested = event
    progress.close()
    if tested is None:
        print("stopped", file=sys.stderr)
        return 130
    tested = honest(tested, metrics(net))
    code = 0 if is_finite(tested) else 1
    if code:
        print(
            "error: the results are not finite\nhint:  the weights are of a training that has diverged, or "
            "the data has values that are not finite",
            file=sys.stderr,
        )
    if args.json:
        import json

        from netbuilder.training.record import finite

        data = {"version": 1, "net": path, "weights": args.weights, "passes": passes, "model": taken}
        results = finite({"loss": tested.loss, "outputs": tested.outputs})
        print(json.dumps({**data, **results}, indent=2))
        return code
    rows = [
        (name if len(values) == 1 else f"{name}[{i}]", f"{value:.6g}")
        for name, values in tested.outputs.items()
        for i, value in enumerate(values)
    ]
    print(columns_text(("output", "mean"), rows, right=(1,)))
    return code


def _what(args: argparse.Namespace, source: SolverNet) -> str:
    """What says how many passes there are."""
    return "--iterations" if args.iterations is not None or not source.passes else "test_iter"


def _passes(args: argparse.Namespace, net: Any, of_solver: int) -> int:
    if args.iterations is not None and args.images is not None:
        raise ConfigError("--iterations and --images exclude each other", key="images")
    if args.images is None:
        passes = (of_solver or 50) if args.iterations is None else args.iterations
    else:
        from netbuilder.solvers.batch import data_batch

        batch = data_batch(net)
        if not batch:
            raise ConfigError(
                f"{args.net} has no data layer with a batch", key="images", hint="give --iterations"
            )
        passes = -(-args.images // batch)
        if passes * batch != args.images:
            over = passes * batch - args.images
            twice = f"{counted(passes, 'pass', 'passes')} of {batch} take {counted(over, 'image')} twice"
            say(f"note: {twice}")
    if passes < 1:
        raise ConfigError(f"there must be at least 1 pass, got {passes}", key="iterations")
    return int(passes)
