"""Which tensor of a checkpoint fills which blob of a net.

A naming map says which module a unit of the net is. `match` finds the map (`auto`), the prefix that a
training program put before all names, and the order of the axes; or pairs by unique shapes. It refuses what
is missing, left over or ambiguous: a net with a wrong tensor in it looks like a net.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from netbuilder.errors import ConfigError, shape_text
from netbuilder.net import Net
from netbuilder.weights.arrange import LAYOUTS, Arrangement, arrangement
from netbuilder.weights.maps import NamingMap, all_maps, find_map
from netbuilder.weights.pairing import by_order, by_shape
from netbuilder.weights.tensors import Checkpoint, Tensor
from netbuilder.weights.units import STATISTICS, Slot, Unit, raw_units, units_of

__all__ = ["Match", "Pair", "match"]

# The words for a tensor's role in its module, of PyTorch and of TensorFlow.
_ROLES = {
    "weight": "weight", "kernel": "weight", "gamma": "weight", "weights": "weight",
    "depthwise_kernel": "weight", "bias": "bias", "beta": "bias", "biases": "bias",
    "running_mean": "running_mean", "moving_mean": "running_mean",
    "running_var": "running_var", "moving_variance": "running_var",
}  # fmt: skip
_COUNTERS = re.compile(
    r"(^|[./])(num_batches_tracked|n_averaged|global_step|Momentum|Adam(_\d)?|RMSProp(_\d)?"
    r"|ExponentialMovingAverage)(:0)?$"
)
_LISTED = 5  # names in an error
_AFFINE = ("weight", "bias")

# Modules: their tensors by role.
Table = Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True)
class Pair:
    """A blob and its tensor. Without one, the blob is full of `fill`; `minus` is subtracted from it."""

    slot: Slot
    tensor: Tensor | None
    arrange: Arrangement | None = None
    fill: float = 0
    minus: Tensor | None = None


@dataclass
class Match:
    """The pairs of a net and a checkpoint, the map and prefix that gave them, and what is to be said."""

    map: NamingMap
    prefix: str
    layout: str
    pairs: list[Pair]
    units: list[Unit]
    modules: list[str]
    ignored: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def match(
    net: Net,
    checkpoint: Checkpoint,
    map: str = "auto",
    *,
    prefix: str | None = None,
    skip: Sequence[str] = (),
    ignore: Sequence[str] = (),
) -> Match:
    """Pair the blobs of a net with the tensors of a checkpoint.

    `map` is a map's name or file, `auto`, or `order` for nets that are plain chains. `skip` are patterns of
    layers that get no weights, `ignore` patterns of tensors that are left out. Raises ConfigError.
    """
    return _Matcher(net, checkpoint, prefix, skip, ignore).run(map)


@dataclass
class _Fit:
    """What a map finds: pairs where it does, and what is missing or does not fit."""

    map: NamingMap
    prefix: str
    layout: str
    units: list[Unit]
    modules: list[str]
    pairs: list[Pair]
    missing: list[str]
    misfits: list[str]
    unused: list[str]

    @property
    def is_whole(self) -> bool:
        return not self.missing and not self.misfits

    @property
    def identity(self) -> tuple[tuple[str, str], ...]:
        """What of it matters to the model that is written."""
        return tuple(
            (f"{pair.slot.layer.name}.{pair.slot.index}", pair.tensor.name if pair.tensor else "")
            for pair in self.pairs
        )


class _Matcher:
    def __init__(
        self, net: Net, checkpoint: Checkpoint, prefix: str | None, skip: Sequence[str], ignore: Sequence[str]
    ) -> None:
        self.net, self.path, self.prefix, self.skip = net, checkpoint.path, prefix, skip
        self.ignored: list[str] = []
        self.tensors: dict[str, Tensor] = {}
        for name, tensor in checkpoint.tensors.items():
            left_out = any(fnmatchcase(name, pattern) for pattern in ignore)
            counts = _COUNTERS.search(name) or not tensor.is_real
            if left_out or counts:
                self.ignored.append(name)
            else:
                self.tensors[name] = tensor
        self.units = self._wanted(units_of(net))
        self.table = _modules(self.tensors.values())

    def run(self, map: str) -> Match:
        if not self.tensors:
            raise ConfigError(f"'{self.path}' has no tensors of real numbers", key="checkpoint")
        if not self.units:
            raise ConfigError(f"net '{self.net.name}' has no layers that take weights", key="net")
        if map == "auto":
            return self._done(self._auto())
        if map == "order":
            modules = by_order(self.units, self.table, self.path)
            return self._done(self._fit(find_map("layers"), "", modules, self.units, self.table))
        chosen = find_map(map)
        fit = self._fitted(chosen)
        if isinstance(fit, str):
            raise ConfigError(
                f"map '{chosen.name}' ({chosen.about}) does not know layer '{fit}'", key="map",
                hint="--skip LAYER leaves layers out; --map auto finds the map",
            )  # fmt: skip
        return self._done(fit)

    def _wanted(self, units: Iterable[Unit]) -> list[Unit]:
        return [unit for unit in units if not any(fnmatchcase(unit.name, pattern) for pattern in self.skip)]

    # -- maps ----------------------------------------------------------------------------------------------

    def _auto(self) -> _Fit:
        """The one way to pair all blobs. Raises ConfigError if there is none, or more."""
        fits = [fit for each in all_maps() if not isinstance(fit := self._fitted(each), str)]
        whole = [fit for fit in fits if fit.is_whole]
        for better in (
            [fit for fit in whole if not fit.unused],
            [fit for fit in whole if not fit.map.departures(self.net)],
        ):
            whole = better or whole
        different = {fit.identity: fit for fit in reversed(whole)}
        if len(different) > 1:
            names = " and ".join(f"'{fit.map.name}'" for fit in different.values())
            raise ConfigError(
                f"maps {names} both fit '{self.path}', and pair it differently", key="map",
                hint="choose one: --map NAME",
            )  # fmt: skip
        if whole:
            return whole[0]
        made_for = [fit for fit in fits if not fit.map.own_names and not fit.map.departures(self.net)]
        nearest = max(made_for or fits, key=lambda fit: len(fit.pairs), default=None)
        if nearest and 2 * len(nearest.pairs) >= sum(len(unit.slots) for unit in nearest.units):
            return nearest
        modules = by_shape(self.units, self.table, self.path)
        return self._fit(find_map("layers"), "", modules, self.units, self.table)

    def _fitted(self, map: NamingMap) -> _Fit | str:
        """What a map finds under the best prefix, or the first layer that it does not know."""
        units = self._wanted(raw_units(self.net)) if map.raw else self.units
        table = _modules(self.tensors.values(), raw=True) if map.raw else self.table
        names: list[str] = []
        for unit, name in zip(units, map.names(units), strict=True):
            if name is None:
                return unit.name
            names.append(name)
        fits = [
            self._fit(map, prefix, [prefix + name for name in names], units, table)
            for prefix in ([self.prefix] if self.prefix is not None else _prefixes(names, table))
        ]
        found = max(len(fit.pairs) for fit in fits)
        best = [fit for fit in fits if len(fit.pairs) == found]
        if len(best) > 1 and best[0].is_whole:
            prefixes = " and ".join(f"'{fit.prefix}'" for fit in best)
            raise ConfigError(
                f"'{self.path}' has the net's weights more than once, under {prefixes}", key="prefix",
                hint="choose one: --prefix PREFIX",
            )  # fmt: skip
        return best[0]

    # -- pairs ---------------------------------------------------------------------------------------------

    def _fit(self, map: NamingMap, prefix: str, modules: list[str], units: list[Unit], table: Table) -> _Fit:
        """The pairs of units and modules, in the order of axes in which more of them fit."""
        norms = {u.name: table.get(m, {}) for u, m in zip(units, modules, strict=True) if u.is_norm}
        plain = _left_out(norms.values())
        biases = any("bias" in table.get(m, {}) for u, m in zip(units, modules, strict=True) if u.normed)
        missing: list[str] = []
        wanted: list[tuple[Slot, Tensor | None, float]] = []
        minus: dict[str, Tensor] = {}
        for unit, module in zip(units, modules, strict=True):
            tensors = table.get(module, {})
            for slot in unit.slots:
                free = unit.is_norm and slot.role in plain and bool(tensors)
                free = free or (bool(unit.normed) and slot.role == "bias" and not biases)
                if slot.role in tensors:
                    wanted.append((slot, tensors[slot.role], 0))
                elif free:
                    wanted.append((slot, None, 1 if unit.is_norm and slot.role == "weight" else 0))
                else:
                    missing.append(_name_of(module, slot.role, tensors, self.tensors))
            if unit.normed and unit.slot("bias") is None and "bias" in tensors:
                minus[unit.normed] = tensors["bias"]
        layouts = sorted(LAYOUTS, key=lambda layout: layout != map.layout)
        fits = {layout: self._arranged(wanted, minus, layout) for layout in layouts}
        layout = min(layouts, key=lambda layout: len(fits[layout][1]))
        pairs, misfits = fits[layout]
        used = {tensor.name for pair in pairs for tensor in (pair.tensor, pair.minus) if tensor}
        used |= {tensor.name for _, tensor, _ in wanted if tensor}
        under = [name for name in self.tensors if self.prefix is None or name.startswith(prefix)]
        unused = [name for name in under if name not in used]
        return _Fit(map, prefix, layout, units, modules, pairs, missing, misfits, unused)

    def _arranged(
        self, wanted: Sequence[tuple[Slot, Tensor | None, float]], minus: Mapping[str, Tensor], layout: str
    ) -> tuple[list[Pair], list[str]]:
        pairs, misfits = [], []
        for slot, tensor, fill in wanted:
            how = arrangement(tensor.shape, slot, layout) if tensor else None
            if tensor and how is None:
                misfits.append(
                    f"tensor '{tensor.name}' is {shape_text(tensor.shape)}, and layer '{slot.layer.name}' "
                    f"takes {shape_text(slot.shape)}"
                )
                continue
            less = minus.get(slot.layer.name) if slot.role == STATISTICS[0] else None
            pairs.append(Pair(slot, tensor, how, fill, less))
        return pairs, misfits

    # -- the result ----------------------------------------------------------------------------------------

    def _done(self, fit: _Fit) -> Match:
        by = f"by map '{fit.map.name}'" + (f" with prefix '{fit.prefix}'" if fit.prefix else "")
        if fit.missing:
            raise ConfigError(
                f"'{self.path}' lacks {_some(fit.missing, 'tensor')} ({by})", key="checkpoint",
                hint="another map may fit (--map), or leave layers without weights: --skip LAYER",
            )  # fmt: skip
        if fit.misfits:
            more = f", and {len(fit.misfits) - 1} more do not fit" if len(fit.misfits) > 1 else ""
            raise ConfigError(
                f"'{self.path}': {fit.misfits[0]}{more} ({by})", key="checkpoint",
                hint="build the net with the widths and classes of the checkpoint, or --skip the layer",
            )  # fmt: skip
        skipped = self._skipped(fit)
        unused = [name for name in fit.unused if name not in skipped]
        if unused:
            raise ConfigError(
                f"'{self.path}' has {_some(unused, 'tensor')} for which the net has no layer ({by})",
                key="checkpoint",
                hint="build the net that they belong to, or leave them out: --ignore PATTERN",
            )
        notes = [f"not exactly the published net: {text}" for text in _few(fit.map.departures(self.net))]
        folded = [pair for pair in fit.pairs if pair.minus]
        if folded:
            notes.append(f"{len(folded)} biases before BatchNorm are in its means: the net has no such bias")
        filled = [pair for pair in fit.pairs if pair.tensor is None]
        if filled:
            notes.append(f"{len(filled)} blobs that the checkpoint has no tensor for are 0, gammas are 1")
        ignored = [*self.ignored, *skipped]
        return Match(fit.map, fit.prefix, fit.layout, fit.pairs, fit.units, fit.modules, ignored, notes)

    def _skipped(self, fit: _Fit) -> list[str]:
        """The tensors of the layers that --skip leaves out."""
        if not self.skip:
            return []
        every = units_of(self.net)
        names = {u.name: n for u, n in zip(every, fit.map.names(every), strict=True) if u not in self.units}
        left_out = {fit.prefix + name for name in names.values() if name}
        return [t.name for module in left_out for t in self.table.get(module, {}).values()]


def _left_out(norms: Collection[Mapping[str, Tensor]]) -> set[str]:
    """The roles that no BatchNorm has a tensor for: in PyTorch both or none, in TensorFlow perhaps one."""
    plain = {role for role in _AFFINE if norms and not any(role in tensors for tensors in norms)}
    slashed = any("/" in tensor.name for tensors in norms for tensor in tensors.values())
    return plain if slashed or len(plain) == len(_AFFINE) else set()


def _modules(tensors: Iterable[Tensor], *, raw: bool = False) -> dict[str, dict[str, Tensor]]:
    """The tensors by module and role, in their order; a tensor with no word for a role is its own module."""
    table: dict[str, dict[str, Tensor]] = {}
    for tensor in tensors:
        module, role = _parsed(tensor.name, raw)
        table.setdefault(module, {})[role] = tensor
    return table


def _parsed(name: str, raw: bool) -> tuple[str, str]:
    """The module and the role that the name of a tensor says, with TensorFlow's `:0` or without."""
    text = name.removesuffix(":0")
    cut = max(text.rfind("."), text.rfind("/"))
    module, last = text[: max(cut, 0)], text[cut + 1 :]
    if raw:
        return (module, last) if last.isdigit() else (text, "")
    if last not in _ROLES:
        return text, ""
    return re.sub(r"/kernel(:0)?$", "", module), _ROLES[last]


def _prefixes(names: Sequence[str], table: Table) -> list[str]:
    """What stands before the names in the checkpoint, by the three longest of them; nothing if nowhere."""
    found: dict[str, None] = {}
    for name in sorted(names, key=len)[-3:]:
        for module in table:
            head = module[: -len(name)]
            if module.endswith(name) and (not head or head[-1] in "./"):
                found.setdefault(head)
    return list(found) or [""]


def _name_of(module: str, role: str, there: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> str:
    """How a missing tensor would be called beside the others."""
    slashed = "/" in module or any("/" in tensor.name for tensor in there.values())
    return f"{module}{'/' if slashed else '.'}{role}"


def _some(names: Sequence[str], what: str) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:_LISTED])
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{what}{'s' if len(names) > 1 else ''} {shown}{more}"


def _few(texts: Sequence[str]) -> list[str]:
    more = [f"{len(texts) - 2} more layers like it"] if len(texts) > 2 else []
    return [*texts[:2], *more]
