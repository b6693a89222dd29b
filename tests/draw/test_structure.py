"""What a person sees as one box, and what as one block."""

from __future__ import annotations

from pathlib import Path

import pytest

from netbuilder import Net, prototxt
from netbuilder.config import load
from netbuilder.draw import Drawn, drawing, tree_lines
from netbuilder.draw.layout import inside_of
from netbuilder.draw.structure import Group, Unit, groups, structure, units

ZOO = Path(__file__).parents[1] / "zoo"


def chain(*names: str) -> Net:
    """A net of layers of these names; one that ends in "!" works in place on the layer before."""
    text = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 } } }\n'
    last = "data"
    for name in names:
        top = last if name.endswith("!") else name
        text += f'layer {{ name: "{name.rstrip("!")}" type: "ReLU" bottom: "{last}" top: "{top}" }}\n'
        last = top
    return prototxt.parse(text)


def tops(net: Net) -> list[str]:
    return [node.name for node in structure(net).children][1:]


def test_layers_in_place_are_in_the_box_of_the_layer_that_they_work_on() -> None:
    found = list(units(structure(chain("a", "a_bn!", "a_relu!", "b"))))
    assert [[layer.name for layer in unit.layers] for unit in found] == [
        ["data"], ["a", "a_bn", "a_relu"], ["b"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        # MSRA's residual nets, Inception, SqueezeNet, VGG: blocks, and stages of several blocks.
        (("res2a_branch1", "res2a_branch2a", "res2b_branch2a", "res2b_branch2b", "res3a_branch1"),
         ["res2", "res3a_branch1"]),
        (("inception_3a/1x1", "inception_3a/3x3", "inception_3b/1x1", "inception_3b/3x3", "pool"),
         ["inception_3", "pool"]),
        (("fire2/a", "fire2/b", "fire10/a", "fire10/b"), ["fire2", "fire10"]),
        (("conv1_1", "conv1_2", "conv2_1", "conv2_2", "fc6"), ["conv1", "conv2", "fc6"]),
        # A layer by itself is no block.
        (("one", "two"), ["one", "two"]),
    ],
)  # fmt: skip
def test_blocks_of_files_by_other_hands_come_from_names(names: tuple[str, ...], expected: list[str]) -> None:
    assert tops(chain(*names)) == expected


def test_a_large_block_has_inner_blocks_by_the_next_word_of_the_names() -> None:
    names = [f"layer1.{i}.{part}" for i in range(4) for part in ("conv1", "conv2", "sum")]
    root = structure(chain(*(name.replace(".", "_") for name in names)))
    (block,) = (node for node in root.children if isinstance(node, Group))
    assert [child.name for child in block.children] == ["layer1_0", "layer1_1", "layer1_2", "layer1_3"]


def test_a_written_net_has_the_blocks_of_the_one_in_memory() -> None:
    net = load("resnet_50").stitch("deploy")
    again = prototxt.parse(prototxt.dumps(net, header="x"), "TEST")
    found = {group.name for group in groups(structure(again))}
    assert {"stage0_block0", "stage3_block2"} <= found
    assert [node.name for node in structure(net).children] == [
        "data", "stem", "stage0", "stage1", "stage2", "stage3", "head",
    ]  # fmt: skip


def test_a_long_level_without_names_is_split_by_the_size_of_its_maps() -> None:
    net = Net("plain")
    x = net.add("Input", name="data", shape={"dim": [1, 1, 32, 32]})
    for i in range(70):
        if i == 35:
            x = net.add("Pooling", x, name="half", kernel_size=2, stride=2)
        x = net.add("Power", x, name="abcdefghijklmnopqrstuvwxyz"[i % 26] * (1 + i // 26) + "x")
    assert [node.name for node in structure(net).children] == ["maps of 32x32", "maps of 16x16"]


def test_a_line_to_a_layer_that_reads_only_the_size_is_faint(graphviz: None) -> None:
    """PriorBox reads the size of the image; such lines from the top of an SSD would cover the net."""
    net = Net("boxes", phase="TEST", dialect="ssd")
    data = net.add("Input", name="data", shape={"dim": [1, 3, 16, 16]})
    conv = net.add("Convolution", data, name="conv", num_output=4, kernel_size=3)
    net.add("PriorBox", conv, data, name="boxes", prior_box_param={"min_size": [4]})
    root = structure(net)
    names = [child.name for child in root.children]
    shapes = {(names[e.tail], names[e.head]): e.shape for e in inside_of(root)[root].edges}
    assert shapes == {("data", "conv"): "1×3×16×16", ("conv", "boxes"): "1×4×14×14", ("data", "boxes"): ""}
    assert drawing([Drawn("boxes", {"deploy": net})], "svg").count(b"stroke-dasharray") == 1


@pytest.mark.parametrize("file", sorted(ZOO.glob("*.prototxt")), ids=lambda path: path.stem)
def test_the_tree_shows_every_layer_in_80_columns(file: Path) -> None:
    net = prototxt.read(file, "TRAIN", dialect="any", unknown="keep")
    lines = list(tree_lines(net))
    assert max(map(len, lines)) <= 80
    assert len(lines) >= sum(isinstance(node, Unit) for node in units(structure(net)))
    shallow = list(tree_lines(net, depth=1))
    assert len(shallow) == len(structure(net).children) + 4 + (shallow[-1].startswith("at least"))


def test_the_tree_of_a_config() -> None:
    lines = list(tree_lines(load("davidnet_extra_l1_l3").stitch("deploy")))
    assert "├─conv_layer1_extra" in "\n".join(lines) or "└─conv_layer1_extra" in "\n".join(lines)
    assert lines[-1].split() == ["total", "batch", "1", "1x10", "4.07", "M", "304", "M", "100.0%"]
