"""The updates of the solver are those of real Caffe 1.0: recorded trajectories, and its own steps."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from netbuilder import prototxt
from netbuilder.engines.torch import module
from netbuilder.engines.torch.network import NetModule
from netbuilder.engines.torch.solver import Solver
from netbuilder.errors import ConfigError
from netbuilder.solvers import schedule_of
from tests.engines.torch.caffe_solver import CaffeSolver
from tests.engines.torch.solver_combinations import combinations, differences, solver_of

FACTS = json.loads((Path(__file__).parents[2] / "ground_truth" / "solver-cases.json").read_text())


# Of the 300 that `make solvers-torch` compares.
COMBINATIONS = int(os.environ.get("NETBUILDER_SOLVERS", "30"))


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "foreach"])
@pytest.mark.parametrize("case", FACTS["cases"], ids=lambda c: c["id"])
def test_a_trajectory_is_the_one_that_caffe_recorded(case: dict[str, Any], fused: bool) -> None:
    m = module(prototxt.parse(case["net"], "TRAIN"))
    (blobs,) = m.params.values()
    with torch.no_grad():
        for blob, values in zip(blobs, (FACTS["W0"], FACTS["b0"]), strict=True):
            blob.copy_(torch.tensor(values))
    message = solver_of(case["solver"])
    solver = Solver(m, message, fused=fused)
    given = {name: torch.tensor(FACTS[name]) for name in "xt"}
    for expected in case["trajectory"]:
        solver.zero_grad()
        losses = []
        for _ in range(message.iter_size):
            loss = m(**given).loss
            loss.backward()
            losses.append(loss.item())
        assert sum(losses) / len(losses) == pytest.approx(expected["loss"], rel=1e-6)
        solver.step()
        for blob, name in zip(blobs, "Wb", strict=True):
            theirs = np.reshape(expected[name], blob.shape)
            np.testing.assert_allclose(blob.detach().numpy(), theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "foreach"])
def test_an_update_is_that_of_real_caffe_from_an_equal_state(caffe_solver: CaffeSolver, fused: bool) -> None:
    for case in combinations(COMBINATIONS):
        found = differences(caffe_solver, case, fused=fused)
        assert max(found.values()) < 1e-6, (found, case)


def test_a_step_with_our_gradients_is_that_of_real_caffe(caffe_solver: CaffeSolver) -> None:
    """Gradients differ in the order of their sums, which AdaDelta and Adam without history make larger.

    A step further off than 2e-5 is exact from Caffe's gradients, and these are ours within 1e-6.
    """
    for case in combinations(COMBINATIONS):
        found = differences(caffe_solver, case, whole=True)
        gradients = max(found.pop(name) for name in list(found) if name.startswith("gradient of "))
        assert gradients < 5e-6, case
        if max(found.values()) >= 2e-5:
            assert gradients < 1e-6, case
            assert max(differences(caffe_solver, case).values()) < 1e-6, (found, case)


LINE = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 3 dim: 6 dim: 6 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "y"
  convolution_param { num_output: 8 kernel_size: 3 bias_term: false weight_filler { type: "msra" } } }
layer { name: "bn" type: "BatchNorm" bottom: "y" top: "y" }
layer { name: "narrow" type: "Convolution" bottom: "y" top: "y" param { lr_mult: 1 } param { lr_mult: 0 }
  convolution_param { num_output: 4 kernel_size: 1 weight_filler { type: "msra" } } }
layer { name: "scale" type: "Scale" bottom: "y" top: "y" param { lr_mult: 2 decay_mult: 0 } }
layer { name: "loss" type: "Reduction" bottom: "y" top: "loss" loss_weight: 1 reduction_param { operation: SUMSQ } }
"""  # noqa: E501
TYPES = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")


def line(text: str, **options: Any) -> tuple[NetModule, Solver]:
    net = module(prototxt.parse(LINE, "TRAIN"), seed=1)
    return net, Solver(net, solver_of(text), **options)


def walk(net: NetModule, solver: Solver, steps: int, first: int = 0) -> list[torch.Tensor]:
    """Train on inputs that are drawn from the number of the step; return the parameters."""
    for i in range(first, first + steps):
        x = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(i))
        solver.zero_grad()
        net(x=x).loss.backward()
        solver.step()
    return [blob.detach().clone() for blobs in net.params.values() for blob in blobs]


def text_of(kind: str, more: str = "") -> str:
    momentum = "" if kind in ("AdaGrad", "RMSProp") else "momentum: 0.9"
    return f'type: "{kind}" base_lr: 0.001 lr_policy: "fixed" weight_decay: 0.01 {momentum} {more}'


@pytest.mark.parametrize("kind", TYPES)
def test_other_layouts_of_memory_change_no_result(kind: str) -> None:
    """The fused kernels walk through the memory, where the tensors of a parameter may differ."""
    net, solver = line(text_of(kind), fused=False)
    plain = walk(net, solver, 3)
    net, solver = line(text_of(kind))
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    changed = walk(net, solver, 3)  # the histories are laid out as the parameters were
    net = module(prototxt.parse(LINE, "TRAIN"), seed=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    alike = walk(net, Solver(net, solver_of(text_of(kind))), 3)
    for a, b, c in zip(plain, changed, alike, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(c, a, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "foreach"])
@pytest.mark.parametrize("kind", TYPES)
def test_a_scale_on_the_device_is_the_scale(kind: str, fused: bool) -> None:
    """On a GPU the norm of the gradients is not read, but used where it is."""
    results = []
    for scale in (0.25, torch.tensor(0.25)):
        net, solver = line(text_of(kind), fused=fused)
        net(x=torch.ones(4, 3, 6, 6)).loss.backward()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Solver, "_scale", lambda self, value=scale: value)
            solver.step()
        results.append([p.blob.detach().clone() for p in solver.learnable] + solver.history)
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", TYPES)
def test_a_rate_of_0_moves_nothing(kind: str) -> None:
    net, solver = line(text_of(kind).replace("0.001", "0"))
    before = [p.detach().clone() for p in net.parameters()]
    walk(net, solver, 2)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


@pytest.mark.parametrize("kind", TYPES)
def test_state_dict_continues_bit_by_bit(kind: str) -> None:
    text = text_of(kind).replace('"fixed"', '"multistep" gamma: 0.5 stepvalue: 1 stepvalue: 4')
    straight = walk(*line(text), 6)
    net, solver = line(text)
    walk(net, solver, 3)
    saved = {"net": net.state_dict(), "solver": solver.state_dict()}
    net, solver = line(text)
    net.load_state_dict(saved["net"])
    solver.load_state_dict(saved["solver"])
    assert (solver.iteration, solver.current_step) == (3, 1)
    assert all(torch.equal(a, b) for a, b in zip(straight, walk(net, solver, 3, first=3), strict=True))


def test_a_frozen_blob_with_a_history_goes_on_as_in_caffe() -> None:
    """A layer frozen in the midst of a training keeps its momentum, which dies away."""
    net, solver = line(text_of("SGD"))
    bias = net.params["narrow"][1]
    walk(net, solver, 1)
    assert not bias.any()
    solver.state[bias]["history"].fill_(1.0)
    solver.resume(1, 0)
    walk(net, solver, 2)
    torch.testing.assert_close(bias, torch.full((4,), -0.9 - 0.81))


def test_statistics_change_only_in_the_passes() -> None:
    net, solver = line(text_of("Adam"))
    with torch.no_grad():
        net(x=torch.ones(4, 3, 6, 6))
    before = [blob.clone() for blob in net.params["bn"]]
    solver.step()
    assert all(torch.equal(a, b) for a, b in zip(before, net.params["bn"], strict=True))


def test_learnable_blobs_are_in_caffes_order() -> None:
    _, solver = line(text_of("SGD"))
    assert [(p.layer, p.number, p.lr_mult, p.decay_mult) for p in solver.learnable] == [
        ("conv", 0, 1, 1), ("bn", 0, 0, 1), ("bn", 1, 0, 1), ("bn", 2, 0, 1),
        ("narrow", 0, 1, 1), ("narrow", 1, 0, 1), ("scale", 0, 2, 0),
    ]  # fmt: skip


# -- rates --


@pytest.mark.parametrize(
    "policy",
    [
        "cosine", "cosine every 3", "linear -1:0 4:0.31 11:0", "warmup 5 from 0.001, cosine",
        "warmup 3 hold 0.01, step", "warmup 4 from 0, multistep", "poly", "sigmoid", "inv", "exp", "step",
        "multistep",
    ],
)  # fmt: skip
def test_the_rate_is_that_of_the_schedule_in_every_iteration(policy: str) -> None:
    text = f'base_lr: 0.1 lr_policy: "{policy}" gamma: 0.5 power: 0.7 stepsize: 3 stepvalue: 2 stepvalue: 6'
    _, solver = line(text, max_iter=12)
    rates = []
    for _ in range(12):
        rates.append(solver.rate)
        solver.step()
        assert solver.param_groups[0]["lr"] == rates[-1]
    wanted = solver_of(text)
    wanted.max_iter = 12
    assert rates == list(schedule_of(wanted).rates())


def test_multistep_goes_on_from_the_step_of_the_state_as_in_caffe() -> None:
    text = 'base_lr: 1 lr_policy: "multistep" gamma: 0.5 stepvalue: 2 stepvalue: 4 stepvalue: 6'
    _, solver = line(text)
    solver.resume(9, 0)  # of a solver without these values
    rates = []
    for _ in range(4):
        rates.append(solver.rate)
        solver.step()
    assert rates == [0.5, 0.25, 0.125, 0.125]


def test_a_warm_up_before_multistep_needs_no_step_of_caffe() -> None:
    """Caffe, which runs it by a fixed rate for each iteration, saves 0 as the step."""
    text = 'base_lr: 1 lr_policy: "warmup 2 from 0, multistep" gamma: 0.5 stepvalue: 4 stepvalue: 6'
    _, solver = line(text)
    solver.resume(9, 0)
    assert solver.rate == 0.25


# -- fields --


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('type: "Adagrad"', "type"),
        ('type: "AdaGrad" momentum: 0.9', "momentum"),
        ('type: "RMSProp" momentum: 0.9', "momentum"),
        ('type: "RMSProp" rms_decay: 1', "rms_decay"),
        ('type: "Adam" momentum2: 1', "momentum2"),
        ('regularization_type: "L3"', "regularization_type"),
        ("iter_size: 0", "iter_size"),
        ('lr_policy: "plateau"', "lr_policy"),
        ('lr_policy: ""', "lr_policy"),
        ('lr_policy: "step"', "stepsize"),
        ('lr_policy: "step" stepsize: 0', "stepsize"),
        ('lr_policy: "poly"', "max_iter"),
        ('lr_policy: "warmup 5 from 0, cosine" max_iter: 5', "lr_policy"),
    ],
)
def test_fields_that_cannot_be_honoured_are_refused_by_name(text: str, key: str) -> None:
    policy = "" if "lr_policy" in text else 'lr_policy: "fixed"'
    with pytest.raises(ConfigError) as raised:
        line(f"base_lr: 0.1 {policy} {text}")
    assert raised.value.key == key


@pytest.mark.parametrize(
    "text",
    [
        "base_lr: 0",
        "base_lr: 0.1 clip_gradients: 0",
        "base_lr: 0.1 weight_decay: -0.1",
        "base_lr: 0.1 layer_wise_reduce: false",
    ],
)
def test_what_caffe_takes_is_taken(text: str) -> None:
    net, solver = line(f'{text} lr_policy: "fixed"')
    assert all(blob.isfinite().all() for blob in walk(net, solver, 1))
