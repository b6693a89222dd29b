"""Pooling between layers."""

from __future__ import annotations

import numpy as np
import pytest

from legos import HalvingMaxPoolLego
from netbuilder import Net
from netbuilder.engines.caffe import Caffe
from netbuilder.errors import ConfigError
from netbuilder.net import Blob
from tests.legos.judge import drawn, forward_backward


def attached(height: int, width: int) -> tuple[Net, Blob]:
    net = Net("n")
    data = net.add("Input", name="data", shape={"dim": [2, 3, height, width]})
    return net, HalvingMaxPoolLego(name="a").attach(net, data)


def test_it_takes_the_maximum_of_each_square_and_gives_it_the_gradient(real_caffe: Caffe) -> None:
    net, top = attached(6, 4)
    x, diff = drawn(2, 3, 6, 4), drawn(2, 3, 3, 2, seed=2)
    ran = forward_backward(real_caffe, net, top, {"data": x}, diff)
    expected = x.reshape(2, 3, 3, 2, 2, 2).max((3, 5))
    assert np.array_equal(ran.outputs["pool_a"], expected)
    largest = x == expected.repeat(2, 2).repeat(2, 3)
    assert np.array_equal(ran.diffs["data"], np.where(largest, diff.repeat(2, 2).repeat(2, 3), 0))


@pytest.mark.parametrize(("height", "width"), [(7, 8), (8, 7), (1, 1)])
def test_odd_sizes_are_refused_with_the_reason(height: int, width: int) -> None:
    with pytest.raises(ConfigError) as refused:
        attached(height, width)
    assert refused.value.text == (
        f"HalvingMaxPoolLego 'a': needs an even height and width, got {height}x{width}: "
        "Caffe would round up, but the reference rounds down"
    )
