"""`netbuilder run`: images prepared as real Caffe prepares them, and the same answers by both engines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from netbuilder.cli.main import main
from netbuilder.engines.caffe import Caffe
from netbuilder.weights.write import write_blob, write_model
from tests.engines.case import refusal

LAYERS = """layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 8 kernel_size: 5 stride: 3 } }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 6 } }
"""
DEPLOY = (
    'layer { name: "in" type: "Input" top: "data" '
    "input_param { shape { dim: 10 dim: 3 dim: 24 dim: 20 } } }\n"
    + LAYERS
    + 'layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }\n'
)
LOSS = (
    'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }\n'
    'layer { name: "acc" type: "Accuracy" bottom: "fc" bottom: "label" top: "acc" }\n'
)


def listed(transform: str, data: str = "new_height: 40 new_width: 36") -> str:
    """A net whose data layer reads a list of images."""
    return (
        'layer { name: "data" type: "ImageData" top: "data" top: "label" '
        f"transform_param {{ {transform} }} "
        f'image_data_param {{ source: "list.txt" batch_size: 1 {data} }} }}\n' + LAYERS + LOSS
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that one is in, with a net, its model, two images and a mean."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(5)
    for name in ("a.png", "b.jpg"):
        Image.fromarray(draw.integers(0, 255, (61, 47, 3), dtype=np.uint8)).save(name)
    Path("list.txt").write_text("a.png 0\n")
    Path("deploy.prototxt").write_text(DEPLOY)
    write_blob("mean.binaryproto", draw.uniform(90, 130, (1, 3, 40, 36)))
    params = {
        "conv": [draw.normal(size=(8, 3, 5, 5)) / 50, draw.normal(size=8)],
        "fc": [draw.normal(size=(6, 8)) / 10, draw.normal(size=6)],
    }
    write_model("m.caffemodel", params)
    return tmp_path


def stored(net: str, blob: str, *words: str) -> Any:
    command = ["run", net, "--weights", "m.caffemodel", "--blob", blob, "-o", "out.npy", "--force"]
    assert main([*command, *words]) == 0
    return np.load("out.npy")


TRANSFORMS = {
    "nothing": "",
    "a value a channel": "mean_value: 104 mean_value: 117 mean_value: 123.5",
    "one value, scaled": "mean_value: 100 scale: 0.0078125",
    "crop": "crop_size: 25 scale: 0.5",
    "mean image and crop": 'mean_file: "mean.binaryproto" crop_size: 31',
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_an_image_is_prepared_as_caffes_data_layer_prepares_it(
    folder: Path, real_caffe: Caffe, transform: str
) -> None:
    text = listed(transform)
    Path("net.prototxt").write_text(text)
    files = {name: (folder / name).read_bytes() for name in ("list.txt", "a.png", "mean.binaryproto")}
    expected = real_caffe.run(text, files=files, outputs=["data"]).outputs["data"]
    np.testing.assert_allclose(stored("net.prototxt", "data", "a.png"), expected, rtol=0, atol=1e-5)


def test_grey_images_go_into_one_channel(folder: Path, real_caffe: Caffe) -> None:
    text = listed("mean_value: 100", "is_color: false new_height: 30 new_width: 30")
    files = {name: (folder / name).read_bytes() for name in ("list.txt", "a.png")}
    expected = real_caffe.run(text, files=files, outputs=["data"]).outputs["data"]
    deploy = DEPLOY.replace("dim: 3 dim: 24 dim: 20", "dim: 1 dim: 30 dim: 30")
    Path("grey.prototxt").write_text(deploy)
    write_model("m.caffemodel", {"conv": [np.zeros((8, 1, 5, 5)), np.zeros(8)]}, force=True)
    found = stored("grey.prototxt", "data", "a.png", "--mean", "100")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("blob", ["conv", "prob"])
def test_both_engines_compute_the_same_blob(folder: Path, real_caffe: Caffe, blob: str) -> None:
    words = ["a.png", "b.jpg", "--mean", "104,117,123", "--scale", "0.02", "--size", "40x36"]
    ours, caffes = (stored("deploy.prototxt", blob, *words, "--engine", e) for e in ("torch", "caffe"))
    assert ours.shape == caffes.shape
    assert len(ours) == 2
    np.testing.assert_allclose(ours, caffes, rtol=0, atol=1e-5)


@pytest.mark.parametrize("net", ["deploy.prototxt", "net.prototxt"])
def test_both_engines_find_the_same_classes(
    folder: Path, real_caffe: Caffe, net: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("net.prototxt").write_text(listed("scale: 0.02 crop_size: 24"))
    Path("names.txt").write_text("".join(f"class {i}\n" for i in "abcdef"))
    command = ["run", net, "--weights", "m.caffemodel", "--labels", "names.txt", "a.png", "b.jpg", "--json"]
    answers = []
    for engine in ("torch", "caffe"):
        assert main([*command, "--engine", engine]) == 0
        answers.append(json.loads(capsys.readouterr().out)["images"])
    for ours, caffes in zip(*answers, strict=True):
        assert ours["image"] == caffes["image"]
        assert len(ours["top"]) == 5
        for mine, other in zip(ours["top"], caffes["top"], strict=True):
            assert (mine["class"], mine["label"]) == (other["class"], f"class {'abcdef'[mine['class']]}")
            assert mine["score"] == pytest.approx(other["score"], abs=1e-5)
        scores = [best["score"] for best in ours["top"]]
        assert scores == sorted(scores, reverse=True)
        assert 0.5 < sum(scores) <= 1  # probabilities, also where the net ends in a loss


def test_rgb_turns_the_channels_round(folder: Path) -> None:
    bgr = stored("deploy.prototxt", "data", "a.png", "--mean", "1,2,3", "--bgr")
    rgb = stored("deploy.prototxt", "data", "a.png", "--mean", "3,2,1", "--rgb")
    assert (rgb == bgr[:, ::-1]).all()
    assert (rgb[0, 0] != bgr[0, 0]).any()


def test_a_net_takes_another_size(folder: Path) -> None:
    assert stored("deploy.prototxt", "data", "a.png", "--size", "64", "--crop", "50x60").shape == (
        1,
        3,
        50,
        60,
    )


def test_the_table_has_a_row_a_class(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "deploy.prototxt", "--weights", "m.caffemodel", "a.png", "--top", "2"]) == 0
    said = capsys.readouterr()
    head, _, first, second = said.out.splitlines()
    assert head.split() == ["image", "class", "score"]
    assert float(first.split()[2]) >= float(second.split()[2])
    assert said.err.startswith("engine: torch, PyTorch ")


def test_a_file_is_replaced_only_by_force(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("own.npy").write_text("mine")
    words = [
        "run",
        "deploy.prototxt",
        "--weights",
        "m.caffemodel",
        "a.png",
        "--blob",
        "prob",
        "-o",
        "own.npy",
    ]
    assert main(words) == 2
    assert "'own.npy' is in the way" in capsys.readouterr().err
    assert Path("own.npy").read_text() == "mine"
    assert main([*words, "--force"]) == 0
    assert "wrote own.npy: prob, 1x6" in capsys.readouterr().err


MISTAKES = {
    "a blob without a file": (["--blob", "prob"], "--blobs NAME and -o FILE belong together"),
    "an unknown blob": (["--blob", "prop", "-o", "x.npy"], "the net has no blob 'prop'"),
    "a crop that is too large": (
        ["--size", "20", "--crop", "30"],
        "a crop of 30x30 is larger than the image",
    ),
    "a mean of other channels": (["--mean", "1,2"], "the mean has shape (2), and the image 3 channels"),
    "no mean": (["--mean", "nothing.binaryproto"], "cannot read the mean 'nothing.binaryproto'"),
    "a mean that is none": (["--mean", "a.png"], "'a.png' is not a mean image"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named(folder: Path, mistake: str, capsys: pytest.CaptureFixture[str]) -> None:
    words, text = MISTAKES[mistake]
    command = ["run", "deploy.prototxt", "--weights", "m.caffemodel", "a.png", *words]
    assert refusal(command, capsys).startswith(text)


@pytest.mark.parametrize("image", ["nothing.png", "list.txt"])
def test_a_file_that_is_not_an_image_is_named(
    folder: Path, image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "deploy.prototxt", "--weights", "m.caffemodel", image]) == 2
    assert f"FileError: cannot read '{image}': " in capsys.readouterr().err
