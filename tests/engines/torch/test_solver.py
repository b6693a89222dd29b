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
from netbuilder.engines.torch.solver import Solver
from tests.engines.torch.caffe_solver import CaffeSolver
from tests.engines.torch.solver_combinations import combinations, differences, solver_of

FACTS = json.loads((Path(__file__).parents[2] / "ground_truth" / "solver-cases.json").read_text())


# Of the 300 that a long run compares: NETBUILDER_SOLVERS=300.
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
    """Gradients differ in the order of their sums, which AdaDelta and Adam without history make larger."""
    for case in combinations(COMBINATIONS):
        found = differences(caffe_solver, case, whole=True)
        assert max(found.values()) < 2e-5, (found, case)
