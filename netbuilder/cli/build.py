"""`netbuilder build NETWORK|CONFIG`: write train, test and deploy prototxt files, print what the net costs.

A network takes flags, which are read off its config dataclass; a config is a YAML file, or the name of one.
With `--data` the files have data layers to train from, and a fourth, train_val, has both phases.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

from netbuilder import checks, prototxt, report
from netbuilder.errors import ConfigError, did_you_mean
from netbuilder.measure import counts
from netbuilder.net import Net
from netbuilder.networks import PHASES, NetConfig, Network, all_networks, find_network, is_network, options
from netbuilder.networks.data_layers import DataOptions, with_data
from netbuilder.networks.registry import Words
from netbuilder.storage.files import write_files

__all__ = [
    "add_choice_of_config",
    "add_folders",
    "add_parser",
    "describe",
    "flow_text",
    "option_text",
    "script_parser",
    "stitch_phases",
    "write_nets",
]


def add_parser(verbs: Any, name: str = "") -> None:
    """Add the verb to the command, with a sub-command for `name`, or one per network if there is no name."""
    parser = verbs.add_parser(
        "build",
        help="write the prototxt files of a network or a config",
        description="Write train, test and deploy prototxt files, and print what the net costs.",
        epilog="A config is a YAML file, or the name of one: `netbuilder list` lists those that there are, "
        "`netbuilder build NAME --help` says what they take.",
    )
    names = parser.add_subparsers(dest="network", required=True, metavar="NETWORK|CONFIG")
    if not name or name.startswith("-"):
        for entry in all_networks().values():
            _add_options(names.add_parser(entry.name, help=entry.about, description=entry.about), entry)
    elif not name.endswith((".yaml", ".yml")) and "/" not in name and is_network(name):
        entry = find_network(name)
        _add_options(names.add_parser(name, description=entry.about), entry)
    else:
        _add_config_options(names.add_parser(name, description=f"Build the net of config {name}."), name)


def script_parser(name: str) -> argparse.ArgumentParser:
    """A parser for a script that builds one network (`app/imagenet/build_resnet.py`)."""
    entry = find_network(name)
    parser = argparse.ArgumentParser(description=entry.about)
    _add_options(parser, entry)
    return parser


def stitch_phases(entry: Network, config: NetConfig) -> dict[str, Net]:
    """The nets of all phases, by phase. Raises ConfigError if one of them has a finding of severity error."""
    nets = {phase: entry.stitch(config, phase) for phase in PHASES}
    _check(nets)
    return nets


def _check(nets: dict[str, Net]) -> None:
    for phase, net in nets.items():
        for finding in checks.check(net):
            if finding.severity == "error":
                raise ConfigError(f"the {phase} net of {net.name} would not work: {finding}")


def write_nets(
    nets: dict[str, Net], folder: Path, *, header: str, force: bool = False, train_val: bool = False
) -> list[Path]:
    """Write one file per phase, and with `train_val` one of both, all or none; return their paths."""
    texts: dict[bytes, str] = {}
    files = {
        folder / f"{phase}.prototxt": prototxt.dumps(net, header=header, texts=texts)
        for phase, net in nets.items()
    }
    if train_val:
        from netbuilder.transforms.train_val import dumps_train_val

        files[folder / "train_val.prototxt"] = dumps_train_val(nets["train"], nets["test"], header=header)
    write_files(files, force=force)
    return list(files)


def describe(entry: Network, config: NetConfig) -> str:
    """The configuration in one line per value, as it stands at the top of each file."""
    lines = [f"network: {entry.name}", *_option_lines(config)]
    for type, fields in config.defaults.items():
        lines += [f"  defaults.{type}.{name}: {flow_text(value)}" for name, value in fields.items()]
    return "\n".join(lines)


def _option_lines(config: Any) -> list[str]:
    """The options that have a value, one in a line."""
    values = ((field, getattr(config, field.name)) for field in options(type(config)))
    return [f"  {f.name}: {option_text(f, value)}" for f, value in values if value is not None]


def _add_options(parser: argparse.ArgumentParser, entry: Network) -> None:
    taken = {f.name for f in options(DataOptions)} & {f.name for f in options(entry.config)}
    if taken:
        raise ConfigError(
            f"network {entry.name} has an option '{min(taken)}', which is one of build's own", key=min(taken),
            hint="give that option of the network another name",
        )  # fmt: skip
    for field in options(entry.config):
        _add_option(parser, field)
    _add_output_options(parser)
    parser.set_defaults(run=_run, entry=entry)


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output_folder", required=True, type=Path, help="folder for the prototxt files"
    )
    parser.add_argument("--force", action="store_true", help="replace files that netbuilder did not write")
    parser.add_argument("--by-block", action="store_true", help="print what each block costs, too")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    parser.add_argument("--debug", action="store_true", help="show a traceback on errors")
    group = parser.add_argument_group(
        "data", "With --data one can train from the files (docs/data-layers.md)."
    )
    for field in options(DataOptions):
        _add_option(group, field)


def _add_option(parser: argparse._ActionsContainer, field: dataclasses.Field[Any]) -> None:
    meta = field.metadata
    required = field.default is dataclasses.MISSING
    # None means that the help text itself says what then holds.
    shown = not (required or meta["switch"] or field.default is None)
    settings: dict[str, Any] = {
        "help": meta["help"] + (f" (default: {option_text(field, field.default)})" if shown else ""),
        "required": required,
        "default": None if required else field.default,
    }
    if meta["switch"]:
        settings["action"] = argparse.BooleanOptionalAction
    elif isinstance(meta["choices"], Words):
        settings |= {"metavar": "WORD", "help": _HelpWithWords(settings["help"])}
        settings["help"].words = meta["choices"]
    elif meta["choices"]:
        # Not argparse's own choices: the config refuses a wrong word better, with the nearest right one.
        settings["metavar"] = "{" + ",".join(meta["choices"]) + "}"
    else:
        metavar = {int: "N", float: "X", str: "NAME"}.get(meta["parse"], "SIZE")
        settings |= {"type": _config_value(meta["parse"]), "metavar": metavar}
        settings |= {"nargs": "+"} if meta["many"] else {}
    parser.add_argument(*meta["flags"], f"--{field.name}", dest=field.name, **settings)


class _HelpWithWords(str):
    """A help text that ends in words which are looked up when it is shown."""

    words: Words

    def __mod__(self, params: Any) -> str:
        return str(f"{self}: {', '.join(self.words)}" % params)


def _config_value(parse: Any) -> Any:
    if parse in (int, float, str):
        return parse

    def value(text: str) -> Any:
        try:
            return parse(text)
        except ConfigError as error:
            raise argparse.ArgumentTypeError(error.text) from None

    return value


def _add_config_options(parser: argparse.ArgumentParser, name: str) -> None:
    add_choice_of_config(parser)
    _add_output_options(parser)
    parser.set_defaults(run=_run_config, config=name)


def add_choice_of_config(parser: argparse.ArgumentParser) -> None:
    """The flags of all verbs that take a config: --set and --configs."""
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[],
        help="another value for an option, or for a field of defaults, as in --set classes=10 or "
        "--set defaults.BatchNorm.eps=1e-4; may be given again",
    )  # fmt: skip
    add_folders(parser)


def add_folders(parser: argparse.ArgumentParser) -> None:
    """The flag --configs."""
    parser.add_argument(
        "--configs", metavar="DIR", action="append", default=[],
        help="a folder of configs of your own, to be found by name; may be given again "
        "(and in the environment: NETBUILDER_CONFIGS)",
    )  # fmt: skip


def _run(args: argparse.Namespace) -> int:
    entry: Network = args.entry
    data = _data_options(args)
    config = data.fitted(entry.config(**_values(args, entry.config)))
    nets = stitch_phases(entry, config)
    counted = counts.count(nets["train"])
    _finish(args, entry, config, data, nets, counted, describe(entry, config))
    return 0


def _run_config(args: argparse.Namespace) -> int:
    from netbuilder.config import load

    data = _data_options(args)
    try:
        loaded = load(args.config, args.set, args.configs)
    except ConfigError as error:
        if error.key == "name":
            error.text = f"there is no network and no config '{args.config}'"
            error.hint = did_you_mean(args.config, all_networks()) or error.hint
        raise
    config = data.fitted(loaded.config)
    with loaded.located():
        nets = stitch_phases(loaded.entry, config)
    counted = counts.count(nets["train"])
    loaded.check_expected(counts.totals(counted))
    header = f"{loaded.origin}\n{describe(loaded.entry, config)}"
    _finish(args, loaded.entry, config, data, nets, counted, header)
    return 0


def _values(args: argparse.Namespace, config: type[Any]) -> dict[str, Any]:
    """The values of the options of a config, as its dataclass takes them."""
    values = {field.name: getattr(args, field.name) for field in options(config)}
    return {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}


def _data_options(args: argparse.Namespace) -> DataOptions:
    return DataOptions(**_values(args, DataOptions))


def _finish(
    args: argparse.Namespace, entry: Network, config: NetConfig, data: DataOptions,
    nets: dict[str, Net], counted: counts.Counts, header: str,
) -> None:  # fmt: skip
    """Put the data layers in, write the files, and report: counts are those of one image."""
    written = nets
    old = args.output_folder / "train_val.prototxt"
    if not data.kind and old.exists():
        print(f"note: {old} is not of this build: --data writes one", file=sys.stderr)
    if data.kind:
        written = nets | {p: with_data(nets[p], data.lego(config, p)) for p in ("train", "test")}
        _check(written)
        for finding in checks.between(written["train"], written["test"]):
            if finding.severity == "error":
                raise ConfigError(f"{nets['train'].name} cannot be tested while it is trained: {finding}")
            print(finding, file=sys.stderr)
        header += "\n" + "\n".join(["data layers:", *_option_lines(data)])
    paths = write_nets(
        written, args.output_folder, header=header, force=args.force, train_val=data.kind is not None
    )
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
            "config": _plain(entry, config),
            "files": files,
            **({"data": _plain_data(data, config)} if data.kind else {}),
            "counts": report.as_data(net, counted, blocks=found),
        }
        print(json.dumps(told, indent=2))
        return
    height, width = config.input_size
    if found is not None:
        print(f"{report.block_table(counted, found)}\n")
    print(report.headline(counted))
    print(f"\n{net.name}, input 3x{height}x{width}, {len(net)} layers")
    print(report.totals_table(counted))
    if data.kind:
        print(f"\n{_data_table(data, config)}")
        for note in data.notes():
            print(f"note: {note}", file=sys.stderr)
    for path in files.values():
        print(f"wrote {path}", file=sys.stderr)


def _data_table(data: DataOptions, config: NetConfig) -> str:
    """What each phase reads, and what is done to it."""
    train, test = (data.about(config, phase) for phase in ("train", "test"))
    rows = [(key, train[key], test[key]) for key in train]
    return report.format_table((f"data: {data.kind}", "TRAIN", "TEST"), rows)


def _plain_data(data: DataOptions, config: NetConfig) -> dict[str, Any]:
    return {"kind": data.kind, **{phase: data.about(config, phase) for phase in ("train", "test")}}


def option_text(field: dataclasses.Field[Any], value: Any) -> str:
    """A value of a config as one would give it on the command line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return (" " if field.metadata["many"] else "x").join(str(v) for v in value)
    return str(value)


def flow_text(value: Any) -> str:
    """A value of `defaults` in one line, as JSON, which is YAML too."""
    import json

    return json.dumps(value)


def _plain(entry: Network, config: NetConfig) -> dict[str, Any]:
    values = {field.name: getattr(config, field.name) for field in options(entry.config)}
    return values | ({"defaults": config.defaults} if config.defaults else {})
