"""bfloat16 by `dtype=` or the caller's autocast: near float32, and the layers that stay float32."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from netbuilder.engines.torch import module
from netbuilder.engines.torch.operators import OPERATORS
from netbuilder.layers import RULES
from netbuilder.prototxt import parse
from tests.engines.torch.cases import CASES, backward, build, inputs_of
from tests.engines.torch.passing import bn, conv, ended, relu, scale
from tests.engines.torch.test_module import layer, source

SAMPLE = [case for case in CASES if case["group"] != "datalayer"][::4]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("type", ["Convolution", "Deconvolution"])
def test_the_gradient_of_a_bias_is_added_up_as_exactly_as_any_sum(type: str, channels_last: bool) -> None:
    """130,000 gradients of one sign; added up one by one, as oneDNN does, the sum is off by 2e-4."""
    fields = "convolution_param { num_output: 16 kernel_size: 3 pad: 1 weight_filler { type: 'msra' } }"
    net = parse(source(data=(8, 4, 128, 128)) + layer(type, "c", "data", "c", fields), "TRAIN")
    m = module(net, seed=1, passes=("channels_last",) if channels_last else ())
    top = m(torch.zeros(8, 4, 128, 128))["c"]
    gradient = 0.7 + 0.01 * torch.rand_like(top)
    top.backward(gradient)
    exact = gradient.double().sum([0, 2, 3])
    bias = m.params["c"][1].grad
    assert bias is not None
    torch.testing.assert_close(bias.double(), exact, rtol=2e-6, atol=0)


def test_every_loss_stays_float32() -> None:
    losses = {name for name in OPERATORS.covered if name in RULES and RULES[name].auto_top}
    assert {name for name in losses if not OPERATORS[name].precise} == set()


@pytest.mark.parametrize("case", SAMPLE, ids=lambda case: str(case["id"]))
def test_a_net_runs_in_bfloat16(case: dict[str, Any]) -> None:
    m = build(case)
    m.dtype = "bfloat16"
    out = m(**inputs_of(case), keep=tuple(case.get("top_diffs", ())))
    backward(case, out)
    exact = build(case)(**inputs_of(case))
    for name, value in exact.items():
        if torch.isfinite(value).all() and value.abs().max() > 0:
            assert float((out[name].float() - value).abs().max()) <= 0.1 * float(value.abs().max()), name


NET = (
    source(data=(4, 3, 8, 8), label=(4,))
    + conv("c1", "data", "num_output: 300 kernel_size: 3")
    + bn("b1", "c1")
    + scale("s1", "b1")
    + relu("r1", "s1")
    + layer("LRN", "l1", "s1", "l1")
    + layer("ArgMax", "a1", "s1", "a1", "argmax_param { axis: 1 }")
    + ended("l1")
    + layer("Softmax", "prob", "fc", "prob")
)


@pytest.mark.parametrize("passes", [(), None])
@pytest.mark.parametrize("how", ["dtype", "autocast"])
def test_layers_stay_float32_under_either_mechanism(how: str, passes: tuple[str, ...] | None) -> None:
    net = parse(NET, "TRAIN")
    m = module(net, seed=1, passes=passes, dtype="bfloat16" if how == "dtype" else "float32")
    x, label = torch.randn(4, 3, 8, 8), torch.tensor([0.0, 1, 2, 3])
    kept = ("c1", "s1", "l1", "a1", "prob")
    if how == "autocast":
        with torch.autocast("cpu", torch.bfloat16):
            out = m(x, label, keep=kept)
    else:
        out = m(x, label, keep=kept)
    low = torch.bfloat16
    assert {name: out[name].dtype for name in kept} == {
        "c1": low, "s1": low, "l1": torch.float32, "a1": torch.float32, "prob": torch.float32,
    }  # fmt: skip
    assert torch.equal(out["a1"], out["a1"].round())
    assert float(out["a1"].max()) > 256
    assert out.loss is not None
    assert out.loss.dtype == torch.float32
    out.loss.backward()
    assert all(b.grad is None or b.grad.dtype == torch.float32 for bs in m.params.values() for b in bs)
    assert {b.dtype for b in m.state_dict().values()} == {torch.float32}


def test_a_folded_convolution_keeps_its_weights_in_the_lower_precision() -> None:
    text = source(data=(2, 3, 8, 8)) + conv("c1", "data") + bn("b1", "c1") + scale("s1", "b1")
    m, plain = (module(parse(text), seed=1, dtype=dtype) for dtype in ("bfloat16", "float32"))
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        for net in (m, plain):
            for blob, value in zip(net.params["b1"], (0.5, 2.0, 1.0), strict=True):
                blob.fill_(value)
        for times in (1.0, 2.0):
            found, wanted = m(x)["s1"], plain(x)["s1"]
            assert found.dtype == torch.bfloat16
            assert float((found.float() - wanted).abs().max()) <= 0.02 * float(wanted.abs().max())
            for net in (m, plain):
                net.params["c1"][0].mul_(times)
