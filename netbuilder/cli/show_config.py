"""`netbuilder show-config CONFIG`: every value of a config and its origin, or the schema of configs."""

from __future__ import annotations

import argparse

from netbuilder.cli.config_options import add_choice_of_config
from netbuilder.cli.options import Verbs, add_debug, add_json
from netbuilder.cli.terminal import add_color
from netbuilder.errors import ConfigError
from netbuilder.networks import options
from netbuilder.networks.flags import flow_text, option_text

__all__ = ["add_parser"]


def add_parser(verbs: Verbs) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "show-config",
        description="Show every value of a config and its origin: a --set, a line of the file or of its "
        "base, or the default of the network.",
        epilog="example: netbuilder show-config resnet_50 --set classes=10",
    )
    parser.add_argument("config", metavar="CONFIG", nargs="?", help="a YAML file, or the name of a config")
    add_choice_of_config(parser)
    add_color(parser)
    add_json(parser)
    parser.add_argument(
        "--schema", action="store_true",
        help="print the JSON schema of configs instead, for editors; includes the networks of CONFIG's "
        "module",
    )  # fmt: skip
    add_debug(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    import json

    from netbuilder.cli.terminal import columns_text
    from netbuilder.config import load

    loaded = load(args.config, args.set, args.configs) if args.config else None
    if args.schema:
        from netbuilder.config.schema import schema
        from netbuilder.networks import all_networks

        print(json.dumps(schema(all_networks()), indent=2))
        return 0
    if loaded is None:
        raise ConfigError("show-config needs a config or --schema", hint="netbuilder list prints the names")
    if args.json:
        data = [
            {
                "key": key,
                "value": value,
                "from": place.kind if place else "default",
                "where": str(place) if place else None,
            }
            for key, value, place in loaded.values()
        ]
        print(json.dumps(data, indent=2))
        return 0
    fields = {field.name: field for field in options(loaded.entry.config)}
    rows = []
    for key, value, place in loaded.values():
        if value is None:
            text = "null"
        elif key in fields:
            text = option_text(fields[key], value)
        else:
            text = value if isinstance(value, str) else _short(value)
        origin = "default" if place is None else f"{place} (base)" if place.kind == "base" else str(place)
        rows.append((key, text, origin))
    print(columns_text(("key", "value", "from"), rows, wrap=(1, 2), args=args))
    return 0


def _short(value: object) -> str:
    """A value of `defaults` in one line; equal entries are shown once."""
    if isinstance(value, list) and len(value) > 1 and all(one == value[0] for one in value):
        return f"{len(value)} x {flow_text(value[0])}"
    return flow_text(value)
