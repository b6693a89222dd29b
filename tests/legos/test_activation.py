"""Activations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from legos import CELULego, ReLULego
from netbuilder import Net, checks
from netbuilder.engines.caffe import Caffe
from netbuilder.errors import ConfigError
from netbuilder.net import Blob
from tests import consumers
from tests.legos.judge import drawn, forward_backward


def attached(lego: CELULego | ReLULego) -> tuple[Net, Blob]:
    net = Net("n")
    return net, lego.attach(net, net.add("Input", name="data", shape={"dim": [2, 3, 5, 4]}))


def celu(x: Any, alpha: float) -> Any:
    return np.maximum(x, 0) + np.minimum(0, alpha * (np.exp(x / alpha) - 1))


def test_relu_is_in_place() -> None:
    _, top = attached(ReLULego(name="a"))
    assert (top.layer.name, top.name, top.layer.in_place) == ("relu_a", "data", True)


@pytest.mark.parametrize("alpha", [0.075, 0.3, 1, 2.5])
def test_celu_computes_its_formula_and_the_derivative(real_caffe: Caffe, alpha: float) -> None:
    net, top = attached(CELULego(name="a", alpha=alpha))
    assert checks.check(net) == []
    x, diff = drawn(2, 3, 5, 4), drawn(2, 3, 5, 4, seed=2)
    ran = forward_backward(real_caffe, net, top, {"data": x}, diff)
    wide = x.astype(np.float64)
    assert abs(ran.outputs[top.name] - celu(wide, alpha)).max() <= 1e-6
    assert abs(ran.diffs["data"] - diff * np.exp(np.minimum(wide, 0) / alpha)).max() <= 1e-6


def test_an_elu_of_another_alpha_would_not_do() -> None:
    # The reason for three layers: ELU(alpha) is alpha * (exp(x) - 1) below 0.
    x = np.linspace(-3, 0, 50)
    assert abs(0.3 * (np.exp(x) - 1) - celu(x, 0.3)).max() > 0.1


def test_opencv_and_mnn_compute_celu_alike(tmp_path: Path) -> None:
    consumers.require("cv2")
    consumers.require("MNN")
    net, top = attached(CELULego(name="a", alpha=0.3))
    consumers.write_model(net, {}, tmp_path)
    x = drawn(2, 3, 5, 4)
    assert abs(consumers.opencv(tmp_path, x, top.name) - celu(x, 0.3)).max() <= 1e-6
    assert abs(consumers.mnn(tmp_path, x) - celu(x, 0.3)).max() <= 1e-5


def test_celu_is_two_powers_around_an_elu_and_only_the_elu_is_in_place() -> None:
    net, _ = attached(CELULego(name="a", alpha=0.5))
    assert [(x.name, x.type, x.in_place) for x in net.layers[1:]] == [
        ("shrink_a", "Power", False), ("elu_a", "ELU", True), ("celu_a", "Power", False),
    ]  # fmt: skip


@pytest.mark.parametrize("alpha", [0, -1])
def test_an_alpha_that_is_not_above_0_is_refused(alpha: float) -> None:
    with pytest.raises(ConfigError) as refused:
        CELULego(name="a", alpha=alpha)
    assert refused.value.text == f"CELULego 'a': alpha must be above 0, got {alpha}"
