"""Whether a training still learns: losses that are not finite, and losses at the value that hides it.

Caffe goes on with a loss of nan to the last iteration. SoftmaxWithLoss takes the logarithm of no probability
below FLT_MIN, so scores that have overflowed show as a loss near 87.3365, which is finite. Accuracy compares
scores, and every comparison with nan is false: it then counts each label as right.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from netbuilder.graph import loss_weights
from netbuilder.layers import RULES
from netbuilder.layers.traits import known
from netbuilder.net import Layer, Net
from netbuilder.training.events import Ended, Event, Iteration, Tested

__all__ = ["ADVICE", "Health", "finite_model", "honest", "is_finite", "metrics", "most"]

ADVICE = (
    "a smaller base_lr, a warm-up, clip_gradients or inputs of smaller scale may help; begin again, or "
    "--resume a snapshot from before"
)
# A training is saturated if its last few losses are the largest one, or the mean of many is a part of it, in
# both halves: a net that always takes one of two classes has half. The first losses of a good one may be bad.
_FEW, _ALL = 3, 0.99
_MANY, _PART = 50, 0.25
_FULL, _VALID, _BATCH_SIZE, _NONE = range(4)  # LossParameter.NormalizationMode


class Health:
    """Follows the events of a training of this net."""

    def __init__(self, net: Net) -> None:
        self._most = most(net)
        self._last: collections.deque[float] = collections.deque(maxlen=_MANY)
        self._tests: dict[int, Tested] = {}
        self._iteration: Iteration | None = None

    @property
    def lost(self) -> str:
        """Which loss is not finite, so that nothing is learnt any more; "" if none is."""
        if self._iteration is None or math.isfinite(self._iteration.loss):
            return ""
        return f"the loss is {self._iteration.loss} at iteration {self._iteration.iteration}"

    def take(self, event: Event) -> None:
        """Take notice of an event."""
        if isinstance(event, Tested):
            self._tests[event.net] = event
        elif isinstance(event, Iteration):
            self._iteration = event
            self._last.append(event.loss)

    def judged(self, end: Ended) -> Ended:
        """How a training has really ended, with the reason if it has diverged."""
        if end.how == "stopped":
            return end
        tests = (
            f"the test of iteration {test.iteration} has values that are not finite"
            for test in self._tests.values()
            if not is_finite(test)
        )
        reason = self.lost or end.reason or next(tests, "") or self.saturated()
        if end.how == "diverged":
            reason = reason or f"a parameter is not finite after iteration {end.iteration - 1}"
        return Ended("diverged", end.iteration, reason) if reason else end

    def saturated(self) -> str:
        """Whether the last losses are near the largest that the net can have."""
        last = list(self._last)
        few, halves = last[-_FEW:], (last[: _MANY // 2], last[_MANY // 2 :])
        all_few = len(few) == _FEW and min(few) >= self._most * _ALL
        if all_few or (len(last) == _MANY and min(map(_mean, halves)) >= self._most * _PART):
            return (
                f"the loss stays at {_mean(few if all_few else last):.6g}: the softmax is saturated, "
                f"the labels have no probability (such a loss is {self._most:.6g} at most)"
            )
        return ""


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def most(net: Net) -> float:
    """The largest loss of a net whose losses all have a largest value; inf if one of them has none."""
    total = 0.0
    for layer in net:
        first, *others = loss_weights(layer)
        if any(others):
            return math.inf
        if first:
            total += abs(first) * _most_of(layer)
    return total or math.inf


def _most_of(layer: Layer) -> float:
    rule = RULES.get(layer.type)
    most = known(rule.traits.most, 0.0) if rule else 0.0
    if not most or len(layer.bottoms) < 2:
        return math.inf
    return most * _labels(layer)


def _labels(layer: Layer) -> float:
    """How many labels' losses are added up without a division; inf if unknown.

    Source: softmax_loss_layer.cpp, LayerSetUp and get_normalizer.
    """
    p = layer.proto.loss_param
    legacy = p.HasField("normalize") and not p.HasField("normalization")
    mode = (_BATCH_SIZE, _VALID)[p.normalize] if legacy else p.normalization
    if mode in (_FULL, _VALID):
        return 1.0
    scores, labels = (blob.shape for blob in layer.bottoms[:2])
    if scores is None or labels is None or mode not in (_BATCH_SIZE, _NONE):
        return math.inf
    images = math.prod(scores[: layer.proto.softmax_param.axis]) if mode == _BATCH_SIZE else 1
    return math.prod(labels) / images


def is_finite(test: Tested) -> bool:
    """Whether all values of a test are finite."""
    values = (value for values in test.outputs.values() for value in values)
    return all(map(math.isfinite, values)) and (test.loss is None or math.isfinite(test.loss))


def metrics(net: Net) -> dict[str, str]:
    """The outputs of a net that only compare scores, and the blobs of those scores."""
    found = {}
    for layer in net:
        rule = RULES.get(layer.type)
        if rule is not None and known(rule.traits.metric, False) and layer.bottoms:
            found.update({top.name: layer.bottoms[0].name for top in layer.tops})
    return found


def honest(test: Tested, names: Iterable[str]) -> Tested:
    """A test in which these metrics are nan if any other value is: they hide what they compare."""
    if is_finite(test):
        return test
    hidden = {n: (math.nan,) * len(test.outputs[n]) for n in names if n in test.outputs}
    return test._replace(outputs={**test.outputs, **hidden})


def finite_model(path: str | Path) -> bool:
    """Whether all parameters in a file of weights are finite. Raises FileError, PrototxtError."""
    import numpy as np

    from netbuilder.weights.arrays import read_arrays

    return all(bool(np.isfinite(array).all()) for stored in read_arrays(path) for array in stored.arrays)
