"""Shipped configs in PyTorch: both phases run, with our shapes, and give what real Caffe gives.

Ten of them, or all where NETBUILDER_ALL=1: `make configs-torch`.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

from netbuilder import Net, prototxt
from netbuilder.config import all_configs, load
from netbuilder.engines.caffe import Caffe
from netbuilder.engines.torch import module
from netbuilder.engines.torch.network import NetModule
from netbuilder.transforms.rebatch import rebatched
from tests.engines.torch.given import give

CONFIGS = {found.name: found for found in all_configs()}
SPREAD = (
    "assemble_resnet50", "bl_resnet_50_a2_b4", "bl_seresnext_50_32x4d_a2_b4", "cifar_94", "cifar_resnet_20",
    "cifar_resnet_110_a_preactivation", "davidnet_tricks", "dawnnet_tuned", "gcr_resnet_20", "resnet_50",
    "resnet_34_inception_trick",
)  # fmt: skip
NAMES = tuple(CONFIGS) if os.environ.get("NETBUILDER_ALL") == "1" else SPREAD


def stitch(name: str, phase: str) -> Net:
    """The net of a config; those for ImageNet take images of 64 pixels, and one of 5,418 layers of 16."""
    sizes = {"imagenet": ["input_size=64"]}.get(CONFIGS[name].path.parent.name, [])
    return load(name, ["input_size=16"] if name == "cifar_resnet_1202_a" else sizes).stitch(phase)


def inputs(net: Net, batch: int, classes: int = 10) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(batch)
    image, *labels = net.inputs
    data = torch.randn((batch, *image.known_shape[1:]), generator=draw)
    return {
        image.name: data,
        **{label.name: torch.randint(classes, (batch,), generator=draw).float() for label in labels},
    }


def check_shapes(net: Net, m: NetModule, batch: int) -> Any:
    """Run the net with another batch than its own, and compare the shape of every blob with our rules'."""
    expected = {top.name: top.known_shape for layer in rebatched(net, batch) for top in layer.tops}
    out = m(**inputs(net, batch), keep=tuple(expected))
    assert {name: tuple(out[name].shape) for name in expected} == expected
    return out


def trained(net: Net, m: NetModule) -> dict[str, list[Any]]:
    """The parameters after a pass, whose statistics keep the values of deep nets in range.

    Statistics of a dozen values as they are enlarge rounding errors: with ResNet-50's, Caffe and PyTorch are
    both 1e-5 from what float64 gives. So means are left out, and no channel has a small variance.
    """
    params: dict[str, list[Any]] = {name: [b.detach() for b in blobs] for name, blobs in m.params.items()}
    for layer in net:
        if layer.type == "BatchNorm":
            mean, variance, factor = params[layer.name]
            params[layer.name] = [mean * 0, variance + variance.mean(), factor]
    return params


@pytest.mark.parametrize("name", NAMES)
def test_a_config_runs_as_in_real_caffe(real_caffe: Caffe, name: str) -> None:
    torch.manual_seed(1)
    train = stitch(name, "train")
    m = module(train, seed=1)
    out = check_shapes(train, m, 3)
    assert out.loss is not None
    assert torch.isfinite(out.loss)
    test = stitch(name, "test")
    check_shapes(test, tested := module(test, seed=2), 2)
    deploy = stitch(name, "deploy")
    d = module(deploy, seed=3)
    shared = d.params.keys()
    give(d, {layer: blobs for layer, blobs in trained(train, m).items() if layer in shared})
    scores = next(layer.bottoms[0].name for layer in reversed(list(deploy)) if layer.type == "Softmax")
    given = inputs(deploy, 1)
    ours = d(**given, keep=(scores,))[scores].detach().numpy()
    caffes = real_caffe.run(
        prototxt.dumps(deploy), inputs={n: v.numpy() for n, v in given.items()}, outputs=[scores],
        params={layer: [b.detach().numpy() for b in blobs] for layer, blobs in d.params.items()},
    ).outputs[scores]  # fmt: skip
    assert abs(caffes).max() > 0
    assert abs(ours - caffes).max() <= 1e-5 * abs(caffes).max()
    assert tested.phase == "TEST"


def test_the_spread_is_shipped_and_of_every_network() -> None:
    assert set(SPREAD) <= set(CONFIGS)
    assert {load(name).entry.name for name in SPREAD} == {load(name).entry.name for name in CONFIGS}
