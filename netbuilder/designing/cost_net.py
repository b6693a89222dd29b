"""Nets that only know their cost: a lego equal to an earlier one is not built again.

The same stitch functions run on a `CostNet` and on a `Net`, so networks need no cost formulas. The cost of a
lego depends only on its fields, except its name, and on the shapes of its bottoms. The same holds for the
legos inside it, down to single layers. Each cost is computed once and cached (`Memo`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import BuiltinFunctionType, FunctionType
from typing import Any, NamedTuple, NoReturn, TypeAlias

from legos.base import Lego
from netbuilder.layers import Shape
from netbuilder.measure.counts import cost_of_layer
from netbuilder.measure.pieces import Cost, Ledger, Mark
from netbuilder.net import Net, Phase
from netbuilder.schema.dialects import dialect as find_dialect

__all__ = ["CandidateNet", "CostBlob", "CostNet", "Memo", "NotInPieces"]

MOST = 20_000  # most cached pieces, about 50 MB

_NOWHERE = nullcontext()

Defaults = Mapping[str, Mapping[str, Any]]
# The result of a lego's `build`: a blob, None, or a tuple of these; `Form` has slot numbers for the blobs.
Result: TypeAlias = "CostBlob | tuple[Result, ...] | None"
Form: TypeAlias = "int | tuple[Form, ...] | None"


class NotInPieces(Exception):
    """The net does something that the costs of pieces cannot express: build it whole to count it."""


class Known(NamedTuple):
    """The cached facts of a lego: its cost, and the form of its result."""

    cost: Cost
    form: Form


class Memo:
    """The cache of costs of pieces; the key holds everything that the cost depends on."""

    def __init__(self) -> None:
        self._tables: dict[tuple[str, str, str], dict[object, Any]] = {}
        self._draft = Draft({})
        self._newest: tuple[object, dict[object, Any]] = ((), {})

    def net(
        self,
        name: str = "",
        phase: Phase = "TEST",
        *,
        dialect: str = "caffe-1.0",
        defaults: Defaults | None = None,
    ) -> CandidateNet:
        """An empty net, with the arguments of `Net`; earlier nets of this memo become invalid."""
        table = self._table(phase, dialect, defaults)
        if self._draft.table is not table:
            self._draft = Draft(table)
        return CandidateNet(phase, dialect, defaults, self._draft)

    def _table(self, phase: Phase, dialect: str, defaults: Defaults | None) -> dict[object, Any]:
        """The cached costs for one phase, dialect and set of defaults."""
        if sum(map(len, self._tables.values())) > MOST:
            self._tables.clear()
            self._newest = ((), {})
        asked = (phase, dialect, defaults or {})
        if self._newest[0] != asked:  # neighbours have equal defaults, which are found faster than their text
            self._newest = asked, self._tables.setdefault((phase, dialect, repr(asked[2])), {})
        return self._newest[1]


class CostBlob:
    """A blob of a `CostNet`: a handle to build on, with a shape and nothing else."""

    __slots__ = ("known_shape", "ledger", "number")

    def __init__(self, ledger: Ledger, number: int, shape: Shape) -> None:
        self.ledger = ledger
        self.number = number
        self.known_shape = shape

    @property
    def shape(self) -> Shape:
        """The shape, like `Blob.shape`."""
        return self.known_shape

    @property
    def name(self) -> str:
        """A name that no other blob has."""
        return f"blob {id(self)}"

    def __getattr__(self, name: str) -> NoReturn:
        raise NotInPieces(f"blob.{name}")


class CostNet:
    """The interface of a `Net` that legos and recipes use; `cost` sums up everything added.

    Raises NotInPieces for what only a whole net can do: looking up layers, sharing parameters by name, layers
    of unknown cost. Errors that concern a single layer are raised as in `Net`.
    """

    def __init__(
        self,
        phase: Phase,
        dialect: str,
        defaults: Defaults | None,
        table: dict[object, Any],
        bottoms: Sequence[Shape] = (),
    ) -> None:
        self.phase = phase
        self.dialect = find_dialect(dialect)
        self.defaults = defaults or {}
        self._table = table
        self._ledger = Ledger(bottoms)
        self._blobs = [CostBlob(self._ledger, i, shape) for i, shape in enumerate(bottoms)]

    def __getattr__(self, name: str) -> NoReturn:
        raise NotInPieces(f"net.{name}")

    def _whole(self, *args: object) -> NoReturn:
        raise NotInPieces("the layers of a net")

    __getitem__ = __len__ = __iter__ = __contains__ = _whole

    @property
    def cost(self) -> Cost:
        """The cost of all layers together."""
        return self._ledger.total()

    def scope(self, label: str, comment: str = "") -> AbstractContextManager[None]:
        """Like `Net.scope`, without recording origins."""
        return _NOWHERE

    def default(self, type: str, field: str, fallback: object) -> object:
        """Like `Net.default`."""
        return self.defaults.get(type, {}).get(field, fallback)

    def attach(self, part: Lego, bottoms: tuple[CostBlob, ...]) -> Result:
        """Attach a lego to these blobs: add the cached cost of an equal one, or build it to find the cost."""
        distinct = self._distinct(bottoms)
        known, _ = self._known(part, bottoms, distinct)
        return _filled(known.form, self._enter(known.cost, distinct))

    def add(
        self,
        type: str,
        /,
        *bottoms: CostBlob,
        name: str,
        in_place: bool = False,
        tops: Sequence[str] | None = None,
        top_shapes: Sequence[Sequence[int]] | None = None,
        **fields: Any,
    ) -> Any:
        """Like `Net.add`; raises the errors that concern this layer alone."""
        distinct = self._distinct(bottoms)
        over = None if tops is None else tuple(_place(top, bottoms) for top in tops)
        key = (type, in_place, over, repr(top_shapes), repr(fields), *_asked(bottoms, distinct))
        cost = self._table.get(key)
        if cost is None:
            cost = self._table[key] = self._layer(
                type, bottoms, distinct, name=name, in_place=in_place, tops=tops, top_shapes=top_shapes,
                **fields,
            )  # fmt: skip
        made = self._enter(cost, distinct)[len(distinct) :]
        return made[0] if len(made) == 1 else tuple(made)

    def add_many(self, type: str, /, *bottoms: CostBlob, name: str, **settings: Any) -> tuple[Result, ...]:
        """Like `Net.add_many`."""
        tops = self.add(type, *bottoms, name=name, **settings)
        return tops if isinstance(tops, tuple) else (tops,)

    # -- pieces ----------------------------------------------------------------------------------------

    def _known(
        self, part: Lego, bottoms: tuple[CostBlob, ...], distinct: tuple[CostBlob, ...]
    ) -> tuple[Known, bool]:
        """The cost of a lego, from the cache if an equal one is there."""
        asked = _asked(bottoms, distinct)
        try:
            # Most legos equal one of an earlier candidate, including names; this lookup is faster.
            known: Known | None = self._table.get((part, asked))
            if known is None:
                key = (_key(part), asked)
                known = self._table.get(key) or self._built(part, bottoms, distinct)
                self._table[part, asked] = self._table[key] = known
        except TypeError:  # an unhashable field: build this lego each time
            return self._built(part, bottoms, distinct), False
        return known, True

    def _built(self, part: Lego, bottoms: Sequence[CostBlob], distinct: Sequence[CostBlob]) -> Known:
        """Build a lego on blobs with the shapes of these."""
        inside = CostNet(
            self.phase, self.dialect.name, self.defaults, self._table, [b.known_shape for b in distinct]
        )
        own = dict(zip(distinct, inside._blobs, strict=True))
        build: Callable[..., object] = part.build  # written for a Net, but works on a CostNet
        return inside._returning(build(inside, *(own[blob] for blob in bottoms)))

    def _layer(
        self, type: str, bottoms: Sequence[CostBlob], distinct: Sequence[CostBlob], **settings: Any
    ) -> Cost:
        """The cost of a layer, found by adding it to a net with only its bottoms."""
        net = Net("", self.phase, dialect=self.dialect.name, defaults=self.defaults)
        for blob in distinct:
            net.add("a bottom", name=blob.name, top_shapes=[blob.known_shape])
        net.add(type, *(net.blobs[blob.name] for blob in bottoms), **settings)
        layer = net.layers[-1]
        if layer.unknown or any(top.shape is None for top in layer.tops):
            raise NotInPieces(f"{type}: {layer.unknown}")
        if any(spec.name for spec in layer.proto.param):
            raise NotInPieces(f"{type} shares parameters")
        return cost_of_layer(layer)

    def _distinct(self, bottoms: tuple[CostBlob, ...]) -> tuple[CostBlob, ...]:
        """The distinct bottoms; raises NotInPieces if one must not be used (the whole net reports why)."""
        for blob in bottoms:
            if not self._owns(blob):
                raise NotInPieces("a blob that may not be used")
        return bottoms if len(bottoms) < 2 else tuple(dict.fromkeys(bottoms))

    def _owns(self, blob: object) -> bool:
        if not isinstance(blob, CostBlob) or blob.ledger is not self._ledger:
            return False
        number = blob.number
        return number < len(self._blobs) and self._blobs[number] is blob and self._ledger.usable(number)

    def _enter(self, cost: Cost, distinct: tuple[CostBlob, ...]) -> list[CostBlob]:
        """Add a cost; return the blobs of its slots."""
        ledger = self._ledger
        for slot in cost.overwrites:
            if ledger.readers(distinct[slot].number):
                raise NotInPieces("in place on a blob that others read")  # the whole net reports which blob
        numbers = ledger.enter(cost, [blob.number for blob in distinct])
        made = [CostBlob(ledger, number, top.shape or ()) for number, top in zip(numbers, cost.tops)]  # noqa: B905
        self._blobs += made
        return [*distinct, *made]

    def _returning(self, result: object) -> Known:
        """This net as a piece that returns these blobs."""
        slots = {blob: slot for slot, blob in enumerate(self._blobs[: self._ledger.first])}
        form = self._slotted(result, slots)
        given = [blob.number for blob in slots][self._ledger.first :]
        return Known(self._ledger.total(given), form)

    def _slotted(self, result: object, slots: dict[CostBlob, int]) -> Form:
        if isinstance(result, CostBlob):
            self._distinct((result,))
            return slots.setdefault(result, len(slots))
        if isinstance(result, (tuple, list)):
            return tuple(self._slotted(item, slots) for item in result)
        if result is None:
            return None
        raise NotInPieces(f"a lego that returns {type(result).__name__}")


class Entry(NamedTuple):
    """A lego or a layer in a draft: its bottoms, its result, and the ledger before it."""

    what: object  # a lego, or a layer's type and fields; None never matches
    bottoms: tuple[CostBlob, ...]
    result: Result
    before: Mark


class Draft:
    """The net of the last candidate, which the next one reuses from the start."""

    def __init__(self, table: dict[object, Any]) -> None:
        self.table = table
        self.ledger = Ledger()
        self.blobs: list[CostBlob] = []
        self.entries: list[Entry] = []
        self.owner: CandidateNet | None = None


class CandidateNet(CostNet):
    """A `CostNet` that reuses the beginning of the previous net, since neighbouring candidates begin alike.

    While the same legos are attached to the same blobs, nothing is computed. At the first difference, the
    ledger is rewound to that place.
    """

    def __init__(self, phase: Phase, dialect: str, defaults: Defaults | None, draft: Draft) -> None:
        super().__init__(phase, dialect, defaults, draft.table)
        self._draft = draft
        self._ledger, self._blobs = draft.ledger, draft.blobs
        self._at = 0  # entries of the draft that this net shares
        draft.owner = self

    @property
    def cost(self) -> Cost:
        """The cost of all layers together."""
        self._cut()
        return self._ledger.total()

    def attach(self, part: Lego, bottoms: tuple[CostBlob, ...]) -> Result:
        """Like `CostNet.attach`."""
        again = self._again(part, bottoms)
        if again:
            return again.result
        self._cut()
        distinct = self._distinct(bottoms)
        known, comparable = self._known(part, bottoms, distinct)
        before = self._ledger.mark()
        result = _filled(known.form, self._enter(known.cost, distinct))
        self._note(Entry(part if comparable else None, bottoms, result, before))
        return result

    def add(self, type: str, /, *bottoms: CostBlob, name: str, **settings: Any) -> Result:
        """Like `CostNet.add`."""
        what = (type, repr(settings))
        again = self._again(what, bottoms)
        if again:
            return again.result
        self._cut()
        before = self._ledger.mark()
        result: Result = super().add(type, *bottoms, name=name, **settings)
        self._note(Entry(what, bottoms, result, before))
        return result

    def _again(self, what: object, bottoms: tuple[CostBlob, ...]) -> Entry | None:
        """The next entry of the draft, if it matches."""
        draft = self._draft
        if draft.owner is not self:
            raise NotInPieces("a net that is not the newest of its memo")
        if self._at < len(draft.entries):
            entry = draft.entries[self._at]
            if entry.bottoms == bottoms and (entry.what is what or entry.what == what):
                self._at += 1
                return entry
        return None

    def _cut(self) -> None:
        """Rewind the draft to the entries of this net."""
        draft = self._draft
        if self._at < len(draft.entries):
            before = draft.entries[self._at].before
            draft.ledger.rewind(before)
            del draft.entries[self._at :], draft.blobs[before.blobs :]

    def _note(self, entry: Entry) -> None:
        self._draft.entries.append(entry)
        self._at += 1


def _asked(bottoms: Sequence[CostBlob], distinct: Sequence[CostBlob]) -> tuple[Shape | int, ...]:
    """The part of the bottoms that a cost depends on: their shapes, and which of them are the same."""
    shapes = [blob.known_shape for blob in bottoms]
    if len(distinct) < len(bottoms):
        return (*shapes, *(bottoms.index(blob) for blob in bottoms))
    return tuple(shapes)


def _filled(form: Form, blobs: Sequence[CostBlob]) -> Result:
    """The result of a lego with this net's blobs in the slots."""
    if isinstance(form, int):
        return blobs[form]
    return None if form is None else tuple(_filled(item, blobs) for item in form)


def _place(top: str, bottoms: Sequence[CostBlob]) -> int:
    """The bottom that a top of this name overwrites, or -1."""
    return next((i for i, blob in enumerate(bottoms) if blob.name == top), -1)


_PLAIN = frozenset({int, str, bool, float, type(None), type, FunctionType, BuiltinFunctionType})


def _key(value: Any) -> object:
    """The part of a lego that its cost depends on: its class and all its fields except names."""
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
