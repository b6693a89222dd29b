"""What is said of OpenCV and MNN, tried: each runs a small net per case, against real Caffe.

A case without a finding must give Caffe's values, and one with a finding must not: so that a limit which the
consumer has lost is noticed too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netbuilder import Net, prototxt
from netbuilder.checks import consumers as targets
from netbuilder.checks.consumers.base import COMPUTING
from netbuilder.engines.caffe import Caffe
from netbuilder.errors import ConfigError
from netbuilder.networks import find_network
from netbuilder.schema import NetParameter
from netbuilder.schema.dialects import DIALECTS
from netbuilder.weights.write import write_model
from tests import consumers
from tests.checks.consumer_nets import CASES, CHANNELS, SIZE, Build, one
from tests.fuzz.against_consumers import compared, inputs, outputs


def _net(build: Build) -> Net:
    net = Net("case", dialect="caffe-master")
    x = net.add("Input", name="data", shape={"dim": [1, 3, SIZE, SIZE]})
    x = net.add("Convolution", x, name="first", num_output=CHANNELS, kernel_size=1)
    build(net, x)
    return net


def _weights(net: Net) -> dict[str, list[Any]]:
    draw = np.random.default_rng(1)
    values: dict[str, list[Any]] = {}
    for layer in net:
        if layer.type == "BatchNorm":
            values[layer.name] = [draw.standard_normal(CHANNELS), draw.random(CHANNELS) + 0.5, np.ones(1)]
        elif layer.params:
            values[layer.name] = [draw.standard_normal(p.shape) for p in layer.params]
    return values


@pytest.mark.parametrize("target", ["opencv", "mnn"])
@pytest.mark.parametrize("name", CASES)
def test_a_consumer_computes_what_caffe_computes_where_nothing_is_said_against_it(
    real_caffe: Caffe, name: str, target: str
) -> None:
    consumers.require("cv2" if target == "opencv" else "MNN")
    net = _net(CASES[name])
    weights = _weights(net)
    given = inputs(net, np.random.default_rng(2))
    tops = [blob.name for blob in outputs(net)]
    expected = real_caffe.run(prototxt.dumps(net), inputs=given, params=weights, outputs=tops).outputs
    why = compared(target, net, weights, given, expected)
    findings = targets.check(net, target)
    assert bool(why) == bool(findings), f"{target} {why or 'agrees'}, and we say {findings}"


# Types of forks besides those that a dialect has, and one that nobody has.
MORE_TYPES = ("DepthwiseConv", "MaxUnpool", "PassThrough", "Padding", "Region", "Resize", "NoSuchType")


def alone(type: str) -> str:
    """A net of one layer of this type, without fields."""
    return (
        'layer { name: "data" type: "Input" top: "data" '
        "input_param { shape { dim: 1 dim: 4 dim: 6 dim: 6 } } }\n"
        f'layer {{ name: "t" type: "{type}" bottom: "data" top: "t" }}\n'
    )


def said_to_be_missing(type: str, target: str) -> bool:
    net = prototxt.parse(alone(type), dialect="any", unknown="keep", refused=[])
    return any(
        f.code in ("no-such-type", "not-deploy") and f.layer == "t" for f in targets.check(net, target)
    )


@pytest.mark.parametrize("type", sorted(DIALECTS["any"].types | set(MORE_TYPES)))
def test_opencv_has_the_layer_types_that_we_say_it_has(type: str) -> None:
    consumers.require("cv2")
    import cv2

    try:
        net = cv2.dnn.readNetFromCaffe(np.frombuffer(alone(type).encode(), np.uint8), np.zeros(0, np.uint8))
        net.setInput(np.zeros((1, 4, 6, 6), np.float32))
        net.forward()
        error = ""
    except Exception as raised:  # of a type that it has, fields or weights are missing
        error = str(raised)
    assert (f'of type "{type}"' in error) == said_to_be_missing(type, "opencv")


def test_mnn_has_the_layer_types_that_we_say_it_has(tmp_path: Path) -> None:
    """Its converter names all that it lacks at once; those for which it needs weights are not asked."""
    consumers.require("MNN")
    crash = {"BatchNorm", "Bias", "Convolution", "ConvolutionDepthwise", "Deconvolution", "DepthwiseConv"}
    crash |= {"Convolution3D", "Embed", "InnerProduct", "Input", "Normalize", "PReLU", "Scale"}
    crash |= {"Silence"}  # has no top in Caffe, and is then no trouble: see the case
    asked = sorted((DIALECTS["any"].types | set(MORE_TYPES)) - crash)
    bottoms = "".join(alone(t).splitlines()[1].replace('"t"', f'"t_{t}"') + "\n" for t in asked)
    (tmp_path / "net.prototxt").write_text(alone("ReLU").splitlines()[0] + "\n" + bottoms, encoding="utf-8")
    (tmp_path / "net.caffemodel").write_bytes(b"")
    with pytest.raises(AssertionError):
        consumers.mnn(tmp_path, np.zeros((1, 4, 6, 6), np.float32))
    log = (tmp_path / "log").read_text(errors="replace")
    lacking = {w.removeprefix("Caffe::") for line in log.splitlines() for w in line.split() if "Caffe::" in w}
    assert lacking == {t for t in asked if said_to_be_missing(t, "mnn")}


# A layer that reads the message, and what stands in the message besides.
HOLDERS = {
    "BatchNormParameter": ("BatchNorm", "batch_norm_param", ""),
    "ConcatParameter": ("Concat", "concat_param", ""),
    "ConvolutionParameter": ("Convolution", "convolution_param", "num_output: 4 kernel_size: 3 pad: 1"),
    "DropoutParameter": ("Dropout", "dropout_param", ""),
    "ELUParameter": ("ELU", "elu_param", ""),
    "EltwiseParameter": ("Eltwise", "eltwise_param", ""),
    "InnerProductParameter": ("InnerProduct", "inner_product_param", "num_output: 4"),
    "LRNParameter": ("LRN", "lrn_param", "alpha: 1"),
    "LayerParameter": ("ReLU", "", ""),
    "NetParameter": ("ReLU", "", ""),
    "PoolingParameter": ("Pooling", "pooling_param", "kernel_size: 3 stride: 2 pad: 1 pool: AVE"),
    "ReLUParameter": ("ReLU", "relu_param", ""),
}
FORK_NAMES = sorted(name for name in DIALECTS["any"].adds if name.split(".")[0] in HOLDERS)
# What a consumer reads as the fork does.
READ = {("opencv", "PoolingParameter.ceil_mode")}
# Messages with fields that must be given.
INCOMPLETE = {"LayerParameter.psroi_pooling_param"}


def with_fork(name: str, *, left_out: bool = False) -> tuple[str, str]:
    """A net with a field or label of a fork, or the same without it; and the layer type that has it."""
    message, *_, last = name.split(".")
    type, holder, others = HOLDERS[message]
    if last.startswith("pad_"):
        others = others.replace("pad: 1", "")  # the two exclude each other
    if "PoolMethod" in name:
        others = others.replace("pool: AVE", "")
    fields = NetParameter.DESCRIPTOR.file.message_types_by_name[message].fields
    field = next(f for f in fields if f.name == last or (f.enum_type and last in f.enum_type.values_by_name))
    value = last if field.name != last else field.enum_type.values[0].name if field.enum_type else "1"
    if field.message_type:
        value = "{ }"
    elif field.cpp_type in (field.CPPTYPE_BOOL, field.CPPTYPE_STRING):
        value = "true" if field.cpp_type == field.CPPTYPE_BOOL else '"a"'
    given = "" if left_out else f"{field.name}: {value}"
    own = f"{holder} {{ {others} {given} }}" if holder else "relu_param { negative_slope: 0.5 } "
    own += given if message == "LayerParameter" else ""
    more = 'bottom: "s"' if type in ("Concat", "Eltwise") else ""
    text = (
        (given + "\n" if message == "NetParameter" else "")
        + alone("AbsVal").replace('"t"', '"s"')
        + f'layer {{ name: "t" type: "{type}" bottom: "data" {more} top: "t" {own} }}\n'
        + 'layer { name: "u" type: "TanH" bottom: "t" top: "u" }\n'
    )
    return text, type


def computed(consumer: str, text: str, type: str, folder: Path) -> Any:
    """What a consumer computes of a net whose layer t has weights; None if it fails."""
    draw = np.random.default_rng(1)
    shapes: dict[str, list[tuple[int, ...]]] = {
        "BatchNorm": [(4,), (4,), (1,)],
        "Convolution": [(4, 4, 3, 3), (4,)],
        "InnerProduct": [(4, 144), (4,)],
    }
    (folder / "net.prototxt").write_text(text, encoding="utf-8")
    write_model(folder / "net.caffemodel", {"t": [draw.random(s) for s in shapes.get(type, [])]}, force=True)
    try:
        image = draw.standard_normal((1, 4, 6, 6))
        return consumers.computed(consumer, folder, {"": image}, [("u", 0, "u")])[0]
    except AssertionError:
        return None


@pytest.mark.parametrize("consumer", consumers.MODULES)
@pytest.mark.parametrize("name", [name for name in FORK_NAMES if name not in INCOMPLETE])
def test_a_forks_field_is_reported_where_a_consumer_refuses_or_misreads_it(
    name: str, consumer: str, tmp_path: Path
) -> None:
    consumers.require(consumers.MODULES[consumer])
    text, type = with_fork(name)
    expected = computed(consumer, with_fork(name, left_out=True)[0], type, tmp_path)
    got = computed(consumer, text, type, tmp_path)
    # What changes the values in the fork is an error also where the consumer skips the field.
    ignored = name in COMPUTING and (consumer, name) not in READ
    fine = got is not None and np.allclose(got, expected) and not ignored
    net = prototxt.parse(text, dialect="any")
    found = [f for f in targets.check(net, consumer) if f.code == "no-such-field"]
    assert fine == (not found), f"{consumer} {'agrees' if fine else 'does not agree'}, and we say {found}"
    assert all(name in f.text for f in found)


def test_opencv_gives_garbage_for_a_concat_of_one_input(tmp_path: Path) -> None:
    consumers.require("cv2")
    net = Net("n")
    x = net.add("Input", name="data", shape={"dim": [1, 4, 3, 3]})
    net.add("TanH", net.add("Concat", x, name="c"), name="t")
    image = np.random.default_rng(1).standard_normal((1, 4, 3, 3), dtype=np.float32)
    consumers.write_model(net, {}, tmp_path)
    assert not np.allclose(consumers.opencv(tmp_path, image, "t"), np.tanh(image))
    assert [f.code for f in targets.check(net, "opencv")] == ["concat-single"]


def test_axpy_is_another_one_in_opencv() -> None:
    """NVIDIA's and Intel's Caffe compute gate * bottom 1 + bottom 2: 2 * 1 + 5."""
    consumers.require("cv2")
    import cv2

    shapes = " shape { dim: 1 dim: 1 dim: 1 dim: 1 }" * 3
    text = (
        f'layer {{ name: "in" type: "Input" top: "g" top: "x" top: "y" input_param {{{shapes} }} }}\n'
        'layer { name: "t" type: "Axpy" bottom: "g" bottom: "x" bottom: "y" top: "t" }\n'
    )
    net = cv2.dnn.readNetFromCaffe(np.frombuffer(text.encode(), np.uint8), np.zeros(0, np.uint8))
    for name, value in (("g", 2), ("x", 1), ("y", 5)):
        net.setInput(np.full((1, 1, 1, 1), value, np.float32), name)
    assert net.forward("t").item() == 11
    found = targets.check(prototxt.parse(text, dialect="any"), "opencv")
    assert [f.code for f in found] == ["axpy"]


@pytest.mark.parametrize("network", ["resnet", "cifar_resnet", "bl_resnet"])
def test_our_deploy_nets_suit_every_target(network: str) -> None:
    entry = find_network(network)
    needed: dict[str, dict[str, Any]] = {
        "resnet": {"main_branch": "bottleneck"},
        "cifar_resnet": {"main_branch": "normal", "N": 1},
    }
    families: list[dict[str, Any]] = (
        [{"family": f} for f in ("resnet", "seresnext")] if network == "bl_resnet" else [{}]
    )
    for family in families:
        net = entry.stitch(entry.config(**needed.get(network, {}), **family), "deploy")
        said = {t: {f.code for f in targets.check(net, t)} for t in targets.TARGETS}
        # HiLens asks for what Caffe does by itself in TEST; `netbuilder check --fix` writes it.
        assert said.pop("hilens") == {"batch-stats"}
        assert not any(said.values()), said


def test_a_caffe_of_2017_refuses_what_came_later() -> None:
    net = _net(one("Pooling", kernel_size=3, stride=2, round_mode="FLOOR"))
    net.add("Swish", net.blobs["t"], name="swish")
    assert [str(f) for f in targets.check(net, "caffe-1.0")] == [
        "error: t: caffe-1.0: Pooling has no field round_mode; the whole file is refused [no-such-field]\n"
        "  fix: leave round_mode out",
        "error: swish: caffe-1.0: there is no layer type Swish [no-such-type]\n"
        "  fix: it is in caffe-master, caffe-cudnn, intel; else express it by other layers",
    ]
    assert targets.check(net, "caffe-master") == []


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown target 'opencv5': there are caffe-1\.0, .*, opencv, mnn"):
        targets.check(Net("n"), "opencv5")
