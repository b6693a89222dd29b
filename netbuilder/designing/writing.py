"""Write a config as YAML, or as the command that builds it."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from netbuilder._version import __version__
from netbuilder.config import Loaded
from netbuilder.designing.axes import plain
from netbuilder.errors import NetBuilderError
from netbuilder.networks import NetConfig, options
from netbuilder.networks.flags import flow_text, option_text
from netbuilder.storage.files import MARK

__all__ = ["as_command", "as_yaml", "distinct_name"]


def as_yaml(loaded: Loaded, config: NetConfig, path: Path, about: Sequence[str]) -> str:
    """The YAML of a config of `loaded`'s network, for a file at this path, below the comments `about`."""
    lines = [f"{MARK} {__version__}", *(f"# {line}" for line in about)]
    if "module" in loaded.items:
        lines.append(f"module: {flow_text(_module(loaded, path))}")
    lines.append(f"network: {flow_text(loaded.entry.name)}")
    lines += [f"{name}: {flow_text(value)}" for name, value in plain(_own_values(config)).items()]
    if config.defaults:
        lines.append(f"defaults: {flow_text(config.defaults)}")
    return "\n".join(lines) + "\n"


def as_command(loaded: Loaded, config: NetConfig, folder: str) -> str:
    """The command that builds a config with flags, or "" if flags cannot express it."""
    if config.defaults or "module" in loaded.items:
        return ""
    words = ["netbuilder", "build", loaded.entry.name]
    fields = {field.name: field for field in options(type(config))}
    for name, value in _own_values(config).items():
        if fields[name].metadata["switch"]:
            words.append(f"--{name}" if value else f"--no-{name}")
        else:
            words += [f"--{name}", *shlex.split(option_text(fields[name], value))]
    return shlex.join([*words, "-o", folder])


def distinct_name(config: NetConfig) -> str:
    """The title of a config, and the options that the title does not tell: a name for its own folder."""
    parts = [config.title]
    for name, value in _own_values(config).items():
        if any(_titled(config, name, other) == config.title for other in _others(config, name, value)):
            text = option_text({f.name: f for f in options(type(config))}[name], value)
            parts += [name, *re.findall(r"[\w.+-]+", text)]
    return "_".join(parts)


def _others(config: NetConfig, name: str, value: Any) -> list[Any]:
    """Values of an option that a title should tell from this one: its default, and lists of an equal sum."""
    fields = {field.name: field for field in options(type(config))}
    others = [] if fields[name].default is dataclasses.MISSING else [fields[name].default]
    if isinstance(value, tuple) and all(type(v) is int for v in value):
        for i in range(len(value) - 1):
            moved = list(value)
            moved[i], moved[i + 1] = moved[i] + 1, moved[i + 1] - 1
            others.append(tuple(moved))
    return [other for other in others if other != value]


def _titled(config: NetConfig, name: str, value: Any) -> str:
    """The title with another value of an option; "" if the config refuses it."""
    try:
        return dataclasses.replace(config, **{name: value}).title
    except NetBuilderError:
        return ""


def _own_values(config: NetConfig) -> dict[str, Any]:
    """The options that differ from their default or have none."""
    values = {field.name: (field.default, getattr(config, field.name)) for field in options(type(config))}
    return {
        name: value
        for name, (default, value) in values.items()
        if default is dataclasses.MISSING or value != default
    }


def _module(loaded: Loaded, path: Path) -> str:
    """The module of the config, relative to a file at this path."""
    item = loaded.items["module"]
    name = str(item.value)
    if not name.endswith(".py"):
        return name
    return os.path.relpath(Path(item.place.path).parent / name, path.parent)
