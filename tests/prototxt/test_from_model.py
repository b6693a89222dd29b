"""The net inside a .caffemodel: real Caffe loads it and computes what it computed when it saved the model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from netbuilder import prototxt
from netbuilder.engines import caffe
from netbuilder.prototxt.from_model import model_net
from netbuilder.schema import NetParameter, message
from netbuilder.weights.arrays import read_arrays
from netbuilder.weights.write import head, write_model
from tests.command import Command
from tests.databases import noise, write_lmdb
from tests.transforms.test_deploy import conv, data, ip, layer, relu

SOLVER = 'net: "train_val.prototxt" base_lr: 0.01 lr_policy: "fixed" max_iter: 1 snapshot_prefix: "of"'
# conv1 has three readers, so that Caffe inserts a Split, and a layer in place comes before it.
BODY = (
    conv() + relu() + conv("a", "conv1") + conv("b", "conv1") + layer("Eltwise", "sum", "a b")
    + layer("Dropout", "drop", "sum", tops="sum") + ip(bottom="sum") + ip("fc_b", "conv1")
)  # fmt: skip
LOSSES = layer("SoftmaxWithLoss", "loss", "fc label") + layer(
    "SoftmaxWithLoss", "loss_b", "fc_b label", "loss_weight: 0.3"
)
TRAINED = (
    data("TRAIN")
    + data("TEST")
    + BODY
    + LOSSES
    + layer("Accuracy", "acc", "fc label", "include { phase: TEST }")
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.chdir(tmp_path)
    return Command(capsys)


def arrays(file: str) -> dict[str, list[Any]]:
    return {x.layer.name: list(x.arrays) for x in read_arrays(file) if x.arrays}


def test_the_net_of_a_snapshot_is_the_net_that_was_trained(run: Command, real_caffe: caffe.Caffe) -> None:
    write_lmdb("images_lmdb", noise(2, 3, 8, 8), [1, 4])
    Path("train_val.prototxt").write_text(TRAINED)
    Path("solver.prototxt").write_text(SOLVER)
    assert run("train", "solver.prototxt", "--engine", "caffe").code == 0
    model = "of_iter_1.caffemodel"
    assert b"_split" in Path(model).read_bytes()
    text = run("show-net", model).out
    assert "split" not in text
    original = prototxt.read("train_val.prototxt", "TRAIN")
    found = prototxt.parse(text, "TRAIN", inputs={"data": (2, 3, 6, 6)})
    assert [(x.name, x.type, x.proto.bottom, x.proto.top) for x in found] == [
        (x.name, x.type, x.proto.bottom, x.proto.top) for x in original
    ]
    # Any verb takes the model as its net. The deploy net is that of the file, and not held in TRAIN.
    assert run("deploy", model, "-o", "of_model.prototxt").code == 0
    assert run("deploy", "train_val.prototxt", "-o", "of_file.prototxt").code == 0
    inputs = {"data": np.random.default_rng(1).normal(size=(1, 3, 6, 6))}
    params = arrays(model)
    values = [
        real_caffe.run(Path(file).read_text(), inputs=inputs, params=params).outputs
        for file in ("of_model.prototxt", "of_file.prototxt")
    ]
    assert values[0].keys() == values[1].keys() == {"fc_prob", "fc_b_prob"}
    for name, value in values[0].items():
        np.testing.assert_array_equal(value, values[1][name])
    assert run("diff", "of_model.prototxt", "of_file.prototxt").code == 0
    assert run("train-val", model, "--data", "lmdb", "--train_source", "images_lmdb", "--test_source",
               "images_lmdb", "--batch", "2", "-o", "again.prototxt").code == 0  # fmt: skip


def with_blobs(net: Any, weights: dict[str, list[Any]]) -> bytes:
    """A model of an old format: the layers with their blobs, of four axes each."""
    for outer in net.layers:
        inner = outer.layer if outer.HasField("layer") else outer
        for array in weights.get(inner.name, ()):
            sizes = (1, 1, 1, 1, *array.shape)[-4:]
            blob = inner.blobs.add(num=sizes[0], channels=sizes[1], height=sizes[2], width=sizes[3])
            blob.data.extend(array.reshape(-1).tolist())
    return bytes(net.SerializeToString())


V1 = """name: "old" layers { name: "data" type: MEMORY_DATA top: "data" top: "label"
  memory_data_param { batch_size: 2 channels: 3 height: 6 width: 6 } }
layers { name: "conv1" type: CONVOLUTION bottom: "data" top: "conv1" blobs_lr: 1 blobs_lr: 2
  convolution_param { num_output: 4 kernel_size: 3 } }
layers { name: "conv1_conv1_0_split" type: SPLIT bottom: "conv1" top: "conv1_conv1_0_split_0"
  top: "conv1_conv1_0_split_1" }
layers { name: "tanh" type: TANH bottom: "conv1_conv1_0_split_0" top: "tanh" }
layers { name: "sum" type: ELTWISE bottom: "tanh" bottom: "conv1_conv1_0_split_1" top: "sum" }
layers { name: "fc" type: INNER_PRODUCT bottom: "sum" top: "fc" inner_product_param { num_output: 5 } }
layers { name: "loss" type: SOFTMAX_LOSS bottom: "fc" bottom: "label" top: "loss" loss_weight: 1 }
"""
V0 = """name: "older" input: "data" input_dim: 2 input_dim: 3 input_dim: 6 input_dim: 6
layers { layer { name: "pad" type: "padding" pad: 1 } bottom: "data" top: "pad" }
layers { layer { name: "conv1" type: "conv" num_output: 4 kernelsize: 3 } bottom: "pad" top: "conv1" }
layers { layer { name: "conv1_split" type: "split" } bottom: "conv1" top: "conv1_split_0"
  top: "conv1_split_1" }
layers { layer { name: "tanh" type: "tanh" } bottom: "conv1_split_0" top: "tanh" }
layers { layer { name: "both" type: "concat" } bottom: "tanh" bottom: "conv1_split_1" top: "both" }
layers { layer { name: "fc" type: "innerproduct" num_output: 5 } bottom: "both" top: "fc" }
layers { layer { name: "prob" type: "softmax" } bottom: "fc" top: "prob" }
"""


@pytest.mark.parametrize(("text", "splits"), [(V1, 1), (V0, 1)], ids=["V1", "V0"])
def test_models_of_2013_and_2014(text: str, splits: int, run: Command, real_caffe: caffe.Caffe) -> None:
    from google.protobuf import text_format

    random = np.random.default_rng(3)
    net = prototxt.parse(text)
    weights = {x.name: [random.normal(size=p.shape).astype("f4") for p in x.params] for x in net if x.params}
    Path("old.caffemodel").write_bytes(with_blobs(text_format.Parse(text, NetParameter()), weights))
    found = run("show-net", "old.caffemodel", "-o", "net.prototxt")
    assert (found.code, found.err) == (0, "wrote net.prototxt\n")
    shown = Path("net.prototxt").read_text()
    assert "split" not in shown
    assert len(prototxt.parse(shown)) == len(net) - splits
    inputs = {"data": random.normal(size=(2, 3, 6, 6))}
    if text is V1:
        inputs["label"] = np.array([1.0, 3.0])
    wanted = real_caffe.run(text, inputs=inputs, params=weights).outputs
    ours = real_caffe.run(shown, inputs=inputs, params=weights).outputs
    assert wanted.keys() == ours.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(ours[name], value)
    assert run("deploy", "old.caffemodel", "-o", "deploy.prototxt").code == 0
    assert prototxt.read("deploy.prototxt").outputs[0].name == "prob"


def test_models_without_a_net_say_so(run: Command) -> None:
    write_model("weights.caffemodel", {"conv1": [np.ones((2, 2))]})
    with h5py.File("net.caffemodel.h5", "w") as file:
        file["data/conv1/0"] = np.ones((2, 2))
    for verb in (["show-net"], ["deploy", "-o", "out.prototxt"]):
        ran = run(*verb, "weights.caffemodel")
        assert ran.code == 2
        assert ran.err.startswith("FileError: 'weights.caffemodel' stores weights by layer name, and no net")
        ran = run(*verb, "net.caffemodel.h5")
        assert ran.code == 2
        assert "is an HDF5 model, which stores weights and no net" in ran.err
    assert not Path("out.prototxt").exists()


def test_a_damaged_model_and_other_files_are_refused(run: Command) -> None:
    write_model("weights.caffemodel", {"conv1": [np.ones((20, 20))]})
    Path("short.caffemodel").write_bytes(Path("weights.caffemodel").read_bytes()[:900])
    assert "is cut short" in run("show-net", "short.caffemodel").err
    Path("text.prototxt").write_text(conv())
    assert "it looks like text" in run("show-net", "text.prototxt").err
    assert "no such file" in run("show-net", "nothing").err


def test_fields_of_a_fork_are_named_as_left_out(run: Command) -> None:
    net = NetParameter(name="forked")
    net.layer.add(name="data", type="Input", top=["data"]).input_param.shape.add(dim=[1, 3, 4, 4])
    forked = net.layer.add(name="bn", type="BatchNorm", bottom=["data"], top=["bn"])
    forked.batch_norm_param.MergeFromString(b"\xa8\x06\x01")  # field 101
    Path("forked.caffemodel").write_bytes(net.SerializeToString())
    ran = run("show-net", "forked.caffemodel")
    assert ran.err == (
        "note: left out field 101 in BatchNormParameter of layer 'bn': a fork's, known by number alone\n"
    )
    assert len(prototxt.parse(ran.out)) == 2


def test_a_field_too_large_for_a_net_is_refused(run: Command) -> None:
    layer_bytes = message("LayerParameter")(name="x", type="ReLU", top=["x"]).SerializeToString()
    with open("odd.caffemodel", "wb") as file:
        file.write(head(100, len(layer_bytes)) + layer_bytes + head(77, 2**27))
        file.truncate(file.tell() + 2**27)
    assert "field 77 has" in run("show-net", "odd.caffemodel").err


def test_a_large_model_is_not_loaded(tmp_path: Path) -> None:
    """2 GiB of weights, which the file does not even hold on the disk."""
    size = 2**29
    proto = message("LayerParameter")(name="fc", type="InnerProduct", bottom=["data"], top=["fc"])
    proto.inner_product_param.num_output = 2**14
    dims = message("BlobShape")(dim=[2**14, 2**15]).SerializeToString()
    first, last = head(5, 4 * size), head(7, len(dims)) + dims
    blob = len(first) + 4 * size + len(last)
    fields = proto.SerializeToString() + head(7, blob)
    path = tmp_path / "large.caffemodel"
    with path.open("wb") as file:
        file.write(head(100, len(fields) + blob) + fields + first)
        file.seek(4 * size, 1)
        file.write(last)
    code = (
        "import re, sys; from netbuilder.prototxt.from_model import model_net\n"
        "text = model_net(sys.argv[1]).text\n"
        "most = re.search('VmHWM: *([0-9]+)', open('/proc/self/status').read().replace('\\t', ' '))\n"
        "print(int(most[1]) // 1024, len(text))"  # ru_maxrss begins with what the parent had
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60)
    megabytes, length = map(int, done.stdout.split())
    assert megabytes < 200
    assert length == len(model_net(path).text) < 200
