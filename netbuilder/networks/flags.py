"""The options of a config as text: on a command line, in YAML, and in the header of a file.

Their command-line flags are in `netbuilder.cli.config_options`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from netbuilder.networks.registry import NetConfig, Network, options

__all__ = ["describe", "flow_text", "option_lines", "option_text", "option_values"]


def describe(entry: Network, config: NetConfig) -> str:
    """The configuration, one value per line, as in the header of each written file."""
    lines = [f"network: {entry.name}", *option_lines(config)]
    for type, fields in config.defaults.items():
        lines += [f"  defaults.{type}.{name}: {flow_text(value)}" for name, value in fields.items()]
    return "\n".join(lines)


def option_lines(config: object) -> list[str]:
    """The options that have a value, one per line."""
    values = ((field, getattr(config, field.name)) for field in options(type(config)))
    return [f"  {f.name}: {option_text(f, value)}" for f, value in values if value is not None]


def option_values(config: object) -> dict[str, Any]:
    """The value of every option, by name."""
    return {field.name: getattr(config, field.name) for field in options(type(config))}


def option_text(field: dataclasses.Field[object], value: object) -> str:
    """A value as on the command line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return (" " if field.metadata["many"] else "x").join(str(v) for v in value)
    return str(value)


def flow_text(value: object) -> str:
    """A value in one line of JSON, which is YAML too."""
    import json

    return json.dumps(value)
