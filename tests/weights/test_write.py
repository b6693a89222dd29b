"""Binary files that are written: weights by layer name, and single arrays."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netbuilder import Net, prototxt
from netbuilder.engines.caffe import Caffe
from netbuilder.engines.caffe.install import environment
from netbuilder.errors import FileError
from netbuilder.schema import BlobProto
from netbuilder.weights.write import write_blob, write_model

# Run by the Python that has Caffe, which may live in another root: the files come over stdin.
LOAD = """
import base64, json, os, sys, tempfile
import caffe
given = json.load(sys.stdin)
os.chdir(tempfile.mkdtemp())
for name in ("net", "weights"):
    with open(name, "wb") as file:
        file.write(base64.b64decode(given[name]))
net = caffe.Net("net", caffe.TRAIN, weights="weights")
print(json.dumps({name: [blob.data.tolist() for blob in blobs] for name, blobs in net.params.items()}))
"""


def two_convolutions() -> Net:
    net = Net("n", "TRAIN")
    x = net.add("Input", name="data", shape={"dim": [1, 2, 4, 4]})
    x = net.add("Convolution", x, name="first", num_output=3, kernel_size=1)
    net.add("Convolution", x, name="second", num_output=1, kernel_size=1, weight_filler={"type": "constant"})
    return net


def loaded(caffe: Caffe, text: str, model: Path) -> Any:
    """The params of the net after real Caffe has copied the model's into it."""
    files = {"net": text.encode(), "weights": model.read_bytes()}
    given = json.dumps({name: base64.b64encode(data).decode() for name, data in files.items()})
    command = [*caffe.install.command, "-c", LOAD]
    done = subprocess.run(
        command, input=given, env=environment(caffe.install), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_real_caffe_copies_the_weights_by_name_and_leaves_the_other_layers(
    real_caffe: Caffe, tmp_path: Path
) -> None:
    weight = np.arange(6, dtype=np.float32).reshape(3, 2, 1, 1)
    bias = np.array([1, -2, 0.5])
    write_model(tmp_path / "x.caffemodel", {"first": [weight, bias], "of_another_net": [bias]})
    params = loaded(real_caffe, prototxt.dumps(two_convolutions()), tmp_path / "x.caffemodel")
    assert params["first"] == [weight.tolist(), bias.tolist()]
    assert np.all(np.array(params["second"][0]) == 0)


def test_a_model_that_is_written_is_read_again(tmp_path: Path) -> None:
    write_model(tmp_path / "x.caffemodel", {"first": [np.zeros((3, 2, 1, 1)), np.zeros(3)]})
    model = prototxt.read_model(tmp_path / "x.caffemodel")
    assert [(layer.name, layer.blobs) for layer in model.layers] == [("first", ((3, 2, 1, 1), (3,)))]


def test_an_array_is_written_with_its_shape(tmp_path: Path) -> None:
    write_blob(tmp_path / "x.binaryproto", [[1.0, 2.0, 3.0], [4.0, 5.0, 6.5]])
    blob = BlobProto.FromString((tmp_path / "x.binaryproto").read_bytes())
    assert (list(blob.shape.dim), list(blob.data)) == ([2, 3], [1, 2, 3, 4, 5, 6.5])


def test_a_file_that_is_there_is_replaced_only_by_force(tmp_path: Path) -> None:
    path = tmp_path / "x.caffemodel"
    path.write_bytes(b"mine")
    with pytest.raises(FileError) as refused:
        write_model(path, {})
    assert str(refused.value) == (
        f"cannot write '{path}': it exists already\n  hint:    give another name, or use force=True"
    )
    assert path.read_bytes() == b"mine"
    write_model(path, {}, force=True)
    assert path.read_bytes() == b""


def test_a_path_that_cannot_be_written_is_reported_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "x.binaryproto"
    with pytest.raises(FileError) as refused:
        write_blob(path, [1])
    assert refused.value.text == f"cannot write '{path}': no such file or directory"
    assert list(tmp_path.iterdir()) == []
