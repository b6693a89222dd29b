"""`netbuilder diff A B`: what differs between two prototxt files, and whether weights carry over."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from netbuilder import prototxt, report
from netbuilder.diff import Difference, diff
from netbuilder.errors import shape_text

__all__ = ["add_parser"]


def add_parser(verbs: Any) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "diff",
        help="compare two prototxt files",
        description="Layers, fields, shapes and costs that differ, and whether the weights of A fit B.",
        epilog="exit code: 0 the nets are the same, 1 they differ, 2 a file cannot be read as a net",
    )
    parser.add_argument("first", metavar="A", help="a prototxt file")
    parser.add_argument("second", metavar="B", help="another one")
    parser.add_argument("--phase", choices=("TRAIN", "TEST"), default="TEST", help="default: TEST")
    parser.add_argument("--json", action="store_true", help="print the differences as JSON")
    parser.add_argument("--debug", action="store_true", help="show a traceback on errors")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    first, second = (
        prototxt.read(path, args.phase, dialect="caffe-cudnn") for path in (args.first, args.second)
    )
    found = diff(first, second)
    if args.json:
        import json

        data = dataclasses.asdict(found) | {"same": found.same, "weights_fit": found.weights_fit}
        print(json.dumps(data, indent=2))
    else:
        print("\n".join(_lines(found)))
    return 0 if found.same else 1


def _lines(found: Difference) -> list[str]:
    lines = [f"- {name}" for name in found.removed]
    lines += [f"+ {name}" for name in found.added]
    lines += [f"r {old} -> {new}" for old, new in found.renamed]
    for change in found.changed:
        lines.append(f"~ {change.layer}")
        for field in dataclasses.fields(change)[1:]:
            pair = getattr(change, field.name)
            if pair is not None:
                lines += [f"    {field.name}:", f"      A {_text(pair[0])}", f"      B {_text(pair[1])}"]
    if found.same:
        lines.append("the nets are the same")
    if found.costs:
        rows = [(key, f"{a:,}", f"{b:,}", f"{b - a:+,}") for key, (a, b) in found.costs.items()]
        lines += ["", report.format_table(("figure", "A", "B", "B - A"), rows, right=(1, 2, 3))]
    lines += ["", _weights(found)]
    return lines


def _weights(found: Difference) -> str:
    if found.weights_fit:
        return "weights of A fit B"
    reasons = []
    if found.refused:
        reasons.append(f"Caffe aborts on {_some(found.refused)}, whose parameters have other shapes")
    if found.unfilled:
        reasons.append(f"nothing is loaded into {_some(found.unfilled)}, for want of a layer of that name")
    return "weights of A do not fit B: " + "; ".join(reasons)


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _text(value: object) -> str:
    """Fields as they are, names, shapes, or named shapes."""
    if isinstance(value, str):
        return value
    assert isinstance(value, tuple)
    return ", ".join(_item(v) for v in value) or "none"


def _item(value: object) -> str:
    if isinstance(value, tuple) and value and isinstance(value[0], str):
        return f"{value[0]} {'?' if value[1] is None else shape_text(value[1])}"
    return shape_text(value) if isinstance(value, tuple) else str(value)
