"""Where configs are found: by path, or by name in the user's folders and then among the shipped configs.

A name is a file name without .yaml, in a folder of configs or in a subfolder: `resnet_50`, or
`imagenet/resnet_50`. The user's folders are those of --configs, then those of NETBUILDER_CONFIGS (separated
as in PATH). The first folder that has the name wins.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from netbuilder.errors import ConfigError, did_you_mean

__all__ = ["ENVIRONMENT", "SHIPPED", "Found", "all_configs", "find_config", "is_path"]

ENVIRONMENT = "NETBUILDER_CONFIGS"

# Inside the package in an installation, beside it in a clone.
_INSTALLED = Path(__file__).resolve().parents[1] / "configs"
SHIPPED = _INSTALLED if _INSTALLED.is_dir() else _INSTALLED.parents[1] / "configs"


class Found(NamedTuple):
    """A config file: its name, its path, and its name in messages."""

    name: str
    path: Path
    shown: str


def is_path(target: str) -> bool:
    """Whether this is the path of a config rather than a name."""
    return target.endswith((".yaml", ".yml"))


def find_config(target: str, folders: Sequence[str] = (), *, skip: Path | None = None) -> Found:
    """Find the config with this path or name; the file `skip` is ignored.

    Raises ConfigError if the name is unknown (with the nearest), or ambiguous in one folder.
    """
    if is_path(target):
        path = Path(target)
        if not path.exists() and not path.parent.name and path.stem in _names(folders):
            raise ConfigError(
                f"file '{target}' does not exist",
                key="config",
                hint=f"a config named {path.stem} exists",
            )
        return Found(path.stem, path, target)
    for folder in _folders(folders):
        called = [f for f in _configs(folder) if target in (f.name, f"{f.path.parent.name}/{f.name}")]
        found = [f for f in called if skip is None or f.path.resolve() != skip.resolve()]
        if len(found) > 1:
            files = " and ".join(str(f.path) for f in found)
            raise ConfigError(
                f"config '{target}' is ambiguous: {files}", key="config",
                hint="give the path, or the name with its folder",
            )  # fmt: skip
        if found:
            return found[0]
    raise ConfigError(f"unknown config '{target}'", key="name", hint=_instead(target, folders))


def _instead(target: str, folders: Sequence[str]) -> str:
    """What to do about a word that names no config."""
    from netbuilder.networks import is_network

    if is_network(target):
        return f"{target} is a network: netbuilder build {target} --help lists what it needs"
    return did_you_mean(target, _names(folders)) or "netbuilder list prints the names"


def all_configs(folders: Sequence[str] = ()) -> list[Found]:
    """All configs, by name; if two folders have a name, the one searched first wins.

    Raises ConfigError if a folder does not exist.
    """
    first: dict[str, Path] = {}
    found = []
    for folder in _folders(folders):
        for config in _configs(folder):
            if first.setdefault(config.name, folder) == folder:
                found.append(config)
    return sorted(found, key=lambda f: _in_order(f.name))


def _names(folders: Sequence[str]) -> list[str]:
    return [found.name for found in all_configs(folders)]


def _folders(given: Sequence[str]) -> list[Path]:
    own = [(folder, "--configs") for folder in given]
    own += [(f, ENVIRONMENT) for f in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if f]
    for folder, by in own:
        if not Path(folder).is_dir():
            raise ConfigError(
                f"the folder '{folder}', which {by} names, does not exist",
                key="configs",
                hint="create it, or correct the name",
            )
    return list(dict.fromkeys([*(Path(folder) for folder, _ in own), SHIPPED]))


def _configs(folder: Path) -> list[Found]:
    """The configs of a folder and of its subfolders."""
    return [
        Found(path.stem, path, str(path.relative_to(folder) if folder == SHIPPED else path))
        for path in sorted([*folder.glob("*.yaml"), *folder.glob("*/*.yaml")])
        if path.parent.name != "solvers"  # recipes of training: netbuilder/config/recipes.py
        if not path.name.startswith(".")
    ]


def _in_order(name: str) -> list[tuple[int, str]]:
    """A sort key that compares numbers in names by value: resnet_18 comes before resnet_101."""
    import re

    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
