"""Blocks: by scopes, by the comments of our own files, by the names that people give."""

from __future__ import annotations

import pytest

from netbuilder import Net, prototxt
from netbuilder.measure.blocks import Block, blocks, named
from netbuilder.networks import find_network


def layers_of(found: tuple[Block, ...]) -> list[tuple[str, ...]]:
    return [tuple(layer.name for layer in block.layers) for block in found]


def of_names(*names: str) -> list[tuple[str, int]]:
    """The blocks of layers of these names; one that ends in "!" works in place on the layer before."""
    text = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 } } }\n'
    last = "data"
    for name in names:
        top = last if name.endswith("!") else name
        text += f'layer {{ name: "{name.rstrip("!")}" type: "ReLU" bottom: "{last}" top: "{top}" }}\n'
        last = top
    return [(block.name, len(block.layers)) for block in blocks(prototxt.parse(text))[1:]]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        # Inception modules and SqueezeNet's fires: what stands before the slash.
        (("conv1/7x7_s2", "conv1/relu_7x7!", "inception_3a/1x1", "inception_3a/relu_1x1!",
          "inception_3a/3x3"),
         [("conv1", 2), ("inception_3a", 3)]),
        # The residual nets of MSRA, whose BatchNorm layers have names of their own, but work in place.
        (("res2a_branch1", "bn2a_branch1!", "scale2a_branch1!", "res2a_branch2a", "bn2a_branch2a!",
          "res2b_branch2a"),
         [("res2a", 5), ("res2b", 1)]),
        (("conv1_1", "relu1_1!", "conv1_2", "relu1_2!", "pool1", "conv2_1"),
         [("conv1", 4), ("pool1", 1), ("conv2", 1)]),
        # pynetbuilder's own files.
        (("conv_1", "conv_stage0_block0_branch2a", "bn_stage0_block0_branch2a", "eltwise_stage0_block0",
          "conv_stage0_block1_branch2a", "conv_stage0_little_block0"),
         [("conv_1", 1), ("stage0_block0", 3), ("stage0_block1", 1), ("stage0_little_block0", 1)]),
    ],
)  # fmt: skip
def test_blocks_are_read_off_the_names_that_people_give(
    names: tuple[str, ...], expected: list[tuple[str, int]]
) -> None:
    assert of_names(*names) == expected


@pytest.mark.parametrize("network", ["resnet", "cifar_resnet"])
@pytest.mark.parametrize("phase", ["train", "deploy"])
def test_a_written_net_has_the_blocks_of_the_one_in_memory(network: str, phase: str) -> None:
    entry = find_network(network)
    settings = {"main_branch": "normal"} | (
        {"N": 2} if network == "cifar_resnet" else {"num_output_stage1": 64}
    )
    net = entry.stitch(entry.config(**settings), phase)
    read = prototxt.parse(prototxt.dumps(net, header="a: 1\nb: 2"), net.phase)
    assert layers_of(blocks(read)) == layers_of(blocks(net))
    assert [b.name for b in blocks(read)] == [b.name for b in blocks(net)]
    assert named(blocks(net))
    assert [b.name for b in blocks(net)][1:3] == ["stem", "stage0_block0"]


def test_a_block_is_the_innermost_scope_that_has_a_name() -> None:
    net = Net("scoped")
    x = net.add("Input", name="data", shape={"dim": [1, 2]})
    with net.scope("stage"), net.scope("unit"), net.scope("Lego(a)"):
        x = net.add("ReLU", x, name="a")
    with net.scope("Lego(b)"), net.scope("Part(c)"):
        x = net.add("ReLU", x, name="c")
    assert [(b.name, len(b.layers)) for b in blocks(net)] == [("data", 1), ("unit", 1), ("b", 1)]


def test_blocks_of_one_comment_stay_apart_in_a_file_of_ours() -> None:
    net = Net("twice")
    x = net.add("Input", name="data", shape={"dim": [1, 2]})
    for i in range(2):
        with net.scope("", "unit"):
            x = net.add("ReLU", x, name=f"r{i}")
            x = net.add("ReLU", x, name=f"s{i}")
    read = prototxt.parse(prototxt.dumps(net))
    assert [(b.name, len(b.layers)) for b in blocks(read)] == [("data", 1), ("unit", 2), ("unit", 2)]


def test_comments_of_others_name_no_blocks() -> None:
    text = (
        'layer { name: "a" type: "Input" top: "a" input_param { shape { dim: 1 } } }\n'
        '# layer { name: "old" }\nlayer { name: "b" type: "ReLU" bottom: "a" top: "b" }\n'
    )
    net = prototxt.parse(text)
    assert [layer.comment for layer in net] == ["", ""]
    assert [b.name for b in blocks(net)] == ["a", "b"]
    assert not named(blocks(net))


def test_our_header_is_not_a_comment_of_the_first_layer() -> None:
    net = Net()
    net.add("Input", name="data", shape={"dim": [1, 2]})
    text = prototxt.dumps(net, header="network: none")
    assert text.splitlines()[2] == "layer {"
    assert prototxt.parse(text).layers[0].comment == ""


def test_reading_and_writing_keeps_the_comments_of_our_files() -> None:
    entry = find_network("cifar_resnet")
    text = prototxt.dumps(entry.stitch(entry.config(main_branch="normal", N=1), "deploy"))
    assert prototxt.dumps(prototxt.parse(text)) == text
