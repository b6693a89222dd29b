"""Airbench in stock layers, against the same net written in PyTorch by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from legos import OverlappingMaxPoolLego
from netbuilder import Net
from netbuilder.config import load
from netbuilder.config.recipes import read_recipe
from netbuilder.errors import ConfigError
from netbuilder.solvers.recipe import plan
from tests.installation import require_torch


def by_hand() -> Any:
    """Jordan's net, with ReLU and 3x3 maxima."""
    from torch import nn

    def norm(c: int) -> Any:
        return nn.BatchNorm2d(c, eps=1e-5, momentum=0.4)

    def block(c: int, n: int) -> list[Any]:
        first = [nn.Conv2d(c, n, 3, padding=1, bias=False), nn.MaxPool2d(3, 2), norm(n), nn.ReLU()]
        return [*first, nn.Conv2d(n, n, 3, padding=1, bias=False), norm(n), nn.ReLU()]

    body = [nn.Conv2d(3, 24, 2), nn.ReLU(), *block(24, 8), *block(8, 32), *block(32, 32), nn.MaxPool2d(3)]
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(32, 10, bias=False))


def test_it_computes_what_the_net_by_hand_computes() -> None:
    require_torch()
    import torch

    from netbuilder.engines.torch import module

    m = module(load("cifar_94", ["block_width=8"]).stitch("train"), seed=1)
    plain = by_hand()
    targets = [p for n, p in plain.named_parameters()]
    ours = {n: blobs for n, blobs in m.params.items() if not n.startswith("bn_")}
    sources = [blob for blobs in ours.values() for blob in blobs]
    assert [tuple(s.shape) for s in sources] == [tuple(t.shape) for t in targets]
    x, label = torch.randn(6, 3, 32, 32), torch.tensor([0, 1, 2, 3, 4, 9])
    with torch.no_grad():
        for source, target in zip(sources, targets, strict=True):
            target.copy_(source)
    out = m(x, label, keep=("logits",))
    scores = plain(x) / 32
    loss = torch.nn.functional.cross_entropy(scores, label)
    out.loss.backward()
    loss.backward()
    np.testing.assert_allclose(
        out["logits"].detach(), scores.detach(), rtol=0, atol=1e-5 * scores.abs().max().item()
    )
    for source, target in zip(sources, targets, strict=True):
        if source.grad is not None:
            np.testing.assert_allclose(
                source.grad, target.grad, rtol=0, atol=2e-5 * target.grad.abs().max().item()
            )
    rates = {n: m.operators()[n].lr_mults for n in ours}
    assert rates["whiten_prep"] == pytest.approx((0, 0.053 / 0.67))
    assert rates["scale_block1_1"] == pytest.approx((0, 0.053 / 0.67))


def test_the_recipe_has_the_rates_of_its_source() -> None:
    """0.67 and 0.053 for the sum over the batch, a decay of 0.004 an update, 8 epochs of 25 batches."""
    solver = plan(read_recipe("cifar_94"), net="n", batch=2000).solver
    assert solver.max_iter == 200
    assert solver.lr_policy == "linear 0:1340 200:0"
    assert solver.base_lr / 2000 == pytest.approx(0.67)
    assert solver.base_lr * solver.weight_decay == pytest.approx(0.004, rel=1e-4)
    scale = load("cifar_94").stitch("train")["scale_block3_2"].proto.param[1]
    assert solver.base_lr / 2000 * scale.lr_mult == pytest.approx(0.053)
    assert scale.lr_mult * scale.decay_mult == pytest.approx(1)


def test_sizes_that_would_be_rounded_are_refused() -> None:
    with pytest.raises(ConfigError, match="input_size must be a multiple of 8, at least 16, got 36x32"):
        load("cifar_94", ["input_size=36x32"])
    net = Net("n")
    data = net.add("Input", name="data", shape={"dim": [1, 3, 8, 7]})
    with pytest.raises(ConfigError, match="needs an odd height and width of at least 3, got 8x7"):
        OverlappingMaxPoolLego(name="a").attach(net, data)
