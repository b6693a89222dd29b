"""`netbuilder count FILE`: parameters, operations and memory of a prototxt file, or what a model stores."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from netbuilder import counts, prototxt, report
from netbuilder.dialects import DIALECTS
from netbuilder.errors import ConfigError, PrototxtError, shape_text
from netbuilder.prototxt.binary import is_binary
from netbuilder.prototxt.inputs import how_to_give

__all__ = ["add_parser"]


def add_parser(verbs: Any) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "count",
        help="count what a prototxt file costs",
        description="Parameters, operations and memory of a prototxt file; the stored parameters of a "
        ".caffemodel.",
        epilog="example: netbuilder count train_val.prototxt --input data=1,3,224,224",
    )
    parser.add_argument("file", metavar="FILE", help="a prototxt file, or a .caffemodel")
    parser.add_argument("--phase", choices=("TRAIN", "TEST"), default="TEST", help="default: TEST")
    parser.add_argument(
        "--input",
        metavar="NAME=N,C,H,W",
        action="append",
        default=[],
        help="the shape of a data layer's top, where it lives in data, or another one than the file's; "
        "may be given again for other tops",
    )
    parser.add_argument(
        "--dialect",
        choices=tuple(DIALECTS),
        default="caffe-cudnn",
        help="the Caffe that the file is for; layer types it lacks are not counted (default: %(default)s)",
    )
    parser.add_argument("--per_layer", action="store_true", help="a row for each layer")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--debug", action="store_true", help="show a traceback on errors")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    if is_binary(args.file):
        return _count_model(args)
    inputs = _inputs(args.input)
    net = prototxt.read(args.file, args.phase, dialect=args.dialect, unknown="keep", inputs=inputs)
    if not net.layers:
        raise PrototxtError(f"there is no layer for phase {args.phase} in this file", path=args.file)
    counted = counts.count(net)
    missing = [f"--input {text}" for text in how_to_give(net)]
    hint = f"the shapes of its data are not in the file: give them, as in {' '.join(missing)}"
    if args.json:
        import json

        print(json.dumps(report.as_data(net, counted), indent=2))
        if missing:
            print(hint, file=sys.stderr)
        return 0
    if args.per_layer:
        print(report.layer_table(counted))
        print()
    print(report.headline(counted))
    print(f"\n{net.name or args.file}, {args.phase}, {len(net)} layers")
    print(report.totals_table(counted))
    if missing:
        print(hint)
    return 0


def _inputs(texts: list[str]) -> dict[str, tuple[int, ...]]:
    """The shapes that `--input` gives, by name."""
    shapes = {}
    for text in texts:
        name, _, dims = text.partition("=")
        try:
            shapes[name] = tuple(int(n) for n in dims.split(","))
        except ValueError:
            raise ConfigError(
                f"--input takes a name and a shape, got '{text}'", hint="as in --input data=1,3,224,224"
            ) from None
    return shapes


def _count_model(args: argparse.Namespace) -> int:
    """What a trained model stores."""
    model = prototxt.read_model(args.file)
    if args.input:
        raise ConfigError("--input is for a prototxt file: a .caffemodel stores no input shapes")
    if args.json:
        import json

        layers = [
            {"name": x.name, "type": x.type, "params": [{"shape": list(s)} for s in x.blobs]}
            for x in model.layers
        ]
        totals = {"stored_params": model.stored_params}
        print(json.dumps({"version": 1, "name": model.name, "totals": totals, "layers": layers}, indent=2))
        return 0
    rows = [
        (x.name, x.type or "?", " ".join(shape_text(s) for s in x.blobs), f"{x.params:,}")
        for x in model.layers
        if x.blobs
    ]
    print(f"{model.name or args.file}, {len(rows)} of {len(model.layers)} layers with stored params\n")
    rows.append(("total", "", "", f"{model.stored_params:,}"))
    print(report.format_table(("layer", "type", "blobs", "stored params"), rows, right=(3,)))
    return 0
