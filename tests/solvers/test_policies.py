"""The learning rates that we compute are those of real Caffe, and those of the papers' own formulas."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest

from netbuilder.engines.caffe import Caffe
from netbuilder.engines.caffe.worker import Worker
from netbuilder.errors import ConfigError, EngineError
from netbuilder.prototxt import text as text_format
from netbuilder.schema import SolverParameter
from netbuilder.solvers import schedule_of
from netbuilder.training.events import Iteration
from tests.engines.case import prepare

CASES = json.loads((Path(__file__).parents[1] / "ground_truth" / "solver-cases.json").read_text())["cases"]

NET = """layer { name: "x" type: "DummyData" top: "x" top: "t" dummy_data_param {
  shape { dim: 2 dim: 3 } shape { dim: 2 dim: 2 } data_filler { type: "gaussian" std: 1 } } }
layer { name: "y" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 2
  weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
"""
# One of each policy, with numbers that float32 does not hold exactly.
STOCK = {
    "fixed": "",
    "step": "gamma: 0.7 stepsize: 3",
    "exp": "gamma: 0.93",
    "inv": "gamma: 0.3 power: 0.75",
    "multistep": "gamma: 0.3 stepvalue: 2 stepvalue: 7 stepvalue: 9",
    "poly": "power: 1.7",
    "sigmoid": "gamma: 0.4 stepsize: 6",
}
LIVE = ("multistep", "poly", "sigmoid", "linear -1:0 3:0.31 11:0", "warmup 5 from 0.001, cosine")


def solver(text: str) -> Any:
    return text_format.parse(text, SolverParameter).message


def six_digits(value: float) -> float:
    """What Caffe's log keeps of a rate."""
    return float(f"{value:.6g}")


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["id"])
def test_rates_are_those_that_caffe_printed(case: dict[str, Any]) -> None:
    ours = schedule_of(solver(case["solver"])).rates(0, case["iterations"])
    assert [six_digits(rate) for rate in ours] == case["lr_printed"]


def test_the_cases_print_every_policy_but_poly() -> None:
    seen = {schedule_of(solver(case["solver"])).policy for case in CASES}
    assert seen == set(STOCK) - {"poly"}


def test_poly_is_what_the_sheet_of_anchors_has() -> None:
    ours = schedule_of(solver('lr_policy: "poly" base_lr: 0.1 power: 2 max_iter: 10')).rates()
    assert [six_digits(r) for r in ours] == [
        0.1,
        0.081,
        0.064,
        0.049,
        0.036,
        0.025,
        0.016,
        0.009,
        0.004,
        0.001,
    ]


@pytest.mark.parametrize("policy", LIVE)
def test_real_caffe_uses_the_rates_that_we_compute(
    policy: str, real_caffe: Caffe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(NET)
    text = (
        f'net: "net.prototxt" base_lr: 0.37 lr_policy: "{policy}" max_iter: 12 snapshot_prefix: "s/x" '
        f"random_seed: 1 snapshot_after_train: false {STOCK.get(policy, '')}"
    )
    (tmp_path / "solver.prototxt").write_text(text)
    ready = prepare("solver.prototxt", real_caffe.install)
    with ready.start() as worker:
        used = [event.rate for event in worker if isinstance(event, Iteration)]
    assert used == [six_digits(rate) for rate in schedule_of(solver(text)).rates()]


def test_rates_are_float32_numbers() -> None:
    for policy, fields in STOCK.items():
        for rate in schedule_of(solver(f'base_lr: 0.37 max_iter: 12 lr_policy: "{policy}" {fields}')).rates():
            assert struct.unpack("<f", struct.pack("<f", rate))[0] == rate


def test_the_cosine_of_big_little_is_that_of_its_script() -> None:
    # lr(e) = 0.05 * (1 + cos(pi * e / 110)), held through each epoch
    cosine = schedule_of(solver('base_lr: 0.1 lr_policy: "cosine every 5005" max_iter: 550550'))
    for epoch in (0, 1, 54, 55, 109):
        expected = 0.05 * (1 + math.cos(math.pi * epoch / 110))
        for iteration in (5005 * epoch, 5005 * epoch + 5004):
            assert cosine.rate(iteration) == pytest.approx(expected, rel=1e-6)


def test_the_warm_up_of_assembled_nets_is_that_of_their_script() -> None:
    # rate * step / steps of the warm-up, so that step 0 has rate 0; then the cosine begins at the peak
    warm = schedule_of(solver('base_lr: 0.4 lr_policy: "warmup 6260 from 0, cosine" max_iter: 751200'))
    assert [warm.rate(i) for i in (0, 313, 6260)] == pytest.approx([0, 0.02, 0.4], rel=1e-6)
    assert warm.rate((751200 + 6260) // 2) == pytest.approx(0.2, rel=1e-6)


def test_a_held_warm_up_leaves_the_steps_where_they_were() -> None:
    # He et al.: 0.01 for 400 iterations, then 0.1, a tenth of it from 32000 on
    text = 'base_lr: 0.1 gamma: 0.1 stepvalue: 32000 lr_policy: "warmup 400 hold 0.01, multistep"'
    rates = schedule_of(solver(text))
    assert [six_digits(rates.rate(i)) for i in (0, 399, 400, 31999, 32000)] == [0.01, 0.01, 0.1, 0.1, 0.01]


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        ("", "lr_policy is not set: Caffe refuses the first update"),
        (
            "multi-step",
            "unknown lr_policy 'multi-step'\n  hint:    did you mean 'multistep'?",
        ),
        ("linear 5:0.1 5:0", "the points of lr_policy 'linear 5:0.1 5:0' must rise"),
        (
            "warmup 5 from 0.1 cosine",
            "unknown lr_policy 'warmup 5 from 0.1 cosine'\n  hint:    did you mean 'warmup'?",
        ),
    ],
)
def test_a_text_that_is_not_a_policy_is_refused(policy: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        schedule_of(solver(f'lr_policy: "{policy}"'))
    assert str(caught.value).startswith(text)


def test_stock_caffe_refuses_a_schedule_that_it_lacks(
    real_caffe: Caffe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.1 lr_policy: "cosine every 4" max_iter: 12 snapshot_prefix: "s/x"'
    )
    job = prepare("solver.prototxt", real_caffe.install).fields
    # The driver's own solver says "fixed"; here Caffe gets what the file says.
    sent = job["files"]["solver.prototxt"].replace('"fixed"', '"cosine every 4"')
    job = {**job, "rates": "", "files": {**job["files"], "solver.prototxt": sent}}
    with Worker(real_caffe.install, job) as worker, pytest.raises(EngineError) as caught:
        list(worker)
    assert caught.value.text == "Caffe has no lr_policy 'cosine every 4'"
