"""Configs, recipes and the registry `NETWORKS` that the command line finds them by.

A network is a config dataclass and a function `stitch(config, phase) -> Net`. The dataclass is the only
statement of its options: command-line flags (and, in time, YAML keys) are read off its fields.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from netbuilder.dialects import DIALECTS
from netbuilder.errors import ConfigError, did_you_mean
from netbuilder.net import Net

__all__ = [
    "NETWORKS",
    "PHASES",
    "NetConfig",
    "Network",
    "all_networks",
    "find_network",
    "network",
    "option",
    "parse_size",
]

# What is written: deploy is TEST without data and loss.
PHASES = ("train", "test", "deploy")

C = TypeVar("C")


def option(
    *flags: str,
    help: str,
    default: Any = dataclasses.MISSING,
    choices: Sequence[str] | None = None,
    parse: Callable[[str], Any] = int,
    many: bool = False,
    switch: bool = False,
) -> Any:
    """A config field with its command-line flags; the long flag is the field's name.

    `parse` makes a value of a word; `many` takes several words; a `switch` is true or false (--x, --no-x).
    """
    metadata = {
        "flags": flags,
        "help": help,
        "choices": choices,
        "parse": parse,
        "many": many,
        "switch": switch,
    }
    return dataclasses.field(default=default, metadata=metadata)


def parse_size(text: str) -> tuple[int, int]:
    """An image size, "224" or "224x320" (height x width); raises ConfigError."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if not match:
        raise ConfigError(f"input_size must be a number or HEIGHTxWIDTH, got '{text}'", key="input_size")
    height = int(match[1])
    return height, int(match[2] or height)


@dataclass(frozen=True, kw_only=True)
class NetConfig:
    """What all networks share. Raises ConfigError for values out of range."""

    classes: int = option(help="number of classes", default=1000)
    input_size: tuple[int, int] = option(
        help="size of the images: a number, or HEIGHTxWIDTH", default=(224, 224), parse=parse_size
    )
    dialect: str = option(
        help="the Caffe that must load the files", default="caffe-1.0", choices=tuple(DIALECTS)
    )
    conv_bias: bool = option(
        help="pynetbuilder's layout: biases before BatchNorm, and use_global_stats written out",
        default=False,
        switch=True,
    )

    def __post_init__(self) -> None:
        self.check_at_least("classes", 1)
        self.check_known("dialect", DIALECTS)
        if min(self.input_size) < 1:
            height, width = self.input_size
            raise ConfigError(f"input_size must be at least 1x1, got {height}x{width}", key="input_size")

    @property
    def title(self) -> str:
        """The name of the net, as written into the prototxt."""
        raise NotImplementedError

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """The shape (n, c, h, w) of the data: one image of three channels."""
        return (1, 3, *self.input_size)

    def net(self, phase: str) -> Net:
        """An empty net for "train", "test" or "deploy", with this config's layer defaults."""
        train = phase == "train"
        defaults = self.layer_defaults(phase)
        return Net(self.title, "TRAIN" if train else "TEST", dialect=self.dialect, defaults=defaults)

    def layer_defaults(self, phase: str) -> dict[str, dict[str, Any]]:
        """What layers are filled in with, by type; None leaves a field to Caffe."""
        if not self.conv_bias:
            return {}
        height, width = self.input_size
        return {
            "MemoryData": {"transform_param": {"crop_size": height} if height == width else None},
            "Convolution": {
                "bias_term": None,  # Caffe's default, which is true
                "bias_filler": {"type": "constant", "value": 0},
                "param": [{"lr_mult": 1, "decay_mult": 1}, {"lr_mult": 2, "decay_mult": 0}],
            },
            "BatchNorm": {"use_global_stats": phase != "train"},
        }

    def check_known(self, key: str, known: Iterable[str]) -> None:
        """Raise ConfigError if the word of this name is not one of the known ones."""
        value, words = getattr(self, key), list(known)
        if value not in words:
            text = f"{key} must be one of {', '.join(words)}, got '{value}'"
            raise ConfigError(text, key=key, hint=did_you_mean(str(value), words))

    def check_at_least(self, key: str, least: int) -> None:
        """Raise ConfigError if the number of this name is below `least`."""
        value = getattr(self, key)
        if value < least:
            raise ConfigError(f"{key} must be at least {least}, got {value}", key=key)


@dataclass(frozen=True)
class Network:
    """An entry of the registry."""

    name: str
    config: type[Any]
    stitch: Callable[[Any, str], Net]
    about: str


NETWORKS: dict[str, Network] = {}


def network(name: str, config: type[C]) -> Callable[[Callable[[C, str], Net]], Callable[[C, str], Net]]:
    """Register a stitch function under a name; the first line of its docstring describes it."""

    def register(stitch: Callable[[C, str], Net]) -> Callable[[C, str], Net]:
        about = (stitch.__doc__ or "").partition("\n")[0]
        NETWORKS[name] = Network(name, config, stitch, about)
        return stitch

    return register


def all_networks() -> dict[str, Network]:
    """All networks by name, in alphabetical order."""
    import pkgutil

    import app.networks

    for info in pkgutil.iter_modules(app.networks.__path__):
        importlib.import_module(f"app.networks.{info.name}")
    return dict(sorted(NETWORKS.items()))


def find_network(name: str) -> Network:
    """The network of this name, importing no other; raises ConfigError with the nearest one."""
    if name not in NETWORKS and name.isidentifier():
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(f"app.networks.{name}")
    if name not in NETWORKS:
        names = list(all_networks())
        raise ConfigError(
            f"unknown network '{name}': there are {', '.join(names)}",
            key="network",
            hint=did_you_mean(name, names),
        )
    return NETWORKS[name]
