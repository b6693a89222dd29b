"""Option A: every second pixel and zero channels, without parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from legos import PREACTIVATION_SHORTCUTS, SHORTCUTS, PaddingShortcutLego
from netbuilder import Net, checks, counts, prototxt
from netbuilder.engines.caffe import Caffe
from netbuilder.errors import ConfigError
from netbuilder.net import Blob
from netbuilder.schema.dialects import DIALECTS
from tests import consumers

SIZES = [(8, 8), (7, 7), (8, 7), (7, 8), (2, 2), (1, 1), (1, 6), (32, 32)]
each_size = pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")


def attached(
    size: tuple[int, int], num_output: int = 6, stride: int = 2, dialect: str = "caffe-1.0", batch: int = 2
) -> tuple[Net, Blob]:
    net = Net("n", dialect=dialect)
    data = net.add("Input", name="data", shape={"dim": [batch, 3, *size]})
    return net, PaddingShortcutLego(name="s", num_output=num_output, stride=stride).attach(net, data)


def drawn(*shape: int) -> Any:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def option_a(x: Any, num_output: int, stride: int) -> Any:
    """The definition: pixels (stride * i, stride * j), and zeros behind the channels."""
    x = x[:, :, ::stride, ::stride]
    return np.concatenate([x, np.zeros((x.shape[0], num_output - x.shape[1], *x.shape[2:]))], 1)


def test_the_shortcuts_go_by_the_names_of_the_paper() -> None:
    assert list(SHORTCUTS) == list(PREACTIVATION_SHORTCUTS) == ["A", "B"]
    assert SHORTCUTS["A"] is PREACTIVATION_SHORTCUTS["A"] is PaddingShortcutLego


def test_the_projection_of_a_preactivation_block_is_a_convolution_alone() -> None:
    net = Net("n")
    data = net.add("Input", name="data", shape={"dim": [1, 3, 8, 8]})
    top = PREACTIVATION_SHORTCUTS["B"](name="s", num_output=6, stride=2).attach(net, data)
    assert [layer.name for layer in net.layers[1:]] == ["conv_s_proj_shortcut"]
    assert top.shape == (1, 6, 4, 4)


@each_size
@pytest.mark.parametrize("dialect", DIALECTS)
def test_forward_and_backward_are_exact_in_every_dialect_at_every_size(
    real_caffe: Caffe, size: tuple[int, int], dialect: str
) -> None:
    x = drawn(2, 3, *size)
    net, top = attached(size, dialect=dialect)
    expected = option_a(x, 6, 2)
    assert top.shape == expected.shape
    blobs = list(net.blobs)
    net.proto.force_backward = True
    weights = net.add("Input", name="weights", shape={"dim": list(expected.shape)})
    product = net.add("Eltwise", top, weights, name="product", operation="PROD")
    net.add("Reduction", product, name="loss", operation="SUM", loss_weight=[1])
    diff = drawn(*expected.shape)
    ran = real_caffe.run(
        prototxt.dumps(net), inputs={"data": x, "weights": diff}, outputs=blobs, backward=True
    )
    assert np.array_equal(ran.outputs[top.name], expected)
    back = np.zeros_like(x)
    back[:, :, ::2, ::2] = diff[:, :3]
    assert np.array_equal(ran.diffs["data"], back)
    # No blob holds anything from outside the image, which Caffe's pooling would fill with NaN or -FLT_MAX.
    assert all(np.abs(values).max() <= np.abs(x).max() for values in ran.outputs.values())


@pytest.mark.parametrize(("num_output", "stride"), [(3, 2), (6, 1), (12, 2), (9, 3), (3, 4)])
def test_any_stride_and_any_multiple_of_the_channels_will_do(
    real_caffe: Caffe, num_output: int, stride: int
) -> None:
    x = drawn(2, 3, 9, 8)
    net, top = attached((9, 8), num_output, stride)
    ran = real_caffe.run(prototxt.dumps(net), inputs={"data": x}, outputs=[top.name])
    assert np.array_equal(ran.outputs[top.name], option_a(x, num_output, stride))


def test_the_same_file_takes_any_batch(real_caffe: Caffe) -> None:
    x = drawn(5, 3, 8, 8)
    net, top = attached((8, 8), batch=2)
    ran = real_caffe.run(prototxt.dumps(net), inputs={"data": x}, outputs=[top.name])
    assert np.array_equal(ran.outputs[top.name], option_a(x, 6, 2))


@each_size
def test_opencv_and_mnn_are_exact_too(size: tuple[int, int], tmp_path: Path) -> None:
    consumers.require("cv2")
    consumers.require("MNN")
    x = drawn(2, 3, *size)
    net, top = attached(size)
    consumers.write_model(net, {}, tmp_path)
    assert np.array_equal(consumers.opencv(tmp_path, x, top.name), option_a(x, 6, 2))
    assert np.array_equal(consumers.mnn(tmp_path, x), option_a(x, 6, 2))


@pytest.mark.parametrize(
    ("size", "layers"),
    [
        ((8, 8), ["size", "crop", "pool", "zeros", "concat"]),
        ((8, 7), ["size", "crop", "pool", "zeros", "concat"]),
        ((7, 7), ["pool", "zeros", "concat"]),
    ],
)
def test_it_cuts_only_where_the_last_window_would_lie_outside(
    size: tuple[int, int], layers: list[str]
) -> None:
    net, _ = attached(size)
    assert [layer.name for layer in net.layers[1:]] == [f"{kind}_s_pad_shortcut" for kind in layers]
    assert checks.check(net) == []


def test_with_the_same_channels_and_stride_1_nothing_is_added() -> None:
    net, top = attached((8, 8), num_output=3, stride=1)
    assert top is net.blobs["data"]


def test_it_has_no_parameters_and_no_macs() -> None:
    cost = counts.count(attached((8, 8))[0])
    assert (cost.stored_params, cost.fixed_params, cost.macs, cost.fixed_macs) == (0, 0, 0, 0)


@pytest.mark.parametrize(("num_output", "near"), [(7, 6), (8, 9), (2, 3)])
def test_a_width_that_is_not_a_multiple_of_the_channels_is_refused(num_output: int, near: int) -> None:
    with pytest.raises(ConfigError) as refused:
        attached((8, 8), num_output)
    assert str(refused.value) == (
        "PaddingShortcutLego 's': num_output must be a multiple of the 3 input channels, since zeros "
        f"are added as whole copies, got {num_output}\n"
        f"  hint:    give {near}, or take a projection"
    )
