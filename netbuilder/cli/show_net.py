"""`netbuilder show-net MODEL`: the net that a .caffemodel carries, as prototxt."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from netbuilder.cli.options import Verbs, add_debug, add_force, add_output
from netbuilder.errors import printable
from netbuilder.prototxt.from_model import model_net
from netbuilder.prototxt.text_read import parse
from netbuilder.prototxt.upgrade import upgrade
from netbuilder.prototxt.writer import text_of
from netbuilder.schema import NetParameter
from netbuilder.schema.dialects import ANY
from netbuilder.storage.files import write_files

__all__ = ["add_parser"]


def add_parser(verbs: Verbs) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "show-net",
        description="Print the net that a .caffemodel carries, in today's format: the layers that Caffe "
        "trained, TRAIN's in most models, without the weights and without the Splits that it inserted. Other "
        "verbs take such a model as their net: `netbuilder deploy MODEL -o deploy.prototxt`.",
        epilog="example: netbuilder show-net bvlc_alexnet.caffemodel -o train.prototxt",
    )
    parser.add_argument("model", metavar="MODEL", help="a .caffemodel of any format; HDF5 has no net")
    add_output(parser, "the file to write (default: print it)", "FILE")
    add_force(parser)
    add_debug(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    found = model_net(args.model)
    parsed = parse(found.text, NetParameter, path=args.model, lenient=True, dialect=ANY)
    net, layers, *_ = upgrade(parsed, found.text, path=args.model, lenient=True)
    text = text_of(net, ((layer, "") for layer in layers), f"net of: {args.model}")
    if args.output and args.output != "-":
        write_files({Path(args.output): text}, force=args.force)
        print(printable(f"wrote {args.output}"), file=sys.stderr)
    else:
        print(text, end="")
    for what in found.unknown:
        print(printable(f"note: left out {what}: a fork's, known by number alone"), file=sys.stderr)
    return 0
