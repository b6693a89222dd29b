"""`netbuilder list [PATTERN]`: list the available configs and the costs of their nets."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from netbuilder.cli.config_options import add_folders
from netbuilder.cli.options import Verbs, add_debug, add_json
from netbuilder.cli.terminal import add_color, add_exact, table_text
from netbuilder.errors import ConfigError, NetBuilderError, did_you_mean

if TYPE_CHECKING:
    from netbuilder.config import Found
    from netbuilder.designing.counting import Counter

__all__ = ["add_parser"]

FIGURES = ("learnable_params", "macs", "pynetbuilder_params", "pynetbuilder_flops")


def add_parser(verbs: Verbs) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "list",
        description="List the configs that `netbuilder build` accepts by name, with their learnable "
        "parameters, their MACs per image, and the accuracy published for them (--json has its source). "
        "Exit code 1 if one cannot be built, or differs from the counts that it states.",
        epilog="example: netbuilder list 'bl_*'",
    )
    parser.add_argument(
        "pattern", metavar="PATTERN", nargs="?", default="",
        help="part of the name, or a pattern with * and ?",
    )  # fmt: skip
    add_exact(parser)
    add_color(parser)
    add_json(parser)
    add_debug(parser)
    add_folders(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from netbuilder.config import all_configs
    from netbuilder.report.formats import Column, Table

    every = all_configs(args.configs)
    chosen = [found for found in every if _fits(found.name, args.pattern)]
    if not chosen:
        raise ConfigError(
            f"no config's name matches '{args.pattern}'", key="pattern",
            hint=did_you_mean(args.pattern, [found.name for found in every])
            or "netbuilder list without a pattern lists all",
        )  # fmt: skip
    rows, faults = [], []
    counters: dict[str, Counter] = {}  # by network: nets share cached costs
    for found in chosen:
        try:
            rows.append(_row(found, args.configs, counters))
        except NetBuilderError as error:
            faults.append(error)
    if args.json:
        import json

        print(json.dumps(rows, indent=2))
    elif rows:
        columns = (
            Column("name", "name"),
            Column("network", "network", rank=2),
            Column("learnable_params", "params", True),
            Column("macs", "MACs", True),
            Column("accuracy", "top-1 %", True, rank=1),
            Column("source", "source", rank=3, wrap=True),
        )
        cells = tuple(tuple(_cell(row, column.key) for column in columns) for row in rows)
        print(table_text(Table(columns, cells), exact=args.exact, args=args))
        if any(row["accuracy"] and "test" in row["accuracy"] for row in rows):
            print("*: not on one center crop of the net's size; --json says how")
    for fault in faults:
        print(f"{type(fault).__name__}: {fault}", file=sys.stderr)
    return 1 if faults else 0


def _fits(name: str, pattern: str) -> bool:
    from fnmatch import fnmatchcase

    wild = any(c in pattern for c in "*?[")
    return fnmatchcase(name.lower(), pattern.lower()) if wild else pattern.lower() in name.lower()


def _cell(row: dict[str, Any], key: str) -> Any:
    if key == "accuracy":
        return f"{row[key]['top1']:.2f}{'*' if 'test' in row[key] else ' '}" if row[key] else ""
    return row[key]


def _row(found: Found, folders: Sequence[str], counters: dict[str, Counter]) -> dict[str, Any]:
    """A config's name, network, counts and source. Raises the errors of its file, its net or its counts."""
    from netbuilder.config import load_found
    from netbuilder.designing.counting import Counter

    loaded = load_found(found, folders=folders)
    entry = loaded.entry
    counter = counters.setdefault(entry.name, Counter(entry, "train"))
    with loaded.located():
        figures = counter.figures(loaded.config)
    loaded.check_expected(figures)
    return {
        "name": found.name,
        "file": found.shown,
        "network": entry.name,
        **{key: figures[key] for key in FIGURES},
        "source": loaded.source,
        "accuracy": loaded.accuracy.as_data() if loaded.accuracy else None,
    }
