"""`netbuilder build NETWORK`: write train, test and deploy prototxt files, and print what the net costs."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

from app.networks import PHASES, NetConfig, Network, all_networks, find_network
from netbuilder import checks, counts, prototxt, report
from netbuilder.errors import ConfigError
from netbuilder.files import write_files
from netbuilder.net import Net

__all__ = ["add_parser", "build_files", "script_parser"]


def add_parser(verbs: Any) -> None:
    """Add the verb to the command, with one sub-command per network."""
    parser = verbs.add_parser(
        "build",
        help="write the prototxt files of a network",
        description="Write train, test and deploy prototxt files, and print what the net costs.",
    )
    networks = parser.add_subparsers(dest="network", required=True, metavar="NETWORK")
    for entry in all_networks().values():
        child = networks.add_parser(entry.name, help=entry.about, description=entry.about)
        _add_options(child, entry)


def script_parser(name: str) -> argparse.ArgumentParser:
    """A parser for a script that builds one network (`app/imagenet/build_resnet.py`)."""
    entry = find_network(name)
    parser = argparse.ArgumentParser(description=entry.about)
    _add_options(parser, entry)
    return parser


def build_files(entry: Network, config: NetConfig, folder: Path, *, force: bool = False) -> dict[str, Net]:
    """Stitch, check and write all phases of a network into a folder; return the nets by phase.

    Nothing is written if one of them cannot be built or has a finding of severity error.
    """
    nets = {phase: entry.stitch(config, phase) for phase in PHASES}
    for phase, net in nets.items():
        for finding in checks.check(net):
            if finding.severity == "error":
                raise ConfigError(f"the {phase} net of {entry.name} would not work: {finding}")
    header = describe(entry, config)
    texts: dict[bytes, str] = {}
    files = {
        folder / f"{phase}.prototxt": prototxt.dumps(net, header=header, texts=texts)
        for phase, net in nets.items()
    }
    write_files(files, force=force)
    return nets


def describe(entry: Network, config: NetConfig) -> str:
    """The configuration in one line per value, as it stands at the top of each file."""
    lines = [f"network: {entry.name}"]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value is not None:
            lines.append(f"  {field.name}: {_words(field, value)}")
    return "\n".join(lines)


def _add_options(parser: argparse.ArgumentParser, entry: Network) -> None:
    for field in dataclasses.fields(entry.config):
        _add_option(parser, field)
    parser.add_argument(
        "-o", "--output_folder", required=True, type=Path, help="folder for the prototxt files"
    )
    parser.add_argument("--force", action="store_true", help="replace files that netbuilder did not write")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    parser.add_argument("--debug", action="store_true", help="show a traceback on errors")
    parser.set_defaults(run=_run, entry=entry)


def _add_option(parser: argparse.ArgumentParser, field: dataclasses.Field[Any]) -> None:
    meta = field.metadata
    required = field.default is dataclasses.MISSING
    # None means that the help text itself says what then holds.
    shown = not (required or meta["switch"] or field.default is None)
    settings: dict[str, Any] = {
        "help": meta["help"] + (f" (default: {_words(field, field.default)})" if shown else ""),
        "required": required,
        "default": None if required else field.default,
    }
    if meta["switch"]:
        settings["action"] = argparse.BooleanOptionalAction
    elif meta["choices"]:
        # Not argparse's own choices: the config refuses a wrong word better, with the nearest right one.
        settings["metavar"] = "{" + ",".join(meta["choices"]) + "}"
    else:
        settings |= {"type": _config_value(meta["parse"]), "metavar": "N" if meta["parse"] is int else "SIZE"}
        settings |= {"nargs": "+"} if meta["many"] else {}
    parser.add_argument(*meta["flags"], f"--{field.name}", dest=field.name, **settings)


def _config_value(parse: Any) -> Any:
    if parse is int:
        return int

    def value(text: str) -> Any:
        try:
            return parse(text)
        except ConfigError as error:
            raise argparse.ArgumentTypeError(error.text) from None

    return value


def _run(args: argparse.Namespace) -> int:
    entry: Network = args.entry
    values = {f.name: getattr(args, f.name) for f in dataclasses.fields(entry.config)}
    config = entry.config(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
    nets = build_files(entry, config, args.output_folder, force=args.force)
    net = nets["train"]
    counted = counts.count(net)
    files = {phase: str(args.output_folder / f"{phase}.prototxt") for phase in nets}
    if args.json:
        import json

        data = {
            "network": entry.name,
            "config": values,
            "files": files,
            "counts": report.as_data(net, counted),
        }
        print(json.dumps(data, indent=2))
        return 0
    height, width = config.input_size
    print(report.headline(counted))
    print(f"\n{net.name}, input 3x{height}x{width}, {len(net)} layers")
    print(report.totals_table(counted))
    for path in files.values():
        print(f"wrote {path}", file=sys.stderr)
    return 0


def _words(field: dataclasses.Field[Any], value: Any) -> str:
    """A value of a config as one would give it on the command line."""
    if field.metadata["switch"]:
        return "true" if value else "false"
    if isinstance(value, tuple):
        return (" " if field.metadata["many"] else "x").join(str(v) for v in value)
    return str(value)
