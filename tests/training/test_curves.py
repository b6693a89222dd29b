"""The curves of trainings: which panels there are, what they show, and over what."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from netbuilder.errors import ConfigError
from netbuilder.report.plots import Curve, Plot
from netbuilder.training.curves import curves_plot, draw
from netbuilder.training.events import Tested
from netbuilder.training.history import History, names_apart
from netbuilder.training.record import Row


def history(name: str = "a", rows: int = 11, **more: object) -> History:
    train = [Row(10 * i, 10.0 - i, 0.1 if i < 5 else 0.01, 2.0 * i, {"loss": 9.0 - i}) for i in range(rows)]
    tests = [Tested(i, 0, 1, {"accuracy": (i / 1000,), "loss": (5.0,), "many": (1.0, 2.0)}) for i in (0, 100)]
    return History(name, train, tests, **more)  # type: ignore[arg-type]


def curve(plot: Plot, panel: str, name: str) -> Curve:
    (found,) = [c for p in plot.panels if p.label == panel for c in p.curves if c.name == name]
    return found


def test_the_panels_of_one_training_hold_its_values() -> None:
    plot = curves_plot([history()])
    assert [panel.label for panel in plot.panels] == ["loss", "accuracy", "learning rate"]
    assert curve(plot, "loss", "train").points == [(10.0 * i, 10.0 - i) for i in range(11)]
    assert curve(plot, "loss", "test loss").points == [(0.0, 5.0), (100.0, 5.0)]
    assert curve(plot, "accuracy", "test accuracy").points == [(0.0, 0.0), (100.0, 0.1)]
    rate = curve(plot, "learning rate", "")
    assert rate.steps
    assert rate.points[4:6] == [(40.0, 0.1), (50.0, 0.01)]
    assert plot.panels[2].log
    assert (plot.title, plot.along, plot.second) == ("a", "iteration", None)


def test_epochs_images_and_time_are_iterations_times_something() -> None:
    known = history(batch=32, images=640)
    assert curves_plot([known]).second == ("epoch", 32 / 640)

    def along(axis: str, run: History = known) -> tuple[str, list[float]]:
        plot = curves_plot([run], along=axis)
        return plot.along, [x for x, _ in curve(plot, "loss", "test loss").points]

    assert along("epochs") == ("epoch", [0.0, 100 * 32 / 640])
    assert along("images") == ("images", [0.0, 3200.0])
    assert along("time") == ("seconds", [0.0, 20.0])
    slow = History("slow", [Row(0, 1.0, 0.1, 0.0, {}), Row(200, 1.0, 0.1, 7200.0, {})], known.tests)
    assert along("time", slow) == ("hours", [0.0, 1.0])  # the test is between the rows


def test_an_axis_of_which_something_is_unknown_says_what_to_give() -> None:
    with pytest.raises(ConfigError, match="an update of 'a' takes is not known") as error:
        curves_plot([history()], along="epochs")
    assert "--batch N" in error.value.hint
    with pytest.raises(ConfigError, match="an epoch of 'a' has is not known") as error:
        curves_plot([history(batch=32)], along="epochs")
    assert "--epoch-images N" in error.value.hint
    assert curves_plot([history(batch=32)], along="images").along == "images"
    with pytest.raises(ConfigError, match="no run says when"):
        curves_plot([History("a", [Row(0, 1.0, 0.1, math.nan, {})], [])], along="time")


def test_the_epochs_of_several_are_an_axis_only_if_they_are_equal() -> None:
    same = [history("a", batch=32, images=640), history("b", batch=64, images=1280)]
    assert curves_plot(same).second == ("epoch", 0.05)
    assert curves_plot([*same, history("c", batch=32, images=1280)]).second is None
    assert curves_plot([*same, history("c")]).second is None


def test_smoothing_draws_the_mean_over_the_rows() -> None:
    run = history(rows=9)
    rough = History("a", [Row(r.iteration, (-1.0) ** i, 0.1, 0.0, {}) for i, r in enumerate(run.train)], [])
    plot = curves_plot([rough], smooth=3)
    mean = curve(plot, "loss", "train, mean of 3")
    assert [y for _, y in mean.points] == pytest.approx([1, *[1 / 3, -1 / 3] * 3, 1 / 3, 1])
    assert [y for _, y in curve(plot, "loss", "").points] == [row.loss for row in rough.train]
    assert curve(curves_plot([rough], smooth=1), "loss", "train").points == curve(plot, "loss", "").points
    long = History("a", [Row(i, 1.0, 0.1, 0.0, {}) for i in range(1000)], [])
    assert curve(curves_plot([long]), "loss", "train, mean of 25")


def test_several_runs_have_a_colour_each_and_one_legend_of_kinds() -> None:
    plot = curves_plot([history(name) for name in "abc"])
    assert [run.name for run in plot.runs] == ["a", "b", "c"]
    assert len({run.colour for run in plot.runs}) == 3
    loss = plot.panels[0]
    for i in range(3):
        own = {c.name for c in loss.curves if c.colour == plot.runs[i].colour}
        assert own == {"train", "test loss"}
    assert [c.name for c in loss.legend or ()] == ["train", "test loss"]
    looks = {(run.colour, run.dash) for run in curves_plot([history(str(i)) for i in range(20)]).runs}
    assert len(looks) == 20


def test_parts_are_apart_from_other_outputs_and_losses_known_by_the_log_are_losses() -> None:
    outputs = {
        "loss3/top-1": (0.5,),
        "loss3/loss3": (2.0,),
        "error_px": (30.0,),
        "cross_entropy": (1.5,),
    }
    run = History("g", [], [Tested(0, 0, 1, outputs)], losses=frozenset({"cross_entropy"}))
    found = {p.label: [c.name for c in p.curves] for p in curves_plot([run]).panels}
    assert found == {
        "loss": ["test loss3/loss3", "test cross_entropy"],
        "accuracy": ["test loss3/top-1"],
        "test": ["test error_px"],
    }


def test_several_test_nets_and_a_trained_accuracy_are_told_apart() -> None:
    train = [Row(0, 2.0, 0.1, 0.0, {"loss": 2.0, "accuracy": 0.3})]
    tests = [Tested(0, net, 1, {"accuracy": (0.1 * net,)}) for net in (0, 1)]
    (_, accuracy, _) = curves_plot([History("a", train, tests)]).panels
    assert [c.name for c in accuracy.curves] == ["train accuracy", "test #0 accuracy", "test #1 accuracy"]


def test_panels_are_chosen_by_kind_or_by_the_name_of_an_output() -> None:
    plot = curves_plot([history()], shown=["rate", "loss", "accuracy"])
    assert [panel.label for panel in plot.panels] == ["learning rate", "loss", "accuracy"]
    with pytest.raises(ConfigError, match="no run has an output 'acuracy'") as error:
        curves_plot([history()], shown=["acuracy"])
    assert "accuracy" in error.value.hint
    run = History("a", [Row(0, 2.0, 0.1, 0.0, {"loss1/loss": 3.0})], [])
    (panel,) = curves_plot([run], shown=["loss1/loss"]).panels
    assert [c.points for c in panel.curves] == [[(0.0, 3.0)]]


@pytest.mark.parametrize(
    ("rates", "log"),
    [
        ([0.1] * 50 + [0.01] * 50, True),
        ([0.1] * 50 + [0.05] * 50, False),
        ([0.05 * (1 + math.cos(math.pi * i / 100)) for i in range(101)], False),
        ([0.1 * (1 - i / 101) for i in range(101)], False),
        ([0.1 * 0.93**i for i in range(101)], True),
        ([0.0] * 100, False),
        ([0.1], False),
    ],
)
def test_rates_by_steps_over_decades_have_a_logarithmic_axis(rates: list[float], log: bool) -> None:
    run = History("a", [Row(i, 1.0, rate, 0.0, {}) for i, rate in enumerate(rates)], [])
    assert curves_plot([run]).panels[-1].log is log


def test_a_log_without_rates_has_no_panel_of_them() -> None:
    rows = [Row(i, 1.0, math.nan, 0.0, {}) for i in range(3)]
    assert [panel.label for panel in curves_plot([History("a", rows, [])]).panels] == ["loss"]
    with pytest.raises(ConfigError, match="nothing to draw"):
        curves_plot([History("a", [], [])])


def test_the_curves_of_a_record_are_drawn_where_the_values_are(tmp_path: Path) -> None:
    train = [Row(i, 10.0 - i, 0.1, 0.0, {}) for i in range(11)]
    tests = [Tested(i, 0, 1, {"accuracy": (i / 10,), "loss": (5.0,), "many": (1.0, 2.0)}) for i in (0, 10)]
    assert draw(train, tests, str(tmp_path / "x.png"), "a title", batch=1, images=10)
    image = Image.open(io.BytesIO((tmp_path / "x.png").read_bytes())).convert("RGB")
    assert image.size[0] == 960
    # The training's loss falls from 10 to 0 in the first panel, which has a twentieth of that around it.
    pixels = np.asarray(image)[:250].astype(int)
    x = 76 + round((936 - 76) * 0.4)
    blue = np.flatnonzero(pixels[:, x, 2] - pixels[:, x, 0] > 100)
    frame = np.flatnonzero((pixels[:, x].max(1) < 0xD0) & (np.ptp(pixels[:, x], 1) == 0))
    part = (frame[-1] - blue.mean()) / (frame[-1] - frame[0])
    assert part == pytest.approx((6 + 0.5) / 11, abs=0.015)


@pytest.mark.parametrize("loss", [math.nan, math.inf, 0.0, 1e30, -3.0])
def test_values_of_any_size_are_drawn(loss: float, tmp_path: Path) -> None:
    train = [Row(0, 1.0, 0.1, 0.0, {}), Row(5, loss, 0.1, 0.0, {})]
    assert draw(train, [], str(tmp_path / "x.png"), "")
    assert draw(train[1:], [Tested(0, 0, 1, {"a": (loss,)})], str(tmp_path / "y.png"), "")


def test_without_pillow_no_curves_are_drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    assert not draw([Row(0, 1.0, 0.1, 0.0, {})], [], str(tmp_path / "x.png"), "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["runs/a/x_run.json", "runs/b/x_run.json"], ["a", "b"]),
        (["runs/a/x_run.json", "runs/a/y_run.json"], ["x", "y"]),
        (["runs/lr/0.1/train.log", "runs/lr/0.01/train.log"], ["0.1", "0.01"]),
        (["a/x_train.csv", "a/b/x_train.csv"], ["a", "a/b"]),
        (["old.log.gz", "new.log.gz"], ["old", "new"]),
        (["logs/base/train.log"], ["base"]),
        (["out/resnet_run.json"], ["resnet"]),
        (["run.json", "b/run.json"], None),
    ],
)
def test_runs_are_named_by_what_differs(
    paths: list[str], names: list[str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = names_apart([Path(path) for path in paths])
    if names is None:
        assert len(set(found)) == len(found)
        assert all(found)
    else:
        assert found == names
