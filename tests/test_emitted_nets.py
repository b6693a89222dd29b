"""Real Caffe loads every file that we write, and gives every blob and parameter the shape we inferred."""

from __future__ import annotations

import pytest

from app.networks import PHASES, find_network
from netbuilder import prototxt
from netbuilder.engines.caffe import Caffe

RESNETS = {
    "resnet_18": {"main_branch": "normal", "blocks": (2, 2, 2, 2), "num_output_stage1": 64},
    "resnet_34": {"main_branch": "normal", "num_output_stage1": 64},
    "resnet_50": {"main_branch": "bottleneck", "num_output_stage1": 256},
    "resnet_50_stride_in_3x3": {"main_branch": "bottleneck", "num_output_stage1": 256, "stride_in": "3x3"},
    "resnet_101": {"main_branch": "bottleneck", "blocks": (3, 4, 23, 3), "num_output_stage1": 256},
    "resnet_152": {"main_branch": "bottleneck", "blocks": (3, 8, 36, 3), "num_output_stage1": 256},
    "resnet_34_inception_trick": {
        "main_branch": "inception_trick",
        "blocks": (2, 2, 2, 2),
        "num_output_stage1": 64,
    },
    "resnet_36_inception_trick_with4k": {
        "main_branch": "inception_trick",
        "blocks": (2, 2, 2, 2),
        "num_output_stage1": 64,
        "fc_layers": True,
    },
    "resnet_50_1by2": {"main_branch": "bottleneck"},
    "resnet_66_1by2_inception_trick_bottleneck": {"main_branch": "inception_trick_bottleneck"},
    "resnet_66_1by2_inception_trick_bottleneck_stride_in_3x3": {
        "main_branch": "inception_trick_bottleneck",
        "stride_in": "3x3",
    },
    "resnet_68_1by2_inception_trick_bottleneck_with4k": {
        "main_branch": "inception_trick_bottleneck",
        "fc_layers": True,
    },
    "resnet_77_1by2": {"main_branch": "bottleneck", "blocks": (3, 4, 15, 3)},
    "resnet_50_at_225x320": {"main_branch": "bottleneck", "input_size": (225, 320), "classes": 7},
    "resnet_34_inception_trick_at_97": {
        "main_branch": "inception_trick",
        "blocks": (2, 2, 2, 2),
        "num_output_stage1": 64,
        "input_size": (97, 97),
    },
}
CIFAR = {
    "cifar_20": {"main_branch": "normal", "N": 3},
    "cifar_110": {"main_branch": "normal", "N": 18},
    "cifar_326_bottleneck": {"main_branch": "bottleneck", "N": 36},
    "cifar_38_inception_trick": {"main_branch": "inception_trick", "N": 3},
    "cifar_38_inception_trick_bottleneck": {"main_branch": "inception_trick_bottleneck", "N": 3},
}
NETS = [("resnet", n, c) for n, c in RESNETS.items()] + [("cifar_resnet", n, c) for n, c in CIFAR.items()]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("conv_bias", [False, True], ids=["plain", "conv_bias"])
@pytest.mark.parametrize(("network", "name", "values"), NETS, ids=[name for _, name, _ in NETS])
def test_real_caffe_loads_the_net_with_our_shapes(
    real_caffe: Caffe, network: str, name: str, values: dict[str, object], conv_bias: bool, phase: str
) -> None:
    entry = find_network(network)
    net = entry.stitch(entry.config(conv_bias=conv_bias, **values), phase)
    loaded = real_caffe.load(prototxt.dumps(net), phase=net.phase)
    theirs = [
        (x.name, x.type, [(b,) for b in x.bottoms], list(zip(x.tops, x.top_shapes, strict=True)), x.params)
        for x in loaded.layers_as_written()
    ]
    ours = [
        (
            layer.name,
            layer.type,
            [(b.name,) for b in layer.bottoms],
            [(t.name, t.shape) for t in layer.tops],
            tuple(p.shape for p in layer.params),
        )
        for layer in net.layers
    ]
    assert ours == theirs
    assert {b.name for b in net.outputs} == set(loaded.outputs)
