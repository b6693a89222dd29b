"""`netbuilder build NETWORK|CONFIG`: write train, test and deploy prototxt files, and print the net's cost.

A network's flags are the fields of its config dataclass; a config is a YAML file, or the name of one. With
`--data` the files have data layers for training, and a fourth file, train_val, has both phases.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netbuilder import checks, report
from netbuilder.cli.config_options import (
    add_choice_of_config,
    add_folders,
    add_options,
    add_set,
    add_settings,
    given_settings,
    given_values,
)  # fmt: skip
from netbuilder.cli.options import Parser, Verbs, add_debug, add_force, add_json, add_output_folder
from netbuilder.cli.terminal import add_color, add_exact, say, table_text
from netbuilder.errors import ConfigError, did_you_mean, printable
from netbuilder.errors import counted as number_of
from netbuilder.measure import counts
from netbuilder.net import Net
from netbuilder.networks import NetConfig, Network, all_networks, find_network, is_network, options
from netbuilder.networks.building import check_nets, stitch_phases, write_nets
from netbuilder.networks.data_layers import DataOptions, with_data
from netbuilder.networks.flags import describe, option_lines, option_values
from netbuilder.report import table
from netbuilder.report.findings import finding_lines

if TYPE_CHECKING:
    from netbuilder.config.load import Loaded

__all__ = ["add_parser", "script_parser"]


def add_parser(verbs: Verbs, name: str = "") -> None:
    """Add the verb to the command, with a sub-command for `name`, or one per network if `name` is None."""
    parser = verbs.add_parser(
        "build",
        description="Write train, test and deploy prototxt files, and print the cost of the net.",
        epilog="A config is a YAML file, or the name of one: `netbuilder list` lists the shipped ones, "
        "`netbuilder build NAME --help` lists the options of one. "
        "example: netbuilder build resnet_50 --classes 10",
    )
    names = parser.add_subparsers(
        dest="network", required=True, metavar="NETWORK|CONFIG", parser_class=_ConfigParser
    )
    if not name or name.startswith("-"):
        for entry in all_networks().values():
            _add_options(names.add_parser(entry.name, help=entry.about, description=entry.about), entry)
    elif not name.endswith((".yaml", ".yml")) and "/" not in name and is_network(name):
        entry = find_network(name)
        _add_options(names.add_parser(name, description=entry.about), entry)
    else:
        _add_config_options(names.add_parser(name, description=f"Build the net of the config {name}."), name)


class _ConfigParser(Parser):
    """A parser that, given a config, also has the flags of the config's network as settings over it."""

    config = ""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self.config:
            config, self.config = self.config, ""
            folders = Parser(add_help=False, allow_abbrev=False)
            folders.lenient = True
            add_folders(folders)
            found = folders.parse_known_args(args)[0].configs
            self._add_settings(config, found)
        return super().parse_known_args(args, namespace)

    def _add_settings(self, config: str, folders: list[str]) -> None:
        entry = _load(config, folders=folders).entry
        group = self.add_argument_group(f"of the network {entry.name}", "Each is a setting over the config.")
        add_settings(group, entry.config)
        self.set_defaults(entry=entry)


def script_parser(name: str) -> argparse.ArgumentParser:
    """A parser for a script that builds one network (`app/imagenet/build_resnet.py`)."""
    entry = find_network(name)
    parser = Parser(description=entry.about)
    _add_options(parser, entry)
    return parser


def _add_options(parser: argparse.ArgumentParser, entry: Network) -> None:
    taken = {f.name for f in options(DataOptions)} & {f.name for f in options(entry.config)}
    if taken:
        raise ConfigError(
            f"network {entry.name} has an option '{min(taken)}', which build itself has", key=min(taken),
            hint="rename the network's option",
        )  # fmt: skip
    add_options(parser, entry.config)
    needed = [field for field in options(entry.config) if field.default is dataclasses.MISSING]
    words = [f"{_flag(field)} {min(field.metadata['choices'] or 'N')}" for field in needed]
    parser.epilog = " ".join(["example: netbuilder build", entry.name, *words, "-o net"])
    add_set(parser)
    _add_output_options(parser)
    parser.set_defaults(run=_run, entry=entry)


def _flag(option: dataclasses.Field[Any]) -> str:
    """The first flag of an option; its long one if it has no other."""
    return next(iter(option.metadata["flags"]), f"--{option.name}")


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    add_output_folder(parser, "folder for the prototxt files (default: the net's name)", required=False)
    add_force(parser)
    parser.add_argument("--by-block", action="store_true", help="also print the cost of each block")
    add_exact(parser)
    add_color(parser)
    parser.add_argument("--draw", action="store_true", help="also draw the nets, as net.html in the folder")
    add_json(parser)
    add_debug(parser)
    group = parser.add_argument_group(
        "data", "With --data the files are ready for training (docs/data-layers.md)."
    )
    add_options(group, DataOptions)


def _add_config_options(parser: _ConfigParser, name: str) -> None:
    parser.config = name
    add_choice_of_config(parser)
    _add_output_options(parser)
    parser.set_defaults(run=_run_config, config=name)


def _run(args: argparse.Namespace) -> int:
    entry: Network = args.entry
    data = _data_options(args)
    given = given_values(args, entry.config)
    if args.set:
        from netbuilder.config import settled

        config = data.fitted(settled(entry, given, args.set))
    else:
        config = data.fitted(entry.config(**given))
    nets = stitch_phases(entry, config)
    counted = counts.count(nets["train"])
    header = [*(f"set: {setting}" for setting in args.set), describe(entry, config)]
    _finish(args, entry, config, data, nets, counted, "\n".join(header))
    return 0


def _run_config(args: argparse.Namespace) -> int:
    data = _data_options(args)
    loaded = _load(args.config, [*args.set, *given_settings(args, args.entry.config)], args.configs)
    config = data.fitted(loaded.config)
    with loaded.located():
        nets = stitch_phases(loaded.entry, config)
    counted = counts.count(nets["train"])
    loaded.check_expected(counts.totals(counted))
    args.config_name = loaded.found.name
    header = f"{loaded.origin}\n{describe(loaded.entry, config)}"
    _finish(args, loaded.entry, config, data, nets, counted, header)
    return 0


def _load(config: str, sets: Sequence[str] = (), folders: Sequence[str] = ()) -> Loaded:
    """Load a config; an unknown name may be meant for a network."""
    from netbuilder.config import load

    try:
        return load(config, sets, folders)
    except ConfigError as error:
        if error.key == "name":
            error.text = f"no network or config is named '{config}'"
            error.hint = did_you_mean(config, all_networks()) or error.hint
        raise


def _data_options(args: argparse.Namespace) -> DataOptions:
    return DataOptions(**given_values(args, DataOptions))


def _finish(
    args: argparse.Namespace, entry: Network, config: NetConfig, data: DataOptions,
    nets: dict[str, Net], counted: counts.Counts, header: str,
) -> None:  # fmt: skip
    """Add the data layers, write the files, and print the counts of one image."""
    written = nets
    if args.output_folder is None:
        args.output_folder = Path(getattr(args, "config_name", "") or nets["train"].name)
    old = args.output_folder / "train_val.prototxt"
    if not data.kind and old.exists():
        say(f"note: {old} is from an earlier build; --data writes a new one")
    if data.kind:
        written = nets | {
            p: with_data(nets[p], data.lego(config, p), loss=data.loss_type) for p in ("train", "test")
        }
        check_nets(written)
        findings = checks.between(written["train"], written["test"])
        for finding in findings:
            if finding.severity == "error":
                raise ConfigError(f"{nets['train'].name} cannot be tested while it is trained: {finding}")
        for line in finding_lines(findings):
            print(line, file=sys.stderr)
        header += "\n" + "\n".join(["data layers:", *option_lines(data)])
    page = None
    if args.draw:
        from netbuilder.draw import Drawn, drawing

        shown = dict(reversed(written.items()))  # deploy is the first to see
        page = drawing([Drawn(nets["train"].name, shown)], "html")
    paths = write_nets(
        written, args.output_folder, header=header, force=args.force, train_val=data.kind is not None
    )
    if page is not None:
        from netbuilder.draw.drawing import write

        paths.append(args.output_folder / "net.html")
        write(paths[-1], page, force=args.force)
    _report(args, entry, config, data, nets["train"], counted, {path.stem: str(path) for path in paths})


def _report(
    args: argparse.Namespace, entry: Network, config: NetConfig, data: DataOptions,
    net: Net, counted: counts.Counts, files: dict[str, str],
) -> None:  # fmt: skip
    found = None
    if args.by_block:
        from netbuilder.measure.blocks import blocks

        found = blocks(net)
    if args.json:
        import json

        told = {
            "network": entry.name,
            "config": _plain(config),
            "files": files,
            **({"data": _plain_data(data, config)} if data.kind else {}),
            "counts": report.as_data(net, counted, blocks=found),
        }
        print(json.dumps(told, indent=2))
        return
    height, width = config.input_size
    if found is not None:
        rows = table.slim(table.block_rows(counted, found))
        print(f"{table_text(rows, exact=args.exact, args=args)}\n")
    print(report.headline(counted))
    print(f"\n{net.name}, input 3x{height}x{width}, {number_of(len(net), 'layer')}")
    print(
        "\n".join(
            [table_text(table.total_rows(counted), exact=args.exact, args=args), *table.not_counted(counted)]
        )
    )
    if data.kind:
        print(f"\n{data.table(config)}")
        for note in data.notes():
            say(f"note: {note}")
    for path in files.values():
        print(printable(f"wrote {path}"), file=sys.stderr)


def _plain_data(data: DataOptions, config: NetConfig) -> dict[str, Any]:
    return {"kind": data.kind, **{phase: data.about(config, phase) for phase in ("train", "test")}}


def _plain(config: NetConfig) -> dict[str, Any]:
    return option_values(config) | ({"defaults": config.defaults} if config.defaults else {})
