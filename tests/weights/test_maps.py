"""The shipped naming maps: each knows the nets that it is for, and no two of their layers are one module."""

from __future__ import annotations

from pathlib import Path

import pytest

from netbuilder.config.load import load
from netbuilder.weights.exporting import map_for
from netbuilder.weights.maps import all_maps
from netbuilder.weights.units import units_of
from tests.installation import run

NETS = {
    "torchvision_resnet_18": "torchvision",
    "timm_seresnet_50": "torchvision",
    "timm_resnet_50_d": "timm_d",
    "bl_resnet_50_a2_b4": "big_little",
    "bl_seresnext_50_32x4d_a2_b4": "big_little",
    "davidnet_residual_l1_l3": "davidnet",
    "davidnet_extra_l1": "davidnet",
    "assemble_r50": "assembled",
    "assemble_r50_d_se": "assembled",
    "assemble_r50_d_sk": "assembled",
    "assemble_r50_bl_aa": "assembled_bl",
    "assemble_resnet50": "assembled_bl",
}


@pytest.mark.parametrize(("name", "map"), NETS.items())
def test_a_map_is_found_for_its_net_and_names_each_layer_once(name: str, map: str) -> None:
    net = load(name).stitch("deploy")
    found, units = map_for(net), units_of(net)
    names = found.names(units)
    assert found.name == map
    assert None not in names
    assert len(set(names)) == len(units)


def test_the_legacy_se_nets_have_a_map_too() -> None:
    net = load("resnet_50", ["attention=se"]).stitch("deploy")
    found = map_for(net)
    assert found.name == "legacy_se"
    assert found.names(units_of(net))[:2] == ["layer0.conv1", "layer0.bn1"]


@pytest.mark.parametrize(
    ("name", "layer", "module"),
    [
        # Read in the official code: IBM's blresnet, clovaai's checkpoints, Page's Network, timm's resnet50d.
        ("bl_resnet_50_a2_b4", "conv_stage1_little_expand", "layer2.little_e.0"),
        ("bl_resnet_50_a2_b4", "bn_stage0_little_block0_proj_shortcut", "layer1.little.0.downsample.1"),
        ("bl_resnet_50_a2_b4", "conv_stage3_block0_proj_shortcut", "layer4.0.downsample.1"),
        ("davidnet_residual_l1_l3", "bn_layer3_residual_res2", "layer3_residual_res2_bn"),
        ("assemble_resnet50", "conv_stage3_block2_branch2c", "resnet_model/stage4/conv2d_9"),
        ("assemble_resnet50", "bn_stage2_big_block3_branch2b_sk_fc1",
         "resnet_model/stage3/big3/sk_block_3/batch_normalization"),
        ("assemble_r50", "conv_stage3_block2_branch2c", "resnet_model/conv2d_52"),
        ("assemble_r50_d", "conv_1c", "resnet_model/conv2d_2"),
        ("timm_resnet_50_d", "bn_stage0_block0_proj_shortcut", "layer1.0.downsample.2"),
        ("timm_resnet_50_d", "conv_1b", "conv1.3"),
    ],
)  # fmt: skip
def test_modules_are_named_as_the_published_code_names_them(name: str, layer: str, module: str) -> None:
    net = load(name).stitch("deploy")
    units = units_of(net)
    names = dict(zip([unit.name for unit in units], map_for(net).names(units), strict=True))
    assert names[layer] == module


def test_an_installation_has_the_maps(installed: Path, tmp_path: Path) -> None:
    code = "from netbuilder.weights.maps import all_maps; print(*[m.name for m in all_maps()])"
    assert run(installed / "python", "-c", code, cwd=tmp_path).split() == [each.name for each in all_maps()]
