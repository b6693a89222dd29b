"""Counting candidates: the figures of each, the reasons of those that are none, and the best of them.

Candidates are counted in chunks. What is kept of a chunk is small, whatever its size: its own front, how many
candidates each constraint and each reason took away, and a few points for the picture. Tallies of chunks add
up in any order to the same, so it does not matter who counts what, or when.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from netbuilder.designing.cost_net import Memo, NotInPieces
from netbuilder.designing.expressions import Number
from netbuilder.designing.plan import Sweep
from netbuilder.errors import NetBuilderError
from netbuilder.measure.counts import FIGURES, cost_of_net, figures
from netbuilder.networks import NetConfig, Network

__all__ = ["CHUNK", "Counter", "Row", "Tally", "added", "check_whole", "pareto", "tally", "whole_figures"]

CHUNK = 250
POINTS = 2000  # of the picture's cloud, at most


class Counter:
    """Counts nets of one family; what their pieces cost is remembered."""

    def __init__(self, entry: Network, phase: str) -> None:
        self._entry = entry
        self._phase = phase
        self._memo = Memo()

    def figures(self, config: NetConfig) -> dict[str, Number]:
        """The FIGURES of a config's net, as `counts.count` has them; raises NetBuilderError as `stitch` does.

        The net is put together from pieces. If that does not go, or if a piece is refused, it is built whole,
        and then that is what counts.
        """
        object.__setattr__(config, "net_type", self._memo.net)  # the dataclass is frozen
        try:
            net: Any = self._entry.stitch(config, self._phase)  # from the memo, whatever stitch calls it
            return figures(net.cost)
        except (NotInPieces, NetBuilderError):
            pass
        finally:
            object.__delattr__(config, "net_type")
        return whole_figures(self._entry, config, self._phase)


def whole_figures(entry: Network, config: NetConfig, phase: str) -> dict[str, Number]:
    """The FIGURES of a config's net, built whole; raises NetBuilderError if it cannot be built or counted."""
    net = entry.stitch(config, phase)
    for layer in net.layers:
        if layer.unknown:
            raise NetBuilderError(f"layer '{layer.name}' cannot be counted: {layer.unknown}")
    return figures(cost_of_net(net))


def check_whole(entry: Network, config: NetConfig, phase: str, known: dict[str, Number], named: str) -> None:
    """Raise NetBuilderError if the net, built whole, is refused or has other figures."""
    try:
        whole = whole_figures(entry, config, phase)
    except NetBuilderError as error:
        error.text = f"{named} is among the best, and its net is refused: {error.text}"
        raise
    for name in FIGURES:
        if whole[name] != known[name]:
            raise NetBuilderError(
                f"{named} has {name} {known[name]:,} by its pieces and {whole[name]:,} as a whole",
                hint="a lego of this network depends on more than its fields and its bottoms' shapes; "
                "if it is one of netbuilder's own, please report it",
            )


@dataclass(frozen=True)
class Row:
    """A candidate that keeps all constraints."""

    number: int
    key: tuple[Number, ...]  # its objectives, the less the better
    figures: tuple[Number, ...]  # in the order of FIGURES


@dataclass
class Tally:
    """What is known of some candidates: all that a sweep's result is made of.

    `reasons` has, for each kind of reason why candidates are no nets, how many there are, the number of the
    first and what was said of it. `unmet` counts for each constraint the candidates that do not keep it,
    `nearest` has what comes nearest to its bound (negative where more is nearer), and the candidate's number.
    """

    counted: int
    kept: int
    front: list[Row]
    reasons: dict[str, tuple[int, int, str]]
    unmet: list[int]
    nearest: list[tuple[Number, int] | None]
    cloud: list[tuple[Number, Number]]

    def add_reason(self, kind: str, count: int, number: int, text: str) -> None:
        """Enter more candidates of one kind, the first of which has this number."""
        before, first, said = self.reasons.get(kind, (0, number, text))
        self.reasons[kind] = (before + count, first, said)

    def add_nearest(self, nearest: Sequence[tuple[Number, int] | None]) -> None:
        """Enter what candidates reach; of equals the first stays."""
        pairs = zip_longest(self.nearest, nearest)
        self.nearest = [min((p for p in pair if p is not None), default=None) for pair in pairs]

    def as_data(self) -> list[Any]:
        """As JSON has it, for `from_data`."""
        front = [[row.number, row.key, row.figures] for row in self.front]
        return [self.counted, self.kept, front, self.reasons, self.unmet, self.nearest, self.cloud]

    @classmethod
    def from_data(cls, data: list[Any]) -> Tally:
        """What `as_data` gave; raises TypeError or ValueError if it is something else."""
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
    """Count the candidates from one place in `sweep.numbers` to another."""
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
            rows.append(Row(number, key, tuple([counted[name] for name in FIGURES])))
            if place % every == 0:
                found.cloud.append((x, y))
    found.front = pareto(rows)
    return found


def pareto(rows: Iterable[Row]) -> list[Row]:
    """The rows that no other is better than or equal to in all objectives; of equals the first."""
    front: list[Row] = []
    for row in sorted(rows, key=lambda r: (r.key, r.number)):
        # Sorted, no later row is better than an earlier one in all.
        if not any(_covers(best.key, row.key) for best in reversed(front)):
            front.append(row)
    return front


def _covers(best: tuple[Number, ...], key: tuple[Number, ...]) -> bool:
    return all(a <= b for a, b in zip(best, key, strict=True))


def added(tallies: Iterable[Tally]) -> Tally:
    """All candidates of several tallies, which come in the order of the candidates."""
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
