"""Layers that converters write, against their formulas, forward and backward."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from netbuilder import prototxt
from netbuilder.engines.torch import module
from tests.engines.torch.cases import difference

X = np.random.default_rng(0).normal(size=(2, 1, 3, 4)) * 3
SCALE, ALPHA = 1.0507009873554804, 1.6732632423543772

CASES: list[tuple[str, str, Any, Any]] = [
    ("HardSwish", "", X * np.clip(X / 6 + 0.5, 0, 1), np.where(np.abs(X) < 3, X / 3 + 0.5, X > 0)),
    (
        "SELU",
        f"selu_param {{ lambda: {SCALE} alpha: {ALPHA} }}",
        SCALE * np.where(X > 0, X, ALPHA * (np.exp(X) - 1)),
        SCALE * np.where(X > 0, 1, ALPHA * np.exp(X)),
    ),
    ("Squeeze", "", X[:, 0], np.ones_like(X)),
    ("Transpose", "transpose_param { dim: [2, 0, 3, 1] }", X.transpose(2, 0, 3, 1), np.ones_like(X)),
    (
        "Pad",
        "pad_param { paddings: [0, 0, 0, 1, 2, 0, 0, 0] constant_values: 1.5 }",
        np.pad(X, ((0, 0), (0, 1), (2, 0), (0, 0)), constant_values=1.5),
        np.ones_like(X),
    ),
]


@pytest.mark.parametrize(("type", "fields", "wanted", "slope"), CASES, ids=[case[0] for case in CASES])
def test_a_converted_layer_is_its_formula(type: str, fields: str, wanted: Any, slope: Any) -> None:
    text = (
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: [2, 1, 3, 4] } } }'
        f'layer {{ name: "y" type: "{type}" bottom: "x" top: "y" {fields} }}'
    )
    x = torch.tensor(X, dtype=torch.float32, requires_grad=True)
    top = module(prototxt.parse(text, dialect="any"))(x=x)["y"]
    assert difference(top, wanted) <= 5e-6
    top.sum().backward()
    assert x.grad is not None
    assert difference(x.grad, slope) <= 5e-6


def test_a_product_repeats_axes_of_size_1() -> None:
    text = """layer { name: "x" type: "Input" top: "x" top: "f"
      input_param { shape { dim: [2, 1, 3, 4] } shape { dim: [3, 1] } } }
    layer { name: "y" type: "Mul" bottom: "x" bottom: "f" top: "y" }
    layer { name: "z" type: "Mul" bottom: "x" top: "z" mul_param { mul_shape: 4 } }"""
    m = module(prototxt.parse(text, dialect="any"))
    factor, own = np.random.default_rng(1).normal(size=(3, 1)), np.random.default_rng(2).normal(size=4)
    with torch.no_grad():
        m.params["z"][0].copy_(torch.from_numpy(own))
    out = m(x=torch.tensor(X, dtype=torch.float32), f=torch.tensor(factor, dtype=torch.float32))
    assert difference(out["y"], X * factor) <= 5e-6
    assert difference(out["z"], X * own) <= 5e-6
