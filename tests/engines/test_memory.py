"""The memory of a training: what real Caffe had resident, arithmetic, and the batch that fits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from netbuilder import prototxt
from netbuilder.engines.caffe.buffers import BUFFERS
from netbuilder.engines.memory import PARTS, SOLVERS, Nets, largest_batch, net_in_caffe, training_memory
from netbuilder.errors import ConfigError
from netbuilder.measure.counts import count
from netbuilder.net import Net

MEASURED = json.loads((Path(__file__).parents[1] / "ground_truth" / "caffe-memory.json").read_text("utf-8"))

# A loss on what two convolutions make of the data; the blob between them is written over by a ReLU.
NET = """\
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 dim: 8 dim: 8 } } }
layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 4 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 6 kernel_size: 3 pad: 1 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "same" type: "Convolution" bottom: "conv" top: "same"
        convolution_param { num_output: 6 kernel_size: 1 } }
layer { name: "sum" type: "Eltwise" bottom: "conv" bottom: "same" top: "sum" }
layer { name: "fc" type: "InnerProduct" bottom: "sum" top: "fc" inner_product_param { num_output: 5 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""
CONV, WEIGHTS = 6 * 64, (3 * 9 * 6 + 6) + (6 * 6 + 6) + (5 * 6 * 64 + 5)


def of(phase: str, text: str = NET) -> Net:
    return prototxt.parse(text, phase, dialect="any", unknown="keep")


def test_every_layer_type_of_stock_caffe_says_what_it_holds() -> None:
    assert BUFFERS.gaps() == []


@pytest.mark.parametrize(
    ("case", "phase"),
    [
        pytest.param(case, phase, id=f"{case['name']}-{phase}")
        for case in MEASURED["cases"]
        for phase in ("train", "test")
        if case[phase]  # Caffe has no backward pass of some
    ],
)
def test_a_net_takes_what_it_took_in_real_caffe(case: dict[str, Any], phase: str) -> None:
    """All blobs are of 8 MiB or a fraction; a process needs half a MiB besides, and planes of images more."""
    net, uncounted = of(phase.upper(), MEASURED["head"] + case["layers"]), dict[str, str]()
    weights = count(net).weight_bytes * (2 if phase == "train" else 1)
    assert 0 <= sum(case[phase]) - weights - sum(net_in_caffe(net, uncounted)) < 1.7e6
    assert uncounted == {}


def test_the_parts_are_arithmetic() -> None:
    nets = Nets(of("TRAIN"), (of("TEST"), of("TEST")), "Adam")
    found = training_memory(nets, "caffe")
    assert list(found.parts) == list(PARTS)
    columns, scores = 3 * 9 * 64, 2 * 4 * 5  # of the 3x3 convolution for one image; of the loss
    blobs = 4 * (3 * 64 + 1 + 3 * CONV + 5) + 1
    # conv is read twice: its gradient, and those of both readers; then those of same, sum, fc and the loss.
    diffs = 4 * (3 * CONV + 2 * CONV + 5) + 1
    assert {key: n // 4 for key, n in found.parts.items()} == {
        "weights": WEIGHTS,
        "gradients": WEIGHTS,
        "history": 2 * WEIGHTS,
        "update": WEIGHTS,
        "train_blobs": blobs,
        "train_gradients": diffs,
        "train_buffers": columns + scores,
        "test_blobs": 2 * blobs,
        "test_buffers": 2 * (columns + scores + 1),  # the loss has its weight in its diff
    }
    assert found.total == sum(found.parts.values())


@pytest.mark.parametrize(
    ("solver", "numbers"),
    [("SGD", 1), ("Nesterov", 2), ("AdaGrad", 2), ("RMSProp", 2), ("AdaDelta", 4), ("Adam", 3)],
)
def test_each_solver_keeps_its_numbers(solver: str, numbers: int) -> None:
    plain = training_memory(Nets(of("TRAIN"), (), solver), "caffe").parts
    assert plain["history"] + plain["update"] == numbers * 4 * WEIGHTS
    signs = training_memory(Nets(of("TRAIN"), (), solver, l1=True), "caffe").parts
    assert signs["update"] == plain["update"] + (0 if SOLVERS[solver].sign else 4 * WEIGHTS)


def test_a_frozen_layer_lets_no_gradient_through() -> None:
    frozen = NET.replace('top: "conv"\n', 'top: "conv" param { lr_mult: 0 } param { lr_mult: 0 }\n', 1)
    diffs = training_memory(Nets(of("TRAIN", frozen)), "caffe").parts["train_gradients"]
    assert diffs == 4 * (4 * (2 * CONV + 5) + 1)  # of same, sum, fc and the loss


def test_in_pytorch_what_the_backward_pass_reads_is_kept() -> None:
    parts = training_memory(Nets(of("TRAIN"), (of("TEST"),)), "torch").parts
    # data and relu's top are read by convolutions, the sum by fc, fc by the loss.
    assert parts["train_blobs"] == 4 * 4 * (3 * 64 + 2 * CONV + 5)
    assert parts["train_gradients"] == 4 * 4 * 3 * CONV  # two bottoms and the top of the sum


@pytest.mark.parametrize("engine", ["caffe", "torch"])
@pytest.mark.parametrize("limit", [150_000, 1_000_000, 5_000_001])
def test_the_largest_batch_fits_and_the_next_does_not(engine: str, limit: int) -> None:
    nets = Nets(of("TRAIN"), (of("TEST"),))
    found = largest_batch(nets, engine, limit)
    assert training_memory(nets.with_batch(found.batch), engine).total == found.total <= limit
    assert training_memory(nets.with_batch(found.batch + 1), engine).total == found.next > limit


def test_the_limit_itself_fits() -> None:
    nets = Nets(of("TRAIN"))
    exact = training_memory(nets.with_batch(7), "caffe").total
    assert largest_batch(nets, "caffe", exact).batch == 7
    assert largest_batch(nets, "caffe", exact - 1).batch == 6


def test_what_cannot_be_trained_or_does_not_fit_is_said() -> None:
    nets = Nets(of("TRAIN"))
    with pytest.raises(ConfigError, match="not even batch 1 fits into 100 bytes"):
        largest_batch(nets, "caffe", 100)
    with pytest.raises(ConfigError, match="stay within"):
        largest_batch(nets, "caffe", 1e18)
    with pytest.raises(ConfigError, match="unknown solver type 'Adagrad'"):
        training_memory(nets._replace(solver="Adagrad"), "caffe")
    deploy = NET[: NET.index('layer { name: "loss"')]
    with pytest.raises(ConfigError, match="no loss"):
        training_memory(Nets(of("TRAIN", deploy)), "caffe")


def test_layers_that_may_hold_more_are_named() -> None:
    text = NET.replace('"relu" type: "ReLU"', '"relu" type: "Mish"')
    found = training_memory(Nets(of("TRAIN", text)), "caffe")
    assert list(found.uncounted) == ["relu"]
