"""Stochastic pooling, which only Caffe's GPU code computes: against its formula, and as a distribution."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch

from netbuilder import prototxt
from netbuilder.engines.torch import module

NET = (
    'layer {{ name: "x" type: "Input" top: "x" '
    "input_param {{ shape {{ dim: {n} dim: 1 dim: {h} dim: {w} }} }} }} "
    'layer {{ name: "y" type: "Pooling" bottom: "x" top: "y" '
    "pooling_param {{ pool: STOCHASTIC kernel_size: {k} stride: {s} }} }}"
)


def test_in_test_a_value_is_weighted_by_itself() -> None:
    x = np.random.default_rng(0).uniform(0, 1, (2, 1, 5, 4)).astype(np.float32)
    x[0, 0, :2, :2] = 0  # a window without any weight
    m = module(prototxt.parse(NET.format(n=2, h=5, w=4, k=2, s=2), "TEST"))
    expected = np.zeros((2, 1, 3, 2))
    for i in range(3):
        for j in range(2):
            window = x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].astype(np.float64)
            total = window.sum((2, 3))
            expected[:, :, i, j] = (window**2).sum((2, 3)) / np.where(total == 0, 1, total)
    np.testing.assert_allclose(m(torch.from_numpy(x))["y"].numpy(), expected, rtol=1e-6)


def test_in_train_an_element_is_drawn_by_its_value_and_gets_the_gradient() -> None:
    torch.manual_seed(0)
    m = module(prototxt.parse(NET.format(n=8000, h=2, w=2, k=2, s=1), "TRAIN"))
    x = torch.tensor([[1.0, 0.0], [2.0, 5.0]]).expand(8000, 1, 2, 2).clone().requires_grad_()
    y = m(x)["y"]
    counts = Counter(y.flatten().tolist())
    assert counts[0.0] == 0
    for value in (1.0, 2.0, 5.0):  # within four standard deviations
        p = value / 8
        assert abs(counts[value] - 8000 * p) < 4 * (8000 * p * (1 - p)) ** 0.5
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal((x.detach() * x.grad).sum((2, 3)), y.detach().flatten(1))
    assert torch.equal(x.grad.sum((2, 3)), torch.ones(8000, 1))
