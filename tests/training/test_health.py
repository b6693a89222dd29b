"""When a training has diverged although Caffe goes on, and which of its figures hide it."""

from __future__ import annotations

import math

import pytest

from netbuilder.prototxt.reader import parse
from netbuilder.training.events import Ended, Iteration, Tested
from netbuilder.training.health import Health, honest, metrics, most

DATA = """layer { name: "x" type: "DummyData" top: "x" top: "t"
  dummy_data_param { shape { dim: 4 dim: 3 } shape { dim: 4 } } }
"""
SOFTMAX = DATA + 'layer { name: "l" type: "SoftmaxWithLoss" bottom: "x" bottom: "t" %s }'
MAPS = """layer { name: "x" type: "DummyData" top: "x" top: "t"
  dummy_data_param { shape { dim: 4 dim: 3 dim: 5 dim: 5 } shape { dim: 4 dim: 1 dim: 5 dim: 5 } } }
layer { name: "l" type: "SoftmaxWithLoss" bottom: "x" bottom: "t" loss_param { %s } }
"""
LARGEST = 87.3365447506  # -log(FLT_MIN)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SOFTMAX % "", LARGEST),
        (SOFTMAX % "loss_weight: 0.3", 0.3 * LARGEST),
        (SOFTMAX % "" + (SOFTMAX % "").partition("}\n")[2].replace('"l"', '"m"'), 2 * LARGEST),
        (SOFTMAX % "loss_weight: 0", math.inf),
        (DATA + 'layer { name: "l" type: "EuclideanLoss" bottom: "x" bottom: "x" }', math.inf),
        (MAPS % "normalize: false", 25 * LARGEST),
        (MAPS % "normalize: true", LARGEST),
        (MAPS % "normalization: NONE", 100 * LARGEST),
        (MAPS % "normalization: FULL", LARGEST),
    ],
)
def test_the_largest_loss_of_a_net(text: str, expected: float) -> None:
    assert most(parse(text, phase="TRAIN")) == pytest.approx(expected, rel=1e-6)


def how(losses: list[float], *tests: Tested, end: str = "done") -> Ended:
    health = Health(parse(SOFTMAX % "", phase="TRAIN"))
    for i, loss in enumerate(losses):
        health.take(Iteration(i, loss, 0.1))
    for test in tests:
        health.take(test)
    return health.judged(Ended(end, len(losses)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "losses",
    [
        [2.3, math.nan],
        [2.3, math.inf],
        [87.3365] * 3,
        [2.3, *[87.3365] * 30],
        [2.3, *[78.6, 87.3365, 76.4] * 20],  # a label now and then is the one class that it always takes
        [2.3, *[43.668, 38.2, 49.1] * 20],  # two classes
        [2.3, *[0.0, 87.3365] * 30],  # and one label a batch
    ],
)
def test_a_training_that_has_diverged_is_not_done(losses: list[float]) -> None:
    end = how(losses)
    assert end.how == "diverged"
    assert end.reason
    assert how(losses, end="stopped").how == "stopped"


@pytest.mark.parametrize(
    "losses",
    [
        [],
        [2.3],
        [87.3365] * 60 + [2.3] * 25,
        [60.0, 30.0, 12.0, 5.0],
        [2.302585] * 50,
        [0.0] * 20,
        [50.2] * 4,
    ],
)
def test_a_training_that_learns_or_only_stands_still_is_done(losses: list[float]) -> None:
    assert how(losses) == Ended("done", len(losses))


def test_the_last_test_of_each_net_decides() -> None:
    good, bad = (Tested(10, 0, 1, {"acc": (0.5,)}, loss) for loss in (1.0, math.nan))
    assert how([1.0], bad, good).how == "done"
    assert how([1.0], good, bad).reason == "the test of iteration 10 has values that are not finite"
    assert how([1.0], bad, Tested(10, 1, 1, {}, 1.0)).how == "diverged"


def test_a_metric_beside_a_value_that_is_not_finite_is_none() -> None:
    text = SOFTMAX % "" + 'layer { name: "a" type: "Accuracy" bottom: "x" bottom: "t" top: "acc" }'
    names = metrics(parse(text, phase="TEST"))
    assert names == {"acc": "x"}
    good = Tested(0, 0, 1, {"acc": (1.0,), "l": (0.5,)})
    assert honest(good, names) == good
    bad = honest(Tested(0, 0, 1, {"acc": (1.0,), "l": (math.nan,)}), names)
    assert math.isnan(bad.outputs["acc"][0])
