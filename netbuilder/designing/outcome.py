"""The outcome of a sweep: the front, verified with whole nets, and statistics of the other candidates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from netbuilder._version import __version__
from netbuilder.config import Accuracy, reference_accuracy
from netbuilder.designing.axes import plain, shown
from netbuilder.designing.counting import Row, Tally, check_whole, counter_of, whole_figures
from netbuilder.designing.expressions import Number
from netbuilder.designing.plan import Sweep
from netbuilder.errors import ConfigError
from netbuilder.networks import NetConfig
from netbuilder.report.formats import Cell, Column, Table

__all__ = ["Chosen", "Outcome", "as_csv", "as_data", "as_lines", "as_table", "outcome"]


@dataclass(frozen=True)
class Chosen:
    """A candidate of the front: `rank` counts from 1, `values` are its options."""

    rank: int
    row: Row
    config: NetConfig
    values: dict[str, Any]
    figures: dict[str, Number]


@dataclass(frozen=True)
class Outcome:
    """The result of a sweep; `reference` holds the figures of the config without axes."""

    sweep: Sweep
    tally: Tally
    front: tuple[Chosen, ...]
    reference: dict[str, Number]

    def accuracy(self, config: NetConfig) -> Accuracy | None:
        """The accuracy that was published for a net of this sweep, if a config states one."""
        return reference_accuracy(self.sweep.loaded.entry.name, config)


def outcome(sweep: Sweep, tally: Tally, told: Callable[[int], None]) -> Outcome:
    """The outcome of a tally; `told` is called with 1 for each net of the front that was verified.

    Raises ConfigError if no candidate satisfies the constraints, and NetBuilderError if a whole net of the
    front is refused or has other figures than the sum of its pieces.
    """
    if not tally.front:
        raise _nothing(sweep, tally)
    entry, phase = sweep.loaded.entry, sweep.phase
    with sweep.loaded.located():
        reference = whole_figures(entry, sweep.loaded.config, phase, sweep.width)
        reference |= counter_of(sweep).of_training(sweep.loaded.config)
    front = []
    for rank, row in enumerate(tally.front, 1):
        config, values = sweep.config(row.number), sweep.space.candidate(row.number)
        figures = dict(zip(sweep.figures, row.figures, strict=True))
        check_whole(entry, config, phase, figures, _named(values), sweep.width)
        front.append(Chosen(rank, row, config, values, figures))
        told(rank)
    return Outcome(sweep, tally, tuple(front), reference)


def _named(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {shown(value)}" for name, value in values.items())


def _nothing(sweep: Sweep, tally: Tally) -> ConfigError:
    invalid = sum(count for count, _, _ in tally.reasons.values())
    nets = tally.counted - invalid
    if not nets:
        count, _, text = max(tally.reasons.values(), key=lambda reason: reason[0])
        return ConfigError(
            f"none of {tally.counted:,} candidates is a valid net", key="axes", path=sweep.loaded.found.shown,
            hint=f"{count:,} times: {text}",
        )  # fmt: skip
    parts = [f"{n:,} violate {c.text}" for c, n in zip(sweep.constraints, tally.unmet, strict=True)]
    hints = []
    for constraint, best in zip(sweep.constraints, tally.nearest, strict=True):
        bound = constraint.bound
        if bound and best and best[0] > bound.way * bound.limit:
            word = "least" if bound.way == 1 else "greatest"
            hints.append(
                f"the {word} {bound.name} is {bound.way * best[0]:,}, "
                f"with {_named(sweep.space.candidate(best[1]))}"
            )
    return ConfigError(
        f"no candidate satisfies all constraints: of {nets:,} nets, " + "; ".join(parts), key="constraints",
        path=sweep.loaded.found.shown, hint="; ".join(hints),
    )  # fmt: skip


def as_data(found: Outcome) -> dict[str, Any]:
    """The outcome as JSON data."""
    tally = found.tally
    reasons = sorted(tally.reasons.values(), key=lambda reason: (-reason[0], reason[1]))
    return {
        "version": 1,
        "netbuilder": __version__,
        "sweep": found.sweep.as_data(),
        "counted": tally.counted,
        "invalid": [
            {"count": count, "reason": text, "example": plain(found.sweep.space.candidate(number))}
            for count, number, text in reasons
        ],
        "constraints": [
            {"constraint": c.text, "not_kept_by": n}
            for c, n in zip(found.sweep.constraints, tally.unmet, strict=True)
        ],
        "kept": tally.kept,
        "reference": {
            "name": found.sweep.loaded.config.title,
            "figures": found.reference,
            **_published(found, found.sweep.loaded.config),
        },
        "front": [
            {
                "rank": chosen.rank,
                "name": chosen.config.title,
                "options": plain(chosen.values),
                "figures": chosen.figures,
                **_published(found, chosen.config),
            }
            for chosen in found.front
        ],
    }


def _published(found: Outcome, config: NetConfig) -> dict[str, Any]:
    accuracy = found.accuracy(config)
    return {"accuracy": accuracy.as_data()} if accuracy else {}


def as_csv(found: Outcome) -> str:
    """The front, with one row per net: its options and all figures."""
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    axes = [axis.name for axis in found.sweep.space.axes]
    writer.writerow(["rank", "name", *axes, *found.sweep.figures])
    for chosen in found.front:
        options = [shown(chosen.values[name]) for name in axes]
        writer.writerow([chosen.rank, chosen.config.title, *options, *chosen.row.figures])
    return text.getvalue()


def as_table(found: Outcome, most: int) -> Table:
    """The front, of limited length, and the reference below it."""
    sweep = found.sweep
    named = [o.expression.figures for o in sweep.objectives]
    named += [side.figures for c in sweep.constraints for side in c.sides]
    figures = [name for name in sweep.figures if any(name in names for names in named)]
    axes = [axis.name for axis in sweep.space.axes if axis.size > 1]
    rows: list[tuple[Cell, ...]] = [
        (str(c.rank), *(shown(c.values[name]) for name in axes), *(c.figures[name] for name in figures))
        for c in found.front[:most]
    ]
    rows.append(("ref", *("" for _ in axes), *(found.reference[name] for name in figures)))
    columns = (
        Column("rank", "rank", True),
        *(Column(name, name) for name in axes),
        *(Column(name, name, True) for name in figures),
    )
    return Table(columns, tuple(rows))


def as_lines(found: Outcome, most: int) -> list[str]:
    """What is said below the table: the reference, published accuracies, and the other candidates."""
    sweep, tally = found.sweep, found.tally
    lines = []
    left_out = len(found.front) - most
    if left_out > 0:
        lines.append(f"and {left_out:,} more; front.csv has all")
    lines.append(f"ref: {sweep.loaded.config.title}, the config without axes")
    places = {"ref": sweep.loaded.config} | {f"rank {c.rank}": c.config for c in found.front}
    published = {found.accuracy(config): place for place, config in places.items()}
    lines += [
        f"published for {place}: top-1 {a.top1:.2f} %, {a.source}" for a, place in published.items() if a
    ]
    invalid = sum(count for count, _, _ in tally.reasons.values())
    of = "" if tally.counted == sweep.space.size else f" of {sweep.space.size:,}"
    lines += ["", f"{tally.counted:,} candidates counted{of}"]
    if invalid:
        lines.append(f"  {invalid:,} are invalid:")
        reasons = sorted(tally.reasons.values(), key=lambda reason: (-reason[0], reason[1]))
        lines += [f"    {count:,} like this one: {text}" for count, _, text in reasons]
    for constraint, count in zip(sweep.constraints, tally.unmet, strict=True):
        lines.append(f"  {count:,} violate {constraint.text}")
    lines.append(
        f"  {tally.kept:,} satisfy all constraints; the front has {len(found.front):,} of them"
        if sweep.constraints
        else f"  the front has {len(found.front):,} of them"
    )
    return lines
