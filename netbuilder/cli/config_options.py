"""Flags that several verbs share: --set, --configs, and flags made from the fields of a dataclass."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from typing import Any

from netbuilder.cli.options import Options
from netbuilder.errors import ConfigError
from netbuilder.networks import options
from netbuilder.networks.flags import option_text
from netbuilder.networks.registry import Words

__all__ = [
    "add_choice_of_config",
    "add_folders",
    "add_options",
    "add_set",
    "add_settings",
    "given_settings",
    "given_values",
]


_SHORT = 40  # characters of the words that stand in place of WORD


def add_choice_of_config(parser: argparse.ArgumentParser) -> None:
    """Add --set and --configs, the flags of all verbs that take a config."""
    add_set(parser)
    add_folders(parser)


def add_set(parser: argparse.ArgumentParser) -> None:
    """Add the flag --set."""
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[],
        help="set an option or a field of defaults: --set classes=10 or "
        "--set defaults.BatchNorm.eps=1e-4; may be repeated",
    )  # fmt: skip


def add_folders(parser: argparse.ArgumentParser) -> None:
    """Add the flag --configs."""
    parser.add_argument(
        "--configs", metavar="DIR", action="append", default=[],
        help="a folder of your own configs, to find them by name; may be repeated "
        "(environment variable: NETBUILDER_CONFIGS)",
    )  # fmt: skip


def add_options(parser: Options, config: type[object]) -> None:
    """Add the flags of all options of a config."""
    for field in options(config):
        _add_option(parser, field)


def add_settings(parser: Options, config: type[object]) -> None:
    """Add the same flags, of which each is a setting over those of a config file; none is required."""
    for field in options(config):
        _add_option(parser, field, over=True)


def given_settings(args: argparse.Namespace, config: type[object]) -> list[str]:
    """What these flags were given, as --set takes it."""
    given = [(field, getattr(args, field.name)) for field in options(config) if hasattr(args, field.name)]
    return [f"{field.name}={_setting(field, value)}" for field, value in given]


def _setting(field: dataclasses.Field[object], value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    return option_text(field, value)


def given_values(args: argparse.Namespace, config: type[object]) -> dict[str, Any]:
    """The values of a config's options, as arguments for its dataclass."""
    values = {field.name: getattr(args, field.name) for field in options(config)}
    return {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}


def _add_option(parser: Options, field: dataclasses.Field[object], *, over: bool = False) -> None:
    meta = field.metadata
    required = field.default is dataclasses.MISSING and not over
    # If the default is None, the help text itself states what applies.
    shown = not (over or required or meta["switch"] or field.default is None)
    settings: dict[str, Any] = {
        "help": meta["help"] + (f" (default: {option_text(field, field.default)})" if shown else ""),
        "required": required,
        "default": argparse.SUPPRESS if over else None if required else field.default,
    }
    if meta["switch"]:
        settings["action"] = argparse.BooleanOptionalAction
    elif isinstance(meta["choices"], Words):
        settings |= {"metavar": "WORD", "help": _HelpWithWords(settings["help"])}
        settings["help"].words = meta["choices"]
    elif meta["choices"]:
        # The config itself refuses an unknown word and suggests the nearest; argparse would not.
        words = ", ".join(meta["choices"])
        if len(words) <= _SHORT:
            settings["metavar"] = "{" + ",".join(meta["choices"]) + "}"
        else:
            settings |= {"metavar": "WORD", "help": f"{settings['help']}: {words}"}
    else:
        metavar = {int: "N", float: "X", str: "NAME"}.get(meta["parse"], "SIZE")
        settings |= {"type": _config_value(meta["parse"]), "metavar": metavar}
        settings |= {"nargs": "+"} if meta["many"] else {}
    parser.add_argument(*meta["flags"], f"--{field.name}", dest=field.name, **settings)


class _HelpWithWords(str):
    """A help text whose last words are looked up when it is shown."""

    words: Words

    def __mod__(self, params: object) -> str:
        return str(f"{self}: {', '.join(self.words)}" % params)


def _config_value(parse: Callable[[str], object]) -> Callable[[str], object]:
    if parse in (int, float, str):
        return parse

    def value(text: str) -> object:
        try:
            return parse(text)
        except ConfigError as error:
            raise argparse.ArgumentTypeError(error.text) from None

    return value
