"""Counting candidates: the figures of each valid one, the reasons for invalid ones, and the best.

Candidates are counted in chunks. The tally of a chunk is small, whatever the size of the chunk: its front,
the number of candidates that each constraint and each reason excludes, and a few points for the picture.
Tallies add up to the same result in any order, so any process may count any chunk at any time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from netbuilder.designing.cost_net import Memo, NotInPieces
from netbuilder.designing.expressions import OF_TRAINING, Number
from netbuilder.designing.plan import Sweep
from netbuilder.errors import NetBuilderError
from netbuilder.measure.counts import FIGURES, FLOAT_BYTES, cost_of_net, figures
from netbuilder.measure.memory import figures_with_bytes
from netbuilder.networks import NetConfig, Network

__all__ = [
    "CHUNK",
    "Counter",
    "Row",
    "Tally",
    "added",
    "check_whole",
    "counter_of",
    "pareto",
    "tally",
    "whole_figures",
]

CHUNK = 250
POINTS = 2000  # most points in the picture's cloud


class Counter:
    """Counts nets of one family, and caches the costs of their pieces."""

    def __init__(
        self,
        entry: Network,
        phase: str,
        width: int = FLOAT_BYTES,
        more: Iterable[str] = (),
        batch: int = 1,
    ) -> None:
        """Memory is at `width` bytes per number, but for `more`, figures of OF_TRAINING with this batch."""
        self._entry = entry
        self._phase = phase
        self._width = width
        self._more = tuple(more)
        self._batch = batch
        self._memo = Memo()

    def figures(self, config: NetConfig) -> dict[str, Number]:
        """The figures of a config's net, and those of its training."""
        return {**self._of_net(config), **self.of_training(config)}

    def of_training(self, config: NetConfig) -> dict[str, Number]:
        """The figures of a training by SGD, of whole nets; raises NetBuilderError as `stitch` does."""
        if not self._more:
            return {}
        from netbuilder.engines.memory import Nets, training_memory

        train, test = (self._entry.stitch(config, phase) for phase in ("train", "test"))
        nets = Nets(train, (test,)).with_batch(self._batch)
        return {name: training_memory(nets, OF_TRAINING[name]).total for name in self._more}

    def _of_net(self, config: NetConfig) -> dict[str, Number]:
        """The FIGURES of a config's net, as `counts.count` has them; raises NetBuilderError as `stitch` does.

        The figures are added up from cached pieces. If that is impossible, or a piece is refused, the whole
        net is built and counted instead.
        """
        object.__setattr__(config, "net_type", self._memo.net)  # the dataclass is frozen
        try:
            net: Any = self._entry.stitch(
                config, self._phase
            )  # made by the memo, whatever type stitch expects
            return figures_with_bytes(figures(net.cost), self._width)
        except (NotInPieces, NetBuilderError):
            pass
        finally:
            object.__delattr__(config, "net_type")
        return whole_figures(self._entry, config, self._phase, self._width)


def counter_of(sweep: Sweep) -> Counter:
    """A counter of a sweep's candidates."""
    more = [name for name in sweep.figures if name in OF_TRAINING]
    return Counter(sweep.loaded.entry, sweep.phase, sweep.width, more, sweep.batch)


def whole_figures(
    entry: Network, config: NetConfig, phase: str, width: int = FLOAT_BYTES
) -> dict[str, Number]:
    """The FIGURES of a config's net, built whole; raises NetBuilderError if it cannot be built or counted.

    Those of memory are at `width` bytes per number, except those of a training.
    """
    net = entry.stitch(config, phase)
    for layer in net.layers:
        if layer.unknown:
            raise NetBuilderError(f"layer '{layer.name}' cannot be counted: {layer.unknown}")
    return figures_with_bytes(figures(cost_of_net(net)), width)


def check_whole(
    entry: Network, config: NetConfig, phase: str, known: dict[str, Number], named: str, width: int
) -> None:
    """Raise NetBuilderError if the whole net is refused or has other figures."""
    try:
        whole = whole_figures(entry, config, phase, width)
    except NetBuilderError as error:
        error.text = f"{named} is among the best, but its whole net is refused: {error.text}"
        raise
    for name in FIGURES:
        if whole[name] != known[name]:
            raise NetBuilderError(
                f"{named} has {name} {known[name]:,} as the sum of its pieces, but {whole[name]:,} as a "
                "whole net",
                hint="a lego of this network depends on more than its fields and the shapes of its bottoms; "
                "if it is one of netbuilder's own, please report it",
            )


@dataclass(frozen=True)
class Row:
    """A candidate that satisfies all constraints."""

    number: int
    key: tuple[Number, ...]  # its objectives; less is better
    figures: tuple[Number, ...]  # in the order of the sweep's


@dataclass
class Tally:
    """The results of counting some candidates; all tallies together give the outcome of a sweep.

    `reasons` maps each kind of reason why a candidate is not a valid net to the number of such candidates,
    the number of the first one, and its error text. `unmet` counts the candidates that violate each
    constraint. `nearest` has the figure nearest to each bound (negated for a lower bound), and the
    candidate's number.
    """

    counted: int
    kept: int
    front: list[Row]
    reasons: dict[str, tuple[int, int, str]]
    unmet: list[int]
    nearest: list[tuple[Number, int] | None]
    cloud: list[tuple[Number, Number]]

    def add_reason(self, kind: str, count: int, number: int, text: str) -> None:
        """Add `count` candidates with one kind of reason; the first has this number."""
        before, first, said = self.reasons.get(kind, (0, number, text))
        self.reasons[kind] = (before + count, first, said)

    def add_nearest(self, nearest: Sequence[tuple[Number, int] | None]) -> None:
        """Add the figures that candidates reach; among equals the first is kept."""
        pairs = zip_longest(self.nearest, nearest)
        self.nearest = [min((p for p in pair if p is not None), default=None) for pair in pairs]

    def as_data(self) -> list[Any]:
        """The tally as JSON data, for `from_data`."""
        front = [[row.number, row.key, row.figures] for row in self.front]
        return [self.counted, self.kept, front, self.reasons, self.unmet, self.nearest, self.cloud]

    @classmethod
    def from_data(cls, data: list[Any]) -> Tally:
        """A tally from the result of `as_data`; raises TypeError or ValueError for other data."""
        counted, kept, front, reasons, unmet, nearest, cloud = data
        return cls(
            counted,
            kept,
            [Row(number, tuple(key), tuple(figures)) for number, key, figures in front],
            {kind: (count, first, text) for kind, (count, first, text) in reasons.items()},
            unmet,
            [None if best is None else (best[0], best[1]) for best in nearest],
            [(x, y) for x, y in cloud],
        )


def tally(sweep: Sweep, counter: Counter, begin: int, end: int) -> Tally:
    """Count the candidates between two positions in `sweep.numbers`."""
    constraints = sweep.constraints
    bounds = [c.bound for c in constraints]
    every = -(-len(sweep.numbers) // POINTS)
    found = Tally(end - begin, 0, [], {}, [0] * len(constraints), [None] * len(constraints), [])
    rows = []
    for place in range(begin, end):
        number = sweep.numbers[place]
        try:
            counted = counter.figures(sweep.config(number))
            key = tuple([o.sense * o.expression.value(counted) for o in sweep.objectives])
            unmet = [i for i, constraint in enumerate(constraints) if not constraint.holds(counted)]
            reached = [bound and bound.way * bound.expression.value(counted) for bound in bounds]
            x, y = [axis.expression.value(counted) for axis in sweep.drawn]
        except (NetBuilderError, ZeroDivisionError) as error:
            text = error.text if isinstance(error, NetBuilderError) else "an expression divides by 0"
            found.add_reason(re.sub(r"\d+", "N", text), 1, number, text)
            continue
        for i in unmet:
            found.unmet[i] += 1
        found.add_nearest([None if value is None else (value, number) for value in reached])
        if not unmet:
            found.kept += 1
            rows.append(Row(number, key, tuple([counted[name] for name in sweep.figures])))
            if place % every == 0:
                found.cloud.append((x, y))
    found.front = pareto(rows)
    return found


def pareto(rows: Iterable[Row]) -> list[Row]:
    """The Pareto front: rows that no other row matches or beats in all objectives; the first of equals."""
    front: list[Row] = []
    for row in sorted(rows, key=lambda r: (r.key, r.number)):
        # After sorting, no later row is better than an earlier one in all objectives.
        if not any(_covers(best.key, row.key) for best in reversed(front)):
            front.append(row)
    return front


def _covers(best: tuple[Number, ...], key: tuple[Number, ...]) -> bool:
    return all(a <= b for a, b in zip(best, key, strict=True))


def added(tallies: Iterable[Tally]) -> Tally:
    """The sum of several tallies, given in the order of their candidates."""
    total, rows = Tally(0, 0, [], {}, [], [], []), []
    for one in tallies:
        total.counted += one.counted
        total.kept += one.kept
        rows += one.front
        for kind, (count, first, text) in one.reasons.items():
            total.add_reason(kind, count, first, text)
        total.unmet = [a + b for a, b in zip_longest(total.unmet, one.unmet, fillvalue=0)]
        total.add_nearest(one.nearest)
        total.cloud += one.cloud
    total.front = pareto(rows)
    return total
