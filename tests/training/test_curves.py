"""The picture of a training."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from PIL import Image

from netbuilder.training.curves import draw, ticks
from netbuilder.training.events import Tested
from netbuilder.training.record import Row


def test_curves_are_drawn_where_the_values_are(tmp_path: Path) -> None:
    train = [Row(i, 10.0 - i, 0.1, 0.0, {}) for i in range(11)]
    tests = [Tested(i, 0, 1, {"accuracy": (i / 10,), "loss": (5.0,), "many": (1.0, 2.0)}) for i in (0, 10)]
    assert draw(train, tests, str(tmp_path / "x.png"), "a title")
    image = Image.open(tmp_path / "x.png")
    assert (image.format, image.size) == ("PNG", (800, 700))
    # The training's loss falls from the upper left to the lower right of the first panel.
    blue = [(x, y) for x in range(300, 500) for y in range(700) if image.getpixel((x, y)) == (31, 119, 180)]
    line = [y for x, y in blue if x == 400 and y < 230]
    assert line
    assert abs(sum(line) / len(line) - 124) < 4


@pytest.mark.parametrize("loss", [math.nan, math.inf, 0.0, 1e30, -3.0])
def test_values_of_any_size_are_drawn(loss: float, tmp_path: Path) -> None:
    train = [Row(0, 1.0, 0.1, 0.0, {}), Row(5, loss, 0.1, 0.0, {})]
    assert draw(train, [], str(tmp_path / "x.png"), "")
    assert draw(train[1:], [Tested(0, 0, 1, {"a": (loss,)})], str(tmp_path / "y.png"), "")


@pytest.mark.parametrize("name", ["$x^2$", "$", "a\nb", "\0", "n" * 10_000, "\u202ex", "\\frac", "%s"])
def test_names_are_drawn_as_text(name: str, tmp_path: Path) -> None:
    train = [Row(i, 1.0 * i, 0.1, 0.0, {}) for i in range(2)]
    assert draw(train, [Tested(0, 0, 1, {name: (1.0,)})], str(tmp_path / "x.png"), name)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1500.0, [0, 500, 1000, 1500]),
        (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-0.1, 2.45, [0, 0.5, 1.0, 1.5, 2.0]),
        (0.0, 2.0, [0, 0.5, 1, 1.5, 2.0]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)
