"""Our CIFAR ResNets compute what an independent statement of them computes, forward and backward.

The statement is `tests/reference/cifar_resnet.py`, in NumPy, in double precision, with gradients by hand.
"""

from __future__ import annotations

from typing import Any

import pytest

from netbuilder import Net
from netbuilder.engines.caffe import Caffe
from netbuilder.networks import find_network
from tests.reference import cifar_resnet, compare
from tests.reference.tape import Tape, Var

N = 2  # blocks in each stage: one that changes the shape, and one that does not
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # our options, those of the statement
    **{
        f"{shortcut}, BN {bn} the sum, {'ReLU' if relu else 'no ReLU'}": (
            {"shortcut": shortcut, "bn": bn, "final_relu": relu},
            {"shortcut": shortcut, "bn_after": bn == "after", "relu": relu},
        )
        for shortcut in "AB"
        for bn in ("before", "after")
        for relu in (True, False)
    },
    **{
        f"{shortcut}, preactivation": (
            {"shortcut": shortcut, "block": "preactivation"},
            {"shortcut": shortcut, "preactivation": True},
        )
        for shortcut in "AB"
    },
    "A with conv biases": ({"shortcut": "A", "conv_bias": True}, {"shortcut": "A"}),
}


def stitch(phase: str, **options: Any) -> Net:
    entry = find_network("cifar_resnet")
    return entry.stitch(entry.config(N=N, **options), phase)


def statement(train: bool, **options: Any) -> compare.Scores:
    def scores(tape: Tape, params: dict[str, list[Var]], image: Var) -> Var:
        return cifar_resnet.scores(tape, params, image, N, train=train, **options)

    return scores


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_gives_the_scores_of_its_statement(real_caffe: Caffe, variant: str) -> None:
    ours, theirs = VARIANTS[variant]
    net = stitch("deploy", **ours)
    assert compare.score_error(real_caffe, net, "fc10", statement(False, **theirs), batch=2) <= 1e-5


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_learns_as_its_statement(real_caffe: Caffe, variant: str) -> None:
    ours, theirs = VARIANTS[variant]
    net = stitch("train", input_size=(16, 16), **ours)
    errors = compare.train_errors(real_caffe, net, "fc10", statement(True, **theirs), batch=4)
    assert max(errors["scores"], errors["loss"]) <= 1e-5
    # Single precision loses 4e-6 of the largest gradient here; a wrong wiring is off by a tenth and more.
    assert max(errors["input"], errors["params"]) <= 2e-5
