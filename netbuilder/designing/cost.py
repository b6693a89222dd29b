"""What a piece of a net costs, so that pieces together give exactly what `counts.count` says of the whole.

A `Cost` is that of a layer, of a lego, or of a net: the same thing at any size. Most figures are sums. Three
are not, and of them a Cost keeps what is needed:

* peak memory: a piece is a few `Step`s. During a step the blobs inside take up to `peak` elements, on top of
  what lives outside; `reads` and `makes` say which blobs that others may know of it uses and leaves. A step
  ends where such a blob is used for the last time inside, for it may then be free: whether it is, only
  whoever puts the pieces together knows.
* Caffe's own data memory: how often each blob that others may know of is read inside.
* depth: the longest path of layers with weights from each bottom to each top.

Blobs that others may know of are *slots*: the bottoms, then the tops, counted through.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from netbuilder.layers import RULES, elements
from netbuilder.measure.counts import Counts, count, per_image, storage, totals
from netbuilder.net import Blob, Layer, Net

__all__ = ["FIGURES", "Cost", "Ledger", "NotInPieces", "Piece", "cost_of_layer", "figures_of_net"]

# What constraints and objectives may name: all totals of `counts.Counts`, and two more.
FIGURES = (
    *(name for name in Counts._fields if name not in ("batch", "layers", "uncounted")),
    "depth",
    "layers",
)

FLOAT_BYTES = 4
NO_PATH = -1


class NotInPieces(Exception):
    """A net that can only be counted whole: it does something that costs of pieces cannot express."""


class Sums(NamedTuple):
    """The figures that add up, for the whole batch; `data` is Caffe's data memory but for the slots."""

    learnable_params: int
    stored_params: int
    fixed_params: int
    macs: int
    fixed_macs: int
    ops: int
    activations: int
    scalars: int
    pynetbuilder_params: int
    pynetbuilder_flops: int
    data: int
    layers: int


_DATA = Sums._fields.index("data")


class Step(NamedTuple):
    """Part of a piece: elements alive inside at most, and the slots that it uses and that it leaves."""

    peak: int
    reads: tuple[int, ...]
    makes: tuple[int, ...]


class Top(NamedTuple):
    """A blob that a piece gives away: `home` is the slot in whose memory it lives, its own or another.

    `readers` are the layers inside that read it, `weights` its loss weights. `paths` are the most layers with
    weights on a path to it, from each bottom and, last, from anywhere; NO_PATH where there is none.
    """

    shape: tuple[int, ...]
    size: int
    home: int
    readers: int
    weights: int
    paths: tuple[int, ...]


class Cost(NamedTuple):
    """What a piece costs, and what whoever puts it beside others must know.

    `reads` says how often each bottom is read inside, `overwrites` which are overwritten in place. `left` are
    elements that nobody reads, which live to the end; `kept` are slots whose memory does. `deepest` is like a
    top's `paths`, to any blob inside. `batch` is that of the first data inside, 0 if there are none.
    """

    sums: Sums
    tops: tuple[Top, ...]
    reads: tuple[int, ...]
    overwrites: tuple[int, ...]
    steps: tuple[Step, ...]
    left: int
    kept: tuple[int, ...]
    deepest: tuple[int, ...]
    batch: int

    def figures(self) -> dict[str, int | float]:
        """The FIGURES of a whole net, as `counts.count` gives them."""
        s, batch = self.sums, max(1, self.batch)
        activation_bytes = FLOAT_BYTES * (s.activations + s.scalars)
        return {
            "learnable_params": s.learnable_params,
            "stored_params": s.stored_params,
            "fixed_params": s.fixed_params,
            "macs": per_image(s.macs, batch),
            "fixed_macs": per_image(s.fixed_macs, batch),
            "flops": per_image(2 * s.macs, batch),
            "total_flops": per_image(2 * (s.macs + s.fixed_macs) + s.ops, batch),
            "activations": per_image(s.activations, batch),
            "activation_bytes": activation_bytes,
            "peak_bytes": FLOAT_BYTES * max((step.peak for step in self.steps), default=0),
            "weight_bytes": FLOAT_BYTES * s.stored_params,
            "train_bytes": 3 * FLOAT_BYTES * s.stored_params + 2 * activation_bytes,
            "caffe_data_bytes": FLOAT_BYTES * s.data,
            "pynetbuilder_params": s.pynetbuilder_params,
            "pynetbuilder_flops": s.pynetbuilder_flops,
            "depth": self.deepest[-1],
            "layers": s.layers,
        }


class Piece(Blob):
    """A blob in a `Ledger`: its shape, the memory it lives in (`home`), and who reads it.

    It is a handle to build on, of which nothing else is known.
    """

    __slots__ = ("home", "paths", "readers", "size", "stale", "weights")

    def __init__(
        self,
        token: Any,
        shape: tuple[int, ...],
        size: int,
        home: int,
        readers: int,
        weights: int,
        paths: tuple[int, ...],
    ) -> None:
        self._net = token
        self.shape = shape
        self.size = size
        self.home = home
        self.readers = readers
        self.weights = weights
        self.paths = paths
        self.stale = False

    @property
    def name(self) -> str:  # type: ignore[override]
        """A name that no other has."""
        return f"blob {id(self)}"

    def __getattr__(self, name: str) -> NoReturn:
        raise NotInPieces(f"blob.{name}")


class Ledger:
    """Costs put one behind another, on bottoms of these shapes; `total` is the cost of all.

    Its blobs have its `token` for a net: whose they are can be told without a cycle to be collected.
    """

    def __init__(self, bottoms: Sequence[tuple[int, ...]] = ()) -> None:
        n = len(bottoms)
        self.token = object()
        self._sizes = [elements(shape) for shape in bottoms]  # of each home
        self.bottoms = [
            Piece(
                self.token,
                shape,
                self._sizes[i],
                i,
                0,
                0,
                (*(0 if i == j else NO_PATH for j in range(n)), NO_PATH),
            )
            for i, shape in enumerate(bottoms)
        ]
        self._pieces: list[Piece] = []
        self._entries: list[tuple[Cost, list[int], Sequence[Piece]]] = []  # with the homes of the slots

    def add(self, cost: Cost, bottoms: Sequence[Piece]) -> list[Piece]:
        """Put a cost on these blobs, behind all others; return the blobs of its slots."""
        slots = [*bottoms]
        homes = [piece.home for piece in bottoms]
        for piece, reads in zip(bottoms, cost.reads):  # noqa: B905 - strict takes time, and they are as long
            piece.readers += reads
        for shape, size, home, readers, weights, paths in cost.tops:
            if home == len(homes):
                homes.append(len(self._sizes))
                self._sizes.append(size)
            else:
                homes.append(homes[home])
            if self.bottoms or len(bottoms) > 1:
                paths = self._joined(paths, bottoms)
            elif bottoms:  # in a whole net only paths from its own beginnings count
                paths = (paths[0] + bottoms[0].paths[0],)
            slots.append(Piece(self.token, shape, size, homes[-1], readers, weights, paths))
        self._pieces += slots[len(bottoms) :]
        self._entries.append((cost, homes, bottoms))
        for slot in cost.overwrites:
            bottoms[slot].stale = True
        return slots

    def total(self, tops: Sequence[Piece] = ()) -> Cost:
        """The cost of all that was added, as a piece that gives these blobs away."""
        first = len(self.bottoms)
        slots = {home: home for home in range(first)}  # of each home that others may know of
        given = []
        for slot, piece in enumerate(tops, first):
            home = slots.setdefault(piece.home, slot)
            given.append(Top(piece.known_shape, piece.size, home, piece.readers, piece.weights, piece.paths))
        kept: set[int] = set()
        data, outer = 0, set(tops)
        for piece in self._pieces:
            if piece not in outer:
                readers = piece.readers + piece.weights
                data += piece.size * (1 + readers) if readers > 1 else piece.size
                if not piece.readers:
                    kept.add(piece.home)
        sums = [sum(figure) for figure in zip(*[cost.sums for cost, _, _ in self._entries])]  # noqa: B905
        sums = sums or [0] * len(Sums._fields)
        sums[_DATA] += data
        steps, left = self._walk(slots, kept)
        deepest = self._deepest()
        return Cost(
            Sums(*sums),
            tuple(given),
            tuple([piece.readers for piece in self.bottoms]),
            tuple([i for i, piece in enumerate(self.bottoms) if piece.stale]),
            steps,
            left,
            tuple([slots[home] for home in kept if home in slots]),
            () if tops and deepest == _longest([top.paths for top in tops]) else deepest,
            next((cost.batch for cost, _, _ in self._entries if cost.batch), 0),
        )

    def _walk(self, slots: dict[int, int], kept: set[int]) -> tuple[tuple[Step, ...], int]:
        """The steps as others see them, and what lives on that they do not know of.

        Adds to `kept` the homes that a cost inside keeps.
        """
        sizes = self._sizes
        steps: list[tuple[int, list[int], list[int]]] = []  # with homes for slots
        last: dict[int, int] = {}  # the step that uses a home last
        for cost, homes, _ in self._entries:
            for peak, reads, makes in cost.steps:
                made = [homes[slot] for slot in makes]
                for slot in reads:
                    last[homes[slot]] = len(steps)
                for home in made:
                    last[home] = len(steps)
                steps.append((peak, made, []))
            for slot in cost.kept:
                kept.add(homes[slot])
            if cost.left:
                steps[-1][1].append(len(sizes))
                sizes.append(cost.left)
        for home, i in last.items():
            if home in slots or home not in kept:
                steps[i][2].append(home)
        merged = []
        alive = most = 0
        born: list[int] = []
        for peak, made, ending in steps:
            if alive + peak > most:
                most = alive + peak
            for home in made:
                alive += sizes[home]
                if home in slots:
                    born.append(home)
            known = []
            for home in ending:
                if home in slots:
                    known.append(slots[home])
                else:
                    alive -= sizes[home]
            if known:
                merged.append(Step(most, tuple(known), tuple([slots[home] for home in born])))
                for home in born:  # from here on it is others who count them
                    alive -= sizes[home]
                most, born = 0, []
        if most:
            merged.append(Step(most, (), ()))
        return tuple(merged), alive

    def _deepest(self) -> tuple[int, ...]:
        """The longest paths to any blob, from each bottom and from anywhere."""
        n = len(self.bottoms)
        paths = [piece.paths for piece in self._pieces]
        for cost, _, bottoms in self._entries:
            if cost.deepest:
                paths.append(self._joined(cost.deepest, bottoms))
        return _longest([*paths, (0,) * (n + 1)])

    def _joined(self, paths: Sequence[int], bottoms: Sequence[Piece]) -> tuple[int, ...]:
        """Paths through a piece, from where the paths to its bottoms begin."""
        joined = [NO_PATH] * len(self.bottoms) + [paths[-1]]
        for own, piece in zip(paths, bottoms):  # noqa: B905 - paths has one more
            if own >= 0:
                for j, before in enumerate(piece.paths):
                    if before >= 0 and own + before > joined[j]:
                        joined[j] = own + before
        return tuple(joined)


def _longest(paths: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple([max(column) for column in zip(*paths)])  # noqa: B905


def cost_of_layer(net: Net, bottoms: int) -> Cost:
    """The cost of the last layer of a net, whose first `bottoms` layers, all others, make its bottoms."""
    layer, counted = net.layers[-1], count(net)
    row, rule = counted.layers[-1], RULES.get(layer.type)
    given = [net.layers[i].tops[0] for i in range(bottoms)]
    lives_in = storage(net)
    slots = {blob: slot for slot, blob in enumerate((*given, *layer.tops))}
    weight = int(_has_weights(layer))
    paths = (weight,) * bottoms + (NO_PATH if bottoms else weight,)
    tops = [
        Top(top.known_shape, elements(top.known_shape), slots[lives_in[top]], 0, 0, paths)
        for top in layer.tops
    ]
    for i, loss_weight in enumerate(layer.proto.loss_weight[: len(tops)]):
        if loss_weight:
            tops[i] = tops[i]._replace(weights=1)
    made = {slot: top.size for slot, top in enumerate(tops, bottoms) if top.home == slot}
    new, scalars = sum(made.values()), sum(not tops[slot - bottoms].shape for slot in made)
    fixed = any(p.fixed_filter for p in layer.params)
    sums = Sums(
        row.learnable_params,
        row.stored_params,
        counted.fixed_params,
        0 if fixed else layer.macs,
        layer.macs if fixed else 0,
        layer.ops,
        new - scalars,
        scalars,
        counted.pynetbuilder_params,
        counted.pynetbuilder_flops,
        int(not tops and rule is not None and rule.auto_top),  # a scalar that Caffe adds
        1,
    )
    return Cost(
        sums,
        tuple(tops),
        tuple(layer.bottoms.count(blob) for blob in given),
        tuple(i for i, blob in enumerate(given) if net.blobs[blob.name] is not blob),
        (Step(new, tuple(range(bottoms)), tuple(made)),),
        0,
        (),
        () if tops else paths,
        0 if bottoms else next((max(1, top.shape[0]) for top in tops if top.shape), 0),
    )


def figures_of_net(net: Net) -> dict[str, int | float]:
    """The FIGURES of a net that is there as a whole."""
    longest: dict[int, int] = {}
    for layer in net.layers:
        before = max((longest[id(blob)] for blob in layer.bottoms), default=0)
        for top in layer.tops:
            longest[id(top)] = before + _has_weights(layer)
    return {**totals(count(net)), "depth": max(longest.values(), default=0), "layers": len(net)}


def _has_weights(layer: Layer) -> bool:
    """Whether it is one of those that a net's depth counts: it multiplies by weights that are learned."""
    return layer.macs > 0 and not any(p.fixed_filter for p in layer.params)
