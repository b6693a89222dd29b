"""Shipped configs drawn: every layer is in the page once, every line joins two boxes, and the page opens.

Six of them, or all where NETBUILDER_ALL=1: `make configs-draw`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netbuilder.config import all_configs, load
from netbuilder.draw import Drawn, drawing
from netbuilder.draw.page import page_data
from tests.draw.browser import visit

SIX = (
    "assemble_resnet50", "bl_resnet_50_a2_b4", "cifar_resnet_20", "davidnet_extra_l1_l3", "gcr_resnet_20",
    "resnet_34_inception_trick",
)  # fmt: skip
ALL = os.environ.get("NETBUILDER_ALL") == "1"
NAMES = tuple(found.name for found in all_configs()) if ALL else SIX


@pytest.mark.parametrize("name", NAMES)
def test_a_config_draws(name: str, tmp_path: Path, graphviz: None) -> None:
    drawn = Drawn(name, {phase: load(name).stitch(phase) for phase in ("deploy", "train")})
    for phase, net in page_data([drawn])["nets"][0]["phases"].items():
        layers = drawn.nets[phase].layers
        placed = sorted(i for unit in net["units"] for i in unit["layers"])
        assert placed == list(range(len(layers)))
        children = [child for block in net["blocks"] for child in block["children"]]
        assert sorted(children) == [*range(1 - len(net["blocks"]), 0), *range(len(net["units"]))]
        for block in net["blocks"]:
            inside = block["inside"]
            assert len(inside["boxes"]) == len(block["children"]) + len(inside["ports"])
            for tail, head, _, points in inside["edges"]:
                assert 0 <= tail < len(inside["boxes"])
                assert 0 <= head < len(inside["boxes"])
                assert len(points) >= 8
        assert len(net["blocks"][0]["children"]) <= 60
    assert drawing([drawn], "png").startswith(b"\x89PNG")


@pytest.mark.skipif(not ALL, reason="NETBUILDER_ALL=1 opens all configs: make configs-draw")
@pytest.mark.parametrize("name", NAMES)
def test_the_page_of_a_config_opens(name: str, tmp_path: Path, chromium: None) -> None:
    page = tmp_path / "net.html"
    page.write_bytes(drawing([Drawn(name, {"deploy": load(name).stitch("deploy")})], "html"))
    seen = visit(page, "said.boxes = names().length;")
    assert seen.said["boxes"] > 1
    assert seen.console == []
