"""The whitening convolution and its weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from legos import SignedWhiteningLego, WhiteningLego, whitening_filter
from netbuilder import Net, prototxt
from netbuilder.engines.caffe import Caffe
from netbuilder.errors import ConfigError
from netbuilder.networks import find_network
from netbuilder.schema import NetParameter
from tests.databases import noise, write_lmdb

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "app" / "cifar10" / "whiten.py"


def smooth_images(n: int) -> Any:
    """Images whose neighbouring pixels are alike, with another level in each channel."""
    noise: Any = np.random.default_rng(5).standard_normal((n, 3, 14, 14))
    for axis in (2, 3):
        noise = sum(np.roll(noise, shift, axis) for shift in range(3)) / 3
    return noise[:, :, 3:, 3:] + np.array([0.5, 0, -1]).reshape(3, 1, 1)


def patches(images: Any, k: int = 3) -> Any:
    """All patches inside the images, one a row, pixel by pixel."""
    n, _, h, w = images.shape
    rows = [
        images[i, :, y : y + k, x : x + k].ravel()
        for i in range(n)
        for y in range(h - k + 1)
        for x in range(w - k + 1)
    ]
    return np.array(rows)


def test_the_rows_are_eigenvectors_of_the_uncentred_moment_over_the_root_of_their_eigenvalues() -> None:
    images = smooth_images(20)
    rows = patches(images)
    moment = rows.T @ rows / len(rows)
    weights = whitening_filter(images).astype(np.float64)
    assert weights.shape == (27, 3, 3, 3)
    flat = weights.reshape(27, 27)
    # V_i / sqrt(L_i + eps): the squared length says the eigenvalue, and moment times row must agree with it.
    values = 1 / (flat**2).sum(1) - 0.01
    assert abs(flat @ moment - values[:, None] * flat).max() <= 1e-5 * abs(flat).max()
    assert (np.diff(values) <= 1e-6).all()  # the largest first
    assert abs(values.sum() - np.trace(moment)) <= 1e-3


def test_the_outputs_are_uncorrelated_and_of_variance_1_only_where_epsilon_is_small(
    real_caffe: Caffe,
) -> None:
    images = smooth_images(40)
    net = Net("n")
    data = net.add("Input", name="data", shape={"dim": [40, 3, *images.shape[2:]]})
    top = WhiteningLego(name="a").attach(net, data)
    params = {"whiten_a": [whitening_filter(images)]}
    ran = real_caffe.run(prototxt.dumps(net), inputs={"data": images}, params=params, outputs=[top.name])
    inside = ran.outputs[top.name][:, :, 1:-1, 1:-1].transpose(0, 2, 3, 1).reshape(-1, 27).astype(np.float64)
    second = inside.T @ inside / len(inside)
    rows = patches(images)
    values = np.linalg.eigvalsh(rows.T @ rows / len(rows))[::-1]
    assert abs(second - np.diag(values / (values + 0.01))).max() <= 1e-4
    assert second[0, 0] > 0.99
    assert second[-1, -1] < 0.5


def test_many_images_are_taken_piece_by_piece_with_the_same_result() -> None:
    images = smooth_images(3)
    many = np.concatenate([images] * 400)  # more than one piece
    a, b = (np.abs(whitening_filter(x)) for x in (images, many))
    assert abs(a - b).max() <= 1e-4


def test_the_convolution_is_frozen_keeps_the_size_and_has_no_bias() -> None:
    net = Net("n", "TRAIN", defaults={"Convolution": {"bias_filler": {"type": "constant"}}})
    data = net.add("Input", name="data", shape={"dim": [1, 3, 8, 7]})
    top = WhiteningLego(name="a").attach(net, data)
    assert top.shape == (1, 27, 8, 7)
    (param,) = net["whiten_a"].params
    assert (param.shape, param.learnable) == ((27, 3, 3, 3), False)
    # Not a filter that a filler makes: its multiplications count like those of other convolutions.
    assert not param.fixed_filter
    proto = net["whiten_a"].proto
    assert [(p.lr_mult, p.decay_mult) for p in proto.param] == [(0, 0)]
    assert not proto.convolution_param.HasField("bias_filler")


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(ConfigError) as refused:
        WhiteningLego(name="a", kernel=2)
    assert refused.value.text == (
        "WhiteningLego 'a': kernel must be odd, so that padding keeps the size, got 2"
    )


# ---- the script --------------------------------------------------------------------------------------------


def script(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *args], capture_output=True, text=True, check=False)


def records(n: int) -> Any:
    """CIFAR-10's binary form: a label, then the planes."""
    return np.random.default_rng(6).integers(0, 256, (n, 3073)).astype(np.uint8)


def test_the_script_whitens_normalised_images_and_names_the_layer_of_the_net(tmp_path: Path) -> None:
    data = records(30)
    (tmp_path / "batch.bin").write_bytes(data.tobytes())
    done = script(tmp_path / "batch.bin", "--first", "20", "-o", tmp_path / "w.caffemodel")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"wrote {tmp_path / 'w.caffemodel'}: layer whiten_prep, from 20 images\n"
    (layer,) = NetParameter.FromString((tmp_path / "w.caffemodel").read_bytes()).layer
    images = data[:20, 1:].reshape(20, 3, 32, 32).astype(np.float64)
    mean, std = np.reshape((125.31, 122.95, 113.87), (3, 1, 1)), np.reshape((62.99, 62.09, 66.70), (3, 1, 1))
    expected = whitening_filter((images - mean) / std)
    stored = np.reshape(layer.blobs[0].data, (27, 3, 3, 3))
    assert abs(np.abs(stored) - np.abs(expected)).max() <= 1e-3
    entry = find_network("davidnet")
    net = entry.stitch(entry.config(whitening=True), "train")
    assert net[layer.name].params[0].shape == tuple(layer.blobs[0].shape.dim)


def test_each_filter_comes_with_both_signs_and_a_bias_that_learns() -> None:
    net = Net("n", "TRAIN")
    data = net.add("Input", name="data", shape={"dim": [1, 3, 8, 7]})
    assert SignedWhiteningLego(name="a", bias_lr_mult=0.5).attach(net, data).shape == (1, 24, 7, 6)
    weight, bias = net["whiten_a"].params
    assert [(p.shape, p.learnable) for p in (weight, bias)] == [((24, 3, 2, 2), False), ((24,), True)]
    assert net["whiten_a"].proto.param[1].lr_mult == 0.5


def test_the_script_writes_what_cifar_94_starts_with(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", smooth_images(20))
    ones = ["--for", "cifar_94", "--mean", "0", "0", "0", "--std", "1", "1", "1"]
    done = script(tmp_path / "images.npy", *ones, "-o", tmp_path / "w.caffemodel")
    assert (done.returncode, done.stderr) == (
        0,
        f"wrote {tmp_path / 'w.caffemodel'}: 7 layers, from 20 images\n",
    )
    stored = NetParameter.FromString((tmp_path / "w.caffemodel").read_bytes()).layer
    found = {layer.name: np.reshape(layer.blobs[0].data, layer.blobs[0].shape.dim) for layer in stored}
    rows = patches(smooth_images(20), 2)
    weights = found["whiten_prep"].reshape(24, 12)
    assert np.array_equal(weights[12:], -weights[:12])
    moment = weights[:12] @ (rows.T @ rows / len(rows)) @ weights[:12].T
    values = np.linalg.eigvalsh(rows.T @ rows / len(rows))[::-1]
    assert abs(moment - np.diag(values / (values + 5e-4))).max() <= 1e-3
    # A filter that passes a channel on.
    x = np.random.default_rng(2).normal(0, 1, (64, 4, 4))
    filters = found["conv_block2_1"]
    assert filters.shape == (256, 64, 3, 3)
    for i in (0, 63):
        assert abs((filters[i] * x[:, :3, :3]).sum() - x[i, 1, 1]) <= 1e-6
    assert 0.9 / 24 <= abs(filters[64:]).max() <= 1 / 24


def test_the_script_takes_arrays_too(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", smooth_images(5))
    ones = ["--mean", "0", "0", "0", "--std", "1", "1", "1"]
    assert script(tmp_path / "images.npy", *ones, "-o", tmp_path / "w.caffemodel").returncode == 0
    (layer,) = NetParameter.FromString((tmp_path / "w.caffemodel").read_bytes()).layer
    expected = whitening_filter(smooth_images(5))
    assert abs(np.abs(layer.blobs[0].data) - np.abs(expected.ravel())).max() <= 1e-3


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"short", "cannot read images from '{}': 5 bytes are not a whole number of records of 3073"),
        (b"", "cannot read images from '{}': 0 bytes are not a whole number of records of 3073"),
        (None, "cannot read '{}': no such file or directory"),
    ],
)
def test_what_holds_no_images_is_refused_and_nothing_is_written(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "batch.bin"
    if content is not None:
        path.write_bytes(content)
    done = script(path, "-o", tmp_path / "w.caffemodel")
    assert (done.returncode, done.stderr) == (2, f"FileError: {reason.format(path)}\n")
    assert not (tmp_path / "w.caffemodel").exists()


def test_the_script_reads_a_database_as_it_reads_the_same_images_in_a_file(tmp_path: Path) -> None:
    images = noise(30, 3, 8, 8)
    write_lmdb(tmp_path / "db", images, [0] * 30)
    np.save(tmp_path / "images.npy", images)
    for name in ("db", "images.npy"):
        words = [name, "-o", f"{name}.caffemodel", "--first", "20"]
        subprocess.run([sys.executable, str(SCRIPT), *words], cwd=tmp_path, check=True)
    of_database, of_file = (tmp_path / f"{name}.caffemodel" for name in ("db", "images.npy"))
    assert of_database.read_bytes() == of_file.read_bytes()
