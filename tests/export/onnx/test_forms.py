"""The table of forms is complete, and layers that the numeric cases lack compute what the engine computes."""

from __future__ import annotations

from typing import Any

import pytest

from netbuilder import prototxt
from netbuilder.errors import ConfigError
from netbuilder.export.onnx.forms import FAMILIES, FORMS
from netbuilder.layers import RULES
from tests.export.onnx.cases import CASES
from tests.export.onnx.nets import difference, exported, inputs, layer, parsed
from tests.export.onnx.test_numeric_cases import CASES as NUMERIC
from tests.installation import require_torch


def test_every_layer_type_has_a_form_or_a_reason_why_not() -> None:
    assert FORMS.gaps() == []
    assert sum(len(family.COVERED) + len(family.REFUSED) for family in FAMILIES) == len(RULES)


def test_every_form_is_tested() -> None:
    texts = [case["prototxt"] for case in NUMERIC] + [text for text, _ in CASES.values()]
    tested = {each.type for text in texts for each in parsed(text)}
    assert set(FORMS.covered) - tested == set()


OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in CASES),
    *((f"{name}, {'+'.join(open['dynamic'])}", open) for name, (_, opens) in CASES.items() for open in opens),
]


@pytest.mark.parametrize(("case", "options"), OPTIONS, ids=[name for name, _ in OPTIONS])
def test_a_layer_computes_what_the_engine_computes(case: str, options: dict[str, Any]) -> None:
    """With an open size, both run another size than that of the file."""
    require_torch()
    text, _ = CASES[case if case in CASES else case.rpartition(", ")[0]]
    assert difference(text, **options) <= 1e-5


NEWER = (
    "LRN", "BatchNorm of a batch", "Normalize", "Reduction", "ArgMax", "MVN", "AVE, padded", "Pad", "Slice",
    "Interp by a factor", "DetectionOutput",
)  # fmt: skip


@pytest.mark.parametrize("opset", [18, 21])
@pytest.mark.parametrize("case", NEWER)
def test_a_newer_opset_computes_the_same(case: str, opset: int) -> None:
    require_torch()
    assert difference(CASES[case][0], opset=opset) <= 1e-5


# Not those that choose by comparing what float16 makes equal.
HALVES = (
    "Convolution", "AVE, padded", "MVN", "LRN", "Embed", "BatchNorm", "LSTM", "Eltwise with coefficients",
    "a mask and back", "PriorBox", "Deconvolution", "Interp to a size", "Softmax of pixels", "ROIPooling",
    "Filter",
)  # fmt: skip


@pytest.mark.parametrize("case", HALVES)
def test_in_float16_a_layer_computes_nearly_the_same(case: str) -> None:
    require_torch()
    assert difference(CASES[case][0], float16=True) <= 5e-3


# ---- what is refused -------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "PSROIPooling": (
        inputs((1, 8, 9, 9), (3, 5))
        + layer(
            "PSROIPooling", "psroi_pooling_param { spatial_scale: 1 output_dim: 2 group_size: 2 }", "a b"
        ),
        {}, "PSROIPooling 't' has no ONNX form: ONNX has no operator that averages",
    ),
    "a threshold that changes": (
        CASES["DetectionOutput"][0].replace("top_k: 12", "top_k: 12 eta: 0.9"), {}, "eta below 1",
    ),
    "a kernel of four axes": (
        inputs((1, 2, 3, 3, 3, 3))
        + layer("Convolution", "convolution_param { num_output: 2 kernel_size: 2 }"),
        {}, "slides over 4 axes",
    ),
    "weights of one size": (
        CASES["InnerProduct"][0], {"dynamic": ["size"]},
        "the image size cannot be left open: the weights of InnerProduct 't' fit only this one",
    ),
    "a shape with a batch": (
        inputs((2, 4, 9, 7)) + layer("Reshape", "reshape_param { shape { dim: 2 dim: 252 } }"),
        {"dynamic": ["batch"]}, "the batch cannot be left open",
    ),
    "priors of any size": (CASES["PriorBox"][0], {"dynamic": ["size"]}, "its boxes follow, must be fixed"),
    "pyramids of any size": (CASES["SPP"][0], {"dynamic": ["size"]}, "its windows follow, must be fixed"),
    "a layer that trains": (
        inputs((1, 4)) + layer("Dropout", "phase: TRAIN"), {}, "it always runs in TRAIN",
    ),
    "a layer of unknown type": (inputs((1, 4)) + layer("Warp"), {}, "Warp 't' has no ONNX form"),
    "random data": (
        inputs((1, 4)) + 'layer { name: "d" type: "DummyData" top: "d" dummy_data_param { shape { dim: 1 '
        'dim: 4 } data_filler { type: "gaussian" } } }\n' + layer("Eltwise", "", "a d"),
        {}, "are drawn for each pass",
    ),
    "an old opset": (CASES["ReLU6"][0], {"opset": 9}, "opset 9 cannot be written"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_form_is_refused_by_name(name: str) -> None:
    text, options, why = REFUSED[name]
    net = prototxt.parse(text, "TEST", dialect="any", unknown="keep")
    with pytest.raises(ConfigError, match=why):
        exported(net, **options)


def test_a_training_net_is_refused() -> None:
    with pytest.raises(ConfigError, match="an ONNX model is made of a TEST net, got TRAIN"):
        exported(prototxt.parse(CASES["MVN"][0], "TRAIN"))
