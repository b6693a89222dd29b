"""A net that is only costed: a lego like one that was attached before is not built again.

The same stitch functions run against it as against `Net`, so no network needs formulas of its own. What a
lego costs depends on its fields, without its name, and on the shapes of its bottoms; so does what the legos
inside it cost, down to single layers, and each is worked out once (`Memo`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from types import BuiltinFunctionType, FunctionType
from typing import Any, NoReturn

from legos.base import Lego
from netbuilder.designing.cost import Cost, Ledger, NotInPieces, Piece, cost_of_layer
from netbuilder.net import Blob, Net, Phase
from netbuilder.schema.dialects import dialect as find_dialect

__all__ = ["CostingNet", "Memo", "NotInPieces"]

MOST = 20_000  # pieces to remember, some 50 MB

_NOWHERE = nullcontext()


class Memo:
    """The costs of pieces, by what they depend on. `net` makes nets, as a config's `net_type`."""

    def __init__(self) -> None:
        self._tables: dict[tuple[Any, ...], dict[Any, Any]] = {}

    def net(self, name: str = "", phase: Phase = "TEST", **settings: Any) -> CostingNet:
        """An empty net that shares these costs; arguments as those of `Net`."""
        return CostingNet(self, phase, **settings)

    def table(self, phase: str, dialect: str, defaults: Any) -> dict[Any, Any]:
        """The costs by piece, for nets of one phase, dialect and set of defaults."""
        key = (phase, dialect, repr(defaults))
        if sum(map(len, self._tables.values())) > MOST:
            self._tables.clear()
        return self._tables.setdefault(key, {})


class CostingNet(Net):
    """A `Net` whose `cost` is that of all its layers together, which are not there themselves.

    Raises NotInPieces for what only a whole net can do: looking up layers, sharing parameters by name,
    layers of unknown cost. What is checked of a layer alone is checked here, and raises as in `Net`.
    """

    def __init__(
        self,
        memo: Memo,
        phase: Phase = "TEST",
        *,
        dialect: str = "caffe-1.0",
        defaults: Any = None,
        table: dict[Any, Any] | None = None,
        bottoms: Sequence[tuple[int, ...]] = (),
    ) -> None:
        self.phase: Phase = phase
        self.dialect = find_dialect(dialect)
        self.defaults = defaults or {}
        self._memo = memo
        self._table = memo.table(phase, dialect, self.defaults) if table is None else table
        self._ledger = Ledger(bottoms)

    def __getattr__(self, name: str) -> NoReturn:
        raise NotInPieces(f"net.{name}")

    @property
    def cost(self) -> Cost:
        """The cost of all that was added, as of a whole net."""
        return self._ledger.total()

    def scope(self, label: str, comment: str = "") -> nullcontext[None]:  # type: ignore[override]
        """As in `Net`; names are no matter here."""
        return _NOWHERE

    def attach(self, part: Any, bottoms: tuple[Blob, ...]) -> Any:
        """Put a lego on these blobs: the cost of one like it, or what building it costs."""
        distinct = self._distinct(bottoms)
        asked = _asked(bottoms, distinct)
        try:
            # Most candidates have legos of the last one, names and all, which are faster to compare.
            known = self._table.get((part, asked))
            if known is None:
                key = (_key(part), asked)
                known = self._table.get(key) or self._built(part, bottoms, distinct)
                self._table[part, asked] = self._table[key] = known
        except TypeError:  # a field that cannot be a key: this lego is built each time
            known = self._built(part, bottoms, distinct)
        cost, form = known
        return _filled(form, self._put(cost, distinct))

    def add(
        self,
        type: str,
        /,
        *bottoms: Blob,
        name: str,
        in_place: bool = False,
        tops: Sequence[str] | None = None,
        top_shapes: Sequence[Sequence[int]] | None = None,
        **fields: Any,
    ) -> Any:
        """As `Net.add`; raises what that raises for this layer alone."""
        distinct = self._distinct(bottoms)
        over = None if tops is None else tuple(_place(top, bottoms) for top in tops)
        key = (type, in_place, over, repr(top_shapes), repr(fields), *_asked(bottoms, distinct))
        cost = self._table.get(key)
        if cost is None:
            net = Net("", self.phase, dialect=self.dialect.name, defaults=self.defaults)
            for blob in distinct:
                net.add("a bottom", name=blob.name, top_shapes=[blob.known_shape])
            own = [net.blobs[blob.name] for blob in bottoms]
            net.add(type, *own, name=name, in_place=in_place, tops=tops, top_shapes=top_shapes, **fields)
            layer = net.layers[-1]
            if layer.unknown or any(top.shape is None for top in layer.tops):
                raise NotInPieces(f"{type}: {layer.unknown}")
            if any(spec.name for spec in layer.proto.param):
                raise NotInPieces(f"{type} shares parameters")
            cost = self._table[key] = cost_of_layer(net, len(distinct))
        made = self._put(cost, distinct)[len(distinct) :]
        return made[0] if len(made) == 1 else tuple(made)

    # -- handles and pieces --------------------------------------------------------------------------

    def _built(self, part: Any, bottoms: Sequence[Blob], distinct: Sequence[Piece]) -> tuple[Cost, Any]:
        """What a lego costs, and what it returns, by building it on blobs like these."""
        inside = CostingNet(
            self._memo, self.phase, dialect=self.dialect.name, defaults=self.defaults,
            table=self._table, bottoms=[blob.known_shape for blob in distinct],
        )  # fmt: skip
        own: dict[Blob, Blob] = dict(zip(distinct, inside._ledger.bottoms, strict=True))
        return inside._given(part.build(inside, *(own[blob] for blob in bottoms)))

    def _distinct(self, bottoms: tuple[Blob, ...]) -> tuple[Piece, ...]:
        """The bottoms, each once; raises NotInPieces if one may not be used: the whole net says why."""
        token = self._ledger.token
        for blob in bottoms:
            if blob._net is not token or blob.stale:  # type: ignore[attr-defined]
                raise NotInPieces("a blob that may not be used")
        pieces: Any = bottoms
        return pieces if len(bottoms) < 2 else tuple(dict.fromkeys(pieces))

    def _put(self, cost: Cost, distinct: tuple[Piece, ...]) -> list[Piece]:
        """Enter a cost; the blobs of its slots."""
        for slot in cost.overwrites:
            if distinct[slot].readers:
                raise NotInPieces("in place on a blob that others read")  # the whole net says which
        return self._ledger.add(cost, distinct)

    def _given(self, result: Any) -> tuple[Cost, Any]:
        """The cost of this net as a piece that returns this, and the same with slots for blobs."""
        bottoms = self._ledger.bottoms
        slots = {blob: slot for slot, blob in enumerate(bottoms)}
        form = self._slotted(result, slots)
        return self._ledger.total([*slots][len(bottoms) :]), form

    def _slotted(self, result: Any, slots: dict[Piece, int]) -> Any:
        if isinstance(result, Piece):
            self._distinct((result,))
            return slots.setdefault(result, len(slots))
        if isinstance(result, (tuple, list)):
            return tuple(self._slotted(item, slots) for item in result)
        if result is None:
            return None
        raise NotInPieces(f"a lego that returns {type(result).__name__}")


def _asked(bottoms: Sequence[Blob], distinct: Sequence[Piece]) -> tuple[Any, ...]:
    """What of its bottoms a piece depends on: their shapes, and which of them are the same."""
    shapes = [blob.shape for blob in bottoms]
    if len(distinct) < len(bottoms):
        return (*shapes, *(bottoms.index(blob) for blob in bottoms))
    return tuple(shapes)


def _filled(form: Any, blobs: Sequence[Piece]) -> Any:
    """What a lego returned, with the blobs of this net."""
    if isinstance(form, int):
        return blobs[form]
    return None if form is None else tuple(_filled(item, blobs) for item in form)


def _place(top: str, bottoms: Sequence[Blob]) -> int:
    """The bottom that a top of this name overwrites, or -1."""
    return next((i for i, blob in enumerate(bottoms) if blob.name == top), -1)


_PLAIN = frozenset({int, str, bool, float, type(None), type, FunctionType, BuiltinFunctionType})


def _key(value: Any) -> Any:
    """What a lego depends on besides its bottoms: its class and all that it holds, without names."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is tuple or kind is list:
        return (kind, *[v if type(v) in _PLAIN else _key(v) for v in value])
    if kind is partial:
        return (kind, value.func, _key(value.args), *((k, _key(v)) for k, v in value.keywords.items()))
    if kind is dict:
        return (kind, *((k, _key(v)) for k, v in value.items()))
    if isinstance(value, Lego):
        return (kind, *[v if type(v) in _PLAIN else _key(v) for k, v in vars(value).items() if k != "name"])
    if hasattr(kind, "__dataclass_fields__"):
        return (kind, *[v if type(v) in _PLAIN else _key(v) for v in vars(value).values()])
    return value
