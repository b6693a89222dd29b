"""`netbuilder fit CONFIG --macs 1G`: scale a config's net so that it lands just under a budget."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from netbuilder.cli.config_options import add_choice_of_config
from netbuilder.cli.options import Verbs, add_bytes, add_debug, add_force, add_json, add_output
from netbuilder.errors import ConfigError, counted, printable
from netbuilder.networks import PHASES
from netbuilder.storage.files import write_files

__all__ = ["add_parser"]

# The flags that give a budget, and the figures that they limit.
BUDGETS = {
    "macs": ("macs", "multiply-accumulates per image"),
    "params": ("learnable_params", "learnable parameters"),
    "activations": ("activations", "elements of all blobs, per image"),
    "memory": ("peak_bytes", "bytes alive at once in a forward pass"),
    "working-set": ("working_bytes", "bytes that one layer works on: in, out and weights"),
    "weight-memory": ("weight_bytes", "bytes of the weights"),
    "training-memory": ("caffe_training_bytes", "bytes of a whole training in Caffe by SGD, with --batch"),
}


def add_parser(verbs: Verbs) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "fit",
        description="Find the width, or the list of blocks, that brings a config's net as near to a budget "
        "as "
        "possible without exceeding it. The net stays within every given budget.",
        epilog="example: netbuilder fit resnet_50 --macs 1G -o small.yaml",
    )
    parser.add_argument("config", metavar="CONFIG", help="a YAML file, or the name of a config")
    for flag, (_, about) in BUDGETS.items():
        parser.add_argument(f"--{flag}", metavar="N", help=f"limit of {about}: 1.5G, 10M, 64MiB")
    parser.add_argument(
        "--vary", metavar="OPTION",
        help="the option to change, a number or a list of numbers (default: the width, else the blocks)",
    )  # fmt: skip
    parser.add_argument(
        "--phase", choices=PHASES, default="train", help="the net to count (default: %(default)s)"
    )
    parser.add_argument(
        "--batch", type=int, default=1, metavar="N", help="the batch of --training-memory (default: 1)"
    )
    add_bytes(parser)
    add_choice_of_config(parser)
    add_output(parser, "write the config as YAML", "FILE")
    add_force(parser)
    add_json(parser)
    add_debug(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from netbuilder.config import load
    from netbuilder.designing.fitting import fit, varied
    from netbuilder.designing.writing import as_command, as_yaml, distinct_name

    limits = _limits(args)
    if args.batch < 1:
        raise ConfigError(f"--batch must be at least 1, got {args.batch}", key="batch")
    loaded = load(args.config, args.set, args.configs)
    found = fit(loaded, limits, varied(loaded.config, args.vary), args.phase, args.bytes, args.batch)
    name = distinct_name(found.config)
    if args.output:
        path = Path(args.output)
        path = path if path.suffix in (".yaml", ".yml") else path.with_name(f"{path.name}.yaml")
        budget = ", ".join(f"{key} <= {limit:,}" for key, limit in limits.items())
        text = as_yaml(loaded, found.config, path, [f"{loaded.found.name} fitted to {budget}"])
        write_files({path: text}, force=args.force)
        print(printable(f"wrote {path}"), file=sys.stderr)
        command = shlex.join(["netbuilder", "build", str(path), "-o", name])
    else:
        command = as_command(loaded, found.config, name)
    if args.json:
        _print_json(found, limits, command, name, args.bytes)
    else:
        _print(found, limits, command, (distinct_name(loaded.config), name))
    return 0


def _limits(args: argparse.Namespace) -> dict[str, int | float]:
    """The budget by figure; raises ConfigError if none is given, or one is not a number above 0."""
    from netbuilder.designing.expressions import number

    limits = {}
    for flag, (figure, _) in BUDGETS.items():
        text = getattr(args, flag.replace("-", "_"))
        if text is not None:
            try:
                limits[figure] = number(text)
            except ConfigError as error:
                raise ConfigError(f"--{flag}: {error.text}", key=flag, hint=error.hint) from None
            if not limits[figure] > 0:
                raise ConfigError(f"--{flag} must be above 0, got {text}", key=flag)
    if not limits:
        flags = ", ".join(f"--{flag}" for flag in BUDGETS)
        raise ConfigError(f"the budget is missing: give one or more of {flags}", hint="for example --macs 1G")
    return limits


def _print(found: Any, limits: dict[str, int | float], command: str, names: tuple[str, str]) -> None:
    from netbuilder.cli.terminal import columns_text, command_lines
    from netbuilder.designing.axes import shown

    figures = dict.fromkeys((*limits, "learnable_params", "macs", "activations", "peak_bytes", "depth"))
    rows = [
        (
            key,
            f"{found.figures_before[key]:,}",
            f"{found.figures[key]:,}",
            f"{limits[key]:,}" if key in limits else "",
            f"{found.figures[key] / limits[key]:.1%}" if key in limits else "",
        )
        for key in figures
    ]
    change = f"{found.option}: {shown(found.before)} -> {shown(found.value)}"
    print(f"{change}, {counted(found.tried, 'net')} counted")
    if found.above:
        value, over = found.above
        key = next(key for key, limit in limits.items() if over[key] > limit)
        print(f"with {shown(value)}, {key} would be {over[key]:,}")
    head = ("figure", *names, "budget", "used")
    print(f"\n{columns_text(head, rows, right=(1, 2, 3, 4))}")
    if command:
        print("\n" + "\n".join(command_lines(command)))


def _print_json(found: Any, limits: dict[str, int | float], command: str, name: str, width: int) -> None:
    import json

    from netbuilder.designing.axes import plain

    above = found.above and {"value": found.above[0], "figures": found.above[1]}
    data = {
        "version": 1,
        "name": name,
        "option": found.option,
        "before": {"value": found.before, "figures": found.figures_before},
        "after": {"value": found.value, "figures": found.figures},
        "above": above,
        "limits": limits,
        "bytes": width,
        "tried": found.tried,
        "options": plain(_options(found.config)),
        "command": command or None,
    }
    print(json.dumps(data, indent=2))


def _options(config: object) -> dict[str, Any]:
    from netbuilder.networks import options

    return {field.name: getattr(config, field.name) for field in options(type(config))}
