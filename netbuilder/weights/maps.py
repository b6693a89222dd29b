"""Naming maps: the modules of published code by the layers of our nets, as YAML files in `maps/`.

A map goes from our names to theirs, so that it serves import and export alike. Its file has:

* `about`: whose names they are; `also`, the name of a map whose `modules` follow its own
* `modules`: a pattern of our layers' names and the module that it stands for. `{s}` in a pattern is a number,
  `{x*}` any text; in a module, `{s}` is that number, `{s+1}` the next one, and `{#}` counts the modules of a
  name in the order of the net, as TensorFlow does: nothing, `_1`, `_2`. The first pattern that fits counts.
* `expects`: fields that layers must have for the net to compute what the published one does
* `needs`, `lacks`: patterns of layers that such a net has, or does not have
* `input`: what the published net is fed (`netbuilder.weights.inputs`)
* `layout`: `tensorflow` for filters of height, width, inputs, outputs
* `convolutions`: patterns of inner products that the published net has as 1x1 convolutions
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from netbuilder.errors import ConfigError, did_you_mean
from netbuilder.net import Layer, Net
from netbuilder.weights.units import Unit

__all__ = ["NamingMap", "all_maps", "find_map"]

_FOLDER = Path(__file__).with_name("maps")
_PART = re.compile(r"\{(\w+)(\*?)\}")  # in a pattern
_PLACE = re.compile(r"\{(\w+)(\+1)?\}")  # in a module
_COUNT = "{#}"
_KEYS = ("about", "also", "modules", "expects", "needs", "lacks", "input", "layout", "convolutions")


@dataclass(frozen=True)
class NamingMap:
    """One map. `raw` is that of the state_dict of our PyTorch engine, which has blobs by their numbers."""

    name: str
    about: str
    modules: tuple[tuple[re.Pattern[str], str], ...] = ()
    expects: tuple[Mapping[str, Any], ...] = ()
    needs: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    input: Mapping[str, Any] = field(default_factory=dict)
    layout: str = "torch"
    convolutions: tuple[re.Pattern[str], ...] = ()
    own_names: bool = False
    raw: bool = False

    def names(self, units: Sequence[Unit]) -> list[str | None]:
        """The module of each unit, in the order of the net; None for a unit that the map does not know."""
        counts: dict[str, int] = {}
        return [unit.name if self.own_names else self._name(unit.name, counts) for unit in units]

    def is_convolution(self, layer: str) -> bool:
        """Whether an inner product is a 1x1 convolution in the published net."""
        return any(pattern.fullmatch(layer) for pattern in self.convolutions)

    def _name(self, layer: str, counts: dict[str, int]) -> str | None:
        for pattern, module in self.modules:
            if match := pattern.fullmatch(layer):
                found = _PLACE.sub(lambda place: _filled(place, match), module)
                if _COUNT not in found:
                    return found
                number = counts[found] = counts.get(found, -1) + 1
                return found.replace(_COUNT, f"_{number}" if number else "")
        return None

    def departures(self, net: Net) -> list[str]:
        """Where a net has other layers or fields than those that the published weights were trained with."""
        kinds = [*((text, True) for text in self.needs), *((text, False) for text in self.lacks)]
        return [
            f"the net {'lacks' if wanted else 'has'} layers like '{text}'"
            for text, wanted in kinds
            if any(_pattern(text).fullmatch(layer.name) for layer in net) != wanted
        ] + [
            f"layer '{layer.name}' has {key} {value}, where the weights were trained with {wanted}"
            for rule in self.expects
            for layer in net
            if _pattern(rule["layer"]).fullmatch(layer.name)
            for key, value, wanted in _differences(layer, rule)
        ]


def _filled(place: re.Match[str], match: re.Match[str]) -> str:
    value = match[place[1]]
    return str(int(value) + 1) if place[2] else value


def _differences(layer: Layer, rule: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    from netbuilder.layers.arithmetic import conv_window, pool_window

    shape = layer.bottoms[0].shape if layer.bottoms else None
    if shape is None or len(shape) != 4:
        return []
    if layer.proto.HasField("pooling_param"):
        window: Any = pool_window(layer.proto.pooling_param, shape[2:])
    else:
        window = conv_window(layer.proto.convolution_param, 2)
    values = {"kernel": window.kernel[0], "stride": window.stride[0], "pad": window.pad[0]}
    if "if_kernel" in rule and values["kernel"] != rule["if_kernel"]:
        return []
    return [(key, values[key], rule[key]) for key in values if key in rule and values[key] != rule[key]]


@cache
def _pattern(text: str) -> re.Pattern[str]:
    parts, at = [], 0
    for part in _PART.finditer(text):
        parts += [re.escape(text[at : part.start()]), f"(?P<{part[1]}>{'.+' if part[2] else '[0-9]{1,9}'})"]
        at = part.end()
    return re.compile("".join([*parts, re.escape(text[at:])]))


@cache
def all_maps() -> tuple[NamingMap, ...]:
    """The shipped maps, and the two that need no file, in the order in which they are tried."""
    own = NamingMap("layers", "the names of the net's own layers", own_names=True)
    raw = NamingMap("engine", "the state_dict of netbuilder's PyTorch engine", own_names=True, raw=True)
    return (*(_read(path, path.stem) for path in sorted(_FOLDER.glob("*.yaml"))), own, raw)


def find_map(name: str) -> NamingMap:
    """The map of this name, or of a YAML file. Raises ConfigError."""
    if name.endswith((".yaml", ".yml")):
        return _read(Path(name), Path(name).stem)
    maps = {each.name: each for each in all_maps()}
    if name not in maps:
        hint = did_you_mean(name, maps) or f"there is auto, order, {', '.join(maps)}, or a YAML file"
        raise ConfigError(f"there is no naming map '{name}'", key="map", hint=hint)
    return maps[name]


def _read(path: Path, name: str) -> NamingMap:
    import yaml

    from netbuilder.storage.files import read_text

    try:
        data = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"'{path}' is not YAML: {str(error).splitlines()[0]}", key="map") from None
    modules = data.get("modules") if isinstance(data, dict) else None
    if not isinstance(modules, dict) or not all(isinstance(x, str) for pair in modules.items() for x in pair):
        raise ConfigError(
            f"'{path}' is not a naming map: it needs modules, from patterns of layers to modules", key="map",
            hint="docs/weights.md shows one",
        )  # fmt: skip
    for key in data:
        if key not in _KEYS:
            raise ConfigError(
                f"'{path}' has the unknown key '{key}'", key="map",
                hint=did_you_mean(str(key), _KEYS) or f"a map has {', '.join(_KEYS)}",
            )  # fmt: skip
    _check_forms(path, data)
    _check_places(path, modules)
    rules = [(_pattern(pattern), module) for pattern, module in modules.items()]
    if "also" in data:
        rules += _shipped(str(data["also"])).modules
    return NamingMap(
        name=name,
        about=str(data.get("about", "")),
        modules=tuple(rules),
        expects=tuple(data.get("expects", ())),
        needs=tuple(map(str, data.get("needs", ()))),
        lacks=tuple(map(str, data.get("lacks", ()))),
        input=data.get("input", {}),
        layout=str(data.get("layout", "torch")),
        convolutions=tuple(_pattern(str(text)) for text in data.get("convolutions", ())),
    )


def _shipped(name: str) -> NamingMap:
    """A shipped map by name, or ConfigError."""
    path = _FOLDER / f"{name}.yaml"
    known = [p.stem for p in _FOLDER.glob("*.yaml")]
    if name not in known:
        raise ConfigError(f"there is no naming map '{name}'", key="map", hint=did_you_mean(name, known))
    return _read(path, name)


def _check_forms(path: Path, data: Mapping[str, Any]) -> None:
    """Raise ConfigError for a value of the wrong kind, and for an invalid pattern."""
    rules = data.get("expects", [])
    lists = [data.get(key, []) for key in ("needs", "lacks", "convolutions")]
    if not all(isinstance(part, list) for part in (rules, *lists)) or not (
        isinstance(data.get("input", {}), dict) and all(map(_is_rule, rules))
    ):
        raise ConfigError(
            f"'{path}' is not a naming map: expects has rules of layers, needs, lacks and convolutions have "
            "patterns, input has fields", key="map", hint="docs/weights.md shows one",
        )  # fmt: skip
    for text in (*data["modules"], *(rule["layer"] for rule in rules), *itertools.chain(*lists)):
        try:
            _pattern(str(text))
        except re.error as error:
            raise ConfigError(f"'{path}': '{text}' is not a pattern: {error}", key="map") from None


def _is_rule(rule: object) -> bool:
    if not isinstance(rule, dict) or not isinstance(rule.get("layer"), str):
        return False
    return all(isinstance(value, int) for key, value in rule.items() if key != "layer")


def _check_places(path: Path, modules: Mapping[str, str]) -> None:
    """Raise ConfigError for a module with a place that its pattern does not fill."""
    for pattern, module in modules.items():
        for place in _PLACE.finditer(module.replace(_COUNT, "")):
            if place[1] not in _pattern(pattern).groupindex:
                raise ConfigError(
                    f"'{path}': '{module}' needs {{{place[1]}}}, which '{pattern}' does not have", key="map"
                )
