"""`netbuilder draw NET [NET]`: a net as a page, a picture or a tree; two nets side by side."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from netbuilder.checks.examine import PHASES, phases_of
from netbuilder.cli.config_options import add_choice_of_config
from netbuilder.cli.net_files import is_held, net_file
from netbuilder.cli.options import (
    Verbs,
    add_bytes,
    add_debug,
    add_force,
    add_input,
    add_output,
    add_state,
    given_inputs,
)
from netbuilder.cli.terminal import say
from netbuilder.draw import Drawn, drawing, tree_lines
from netbuilder.draw.drawing import format_of, write
from netbuilder.errors import ConfigError, NetBuilderError, PrototxtError, printable
from netbuilder.errors import counted as number_of
from netbuilder.net import Net
from netbuilder.prototxt.inputs import how_to_give
from netbuilder.prototxt.reader import nets_of, read_net
from netbuilder.storage.files import read_text

__all__ = ["add_parser"]

_Times = tuple[str, dict[str, tuple[float, float]]]  # of a phase, by layer: milliseconds forward and backward


def add_parser(verbs: Verbs) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "draw",
        description="Draw a net: an HTML page to explore, which needs no network; a picture (svg, png, pdf); "
        "or its structure as text. Two nets are drawn side by side on a page, their differences marked.",
        epilog="example: netbuilder draw resnet_50 -o resnet_50.html",
    )
    parser.add_argument(
        "nets",
        metavar="NET",
        nargs="+",
        type=_net,
        help="a prototxt file or solver, a .caffemodel, a folder of one, - for stdin, or a config",
    )
    add_output(parser, "the file; its suffix says html, svg, png or pdf (default: NET.html)", "FILE")
    parser.add_argument("--tree", action="store_true", help="print the structure, and write nothing")
    parser.add_argument(
        "--depth", type=int, metavar="N", help="levels of blocks that a picture or the tree shows open"
    )
    parser.add_argument(
        "--times", metavar="JSON", help="measured times, of `netbuilder time NET --json`, beside the MACs"
    )
    parser.add_argument(
        "--phase", choices=PHASES, help="this phase only (default: those that the net is for)"
    )
    add_bytes(parser)
    add_state(parser)
    add_input(parser)
    add_choice_of_config(parser)
    add_force(parser, "replace a file that netbuilder did not draw")
    add_debug(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    if len(args.nets) > 2:
        raise ConfigError(f"one net is drawn, or two side by side; got {len(args.nets)}")
    if args.depth is not None and args.depth < 0:
        raise ConfigError(f"--depth must be at least 0, got {args.depth}", key="depth")
    if args.set and not any(map(_is_config, args.nets)):
        raise ConfigError(f"--set changes values of a config, and {args.nets[0]} is a file", key="set")
    if args.tree:
        _print_trees(args)
        return 0
    path = Path(args.output or f"{Path(args.nets[0]).stem.strip('<>')}.html")
    kind = format_of(path)
    times = _read_times(args.times) if args.times else None
    drawn = [_drawn(name, args, times) for name in args.nets]
    if len({one.title for one in drawn}) < len(drawn):  # of different folders
        drawn = [one._replace(title=name) for one, name in zip(drawn, args.nets, strict=True)]
    write(path, drawing(_paired(drawn), kind, depth=args.depth), force=args.force)
    print(f"wrote {path}", file=sys.stderr)
    return 0


def _net(word: str) -> str:
    """A word for a net; a config stays one, for --set."""
    return net_file(word) if word == "-" or Path(word).is_dir() else word


def _print_trees(args: argparse.Namespace) -> None:
    import shutil

    width = max(60, min(100, shutil.get_terminal_size().columns)) if sys.stdout.isatty() else 80
    for i, name in enumerate(args.nets):
        net = next(iter(_nets(name, args).values()))
        title = printable(net.name or name)
        print(f"{chr(10) if i else ''}{title}, {net.phase}, {number_of(len(net), 'layer')}")
        for line in tree_lines(net, depth=args.depth, width=width):
            print(line)


# ---- the nets --------------------------------------------------------------------------------------------


def _drawn(name: str, args: argparse.Namespace, times: _Times | None) -> Drawn:
    nets = _nets(name, args)
    title = Path(name).name
    missing = how_to_give(next(iter(nets.values())))
    if missing:
        given = " ".join(f"--input {text}" for text in missing)
        say(f"{name}: the shapes of its data are not in the file: give them, as in {given}")
    if times is None:
        return Drawn(title, nets, width=args.bytes)
    phase, by_layer = times
    found = {key: by_layer for key, net in nets.items() if net.phase == phase}
    if not found:
        raise ConfigError(
            f"the times are of phase {phase}, in which {name} is not drawn", path=args.times,
            hint=f"give --phase {phase}, or time the other phase: netbuilder time {name} --phase "
            f"{next(iter(nets.values())).phase} --json",
        )  # fmt: skip
    if not any(layer.name in by_layer for key in found for layer in nets[key]):
        raise ConfigError(
            f"the times are of another net than {name}: no layer has the same name", path=args.times
        )
    return Drawn(title, nets, found, args.bytes)


def _nets(name: str, args: argparse.Namespace) -> dict[str, Net]:
    """The nets of a file by phase, TEST first; those of a config: deploy, and the one that is trained."""
    if _is_config(name):
        return _nets_of_config(name, args)
    inputs = given_inputs(args)
    nets: dict[str, Net] = {}
    first: NetBuilderError | None = None
    for source in nets_of(name, args.phase, level=args.level, stages=args.stage):
        try:
            nets[source.phase] = read_net(source, dialect="any", unknown="keep", inputs=inputs)
        except NetBuilderError as error:  # no data in this phase, or other inputs
            first = first or error
    nets = {phase: net for phase, net in nets.items() if net.layers}
    if len(nets) == len(PHASES):
        nets = {phase: nets[phase] for phase in phases_of(nets)}
    if not nets:
        raise first or PrototxtError("there is no layer in this file", path=name)
    return {phase: nets[phase] for phase in reversed(PHASES) if phase in nets}


def _is_config(name: str) -> bool:
    path = Path(name)
    is_file = is_held(name) or path.exists() or path.suffix or len(path.parts) > 1
    return path.suffix in (".yaml", ".yml") or not is_file


def _nets_of_config(name: str, args: argparse.Namespace) -> dict[str, Net]:
    from netbuilder.config import load

    loaded = load(name, args.set, args.configs)
    with loaded.located():
        nets = {phase: loaded.stitch(phase) for phase in ("deploy", "train")}
    return {phase: net for phase, net in nets.items() if args.phase in (None, net.phase)}


def _paired(drawn: list[Drawn]) -> list[Drawn]:
    """Two nets in the phases that both have; if they share none, the first of each."""
    if len(drawn) < 2:
        return drawn
    by_phase = [{one.nets[key].phase: key for key in reversed(list(one.nets))} for one in drawn]
    shared = [phase for phase in by_phase[0] if phase in by_phase[1]]
    pairs: dict[str, list[str]] = {
        p: [keys[p] for keys in by_phase] for p in sorted(shared)
    } or {  # TEST, then TRAIN
        "first": [next(iter(one.nets)) for one in drawn]
    }
    return [
        one._replace(
            nets={phase: one.nets[keys[i]] for phase, keys in pairs.items()},
            times={phase: one.times[keys[i]] for phase, keys in pairs.items() if keys[i] in one.times},
        )
        for i, one in enumerate(drawn)
    ]


def _read_times(path: str) -> _Times:
    hint = "netbuilder time NET --json > times.json writes such a file"
    try:
        data: Mapping[str, Any] = json.loads(read_text(path))
        phase, layers = data["phase"], data["layers"]
        times = {str(x["name"]): (float(x["forward_ms"]), float(x["backward_ms"])) for x in layers}
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise ConfigError("this is not the JSON of `netbuilder time`", path=path, hint=hint) from None
    return str(phase), times
