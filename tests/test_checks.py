"""Findings: each check on a net that has the fault, and none on a net that is right."""

from __future__ import annotations

from app.networks import PHASES, find_network
from netbuilder import Net, checks, prototxt

INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }\n'


def codes(text: str, phase: str = "TEST") -> list[tuple[str, str, str]]:
    return [(f.severity, f.code, f.layer) for f in checks.check(prototxt.parse(text, phase))]


def test_our_nets_have_no_findings() -> None:
    entry = find_network("resnet")
    config = entry.config(main_branch="inception_trick_bottleneck")
    assert [checks.check(entry.stitch(config, phase)) for phase in PHASES] == [[], [], []]


def test_wrong_in_place_use_is_an_error() -> None:
    text = INPUT + 'layer { name: "p" type: "Power" bottom: "x" top: "x" power_param { scale: 3 } }'
    assert codes(text) == [("error", "in-place", "p")]


def test_batch_norm_without_scale_and_with_trained_statistics() -> None:
    text = INPUT + 'layer { name: "b" type: "BatchNorm" bottom: "x" top: "x" }'
    assert codes(text) == [("warning", "batchnorm-without-scale", "b"), ("warning", "batchnorm-trained", "b")]


def test_a_bias_before_batch_norm_is_told() -> None:
    entry = find_network("cifar_resnet")
    net = entry.stitch(entry.config(main_branch="normal", N=1, conv_bias=True), "train")
    found = checks.check(net)
    assert {(f.severity, f.code) for f in found} == {("info", "bias-before-batchnorm")}
    assert len(found) == 9


def test_zero_weights_are_told_where_a_net_is_trained() -> None:
    layer = (
        'layer { name: "f" type: "InnerProduct" bottom: "x" top: "f" inner_product_param { num_output: 2 } }'
    )
    assert codes(INPUT + layer, "TRAIN") == [("warning", "zero-weights", "f")]
    assert codes(INPUT + layer, "TEST") == []


def test_a_pooling_window_outside_the_image_is_an_error() -> None:
    pool = (
        'layer { name: "p" type: "Pooling" bottom: "x" top: "p" pooling_param { kernel_size: 1 stride: 2 } }'
    )
    assert codes(INPUT + pool) == [("error", "pooling-outside", "p")]
    assert codes(INPUT.replace("dim: 8", "dim: 7") + pool) == []


def test_half_a_pair_is_told() -> None:
    conv = 'layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param { PARAM } }'
    conv = conv.replace("PARAM", "num_output: 2 kernel_h: 1 kernel_w: 3 pad_w: 1")
    (finding,) = checks.check(prototxt.parse(INPUT + conv))
    assert str(finding) == (
        "warning: c: pad_w is given without pad_h: OpenCV and some chip compilers then ignore it "
        "[lone-pair]\n"
        "  fix: write pad_h as well"
    )


def test_duplicate_names_and_uncounted_layers_are_told() -> None:
    net = Net("n")
    x = net.add("Input", name="x", shape={"dim": [1, 3, 8, 8]})
    net.add("MyWarp", x, name="w", top_shapes=[(1, 3, 8, 8)])
    copy = Net("n")
    for layer in net:
        copy.append(layer.proto, top_shapes=[t.shape or () for t in layer.tops])
    twin = copy["x"].proto.__class__()
    twin.CopyFrom(copy["x"].proto)
    twin.top[0] = "y"
    copy.append(twin)
    assert [(f.severity, f.code, f.layer) for f in checks.check(copy)] == [
        ("info", "uncounted", "w"),
        ("warning", "duplicate-name", "x"),
    ]
