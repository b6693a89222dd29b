"""Every numeric case that real Caffe computed, forward and backward, within 5e-6."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.engines.torch.cases import CASES, arrays, backward, build, difference, inputs_of

MOST = 5e-6
NETS = [case for case in CASES if case["group"] != "datalayer"]


@pytest.mark.parametrize("case", NETS, ids=lambda case: str(case["id"]))
def test_a_net_computes_what_caffe_computed(case: dict[str, Any]) -> None:
    m = build(case)
    inputs = inputs_of(case)
    # The blobs whose diffs Caffe was given, also if a layer reads them.
    out = m(**inputs, keep=tuple(case.get("top_diffs", ())))
    for name, key in case["outputs"].items():
        assert difference(out[name], arrays()[key]) <= MOST, name
    if case["total_loss"]:
        assert out.loss is not None
        assert float(out.loss) == pytest.approx(case["total_loss"], rel=MOST)
    for layer, keys in case.get("params_after_forward", {}).items():
        for blob, key in zip(m.params[layer], keys, strict=True):
            assert difference(blob, arrays()[key]) <= MOST, key
    with torch.no_grad():  # for which some passes wait
        again = build(case)(**inputs, keep=tuple(case.get("top_diffs", ())))
    for name, key in case["outputs"].items():
        assert difference(again[name], arrays()[key]) <= MOST, name
    backward(case, out)
    for name, key in case.get("bottom_diffs", {}).items():
        grad = inputs[name].grad
        expected = arrays()[key]
        assert difference(torch.zeros(expected.shape) if grad is None else grad, expected) <= MOST, key
    for layer, keys in case.get("param_diffs", {}).items():
        for blob, key in zip(m.params[layer], keys, strict=True):
            expected = arrays()[key]
            grad = blob.grad if blob.grad is not None else torch.zeros(expected.shape)
            assert difference(grad, expected) <= MOST, key
