"""What differs between two nets: layers, fields, shapes, cost, and whether the weights of one fit the other.

Caffe copies weights by layer name and ignores names that it does not find, so weights are compared layer by
layer. Layers are matched by name; layers that differ only in their names count as renamed, and their weights
are lost unless the name is changed back.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from netbuilder.measure.counts import count, totals
from netbuilder.net import Layer, Net
from netbuilder.prototxt import text as text_format

__all__ = ["Change", "Difference", "diff"]


@dataclass(frozen=True)
class Change:
    """A layer of both nets that is not the same; each pair is (in the first net, in the second).

    Shapes and parameters that are unknown in one net, because its data is missing, are not compared.
    """

    layer: str
    fields: tuple[str, str] | None
    bottoms: tuple[tuple[str, ...], tuple[str, ...]] | None
    tops: tuple[tuple[object, ...], tuple[object, ...]] | None
    params: tuple[tuple[object, ...], tuple[object, ...]] | None


@dataclass(frozen=True)
class Difference:
    """The result of `diff`; `costs` has the figures that differ, (in the first net, in the second).

    `weights_fit` is true if Caffe would load the first net's weights into the second and fill all of its
    parameters; `refused` names the layers on which it would abort, because the layer of the same name has a
    different number of parameters or different shapes. `uncompared` names the layers whose shapes are unknown
    in one net, because its data or a rule is missing; `costs` is then empty.
    """

    removed: tuple[str, ...]
    added: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    changed: tuple[Change, ...]
    costs: dict[str, tuple[float, float]]
    refused: tuple[str, ...]
    unfilled: tuple[str, ...]
    uncompared: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether the nets are equal, apart from their own names."""
        return not (self.removed or self.added or self.renamed or self.changed)

    @property
    def weights_fit(self) -> bool:
        """Whether the first net's weights fill the second."""
        return not (self.refused or self.unfilled)


def diff(first: Net, second: Net) -> Difference:
    """Compare two nets layer by layer."""
    a = {layer.name: layer for layer in first}
    b = {layer.name: layer for layer in second}
    removed = [name for name in a if name not in b]
    added = [name for name in b if name not in a]
    renamed = _renamed([a[name] for name in removed], [b[name] for name in added])
    gone, new = {old for old, _ in renamed}, {name for _, name in renamed}
    both = [name for name in a if name in b]
    uncompared = tuple(name for name in both if bool(a[name].unknown) != bool(b[name].unknown))
    figures = [totals(count(net)) for net in (first, second)] if not uncompared else [{}, {}]
    return Difference(
        removed=tuple(name for name in removed if name not in gone),
        added=tuple(name for name in added if name not in new),
        renamed=tuple(renamed),
        changed=tuple(change for name in both if (change := _change(a[name], b[name]))),
        costs={key: (n, figures[1][key]) for key, n in figures[0].items() if n != figures[1][key]},
        refused=tuple(name for name in both if _other_params(a[name], b[name])),
        unfilled=tuple(name for name in added if b[name].params),
        uncompared=uncompared,
    )


def _change(first: Layer, second: Layer) -> Change | None:
    def pair(x: object, y: object) -> object:
        return None if x == y else (x, y)

    change = Change(
        first.name,
        None if _same_fields(first, second) else pair(_fields(first), _fields(second)),  # type: ignore[arg-type]
        pair(tuple(x.name for x in first.bottoms), tuple(x.name for x in second.bottoms)),  # type: ignore[arg-type]
        None if _same_tops(first, second) else (_tops(first), _tops(second)),
        (_params(first), _params(second)) if _other_params(first, second) else None,
    )
    differs = change.fields or change.bottoms or change.tops or change.params
    return change if differs else None


def _renamed(removed: list[Layer], added: list[Layer]) -> list[tuple[str, str]]:
    """Pairs of layers, in order, that differ only in their names."""
    waiting: dict[object, deque[str]] = {}
    for layer in added if removed else ():
        waiting.setdefault(_signature(layer), deque()).append(layer.name)
    pairs = []
    for layer in removed:
        names = waiting.get(_signature(layer))
        if names:
            pairs.append((layer.name, names.popleft()))
    return pairs


def _signature(layer: Layer) -> object:
    return _fields(layer), tuple(shape for _, shape in _tops(layer)), _params(layer)


def _fields(layer: Layer) -> str:
    """The type and the fields, without names."""
    proto = type(layer.proto)()
    proto.CopyFrom(layer.proto)
    for name in ("name", "bottom", "top", "blobs"):
        proto.ClearField(name)
    return " ".join(text_format.format_fields(proto).split())


def _same_fields(first: Layer, second: Layer) -> bool:
    """Whether two layers are known to have the same fields, without a look at all of them."""
    same_kind = first.kind is not None and first.kind is second.kind
    return same_kind or first.proto.SerializePartialToString() == second.proto.SerializePartialToString()


def _same_tops(first: Layer, second: Layer) -> bool:
    """Whether the tops have the same names, and the same shapes where both are known."""
    return len(first.tops) == len(second.tops) and all(
        x.name == y.name and (x.shape == y.shape or x.shape is None or y.shape is None)
        for x, y in zip(first.tops, second.tops, strict=True)
    )


def _other_params(first: Layer, second: Layer) -> bool:
    """Whether the parameters of both layers are known and differ."""
    return not (first.unknown or second.unknown) and _params(first) != _params(second)


def _tops(layer: Layer) -> tuple[tuple[str, object], ...]:
    return tuple((t.name, t.shape) for t in layer.tops)


def _params(layer: Layer) -> tuple[tuple[int, ...], ...]:
    return tuple(p.shape for p in layer.params)
