"""Configs, recipes and `NETWORKS`, the registry in which the command line finds them.

A network is a config dataclass and a function `stitch(config, phase) -> Net`. The dataclass is the only
statement of its options: command-line flags and YAML keys are derived from its fields. Networks come from the
modules of this package, from the entry points of other installed packages, and from a config's `module`.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import os
import re
import types
from abc import ABCMeta
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from netbuilder.errors import ConfigError, did_you_mean
from netbuilder.net import Net
from netbuilder.records import Record
from netbuilder.schema.dialects import WRITTEN

__all__ = [
    "ENTRY_POINTS",
    "NETWORKS",
    "PHASES",
    "NetConfig",
    "Network",
    "OptionSet",
    "Words",
    "all_networks",
    "find_network",
    "flat_fields",
    "group",
    "group_of",
    "is_network",
    "network",
    "option",
    "options",
    "parse_size",
    "with_default",
]

# What is written: deploy is TEST without data and loss.
PHASES = ("train", "test", "deploy")

# The group under which installed packages name the modules that register networks.
ENTRY_POINTS = "netbuilder.networks"

C = TypeVar("C")
G = TypeVar("G")


class Words(Sequence[str]):
    """The names in a registry of `legos`, after those given here; its module is imported on first use.

    A network has options for many legos, and most builds use none of them: these must not slow down a start.
    """

    def __init__(self, module: str, registry: str, *first: str) -> None:
        self._place = module, registry
        self._first = first

    def _all(self) -> tuple[str, ...]:
        module, registry = self._place
        return (*self._first, *getattr(importlib.import_module(module), registry))

    def __len__(self) -> int:
        return len(self._all())

    def __getitem__(self, index: Any) -> Any:
        return self._all()[index]


def option(
    *flags: str,
    help: str,
    default: object = dataclasses.MISSING,
    choices: Sequence[str] | None = None,
    parse: Callable[[str], Any] = int,
    many: bool = False,
    switch: bool = False,
) -> Any:
    """A config field with its command-line flags; the long flag is the field's name.

    `parse` converts a word to a value; `many` takes several words; a `switch` is true or false (--x, --no-x).
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


def with_default(config: type[Any], name: str, default: object) -> Any:
    """An option that a config inherits from `config`, with another default."""
    field = config.__dataclass_fields__[name]
    return dataclasses.field(default=default, metadata=field.metadata)


def group(kind: Callable[..., G], /, notes: Mapping[str, str] | None = None, **defaults: Any) -> G:
    """A config field that holds a group of options; `defaults` are those that differ from the group's own.

    Flags, YAML keys and reports show the options of a group like those of the config itself. `notes` go into
    the help text of an option, in parentheses: what this network does by default.
    """
    made: Any = dataclasses.field(
        default_factory=partial(kind, **defaults),
        metadata={"group": kind, "defaults": defaults, "notes": notes or {}},
    )
    return made  # type: ignore[no-any-return]


def options(config: type[object]) -> list[dataclasses.Field[object]]:
    """The options of a config, with those of its groups in their place: all fields but `defaults`."""
    return [field for field in flat_fields(config) if "help" in field.metadata]


def flat_fields(config: type[Any]) -> list[dataclasses.Field[object]]:
    """The fields of a config, in `option_order`; each group is replaced by its own fields."""
    flat: list[dataclasses.Field[object]] = []
    for field in dataclasses.fields(config):
        if "group" not in field.metadata:
            flat += [field] if field.init else []
            continue
        for inner in flat_fields(field.metadata["group"]):
            flat.append(_adapted(inner, field.metadata["defaults"], field.metadata["notes"]))
    names = [field.name for field in flat]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ConfigError(
            f"{config.__name__} has two options '{twice[0]}'", key=twice[0], hint="rename one of them"
        )
    return _in_order(flat, config)


def _adapted(
    field: dataclasses.Field[object], defaults: Mapping[str, object], notes: Mapping[str, str]
) -> dataclasses.Field[object]:
    """A field of a group with the default and the note that a config gives it."""
    if field.name not in defaults and field.name not in notes:
        return field
    field = copy(field)
    field.default = defaults.get(field.name, field.default)
    if field.name in notes:
        about = f"{field.metadata['help']} ({notes[field.name]})"
        field.metadata = types.MappingProxyType({**field.metadata, "help": about})
    return field


def _in_order(
    fields: list[dataclasses.Field[object]], config: type[object]
) -> list[dataclasses.Field[object]]:
    """The fields with those of `option_order` in that order; all other fields keep their places."""
    order: tuple[str, ...] = getattr(config, "option_order", ())
    if not order:
        return fields
    by_name = {field.name: field for field in fields}
    unknown = [name for name in order if name not in by_name]
    if unknown:
        raise ConfigError(
            f"option_order of {config.__name__} names '{unknown[0]}', which is not an option of it",
            key=unknown[0],
            hint=did_you_mean(unknown[0], by_name),
        )
    ordered = iter(order)
    return [by_name[next(ordered)] if field.name in order else field for field in fields]


_GROUPS: dict[type[object], dict[str, str]] = {}


def group_of(config: type[Any]) -> dict[str, str]:
    """The field that holds the group of an option, by the option's name; cached, for sweeps."""
    if config not in _GROUPS:
        _GROUPS[config] = {
            inner.name: field.name
            for field in dataclasses.fields(config)
            if "group" in field.metadata
            for inner in flat_fields(field.metadata["group"])
        }
    return _GROUPS[config]


class _Grouping(ABCMeta):
    """Lets a config take the options of its groups directly: `Config(attention="se")`."""

    if not TYPE_CHECKING:  # to mypy, a config takes its fields

        def __call__(cls, *args: object, **values: Any) -> Any:
            groups = group_of(cls)
            flat = [name for name in values if name in groups]
            if flat:
                inner: dict[str, dict[str, Any]] = {}
                for name in flat:
                    inner.setdefault(groups[name], {})[name] = values.pop(name)
                for name, given in inner.items():
                    if name in values:
                        values[name] = dataclasses.replace(values[name], **given)
                    else:
                        values[name] = cls.__dataclass_fields__[name].default_factory(**given)
            return super().__call__(*args, **values)


class OptionSet(Record, metaclass=_Grouping):
    """The base of configs and groups; the options of a group are attributes of the config, too.

    `option_order` names options whose order in flags and reports is not that of the fields.
    """

    option_order: ClassVar[tuple[str, ...]] = ()

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

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            group = group_of(type(self)).get(name)
            if group is None:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            return getattr(getattr(self, group), name)


def parse_size(text: str) -> tuple[int, int]:
    """An image size, "224" or "224x320" (height x width); raises ConfigError."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if not match:
        raise ConfigError(f"input_size must be a number or HEIGHTxWIDTH, got '{text}'", key="input_size")
    height = int(match[1])
    return height, int(match[2] or height)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class NetConfig(OptionSet):
    """What all networks share. Raises ConfigError for values out of range.

    `defaults` are the user's own fields for layer types, which come before those of the network.
    `net_type` is the class of the nets; a class that only counts may replace it (see `netbuilder.designing`).
    """

    net_type = Net

    classes: int = option(help="number of classes", default=1000)
    input_size: tuple[int, int] = option(
        help="size of the images: a number, or HEIGHTxWIDTH", default=(224, 224), parse=parse_size
    )
    dialect: str = option(help="the Caffe that must load the files", default="caffe-1.0", choices=WRITTEN)
    conv_bias: bool = option(
        help="pynetbuilder's layout: biases before BatchNorm, and use_global_stats written out",
        default=False,
        switch=True,
    )
    defaults: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        self.check_at_least("classes", 1)
        self.check_known("dialect", WRITTEN)
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
        defaults = {**self.layer_defaults(phase)}
        for type, fields in self.defaults.items():
            defaults[type] = {**defaults.get(type, {}), **fields}
        return self.net_type(
            self.title, "TRAIN" if train else "TEST", dialect=self.dialect, defaults=defaults
        )

    def layer_defaults(self, phase: str) -> dict[str, dict[str, Any]]:
        """The fields that this network fills in, by layer type; None leaves a field to Caffe."""
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


@dataclass(frozen=True, eq=False, repr=False)
class Network(Record):
    """An entry of the registry."""

    name: str
    config: type[Any]
    stitch: Callable[[Any, str], Net]
    about: str


NETWORKS: dict[str, Network] = {}


def network(name: str, config: type[C]) -> Callable[[Callable[[C, str], Net]], Callable[[C, str], Net]]:
    """Register a stitch function under a name; the first line of its docstring describes it.

    Raises ConfigError if another module has registered that name, or is the network of that name here.
    """

    def register(stitch: Callable[[C, str], Net]) -> Callable[[C, str], Net]:
        owner = _own_module(name) or (NETWORKS[name].stitch.__module__ if name in NETWORKS else "")
        if owner and owner != stitch.__module__:
            raise ConfigError(
                f"there is already a network '{name}', from {owner}", key="network", hint="take another name"
            )
        about = (stitch.__doc__ or "").partition("\n")[0]
        NETWORKS[name] = Network(name, config, stitch, about)
        return stitch

    return register


def all_networks() -> dict[str, Network]:
    """All networks by name, in alphabetical order. Raises ConfigError if an entry point cannot be loaded."""
    import pkgutil

    for info in pkgutil.iter_modules([os.path.dirname(__file__)]):
        importlib.import_module(f"netbuilder.networks.{info.name}")
    _load_entry_points()
    return dict(sorted(NETWORKS.items()))


def is_network(name: str) -> bool:
    """Whether there is a network of this name; imports it, and no other of this package."""
    if name not in NETWORKS:
        module = _own_module(name)
        if module:
            importlib.import_module(module)
        else:
            _load_entry_points(name)
    return name in NETWORKS


def find_network(name: str) -> Network:
    """The network of this name, importing no other of this package; raises ConfigError with the nearest."""
    if not is_network(name):
        names = list(all_networks())
        raise ConfigError(
            f"unknown network '{name}': there are {', '.join(names)}",
            key="network",
            hint=did_you_mean(name, names),
        )
    return NETWORKS[name]


def _own_module(name: str) -> str:
    """The module of this package that is called like a network, or ""."""
    module = f"netbuilder.networks.{name}"
    return module if name.isidentifier() and importlib.util.find_spec(module) else ""


def _load_entry_points(name: str = "") -> None:
    """Load the entry points of installed packages, all of them or those of one name."""
    from importlib.metadata import entry_points  # slow to import, and few have any

    for point in entry_points(group=ENTRY_POINTS):
        if name not in ("", point.name):
            continue
        try:
            point.load()
        except Exception as error:
            package = point.dist.name if point.dist else "an unknown package"
            raise ConfigError(
                f"cannot load the networks of {package}: {type(error).__name__}: {error}",
                path=f"entry point {point.name} = {point.value}",
                hint=f"fix or remove {package}",
            ) from error
