"""What people report of other tools that take Caffe nets to PyTorch: each complaint is a test.

The reference is arithmetic or real Caffe.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from netbuilder import Net, prototxt
from netbuilder.cli.main import main
from netbuilder.config import load
from netbuilder.engines.caffe import Caffe
from netbuilder.engines.torch import module
from netbuilder.engines.torch.network import NetModule
from netbuilder.weights.write import write_model
from tests.engines.torch.test_run import listed


def one(type: str, fields: str, *shapes: tuple[int, ...]) -> NetModule:
    """A layer `t` over inputs x0, x1, ..."""
    text = ""
    for i, shape in enumerate(shapes):
        dims = " ".join(f"dim: {n}" for n in shape)
        text += f'layer {{ name: "x{i}" type: "Input" top: "x{i}" input_param {{ shape {{ {dims} }} }} }}\n'
    bottoms = " ".join(f'bottom: "x{i}"' for i in range(len(shapes)))
    return module(prototxt.parse(f'{text}layer {{ name: "t" type: "{type}" {bottoms} top: "y" {fields} }}'))


# ---- BatchNorm's blobs are copied as they are, without dividing them by the third (pytorch/pytorch#3850)


def trained(net: Net, factor: float) -> dict[str, list[np.ndarray]]:
    """Parameters as training leaves them: BatchNorm's blobs are `factor` times the mean and the variance."""
    rng = np.random.default_rng(1)
    params = {}
    for layer in net:
        shapes = [param.shape for param in layer.params]
        if layer.type == "BatchNorm":
            mean, variance = rng.normal(0, 0.1, shapes[0]), rng.uniform(0.8, 1.2, shapes[1])
            params[layer.name] = [mean * factor, variance * factor, np.full(shapes[2], factor)]
        elif layer.type == "Scale":
            params[layer.name] = [rng.uniform(0.8, 1.2, shapes[0]), rng.normal(0, 0.1, shapes[0])]
        elif shapes:
            fan_in = np.prod(shapes[0][1:])
            params[layer.name] = [rng.normal(0, (2 / fan_in) ** 0.5, shape) for shape in shapes]
    return {name: [np.asarray(b, np.float32) for b in blobs] for name, blobs in params.items()}


def test_the_sums_of_batch_norm_are_divided_by_their_factor(real_caffe: Caffe, tmp_path: Path) -> None:
    net = load("resnet_50_1by2", ["input_size=64"]).stitch("deploy")
    params = trained(net, 999.98)
    write_model(tmp_path / "m.caffemodel", params)
    m = module(net)
    assert not m.load_caffemodel(tmp_path / "m.caffemodel").new
    x = np.random.default_rng(2).normal(0, 1, (1, 3, 64, 64)).astype(np.float32)
    scores = net.layers[-1].bottoms[0].name
    theirs = real_caffe.run(prototxt.dumps(net), inputs={"data": x}, params=params, outputs=[scores])
    expected = theirs.outputs[scores]
    with torch.no_grad():
        ours = m(torch.from_numpy(x), keep=(scores,))[scores].numpy()
    assert abs(ours - expected).max() <= 1e-5 * abs(expected).max()
    # Copied without dividing, the net computes something else.
    with torch.no_grad():
        for operator in m.operators().values():
            if operator.proto.type == "BatchNorm":
                operator.blob(2).fill_(1)
        wrong = m(torch.from_numpy(x), keep=(scores,))[scores].numpy()
    assert abs(wrong - expected).max() > 0.1 * abs(expected).max()


# ---- pooling rounds down instead of up


def test_pooling_rounds_up() -> None:
    m = one("Pooling", "pooling_param { kernel_size: 3 stride: 2 }", (1, 1, 6, 6))
    found = m(torch.arange(36.0).view(1, 1, 6, 6))["y"]
    # The last windows have two rows and columns left.
    assert found[0, 0].tolist() == [[14, 16, 17], [26, 28, 29], [32, 34, 35]]
    # 112 pixels become 56, as in every ResNet.
    assert one("Pooling", "pooling_param { kernel_size: 3 stride: 2 }", (1, 1, 112, 112))(
        torch.zeros(1, 1, 112, 112)
    )["y"].shape == (1, 1, 56, 56)


def test_average_pooling_divides_by_the_padded_window() -> None:
    m = one("Pooling", "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }", (1, 1, 4, 4))
    found = m(torch.ones(1, 1, 4, 4))["y"]
    # Padding counts in the divisor, what lies beyond it does not.
    expected = [[4 / 9, 6 / 9, 2 / 6], [6 / 9, 9 / 9, 3 / 6], [2 / 6, 3 / 6, 1 / 4]]
    np.testing.assert_allclose(found[0, 0].numpy(), expected, rtol=1e-6)


# ---- Eltwise ignores its coefficients


def test_eltwise_weighs_its_bottoms() -> None:
    fields = "eltwise_param { coeff: 2 coeff: -1 coeff: 0.5 }"
    given = [torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 5.0]]), torch.tensor([[4.0, 8.0]])]
    inputs = [x.requires_grad_() for x in given]
    y = one("Eltwise", fields, (1, 2), (1, 2), (1, 2))(*inputs)["y"]
    assert y.tolist() == [[2 - 3 + 2, 4 - 5 + 4]]
    y.sum().backward()
    assert [x.grad.tolist() for x in inputs if x.grad is not None] == [[[2, 2]], [[-1, -1]], [[0.5, 0.5]]]


# ---- LRN divides alpha by another number, or knows one of its two kinds


def test_lrn_across_channels_divides_alpha_by_the_channels_of_the_window() -> None:
    fields = "lrn_param { local_size: 3 alpha: 0.6 beta: 0.75 k: 2 }"
    x = np.random.default_rng(3).normal(0, 2, (2, 5, 3, 4)).astype(np.float32)
    expected = np.empty_like(x)
    for c in range(5):
        around = x[:, max(0, c - 1) : c + 2]
        expected[:, c] = x[:, c] / (2 + 0.6 / 3 * (around**2).sum(1)) ** 0.75
    found = one("LRN", fields, x.shape)(torch.from_numpy(x))["y"]
    np.testing.assert_allclose(found.numpy(), expected, rtol=5e-6)


def test_lrn_within_a_channel_divides_alpha_by_the_area_of_the_window_and_ignores_k() -> None:
    fields = "lrn_param { local_size: 3 alpha: 0.6 beta: 0.75 k: 2 norm_region: WITHIN_CHANNEL }"
    x = np.random.default_rng(4).normal(0, 2, (2, 2, 4, 5)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    squares = sum(padded[:, :, i : i + 4, j : j + 5] ** 2 for i in range(3) for j in range(3))
    expected = x * (1 + 0.6 / 9 * squares) ** -0.75
    found = one("LRN", fields, x.shape)(torch.from_numpy(x))["y"]
    np.testing.assert_allclose(found.numpy(), expected, rtol=5e-6)


# ---- is_color, mean and scale are ignored


@pytest.mark.parametrize(
    ("transform", "data"),
    [
        ("mean_value: 100 scale: 0.0078125", "is_color: false new_height: 30 new_width: 30"),
        ("mean_value: 104 mean_value: 117 mean_value: 123 scale: 0.017", "new_height: 30 new_width: 30"),
        ("scale: 0.00390625 crop_size: 24", "is_color: false new_height: 30 new_width: 30"),
    ],
)
def test_an_image_is_prepared_as_its_data_layer_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real_caffe: Caffe, transform: str, data: str
) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(5).integers(0, 255, (41, 37, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("a.png")
    Path("list.txt").write_text("a.png 0\n")
    text = listed(transform, data)
    Path("net.prototxt").write_text(text)
    channels = 1 if "false" in data else 3
    rng = np.random.default_rng(6)
    params = {
        "conv": [rng.normal(0, 0.01, (8, channels, 5, 5)), rng.normal(0, 1, 8)],
        "fc": [rng.normal(0, 1, (6, 8)), rng.normal(0, 1, 6)],
    }
    write_model("m.caffemodel", params)
    files = {name: (tmp_path / name).read_bytes() for name in ("list.txt", "a.png")}
    theirs = real_caffe.run(text, files=files, params=params, outputs=["data", "fc"]).outputs
    for blob, expected in theirs.items():
        words = ["--weights", "m.caffemodel", "--blob", blob, "-o", "out.npy", "--force"]
        assert main(["run", "net.prototxt", "a.png", *words]) == 0
        np.testing.assert_allclose(np.load("out.npy"), expected, rtol=0, atol=1e-5)
