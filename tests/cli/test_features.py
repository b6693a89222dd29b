"""`netbuilder run --blobs`: features of many images in a file, the same by both engines and in any batch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from netbuilder.engines.caffe import Caffe
from netbuilder.weights.write import write_model
from tests.command import Command
from tests.databases import noise
from tests.installation import require_torch

h5py = pytest.importorskip("h5py")
NET = """layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 6 dim: 6 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "fc7" type: "InnerProduct" bottom: "conv" top: "fc7" inner_product_param { num_output: 5 } }
layer { name: "sum" type: "Reduction" bottom: "fc7" top: "sum" }
"""
READER = """layer { name: "data" type: "HDF5Data" top: "fc7" top: "label"
  hdf5_data_param { source: "features.txt" batch_size: 5 } }
layer { name: "score" type: "InnerProduct" bottom: "fc7" top: "score" inner_product_param { num_output: 3 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss" }
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    for i, pixels in enumerate(noise(5, 3, 6, 6)):
        Image.fromarray(pixels.transpose(1, 2, 0)).save(f"an image {i}.png")
    Path("list.txt").write_text("".join(f"an image {i}.png {i % 3}\n" for i in range(5)), encoding="utf-8")
    Path("net.prototxt").write_text(NET, encoding="utf-8")
    draw = np.random.default_rng(2)
    params = {
        "conv": [draw.normal(size=(4, 3, 3, 3)) / 50, draw.normal(size=4)],
        "fc7": [draw.normal(size=(5, 64)) / 10, draw.normal(size=5)],
    }
    write_model("m.caffemodel", params)
    return Command(capsys, "run", "net.prototxt", "--weights", "m.caffemodel")


def features(place: str) -> dict[str, np.ndarray]:
    with h5py.File(place) as file:
        return {name: file[name][:] for name in file}


def expected(run: Command, caffe: Caffe) -> tuple[np.ndarray, np.ndarray]:
    """conv and fc7 of the images, as Caffe's own forward pass gives them."""
    from netbuilder.weights.arrays import read_arrays

    params = {stored.layer.name: list(stored.arrays) for stored in read_arrays("m.caffemodel")}
    images = noise(5, 3, 6, 6)[:, ::-1].astype(np.float32)  # the files are R, G, B, and Caffe takes B, G, R
    text = NET.replace("dim: 1 dim: 3", "dim: 5 dim: 3")
    outputs = caffe.run(text, inputs={"data": images}, params=params, outputs=["conv", "fc7"]).outputs
    return outputs["conv"], outputs["fc7"]


@pytest.mark.parametrize("engine", ["caffe", "torch"])
def test_features_of_a_list_are_those_of_caffe_in_any_batch(
    engine: str, run: Command, real_caffe: Caffe
) -> None:
    if engine == "torch":
        require_torch()
    conv, fc7 = expected(run, real_caffe)
    for batch in ("1", "2"):
        words = ("--engine", engine, "--list", "list.txt", "--blobs", "fc7,conv", "--batch", batch)
        ran = run(*words, "-o", f"{batch}.h5", "--json")
        assert ran.code == 0, ran
        assert json.loads(ran.out)["blobs"] == {"fc7": [5, 5], "conv": [5, 4, 4, 4]}
        stored = features(f"{batch}.h5")
        assert np.abs(stored["fc7"] - fc7).max() < 1e-4 * np.abs(fc7).max()
        assert np.abs(stored["conv"] - conv).max() < 1e-4 * np.abs(conv).max()
        assert stored["label"].tolist() == [0, 1, 2, 0, 1]
        assert [name.decode() for name in stored["image"]] == [f"an image {i}.png" for i in range(5)]


def test_caffe_reads_the_features_as_the_data_of_another_net(run: Command, real_caffe: Caffe) -> None:
    assert run("--engine", "caffe", "--list", "list.txt", "--blobs", "fc7", "-o", "f.h5").code == 0
    files = {"features.txt": b"f.h5\n", "f.h5": Path("f.h5").read_bytes()}
    ran = real_caffe.run(READER, files=files, outputs=["fc7", "label"])
    assert np.array_equal(ran.outputs["fc7"], features("f.h5")["fc7"])
    assert ran.outputs["label"].ravel().tolist() == [0, 1, 2, 0, 1]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--blobs", "fc7", "-o", "a.h5"], "run takes images, or --list FILE that names them"),
        (["a.png", "--list", "list.txt", "--blobs", "fc7", "-o", "a.h5"], "run takes images, or --list FILE"),
        (["--list", "list.txt", "--blobs", "fc7,fc", "-o", "a.h5"], "the net has no blob 'fc'"),
        (
            ["--list", "list.txt", "--blobs", "fc7", "-o", "a.txt"],
            "the kind of 'a.txt' is not known by",
        ),
        (["--list", "list.txt", "--blobs", "fc7,conv", "-o", "a.npy"], "'a.npy' holds one blob"),
        (
            ["--list", "list.txt", "--blobs", "sum", "-o", "a.h5", "--batch", "2"],
            "blob 'sum' has no row",
        ),
        (["--list", "list.txt", "--blobs", "fc7", "-o", "old.h5"], "'old.h5' exists already"),
        (["--list", "no.txt", "--blobs", "fc7", "-o", "a.h5"], "cannot read 'no.txt'"),
        (["none.png", "--blobs", "fc7", "-o", "a.h5"], "cannot read 'none.png'"),
    ],
)
def test_a_mistake_is_named_and_leaves_no_file(
    words: list[str], error: str, run: Command, real_caffe: Caffe
) -> None:
    Path("old.h5").touch()
    ran = run("--engine", "caffe", *words)
    assert ran.code == 2
    assert f"Error: {error}" in ran.err
    assert Path("old.h5").read_bytes() == b""
    assert not list(Path().glob("*a.h5*"))
