"""The gradients of the reference operations are those of finite differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.reference.tape import Array, Tape, Var

Operation = Callable[..., Var]


def drawn(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape)


TARGETS = np.abs(drawn(3, 5))
TARGETS /= TARGETS.sum(1, keepdims=True)
CASES: dict[str, tuple[Operation, list[Array]]] = {
    "conv": (lambda t, x, w: t.conv(x, w), [drawn(2, 3, 5, 4), drawn(4, 3, 3, 3)]),
    "conv with a stride and a bias": (
        lambda t, x, w, b: t.conv(x, w, 2, b),
        [drawn(2, 3, 5, 4), drawn(4, 3, 3, 3), drawn(4)],
    ),
    "conv of one pixel": (lambda t, x, w: t.conv(x, w, 2), [drawn(2, 3, 5, 4), drawn(4, 3, 1, 1)]),
    "batch norm": (lambda t, x, g, b: t.batch_norm(x, g, b), [drawn(3, 2, 3, 3), drawn(2), drawn(2)]),
    "batch norm with stored statistics": (
        lambda t, x, g, b: t.batch_norm(x, g, b, (np.array([1.0, -1]), np.array([2.0, 3]))),
        [drawn(3, 2, 3, 3), drawn(2), drawn(2)],
    ),
    "relu": (lambda t, x: t.relu(x), [drawn(4, 7)]),
    "celu": (lambda t, x: t.celu(x, 0.3), [drawn(4, 7)]),
    "add": (lambda t, a, b: t.add(a, b), [drawn(2, 3), drawn(2, 3) + 1]),
    "scale": (lambda t, x: t.scale(x, 0.125), [drawn(2, 3)]),
    "concat": (lambda t, a, b: t.concat(a, b), [drawn(2, 3, 2), drawn(2, 1, 2)]),
    "every other pixel": (lambda t, x: t.every_other(x), [drawn(2, 3, 5, 4)]),
    "every third image": (lambda t, x: t.every_nth_image(x, 3, 1), [drawn(6, 2)]),
    "interleave": (lambda t, a, b: t.interleave(a, b), [drawn(3, 2), drawn(3, 2) + 1]),
    "max pool": (lambda t, x: t.max_pool(x), [drawn(2, 3, 4, 6)]),
    "image mean": (lambda t, x: t.image_mean(x), [drawn(2, 3, 5, 4)]),
    "image max": (lambda t, x: t.image_max(x), [drawn(2, 3, 5, 4)]),
    "linear": (lambda t, x, w, b: t.linear(x, w, b), [drawn(2, 3), drawn(4, 3), drawn(4)]),
    "cross entropy": (lambda t, x: t.cross_entropy(x, TARGETS), [drawn(3, 5)]),
}


@pytest.mark.parametrize("name", CASES)
def test_each_gradient_is_that_of_finite_differences(name: str) -> None:
    operation, arrays = CASES[name]
    step = 1e-6

    def value(inputs: list[Array], weights: Array | None) -> tuple[float, list[Var], Array]:
        tape, variables = Tape(), [Var(x) for x in inputs]
        top = operation(tape, *variables)
        weights = drawn(*top.value.shape) if weights is None else weights
        tape.backward(top, weights)
        return float((top.value * weights).sum()), variables, weights

    _, variables, weights = value(arrays, None)
    for i, array in enumerate(arrays):
        direction = np.random.default_rng(i).standard_normal(array.shape)
        ends = [
            value([*arrays[:i], array + s * direction, *arrays[i + 1 :]], weights)[0] for s in (step, -step)
        ]
        slope = (ends[0] - ends[1]) / (2 * step)
        assert (variables[i].grad * direction).sum() == pytest.approx(slope, rel=1e-6, abs=1e-8)
