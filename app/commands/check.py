"""`netbuilder check FILE`: what Caffe would refuse or silently get wrong, and who else can load the file."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from typing import Any

from netbuilder import checks, prototxt, targets

__all__ = ["add_parser"]


def add_parser(verbs: Any) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "check",
        help="check a prototxt file",
        description="What Caffe would refuse or silently get wrong in a file, and who else can load it.",
        epilog="exit code: 0 no errors, 1 errors, 2 the file cannot be read as a net",
    )
    parser.add_argument("file", metavar="FILE", help="a prototxt file")
    parser.add_argument("--phase", choices=("TRAIN", "TEST"), default="TEST", help="default: TEST")
    parser.add_argument(
        "--target",
        action="append",
        default=[],
        metavar="TARGET",
        help=f"a consumer that must load the file: {', '.join(targets.TARGETS)} (may be repeated)",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.add_argument("--debug", action="store_true", help="show a traceback on errors")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    # Files are read with the widest dialect; a target says what its own Caffe lacks.
    net = prototxt.read(args.file, args.phase, dialect="caffe-cudnn")
    found = checks.check(net)
    for target in args.target:
        found += targets.check(net, target)
    errors = sum(f.severity == "error" for f in found)
    if args.json:
        import json

        print(
            json.dumps([dataclasses.asdict(f) | {"line": net[f.layer].origin.line} for f in found], indent=2)
        )
    else:
        for finding in found:
            print(f"{args.file}:{net[finding.layer].origin.line}: {finding}")
        print(f"{len(found)} findings, {errors} errors", file=sys.stderr)
    return 1 if errors else 0
