"""Our net in real Caffe beside a reference on the tape: scores, loss, and all gradients."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from netbuilder import Net, prototxt
from netbuilder.engines.caffe import Caffe
from tests.reference.tape import Tape, Var

# Scores from the tape, the parameters by layer name, and the images.
Scores = Callable[[Tape, dict[str, list[Var]], Var], Var]


def draw_params(net: Net, seed: int) -> dict[str, list[Any]]:
    """Random parameters for every layer that has some: nothing at 0 or 1 that would hide a mistake."""
    draw = np.random.default_rng(seed)
    params: dict[str, list[Any]] = {}
    for layer in net:
        shapes = [p.shape for p in layer.params]
        if layer.type == "BatchNorm":
            mean, variance = draw.normal(0, 0.2, shapes[0]), draw.uniform(0.5, 1.5, shapes[1])
            params[layer.name] = [2 * mean, 2 * variance, np.full(1, 2.0)]
        elif layer.type == "Scale":
            params[layer.name] = [draw.uniform(0.5, 1.5, shapes[0]), draw.normal(0, 0.2, shapes[1])]
        elif shapes:
            # So that the scores are of the order of 1, whatever the variances say.
            spread = (0.2 if layer.type == "InnerProduct" else 1) * math.prod(shapes[0][1:]) ** -0.5
            params[layer.name] = [draw.normal(0, spread, shapes[0])]
            params[layer.name] += [draw.normal(0, 0.2, shape) for shape in shapes[1:]]
    # Both sides get the same numbers: those that single precision can hold.
    return {name: [x.astype(np.float32) for x in arrays] for name, arrays in params.items()}


def draw_images(net: Net, batch: int, seed: int) -> Any:
    shape = (batch, *net.inputs[0].known_shape[1:])
    return np.random.default_rng([seed, 1]).standard_normal(shape, dtype=np.float32)


def score_error(caffe: Caffe, deploy: Net, top: str, reference: Scores, batch: int, seed: int = 1) -> float:
    """Largest difference of the deploy net's scores to the reference's, over the largest if it is below 1."""
    params, images = draw_params(deploy, seed), draw_images(deploy, batch, seed)
    expected = reference(Tape(), as_vars(params), Var(images)).value
    ran = caffe.run(prototxt.dumps(deploy), inputs={"data": images}, params=params, outputs=[top])
    error = np.abs(ran.outputs[top].reshape(expected.shape) - expected).max()
    return float(error / min(1, np.abs(expected).max()))


def train_errors(
    caffe: Caffe, train: Net, top: str, reference: Scores, batch: int, smoothing: float = 0, seed: int = 1
) -> dict[str, float]:
    """Largest differences of the train net's scores, loss, input gradient and parameter gradients.

    Gradients are compared by blob, over the largest number of the reference's in it. One that the reference
    has as 0 (a bias before BatchNorm) must be below 1e-4 itself.
    """
    train.proto.force_backward = True
    text = re.sub(r"batch_size: \d+", f"batch_size: {batch}", prototxt.dumps(train))
    params, images = draw_params(train, seed), draw_images(train, batch, seed)
    labels = np.random.default_rng([seed, 2]).integers(10, size=batch)
    tape, variables, image = Tape(), as_vars(params), Var(images)
    scores = reference(tape, variables, image)
    targets = (1 - smoothing) * np.eye(10)[labels] + smoothing / 10
    loss = tape.cross_entropy(scores, targets)
    tape.backward(loss)
    ran = caffe.run(
        text, phase="TRAIN", inputs={"data": images, "label": labels.astype(np.float32)}, params=params,
        outputs=["data", top], backward=True,
    )  # fmt: skip
    errors = {
        "scores": float(np.abs(ran.outputs[top].reshape(scores.value.shape) - scores.value).max()),
        "loss": abs(ran.loss - float(loss.value)),
        "input": relative(ran.diffs["data"], image.grad),
        "params": 0.0,
    }
    for layer in train:
        for i, param in enumerate(layer.params):
            if param.learnable:
                error = relative(ran.param_diffs[layer.name][i], variables[layer.name][i].grad)
                errors["params"] = max(errors["params"], error)
    return errors


def relative(ours: Any, theirs: Any) -> float:
    """Largest difference over the largest number, or over 0.1 where all numbers are next to nothing."""
    largest = np.abs(theirs).max()
    return float(np.abs(ours - theirs).max() / (largest if largest > 1e-9 else 0.1))


def as_vars(params: dict[str, list[Any]]) -> dict[str, list[Var]]:
    """The parameters as leaves of a tape."""
    return {name: [Var(x) for x in arrays] for name, arrays in params.items()}
