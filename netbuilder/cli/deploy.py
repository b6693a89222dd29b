"""`netbuilder deploy FILE`: the net to hand over, from a train_val or a solver file."""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from netbuilder.cli.options import (
    Verbs,
    add_debug,
    add_force,
    add_input,
    add_json,
    add_output,
    add_outputs,
    add_state,
    given_inputs,
)
from netbuilder.errors import NetBuilderError, PrototxtError, StaleBlob, shape_text
from netbuilder.net import Net
from netbuilder.prototxt.reader import nets_of, read_net
from netbuilder.prototxt.solver_file import SolverNet
from netbuilder.prototxt.writer import write
from netbuilder.transforms.deploy import Deployed, deployed

__all__ = ["add_parser"]


def add_parser(verbs: Verbs) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "deploy",
        description="Write the net to hand over: Input layers in place of data layers, probabilities in "
        "place of losses, without labels, metrics and other layers that only a training needs. Names stay, "
        "so that a trained model of the original fits.",
        epilog="example: netbuilder deploy train_val.prototxt -o deploy.prototxt --input data=1,3,227,227",
    )
    parser.add_argument("file", metavar="FILE", help="a train_val, or a solver, whose net is taken")
    add_output(parser, "the file to write", "FILE", required=True)
    add_input(parser)
    parser.add_argument("--batch", type=int, metavar="N", help="the batch (default: 1 image)")
    parser.add_argument(
        "--label", action="append", default=[], metavar="NAME",
        help="a blob of a data layer that the net is not to have, where it is not found to be a label",
    )  # fmt: skip
    add_outputs(parser)
    add_state(parser)
    add_force(parser)
    add_json(parser)
    add_debug(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    net, source, assumed = _read(args)
    train = None if net.phase == "TRAIN" else _train(args)
    found = deployed(net, train, batch=args.batch, labels=args.label, outputs=args.outputs)
    found = found._replace(assumed=(*assumed, *found.assumed))
    write(found.net, args.output, header=f"from: {source.path}", force=args.force)
    if args.json:
        import json

        print(json.dumps(_as_data(found, args.output), indent=2))
    else:
        print("\n".join(_lines(found, len(net.layers))))
        print(f"wrote {args.output}", file=sys.stderr)
    return 0


def _read(args: argparse.Namespace) -> tuple[Net, SolverNet, list[str]]:
    """The net that is handed over, where it is from, and what was assumed to find it.

    That is the TEST net. Where it lacks its data, files of DIGITS have the stages deploy and val, and others
    are for training alone.
    """
    attempts = [("TEST", args.stage, "")]
    if not args.stage:
        attempts += [("TEST", [stage], f"--stage {stage}") for stage in ("deploy", "val")]
    attempts.append(("TRAIN", args.stage, "the layers of TRAIN: the file has no other data"))
    first: NetBuilderError | None = None
    for phase, stages, what in attempts:
        try:
            source = nets_of(args.file, phase, level=args.level, stages=stages)[0]
            inputs = given_inputs(args)
            return read_net(source, dialect="any", unknown="keep", inputs=inputs), source, [what] * bool(what)
        except (StaleBlob, PrototxtError) as error:  # no data, or a solver without this net
            first = first or error
    assert first is not None
    raise first


def _train(args: argparse.Namespace) -> Net | None:
    """The TRAIN net of the file, whose losses count where TEST has none; None if there is none."""
    try:
        source = nets_of(args.file, "TRAIN", level=args.level, stages=args.stage)[0]
        return read_net(source, dialect="any", unknown="keep")
    except NetBuilderError:
        return None


def _lines(found: Deployed, layers: int) -> list[str]:
    shapes = {name: shape_text(found.net.blobs[name].known_shape) for name in found.inputs}
    lines = [f"inputs   {', '.join(f'{name} {shape}' for name, shape in shapes.items())}"]
    made = {name: f"{name} (made of a loss)" for name in found.made}
    lines.append(f"outputs  {', '.join(made.get(name, name) for name in found.outputs)}")
    counted = Counter(found.removed.values())
    dropped = ", ".join(f"{number} for {why}" if number > 1 else why for why, number in counted.items())
    lines.append(f"layers   {len(found.net.layers)}, of {layers}")
    lines += [f"dropped  {dropped}"] if dropped else []
    lines += [f"assumed  {what}" for what in found.assumed]
    return lines


def _as_data(found: Deployed, path: str) -> dict[str, object]:
    return {
        "version": 1,
        "file": path,
        "inputs": {name: found.net.blobs[name].shape for name in found.inputs},
        "outputs": {name: found.net.blobs[name].shape for name in found.outputs},
        "made": list(found.made),
        "removed": found.removed,
        "assumed": list(found.assumed),
    }
