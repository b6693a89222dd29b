"""Random combinations of solver and net, and how far one step from an equal state is from real Caffe's."""

from __future__ import annotations

import itertools
import random
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from netbuilder import prototxt
from netbuilder.engines.torch import module
from netbuilder.engines.torch.network import NetModule
from netbuilder.engines.torch.solver import Solver
from netbuilder.engines.torch.solver_state import load_state, save_state
from netbuilder.prototxt import text as text_format
from netbuilder.schema import SolverParameter
from tests.engines.torch.caffe_solver import CaffeSolver, Trained

__all__ = ["Combination", "combinations", "differences", "solver_of"]

POLICIES = {
    "fixed": "",
    "step": "gamma: 0.7 stepsize: 3",
    "exp": "gamma: 0.93",
    "inv": "gamma: 0.3 power: 0.75",
    "multistep": "gamma: 0.3 stepvalue: 2 stepvalue: 7 stepvalue: 9",
    "poly": "power: 1.7",
    "sigmoid": "gamma: 0.4 stepsize: 6",
}
TYPES = {
    "SGD": ("momentum: 0.9", "momentum: 0.5", ""),
    "Nesterov": ("momentum: 0.9", "momentum: 0.95", ""),
    "AdaGrad": ("delta: 1e-4", ""),
    "RMSProp": ("rms_decay: 0.9 delta: 1e-3", "rms_decay: 0.98", ""),
    "AdaDelta": ("momentum: 0.95 delta: 1e-6", "momentum: 0.9 delta: 1e-4"),
    "Adam": ("momentum: 0.9", "momentum: 0.8 momentum2: 0.99 delta: 1e-3", ""),
}
CLIPS = ("", "clip_gradients: 0.05", "clip_gradients: 1e4")
ITER_SIZES = (1, 2, 5)
DECAYS = ("", "weight_decay: 0.02", 'weight_decay: 0.05 regularization_type: "L1"')
SHAPES = {"x": (6, 3, 5, 5), "t": (6, 2)}


class Combination(NamedTuple):
    """A solver, a net, and the state before the step."""

    net: str
    solver: str
    seed: int
    iteration: int
    current_step: int
    history: float  # its scale, 0 for none


def combinations(count: int, seed: int = 0) -> list[Combination]:
    """So many of all type x policy x clip x iter_size x decay, with random multipliers, nets and states."""
    rng = random.Random(seed)
    chosen = list(itertools.product(TYPES, POLICIES, CLIPS, ITER_SIZES, DECAYS))
    rng.shuffle(chosen)
    return [_combination(rng, *each) for each in chosen[:count]]


def _combination(
    rng: random.Random, kind: str, policy: str, clip: str, iter_size: int, decay: str
) -> Combination:
    solver = (
        f'net: "net.prototxt" type: "{kind}" {rng.choice(TYPES[kind])} base_lr: {rng.choice((0.1, 0.03))} '
        f'lr_policy: "{policy}" {POLICIES[policy]} {clip} {decay} iter_size: {iter_size} max_iter: 60 '
        'snapshot_prefix: "s" random_seed: 1'
    )
    return Combination(
        _net(rng), solver, rng.randrange(2**30), rng.randrange(40), rng.randrange(4), rng.choice((0, 1e-2, 1))
    )


def _net(rng: random.Random) -> str:
    """A net with multipliers, statistics, sometimes a shared parameter and a layer without a gradient."""

    def specs(count: int, name: str = "") -> str:
        text = ""
        for i in range(count):
            named = f'name: "{name}{i}" ' if name else ""
            text += f"param {{ {named}lr_mult: {rng.choice((0, 0.5, 1, 1, 2))} "
            text += f"decay_mult: {rng.choice((0, 1, 1, 2))} }} "
        return text

    inputs = "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ '
        + " ".join(f"dim: {n}" for n in shape)
        + " } } }\n"
        for name, shape in SHAPES.items()
    )
    filler = 'weight_filler { type: "msra" } bias_filler { type: "constant" value: 0.1 }'
    fc = f"inner_product_param {{ num_output: 2 {filler} }}"
    normalised = rng.random() < 0.5
    bias = "bias_term: false" if normalised else ""  # its gradient before a BatchNorm is a rounding error
    layers = [
        f'layer {{ name: "conv" type: "Convolution" bottom: "x" top: "y" {specs(1 if normalised else 2)} '
        f"convolution_param {{ num_output: 4 kernel_size: 3 {bias} {filler} }} }}"
    ]
    if normalised:
        layers.append('layer { name: "bn" type: "BatchNorm" bottom: "y" top: "y" }')
        layers.append(
            f'layer {{ name: "scale" type: "Scale" bottom: "y" top: "y" {specs(2)} '
            "scale_param { bias_term: true } }"
        )
    layers.append(f'layer {{ name: "prelu" type: "PReLU" bottom: "y" top: "y" {specs(1)} }}')
    if rng.random() < 0.3:
        shared = specs(2, "w")
        layers.append(f'layer {{ name: "fc" type: "InnerProduct" bottom: "y" top: "z1" {shared} {fc} }}')
        layers.append('layer { name: "half" type: "Power" bottom: "y" top: "y2" power_param { scale: 0.5 } }')
        layers.append(f'layer {{ name: "fc2" type: "InnerProduct" bottom: "y2" top: "z2" {shared} {fc} }}')
        layers.append('layer { name: "sum" type: "Eltwise" bottom: "z1" bottom: "z2" top: "z" }')
    else:
        layers.append(f'layer {{ name: "fc" type: "InnerProduct" bottom: "y" top: "z" {specs(2)} {fc} }}')
    if rng.random() < 0.3:  # its gradient is 0, and its decay is not
        layers.append(f'layer {{ name: "idle" type: "InnerProduct" bottom: "x" top: "i" {specs(2)} {fc} }}')
        layers.append('layer { name: "silence" type: "Silence" bottom: "i" }')
    layers.append('layer { name: "loss" type: "EuclideanLoss" bottom: "z" bottom: "t" top: "loss" }')
    force = "force_backward: true\n" if rng.random() < 0.2 else ""
    return force + inputs + "\n".join(layers) + "\n"


def differences(
    caffe: CaffeSolver, case: Combination, *, fused: bool = True, whole: bool = False
) -> dict[str, float]:
    """How far parameters and histories are from real Caffe's after one step, by name.

    The update gets Caffe's gradients and statistics, or those computed here for a `whole` step; these are
    compared, too.
    """
    rng = np.random.default_rng(case.seed)
    net, solver, message = _prepared(case, rng, fused)
    feed = {name: rng.normal(0, 1, shape).astype(np.float32) for name, shape in SHAPES.items()}
    before = {name: [np.abs(b.detach().numpy()).max() for b in blobs] for name, blobs in net.params.items()}
    histories = [float(history.abs().max()) for history in solver.history]
    with tempfile.TemporaryDirectory(prefix="netbuilder-solver-") as folder:
        model, state = Path(folder, "m.caffemodel"), Path(folder, "m.solverstate")
        net.save_caffemodel(model)
        save_state(state, solver, "m.caffemodel")
        files = {path.name: path.read_bytes() for path in (model, state)}
        theirs = caffe.train(
            case.net, case.solver, [feed], state=state.name, files=files, passes=message.iter_size
        )
        state.write_bytes(theirs.file(".solverstate"))
        other = Solver(net, message)
        load_state(state, other)
    if whole:
        solver.zero_grad()
        for _ in range(message.iter_size):
            net(**{name: torch.from_numpy(array) for name, array in feed.items()}).loss.backward()
        found = _gradients(net, theirs)
    else:
        found = {}
        _take_over(net, theirs)
    solver.step()
    for name, blobs in net.params.items():
        for i, blob in enumerate(blobs):
            found[f"{name} {i}"] = _apart(blob.detach().numpy(), theirs.params[name][i], before[name][i])
    for i, (a, b, scale) in enumerate(zip(solver.history, other.history, histories, strict=True)):
        found[f"history {i}"] = _apart(a.numpy(), b.numpy(), scale)
    found["iteration"] = abs(solver.iteration - theirs.iteration)
    found["current_step"] = abs(solver.current_step - other.current_step)
    return found


def _gradients(net: NetModule, theirs: Trained) -> dict[str, float]:
    """How far the gradients are from Caffe's."""
    return {
        f"gradient of {name} {i}": _apart(blob.grad.numpy(), theirs.gradients[name][i], 0)
        for name, blobs in net.params.items()
        for i, blob in enumerate(blobs)
        if blob.grad is not None
    }


def _take_over(net: NetModule, theirs: Trained) -> None:
    """Take Caffe's gradients, and the statistics of its passes."""
    for name, operator in net.operators().items():
        for i in range(operator.number):
            blob = operator.blob(i)
            if isinstance(blob, torch.nn.Parameter):
                if blob.requires_grad:
                    blob.grad = torch.from_numpy(theirs.gradients[name][i].copy())
            else:
                blob.copy_(torch.from_numpy(theirs.statistics[name][i]))


def _prepared(case: Combination, rng: np.random.Generator, fused: bool) -> tuple[NetModule, Solver, Any]:
    """The net and the solver in the state before the step, all numbers of which are drawn."""
    net = module(prototxt.parse(case.net, "TRAIN"), seed=case.seed)
    message = solver_of(case.solver)
    solver = Solver(net, message, fused=fused)
    for history in solver.history if case.history else ():
        drawn = rng.normal(0, case.history, tuple(history.shape))
        if solver.type not in ("SGD", "Nesterov"):
            drawn = np.abs(drawn)
        history.copy_(torch.from_numpy(drawn))
    solver.resume(case.iteration, case.current_step)
    return net, solver, message


def _apart(ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any], scale: float) -> float:
    """The largest error on the scale of the tensor, before and after the step."""
    if not np.array_equal(np.isnan(ours), np.isnan(theirs)):
        return float("inf")
    scale = max(scale, np.nan_to_num(np.abs(theirs)).max(), 1e-30)
    return float(np.nan_to_num(np.abs(ours.astype(np.float64) - theirs)).max() / scale)


def solver_of(text: str) -> Any:
    """The SolverParameter of a text."""
    return text_format.parse(text, SolverParameter).message
