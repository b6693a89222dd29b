"""What Caffe's net does between its layers, forward and backward, against real Caffe."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from netbuilder import prototxt
from netbuilder.engines.caffe import Caffe
from netbuilder.engines.caffe.judge import CaffeRefused
from netbuilder.engines.torch import module
from netbuilder.errors import EngineError
from tests.engines.torch.cases import difference
from tests.engines.torch.given import give

MOST = 5e-6
X = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 3 } } }'
LABEL = 'layer { name: "t" type: "Input" top: "t" input_param { shape { dim: 4 } } }'
FC = 'layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc" inner_product_param { num_output: 3 } }'


def loss(weight: str = "") -> str:
    return f'layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "t" top: "loss" {weight} }}'


def power(bottom: str, top: str, fields: str) -> str:
    return f'layer {{ name: "{top}" type: "Power" bottom: "{bottom}" top: "{top}" {fields} }}'


def reshape(bottom: str, top: str, fields: str = "") -> str:
    shape = "reshape_param { shape { dim: 1 } }"
    return f'layer {{ name: "{top}" type: "Reshape" bottom: "{bottom}" top: "{top}" {shape} {fields} }}'


TWICE = "power_param { scale: 2 }"
IN_PLACE = 'layer { name: "p" type: "ReLU" bottom: "fc" top: "fc" loss_weight: 0.5 }'
NETS = {
    "a loss that a weighted layer reads counts, without a gradient": [
        X, LABEL, FC, loss(), power("loss", "half", "power_param { scale: 0.5 } loss_weight: 1"),
    ],
    "a weighted loss that is read counts twice": [
        X, LABEL, FC, loss("loss_weight: 0.3"), power("loss", "p", f"{TWICE} loss_weight: 1"),
    ],
    "a loss that a Silence reads has no gradient": [
        X, LABEL, FC, loss(), 'layer { name: "s" type: "Silence" bottom: "loss" }',
    ],
    "a loss that a layer without a loss reads has no gradient": [
        X, LABEL, FC, loss(), power("loss", "p", TWICE),
    ],
    "so it is where all gradients are forced": [
        "force_backward: true", X, LABEL, FC, loss(), power("loss", "p", TWICE),
    ],
    "a loss keeps its gradient under a Reshape that nothing reads": [
        "force_backward: true", X, LABEL, FC, loss(), reshape("loss", "r"),
    ],
    "and under two": [
        "force_backward: true", X, LABEL, FC, loss(), reshape("loss", "r"), reshape("r", "q"),
    ],
    "but not where a layer reads the Reshape": [
        "force_backward: true", X, LABEL, FC, loss(), reshape("loss", "r"), power("r", "p", TWICE),
    ],
    "nor where the Reshape has a weight of its own": [
        X, LABEL, FC, loss(), reshape("loss", "r", "loss_weight: 0.3"),
    ],
    "weights are lost with a weighted top that is read": [
        X, FC,
        'layer { name: "two" type: "Slice" bottom: "fc" top: "a" top: "b" slice_param { slice_point: 1 } '
        "loss_weight: 1 loss_weight: 3 }",
        power("b", "p", f"{TWICE} loss_weight: 1"),
    ],
    "a weighted layer in place": [X, FC, IN_PLACE],
    "propagate_down: false cuts": [
        "force_backward: false", X, FC,
        power("fc", "p", f"{TWICE} loss_weight: 1 propagate_down: false"), power("fc", "q", "loss_weight: 2"),
    ],
    "force_backward overrides propagate_down": [
        "force_backward: true", X, FC, power("fc", "p", f"{TWICE} loss_weight: 1 propagate_down: false"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_a_net_computes_what_caffe_computes(real_caffe: Caffe, name: str) -> None:
    text = "\n".join(NETS[name])
    m = module(prototxt.parse(text, "TRAIN", dialect="caffe-master"), seed=1)
    rng = np.random.default_rng(1)
    give(m, {layer: [rng.normal(0, 1, tuple(b.shape)) for b in blobs] for layer, blobs in m.params.items()})
    given = {"x": rng.normal(0, 1, (4, 3)), "t": rng.integers(0, 3, 4)}
    inputs = {n: torch.tensor(given[n], dtype=torch.float32) for n in m.inputs}
    theirs = real_caffe.run(
        text, phase="TRAIN", inputs={n: v.numpy() for n, v in inputs.items()}, backward=True,
        params={layer: [b.detach().numpy() for b in blobs] for layer, blobs in m.params.items()},
    )  # fmt: skip
    out = m(**inputs)
    assert out.loss is not None
    assert float(out.loss.detach()) == pytest.approx(theirs.loss, rel=MOST)
    if out.loss.requires_grad:
        out.loss.backward()
    for blob, diff in zip(m.params["fc"], theirs.param_diffs["fc"], strict=True):
        assert difference(torch.zeros_like(blob) if blob.grad is None else blob.grad, diff) <= MOST


def test_contrastive_loss_takes_more_labels_than_pairs(real_caffe: Caffe) -> None:
    shapes = {"a": (3, 6), "b": (3, 6), "s": (4, 1)}
    text = "force_backward: true\n"
    for name, shape in shapes.items():
        dims = f"input_param {{ shape {{ {' '.join(f'dim: {n}' for n in shape)} }} }}"
        text += f'layer {{ name: "{name}" type: "Input" top: "{name}" {dims} }}\n'
    text += 'layer { name: "l" type: "ContrastiveLoss" bottom: "a" bottom: "b" bottom: "s" top: "l" }'
    rng = np.random.default_rng(3)
    given = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    given["s"] = np.array([[1], [0], [1], [0]], np.float32)
    theirs = real_caffe.run(text, inputs=given, outputs=["l", "a"], backward=True)
    inputs = {name: torch.from_numpy(value).requires_grad_() for name, value in given.items()}
    out = module(prototxt.parse(text, dialect="caffe-master"))(**inputs)
    assert difference(out["l"], theirs.outputs["l"]) <= MOST
    out["l"].backward()
    assert inputs["a"].grad is not None
    assert difference(inputs["a"].grad, theirs.diffs["a"]) <= MOST


@pytest.mark.parametrize(
    ("fields", "shape"),
    [
        ('type: "ArgMax" argmax_param { out_max_val: true }', (7,)),
        ('type: "ArgMax" argmax_param { top_k: 1 }', (7,)),
        ('type: "Clip" clip_param { min: 0.5 max: -0.5 }', (3, 4)),
        ('type: "Clip" clip_param { min: -0.5 max: 0.5 }', (3, 4)),
        (  # PyTorch 2.13 crashed
            'type: "Convolution" convolution_param { num_output: 3 kernel_size: 1 pad: 1 stride: 2 '
            'dilation: 3 weight_filler { type: "constant" value: 0.3 } '
            'bias_filler { type: "constant" value: 2 } }',
            (2, 8, 7, 1),
        ),
    ],
)
def test_a_layer_computes_what_caffe_computes(real_caffe: Caffe, fields: str, shape: tuple[int, ...]) -> None:
    dims = " ".join(f"dim: {n}" for n in shape)
    text = (
        f'layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ {dims} }} }} }}\n'
        f'layer {{ name: "y" bottom: "x" top: "y" {fields} }}'
    )
    x = np.random.default_rng(2).normal(0, 1, shape).astype(np.float32)
    theirs = real_caffe.run(text, inputs={"x": x}).outputs["y"]
    assert (
        difference(module(prototxt.parse(text, dialect="caffe-master"))(torch.from_numpy(x))["y"], theirs)
        <= MOST
    )


def test_a_deconvolution_that_caffe_dies_of_is_refused(real_caffe: Caffe) -> None:
    shape = "input_param { shape { dim: 1 dim: 1 dim: 3 dim: 3 } }"
    fields = "convolution_param { num_output: 1 kernel_size: 3 stride_h: 2 }"
    text = (
        f'layer {{ name: "x" type: "Input" top: "x" {shape} }}\n'
        f'layer {{ name: "y" type: "Deconvolution" bottom: "x" top: "y" {fields} }}'
    )
    with pytest.raises(CaffeRefused):
        real_caffe.run(text)
    with pytest.raises(EngineError, match="Deconvolution 'y' has a stride of 0"):
        module(prototxt.parse(text, dialect="caffe-master"))


@pytest.mark.parametrize(("phase", "steps"), [("TEST", 4), ("TRAIN", 1), ("TRAIN", 4)])
def test_a_recurrent_layer_that_shares_a_weight(real_caffe: Caffe, phase: str, steps: int) -> None:
    """In TRAIN, Caffe shares it for the first step alone; the others keep what the filler gave, here 0."""
    text = ""
    for name, shape in {"x": (steps, 2, 3), "c": (steps, 2)}.items():
        dims = f"input_param {{ shape {{ {' '.join(f'dim: {n}' for n in shape)} }} }}"
        text += f'layer {{ name: "{name}" type: "Input" top: "{name}" {dims} }}\n'
    text += (
        'layer { name: "r" type: "RNN" bottom: "x" bottom: "c" top: "r" recurrent_param { num_output: 2 } '
        'param { } param { } param { name: "w" } param { name: "w" } }'
    )
    m = module(prototxt.parse(text, phase), seed=1)
    rng = np.random.default_rng(1)
    give(m, {"r": [rng.normal(0, 0.5, tuple(blob.shape)) for blob in m.params["r"]]})
    params = {"r": [blob.detach().numpy() for blob in m.params["r"]]}
    given = {"x": rng.normal(0, 1, (steps, 2, 3)), "c": np.ones((steps, 2))}
    inputs = {name: value.astype(np.float32) for name, value in given.items()}
    theirs = real_caffe.run(text, phase=phase, inputs=inputs, params=params, outputs=["r"]).outputs["r"]
    ours = m(**{name: torch.from_numpy(value) for name, value in inputs.items()})["r"].detach()
    assert difference(ours[:1], theirs[:1]) <= MOST
    if phase == "TEST":
        assert difference(ours, theirs) <= MOST
    for step in theirs[1:] if phase == "TRAIN" else ():
        np.testing.assert_allclose(step, np.broadcast_to(np.tanh(params["r"][4]), step.shape), rtol=MOST)


CUT = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } } }
layer { name: "cont" type: "DummyData" top: "cont"
  dummy_data_param { shape { dim: 2 dim: %d } data_filler { value: 1 } } }
layer { name: "c" type: "Convolution" bottom: "x" top: "c"
  convolution_param { num_output: 4 kernel_size: 1 bias_term: false } }
%s
layer { name: "r" bottom: "%s" top: "r" propagate_down: false %s }
layer { name: "s" type: "Sigmoid" bottom: "r" top: "s" }
layer { name: "q" type: "InnerProduct" bottom: "s" top: "q" inner_product_param { num_output: 3 } }
layer { name: "l1" type: "Reduction" bottom: "q" top: "l1" loss_weight: 1
  reduction_param { operation: SUMSQ } }
layer { name: "l2" type: "Reduction" bottom: "%s" top: "l2" loss_weight: 1
  reduction_param { operation: SUMSQ } }
"""
SLICED = 'layer { name: "cut" type: "Slice" bottom: "c" top: "a" top: "b" slice_param { axis: 1 } }'
# Before: nothing but the cut layer asks for the gradient of the ReLU, so that it does not run.
BEFORE = 'layer { name: "before" type: "ReLU" bottom: "c" top: "a" relu_param { negative_slope: 0.5 } }'
FLAT = (
    'layer { name: "before" type: "Reshape" bottom: "c" top: "a" reshape_param { shape { dim: 0 dim: -1 } } }'
)
INNER = """layer { name: "before" type: "LSTM" bottom: "c" bottom: "cont" top: "a"
  recurrent_param { num_output: 4 } }"""
UNFIT = ("LRN", "Im2col", "MVN", "Pooling", "LSTM", "RNN")  # after these two: they need more axes


@pytest.mark.parametrize(
    ("way", "read", "other"),
    [("", "c", "c"), (SLICED, "a", "b"), (BEFORE, "a", "c"), (FLAT, "a", "c"), (INNER, "a", "c")],
    ids=["split", "slice", "one", "reshaped", "recurrent"],
)
def test_layers_that_propagate_down_does_not_cut(real_caffe: Caffe, way: str, read: str, other: str) -> None:
    """Some types compute the gradient all the same; it counts where the layer before runs."""
    passed = {}
    for fields in (
        'type: "BatchNorm"', 'type: "BatchNorm" batch_norm_param { use_global_stats: true }', 'type: "LRN"',
        'type: "LRN" lrn_param { norm_region: WITHIN_CHANNEL }', 'type: "Softmax"', 'type: "MVN"',
        'type: "Flatten"', 'type: "Concat"', 'type: "Slice"',
        'type: "Im2col" convolution_param { kernel_size: 2 }',
        'type: "LSTM" bottom: "cont" propagate_down: false recurrent_param { num_output: 3 }',
        'type: "RNN" bottom: "cont" propagate_down: false recurrent_param { num_output: 3 }',
        'type: "TanH"', 'type: "PReLU"', 'type: "Pooling" pooling_param { kernel_size: 2 }', 'type: "Bias"',
    ):  # fmt: skip
        if way in (FLAT, INNER) and any(word in fields for word in UNFIT):
            continue
        text = CUT % (2 if way == SLICED else 4, way, read, fields, other)
        rng = np.random.default_rng(1)
        x = rng.normal(0, 1, (2, 3, 4, 4)).astype(np.float32)
        m = module(prototxt.parse(text, "TRAIN"))
        with torch.no_grad():
            for blobs in m.params.values():
                for blob in blobs:
                    blob.copy_(torch.from_numpy(rng.uniform(0.5, 1.5, tuple(blob.shape))))
        params = {name: [blob.detach().numpy().copy() for blob in blobs] for name, blobs in m.params.items()}
        theirs = real_caffe.run(
            text, phase="TRAIN", inputs={"x": x}, params=params, backward=True, fetch_params=True
        ).param_diffs["c"][0]
        uncut = module(prototxt.parse(text.replace("propagate_down: false", ""), "TRAIN"))
        uncut.load_state_dict(m.state_dict())
        found = []
        for one in (m, uncut):
            one(torch.from_numpy(x)).loss.backward()
            gradient = one.params["c"][0].grad
            assert gradient is not None
            found.append(difference(gradient, theirs) <= 5e-5)  # a BatchNorm of two values rounds that much
        assert found[0], fields
        passed[fields] = found[1]
    assert any(passed.values()) == (way not in (BEFORE, INNER))
    assert not passed['type: "TanH"']


@pytest.mark.parametrize("read", ["Flatten", "Reshape", "Concat", "Softmax", "TanH"])
def test_a_parameter_gets_the_gradient_that_lies_in_its_blob(real_caffe: Caffe, read: str) -> None:
    """A Flatten that propagate_down cuts puts it elsewhere."""
    text = f"""
    layer {{ name: "w" type: "Parameter" top: "w" parameter_param {{ shape {{ dim: 3 dim: 4 dim: 1 }} }} }}
    layer {{ name: "r" type: "{read}" bottom: "w" top: "r" propagate_down: false
      {"reshape_param { shape { dim: 3 dim: 4 } }" if read == "Reshape" else ""} }}
    layer {{ name: "l" type: "Reduction" bottom: "r" top: "l" loss_weight: 1
      reduction_param {{ operation: SUMSQ }} }}"""
    m = module(prototxt.parse(text, "TRAIN"))
    values = np.random.default_rng(1).normal(0, 1, (3, 4, 1)).astype(np.float32)
    with torch.no_grad():
        m.params["w"][0].copy_(torch.from_numpy(values))
    theirs = real_caffe.run(
        text, phase="TRAIN", inputs={}, params={"w": [values]}, backward=True, fetch_params=True
    ).param_diffs["w"][0]
    loss = m().loss
    if loss.requires_grad:
        loss.backward()
    gradient = m.params["w"][0].grad
    assert difference(torch.zeros(3, 4, 1) if gradient is None else gradient, theirs) <= MOST
    assert theirs.any() == (read not in ("Flatten", "TanH"))
