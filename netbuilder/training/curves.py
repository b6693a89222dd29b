"""The curves of trainings: what the panels show of their histories, and over what.

One panel has the losses, one or two the other outputs of the tests, and one the rate, in steps.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from netbuilder.errors import ConfigError, did_you_mean
from netbuilder.report.canvas import Point, shade
from netbuilder.report.plots import COLOURS, DASHES, Curve, Panel, Plot, moving_mean, plotted
from netbuilder.storage.files import replacing
from netbuilder.training.history import History

if TYPE_CHECKING:
    from netbuilder.training.events import Tested
    from netbuilder.training.record import Row

__all__ = ["SHOWN", "curves_plot", "draw"]

SHOWN = {"loss": "the losses", "accuracy": "the other outputs", "rate": "the learning rate"}

_MARKS = ("o", "s", "d")
_GREY = "#555555"
_SMOOTHED, _PART = 60, 40  # rows from which on a curve is smoothed, over a fortieth of them
_DECADE = 10.0
_UNITS = ((7200.0, 3600.0, "hours"), (120.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))

Scale = Callable[[float], float]  # from iterations


def draw(
    train: Sequence[Row],
    tests: Sequence[Tested],
    path: str,
    title: str,
    *,
    batch: int | None = None,
    images: int | None = None,
) -> bool:
    """Draw the curves of one training as PNG; False if Pillow is missing or old."""
    try:
        content = plotted(curves_plot([History(title, train, tests, batch, images)])).png()
    except ConfigError:
        return False
    with replacing(Path(path)) as partial:
        partial.write_bytes(content)
    return True


def curves_plot(
    runs: Sequence[History],
    *,
    along: str = "iterations",
    smooth: int | None = None,
    shown: Sequence[str] = (),
) -> Plot:
    """The plot of these trainings over iterations, epochs, time or images.

    `smooth` rows are averaged, by default some of many. `shown` are keys of SHOWN or names of outputs, a
    panel each; all of SHOWN if there are none. Raises ConfigError if a training lacks what is shown, or what
    the lower axis needs.
    """
    name, scales = _scales(runs, along)
    drawer = _Drawer(runs, scales, smooth)
    panels = [panel for word in shown or SHOWN for panel in drawer.panels(word)]
    if not panels:
        raise ConfigError("there is nothing to draw: no row of a training, and no test with one value")
    single = len(runs) == 1
    names = [Curve(run.name, (), *_look(i)) for i, run in enumerate(runs)]
    return Plot(
        runs[0].name if single else "",
        name,
        panels,
        _epochs(runs) if along == "iterations" else None,
        () if single else names,
    )


# ---- the lower axis --------------------------------------------------------------------------------------


def _scales(runs: Sequence[History], along: str) -> tuple[str, list[Scale]]:
    """The name of the axis, and of each run what an iteration is on it."""
    if along == "iterations":
        return "iteration", [float for _ in runs]
    if along == "time":
        ends = [run.train[-1].seconds for run in runs if run.train]
        longest = max((end for end in ends if math.isfinite(end)), default=0.0)
        if not longest:
            raise ConfigError("no run says when its iterations were", key="x", hint="--x iterations")
        unit, name = next((unit, name) for least, unit, name in _UNITS if longest >= least)
        return name, [_over_time(run, unit) for run in runs]
    for run in runs:
        if run.batch is None:
            raise ConfigError(
                f"how many images an update of '{run.name}' takes is not known", key="x",
                hint="give --batch N, the images of one iteration",
            )  # fmt: skip
        if run.images is None and along == "epochs":
            raise ConfigError(
                f"how many images an epoch of '{run.name}' has is not known", key="x",
                hint="give --epoch-images N, the number of images in its training set",
            )  # fmt: skip
    if along == "images":
        return "images", [_times(run.batch or 1) for run in runs]
    return "epoch", [_times((run.batch or 1) / (run.images or 1)) for run in runs]


def _over_time(run: History, unit: float) -> Scale:
    return lambda iteration: run.seconds(iteration) / unit


def _times(factor: float) -> Scale:
    return lambda iteration: iteration * factor


def _epochs(runs: Sequence[History]) -> tuple[str, float] | None:
    """Epochs as a second axis, if all runs have the same."""
    factors = {run.batch / run.images if run.batch and run.images else None for run in runs}
    factor = factors.pop()
    return ("epoch", factor) if factor and not factors else None


# ---- panels ----------------------------------------------------------------------------------------------


def _look(i: int) -> tuple[str, float, tuple[float, ...]]:
    """The colour, width and dashes of the curve number `i`."""
    return COLOURS[i % len(COLOURS)], 1.8, DASHES[i // len(COLOURS) % len(DASHES)]


class _Drawer:
    """Makes the panels of some runs. One run has a colour for each curve, several one for each run."""

    def __init__(self, runs: Sequence[History], scales: Sequence[Scale], smooth: int | None) -> None:
        self._runs, self._scales, self._smooth = runs, scales, smooth
        self._single = len(runs) == 1
        self._tests = [_test_values(run) for run in runs]
        self._trained = [_train_values(run) for run in runs]
        self._losses = frozenset().union(*(run.losses for run in runs))

    def panels(self, word: str) -> list[Panel]:
        """The panels of a word of SHOWN, or of an output. Raises ConfigError for another word."""
        if word == "rate":
            return self._rate()
        if word == "loss":
            return self._outputs("loss", [n for n in self._test_names() if self._is_loss(n)], ["loss"])
        if word == "accuracy":
            return self._others()
        names = [name for name in self._test_names() if name[1] == word]
        trained = [f"output {word}"] if self._is_trained(word) else []
        if not names and not trained:
            trains = [name.removeprefix("output ") for values in self._trained for name in values]
            known = list(dict.fromkeys([*SHOWN, *(name for _, name in self._test_names()), *trains]))
            raise ConfigError(
                f"no run has an output '{word}'", key="y",
                hint=did_you_mean(word, known) or f"there are {', '.join(known)}",
            )  # fmt: skip
        return self._outputs(word, names, trained)

    def _test_names(self) -> list[tuple[str, str]]:
        """The test nets and outputs of all runs."""
        return list(dict.fromkeys(name for values in self._tests for name in values))

    def _is_loss(self, name: tuple[str, str]) -> bool:
        return name[1] in self._losses or "loss" in name[1].rpartition("/")[2].lower()

    def _others(self) -> list[Panel]:
        """The outputs of tests that are no losses: the parts, from 0 to 1, apart from the others."""
        names = [name for name in self._test_names() if not self._is_loss(name)]
        parts = [name for name in names if all(0 <= y <= 1 for y in self._finite(name))]
        rest = [name for name in names if name not in parts]
        found = []
        for some in (parts, rest):
            trained = [f"output {n}" for n in dict.fromkeys(n for _, n in some) if self._is_trained(n)]
            label = "accuracy" if all("acc" in n or "top" in n for _, n in some) else "test"
            found += self._outputs(label, some, trained) if some else []
        return found

    def _finite(self, name: tuple[str, str]) -> list[float]:
        points = (point for values in self._tests for point in values.get(name, ()))
        return [y for _, y in points if math.isfinite(y)]

    def _is_trained(self, name: str) -> bool:
        return any(f"output {name}" in values for values in self._trained)

    def _rate(self) -> list[Panel]:
        curves = []
        for i, (run, scale) in enumerate(zip(self._runs, self._scales, strict=True)):
            points = [(scale(row.iteration), row.rate) for row in run.train]
            if any(math.isfinite(rate) for _, rate in points):
                points = [point for point in points if not math.isnan(point[1])]  # the last loss has none
                curves.append(Curve("", points, *_look(i), steps=True))
        rates = [[y for _, y in curve.points] for curve in curves]
        return [Panel("learning rate", curves, _spans_decades(rates), robust=False)] if curves else []

    def _outputs(self, label: str, tested: Sequence[tuple[str, str]], trained: Sequence[str]) -> list[Panel]:
        """The panel of some outputs, unless no run has any of them."""
        faint: list[Curve] = []
        strong: list[Curve] = []
        legend: dict[str, Curve] = {}
        for i, scale in enumerate(self._scales):
            for k, key in enumerate(trained):
                rows = self._trained[i].get(key, [])
                if not rows:
                    continue
                points = [(scale(x), y) for x, y in rows]
                name = "train" if key == label else f"train {key.removeprefix('output ')}"
                colour, width, dash = self._style(i, k)
                mean = self._mean(points)
                if mean is None:
                    strong.append(Curve(name, points, colour, width, dash))
                else:
                    faint.append(Curve("", points, shade(colour, 0.38), 1.0, accent=colour))
                    same = self._smooth or self._single
                    name += f", mean of {self._window(len(points))}" if same else ", smoothed"
                    strong.append(Curve(name, mean, colour, width, dash, derived=True))
                self._note(legend, strong[-1], k)
            for k, output in enumerate(tested, len(trained)):
                if found := self._tests[i].get(output):
                    points = [(scale(x), y) for x, y in found]
                    colour, width, dash = self._style(i, k)
                    mark = _MARKS[(k - len(trained)) % len(_MARKS)]
                    strong.append(Curve(" ".join(output), points, colour, width, dash, mark))
                    self._note(legend, strong[-1], k)
        if not strong:
            return []
        return [Panel(label, [*faint, *strong], legend=list(legend.values()))]

    def _style(self, run: int, curve: int) -> tuple[str, float, tuple[float, ...]]:
        """The colour, width and dashes of a curve of a run."""
        if self._single:
            return _look(curve)
        colour, width, dash = _look(run)
        return colour, width, dash or DASHES[curve % len(DASHES)]

    def _note(self, legend: dict[str, Curve], curve: Curve, k: int) -> None:
        """Add a curve to the legend, which of several runs has one of each kind."""
        colour = curve.colour if self._single else _GREY
        dash = curve.dash if self._single else DASHES[k % len(DASHES)]
        legend.setdefault(curve.name, Curve(curve.name, (), colour, curve.width, dash, curve.mark))

    def _window(self, rows: int) -> int:
        width = self._smooth if self._smooth is not None else rows // _PART if rows >= _SMOOTHED else 1
        return width + 1 - width % 2  # symmetric

    def _mean(self, points: Sequence[Point]) -> list[Point] | None:
        """The smoothed curve, None if it is not to be."""
        width = self._window(len(points))
        if width < 2:
            return None
        return list(zip((x for x, _ in points), moving_mean([y for _, y in points], width), strict=True))


def _test_values(run: History) -> dict[tuple[str, str], list[Point]]:
    """The points of each test net's outputs of one value."""
    several = len({test.net for test in run.tests}) > 1
    found: dict[tuple[str, str], list[Point]] = {}
    for test in run.tests:
        for name, values in test.outputs.items():
            if len(values) == 1:
                net = f"test #{test.net}" if several else "test"
                found.setdefault((net, name), []).append((float(test.iteration), values[0]))
    return found


def _train_values(run: History) -> dict[str, list[Point]]:
    """The points of the training's loss, and of the net's outputs as `output NAME`."""
    found: dict[str, list[Point]] = {}
    for row in run.train:
        found.setdefault("loss", []).append((float(row.iteration), row.loss))
        for name, value in row.outputs.items():
            found.setdefault(f"output {name}", []).append((float(row.iteration), value))
    return found


def _spans_decades(curves: Sequence[Sequence[float]]) -> bool:
    """Whether rates are better seen on a logarithmic axis: by steps or long over a factor of ten.

    A cosine or polynomial ends near 0 soon, and is seen on a linear one.
    """
    for curve in curves:
        rates = [rate for rate in curve if math.isfinite(rate) and rate > 0]
        if len(rates) < 2 or max(rates) < _DECADE * min(rates):
            continue
        held = sum(a == b for a, b in itertools.pairwise(rates))
        low = sum(rate * 50 < max(rates) for rate in rates)
        if 2 * held >= len(rates) - 1 or (low > 2 and 10 * low >= len(rates)):
            return True
    return False
