"""Load a config file, its base and the command line's --set into a network's config dataclass.

Precedence: --set > file > base > the network's default. The dataclass checks the values.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from netbuilder.config.accuracy import Accuracy, read_accuracy
from netbuilder.config.items import Item, Place, read_file, read_setting, refusal
from netbuilder.config.layers import layer_defaults
from netbuilder.config.places import Found, find_config, is_path
from netbuilder.config.plugins import load_module, module_path
from netbuilder.config.values import convert, field_types
from netbuilder.errors import ConfigError, FileError, NetBuilderError, did_you_mean
from netbuilder.measure.counts import Counts
from netbuilder.net import PROJECT_DEFAULTS, Net
from netbuilder.networks import NetConfig, Network, find_network, options
from netbuilder.networks.registry import flat_fields, group_of

__all__ = ["EXPECTED", "KEYS", "Loaded", "load", "load_found", "settled"]

# The keys of a file that are not options of its network.
KEYS = {
    "network": "the network to which the other keys belong; the base can give it",
    "base": "another config, by name or by path from this file; its values apply where this file has none",
    "module": "your Python module that registers networks or legos: my_nets.py beside this file, or an "
    "installed module",
    "source": "where the net was published",
    "expect": "counts that the net must have",
    "accuracy": "the accuracy that its weights were published with, and where",
    "defaults": "values for fields of a layer type that the network does not set",
}
_OWN = ("source", "expect", "accuracy")  # these describe one net, and are not inherited from a base
SWEEP = ("axes", "constraints", "objectives")  # keys of the file of a sweep, which `apart` names
EXPECTED = tuple(name for name in Counts._fields if name not in ("batch", "layers", "uncounted"))


class Value(NamedTuple):
    """One value of a loaded config, and its origin: a Place, or None for the option's default."""

    key: str
    value: Any
    place: Place | None


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A config, ready for `entry.stitch(config, phase)`."""

    found: Found
    entry: Network
    config: NetConfig
    items: dict[str, Item]
    source: str
    expect: dict[str, int]
    accuracy: Accuracy | None
    origin: str  # lines for the head of the written files

    def values(self) -> list[Value]:
        """Every value: the network, its options, and the layer defaults of the train net."""
        values = [Value("network", self.entry.name, self.items["network"].place)]
        for field in options(self.entry.config):
            item = self.items.get(field.name)
            values.append(Value(field.name, getattr(self.config, field.name), item.place if item else None))
        given = self.items["defaults"].value if "defaults" in self.items else {}
        layers: dict[str, Value] = {}
        # Later ones override earlier ones.
        for origin, defaults in (
            (Place("project", "project"), PROJECT_DEFAULTS),
            (Place("network", f"network {self.entry.name}"), self.config.layer_defaults("train")),
            (None, self.config.defaults),
        ):
            for type, fields in defaults.items():
                for name, value in fields.items():
                    key = f"defaults.{type}.{name}"
                    layers[key] = Value(key, value, origin or given[type].value[name].place)
        return [*values, *(layers[key] for key in sorted(layers))]

    def stitch(self, phase: str) -> Net:
        """The net of a phase; errors also name the config."""
        with self.located():
            return self.entry.stitch(self.config, phase)

    @contextmanager
    def located(self) -> Iterator[None]:
        """Make errors raised inside name the config too, and the defaults of a refused layer."""
        try:
            yield
        except FileError:
            raise
        except NetBuilderError as error:
            config = f"config {self.found.shown}"
            type = error.text.partition(" ")[0]
            if type in self.config.defaults:
                config = f"{self.items['defaults'].value[type].place}, defaults.{type}"
            error.where = f"{error.where}; {config}" if error.where else config
            raise

    def check_expected(self, figures: Mapping[str, int | float]) -> None:
        """Raise ConfigError if one of the net's totals differs from `expect`."""
        for key, number in self.expect.items():
            if figures[key] != number:
                raise refusal(
                    f"{key} is {figures[key]:,}, but the config expects {number:,}",
                    self.items["expect"].value[key].place, f"expect.{key}",
                    "correct the net or the expected counts",
                )  # fmt: skip


def load(target: str, sets: Sequence[str] = (), folders: Sequence[str] = ()) -> Loaded:
    """Load the config with this path or name, with KEY=VALUE settings over it.

    Names are searched in `folders` before NETBUILDER_CONFIGS and the shipped configs. Raises FileError if a
    file cannot be read, and ConfigError, which names file, line and dotted key.
    """
    return load_found(find_config(target, folders), target, sets, folders)


def load_found(
    found: Found,
    target: str = "",
    sets: Sequence[str] = (),
    folders: Sequence[str] = (),
    apart: Sequence[str] = (),
) -> Loaded:
    """Like `load`, for a config already found; `target` is the path or name that the user gave.

    The file may also have the keys in `apart`, which the caller reads; the result holds them in `items`.
    """
    own = read_file(found.path, found.shown)
    under: dict[str, Item] = {}
    origin = [f"config: {_as_given(target or found.name)}, sha256 {_digest(found.path)}"]
    if "base" in own:
        base, under = _base(own["base"], found, folders)
        origin.append(f"base: {_as_given(own['base'].value)}, sha256 {_digest(base.path)}")
        origin += _load_module(under, base)
    origin += _load_module(own, found)
    settings = [(setting, *read_setting(setting)) for setting in sets]
    entry = _network(_over(own, under), found)
    items = _over(_flat(own, entry), _flat(under, entry))
    for setting, keys, item in settings:
        _set(items, keys, item, entry)
        origin.append(f"set: {setting}")
    config = _config(entry, items, found, apart)
    # Both describe the net of the file, which settings change.
    expect, accuracy = ({}, None) if sets else (_expect(items), read_accuracy(items.get("accuracy")))
    return Loaded(found, entry, config, items, _source(items), expect, accuracy, "\n".join(origin))


def settled(entry: Network, given: Mapping[str, Any], sets: Sequence[str]) -> NetConfig:
    """The config of a network with these values of its options, and KEY=VALUE settings over them."""
    items: dict[str, Item] = {}
    for setting in sets:
        _set(items, *read_setting(setting), entry)
    return _config(entry, items, Found(entry.name, Path(), f"network {entry.name}"), (), given)


def _base(item: Item, found: Found, folders: Sequence[str]) -> tuple[Found, dict[str, Item]]:
    """The base that a file names, and its keys."""
    if not isinstance(item.value, str) or not item.value:
        raise refusal(f"base must be the name or the path of a config, got {item.shown}", item.place, "base")
    target = item.value
    if is_path(target):
        target = str(found.path.parent / target)
    try:
        base = find_config(target, folders, skip=found.path)
        if base.path.resolve() == found.path.resolve():
            raise ConfigError("this is the config itself")
        under = read_file(base.path, base.shown, "base")
    except (ConfigError, FileError) as error:
        if error.where:  # an error in the base
            raise
        raise refusal(f"base '{item.value}': {error.text}", item.place, "base", error.hint) from None
    if "base" in under:
        raise refusal(
            f"base '{item.value}' itself has a base, '{under['base'].text}'; only one level is allowed",
            item.place, "base", "copy the values of one of the two into this file",
        )  # fmt: skip
    return base, under


def _over(own: dict[str, Item], under: dict[str, Item]) -> dict[str, Item]:
    """The keys of a file merged over those of its base; `defaults` are merged field by field."""
    items = {key: item for key, item in under.items() if key not in _OWN} | own
    upper, lower = own.get("defaults"), under.get("defaults")
    if upper and lower and isinstance(upper.value, dict) and isinstance(lower.value, dict):
        types = dict(lower.value)
        for type, fields in upper.value.items():
            below = types[type].value if type in types else None
            if isinstance(below, dict) and isinstance(fields.value, dict):
                fields = fields._replace(value={**below, **fields.value})
            types[type] = fields
        items["defaults"] = upper._replace(value=types)
    return items


def _load_module(items: dict[str, Item], file: Found) -> list[str]:
    """Load the module that a file names, if any; returns a line about it for the written files."""
    if "module" not in items:
        return []
    load_module(items["module"], file.path)
    name = items["module"].value
    path = module_path(name, file.path)
    return [f"module: {_as_given(name)}" + (f", sha256 {_digest(path)}" if path else "")]


def _flat(items: dict[str, Item], entry: Network) -> dict[str, Item]:
    """The keys of a file, with groups such as `elements: {attention: se}` replaced by their options."""
    groups = group_of(entry.config)
    flat = {key: item for key, item in items.items() if key not in groups.values()}
    for group in dict.fromkeys(groups.values()):
        if group not in items:
            continue
        item = items[group]
        names = [name for name, owner in groups.items() if owner == group]
        if not isinstance(item.value, dict):
            raise refusal(
                f"{group} must be a mapping of options to values, got {item.shown}", item.place, group,
                f"its options are {', '.join(names)}",
            )  # fmt: skip
        for name, inner in item.value.items():
            key = f"{group}.{name}"
            if name not in names:
                raise refusal(
                    f"unknown key '{key}': network {entry.name} has no such option", inner.place, key,
                    did_you_mean(name, names),
                )  # fmt: skip
            if name in flat:
                raise refusal(f"'{name}' and '{key}' are the same option", inner.place, key, "give one")
            flat[name] = inner
    return flat


def _set(items: dict[str, Item], keys: list[str], item: Item, entry: Network) -> None:
    """Put the value of a --set in its place among the items."""
    first, *rest = _setting(keys, item, entry)
    items[first] = _placed(items.get(first), rest, item)


def _setting(keys: list[str], item: Item, entry: Network) -> list[str]:
    """The keys of a --set: an option, or one field in `defaults`."""
    if keys[0] == "defaults" and len(keys) < 3:
        raise refusal(
            "--set sets one field of defaults at a time", item.place, keys[0],
            "for example --set defaults.BatchNorm.eps=1e-4",
        )  # fmt: skip
    if len(keys) == 2 and group_of(entry.config).get(keys[1]) == keys[0]:
        return keys[1:]
    if keys[0] != "defaults" and (len(keys) > 1 or keys[0] in KEYS):
        raise refusal(
            f"--set sets options of the network and fields of defaults; {'.'.join(keys)} is neither",
            item.place, keys[0], "write it into your own config with this one as its base",
        )  # fmt: skip
    return keys


def _placed(below: Item | None, keys: list[str], item: Item) -> Item:
    """A copy of nested items in which the item at the end of some keys is replaced."""
    if not keys:
        return item
    entries = dict(below.value) if below is not None and isinstance(below.value, dict) else {}
    entries[keys[0]] = _placed(entries.get(keys[0]), keys[1:], item)
    return Item(entries, "", item.place)


def _network(items: dict[str, Item], found: Found) -> Network:
    if "network" not in items:
        raise ConfigError(
            "network is missing; it names the network to which the other keys belong", key="network",
            path=found.shown, hint="for example network: resnet; or give a base",
        )  # fmt: skip
    item = items["network"]
    if not isinstance(item.value, str):
        raise refusal(f"network must be a name, got {item.shown}", item.place, "network")
    try:
        entry = find_network(item.value)
    except ConfigError as error:
        if error.key != "network":
            raise
        raise refusal(error.text, item.place, "network", error.hint) from None
    names = [f.name for f in options(entry.config)] + list(group_of(entry.config).values())
    clash = [name for name in names if name in KEYS]
    if clash:
        raise refusal(
            f"network {entry.name} has an option '{clash[0]}', which is a reserved key of configs",
            item.place,
            "network",
        )
    return entry


def _config(
    entry: Network,
    items: dict[str, Item],
    found: Found,
    apart: Sequence[str],
    given: Mapping[str, Any] = MappingProxyType({}),
) -> NetConfig:
    """The config dataclass of a network, from the items of its fields over the values in `given`."""
    fields = {f.name: f for f in flat_fields(entry.config) if f.name != "defaults"}
    for key, item in items.items():
        if key in SWEEP and not apart:
            raise refusal(
                f"this is the file of a sweep, over many nets, not a config: it has {key}", item.place, key,
                f"netbuilder sweep {found.shown} -o FOLDER counts them; take {key} out to make it a config",
            )  # fmt: skip
        if key not in fields and key not in KEYS and key not in apart:
            raise refusal(
                f"unknown key '{key}': network {entry.name} has no such option", item.place, key,
                did_you_mean(key, [*fields, *KEYS, *apart]),
            )  # fmt: skip
    types = field_types(entry.config)
    values = dict(given)
    values |= {name: convert(items[name], types[name], fields[name]) for name in fields if name in items}
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            choices = field.metadata.get("choices")
            raise refusal(
                f"{name} is missing: network {entry.name} needs it", items["network"].place, name,
                f"for example {name}: {choices[0]}" if choices else "",
            )  # fmt: skip
    if "defaults" in items:
        values["defaults"] = layer_defaults(items["defaults"])
    try:
        config: NetConfig = entry.config(**values)
    except ConfigError as error:
        key = error.key
        if key in items:
            raise refusal(error.text, items[key].place, key, error.hint) from None
        default = f", {key} (by default)" if key in fields else ""
        raise ConfigError(error.text, key=key, path=f"{found.shown}{default}", hint=error.hint) from None
    return config


def _source(items: dict[str, Item]) -> str:
    item = items.get("source")
    if item is None or item.value is None:
        return ""
    if not isinstance(item.value, str):
        raise refusal(f"source must be text, got {item.shown}", item.place, "source", "write it in quotes")
    return item.value


def _expect(items: dict[str, Item]) -> dict[str, int]:
    item = items.get("expect")
    if item is None or item.value is None:
        return {}
    if not isinstance(item.value, dict):
        raise refusal(f"expect must be a mapping of counts, got {item.shown}", item.place, "expect")
    for key, number in item.value.items():
        if key not in EXPECTED:
            hint = did_you_mean(key, EXPECTED)
            raise refusal(f"unknown count '{key}'", number.place, f"expect.{key}", hint)
        if not isinstance(number.value, int) or isinstance(number.value, bool):
            raise refusal(f"{key} must be an integer, got {number.shown}", number.place, f"expect.{key}")
    return {key: number.value for key, number in item.value.items()}


def _digest(path: Path) -> str:
    """The start of the file's SHA-256, long enough to identify it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def _as_given(target: str) -> str:
    """The path or name as given; of an absolute path only the last part, since the rest is private."""
    name = Path(target).name if Path(target).is_absolute() else target
    return name.encode(errors="backslashreplace").decode()
