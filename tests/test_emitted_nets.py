"""Real Caffe loads every file that we write, and gives every blob and parameter the shape we inferred."""

from __future__ import annotations

import pytest

from netbuilder import prototxt
from netbuilder.engines.caffe import Caffe
from netbuilder.networks import PHASES, find_network

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
    "cifar_20_a": {"depth": 20, "shortcut": "A"},
    "cifar_110_a": {"depth": 110, "shortcut": "A"},
    "cifar_20_a_no_final_relu": {"depth": 20, "shortcut": "A", "final_relu": False},
    "cifar_20_a_bn_after": {"depth": 20, "shortcut": "A", "bn": "after"},
    "cifar_20_a_bn_after_no_final_relu": {"depth": 20, "shortcut": "A", "bn": "after", "final_relu": False},
    "cifar_20_preactivation": {"depth": 20, "block": "preactivation"},
    "cifar_20_a_preactivation_at_31x18": {
        "depth": 20,
        "shortcut": "A",
        "block": "preactivation",
        "input_size": (31, 18),
    },
}
BIG_LITTLE = {
    **{f"bl_resnet_{depth}": {"depth": depth} for depth in ("50", "101", "152")},
    **{f"bl_resnext_{depth}_32x4d": {"family": "resnext", "depth": depth} for depth in ("50", "101")},
    "bl_resnext_101_64x4d": {"family": "resnext", "depth": "101", "cardinality": 64},
    "bl_seresnext_50_32x4d": {"family": "seresnext"},
    "bl_seresnext_101_32x4d": {"family": "seresnext", "depth": "101"},
    **{
        f"bl_resnet_50_at_{height}x{width}": {"input_size": (height, width)}
        for height, width in ((225, 225), (256, 256), (320, 320), (224, 320), (225, 193))
    },
    "bl_seresnext_50_at_225x193": {"family": "seresnext", "input_size": (225, 193)},
    "bl_resnet_50_depthwise": {"pooling": "depthwise"},
    "bl_resnet_50_floor": {"dialect": "caffe-master"},
    "bl_resnet_50_bilinear_at_225": {"upsample": "bilinear", "input_size": (225, 225)},
    "bl_resnet_50_a4_b1": {"alpha": 4, "beta": 1},
    "bl_resnet_50_a1_b2": {"alpha": 1, "beta": 2},
    "bl_resnet_50_inception_trick_bottleneck": {"main_branch": "inception_trick_bottleneck"},
    "bl_resnext_50_inception_trick_bottleneck": {
        "main_branch": "inception_trick_bottleneck",
        "family": "resnext",
    },
    "bl_resnet_inception_trick": {"main_branch": "inception_trick", "num_output_stage1": 64},
    "bl_resnet_normal_fc_layers": {"main_branch": "normal", "num_output_stage1": 64, "fc_layers": True},
    "bl_resnet_three_stages": {"blocks": (2, 4, 1), "num_output_stage1": 32, "input_size": (64, 64)},
}
NETS = [
    (network, name, values)
    for network, nets in (("resnet", RESNETS), ("cifar_resnet", CIFAR), ("bl_resnet", BIG_LITTLE))
    for name, values in nets.items()
]


# The layout with biases differs from the plain one in the parameters of single layers only.
LAYOUTS = [(*net, False) for net in NETS] + [(*net, True) for net in NETS if net[0] != "bl_resnet"]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(
    ("network", "name", "values", "conv_bias"),
    LAYOUTS,
    ids=[f"{name}{'_conv_bias' if bias else ''}" for _, name, _, bias in LAYOUTS],
)
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
