"""Which layers run in the backward pass, which gradients they compute, and where Caffe aborts in it."""

# ruff: noqa: E501 (a layer of a net is a line)

from __future__ import annotations

import re

import numpy as np
import pytest

from netbuilder import checks, prototxt
from netbuilder.checks.backward import backward
from netbuilder.engines.caffe import Caffe, CaffeRefused


def layer(type: str, bottoms: str, tops: str, fields: str = "", name: str = "") -> str:
    """A layer with these bottoms and tops, called like its first top unless named."""
    blobs = [f'bottom: "{b}"' for b in bottoms.split()] + [f'top: "{t}"' for t in tops.split()]
    return f'layer {{ name: "{name or tops.split()[0]}" type: "{type}" {" ".join(blobs)} {fields} }}\n'


def fed(name: str, *shape: int) -> str:
    dims = " ".join(f"dim: {n}" for n in shape)
    return layer("Input", "", name, f"input_param {{ shape {{ {dims} }} }}")


def scores(bottom: str, top: str, fields: str = "", outputs: int = 3) -> str:
    filler = 'weight_filler { type: "gaussian" std: 0.1 }'
    return layer(
        "InnerProduct", bottom, top, f"{fields} inner_product_param {{ num_output: {outputs} {filler} }}"
    )


DATA = fed("data", 2, 4) + fed("label", 2) + fed("target", 2, 3)
HIDDEN = scores("data", "hidden")
LOSS = layer("SoftmaxWithLoss", "fc label", "loss")
DOWN, CUT = "propagate_down: true", "propagate_down: false"
FORCED = "force_backward: true\n"
RATES_0 = "param { lr_mult: 0 } param { lr_mult: 0 }"
END = layer("Reduction", "end", "loss", "loss_weight: 1")

# Each net, and the layers with a no-backward (and the bottoms, of those that abort for single bottoms).
NETS: dict[str, tuple[str, list[str]]] = {
    "labels that are cut off": (
        DATA + HIDDEN + scores("data", "marks") + layer("Sigmoid", "marks", "soft")
        + layer("SigmoidCrossEntropyLoss", "hidden soft", "loss", f"{DOWN} {CUT}"),
        [],
    ),
    "labels that are learnt": (
        DATA + HIDDEN + scores("data", "marks") + layer("SigmoidCrossEntropyLoss", "hidden marks", "loss"),
        ["loss"],
    ),
    "a learnt distance to five axes": (
        DATA + layer("Parameter", "", "five", "parameter_param { shape { dim: 2 dim: 4 dim: 1 dim: 1 dim: 1 } }")
        + layer("EuclideanLoss", "data five", "loss"),
        ["loss"],
    ),
    "a learnt distance to four axes": (
        DATA + layer("Parameter", "", "four", "parameter_param { shape { dim: 2 dim: 4 dim: 1 dim: 1 } }")
        + layer("EuclideanLoss", "data four", "loss"),
        [],
    ),
    "labels that are asked for": (
        DATA + HIDDEN + layer("SoftmaxWithLoss", "hidden label", "loss", f"{DOWN} {DOWN}"), ["loss"],
    ),
    "labels that are asked for, and nothing learnt": (
        DATA + layer("SoftmaxWithLoss", "data label", "loss", f"{DOWN} {DOWN}"), [],
    ),
    "a Threshold after a learnt layer": (
        DATA + HIDDEN + layer("Threshold", "hidden", "t") + scores("t", "fc") + LOSS, ["t"],
    ),
    "a Threshold that its reader cuts off": (
        DATA + HIDDEN + layer("Threshold", "hidden", "t") + scores("t", "fc", CUT) + LOSS, [],
    ),
    "a Threshold that cuts off what is before it": (
        DATA + HIDDEN + layer("Threshold", "hidden", "t", CUT) + scores("t", "fc") + LOSS, ["t"],
    ),
    "a Threshold of which one reader is cut off": (
        DATA + HIDDEN + layer("Threshold", "hidden", "t") + scores("t", "fc", CUT) + scores("t", "f2") + LOSS
        + layer("EuclideanLoss", "f2 target", "l2"), ["t"],
    ),
    "an ArgMax of data": (
        DATA + layer("ArgMax", "data", "m") + layer("Reshape", "m", "r", "reshape_param { shape { dim: 2 dim: 1 } }")
        + scores("r", "fc") + LOSS, [],
    ),
    "an ArgMax in a cut branch": (
        DATA + HIDDEN + layer("ArgMax", "hidden", "m")
        + layer("Reshape", "m", "r", "reshape_param { shape { dim: 2 dim: 1 } }")
        + layer("Concat", "hidden r", "c", f"{DOWN} {CUT}") + scores("c", "fc") + LOSS, [],
    ),
    "an ArgMax behind a layer that learns anew": (
        DATA + HIDDEN + layer("ArgMax", "hidden", "m")
        + layer("Reshape", "m", "r", "reshape_param { shape { dim: 2 dim: 1 } }") + scores("r", "fc") + LOSS, ["m"],
    ),
    "an ArgMax that no loss depends on": (
        DATA + scores("data", "fc") + layer("ArgMax", "fc", "m") + layer("Silence", "m", "", name="s") + LOSS, [],
    ),
    "an Accuracy with a loss weight": (
        DATA + scores("data", "fc") + layer("Accuracy", "fc label", "acc", "loss_weight: 1") + LOSS, ["acc"],
    ),
    "an Accuracy with a loss weight, cut off": (
        DATA + scores("data", "fc") + layer("Accuracy", "fc label", "acc", f"loss_weight: 1 {CUT} {CUT}") + LOSS, [],
    ),
    "statistics count as learnt without param": (
        fed("data", 2, 4) + layer("BatchNorm", "data", "bn") + layer("Threshold", "bn", "end") + END, ["end"],
    ),
    "statistics that are frozen": (
        fed("data", 2, 4) + layer("BatchNorm", "data", "bn", "param { lr_mult: 0 } " * 3)
        + layer("Threshold", "bn", "end") + END, [],
    ),
    "words that are learnt": (
        DATA + scores("data", "w", outputs=1) + layer("Embed", "w", "end", "embed_param { num_output: 2 input_dim: 3 }")
        + END, ["end"],
    ),
    "words that are learnt, cut off": (
        DATA + scores("data", "w", outputs=1)
        + layer("Embed", "w", "end", f"{CUT} embed_param {{ num_output: 2 input_dim: 3 }}") + END, [],
    ),
    "a Filter whose selector is learnt": (
        DATA + HIDDEN + scores("data", "s", outputs=1) + layer("Filter", "hidden s", "end") + END, ["end"],
    ),
    "a Filter whose selector is cut off": (
        DATA + HIDDEN + scores("data", "s", outputs=1) + layer("Filter", "hidden s", "end", f"{DOWN} {CUT}") + END, [],
    ),
    "indices that are learnt": (
        DATA + HIDDEN + layer("Parameter", "", "i", "parameter_param { shape { dim: 2 } }")
        + layer("BatchReindex", "hidden i", "end") + END, ["end"],
    ),
    "distances of which the labels are learnt": (
        DATA + HIDDEN + layer("Parameter", "", "same", "parameter_param { shape { dim: 2 } }")
        + layer("ContrastiveLoss", "hidden target same", "loss"), [],
    ),
    "two blobs of one loss": (DATA + HIDDEN + scores("data", "h2") + layer("EuclideanLoss", "hidden h2", "loss"), []),
    "forced: a loss and its labels": (FORCED + DATA + scores("data", "fc") + LOSS, []),
    "forced: an Accuracy": (
        FORCED + DATA + scores("data", "fc") + layer("Accuracy", "fc label", "acc") + LOSS, ["acc"],
    ),
    "forced: an Accuracy whose propagate_down does not help": (
        FORCED + DATA + scores("data", "fc") + layer("Accuracy", "fc label", "acc", f"{CUT} {CUT}") + LOSS, ["acc"],
    ),
    "forced: an ArgMax": (
        FORCED + DATA + scores("data", "fc") + layer("ArgMax", "data", "m") + layer("Silence", "m", "", name="s") + LOSS,
        ["m"],
    ),
    "forced: a Threshold of data": (
        FORCED + DATA + layer("Threshold", "data", "t") + scores("t", "fc") + LOSS, ["t"],
    ),
    "forced: a Filter": (FORCED + DATA + layer("Filter", "data label", "f") + scores("f", "end") + END, ["f"]),
    "forced: an Embed": (
        FORCED + fed("w", 2) + layer("Embed", "w", "end", "embed_param { num_output: 2 input_dim: 3 }") + END, ["end"],
    ),
    "forced: a BatchReindex": (
        FORCED + DATA + layer("BatchReindex", "data label", "b") + scores("b", "end") + END, ["b"],
    ),
    "forced: a matrix of label weights": (
        FORCED + DATA + fed("h", 3, 3) + scores("data", "fc") + layer("InfogainLoss", "fc label h", "loss"), ["loss"],
    ),
    "forced: a recurrent layer and its sequences": (
        FORCED + fed("x", 2, 2, 3) + fed("cont", 2, 2)
        + layer("LSTM", "x cont", "end", "recurrent_param { num_output: 2 }") + END, [],
    ),
}  # fmt: skip


def refused(text: str) -> list[checks.Finding]:
    return [f for f in checks.check(prototxt.parse(text, "TRAIN")) if f.code == "no-backward"]


def run(caffe: Caffe, text: str, *, backward: bool) -> None:
    """Run a net on ones: they are labels, indices and selectors as well."""
    net = prototxt.parse(text, "TRAIN")
    inputs = {top.name: np.ones(top.known_shape) for x in net.layers if x.type == "Input" for top in x.tops}
    caffe.run(text, phase="TRAIN", inputs=inputs, seed=1, backward=backward)


@pytest.mark.parametrize("name", NETS)
def test_caffe_aborts_in_the_backward_pass_where_no_backward_says_so(real_caffe: Caffe, name: str) -> None:
    text, layers = NETS[name]
    assert [f.layer for f in refused(text)] == layers
    loaded = real_caffe.load(text, phase="TRAIN")
    logged = list(zip([x.name for x in loaded.layers], loaded.need_backward, strict=True))
    net = prototxt.parse(text, "TRAIN")
    assert [(step.name, step.runs) for step in backward(net, forced=False)] == logged
    run(real_caffe, text, backward=False)
    if layers:
        with pytest.raises(CaffeRefused):
            run(real_caffe, text, backward=True)
    else:
        run(real_caffe, text, backward=True)


def followed(text: str, finding: checks.Finding) -> str:
    """The net with a remedy followed."""
    fix = finding.fix.partition(", or ")[0]
    if fix.startswith("take"):
        return text.replace(FORCED, "")
    flags = " ".join(re.findall(r"propagate_down: \w+", fix))
    for name in [finding.layer] if fix.endswith(" here") else re.findall(r"'(\w+)'", fix):
        there = re.search(rf'layer {{ name: "{name}" .*', text)
        assert there, finding
        line = re.sub(r" ?propagate_down: \w+", "", there[0])
        text = text.replace(there[0], line.replace(f'top: "{name}"', f'top: "{name}" {flags}'))
    return text


@pytest.mark.parametrize("name", [name for name, (_, layers) in NETS.items() if layers])
def test_what_no_backward_advises_ends_the_abort(real_caffe: Caffe, name: str) -> None:
    text, _ = NETS[name]
    mended = followed(text, refused(text)[0])
    assert mended != text
    assert refused(mended) == []
    run(real_caffe, mended, backward=True)


# -- gradients that are lost by reference --------------------------------------------------------------------

FILLED = 'weight_filler { type: "gaussian" std: 0.5 }'
IMAGES = fed("data", 2, 3, 4, 4) + fed("cont", 2, 3)
CONV = layer("Convolution", "data", "first", f"convolution_param {{ num_output: 3 kernel_size: 1 {FILLED} }}")
VARIABLE = layer("Parameter", "", "first", "parameter_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } }")
WEIGHED = (
    layer("InnerProduct", "LAST", "fc", f"inner_product_param {{ num_output: 4 axis: 0 {FILLED} }}")
    + layer("Reduction", "fc", "loss", "loss_weight: 1 reduction_param { operation: SUMSQ }")
)  # fmt: skip
LAYERS = {
    "Reshape": "reshape_param { shape { dim: 0 dim: -1 } }",
    "Flatten": "",
    "Concat": "",
    "Slice": "",
    "Split": "",
    "Tile": "tile_param { tiles: 1 }",
    "LSTM": f"recurrent_param {{ num_output: 3 {FILLED} }}",
    "RNN": f"recurrent_param {{ num_output: 3 {FILLED} }}",
    "Scale": "",
    "TanH": "",
    "SPP": "spp_param { pyramid_height: 1 }",
}
# Chains of layers after something that is learnt, and whether its gradient is lost. "in place": over its bottom.
CHAINS: dict[str, bool] = {
    "Reshape Flatten": True,
    "Concat Flatten": True,
    "Slice Flatten": True,
    "LSTM Flatten": True,
    "RNN Flatten": True,
    "Flatten": False,
    "Reshape Reshape": False,
    "Flatten Flatten": False,
    "Flatten Reshape": False,
    "LSTM Reshape": False,
    "Split Flatten": False,
    "Tile Flatten": False,
    "SPP Flatten": False,
    "Scale Flatten": False,
    "Reshape TanH Flatten": False,
    "Reshape TanH/in-place Flatten": True,
    "Concat Scale/in-place Flatten": True,
    "Concat/in-place Flatten": False,
    "Slice/in-place TanH/in-place Flatten": False,
    "Reshape Concat Flatten": True,
    "Concat Slice Reshape Flatten": True,
    "Flatten Reshape Flatten": True,
    "Reshape Flatten/twice": False,
}


def chained(chain: str, first: str = CONV) -> str:
    text, last = IMAGES + first, "first"
    for i, one in enumerate(chain.split()):
        type_, _, how = one.partition("/")
        top = last if how == "in-place" else f"t{i}"
        bottoms = f"{last} cont" if type_ in ("LSTM", "RNN") else last
        text += layer(type_, bottoms, top, LAYERS[type_], name=f"l{i}")
        if how == "twice":
            text += layer(type_, bottoms, "other", LAYERS[type_]) + layer("Silence", "other", "", name="s")
        last = top
    return text + WEIGHED.replace("LAST", last)


def gradient(caffe: Caffe, text: str) -> float:
    """The largest gradient of the first layer."""
    draw = np.random.default_rng(2)
    inputs = {"data": draw.standard_normal((2, 3, 4, 4)), "cont": np.ones((2, 3))}
    given = {"first": [draw.standard_normal((2, 3, 4, 4))]} if VARIABLE in text else None
    got = caffe.run(text, phase="TRAIN", inputs=inputs, params=given, seed=3, backward=True)
    return float(abs(got.param_diffs["first"][0]).max())


def lost(text: str) -> list[checks.Finding]:
    return [f for f in checks.check(prototxt.parse(text, "TRAIN")) if f.code == "gradient-lost"]


@pytest.mark.parametrize("chain", CHAINS)
def test_a_gradient_is_0_in_caffe_where_gradient_lost_says_so(real_caffe: Caffe, chain: str) -> None:
    text = chained(chain)
    assert (gradient(real_caffe, text) == 0) == CHAINS[chain]
    found = lost(text)
    assert [f.layer for f in found] == [f"l{len(chain.split()) - 1}"] * CHAINS[chain]
    for finding in found:
        fix = finding.fix.removeprefix("write ")
        mended = text.replace(
            f'{{ name: "{finding.layer}" type: "Flatten"', f'{{ name: "{finding.layer}" {fix}'
        )
        assert lost(mended) == []
        assert gradient(real_caffe, mended) != 0


def test_a_variable_of_the_net_before_a_flatten_is_not_learnt(real_caffe: Caffe) -> None:
    text = chained("Flatten", VARIABLE)
    assert gradient(real_caffe, text) == 0
    assert [f.layer for f in lost(text)] == ["l0"]
    assert gradient(real_caffe, chained("Reshape", VARIABLE)) != 0
    assert lost(chained("Reshape", VARIABLE)) == []


@pytest.mark.parametrize(
    ("axes", "shape"),
    [("axis: 1 end_axis: 2", (2, 12, 4)), ("axis: -3 end_axis: -2", (2, 12, 4)), ("axis: -2", (2, 3, 16)),
     ("axis: 0 end_axis: 1", (6, 4, 4)), ("axis: 2 end_axis: 3", (2, 3, 16)), ("", (2, 48)),
     ("end_axis: 3", (2, 48)), ("axis: 3 end_axis: 3", (2, 3, 4, 4))],
)  # fmt: skip
def test_the_reshape_that_is_advised_gives_the_shape_of_the_flatten(
    axes: str, shape: tuple[int, ...]
) -> None:
    flatten = layer("Flatten", "first", "t0", f"flatten_param {{ {axes} }}", name="l0")
    text = IMAGES + VARIABLE + flatten + WEIGHED.replace("LAST", "t0")
    (finding,) = lost(text)
    assert prototxt.parse(text, "TRAIN").blobs["t0"].shape == shape
    fix = finding.fix.removeprefix("write ")
    mended = text.replace('type: "Flatten"', fix).replace(f"flatten_param {{ {axes} }}", "")
    assert prototxt.parse(mended, "TRAIN").blobs["t0"].shape == shape


def test_a_gradient_that_nobody_wants_is_not_lost() -> None:
    text = chained("Reshape Flatten")
    assert (
        lost(
            text.replace(" convolution_param", " param { lr_mult: 0 } param { lr_mult: 0 } convolution_param")
        )
        == []
    )
    assert lost(text.replace('bottom: "t1" top: "fc"', 'bottom: "t1" top: "fc" propagate_down: false')) == []
    test = prototxt.parse(text, "TEST")
    assert [f for f in checks.check(test) if f.code == "gradient-lost"] == []


# -- what is written over, where the backward pass does not come ----------------------------------------------


@pytest.mark.parametrize(
    ("layers", "code"),
    [
        (layer("Sigmoid", "hidden", "s") + layer("Dropout", "s", "s", name="d"), "in-place-chain"),
        (layer("Power", "hidden", "hidden", "power_param { power: 2 }", name="s") + layer("Split", "hidden", "s"),
         "in-place-gradient"),
    ],
)  # fmt: skip
def test_values_may_be_spoilt_where_no_gradient_is_computed(layers: str, code: str) -> None:
    def codes(text: str) -> set[str]:
        return {f.code for f in checks.check(prototxt.parse(text, "TRAIN"))}

    net = DATA + HIDDEN + layers + scores("s", "fc") + LOSS
    assert code in codes(net)
    assert code not in codes(net.replace('top: "fc"', f'top: "fc" {CUT}'))
    nothing_learnt = net.replace(HIDDEN, HIDDEN.replace('top: "hidden"', f'top: "hidden" {RATES_0}'))
    assert code not in codes(nothing_learnt)
    assert code in codes(FORCED + nothing_learnt)


def test_a_net_of_data_that_is_not_there_is_judged_too() -> None:
    """Which layers learn does not depend on the shape of the data."""
    data = layer("Data", "", "data label", 'data_param { source: "db" batch_size: 2 }', name="data")
    text = data + HIDDEN + layer("Threshold", "hidden", "t") + scores("t", "fc") + LOSS
    assert [f.layer for f in refused(text)] == ["t"]
    assert refused(text.replace('top: "hidden"', f'top: "hidden" {RATES_0}')) == []


def test_a_deploy_net_with_force_backward_is_for_its_users_backward_pass(real_caffe: Caffe) -> None:
    text = FORCED + fed("data", 2, 4) + scores("data", "fc") + layer("ArgMax", "fc", "best")
    found = checks.check(prototxt.parse(text, "TEST"))
    assert [f.layer for f in found if f.code == "no-backward"] == ["best"]
    with pytest.raises(CaffeRefused):
        real_caffe.run(text, phase="TEST", seed=1, backward=True)
    assert [
        f for f in checks.check(prototxt.parse(text.replace(FORCED, ""), "TEST")) if f.code == "no-backward"
    ] == []


TRIPLED = "scale_param { filler { value: 3 } }"
REFERENCES = {
    "Reshape": True, "Flatten": True, "Concat": True, "Slice": True, "Split": True, "Tile": False, "Scale": False,
}  # fmt: skip


@pytest.mark.parametrize("by", REFERENCES)
def test_a_gradient_is_spoilt_through_a_blob_that_shares_memory(real_caffe: Caffe, by: str) -> None:
    """TanH computes its gradient from its top; the Scale in place writes over what is made of it by reference."""

    def net(top: str) -> str:
        return (
            IMAGES + CONV + layer("TanH", "first", "t") + layer(by, "t", "r", LAYERS[by])
            + layer("Scale", "r", top, TRIPLED, name="over") + WEIGHED.replace("LAST", top)
        )  # fmt: skip

    spoilt = abs(gradient(real_caffe, net("r")) - gradient(real_caffe, net("far"))) > 1e-3
    assert spoilt == REFERENCES[by]
    found = [f.layer for f in checks.check(prototxt.parse(net("r"), "TRAIN")) if f.code == "in-place-chain"]
    assert found == ["over"] * spoilt


@pytest.mark.parametrize("by", REFERENCES)
@pytest.mark.parametrize("late", [True, False])
def test_values_are_spoilt_through_a_blob_that_shares_memory(real_caffe: Caffe, by: str, late: bool) -> None:
    other = layer("TanH", "data", "t", name="other")

    def net(top: str) -> str:
        over = layer(by, "data", "r", LAYERS[by], name="by") + layer("Scale", "r", top, TRIPLED, name="over")
        return fed("data", 2, 3, 4, 4) + (over + other if late else other + over)

    data = {"data": np.full((2, 3, 4, 4), 0.5)}
    one, two = (real_caffe.run(net(top), inputs=data, outputs=["t"]).outputs["t"] for top in ("r", "far"))
    spoilt = not np.allclose(one, two)
    assert spoilt == (late and REFERENCES[by])
    for phase in ("TRAIN", "TEST"):
        found = [f for f in checks.check(prototxt.parse(net("r"), phase)) if f.code == "in-place-shared"]
        assert [f.layer for f in found] == ["over"] * spoilt
        assert [
            f for f in checks.check(prototxt.parse(net("far"), phase)) if f.code == "in-place-shared"
        ] == []


def test_what_an_explicit_split_gives_lies_in_one_memory(real_caffe: Caffe) -> None:
    """Caffe refuses in place on a blob of two readers, and takes it on the tops of a Split in the file."""
    text = fed("data", 2, 3) + layer("Split", "data", "a b") + layer("Scale", "a", "a", TRIPLED, name="over")
    text += layer("TanH", "b", "t")
    got = real_caffe.run(text, inputs={"data": np.full((2, 3), 0.5)}, outputs=["t"]).outputs["t"]
    assert np.allclose(got, np.tanh(1.5))
    assert [f.layer for f in checks.check(prototxt.parse(text)) if f.code == "in-place-shared"] == ["over"]


@pytest.mark.parametrize("by", ["", "Slice"])
def test_a_parameter_is_overwritten_in_place(real_caffe: Caffe, by: str) -> None:
    text = 'layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 3 } } }\n'
    text += layer("Slice", "p", "s", "slice_param { axis: 0 }") if by else ""
    text += layer("Scale", "s" if by else "p", "s" if by else "p", "scale_param { axis: 0 }", name="over")
    given = {"p": [np.full(3, 0.5)], "over": [np.full(3, 3.0)]}
    ran = real_caffe.run(text, params=given, fetch_params=True)
    assert np.allclose(ran.params["p"][0], 1.5)
    assert [f.layer for f in checks.check(prototxt.parse(text)) if f.code == "in-place-shared"] == ["over"]


@pytest.mark.parametrize("slope", [-1.0, 0.0, 0.5])
def test_a_relu_in_place_takes_the_sign_of_its_top(real_caffe: Caffe, slope: float) -> None:
    field = f"relu_param {{ negative_slope: {slope} }}"

    def net(top: str) -> str:
        relu = layer("ReLU", "fc", top, field, name="relu")
        return fed("data", 4, 3) + layer("InnerProduct", "data", "fc", "inner_product_param { num_output: 2 }") + relu + layer(
            "Reduction", top, "sum", "loss_weight: 1"
        )  # fmt: skip

    rng = np.random.default_rng(1)
    data, params = {"data": rng.normal(0, 1, (4, 3))}, {"fc": [rng.normal(0, 1, (2, 3)), np.zeros(2)]}
    one, two = (
        real_caffe.run(net(top), phase="TRAIN", inputs=data, params=params, backward=True).param_diffs["fc"][
            0
        ]
        for top in ("fc", "far")
    )
    assert np.allclose(one, two) == (slope >= 0)
    found = [
        f.layer for f in checks.check(prototxt.parse(net("fc"), "TRAIN")) if f.code == "in-place-gradient"
    ]
    assert found == ["relu"] * (slope < 0)
