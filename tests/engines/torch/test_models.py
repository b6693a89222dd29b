"""Models between real Caffe and PyTorch: what Caffe wrote loads here, what we write loads there."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from netbuilder import prototxt
from netbuilder.checks.weights import fit
from netbuilder.engines.caffe import Caffe
from netbuilder.engines.caffe.install import environment
from netbuilder.engines.torch import module
from netbuilder.engines.torch.network import NetModule
from netbuilder.errors import EngineError
from netbuilder.weights.model import read_model
from netbuilder.weights.write import write_model
from tests import consumers
from tests.engines.torch.given import give

# Run by the Python that has Caffe, which may live in another root: files come over stdin and go to stdout.
# With "weights" it loads the model and returns the outputs; else it runs TRAIN for statistics, saves the net,
# and returns the outputs of TEST with the model's weights.
RUN = """
import base64, json, os, sys, tempfile
import numpy as np
import caffe
given = json.load(sys.stdin)
os.chdir(tempfile.mkdtemp())
for name, data in given["files"].items():
    with open(name, "wb") as file:
        file.write(base64.b64decode(data))
answer = {}
image = np.array(given["image"], np.float32)
if "weights" not in given["files"]:
    caffe.set_random_seed(3)
    net = caffe.Net("net", caffe.TRAIN)
    for _ in range(3):
        net.blobs["data"].data[...] = np.random.RandomState(1).normal(size=image.shape)
        net.forward()
    net.save("weights")
    net.save_hdf5("weights.h5")
    for name in ("weights", "weights.h5"):
        with open(name, "rb") as file:
            answer[name] = base64.b64encode(file.read()).decode()
net = caffe.Net("net", caffe.TEST, weights="weights")
net.blobs["data"].data[...] = image
answer["outputs"] = {name: blob.tolist() for name, blob in net.forward().items()}
print(json.dumps(answer))
"""

# A residual block as pynetbuilder writes it: BatchNorm and Scale in place, behind each convolution.
_UNIT = """layer {{ name: "conv{i}" type: "Convolution" bottom: "{bottom}" top: "conv{i}"
  convolution_param {{ num_output: 8 kernel_size: {k} pad: {pad} bias_term: false
    weight_filler {{ type: "msra" }} }} }}
layer {{ name: "bn{i}" type: "BatchNorm" bottom: "conv{i}" top: "conv{i}"
  param {{ lr_mult: 0 }} param {{ lr_mult: 0 }} param {{ lr_mult: 0 }} }}
layer {{ name: "scale{i}" type: "Scale" bottom: "conv{i}" top: "conv{i}"
  scale_param {{ bias_term: true filler {{ value: 0.7 }} bias_filler {{ value: 0.1 }} }} }}
"""
BLOCK = (
    'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 9 dim: 9 } } }\n'
    + _UNIT.format(i=0, bottom="data", k=1, pad=0)
    + 'layer { name: "relu0" type: "ReLU" bottom: "conv0" top: "conv0" }\n'
    + _UNIT.format(i=1, bottom="conv0", k=3, pad=1)
    + 'layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }\n'
    + _UNIT.format(i=2, bottom="conv1", k=3, pad=1)
    + """layer { name: "sum" type: "Eltwise" bottom: "conv0" bottom: "conv2" top: "sum" }
layer { name: "relu2" type: "ReLU" bottom: "sum" top: "sum" }
layer { name: "pool" type: "Pooling" bottom: "sum" top: "pool"
  pooling_param { pool: AVE kernel_size: 3 stride: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
"""
)  # fmt: skip
# Two layers that share their parameters.
SHARED = """layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 2 dim: 4 dim: 1 dim: 1 } } }
layer { name: "a" type: "InnerProduct" bottom: "data" top: "a" param { name: "w" } param { name: "b" }
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } bias_filler { value: 0.3 } } }
layer { name: "b" type: "InnerProduct" bottom: "a" top: "b" param { name: "w" } param { name: "b" }
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "own" type: "InnerProduct" bottom: "b" top: "own"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
"""
NETS = {"block": BLOCK, "shared": SHARED}


def in_caffe(caffe: Caffe, image: Any, files: dict[str, bytes]) -> Any:
    """What RUN answers in the Python of real Caffe."""
    packed = {name: base64.b64encode(data).decode() for name, data in files.items()}
    done = subprocess.run(
        [*caffe.install.command, "-c", RUN], input=json.dumps({"files": packed, "image": image.tolist()}),
        env=environment(caffe.install), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def image_of(m: NetModule, text: str) -> Any:
    (blob,) = prototxt.parse(text).inputs
    return np.random.default_rng(7).normal(size=blob.known_shape).astype(np.float32)


def outputs(m: NetModule, image: Any) -> dict[str, Any]:
    with torch.no_grad():
        return {name: value.numpy() for name, value in m(torch.from_numpy(image)).items()}


@pytest.mark.parametrize("name", NETS)
def test_what_real_caffe_wrote_loads_with_the_same_outputs(
    real_caffe: Caffe, name: str, tmp_path: Path
) -> None:
    text = NETS[name]
    net = prototxt.parse(text)
    m = module(net, seed=1)
    image = image_of(m, text)
    answer = in_caffe(real_caffe, image, {"net": text.encode()})
    for file in ("weights", "weights.h5"):
        path = tmp_path / file
        path.write_bytes(base64.b64decode(answer[file]))
        fresh = module(net, seed=2)
        found = fresh.load_caffemodel(path)
        assert found == fit([net], read_model(path))
        assert (found.new, found.unused) == ((), ())
        for top, values in answer["outputs"].items():
            np.testing.assert_allclose(outputs(fresh, image)[top], values, rtol=0, atol=5e-6)
        if name == "block":  # Caffe's sums after three passes: 1 + 0.999 + 0.999^2
            assert float(fresh.params["bn1"][2]) == pytest.approx(2.997001, rel=1e-6)


@pytest.mark.parametrize("name", NETS)
def test_real_caffe_computes_the_same_from_what_we_wrote(
    real_caffe: Caffe, name: str, tmp_path: Path
) -> None:
    text = NETS[name]
    m = with_statistics(text)
    image = image_of(m, text)
    m.save_caffemodel(tmp_path / "m")
    files = {"net": text.encode(), "weights": (tmp_path / "m").read_bytes()}
    for top, values in in_caffe(real_caffe, image, files)["outputs"].items():
        np.testing.assert_allclose(outputs(m, image)[top], values, rtol=0, atol=5e-6)


def with_statistics(text: str) -> NetModule:
    """A net with drawn statistics whose factor is not 1."""
    m = module(prototxt.parse(text), seed=4)
    draw = np.random.default_rng(8)
    for layer, blobs in m.params.items():
        if len(blobs) == 3:
            shape = tuple(blobs[0].shape)
            give(m, {layer: [draw.normal(size=shape), draw.uniform(1, 3, shape), np.full(1, 2.5)]})
    return m


@pytest.mark.parametrize("consumer", ["opencv", "mnn"])
def test_other_readers_compute_the_same_from_what_we_wrote(consumer: str, tmp_path: Path) -> None:
    consumers.require(consumers.MODULES[consumer])
    text = BLOCK.replace("dim: 2 dim: 3", "dim: 1 dim: 3")
    m = with_statistics(text)
    image = image_of(m, text)
    (tmp_path / "net.prototxt").write_text(text)
    m.save_caffemodel(tmp_path / "net.caffemodel")
    (found,) = consumers.computed(consumer, tmp_path, {"data": image}, [("fc", 0, "fc")])
    np.testing.assert_allclose(found.reshape(1, 5), outputs(m, image)["fc"], rtol=0, atol=1e-4)


def test_shared_parameters_are_one_tensor_and_each_layer_stores_them(tmp_path: Path) -> None:
    m = module(prototxt.parse(SHARED), seed=1)
    assert m.params["a"][0].data_ptr() == m.params["b"][0].data_ptr()
    m.save_caffemodel(tmp_path / "m")
    assert [layer.name for layer in read_model(tmp_path / "m").layers] == ["a", "b", "own"]
    write_model(tmp_path / "b", {"b": [np.full((4, 4), 2.0), np.zeros(4)]})
    found = m.load_caffemodel(tmp_path / "b")
    assert found == fit([prototxt.parse(SHARED)], read_model(tmp_path / "b"))
    assert (m.params["a"][0] == 2).all()


MODELS: dict[str, dict[str, list[tuple[int, ...]]]] = {
    "all": {"a": [(4, 4), (4,)], "b": [(4, 4), (4,)], "own": [(3, 4), (3,)]},
    "one of two that share": {"a": [(4, 4), (4,)]},
    "other names": {"a": [(4, 4), (4,)], "fc8": [(3, 4), (3,)]},
    "none": {"fc8": [(3, 4), (3,)]},
    "a layer without blobs": {"a": [], "own": [(3, 4), (3,)]},
}


@pytest.mark.parametrize("name", MODELS)
def test_what_is_taken_is_what_the_check_says(name: str, tmp_path: Path) -> None:
    net = prototxt.parse(SHARED)
    write_model(tmp_path / "m", {x: [np.ones(s) for s in shapes] for x, shapes in MODELS[name].items()})
    expected = fit([net], read_model(tmp_path / "m"))
    if expected.refused:
        with pytest.raises(EngineError, match="do not fit"):
            module(net).load_caffemodel(tmp_path / "m")
    else:
        assert module(net).load_caffemodel(tmp_path / "m") == expected


def test_a_model_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    m = module(prototxt.parse(SHARED), seed=1)
    before = {name: value.clone() for name, value in m.state_dict().items()}
    write_model(tmp_path / "m", {"a": [np.ones((4, 4)), np.ones(4)], "own": [np.ones((3, 5)), np.ones(3)]})
    with pytest.raises(EngineError, match=r"layer 'own' do not fit: the net has \(3,4\) \(3\), .* \(3,5\)"):
        m.load_caffemodel(tmp_path / "m")
    assert all(torch.equal(value, before[name]) for name, value in m.state_dict().items())
