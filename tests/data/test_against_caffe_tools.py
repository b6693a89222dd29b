"""Databases and means are, byte for byte, what Caffe's own tools make of the same files."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from netbuilder.data import datum, mnist
from netbuilder.data.sets import Options, write_sets

Run = Callable[..., tuple[int, str, str]]
Read = Callable[[Path], dict[bytes, bytes]]

FLAGS = [
    (),
    ("--gray",),
    ("--resize_height=32", "--resize_width=32"),
    ("--resize_height=67", "--resize_width=41"),
    ("--gray", "--resize_height=20", "--resize_width=57"),
    ("--encoded",),
    ("--encoded", "--encode_type=jpg", "--resize_height=32", "--resize_width=32"),
    ("--encoded", "--encode_type=jpg", "--gray", "--resize_height=32", "--resize_width=32"),
]


@pytest.mark.parametrize("flags", FLAGS, ids=" ".join)
def test_every_record_is_that_of_convert_imageset(
    flags: tuple[str, ...], tools: Any, pictures: Path, data: Run, records: Read, tmp_path: Path
) -> None:
    shutil.copytree(pictures, tools.folder / "pictures")
    there = tools.inside / "pictures"
    tools.run(
        "convert_imageset", *(f.replace("--", "-") for f in flags), f"{there}/", there / "list",
        tools.inside / "db",
    )  # fmt: skip
    code, _, _ = data("lmdb", pictures / "list", "-o", tmp_path / "db", "--jobs", 1, *flags)
    assert code == 0
    ours, theirs = records(tmp_path / "db"), records(tools.folder / "db")
    assert list(ours) == list(theirs)
    assert [key for key in ours if ours[key] != theirs[key]] == []
    assert len(ours) == 29


def test_encoded_png_has_the_pixels_of_convert_imageset(
    tools: Any, pictures: Path, data: Run, records: Read, tmp_path: Path
) -> None:
    shutil.copytree(pictures, tools.folder / "pictures")
    there = tools.inside / "pictures"
    flags = ("encoded", "encode_type=png", "resize_height=24", "resize_width=32")
    tools.run("convert_imageset", *(f"-{f}" for f in flags), f"{there}/", there / "list", tools.inside / "db")
    assert data("lmdb", pictures / "list", "-o", tmp_path / "db", *(f"--{f}" for f in flags))[0] == 0
    ours, theirs = records(tmp_path / "db"), records(tools.folder / "db")

    def pixels(record: bytes) -> Any:
        import io

        read = datum.read(memoryview(record))
        assert read.encoded
        return np.asarray(Image.open(io.BytesIO(read.data))).tolist()

    assert [key for key in theirs if pixels(ours[key]) != pixels(theirs[key])] == []


@pytest.mark.parametrize("flags", [(), ("--gray",), ("--encoded", "--encode_type=jpg"), ("--pad=3",)],
                         ids=" ".join)  # fmt: skip
def test_the_mean_is_that_of_compute_image_mean(
    flags: tuple[str, ...], tools: Any, small: Path, data: Run, tmp_path: Path
) -> None:
    mean = tmp_path / "mean.binaryproto"
    assert data("lmdb", small, "-o", tmp_path / "db", "--mean", mean, *flags)[0] == 0
    shutil.copytree(tmp_path / "db", tools.folder / "db")
    tools.run("compute_image_mean", tools.inside / "db", tools.inside / "mean")
    assert mean.read_bytes() == (tools.folder / "mean").read_bytes()


def test_mnist_records_are_those_of_convert_mnist_data(tools: Any, records: Read, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    files = {}
    for prefix, n in (("train", 40), ("t10k", 12)):
        pixels = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8).tobytes()
        labels = rng.integers(0, 10, n, dtype=np.uint8).tobytes()
        files[f"data/{prefix}-images-idx3-ubyte"] = struct.pack(">IIII", 2051, n, 28, 28) + pixels
        files[f"data/{prefix}-labels-idx1-ubyte"] = struct.pack(">II", 2049, n) + labels
    (tools.folder / "data").mkdir()
    for name, content in files.items():
        (tools.folder / name).write_bytes(content)
    write_sets(
        mnist.decode(files),
        tmp_path,
        Options(pad_value=(0,)),
        classes=mnist.CLASSES,
        key_digits=mnist.KEY_DIGITS,
    )
    for ours, prefix in (("train_lmdb", "train"), ("test_lmdb", "t10k")):
        idx = [tools.inside / f"data/{prefix}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1")]
        tools.run("convert_mnist_data", "--backend=lmdb", *idx, tools.inside / ours)
        assert records(tmp_path / ours) == records(tools.folder / ours)


NET = """
layer {{ name: "data" type: "Data" top: "data" top: "label"
  data_param {{ source: "{source}" backend: LMDB batch_size: 24 }}
  transform_param {{ crop_size: {crop} mean_file: "{mean}" }} }}
layer {{ name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param {{ num_output: 3 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }}
"""


def test_the_data_layer_gives_the_pixels_minus_the_mean(
    real_caffe: Any, small: Path, data: Run, tmp_path: Path
) -> None:
    mean = tmp_path / "mean"
    assert (
        data("lmdb", small, "-o", tmp_path / "db", "--pad", 2, "--pad_value", 9, 8, 7, "--mean", mean)[0] == 0
    )
    files = {"db/data.mdb": (tmp_path / "db" / "data.mdb").read_bytes(), "mean": mean.read_bytes()}
    text = NET.format(source="db", mean="mean", crop=10)
    got = real_caffe.run(text, files=files, outputs=["data", "label"]).outputs
    expected = []
    for path in sorted(small.glob("*/*.png")):
        bgr = np.asarray(Image.open(path))[:, :, ::-1].transpose(2, 0, 1)
        padded = np.full((3, 10, 11), np.array([9, 8, 7])[:, None, None])
        padded[:, 2:8, 2:9] = bgr
        expected.append(padded)
    stack = np.array(expected, np.float64)
    assert got["label"].tolist() == [0] * 6 + [1] * 8 + [2] * 10
    np.testing.assert_allclose(got["data"], (stack - stack.mean(axis=0))[:, :, :, :10], atol=2e-5)


def test_caffe_trains_from_a_database(tools: Any, small: Path, data: Run, tmp_path: Path) -> None:
    mean = tmp_path / "mean"
    words = ("lmdb", small, "-o", tmp_path / "db", "--shuffle", "--mean", mean)
    assert data(*words)[0] == 0
    shutil.copytree(tmp_path / "db", tools.folder / "db")
    shutil.copy(mean, tools.folder / "mean")
    text = NET.format(source=tools.inside / "db", mean=tools.inside / "mean", crop=6)
    (tools.folder / "net.prototxt").write_text(text)
    (tools.folder / "solver.prototxt").write_text(
        f'net: "{tools.inside}/net.prototxt" base_lr: 0.0001 lr_policy: "fixed" max_iter: 2 display: 1 '
        f'snapshot_prefix: "{tools.inside}/s" solver_mode: CPU'
    )
    log = tools.run("caffe", "train", f"--solver={tools.inside}/solver.prototxt")
    assert "Optimization Done." in log
    assert (tools.folder / "s_iter_2.caffemodel").is_file()
