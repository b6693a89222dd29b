"""A folded net computes what the original computes, in real Caffe; what cannot be folded exactly stays."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from netbuilder import Net, prototxt
from netbuilder.cli.main import main
from netbuilder.config import load
from netbuilder.engines import caffe
from netbuilder.transforms.fold import fold
from netbuilder.weights.arrays import read_arrays
from netbuilder.weights.write import write_model
from tests.installation import require_torch

Array = npt.NDArray[np.float32]
Printed = pytest.CaptureFixture[str]


def layer(type: str, name: str, bottoms: str, fields: str = "", tops: str | None = None) -> str:
    """A layer whose top has its name, unless `tops` are given."""
    blobs = [f'bottom: "{bottom}"' for bottom in bottoms.split()]
    blobs += [f'top: "{top}"' for top in (name if tops is None else tops).split()]
    return f'layer {{ name: "{name}" type: "{type}" {" ".join(blobs)} {fields} }}\n'


def conv(name: str, bottom: str, fields: str = "", outputs: int = 4, type: str = "Convolution") -> str:
    return layer(type, name, bottom, f"convolution_param {{ num_output: {outputs} {fields} }}")


DATA = layer("Input", "data", "", "input_param { shape { dim: 2 dim: 4 dim: 7 dim: 6 } }")
NORM = layer("BatchNorm", "bn", "conv", tops="conv")
BIAS = "scale_param { bias_term: true }"
SCALE = layer("Scale", "scale", "conv", BIAS, "conv")
RELU = layer("ReLU", "relu", "conv", tops="conv")
K3, K1 = "kernel_size: 3 pad: 1", "kernel_size: 1"
GLOBAL = "pooling_param { global_pooling: true pool: AVE }"
STATISTICS = 'param { name: "m" } param { name: "v" } param { name: "f" }'
TIMES_2 = "kernel_size: 2 stride: 2"
SHARED = 'param { name: "w" } param { name: "b" }'


class Case(NamedTuple):
    """Layers after DATA, and the names of those that stay."""

    text: str
    stays: str


CASES = {
    "conv, BatchNorm, Scale": Case(conv("conv", "data", K3) + NORM + SCALE + RELU, "conv relu"),
    "without a bias": Case(conv("conv", "data", K3 + " bias_term: false") + NORM + SCALE, "conv"),
    "blobs of their own": Case(
        conv("conv", "data", K3) + layer("BatchNorm", "bn", "conv") + layer("Scale", "s", "bn")
        + layer("ReLU", "relu", "s", tops="s") + conv("next", "s", K3), "conv relu next",
    ),
    "groups": Case(conv("conv", "data", K3 + " group: 2") + NORM + SCALE, "conv"),
    "depthwise": Case(conv("conv", "data", K3 + " group: 4") + NORM + SCALE, "conv"),
    "deconvolution": Case(
        conv("conv", "data", "kernel_size: 4 stride: 2 pad: 1 group: 2", 6, "Deconvolution") + NORM + SCALE,
        "conv",
    ),
    "inner product": Case(
        layer("InnerProduct", "conv", "data", "inner_product_param { num_output: 5 }") + NORM + SCALE, "conv"
    ),
    "transposed": Case(
        layer("BatchNorm", "bn", "data")
        + layer("InnerProduct", "fc", "bn", "inner_product_param { num_output: 5 transpose: true }")
        + layer("Scale", "scale", "fc", tops="fc"), "fc",
    ),
    "before a convolution": Case(
        layer("BatchNorm", "bn", "data") + layer("Scale", "scale", "bn", BIAS, "bn")
        + conv("conv", "bn", "kernel_size: 3 group: 2"), "conv",
    ),
    "before and after": Case(
        layer("BatchNorm", "bn_0", "data") + conv("conv", "bn_0", K1) + NORM + SCALE, "conv"
    ),
    "a shift before padding": Case(layer("BatchNorm", "bn", "data") + conv("conv", "bn", K3), "bn conv"),
    "a factor before padding": Case(layer("Scale", "scale", "data") + conv("conv", "scale", K3), "conv"),
    "a kernel beyond the image": Case(
        layer("BatchNorm", "bn", "data") + conv("conv", "bn", "kernel_h: 9 kernel_w: 1 pad_h: 1"), "bn conv"
    ),
    "a factor before a deconvolution": Case(
        layer("Scale", "scale", "data") + conv("up", "scale", TIMES_2, 3, "Deconvolution"), "up"
    ),
    "a shift before a deconvolution": Case(
        layer("BatchNorm", "bn", "data") + conv("up", "bn", TIMES_2, 3, "Deconvolution"),
        "bn up",
    ),
    "pre-activation": Case(
        layer("BatchNorm", "bn", "data") + layer("Scale", "scale", "bn", BIAS, "bn")
        + layer("ReLU", "relu", "bn", tops="bn") + conv("conv", "bn", K3), "scale relu conv",
    ),
    "a blob read twice": Case(
        conv("conv", "data", K3) + layer("BatchNorm", "bn", "conv") + layer("Eltwise", "sum", "conv bn"),
        "conv bn sum",
    ),
    "a normalised blob read twice": Case(
        conv("conv", "data", K3) + layer("BatchNorm", "bn", "conv") + conv("a", "bn", K1)
        + conv("b", "bn", K1), "conv a b",
    ),
    "shared weights": Case(
        layer("Convolution", "conv", "data", SHARED + "convolution_param { num_output: 4 " + K3 + " }") + NORM
        + layer("Convolution", "other", "data", SHARED + "convolution_param { num_output: 4 " + K3 + " }")
        + layer("Eltwise", "sum", "conv other"), "conv bn other sum",
    ),
    "statistics of the batch": Case(
        conv("conv", "data", K3)
        + layer("BatchNorm", "bn", "conv", "batch_norm_param { use_global_stats: false }", "conv") + SCALE,
        "conv bn scale",
    ),
    "statistics of the batch, by the layer's own phase": Case(
        conv("conv", "data", K3) + layer("BatchNorm", "bn", "conv", "phase: TRAIN", "conv") + SCALE,
        "conv bn scale",
    ),
    "a Scale of two blobs": Case(
        conv("conv", "data", K3) + layer("Pooling", "pool", "conv", GLOBAL)
        + layer("Reshape", "flat", "pool", "reshape_param { shape { dim: 0 dim: -1 } }")
        + layer("Scale", "gate", "conv flat", "scale_param { axis: 0 }"), "conv pool flat gate",
    ),
    "a Scale of the whole image": Case(
        conv("conv", "data", K3) + layer("Scale", "scale", "conv", "scale_param { num_axes: 3 }"),
        "conv scale",
    ),
    "a negative axis": Case(
        conv("conv", "data", K3) + layer("Scale", "scale", "conv", "scale_param { axis: -3 }"), "conv"
    ),
    "a Bias": Case(conv("conv", "data", K3) + layer("Bias", "bias", "conv", tops="conv") + RELU, "conv relu"),
    "Dropout": Case(
        conv("conv", "data", K3) + layer("Dropout", "drop", "conv", tops="conv") + NORM
        + layer("Dropout", "drop_2", "conv", tops="out") + conv("last", "out", K1), "conv last",
    ),
    "two readers that are one layer": Case(
        conv("conv", "data", K3) + layer("BatchNorm", "bn", "conv") + layer("Eltwise", "sum", "bn bn"),
        "conv sum",
    ),
    "before weights that share an input": Case(
        layer("BatchNorm", "bn", "data") + conv("conv", "bn", K1) + conv("side", "data", K1)
        + layer("Eltwise", "sum", "conv side"), "conv side sum",
    ),
    "shared statistics": Case(
        conv("conv", "data", K3) + layer("BatchNorm", "bn", "conv", STATISTICS, "conv")
        + conv("other", "data", K3) + layer("BatchNorm", "bn_2", "other", STATISTICS, "other")
        + layer("Eltwise", "sum", "conv other"), "conv bn other bn_2 sum",
    ),
    "a shared Scale": Case(
        conv("conv", "data", K3) + layer("Scale", "s", "conv", 'param { name: "s" }', "conv")
        + conv("other", "data", K3) + layer("Scale", "t", "other", 'param { name: "s" }', "other")
        + layer("Eltwise", "sum", "conv other"), "conv s other t sum",
    ),
    "one convolution of two bottoms": Case(
        layer("Slice", "cut", "data", tops="a b") + layer("Convolution", "conv", "a b",
              "convolution_param { num_output: 3 kernel_size: 1 }", "c d")
        + layer("BatchNorm", "bn", "c") + layer("Eltwise", "sum", "bn d"), "cut conv bn sum",
    ),
    "layers in place after layers in place": Case(
        conv("conv", "data", K3) + NORM + SCALE + RELU + layer("BatchNorm", "bn_2", "conv", tops="conv")
        + layer("Scale", "scale_2", "conv", BIAS, "conv") + conv("last", "conv", K1), "conv relu last",
    ),
    "in place before a padding": Case(
        conv("conv", "data", K3) + RELU + NORM + SCALE + conv("last", "conv", K3), "conv relu scale last"
    ),
    "a factor before groups of a deconvolution": Case(
        layer("Scale", "scale", "data") + conv("up", "scale", TIMES_2 + " group: 2", 6, "Deconvolution"), "up"
    ),
    "a Scale to the last axis": Case(
        layer("InnerProduct", "fc", "data", "inner_product_param { num_output: 5 }")
        + layer("Scale", "scale", "fc", "scale_param { num_axes: -1 bias_term: true }", "fc"), "fc",
    ),
    "along another axis": Case(
        layer("InnerProduct", "fc", "data", "inner_product_param { num_output: 4 axis: 3 }")
        + layer("BatchNorm", "bn", "fc"), "fc bn",
    ),
    "an output in the middle": Case(
        conv("conv", "data", K3) + layer("BatchNorm", "bn", "conv") + layer("Dropout", "drop", "bn"),
        "conv drop",
    ),
    "a fixed filter": Case(
        layer("Deconvolution", "up", "data", 'param { lr_mult: 0 } convolution_param { num_output: 4 '
              'group: 4 kernel_size: 4 stride: 2 bias_term: false weight_filler { type: "bilinear" } }')
        + layer("BatchNorm", "bn", "up"), "up bn",
    ),
}  # fmt: skip


def random_arrays(net: Net) -> dict[str, list[Array]]:
    """Arrays for every layer but fixed filters: positive variances, a factor that is not 1."""
    random = np.random.default_rng(len(net.layers))
    found: dict[str, list[Array]] = {}
    for each in net:
        if not each.params or all(param.fixed_filter for param in each.params):
            continue
        blobs = [random.normal(0, 0.4, param.shape).astype(np.float32) for param in each.params]
        if each.type == "BatchNorm":
            blobs[1], blobs[2] = 1 + np.abs(blobs[1]), np.full(1, 3.7, np.float32)
        shared = next((p.shared_with for p in each.params if p.shared_with), None)
        found[each.name] = found[shared] if shared else blobs
    return found


def folded(net: Net, arrays: dict[str, list[Array]]) -> tuple[Net, dict[str, list[Array]]]:
    found = fold(net, arrays.__getitem__)
    return found.net, dict(found.arrays(arrays.items()))


def compare(
    real_caffe: caffe.Caffe, net: Net, arrays: dict[str, list[Array]], new: Net, other: dict[str, list[Array]]
) -> None:
    random = np.random.default_rng(7)
    inputs = {"data": random.normal(size=net.layers[0].tops[0].known_shape).astype(np.float32)}
    original = real_caffe.run(prototxt.dumps(net), inputs=inputs, params=arrays).outputs
    found = real_caffe.run(prototxt.dumps(new), inputs=inputs, params=other).outputs
    assert found.keys() == original.keys()
    for name, value in original.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-5 * float(np.abs(value).max()))


@pytest.mark.parametrize("name", CASES)
def test_a_folded_net_computes_what_the_original_computes(name: str, real_caffe: caffe.Caffe) -> None:
    net = prototxt.parse(DATA + CASES[name].text)
    arrays = random_arrays(net)
    new, other = folded(net, arrays)
    assert " ".join(each.name for each in new.layers[1:]) == CASES[name].stays
    compare(real_caffe, net, arrays, new, other)


def test_a_batchnorm_of_nvcaffe_with_its_own_scale_stays() -> None:
    norm = layer("BatchNorm", "bn", "conv", "batch_norm_param { scale_bias: true }", "conv")
    net = prototxt.parse(DATA + conv("conv", "data", K3) + norm, dialect="nvcaffe")
    found = fold(net, random_arrays(net).__getitem__)
    assert found.kept == {"bn": "it has a scale and a bias of its own, as in NVCaffe"}
    assert [each.proto for each in found.net] == [each.proto for each in net]


@pytest.mark.parametrize("config", ["cifar_resnet_20", "davidnet_tricks"])
def test_a_config_folds(config: str, real_caffe: caffe.Caffe) -> None:
    net = load(config).stitch("deploy")
    arrays = random_arrays(net)
    new, other = folded(net, arrays)
    types = [each.type for each in new]
    assert "BatchNorm" not in types
    compare(real_caffe, net, arrays, new, other)


# -- the command -------------------------------------------------------------------------------------------


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a train_val file and its model."""
    monkeypatch.chdir(tmp_path)
    text = DATA + layer("DummyData", "label", "", "dummy_data_param { shape { dim: 2 } }")
    text += CASES["conv, BatchNorm, Scale"].text
    text += layer("InnerProduct", "fc", "conv", "inner_product_param { num_output: 5 }")
    text += layer("SoftmaxWithLoss", "loss", "fc label")
    Path("train_val.prototxt").write_text(text)
    write_model("net.caffemodel", random_arrays(prototxt.parse(text)))
    return tmp_path


def test_the_command_writes_both_files_and_says_what_it_did(trained: Path, capsys: Printed) -> None:
    words = ["fold", "train_val.prototxt", "--weights", "net.caffemodel", "-o", "folded", "--json"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["merged"] == {"bn": "conv", "scale": "conv"}
    assert (found["before"]["layers"], found["folded"]["layers"]) == (7, 5)
    assert found["difference"] is None or found["difference"] < 1e-6
    net = prototxt.read("folded/deploy.prototxt")
    stored = {
        x.layer.name: [blob.shape for blob in x.arrays] for x in read_arrays("folded/deploy.caffemodel")
    }
    assert stored == {each.name: [param.shape for param in each.params] for each in net if each.params}
    assert main(words) == 2
    assert "it exists already" in capsys.readouterr().err


def test_what_is_folded_is_the_net_of_the_test_phase(trained: Path, capsys: Printed) -> None:
    def norm(phase: str, fields: str) -> str:
        return layer(
            "BatchNorm", "bn", "conv", f"include {{ phase: {phase} }} batch_norm_param {{ {fields} }}"
        )

    text = DATA + layer("DummyData", "label", "", "dummy_data_param { shape { dim: 2 } }")
    text += conv("conv", "data", K3) + norm("TRAIN", "use_global_stats: false") + norm("TEST", "eps: 0.1")
    text += layer("Scale", "only_train", "bn", "include { phase: TRAIN }", "bn")
    text += layer("InnerProduct", "fc", "bn", "inner_product_param { num_output: 5 }")
    Path("train_val.prototxt").write_text(text + layer("SoftmaxWithLoss", "loss", "fc label"))
    arrays = random_arrays(prototxt.read("train_val.prototxt", "TRAIN"))
    write_model("net.caffemodel", arrays, force=True)
    words = ["fold", "train_val.prototxt", "--weights", "net.caffemodel", "-o", "folded", "--json"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["merged"] == {"bn": "conv"}
    (stored,) = [x.arrays for x in read_arrays("folded/deploy.caffemodel") if x.layer.name == "conv"]
    _, variance, factor = (array.astype(float) for array in arrays["bn"])
    by = 1 / np.sqrt(variance / factor + 0.1)
    np.testing.assert_allclose(stored[0], arrays["conv"][0] * by[:, None, None, None], rtol=1e-6)


def test_a_model_of_another_net_is_refused_and_nothing_is_written(trained: Path, capsys: Printed) -> None:
    def refused(arrays: dict[str, Sequence[Any]]) -> str:
        write_model("other.caffemodel", arrays, force=True)
        assert main(["fold", "train_val.prototxt", "--weights", "other.caffemodel", "-o", "folded"]) == 2
        assert not Path("folded").exists()
        return capsys.readouterr().err

    arrays: dict[str, Sequence[Any]] = dict(random_arrays(prototxt.read("train_val.prototxt")))
    assert "has no weights for layer 'bn'" in refused({k: v for k, v in arrays.items() if k != "bn"})
    assert "has weights of another shape for layer 'conv'" in refused(
        {**arrays, "conv": [np.ones((4, 4, 1, 1))]}
    )
    assert "no layer of the net takes its weights" in refused({"else": [np.ones(3)]})


def test_values_that_are_not_finite_are_no_comparison(trained: Path, capsys: Printed) -> None:
    require_torch()
    arrays = random_arrays(prototxt.read("train_val.prototxt"))
    arrays["fc"][0][:] = np.inf
    write_model("net.caffemodel", arrays, force=True)
    assert main(["fold", "train_val.prototxt", "--weights", "net.caffemodel", "-o", "folded", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["difference"] is None
    assert "not compared: the net with this model gives values that are not finite" in printed.err
