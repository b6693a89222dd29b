"""Synopsys' pads, one for each side: the judge is PyTorch's own padding of the image."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from netbuilder import Net, prototxt
from netbuilder.engines.torch import module
from netbuilder.errors import EngineError

SIDES = ((1, 2, 0, 3), (0, 1, 0, 1), (2, 2, 1, 1))  # left, right, top, bottom


def net(type: str, sides: tuple[int, int, int, int], more: str) -> Net:
    pads = "pad_l: {} pad_r: {} pad_t: {} pad_b: {}".format(*sides)
    holder = "pooling_param" if type == "Pooling" else "convolution_param"
    shape = "".join(f"dim: {n} " for n in (2, 2, 6, 5))
    text = (
        f'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ {shape} }} }} }}\n'
        f'layer {{ name: "c" type: "{type}" bottom: "data" top: "c" '
        f"{holder} {{ kernel_size: 3 {pads} {more} }} }}"
    )
    return prototxt.parse(text, dialect="any")


@pytest.mark.parametrize("more", ["", "group: 2", "stride: 2"])
@pytest.mark.parametrize("type", ["Convolution", "Deconvolution"])
@pytest.mark.parametrize("sides", SIDES)
def test_each_side_has_its_own_pad(type: str, sides: tuple[int, int, int, int], more: str) -> None:
    filler = (
        'num_output: 2 weight_filler { type: "gaussian" std: 1 } bias_filler { type: "constant" value: 2 }'
    )
    made = net(type, sides, f"{more} {filler}")
    computed = module(made)
    x = torch.randn(2, 2, 6, 5)
    weight, bias = computed.params["c"]
    group, stride = 2 if "group" in more else 1, 2 if "stride" in more else 1
    left, right, top, bottom = sides
    if type == "Convolution":
        expected = functional.conv2d(functional.pad(x, sides), weight, bias, stride, groups=group)
    else:
        whole = functional.conv_transpose2d(x, weight, bias, stride, groups=group)
        expected = whole[:, :, top : whole.shape[2] - bottom, left : whole.shape[3] - right]
    assert tuple(expected.shape) == made.blobs["c"].shape
    assert torch.allclose(computed(x)["c"], expected, atol=1e-5)


def test_a_pooling_with_other_pads_on_each_side_is_refused_by_name() -> None:
    with pytest.raises(EngineError, match="does not compute Pooling 'c', whose sides have other pads"):
        module(net("Pooling", (0, 1, 0, 1), ""))
