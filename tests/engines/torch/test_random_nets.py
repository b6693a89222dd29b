"""A small run of `make fuzz-torch`: random nets forward and backward, ours against real Caffe."""

from __future__ import annotations

import pytest
import torch
from google.protobuf import text_format

from netbuilder.engines.caffe import Caffe
from netbuilder.engines.torch.operators import OPERATORS
from netbuilder.schema import NetParameter
from tests.fuzz.generate import Case, case
from tests.fuzz.numbers import Rounding, judge

NETS = 40


def test_numbers_of_random_nets_are_caffes(real_caffe: Caffe) -> None:
    compared = backward = 0
    for i in range(NETS):
        judged = judge(case(f"torch:{i}"), real_caffe)
        assert not judged.failed, str(judged)
        assert not judged.wrong, str(judged)
        compared += not judged.left_out
        backward += judged.backward
    assert compared > NETS // 2
    assert backward > NETS // 4


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param("33:450", id="Caffe's LRN adds up gradients over channels by a running sum"),
        pytest.param("32:4673", id="a rounded mean shifts what BatchNorm's gradient reads, and 0 is left"),
        pytest.param("r1:50", id="a HingeLoss leaves its margins in the gradient of a Parameter"),
        pytest.param("33:128", id="oneDNN added up the gradient of a bias one by one"),
    ],
)
def test_a_net_that_once_differed(real_caffe: Caffe, seed: str) -> None:
    judged = judge(case(seed), real_caffe)
    assert judged.errors
    assert not judged.wrong, str(judged)


@pytest.mark.parametrize(
    ("ours", "theirs", "moves", "explained"),
    [
        (1e-6, 1e-4, 1e-5, True),  # Caffe is off by what its order of sums may lose
        (1e-4, 1e-4, 1e-5, True),
        (0, 1e-3, 1e-5, False),  # by more than that: it computes something else
        (1e-3, 0, 1e-5, False),
        (1e-4, 1e-6, 1e-5, False),  # ours rounds worse than Caffe
        (4e-6, 1e-7, 1e-9, True),
    ],
)
def test_rounding_is_what_float64_says(ours: float, theirs: float, moves: float, explained: bool) -> None:
    assert Rounding(ours, theirs, moves).explains is explained


def net(type: str, fields: str = "") -> Case:
    text = f"""
    layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 4 dim: 6 }} }} }}
    layer {{ name: "fc" type: "InnerProduct" bottom: "x" top: "fc" inner_product_param {{ num_output: 5 }} }}
    layer {{ name: "y" type: "{type}" bottom: "fc" top: "y" {fields} }}
    """
    return Case("control", "TRAIN", text_format.Parse(text, NetParameter()))


@pytest.mark.parametrize("wrong", ["value", "gradient"])
def test_a_wrong_number_is_found(real_caffe: Caffe, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    """The negative control: a TanH that is off by 1e-4, which nothing explains."""
    right = judge(net("TanH"), real_caffe)
    assert right.backward
    assert not right.wrong
    assert {"blob y", "gradient fc[0]", "gradient fc[1]"} <= set(right.errors)

    def forward(self: object, x: torch.Tensor) -> torch.Tensor:
        y = x.tanh()
        off = y * (1 + 1e-4)
        return off if wrong == "value" else y.detach() + (off - off.detach())

    monkeypatch.setattr(OPERATORS.covered["TanH"], "forward", forward)
    found = judge(net("TanH"), real_caffe)
    assert ("blob y" in found.wrong) == (wrong == "value")
    assert "gradient fc[0]" in found.wrong
    assert not found.explained


def test_a_mask_that_caffe_drew_is_used(real_caffe: Caffe) -> None:
    judged = judge(net("Dropout"), real_caffe)
    assert judged.backward
    assert not judged.wrong
    assert judged.types[1] == "Dropout"
    assert "phase" not in judged.text
