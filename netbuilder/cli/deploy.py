"""`netbuilder deploy FILE`: the net to hand over, from a train_val or a solver file."""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from netbuilder.cli.net_files import net_file
from netbuilder.cli.options import (
    Verbs,
    add_debug,
    add_force,
    add_input,
    add_json,
    add_output,
    add_outputs,
    add_state,
)
from netbuilder.cli.reading import read_test_net, read_train_net
from netbuilder.cli.terminal import fitted_lines
from netbuilder.errors import printable, shape_text
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
    parser.add_argument(
        "file", metavar="FILE", type=net_file, help="a train_val, or a solver, whose net is taken"
    )
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
    net, source, assumed = read_test_net(args)
    train = None if net.phase == "TRAIN" else read_train_net(args)
    found = deployed(net, train, batch=args.batch, labels=args.label, outputs=args.outputs)
    found = found._replace(assumed=(*assumed, *found.assumed))
    write(found.net, args.output, header=f"from: {source.path}", force=args.force)
    if args.json:
        import json

        print(json.dumps(_as_data(found, args.output), indent=2))
    else:
        print("\n".join(map(printable, _lines(found, len(net.layers)))))
        print(printable(f"wrote {args.output}"), file=sys.stderr)
    return 0


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
    return [part for line in lines for part in fitted_lines(line, " " * 9)]


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
