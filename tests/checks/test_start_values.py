"""What is said of constant results and of weights that are 0, asked of real Caffe."""

# ruff: noqa: E501 (a layer of a net is a line)

from __future__ import annotations

import numpy as np
import pytest

from netbuilder import checks, prototxt
from netbuilder.checks.examine import Wanted, examine_text
from netbuilder.engines.caffe import Caffe
from netbuilder.weights.model import Model, ModelLayer
from tests.checks.test_backward import END, fed, layer

FILLED = 'weight_filler { type: "gaussian" std: 0.5 }'
CONV = layer("Convolution", "data", "first", f"convolution_param {{ num_output: 3 kernel_size: 1 {FILLED} }}")
DENSE = layer("InnerProduct", "data", "first", f"inner_product_param {{ num_output: 3 {FILLED} }}")
SCORE = layer("InnerProduct", "x", "end", f"inner_product_param {{ num_output: 2 {FILLED} }}")
LABELLED = fed("label", 2) + layer("SoftmaxWithLoss", "first label", "loss")
STORED = "batch_norm_param { use_global_stats: true }"
OF_BATCH = "batch_norm_param { use_global_stats: false }"

# Nets and the phase to run them in, and whether something is normalised over a single value.
NORMALISED: dict[str, tuple[str, str, bool]] = {
    "one image of 1x1": (fed("data", 1, 2, 1, 1) + CONV + layer("BatchNorm", "first", "x"), "TRAIN", True),
    "one image of two axes": (fed("data", 1, 2) + DENSE + layer("BatchNorm", "first", "x"), "TRAIN", True),
    "in place": (
        fed("data", 1, 2) + DENSE + layer("BatchNorm", "first", "first", name="bn") + layer("TanH", "first", "x"),
        "TRAIN", True,
    ),
    "two images": (fed("data", 2, 2, 1, 1) + CONV + layer("BatchNorm", "first", "x"), "TRAIN", False),
    "two positions": (fed("data", 1, 2, 1, 2) + CONV + layer("BatchNorm", "first", "x"), "TRAIN", False),
    "stored statistics": (fed("data", 1, 2, 1, 1) + CONV + layer("BatchNorm", "first", "x", STORED), "TRAIN", False),
    "TEST": (fed("data", 1, 2, 1, 1) + CONV + layer("BatchNorm", "first", "x"), "TEST", False),
    "TEST by its batch": (fed("data", 1, 2, 1, 1) + CONV + layer("BatchNorm", "first", "x", OF_BATCH), "TEST", True),
    "TRAIN that is TEST for the layer": (
        fed("data", 1, 2, 1, 1) + CONV + layer("BatchNorm", "first", "x", "phase: TEST"), "TRAIN", False,
    ),
    "MVN of 1x1": (fed("data", 2, 2, 1, 1) + CONV + layer("MVN", "first", "x"), "TRAIN", True),
    "MVN across channels": (
        fed("data", 2, 2, 1, 1) + CONV + layer("MVN", "first", "x", "mvn_param { across_channels: true }"),
        "TRAIN", False,
    ),
    "Softmax of one class": (fed("data", 2, 2) + DENSE.replace("3", "1") + layer("Softmax", "first", "x"), "TRAIN", True),
    "Softmax of two": (fed("data", 2, 2) + DENSE + layer("Softmax", "first", "x"), "TRAIN", False),
    "Softmax on another axis": (
        fed("data", 2, 2, 1, 2) + CONV + layer("Softmax", "first", "x", "softmax_param { axis: 2 }"), "TRAIN", True,
    ),
}  # fmt: skip


def codes(text: str, phase: str) -> set[str]:
    return {f.code for f in checks.check(prototxt.parse(text, phase))}


@pytest.mark.parametrize("name", NORMALISED)
def test_nothing_is_learnt_before_a_layer_that_normalises_one_value(real_caffe: Caffe, name: str) -> None:
    net, phase, single = NORMALISED[name]
    text = net + SCORE + END
    shape = prototxt.parse(text, phase).blobs["data"].known_shape
    statistics = [np.zeros(3), np.ones(3), np.ones(1)]
    stored = {"x": statistics} if 'name: "x" type: "BatchNorm"' in text else None
    results, gradients = [], []
    for seed in (1, 2):
        data = np.random.default_rng(seed).standard_normal(shape)
        got = real_caffe.run(
            text, phase=phase, inputs={"data": data}, outputs=["x"], params=stored, seed=3, backward=True
        )  # fmt: skip
        results.append(got.outputs["x"])
        gradients.append(abs(got.param_diffs["first"][0]).max())
    assert bool(np.allclose(results[0], results[1], atol=1e-6)) == single
    assert (max(gradients) < 1e-6) == single
    assert ("one-value" in codes(text, phase)) == single


def test_a_loss_over_one_class_is_0_and_learns_nothing(real_caffe: Caffe) -> None:
    text = fed("data", 2, 2) + DENSE.replace("num_output: 3", "num_output: 1") + LABELLED
    got = real_caffe.run(text, phase="TRAIN", inputs={"data": np.ones((2, 2))}, seed=3, backward=True)
    assert got.loss == 0
    assert abs(got.param_diffs["first"][0]).max() == 0
    assert "one-value" in codes(text, "TRAIN")
    assert "one-value" not in codes(text.replace("num_output: 1", "num_output: 2"), "TRAIN")


# -- frozen layers -------------------------------------------------------------------------------------------

RATES = "param { lr_mult: 0 } " * 2
LEARNT = layer("InnerProduct", "x", "end", f"inner_product_param {{ num_output: 2 {FILLED} }}") + END
ZERO: dict[str, str] = {
    "InnerProduct": fed("data", 2, 3) + layer("InnerProduct", "data", "x", f"{RATES} inner_product_param {{ num_output: 4 }}"),
    "Convolution": fed("data", 2, 3, 4, 4)
    + layer("Convolution", "data", "x", f"{RATES} convolution_param {{ num_output: 4 kernel_size: 3 }}"),
    "Deconvolution": fed("data", 2, 3, 4, 4) + layer(
        "Deconvolution", "data", "x",
        "param { lr_mult: 0 } convolution_param { num_output: 3 kernel_size: 4 stride: 2 bias_term: false }",
    ),
    "Embed": fed("data", 2) + layer("Embed", "data", "x", f"{RATES} embed_param {{ num_output: 4 input_dim: 3 }}"),
    "LSTM": fed("data", 2, 3, 4) + fed("cont", 2, 3)
    + layer("LSTM", "data cont", "x", "param { lr_mult: 0 } " * 3 + "recurrent_param { num_output: 2 }"),
    "RNN": fed("data", 2, 3, 4) + fed("cont", 2, 3)
    + layer("RNN", "data cont", "x", "param { lr_mult: 0 } " * 5 + "recurrent_param { num_output: 2 }"),
    "Scale": fed("data", 2, 3) + layer("Scale", "data", "x", "param { lr_mult: 0 } scale_param { filler { value: 0 } }"),
    "Parameter": layer("Parameter", "", "x", "param { lr_mult: 0 } parameter_param { shape { dim: 2 dim: 3 } }"),
}  # fmt: skip


@pytest.mark.parametrize("type_", ZERO)
def test_a_frozen_layer_without_filler_is_0_in_caffe_and_stays_so(real_caffe: Caffe, type_: str) -> None:
    text = ZERO[type_] + LEARNT
    net = prototxt.parse(text, "TRAIN")
    inputs = {t.name: np.ones(t.known_shape) for x in net.layers if x.type == "Input" for t in x.tops}
    got = real_caffe.run(text, phase="TRAIN", inputs=inputs, seed=3, backward=True)
    weights = [i for i, p in enumerate(net["x"].params) if p.role == "weight"]
    assert all(abs(got.params["x"][i]).max() == abs(got.param_diffs["x"][i]).max() == 0 for i in weights)
    assert "frozen-zero" in codes(text, "TRAIN")
    assert "zero-weights" not in codes(text, "TRAIN")
    assert "frozen-zero" not in codes(text.replace("lr_mult: 0", "lr_mult: 1"), "TRAIN")
    assert "frozen-zero" not in codes(text, "TEST")


def test_a_model_that_brings_the_weights_ends_the_finding() -> None:
    text = ZERO["InnerProduct"] + LEARNT

    def found(*names: str) -> set[tuple[str, str]]:
        model = Model("m", tuple(ModelLayer(name, "", ((4, 3), (4,))) for name in names))
        findings = examine_text(text, "net.prototxt", Wanted(phases=("TRAIN",), model=model)).findings
        return {(f.code, f.layer) for f in findings if f.code in ("frozen-zero", "weights-missing")}

    assert found("x") == {("weights-missing", "end")}
    assert found("y") == {("weights-missing", "end"), ("weights-missing", "x"), ("frozen-zero", "x")}


def test_the_frozen_layers_of_a_net_are_named_though_the_shape_of_its_data_is_unknown() -> None:
    data = layer("Data", "", "data label", 'data_param { source: "db" batch_size: 2 }', name="data")
    text = data + layer(
        "Convolution", "data", "x", f"{RATES} convolution_param {{ num_output: 4 kernel_size: 3 }}"
    ) + SCORE + END  # fmt: skip
    assert {"frozen-zero", "uncounted"} <= codes(text, "TRAIN")
