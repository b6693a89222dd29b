"""Two extras of recipes: filters updated by Muon, and layers that stay from some iteration on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from netbuilder import prototxt
from netbuilder.engines.torch import module
from netbuilder.engines.torch.muon import Muon, orthogonalised
from netbuilder.engines.torch.network import NetModule
from netbuilder.engines.torch.solver import Solver
from tests.engines.case import refusal
from tests.engines.torch.solver_combinations import solver_of
from tests.engines.torch.test_train import TORCH, arrays_of, plain, trained

NET = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 3 dim: 7 dim: 7 } } }
layer { name: "t" type: "Input" top: "t" input_param { shape { dim: 4 } } }
layer { name: "first" type: "Convolution" bottom: "x" top: "first" param { lr_mult: 0 }
  convolution_param { num_output: 3 kernel_size: 3 bias_term: false weight_filler { type: "msra" } } }
layer { name: "tall" type: "Convolution" bottom: "first" top: "tall" param { lr_mult: 2 }
  convolution_param { num_output: 40 kernel_size: 3 weight_filler { type: "msra" } } }
layer { name: "wide" type: "Convolution" bottom: "tall" top: "wide"
  convolution_param { num_output: 6 kernel_size: 3 bias_term: false weight_filler { type: "msra" } } }
layer { name: "fc" type: "InnerProduct" bottom: "wide" top: "fc"
  inner_product_param { num_output: 5 weight_filler { type: "msra" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "t" top: "loss" }
"""
SOLVER = (
    'type: "{type}" base_lr: 0.1 lr_policy: "poly" power: 1 max_iter: 4 momentum: 0.9 weight_decay: 0.01 '
    "iter_size: 2 clip_gradients: 0.5"
)


def quintic(x: Any) -> Any:
    """Keller Jordan's polynomial of a singular value."""
    return 3.4445 * x - 4.7750 * x**3 + 2.0315 * x**5


def orthogonal(matrix: Any, steps: int) -> Any:
    """The same by singular values, in float64."""
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    s = s / (np.sqrt((s**2).sum()) + 1e-7)
    for _ in range(steps):
        s = quintic(s)
    return (u * s) @ v


@pytest.mark.parametrize("shape", [(5, 5), (3, 40), (40, 3), (1, 9)])
@pytest.mark.parametrize("steps", [1, 3, 5])
def test_the_iteration_maps_singular_values_by_its_polynomial(shape: tuple[int, int], steps: int) -> None:
    matrix = np.random.default_rng(1).normal(0, 3, shape)
    found = orthogonalised(torch.from_numpy(matrix), steps).numpy()
    np.testing.assert_allclose(found, orthogonal(matrix, steps), rtol=0, atol=1e-10)
    if steps == 5 and 5 not in shape:
        values = np.linalg.svd(found)[1]
        assert 0.65 < values.min() <= values.max() < 1.25


def ready(type: str, muon: Muon | None) -> tuple[NetModule, Solver]:
    net = module(prototxt.parse(NET, "TRAIN"), seed=3)
    return net, Solver(net, solver_of(SOLVER.format(type=type)), muon=muon)


@pytest.mark.parametrize("type", ["SGD", "Nesterov"])
def test_a_step_is_what_float64_says(type: str) -> None:
    """The filters that learn by Muon, with the clipped gradients and the rate's schedule; others by Caffe."""
    net, solver = ready(type, Muon(2.4, 0.6, 3))  # 0.24 at a base_lr of 0.1
    plain_net, plain_solver = ready(type, None)
    rng = np.random.default_rng(5)
    weights = {n: net.params[n][0].detach().double().numpy().copy() for n in ("tall", "wide")}
    momenta = {name: np.zeros_like(weight) for name, weight in weights.items()}
    for iteration in range(3):
        both: list[dict[str, Any]] = []
        x, t = torch.from_numpy(rng.normal(0, 1, (4, 3, 7, 7)).astype("f4")), torch.tensor([0, 4, 2, 2])
        for m, s in ((net, solver), (plain_net, plain_solver)):
            s.zero_grad()
            for _ in range(2):
                m(x, t).loss.backward()
            both.append({n: [b.grad.clone() for b in m.params[n] if b.grad is not None] for n in m.params})
        grads = [g.double() for blobs in both[0].values() for g in blobs]
        norm = float(torch.stack([(g**2).sum() for g in grads]).sum().sqrt())
        scale = min(1, 0.5 / norm) / 2
        rate = 0.24 * (1 - iteration / 4)
        for name, lr_mult in (("tall", 2), ("wide", 1)):
            g = both[0][name][0].double().numpy() * scale
            momenta[name] = 0.6 * momenta[name] + g
            along = orthogonal((g + 0.6 * momenta[name]).reshape(len(g), -1), 3).reshape(g.shape)
            w = weights[name]
            weights[name] = w * np.sqrt(len(w)) / np.sqrt((w**2).sum()) - rate * lr_mult * along
        # From an equal state, all that is no filter takes Caffe's step.
        with torch.no_grad():
            for name in net.params:
                for a, b in zip(net.params[name], plain_net.params[name], strict=True):
                    if a.grad is not None and b.grad is not None:
                        b.grad.copy_(a.grad)
        solver.step()
        plain_solver.step()
        for name, expected in weights.items():
            found = net.params[name][0].detach().numpy()
            np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)
        for name, i in (("first", 0), ("tall", 1), ("fc", 0), ("fc", 1)):
            assert torch.equal(net.params[name][i], plain_net.params[name][i])


def test_muon_and_freezing_resume_bit_by_bit(folder: Path) -> None:
    plain(folder, max_iter=8, iter_size=1, snapshot=3)
    Path("solver.extras.yaml").write_text("muon: 0.24\nmuon_momentum: 0.7\nfreeze: {conv: 0.7}\n")
    trained("torch")
    names = [f"out/x_iter_8.{kind}" for kind in ("caffemodel", "solverstate")]
    whole = [Path(name).read_bytes() for name in names]
    for begin in (3, 6):  # before and after 0.7 * 8
        trained("torch", "--resume", f"out/x_iter_{begin}.solverstate")
        assert [Path(name).read_bytes() for name in names] == whole


@pytest.mark.parametrize("more", ["", "lookahead: 2\nlookahead_share: 0.25\n", "ema: 0.9\n"])
def test_a_frozen_layer_stays_and_the_others_go_on(folder: Path, more: str) -> None:
    """Momentum, decay and slow weights would move it; before, nothing differs."""
    plain(folder, max_iter=6, iter_size=1, snapshot=1, base_lr=0.01)
    Path("solver.extras.yaml").write_text(more or "{}\n")
    trained("torch", "--weights", "start.caffemodel")
    free = [arrays_of(f"out/x_iter_{i}.caffemodel") for i in range(1, 7)]
    Path("solver.extras.yaml").write_text(more + "freeze: {'con*': 0.5}\n")
    trained("torch", "--weights", "start.caffemodel", "--force")
    frozen = [arrays_of(f"out/x_iter_{i}.caffemodel") for i in range(1, 7)]
    for i in range(3):
        for name, arrays in free[i].items():
            for a, b in zip(arrays, frozen[i][name], strict=True):
                np.testing.assert_array_equal(a, b)
    for i in range(3, 6):
        np.testing.assert_array_equal(frozen[i]["conv"][0], frozen[2]["conv"][0])
        assert np.abs(free[i]["conv"][0] - free[2]["conv"][0]).max() > 0
        for name in ("fc", "bn"):  # the statistics go on
            assert np.abs(frozen[i][name][0] - frozen[i - 1][name][0]).max() > 0


def test_the_gradient_of_a_frozen_layer_is_not_computed() -> None:
    from netbuilder.engines.torch.freezing import Freezing

    net, solver = ready("SGD", None)
    ran: list[str] = []
    for name in ("tall", "wide"):
        net.operators()[name].register_full_backward_hook(lambda *_, name=name: ran.append(name))
    freezing = Freezing(net, solver, {"tall": 0.5, "first": 0.25}, 4)
    x, t = torch.randn(4, 3, 7, 7), torch.tensor([0, 4, 2, 2])
    seen = []
    for iteration in range(4):
        freezing.update(iteration)
        solver.zero_grad()
        ran.clear()
        net(x, t).loss.backward()
        seen.append((sorted(ran), [blob.grad is None for blob in net.params["tall"]]))
        solver.step()
    learns = (["tall", "wide"], [False, False])
    assert seen == [learns, learns, (["wide"], [True, True]), (["wide"], [True, True])]


@pytest.mark.parametrize(
    ("extras", "text"),
    [
        ("muon: 0", "muon is a learning rate above 0, got 0\n"),
        ("muon: yes", "muon is a learning rate above 0, got True\n"),
        ("muon: 0.1\nmuon_momentum: 1", "muon_momentum must be at least 0 and below 1, got 1\n"),
        ("muon: 0.1\nmuon_steps: 0", "muon_steps must be at least 1, got 0\n"),
        ("muon_steps: 5", "muon_momentum and muon_steps need muon\n"),
        ("freeze: conv", "freeze has layer names with the share of the training after which each stays"),
        (
            "freeze: {conv: 1.5}",
            "freeze has layer names with the share of the training after which each stay",
        ),
        (
            "freeze: {convv: 0.5}",
            "freeze: the net has no layer 'convv' with parameters that learn\n"
            "hint:    did you mean 'conv'?\n",
        ),
        ("freeze: {relu: 0.5}", "freeze: the net has no layer 'relu' with parameters that learn\n"),
    ],
)
def test_what_cannot_be_is_refused(
    folder: Path, extras: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plain(folder)
    Path("solver.extras.yaml").write_text(extras + "\n")
    assert refusal(["train", "solver.prototxt", *TORCH], capsys).startswith(text)
    assert not Path("out").exists()


def test_muon_needs_a_history_of_its_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain(folder, 'type: "Adam"')
    Path("solver.extras.yaml").write_text("muon: 0.24\n")
    assert refusal(["train", "solver.prototxt", *TORCH], capsys).startswith(
        "muon needs a solver of type SGD or Nesterov, whose history it takes, not Adam\n"
    )
