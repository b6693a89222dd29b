"""`netbuilder freeze FILE PATTERN...`: layers that stay as they are in a training."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from netbuilder.cli.net_files import net_file
from netbuilder.cli.options import (
    Verbs,
    add_debug,
    add_force,
    add_freeze_statistics,
    add_input,
    add_json,
    add_output,
    add_state,
)
from netbuilder.cli.reading import read_test_net, read_train_net
from netbuilder.errors import printable
from netbuilder.prototxt.comments import above_layers
from netbuilder.prototxt.text_read import parse
from netbuilder.prototxt.upgrade import upgrade
from netbuilder.prototxt.writer import text_of
from netbuilder.schema import NetParameter
from netbuilder.schema.dialects import ANY
from netbuilder.storage.files import write_files
from netbuilder.transforms.freeze import Frozen, freeze

__all__ = ["add_parser"]


def add_parser(verbs: Verbs) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "freeze",
        description="Write a net whose layers of these names stay as they are in a training: their lr_mult "
        "and decay_mult become 0. Everything else stays, both phases too; old formats become today's.",
        epilog="example: netbuilder freeze train_val.prototxt 'conv[1-4]*' -o finetune.prototxt",
    )
    parser.add_argument("file", metavar="FILE", type=net_file, help="a train_val, or a solver that names it")
    parser.add_argument("freeze", nargs="+", metavar="PATTERN", help="names of layers: conv1, 'conv[1-4]*'")
    add_output(parser, "the file to write", "FILE", required=True)
    add_freeze_statistics(parser)
    add_input(parser)
    add_state(parser)
    add_force(parser)
    add_json(parser)
    add_debug(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    test, source, _ = read_test_net(args)
    train = read_train_net(args) or test
    frozen = freeze([train, test], args.freeze, statistics=args.freeze_statistics)
    text = _written(source.read_text(), str(source.path), frozen)
    write_files({Path(args.output): text}, force=args.force)
    if args.json:
        import json

        found = {"frozen": frozen.layers, "params": frozen.params, "moving": frozen.moving}
        print(json.dumps({"version": 1, "file": args.output, **found}, indent=2))
    else:
        print("\n".join(map(printable, frozen.lines(train))))
        print(printable(f"wrote {args.output}"), file=sys.stderr)
    return 0


def _written(text: str, path: str, frozen: Frozen) -> str:
    """The text of the file, of all its phases, with the fields of the frozen layers."""
    net, layers, places, _ = upgrade(
        parse(text, NetParameter, path=path, lenient=True, dialect=ANY), text, path=path, lenient=True
    )
    comments = above_layers(text, (line for line, _ in places))
    written = (
        (frozen.apply(layer), comments.get(line, "")) for layer, (line, _) in zip(layers, places, strict=True)
    )
    return text_of(net, written, f"from: {path}")
