"""`netbuilder count FILE`: parameters, operations and memory of a prototxt file."""

from __future__ import annotations

import argparse
from typing import Any

from netbuilder import counts, prototxt, report
from netbuilder.errors import PrototxtError

__all__ = ["add_parser"]


def add_parser(verbs: Any) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "count",
        help="count what a prototxt file costs",
        description="Parameters, operations and memory of a file.",
    )
    parser.add_argument("file", metavar="FILE", help="a prototxt file")
    parser.add_argument("--phase", choices=("TRAIN", "TEST"), default="TEST", help="default: TEST")
    parser.add_argument("--per_layer", action="store_true", help="a row for each layer")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--debug", action="store_true", help="show a traceback on errors")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    net = prototxt.read(args.file, args.phase)
    if not net.layers:
        raise PrototxtError(f"there is no layer for phase {args.phase} in this file", path=args.file)
    counted = counts.count(net)
    if args.json:
        import json

        print(json.dumps(report.as_data(net, counted), indent=2))
        return 0
    if args.per_layer:
        print(report.layer_table(counted))
        print()
    print(report.headline(counted))
    print(f"\n{net.name or args.file}, {args.phase}, {len(net)} layers")
    print(report.totals_table(counted))
    return 0
