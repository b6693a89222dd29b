"""The updates of the solver are those of real Caffe 1.0: recorded trajectories, and its own steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from netbuilder import prototxt
from netbuilder.engines.torch import module
from netbuilder.engines.torch.solver import Solver
from netbuilder.prototxt import text as text_format
from netbuilder.schema import SolverParameter
from tests.engines.torch.cases import difference

FACTS = json.loads((Path(__file__).parents[2] / "ground_truth" / "solver-cases.json").read_text())


def solver_of(text: str) -> Any:
    return text_format.parse(text, SolverParameter).message


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
            assert difference(blob, np.reshape(expected[name], blob.shape)) < 1e-6
