"""Layers that stay as they are while the others are trained: `lr_mult: 0` and `decay_mult: 0`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from netbuilder.errors import ConfigError, counted, did_you_mean
from netbuilder.layers import RULES
from netbuilder.layers.traits import of_layer
from netbuilder.net import Layer, Net
from netbuilder.schema import LayerParameter
from netbuilder.schema.fields import has_field

__all__ = ["Frozen", "freeze"]

_SOME = 3


@dataclass(frozen=True)
class Frozen:
    """The layers that stay, with the numbers of their parameters; `apply` writes that into their fields.

    A number is None where it depends on the size of unseen data. `blobs` has the number of parameter blobs of
    each, `shared` the names of parameters that other layers have in common with them. With `statistics`, a
    BatchNorm also keeps its statistics; otherwise those in `moving` follow the batches of the training.
    """

    layers: dict[str, int | None]
    blobs: dict[str, int]
    shared: frozenset[str] = frozenset()
    statistics: bool = False
    moving: tuple[str, ...] = ()

    @property
    def params(self) -> int:
        """How many numbers stay, of the layers where that is known."""
        return sum(size or 0 for size in self.layers.values())

    def lines(self, net: Net) -> list[str]:
        """What stays of a net, for people."""
        names = list(self.layers)
        more = f" and {len(names) - _SOME} more" if len(names) > _SOME else ""
        everything = sum(_size(layer) or 0 for layer in net)
        figures = f"{self.params:,} of {everything:,} parameters"
        lines = [f"frozen   {', '.join(names[:_SOME])}{more}: {figures}"]
        unsized = [layer.name for layer in net if _blobs(layer) and _size(layer) is None]
        if unsized:
            lines.append(f"         not counting '{unsized[0]}', whose shapes need --input")
        if self.moving:
            lines.append(
                f"moving   {counted(len(self.moving), 'frozen layer')} with statistics that still follow the "
                "batches (--freeze-statistics)"
            )
        return lines

    def apply(self, proto: LayerParameter) -> LayerParameter:
        """The layer with these fields; the same object if nothing in it changes."""
        blobs = self.blobs.get(proto.name, 0)
        if not blobs and not any(spec.name in self.shared for spec in proto.param if spec.name):
            return proto
        copy = type(proto)()
        copy.CopyFrom(proto)
        while len(copy.param) < blobs:
            copy.param.add()
        for i, spec in enumerate(copy.param):
            if i < blobs or spec.name in self.shared:
                spec.lr_mult = spec.decay_mult = 0
        message = _statistics(copy) if blobs and self.statistics else None
        if message is not None:
            message.use_global_stats = True
        return copy


def freeze(nets: Sequence[Net], patterns: Sequence[str], *, statistics: bool = False) -> Frozen:
    """Choose the layers whose names match one of the patterns (`conv1`, `stage[12]_*`) in any of the nets.

    A parameter that a layer shares is frozen in all layers that share it, as Caffe demands.
    Raises ConfigError for a pattern without a match, and for one that matches only layers without
    parameters.
    """
    layers = [layer for net in nets for layer in net]
    chosen: dict[str, list[Layer]] = {}
    for pattern in patterns:
        matching = [layer for layer in layers if layer.name == pattern or fnmatchcase(layer.name, pattern)]
        with_params = [layer for layer in matching if _blobs(layer)]
        if not with_params:
            raise _no_match(pattern, matching, layers)
        for layer in with_params:
            chosen.setdefault(layer.name, []).append(layer)
    shared = {spec.name for found in chosen.values() for spec in found[0].proto.param if spec.name}
    return Frozen(
        {name: _size(found[0]) for name, found in chosen.items()},
        {name: max(map(_blobs, found)) for name, found in chosen.items()},
        frozenset(shared),
        statistics,
        () if statistics else tuple(_moving(chosen)),
    )


def _blobs(layer: Layer) -> int:
    """How many parameter blobs a layer has, also where their shapes are not known."""
    rule = RULES.get(layer.type)
    return len(layer.params) or (of_layer(rule.traits.learns, layer.proto, 0) if rule else 0)


def _size(layer: Layer) -> int | None:
    """How many parameters of its own a layer has; None if their shapes are not known."""
    if _blobs(layer) and not layer.params:
        return None
    return sum(param.size for param in layer.params if param.shared_with is None)


def _moving(chosen: dict[str, list[Layer]]) -> Iterable[str]:
    """The layers whose statistics a training changes, whatever their lr_mult."""
    for name, found in chosen.items():
        message = _statistics(found[0].proto)
        if message is not None and not message.use_global_stats:
            yield name


def _statistics(proto: LayerParameter) -> Any:
    """The message with the field `use_global_stats`; None for a type that lacks it."""
    rule = RULES.get(proto.type)
    messages = (getattr(proto, name) for name in (rule.params if rule else ()))
    return next((message for message in messages if has_field(message, "use_global_stats")), None)


def _no_match(pattern: str, matching: Sequence[Layer], layers: Sequence[Layer]) -> ConfigError:
    if matching:
        some = ", ".join(dict.fromkeys(f"'{layer.name}'" for layer in matching[:3]))
        return ConfigError(
            f"'{pattern}' matches {some}, which {'has' if len(matching) == 1 else 'have'} no parameters",
            key="freeze", hint="only layers with parameters can be frozen",
        )  # fmt: skip
    names = list(dict.fromkeys(layer.name for layer in layers if _blobs(layer)))
    near = did_you_mean(pattern.strip("*?"), names)
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return ConfigError(
        f"no layer matches '{pattern}'", key="freeze", hint=near or f"layers with parameters: {shown}"
    )
