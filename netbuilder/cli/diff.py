"""`netbuilder diff A B`: what differs between two prototxt files, and whether weights carry over."""

from __future__ import annotations

import argparse
import dataclasses

from netbuilder.checks.examine import PHASES, phases_of
from netbuilder.cli.net_files import NET, net_file
from netbuilder.cli.options import Verbs, add_debug, add_input, add_json, add_state, given_inputs
from netbuilder.cli.terminal import (
    add_color,
    add_exact,
    columns_text,
    fitted_lines,
    in_color,
    painted,
    width,
)
from netbuilder.errors import PrototxtError, printable, shape_text
from netbuilder.errors import counted as number_of
from netbuilder.measure.diff import Difference, diff
from netbuilder.net import Net
from netbuilder.prototxt.inputs import givable
from netbuilder.prototxt.reader import nets_of, read_net

__all__ = ["add_parser"]

# By the mark of a line; A and B are the two sides of a change.
_COLORS = {"-": "red", "+": "green", "r": "cyan", "~": "yellow", "A ": "red", "B ": "green"}


def add_parser(verbs: Verbs) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "diff",
        description="Layers, fields, shapes and costs that differ, and whether the weights of A fit B.",
        epilog="example: netbuilder diff resnet_50/test.prototxt deploy.prototxt. "
        "Exit code: 0 the nets are the same, 1 they differ, 2 a file cannot be read as a net",
    )
    parser.add_argument("first", metavar="A", type=net_file, help=NET)
    parser.add_argument("second", metavar="B", type=net_file, help="another one")
    parser.add_argument(
        "--phase",
        action="append",
        choices=PHASES,
        default=[],
        help="compare in this phase only (default: those that both files are for)",
    )
    add_state(parser)
    add_input(parser)
    add_exact(parser)
    add_color(parser)
    add_json(parser)
    add_debug(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    first, second = _read(args.first, args), _read(args.second, args)
    shared = [p for p in first if p in second]
    found = {
        p: diff(first.get(p) or _any(first), second.get(p) or _any(second))
        for p in shared or [p for p in PHASES if p in first or p in second]
    }
    same = all(d.same for d in found.values())
    if args.json:
        import json

        phases = {
            p: dataclasses.asdict(d) | {"same": d.same, "weights_fit": d.weights_fit}
            for p, d in found.items()
        }
        fit = all(d.weights_fit for d in found.values())
        print(json.dumps({"version": 1, "same": same, "weights_fit": fit, "phases": phases}, indent=2))
    else:
        print("\n\n".join(_text_of(found, args)))
    return 0 if same else 1


def _read(path: str, args: argparse.Namespace) -> dict[str, Net]:
    """The nets of a file by phase: those asked for, or those that the file is for."""
    inputs = given_inputs(args)
    sources = nets_of(path, level=args.level, stages=args.stage)
    nets = {}
    for source in reversed(sources):
        if source.phase not in (args.phase or PHASES):
            continue
        net = read_net(source, dialect="any", unknown="keep")
        known = givable(net)
        given = {name: shape for name, shape in inputs.items() if name in known}
        if given:
            net = read_net(source, dialect="any", unknown="keep", inputs=given)
        nets[source.phase] = net
    if not nets:
        raise PrototxtError(f"this solver names no net for phase {', '.join(args.phase)}", path=path)
    wanted = phases_of(nets) if len(nets) == len(PHASES) and not args.phase else PHASES
    return {p: nets[p] for p in wanted if p in nets}


def _any(nets: dict[str, Net]) -> Net:
    return next(iter(nets.values()))


def _text_of(found: dict[str, Difference], args: argparse.Namespace) -> list[str]:
    """What is said of each phase; once, if it is the same of all."""
    texts = {p: "\n".join(_lines(d, args)) for p, d in found.items()}
    if len(set(texts.values())) == 1:
        return list(texts.values())[:1]
    return [f"{p}:\n{text}" for p, text in texts.items()]


def _lines(found: Difference, args: argparse.Namespace) -> list[str]:
    """The summary, the costs that differ, then layer by layer what does."""
    lines = [_summary(found), *[""] * found.same, *fitted_lines(printable(_weights(found)))]
    if found.uncompared:
        names = printable(_some(found.uncompared))
        lines.append(
            f"one of the nets does not know the shapes of {names}: give those of its data by --input"
        )
    if found.costs:
        rows = [(key, a, b, _change(b - a, args.exact)) for key, (a, b) in found.costs.items()]
        head = ("figure", "A", "B", "B - A")
        lines += ["", columns_text(head, rows, right=(1, 2, 3), exact=args.exact, args=args)]
    layers = [f"- {name}" for name in found.removed]
    layers += [f"+ {name}" for name in found.added]
    layers += [f"r {old} -> {new}" for old, new in found.renamed]
    for change in found.changed:
        layers.append(f"~ {change.layer}")
        for field in dataclasses.fields(change)[1:]:
            pair = getattr(change, field.name)
            if pair is not None:
                layers += [f"    {field.name}:", f"      A {_text(pair[0])}", f"      B {_text(pair[1])}"]
    color = in_color(args)
    if color:
        lines[0] = painted(lines[0], "bold")
    if layers:
        lines.append("")
    for line in layers:
        lines += _layer_lines(printable(line), color)
    return lines


def _layer_lines(line: str, color: bool) -> list[str]:
    """A line about a layer, fitted to the terminal, in the colours of a diff."""
    parts = fitted_lines(line, " " * 8)
    paint = _COLORS.get(line[0]) or _COLORS.get(line.lstrip()[:2])
    return [painted(part, paint) for part in parts] if color and paint else parts


def _change(value: int | float, exact: bool) -> str:
    if exact or width() is None:
        return f"{value:+,}"
    from netbuilder.report.terminal import short

    return f"{'+' * (value > 0)}{short(value)}"


def _summary(found: Difference) -> str:
    """How many layers differ, in a line."""
    if found.same:
        return "the nets are the same"
    numbers = {
        "only in A": found.removed, "only in B": found.added,
        "renamed": found.renamed, "changed": found.changed,
    }  # fmt: skip
    parts = [f"{number_of(len(layers), 'layer')} {how}" for how, layers in numbers.items() if layers]
    return ", ".join(parts) or "the layers are the same"


def _weights(found: Difference) -> str:
    if found.weights_fit:
        return "weights of A fit B" + (", as far as their shapes are known" if found.uncompared else "")
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
