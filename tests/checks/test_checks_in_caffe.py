"""What the checks say that Caffe computes, asked of real Caffe: values, gradients, and where it dies."""

from __future__ import annotations

import subprocess
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netbuilder import checks, prototxt
from netbuilder.engines.caffe import Caffe, CaffeRefused
from netbuilder.engines.caffe.install import environment
from netbuilder.schema import NetParameter
from tests.checks.gallery import CASES, INPUT, conv, one

FIRST = (
    'layer { name: "data" type: "Input" top: "data" top: "target" top: "other" '
    "input_param { shape { dim: 2 dim: 3 dim: 5 dim: 5 } shape { dim: 2 dim: 4 dim: 5 dim: 5 } "
    "shape { dim: 2 dim: 4 dim: 5 dim: 5 } } }\n"
    'layer { name: "first" type: "Convolution" bottom: "data" top: "x" '
    'convolution_param { num_output: 4 kernel_size: 1 weight_filler { type: "gaussian" } } }\n'
)
LOSS = 'layer { name: "loss" type: "EuclideanLoss" bottom: "LAST" bottom: "target" top: "loss" }\n'
DRAW = np.random.default_rng(3)
INPUTS = {
    "data": DRAW.standard_normal((2, 3, 5, 5)),
    "target": DRAW.standard_normal((2, 4, 5, 5)),
    "other": DRAW.standard_normal((2, 4, 5, 5)),
}
# One layer each, of 4 channels of 5x5; SIDE stands for a second bottom.
LAYERS = {
    "ReLU": 'type: "ReLU"',
    "leaky": 'type: "ReLU" relu_param { negative_slope: 0.1 }',
    "PReLU": 'type: "PReLU"',
    "ELU": 'type: "ELU"',
    "ELU negative": 'type: "ELU" elu_param { alpha: -0.5 }',
    "Sigmoid": 'type: "Sigmoid"',
    "TanH": 'type: "TanH"',
    "Exp": 'type: "Exp" exp_param { scale: 0.5 }',
    "Swish": 'type: "Swish"',
    "Dropout": 'type: "Dropout"',
    "BatchNorm": 'type: "BatchNorm"',
    "Scale": 'type: "Scale" scale_param { filler { type: "gaussian" } bias_term: true }',
    "Bias": 'type: "Bias" bias_param { filler { type: "gaussian" } }',
    "Softmax": 'type: "Softmax"',
    "Clip": 'type: "Clip" clip_param { min: -0.5 max: 0.5 }',
    "BNLL": 'type: "BNLL"',
    "Log": 'type: "Log" log_param { shift: 30 }',
    "Power": 'type: "Power" power_param { scale: 3 }',
    "cube": 'type: "Power" power_param { power: 3 }',
    "MVN": 'type: "MVN"',
    "LRN": 'type: "LRN" lrn_param { alpha: 1 }',
    "LRN within": 'type: "LRN" lrn_param { norm_region: WITHIN_CHANNEL alpha: 1 local_size: 3 }',
    "sum": 'type: "Eltwise" bottom: "other"',
    "maximum": 'type: "Eltwise" bottom: "other" eltwise_param { operation: MAX }',
    "product": 'type: "Eltwise" bottom: "other" eltwise_param { operation: PROD }',
    "Crop": 'type: "Crop" bottom: "other"',
    "Convolution": 'type: "Convolution" convolution_param { num_output: 4 kernel_size: 1 '
    'weight_filler { type: "gaussian" } }',
    "Deconvolution": 'type: "Deconvolution" convolution_param { num_output: 4 kernel_size: 1 '
    'weight_filler { type: "gaussian" } }',
    "Concat": 'type: "Concat"',
    "Tile": 'type: "Tile" tile_param { tiles: 1 }',
}


def gradient(caffe: Caffe, text: str) -> tuple[Any, Any]:
    """The loss, and the gradient of the first layer's weights."""
    got = caffe.run(text, phase="TRAIN", inputs=INPUTS, backward=True, seed=5)
    return got.loss, got.param_diffs["first"][0]


def same(a: Any, b: Any) -> bool:
    return bool(np.allclose(a, b, 1e-4, 1e-6))


@pytest.mark.parametrize("name", LAYERS)
def test_findings_about_a_layer_in_place_match_what_caffe_computes(real_caffe: Caffe, name: str) -> None:
    def net(top: str) -> str:
        type_, _, rest = LAYERS[name].partition(" ")[2].partition(" ")
        layer = f'layer {{ name: "t" type: {type_} bottom: "x" {rest} top: "{top}" }}\n'
        return FIRST + layer + LOSS.replace("LAST", top)

    in_place = net("x")
    losses, gradients = zip(*(gradient(real_caffe, net(top)) for top in ("x", "t")), strict=True)
    codes = {f.code for f in checks.check(prototxt.parse(in_place, "TRAIN"))}
    if not same(*losses):
        assert "in-place" in codes
    else:
        assert ("in-place-gradient" in codes) == (not same(*gradients))
        assert "in-place" not in codes


def test_findings_about_a_value_overwritten_in_place_match_what_caffe_computes(real_caffe: Caffe) -> None:
    """Pairs of a layer, ReLU in place and others not, and one that writes over its top."""
    firsts: tuple[str, ...] = ("ReLU", "leaky", "PReLU", "ELU", "Sigmoid", "TanH", "Exp", "Swish", "Softmax")
    firsts += ("cube", "Power", "MVN", "LRN", "LRN within", "Convolution")
    over = ("ReLU", "ELU", "Dropout", "Scale")
    wrong = []
    for first, second in product(firsts, over):
        in_place = "x" if first in ("ReLU", "leaky") else "t"

        def net(top: str, first: str = first, second: str = second, mid: str = in_place) -> str:
            a, b = (LAYERS[n].partition(" ")[2].partition(" ") for n in (first, second))
            return (
                FIRST
                + f'layer {{ name: "a" type: {a[0]} bottom: "x" {a[2]} top: "{mid}" }}\n'
                + f'layer {{ name: "b" type: {b[0]} bottom: "{mid}" {b[2]} top: "{top}" }}\n'
                + LOSS.replace("LAST", top)
            )

        text = net(in_place)
        (loss, one), (other_loss, two) = (gradient(real_caffe, net(top)) for top in (in_place, "far"))
        assert same(loss, other_loss), (first, second)
        said = "in-place-chain" in {f.code for f in checks.check(prototxt.parse(text, "TRAIN"))}
        if said == same(one, two):
            wrong.append((first, second, "said" if said else "not said"))
    assert wrong == []


def cell(shape: str, name: str) -> str:
    """A learnt blob of this shape."""
    size = int(np.prod([int(n) for n in shape.split()]))
    dims = " ".join(f"dim: {n}" for n in shape.split())
    product = (
        f"inner_product_param {{ num_output: {size} axis: 0 weight_filler {{ type: 'gaussian' std: 0.1 }} }}"
    )
    flat = f'layer {{ name: "{name}1" type: "InnerProduct" bottom: "x" top: "{name}1" {product} }}\n'
    return flat + (
        f'layer {{ name: "{name}2" type: "Reshape" bottom: "{name}1" top: "{name}" '
        f"reshape_param {{ shape {{ {dims} }} }} }}\n"
    )


def ones(name: str, shape: str) -> str:
    dims = " ".join(f"dim: {n}" for n in shape.split())
    return (
        f'layer {{ name: "{name}" type: "DummyData" top: "{name}" dummy_data_param {{ shape {{ {dims} }} '
        "data_filler { value: 1 } } }\n"
    )


def recurrent(type: str, steps: int, *states: str) -> str:
    """A recurrent layer of tops t, and with states h and c; its bottoms are learnt."""
    given = "".join(cell("1 2 3", f"{s}0") for s in states)
    read = "".join(f' bottom: "{s}0"' for s in states) + "".join(f' top: "{s}"' for s in states)
    return (
        cell(f"{steps} 2 3", "sequence") + ones("cont", f"{steps} 2") + given
        + one(
            type, f'bottom: "cont"{read} recurrent_param {{ num_output: 3 expose_hidden: '
            f"{'true' if states else 'false'} weight_filler {{ type: 'gaussian' }} }}", bottom="sequence",
        )
    )  # fmt: skip


# Layers with the tops that another may write over, and the others after which their gradient is wrong.
TANH, BOTH = ("TanH",), ("TanH", "ReLU")
TOPS: dict[str, tuple[str, dict[str, tuple[str, ...]]]] = {
    "the mask of a maximum": (
        one("Pooling", 'top: "m" pooling_param { kernel_size: 2 }'),
        {"t": (), "m": TANH},
    ),
    "a product": (
        one("Eltwise", 'bottom: "other" eltwise_param { operation: PROD }'),
        {"t": ()},
    ),
    "a product that is divided": (
        one("Eltwise", 'bottom: "other" eltwise_param { operation: PROD stable_prod_grad: false }'),
        {"t": TANH},
    ),
    "the probabilities of a loss": (
        cell("2 3", "scores") + ones("label", "2") + ones("matrix", "1 1 3 3")
        + one("InfogainLoss", 'bottom: "label" bottom: "matrix" top: "prob" loss_weight: 1 loss_weight: 0',
              bottom="scores"),
        {"prob": TANH},
    ),
    "a step of an LSTM": (
        cell("1 2 3", "before") + cell("1 2 12", "gates") + ones("cont", "1 2")
        + one("LSTMUnit", 'bottom: "gates" bottom: "cont" top: "h"', bottom="before"),
        {"t": BOTH, "h": ()},
    ),
    "an RNN": (recurrent("RNN", 2), {"t": ()}),
    "an RNN of one step": (recurrent("RNN", 1), {"t": TANH}),
    "the state of an RNN": (recurrent("RNN", 2, "h"), {"t": (), "h": BOTH}),
    "an LSTM": (recurrent("LSTM", 2), {"t": ()}),
    "an LSTM of one step": (recurrent("LSTM", 1), {"t": ()}),
    "the states of an LSTM": (recurrent("LSTM", 2, "h", "c"), {"t": (), "h": (), "c": BOTH}),
    "MVN without the variance": (one("MVN", "mvn_param { normalize_variance: false }"), {"t": ()}),
}  # fmt: skip


@pytest.mark.parametrize("type", BOTH)
@pytest.mark.parametrize(("name", "over"), [(name, top) for name, (_, tops) in TOPS.items() for top in tops])
def test_which_tops_a_gradient_reads(real_caffe: Caffe, name: str, over: str, type: str) -> None:
    layers, tops = TOPS[name]

    def net(to: str) -> str:
        text = FIRST + layers + f'layer {{ name: "over" type: "{type}" bottom: "{over}" top: "{to}" }}\n'
        graded = [top for top in tops if top not in ("m", "prob")]
        for top in (to if top == over else top for top in graded):
            text += one("Reduction", "loss_weight: 1", bottom=top, top=f"{top}s").replace('"t"', '"s"', 1)
        return text

    one_by_one = [gradient(real_caffe, net(to)) for to in (over, "far")]
    assert same(one_by_one[0][0], one_by_one[1][0])
    assert same(one_by_one[0][1], one_by_one[1][1]) != (type in tops[over])
    codes = {f.code for f in checks.check(prototxt.parse(net(over), "TRAIN"))}
    assert ("in-place-chain" in codes) == (type in tops[over])


@pytest.mark.parametrize(
    "layer",
    [
        one("Threshold"),
        'layer { name: "t" type: "Reduction" bottom: "x" top: "r" reduction_param { axis: 2 } }\n'
        'layer { name: "m" type: "ArgMax" bottom: "r" top: "t" argmax_param { axis: 1 } }\n',
        'layer { name: "r" type: "Reduction" bottom: "x" top: "r" reduction_param { axis: 1 } }\n'
        'layer { name: "f" type: "Filter" bottom: "x" bottom: "r" top: "t" }\n',
    ],
)
def test_caffe_dies_in_the_backward_pass_where_no_backward_says_so(real_caffe: Caffe, layer: str) -> None:
    text = FIRST + layer + 'layer { name: "s" type: "Reduction" bottom: "t" top: "s" loss_weight: 1 }\n'
    assert "no-backward" in {f.code for f in checks.check(prototxt.parse(text, "TRAIN"))}
    with pytest.raises(CaffeRefused):
        gradient(real_caffe, text)


@pytest.mark.parametrize("loss", ["SoftmaxWithLoss", "HingeLoss"])
def test_caffe_dies_over_labels_that_are_learnt(real_caffe: Caffe, loss: str) -> None:
    labels = 'layer { name: "r" type: "Reduction" bottom: "x" top: "r" reduction_param { axis: 1 } }\n'
    scores = one("InnerProduct", "inner_product_param { num_output: 3 }", bottom="data", top="f")
    text = (
        FIRST
        + labels
        + scores
        + f'layer {{ name: "loss" type: "{loss}" bottom: "f" bottom: "r" top: "loss" }}\n'
    )
    assert "no-backward" in {f.code for f in checks.check(prototxt.parse(text, "TRAIN"))}
    with pytest.raises(CaffeRefused):
        gradient(real_caffe, text)


def forward(caffe: Caffe, text: str, data: Any = None, phase: str = "TEST", **given: Any) -> dict[str, Any]:
    data = np.ones((2, 3, 8, 8)) if data is None else data
    return caffe.run(text, phase=phase, inputs={"x": data}, seed=1, **given).outputs


def test_a_window_outside_the_image_gives_the_least_float_or_nan(real_caffe: Caffe) -> None:
    text = CASES["pooling-outside"].text
    assert forward(real_caffe, text)["t"].min() == np.finfo(np.float32).min
    assert np.isnan(forward(real_caffe, text.replace("kernel_size", "pool: AVE kernel_size"))["t"]).any()


def test_a_kernel_beyond_the_image_takes_zeros_there(real_caffe: Caffe) -> None:
    text = CASES["kernel-outside"].text
    weights = [np.ones((4, 3, 9, 9)), np.zeros(4)]
    assert (forward(real_caffe, text, params={"t": weights})["t"] == 3 * 8 * 8).all()


def test_a_stride_of_0_is_built_and_divided_by(real_caffe: Caffe) -> None:
    text = CASES["stride-zero"].text
    assert real_caffe.load(text).blobs["t"] == (2, 4, 10, 3)
    with pytest.raises(CaffeRefused, match="SIGFPE"):
        forward(real_caffe, text)


def test_dropping_everything_gives_nan(real_caffe: Caffe) -> None:
    layer = one("Dropout", "dropout_param { dropout_ratio: 1 }")
    assert np.isnan(forward(real_caffe, INPUT + layer, phase="TRAIN")["t"]).all()


def test_a_phase_in_a_layer_leaves_it_in_the_other_and_running_as_it_says(real_caffe: Caffe) -> None:
    dropped = forward(real_caffe, INPUT + one("Dropout", "phase: TRAIN"))["t"]
    assert set(np.unique(dropped)) == {0, 2}


def test_an_ignored_message_and_ignored_fields_change_nothing(real_caffe: Caffe) -> None:
    data = DRAW.standard_normal((2, 3, 8, 8))
    within = INPUT + one("LRN", "lrn_param { norm_region: WITHIN_CHANNEL local_size: 3 alpha: 1 k: 5 }")
    for text, old, new in (
        (CASES["ignored-param"].text, *CASES["ignored-param"][1:3]),
        (CASES["ignored-field"].text, *CASES["ignored-field"][1:3]),
        (within, "k: 5", ""),
    ):
        with_it, without = (forward(real_caffe, t, data)["t"] for t in (text, text.replace(old, new)))
        assert (with_it == without).all()


def test_a_bilinear_filter_of_one_group_adds_up_the_channels(real_caffe: Caffe) -> None:
    case = CASES["bilinear-mixes"]
    data = DRAW.standard_normal((2, 3, 8, 8))
    mixed = forward(real_caffe, case.text, data)["t"]
    single = forward(real_caffe, case.text.replace(case.old, case.new), data)["t"]
    assert np.allclose(mixed, single.sum(axis=1, keepdims=True), atol=1e-5)


def test_a_scale_with_an_empty_filler_gives_zeros(real_caffe: Caffe) -> None:
    assert (forward(real_caffe, INPUT + one("Scale", "scale_param { filler { } }"))["t"] == 0).all()


def test_an_input_that_is_written_over_is_gone(real_caffe: Caffe) -> None:
    text = INPUT + one("Power", "power_param { scale: 3 }", top="x")
    assert (forward(real_caffe, text, outputs=["x"])["x"] == 3).all()


def test_frozen_statistics_stay_and_others_do_not(real_caffe: Caffe) -> None:
    for field, stays in (("use_global_stats: true", True), ("", False)):
        text = INPUT + one("BatchNorm", f"batch_norm_param {{ {field} }}")
        got = real_caffe.run(text, phase="TRAIN", inputs={"x": np.ones((2, 3, 8, 8))}, fetch_params=True)
        assert (max(abs(p).max() for p in got.params["t"]) == 0) == stays


def test_statistics_of_the_batch_make_an_image_depend_on_its_batch(real_caffe: Caffe) -> None:
    data = DRAW.standard_normal((2, 3, 8, 8))
    text = INPUT + one("BatchNorm", "batch_norm_param { use_global_stats: false }")
    both, alone = (forward(real_caffe, text, d)["t"][0] for d in (data, data[:1]))
    assert not same(both, alone)


def test_a_filler_of_transposed_weights_counts_the_outputs(real_caffe: Caffe) -> None:
    """msra draws with a variance of 2 / fan: 192 inputs, 4 outputs."""
    for transpose, fan in (("false", 192), ("true", 4)):
        p = f'inner_product_param {{ num_output: 4 transpose: {transpose} weight_filler {{ type: "msra" }} }}'
        got = real_caffe.run(
            INPUT + one("InnerProduct", p), inputs={"x": np.ones((2, 3, 8, 8))}, fetch_params=True, seed=1
        )
        assert abs(got.params["t"][0].var() * fan / 2 - 1) < 0.2


def test_what_a_cpu_without_cudnn_cannot_do_it_refuses(real_caffe: Caffe) -> None:
    with pytest.raises(CaffeRefused):
        real_caffe.load(CASES["engine-cudnn"].text)
    real_caffe.load(CASES["stochastic-cpu"].text)
    with pytest.raises(CaffeRefused):
        forward(real_caffe, CASES["stochastic-cpu"].text)


def test_a_loss_without_a_top_counts_and_is_not_an_output(real_caffe: Caffe) -> None:
    text = FIRST + LOSS.replace("LAST", "x").replace(' top: "loss"', "")
    got = real_caffe.run(text, phase="TRAIN", inputs=INPUTS)
    assert got.loss > 0
    assert got.outputs.keys() == {"other"}  # an input that nobody reads


COPY = """
import sys, json
import caffe
caffe.set_mode_cpu()
net = caffe.Net(sys.argv[1], caffe.TEST)
net.copy_from(sys.argv[2])
print(json.dumps({name: [float(p.data.flat[0]) for p in params] for name, params in net.params.items()}))
"""


def copied(caffe: Caffe, text: str, model: NetParameter) -> subprocess.CompletedProcess[str]:
    """What Caffe has in its parameters after it has taken a model over."""
    root = caffe.install.root or Path("/")
    with tempfile.TemporaryDirectory(prefix="netbuilder-weights-", dir=root / "tmp") as made:
        folder = Path(made)
        (folder / "net.prototxt").write_text(text, encoding="utf-8")
        (folder / "net.caffemodel").write_bytes(model.SerializeToString())
        inside = Path("/") / folder.relative_to(root)
        files = [str(inside / "net.prototxt"), str(inside / "net.caffemodel")]
        command = [*caffe.install.command, "-c", COPY, *files]
        return subprocess.run(
            command, env=environment(caffe.install), capture_output=True, text=True, check=False
        )


def test_weights_are_copied_by_name_others_ignored_and_other_shapes_refused(real_caffe: Caffe) -> None:
    text = INPUT + conv("kernel_size: 1 bias_term: false").replace(' weight_filler { type: "msra" }', "")
    for name, shape, code in (
        ("t", (4, 3, 1, 1), 0),
        ("other", (4, 3, 1, 1), 0),
        ("t", (4, 3, 2, 1), 134),
    ):
        model = NetParameter()
        layer = model.layer.add(name=name, type="Convolution")
        blob = layer.blobs.add()
        blob.shape.dim.extend(shape)
        blob.data.extend([7.0] * int(np.prod(shape)))
        done = copied(real_caffe, text, model)
        assert done.returncode in (code, -6 if code else 0), done.stderr[-500:]
        if not code:
            assert done.stdout.splitlines()[-1] == f'{{"t": [{7.0 if name == "t" else 0.0}]}}'
