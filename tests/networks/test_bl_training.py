"""Training form of the Big-Little nets: real Caffe gives every learnable blob a finite, nonzero gradient.

With a batch of 4: of a single image, BatchNorm makes the mean of every channel 0, so that squeeze-and-
excitation, which sees these means, has nothing to see.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from netbuilder import Net, prototxt
from netbuilder.engines.caffe import Caffe, RunResult
from netbuilder.networks import find_network

SIZE = 96
BATCH = 4
VARIANTS: dict[str, dict[str, Any]] = {
    "depth_50": {"depth": "50", "blocks": None, "num_output_stage1": 256},
    "resnet": {"family": "resnet"},
    "resnext": {"family": "resnext"},
    "seresnext": {"family": "seresnext"},
    "inception_trick_bottleneck": {"main_branch": "inception_trick_bottleneck"},
    "depthwise_bilinear": {"pooling": "depthwise", "upsample": "bilinear"},
}


def train_net(**options: Any) -> Net:
    """A Big-Little net for training, a small one unless the options say otherwise."""
    entry = find_network("bl_resnet")
    small = {"blocks": (3, 4, 2), "num_output_stage1": 128, "input_size": (SIZE, SIZE), "classes": 10}
    return entry.stitch(entry.config(**{**small, **options}), "train")


def data(iteration: int) -> dict[str, Any]:
    """Random images and labels."""
    draw = np.random.default_rng(iteration)
    images = draw.standard_normal((BATCH, 3, SIZE, SIZE), dtype=np.float32)
    return {"data": images, "label": draw.integers(10, size=BATCH).astype(np.float32)}


def step(caffe: Caffe, net: Net, iteration: int, params: dict[str, list[Any]] | None) -> RunResult:
    """One forward and backward pass in TRAIN phase."""
    text = prototxt.dumps(net).replace("batch_size: 1", f"batch_size: {BATCH}")
    return caffe.run(text, phase="TRAIN", inputs=data(iteration), params=params, backward=True, seed=7)


def gradients(net: Net, ran: RunResult) -> dict[tuple[str, int], Any]:
    """The gradient of each learnable blob."""
    return {
        (layer.name, i): ran.param_diffs[layer.name][i]
        for layer in net
        for i, param in enumerate(layer.params)
        if param.learnable
    }


def zeros(grads: dict[tuple[str, int], Any]) -> set[tuple[str, int]]:
    """The blobs whose gradient is zero throughout."""
    return {key for key, gradient in grads.items() if not gradient.any()}


def updated(net: Net, ran: RunResult) -> dict[str, list[Any]]:
    """The params after one step of plain gradient descent on the learnable ones."""
    after = {name: list(values) for name, values in ran.params.items()}
    for (name, i), gradient in gradients(net, ran).items():
        after[name][i] = after[name][i] - 0.05 * gradient
    return after


def all_finite(grads: dict[tuple[str, int], Any]) -> bool:
    return all(np.isfinite(g).all() for g in grads.values())


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_without_zero_gamma_every_learnable_blob_has_a_gradient(
    real_caffe: Caffe, options: dict[str, Any]
) -> None:
    net = train_net(zero_gamma=False, **options)
    params = None
    for iteration in (1, 2):
        ran = step(real_caffe, net, iteration, params)
        grads = gradients(net, ran)
        assert np.isfinite(ran.loss)
        assert all_finite(grads)
        assert zeros(grads) == set()
        params = updated(net, ran)


@pytest.mark.parametrize("options", [VARIANTS["resnet"], VARIANTS["seresnext"]], ids=["resnet", "seresnext"])
def test_with_zero_gamma_only_the_layers_before_it_wait_for_the_second_step(
    real_caffe: Caffe, options: dict[str, Any]
) -> None:
    net = train_net(**options)
    first = step(real_caffe, net, 1, None)
    grads = gradients(net, first)
    assert np.isfinite(first.loss)
    assert all_finite(grads)
    # A main branch that ends in a gamma of 0 passes nothing back; its last gamma and beta learn at once,
    # unless a gate that sees only zeros stands behind them (its own first layer then sees no input).
    waiting = {name for name, _ in zeros(grads)}
    assert waiting
    assert all("_branch2" in name or "_se_fc" in name for name in waiting)
    last = {x.name for x in net if x.type == "Scale" and x.name.endswith("_branch2c")}
    assert not waiting & last
    params, again = updated(net, first), grads
    for iteration in (2, 3):
        ran = step(real_caffe, net, iteration, params)
        again = gradients(net, ran)
        assert np.isfinite(ran.loss)
        assert all_finite(again)
        params = updated(net, ran)
    assert zeros(again) == set()


def test_fixed_filters_get_no_gradient(real_caffe: Caffe) -> None:
    net = train_net(zero_gamma=False, pooling="depthwise")
    ran = step(real_caffe, net, 1, None)
    fixed = [layer.name for layer in net if any(p.fixed_filter for p in layer.params)]
    assert len(fixed) > 3
    assert not any(ran.param_diffs[name][0].any() for name in fixed)
